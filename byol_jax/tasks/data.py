"""Opens the images that a config names."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any

import ml_collections
import numpy as np

from byol_jax.config import keys as keys_lib
from byol_jax.config import names as task_names
from byol_jax.data.feed import resident
from byol_jax.data.images import decode
from byol_jax.data.images import looking
from byol_jax.data.sources import auto
from byol_jax.data.sources import labels as labels_lib
from byol_jax.data.sources import names as source_names
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')


def with_source(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns a config with the source that its path calls for, in place of 'auto'."""
  if config.data.source == 'auto':
    config = config.copy_and_resolve_references()
    config.data.source = auto.source_of(config.data.path)
  return config


def open_part(data: ml_collections.ConfigDict, split: str, *, seed: int = 0,
              key: str = '', **wanted: Any) -> table.Data | None:
  """Opens one part as the source gives it; None where there is no such part.

  Args:
    data: the config's section.
    split: the part's name.
    seed: the config's, from which images are drawn; those of the test part have the
      next one.
    key: the config key of a part that must be there.
    **wanted: fields of `table.Request` that the section lacks, or that replace its
      values.

  Raises:
    UserError: there is no such part, and there must be; or as `open.open_part`.
  """
  if data.source == 'same':
    raise UserError("config key data.source is 'same', but these weights come from "
                    'elsewhere, without data: name the images, as in '
                    '--config.data.source=folder --config.data.path=PHOTOS')
  request = dict(
      path=data.path or None, test_path=data.test_path or None,
      list_root=data.list_root or None, path_column=data.path_column or None,
      image_column=data.image_column or None, label_column=data.label_column or None,
      class_folders=data.class_folders, rules=data.rules, max_bad=data.max_bad_images,
      tfds_name=data.tfds_name or None, image_size=data.image_size,
      num_images=data.fake_images, num_classes=data.fake_classes,
      train_split=data.train_split, test_split=data.test_split)
  if 'class_names' not in wanted and split != data.train_split:
    wanted['class_names'] = _classes(data, request | wanted)
  is_test = split == data.test_split
  opened = open_lib.open_part(
      data.source, split, seed=seed + is_test, **request | wanted)
  if opened is None and key:
    raise UserError(f'config key {key} is {split!r}: the data set has no such part')
  if not isinstance(opened, table.Encoded):
    if opened is not None and not is_test:
      looking.at_pixels(opened.images, opened.name)
    return opened
  opened = opened._replace(how=decode.Reading(
      data.max_pixels, tuple(data.gray_range), data.background))
  return opened if is_test else looking.watching(opened)


def _classes(data: ml_collections.ConfigDict,
             request: dict[str, Any]) -> tuple[str, ...] | None:
  """Returns the classes of the training part, by which others are numbered, if any."""
  source = source_names.CATALOGUE.get(data.source)
  if source is None or not source.by_training or not data.train_split:
    return None
  with contextlib.suppress(UserError):  # there may be no such part
    opened = open_lib.open_part(data.source, data.train_split, **request)
    return None if opened is None else opened.class_names
  return None


def load_part(data: ml_collections.ConfigDict, split: str,
              **asked: Any) -> table.Data | None:
  """Opens one part, and decodes it where it is small enough to live on the device.

  For arguments see `open_part`.
  """
  limit = data.resident_limit_mib << 20
  opened = open_part(data, split, max_bytes=limit, **asked)
  return None if opened is None else resident.make_resident(
      opened, data.resident, limit, data.image_size, data.threads)


def open_data(config: ml_collections.ConfigDict, *, decodes: bool = True,
              ) -> tuple[table.Data, table.Data | None]:
  """Opens the training part and, where there is one with labels, the test part.

  Args:
    config: a valid config.
    decodes: whether small parts are decoded at once, as by `load_part`.

  Raises:
    UserError: there is no training part, or the parts do not belong together.
  """
  data = config.data
  load = load_part if decodes else functools.partial(
      open_part, max_bytes=data.resident_limit_mib << 20)
  train = _labelled(load(data, data.train_split, key='data.train_split',
                         seed=config.seed), config.task)
  if isinstance(train.labels, np.ndarray):
    labels_lib.warn_of_singles(train.labels, train.name)
  test = None
  if data.test_split and train.labels is not None:
    test = _labelled(load(data, data.test_split, seed=config.seed,
                          class_names=train.class_names), config.task)
    if test is not None and test.labels is None:
      test = None
    classes = table.num_classes(train)
    if test is not None and (largest := table.largest_label(test)) >= classes:
      raise UserError(
          f'{test.name} has a label {largest}, the training part has 0 '
          f"to {classes - 1}: mend the labels or set --config.data.test_split=''")
  return train, test


def _labelled(opened: table.Data | None, task: str) -> table.Data | None:
  """Decides what images without a label are for, where others have one.

  Pretraining takes all images and no label: a probe needs one of each. Evaluations take
  the images with a label.
  """
  if opened is None or not isinstance(opened.labels, np.ndarray):
    return opened
  has_label = opened.labels != labels_lib.NONE
  if has_label.all():
    return opened
  message = (f'{opened.name}: {(~has_label).sum():,} of {opened.size:,} images have no '
             'label')
  if task in (*task_names.LEARNING, 'report') or not has_label.any():
    _console.warning('%s: the labels of the others are not used, so there is no probe',
                     message)
    return opened._replace(labels=None, class_names=None)
  _console.warning('%s: they are left out', message)
  return table.take(opened, np.flatnonzero(has_label))


def tell_bad(*parts: table.Data | None) -> None:
  """Warns of the images of some parts that turned out to be bad."""
  for part in parts:
    if part is not None and part.bad:
      _console.warning('%s', part.bad.summary())


def left_out(**parts: table.Data | None) -> dict[str, dict[str, str]]:
  """Returns {part: {name: why}} of the parts with bad images, for results.json."""
  return {name: part.bad.report() for name, part in parts.items()
          if part is not None and part.bad}


def of_weights(config: ml_collections.ConfigDict,
               trained: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns the config that names the images of an evaluation.

  With data.source='same', keys that `config` does not set are taken from `trained`, the
  config of the pretraining.
  """
  result = config.copy_and_resolve_references().unlock()
  default = keys_lib.base().data
  if config.data.source == 'same':
    own = config.data.own.split(',')
    for name in keys_lib.of_the_data():
      key = name.removeprefix('data.')
      if key == 'source' or config.data[key] == default[key] and key not in own:
        result.data[key] = trained.data[key]
    source = source_names.CATALOGUE.get(trained.data.source)  # none of foreign weights
    is_drawn = source is not None and source.seeded  # from the run's seed
    result.seed = trained.seed if is_drawn else config.seed
  for key in ('image_size', 'gray_range', 'background'):
    result.data[key] = trained.data[key]
  result = with_source(result)
  if result.data.resident == 'yes':  # here it only says how images are fed
    result.data.resident = 'auto'
  return result.lock()
