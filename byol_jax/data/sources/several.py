"""Several folders as one data set."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import os
from typing import Any

import numpy as np

from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')


def joined(listings: Sequence[Any], class_names: tuple[str, ...] | None) -> list[Any]:
  """Returns [one listing of the files of all], or [] of none.

  Args:
    listings: `folder.Listing` of each folder, in order.
    class_names: the classes of the training part, for another part; None for theirs.

  Raises:
    UserError: a class is not among those of the training part.
  """
  if not listings:
    return []
  root = os.path.commonpath([os.path.realpath(x.root) for x in listings])
  files = []
  for one in listings:
    below = os.path.relpath(os.path.realpath(one.root), root)
    files += one.files if below == '.' else [f'{below}/{file}' for file in one.files]
  unlabelled = [x.root for x in listings if x.labels is None]
  if unlabelled:
    if len(unlabelled) < len(listings):
      _console.info('no labels: %s has none', unlabelled[0])
    return [listings[0]._replace(root=root, files=files, labels=None, class_names=None)]
  names = class_names or tuple(sorted({x for one in listings for x in one.class_names}))
  number, labels = {name: k for k, name in enumerate(names)}, []
  for one in listings:
    unknown = [one.class_names[k] for k in np.unique(one.labels)
               if one.class_names[k] not in number]
    if unknown:
      raise UserError(f'{one.root} has the class {unknown[0]!r}, which is not one of '
                      f'the {len(names)} classes of the training part')
    labels.append(np.array([number.get(x, -1) for x in one.class_names],
                           np.int32)[one.labels])
  return [listings[0]._replace(root=root, files=files, labels=np.concatenate(labels),
                               class_names=names)]
