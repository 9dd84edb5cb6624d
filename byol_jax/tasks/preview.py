"""task=preview: a page about the images and the schedule, before a run is paid."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from concurrent import futures
import contextlib
import logging
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.data.images import decode
from byol_jax.data.images import look
from byol_jax.data.sources import lazy
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.pages import pictures as pictures_lib
from byol_jax.pages import preview
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import describe
from byol_jax.tasks import output
from byol_jax.tasks import showing
from byol_jax.training import build

_console = logging.getLogger('byol_jax')

NAME = 'preview.html'
_FIRST = 24  # images


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Writes WORKDIR/preview.html; trains nothing, and leaves the workdir free for a run.

  Args:
    config: a valid config, of the run that is to be made.
    workdir: the run's directory; made if it is missing.

  Raises:
    UserError: there are no images, or the page cannot be written.
  """
  started = time.time()
  config = data_lib.with_source(config)
  data = config.data
  with _messages() as messages:
    train = data_lib.open_part(data, data.train_split, key='data.train_split',
                               seed=config.seed)
    test = data_lib.open_part(
        data, data.test_split, seed=config.seed,
        class_names=train.class_names) if data.test_split else None
  warnings = []
  resolved = _resolved(config, train, warnings)
  shown = showing.Showing(train, data.train_split, data.threads)
  found = _found(config, train, test, shown, messages)
  views = pictures_lib.Pictures()
  try:
    views = pictures_lib.Pictures(_views(resolved or config, train, shown))
  except (UserError, decode.BadImage) as error:  # all of the first ones are bad
    warnings.append(f'There are no views: {error}')
  total = None if resolved is None else schedule.total_steps(
      resolved, train.size)
  page = preview.page(
      found, views, warnings=warnings,
      schedule=describe.schedule_lines(resolved or config, total),
      changed=describe.changed(config), made=output.made())
  output.write(workdir, page, NAME)
  for warning in warnings:
    _console.warning('%s', warning)
  _console.info('%s looked at in %.1f s, %d of them odd',
                wording.count(found.looked_at, 'image'), time.time() - started,
                len(found.odd))


def _resolved(config: ml_collections.ConfigDict, train: table.Data,
              warnings: list[str]) -> ml_collections.ConfigDict | None:
  """Returns the config as the run would have it; None if the run would be refused."""
  try:
    rules.check_devices(config.train.batch_size, config.train.accumulation_steps,
                        jax.device_count(), config.network.bn_groups)
    return schedule.resolve(config, train.size, jax.default_backend())
  except UserError as error:
    warnings.append(f'The run would be refused: {error}')
    return None


def _views(config: ml_collections.ConfigDict, train: table.Data,
           shown: showing.Showing) -> Any:
  """Returns the views of the first step, for a batch that fits the images."""
  config, size = ml_collections.ConfigDict(config.to_dict()), train.size
  config.train.batch_size = min(config.train.batch_size, size)
  config.train.accumulation_steps = 1
  config = schedule.resolve(config, size, jax.default_backend())
  return shown.views(build.build(config, size, table.num_classes(train)),
                     config.seed, config.train.batch_size)


def _found(config: ml_collections.ConfigDict, train: table.Data,
           test: table.Data | None, shown: showing.Showing,
           messages: list[str]) -> preview.Found:
  """Looks at the images."""
  size = train.size
  rows = np.unique(np.concatenate([
      np.arange(min(_FIRST, size)),
      np.linspace(0, size - 1, min(config.preview.looked_at, size)).astype(int)]))
  with futures.ThreadPoolExecutor(config.data.threads or None) as pool:
    looks = list(pool.map(lambda row: _look(train, row), rows.tolist()))
  names = [str(name) for name in table.names_of(train, rows, config.data.train_split)]
  kinds = Counter((at.format, *at.size) for at in looks)
  groups = defaultdict(list)
  for name, at in zip(names, looks):
    groups[at.digest].append(name)
  odd = [(row, ', '.join(at.odd)) for row, at in zip(rows.tolist(), looks) if at.odd]
  return preview.Found(
      shown.shown(rows[:_FIRST]),
      [(part, data.name, data.size, table.num_classes(data))
       for part, data in (('train', train), ('test', test)) if data is not None],
      _classes(train, shown), [(*kind, n) for kind, n in kinds.most_common()],
      len(rows), list(zip(shown.shown([row for row, _ in odd[:100]]),
                          [why for _, why in odd])),
      [alike for digest, alike in groups.items() if digest and len(alike) > 1],
      messages)


def _look(data: table.Data, row: int) -> look.Look:
  if isinstance(data, table.Images):
    return look.at_pixels(data.images[row])
  try:
    return look.at_file(data.read(row), data.how)
  except decode.BadImage as error:  # there is no file to read
    return look.Look('', (0, 0), (f'bad: {error}',), '')


def _classes(train: table.Data, shown: showing.Showing) -> list[tuple[str, int]]:
  """Returns the classes and their images; none where labels come with the images."""
  if train.labels is None or isinstance(train.labels, lazy.Labels):
    return []
  counts = np.bincount(train.labels[train.labels >= 0],
                       minlength=table.num_classes(train))
  return [(shown.label(i), int(n)) for i, n in enumerate(counts)]


class _Notes(logging.Handler):
  """Keeps what is told on the console."""

  def __init__(self, messages: list[str]):
    super().__init__()
    self._messages = messages

  def emit(self, record: logging.LogRecord) -> Any:
    self._messages.append(record.getMessage())


@contextlib.contextmanager
def _messages():
  """Yields a list of what the sources say on the console of what they pass over."""
  messages: list[str] = []
  handler = _Notes(messages)
  _console.addHandler(handler)
  try:
    yield messages
  finally:
    _console.removeHandler(handler)
