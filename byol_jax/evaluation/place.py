"""The workdir of an evaluation, beside the encoder's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import itertools
import logging
import os
import re
from typing import Any, NamedTuple

import jax

from byol_jax.devices import hosts
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')


class Place(NamedTuple):
  """An opened workdir.

  Attributes:
    workdir: a directory or bucket, as the user reads it.
    folder: the folder that stands for it, for small files (`workdir.opened`).
  """
  workdir: str
  folder: str

  def named(self, file: str) -> str:
    """Returns a file's path as the user reads it."""
    return os.path.join(self.workdir, file)

  def results(self) -> dict[str, Any] | None:
    """Returns process 0's results.json; None if it is missing or damaged."""
    path = os.path.join(self.folder, 'results.json')
    if not hosts.from_first(os.path.exists(path)):
      return None
    results = hosts.gather_json(files_lib.read_json(path))[0]
    if results is None:
      _console.warning('%s is damaged: measuring again', path)
    return results

  def write_results(self, results: Mapping[str, Any]) -> None:
    """Writes results.json; every process calls this, and process 0 writes.

    Raises:
      TransientError: the file cannot be written.
    """
    path = os.path.join(self.folder, 'results.json')
    with hosts.together('results'), files_lib.writing(path):
      if jax.process_index() == 0:
        files_lib.write_json(path, results)


def root(weights: weights_lib.Weights) -> str:
  """Returns the workdir that holds the weights; for anything but a run a new one."""
  if find.form(weights.path) != 'run':
    return os.path.join('runs', f'encoder-{weights.digest[:8]}')
  return os.path.dirname(find.parse(weights.path)[0])


def beside(weights: weights_lib.Weights, name: str, other_data: str) -> str:
  """Returns a workdir for each combination of config file, network and data set.

  The name includes the network and the data set unless they are the usual ones;
  `other_data` is '' for the data set of the pretraining.
  """
  if weights.network != 'online':
    name += f'_{weights.network}'
  if other_data:
    name += '_' + re.sub(r'[^\w.]+', '_', other_data)[:60]
  return os.path.join(root(weights), 'evaluations', f'{name}-{weights.step}')


@contextlib.contextmanager
def opened(path: str, *, is_named: bool, config: dict[str, Any], found: dict[str, Any],
           free_keys: Sequence[str], defaults: Mapping[str, Any]) -> Iterator[Place]:
  """Opens the workdir of an evaluation until the end of the block.

  Args:
    path: the workdir. If another evaluation is there, PATH-2, PATH-3, ... is taken.
    is_named: whether the user has named it: then it is taken, or refused.
    config: the evaluation's config, as a dict.
    found: facts about the encoder and the data.
    free_keys: the keys that may differ in the same evaluation.
    defaults: the defaults of all keys, flat.

  Yields:
    A free workdir, or that of this very evaluation.

  Raises:
    UserError: the named workdir holds another evaluation, or cannot be used.
  """
  is_first = jax.process_index() == 0
  place = path
  for number in itertools.count(2):
    with contextlib.ExitStack() as stack:
      why = ''
      with hosts.together('workdir'):
        folder = stack.enter_context(workdir_lib.opened(place, is_first=is_first))
        if is_first:
          try:
            workdir_lib.compare(folder, place, config, found, free_keys, defaults)
            workdir_lib.record(folder, config, found)
          except workdir_lib.AnotherRun as error:
            if is_named:
              raise
            why = error.difference
      if not hosts.from_first(bool(why)):
        yield Place(place, folder)
        return
    place = f'{path}-{number}'
    if is_first:
      _console.info('%s; looking at %s', why, place)
