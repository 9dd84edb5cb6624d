"""The run's directory or bucket: opens it, and keeps it to one config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import logging
import os
import shutil
import tempfile
from typing import Any

from etils import epath

from byol_jax import wording
from byol_jax.errors import UserError
from byol_jax.run import lock as lock_lib
from byol_jax.storage import bucket
from byol_jax.storage import failures
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

_KEPT = ('results.json', 'progress.json')  # results of a run beside its checkpoints
ENVIRONMENT = 'environment'  # the section of config.json with variables
_MOST_CONFIG = 1 << 20  # bytes of config.json
_MOST_SHOWN = 100  # characters of a value in a message
_WITH_VALUES, _MOST_NAMED = 4, 8  # keys that differ, in a message


class AnotherRun(UserError):
  """The workdir is of another config, or of other data.

  Attributes:
    difference: the message without the advice behind it.
  """

  def __init__(self, difference: str, advice: str):
    super().__init__(f'{difference}; {advice}')
    self.difference = difference


@contextlib.contextmanager
def opened(path: str, *, is_first: bool) -> Iterator[str]:
  """Opens the folder for a run's small files, until the end of the block.

  Process 0 makes the workdir if it is missing, and locks it.

  Args:
    path: the workdir, a directory or a bucket.
    is_first: whether this is process 0.

  Yields:
    The directory; for a bucket a folder that stands for it (bucket.py).

  Raises:
    UserError: the workdir cannot be written, or another process holds it.
  """
  with contextlib.ExitStack() as stack:
    if not is_first:
      yield (stack.enter_context(tempfile.TemporaryDirectory(prefix='byol_jax-'))
             if paths_lib.in_bucket(path) else path)
    elif paths_lib.in_bucket(path):
      bucket.prepare(path)
      stack.enter_context(lock_lib.lock(path))
      yield stack.enter_context(bucket.mirrored(path))
    else:
      _prepare(path)
      stack.enter_context(lock_lib.lock(path))
      yield path


def _prepare(path: str) -> None:
  """Makes the directory, and checks that it takes a file."""
  try:
    os.path.abspath(path).encode()
  except UnicodeEncodeError as error:
    raise UserError(f'--workdir={path}: the locale cannot hold this name; set '
                    'LC_ALL=C.UTF-8 or PYTHONUTF8=1') from error
  except OSError as error:  # the folder in which the program was started is gone
    raise lock_lib.cannot_write(path, error) from error
  try:
    os.makedirs(path, exist_ok=True)
    probe = os.path.join(path, f'.write-test-{os.getpid()}')
    with open(probe, 'wb') as f:
      f.write(b'x')
    os.remove(probe)
  except (OSError, ValueError) as error:
    raise lock_lib.cannot_write(path, error) from error


def check_space(path: str, needed_bytes: int) -> None:
  """Checks that a directory has room; a bucket always has.

  Raises:
    UserError: it has no room.
  """
  if paths_lib.in_bucket(path):
    return
  free = shutil.disk_usage(path).free
  if free < needed_bytes:
    raise UserError(
        f'workdir {path} has {free / 2**20:,.0f} MiB free, the checkpoints of '
        f'this run take {needed_bytes / 2**20:,.0f} MiB: make room or set '
        '--workdir')


def old_config(workdir: str) -> dict[str, Any]:
  """Returns the flat config.json of a run that has saved something; {} without.

  May be called before the workdir is locked. `compare` reports a bad file.
  """
  try:
    data = (epath.Path(workdir) / 'config.json').read_bytes()
    if len(data) <= _MOST_CONFIG and _has_begun(workdir, workdir):
      return files_lib.flatten(files_lib.parse_json(data))
  except Exception:  # untyped, of a bucket
    pass
  return {}


def compare(path: str, workdir: str, config: dict[str, Any], found: dict[str, Any],
            free_keys: Sequence[str], defaults: Mapping[str, Any]) -> None:
  """Checks that config.json, if there is one, is of this very run.

  The file of a run that has saved nothing yet does not count: its command may have been
  wrong.

  Args:
    path: the folder that `opened` gave.
    workdir: the bucket that the folder stands for; else the same folder.
    config: resolved, as a dict.
    found: number, classes and fingerprint of the data; other images are another run.
    free_keys: the keys that may change.
    defaults: as for `require_same`.

  Raises:
    AnotherRun: names the keys that differ.
    UserError: config.json cannot be read.
  """
  file = os.path.join(path, 'config.json')
  try:
    if not os.path.exists(file) or not _has_begun(path, workdir):
      return
    if os.path.getsize(file) > _MOST_CONFIG:
      raise ValueError('too large')
    with open(file, encoding='utf-8') as f:
      old = json.load(f)
    if not isinstance(old, dict):
      raise ValueError('not an object')
  except OSError as error:
    raise failures.of_storage(f'cannot read {file}: {error}', error) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f'{file} is damaged ({error}): remove it if the command is '
                    'the one that the run was started with, or name another '
                    '--workdir') from error
  require_same(old, config | {'data_found': found}, f'workdir {workdir}', free_keys,
               defaults, run=workdir)


def _has_begun(path: str, workdir: str) -> bool:
  """Returns whether there is anything that another run could spoil."""
  if any(os.path.exists(os.path.join(path, name)) for name in _KEPT):
    return True
  try:
    return any((epath.Path(workdir) / 'checkpoints').iterdir())
  except FileNotFoundError:
    return False
  except Exception:  # untyped, of a bucket
    return True


def record(path: str, config: dict[str, Any], found: dict[str, Any],
           environment: Mapping[str, str] | None = None) -> None:
  """Writes config.json, after all else was checked to be of this run.

  Args:
    path: the folder that `opened` gave.
    config: resolved, as a dict.
    found: facts about the data.
    environment: variables that may change numbers; see `warn_of_environment`.

  Raises:
    UserError, TransientError: the file cannot be written.
  """
  try:
    files_lib.write_json(os.path.join(path, 'config.json'),
                         config | {'data_found': found}
                         | ({ENVIRONMENT: dict(environment)} if environment else {}))
  except OSError as error:
    raise lock_lib.cannot_write(path, error) from error


def warn_of_environment(old: Mapping[str, Any], new: Mapping[str, str]) -> None:
  """Warns of variables that may change numbers and differ from the run's beginning.

  Args:
    old: the flat config.json of the run; an older version's has no variables.
    new: `compiler.environment()`.
  """
  for name, value in new.items():
    was = old.get(f'{ENVIRONMENT}.{name}', value)
    if was != value:
      _console.warning('%s is %r, and was %r when this run began: its numbers may '
                       'differ from here on', name, value, was)


def require_same(old: dict[str, Any], new: dict[str, Any], where: str,
                 free_keys: Sequence[str], defaults: Mapping[str, Any], *,
                 run: str = '') -> None:
  """Checks that a config is that of an earlier session.

  Args:
    old: the earlier config, maybe of an older version.
    new: the present config.
    where: the place of the earlier config, for messages.
    free_keys: the keys that may differ.
    defaults: {'data.path': value, ...}, for keys that an older version did not have.
      These values keep the old behaviour.
    run: the workdir, where a longer run may begin with what was learned in it.

  Raises:
    AnotherRun: names the keys that differ.
  """
  old = dict(defaults) | files_lib.flatten(old)
  new = dict(defaults) | files_lib.flatten(json.loads(json.dumps(new)))
  differ = [key for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
            and key not in free_keys and not key.startswith(f'{ENVIRONMENT}.')]
  changed = [key for key in differ if key.startswith('data_found.')]
  if changed and changed == differ:
    raise AnotherRun(
        f'the data of {where} has changed: ' + ', '.join(
            f'{key.split(".")[1]} {str(old.get(key))[:_MOST_SHOWN]} there, '
            f'{new.get(key)} now'
            for key in changed), 'name another --workdir, or restore the data')
  if differ:
    show = lambda value: repr(value)[:_MOST_SHOWN]
    shown = [f'{key[:_MOST_SHOWN]} ({show(old.get(key))} there, '
             f'{show(new.get(key))} now)' for key in differ[:_WITH_VALUES]]
    others = wording.some(
        [key[:_MOST_SHOWN] for key in differ[_WITH_VALUES:]], _MOST_NAMED)
    raise AnotherRun(
        f'{where} holds a run with another config: '
        f'{", ".join([*shown, *[others] * bool(others)])}',
        'name another --workdir, or use the same values'
        + (f'; to train longer, a new run may begin with --config.init_from={run}'
           if run and 'train.epochs' in differ else ''))
