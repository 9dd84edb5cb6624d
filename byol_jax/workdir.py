"""The run's directory: made, locked, and held to one config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import threading
import time
from typing import Any

from byol_jax import config as config_lib
from byol_jax import logs
from byol_jax.errors import UserError

_BEAT_SECONDS = 5.0
_STALE_BEATS = 4  # so many beats without a sign of life
_MOST_CONFIG = 1 << 20  # bytes of config.json
_MOST_SHOWN = 100  # characters of a value in a message


def prepare(path: str) -> None:
  """Makes the directory and writes to it.

  Raises:
    UserError: that does not work.
  """
  if '://' in path:
    raise UserError(f'--workdir={path}: buckets are not supported yet, name '
                    'a local or mounted directory')
  try:
    os.path.abspath(path).encode()
  except UnicodeEncodeError as error:
    raise UserError(f'--workdir={path}: the locale cannot hold this name; set '
                    'LC_ALL=C.UTF-8 or PYTHONUTF8=1') from error
  try:
    os.makedirs(path, exist_ok=True)
    probe = os.path.join(path, f'.write-test-{os.getpid()}')
    with open(probe, 'wb') as f:
      f.write(b'x')
    os.remove(probe)
  except (OSError, ValueError) as error:
    raise _cannot_write(path, error) from error


def check_space(path: str, checkpoint_bytes: int) -> None:
  """Checks that two checkpoints fit: a new one, and the one it replaces.

  Raises:
    UserError: they do not.
  """
  free = shutil.disk_usage(path).free
  if free < 2 * checkpoint_bytes:
    raise UserError(
        f'workdir {path} has {free / 2**20:,.0f} MiB free, two checkpoints of '
        f'this run take {2 * checkpoint_bytes / 2**20:,.0f} MiB: make room or '
        'set --workdir')


def claim(path: str, config: dict[str, Any], found: dict[str, Any],
          free_keys: Sequence[str]) -> None:
  """Writes config.json, or checks that the one there is of this very run.

  Args:
    path: the directory.
    config: resolved, as a dict.
    found: what the data turned out to be; other images are another run.
    free_keys: beginnings of the keys that may change.

  Raises:
    UserError: names the keys that differ.
  """
  file = os.path.join(path, 'config.json')
  new = config | {'data_found': found}
  try:
    if os.path.exists(file):
      if os.path.getsize(file) > _MOST_CONFIG:
        raise ValueError('too large')
      with open(file, encoding='utf-8') as f:
        old = json.load(f)
      if not isinstance(old, dict):
        raise ValueError('not an object')
      require_same(old, new, f'workdir {path}', free_keys)
    logs.write_json(file, new)
  except OSError as error:
    raise _cannot_write(path, error) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f'{file} is damaged ({error}): remove it if the command is '
                    'the one that the run was started with, or name another '
                    '--workdir') from error


def require_same(old: dict[str, Any], new: dict[str, Any], where: str,
                 free_keys: Sequence[str]) -> None:
  """Checks a config against that of an earlier session.

  Raises:
    UserError: names the keys that differ.
  """
  old, new = config_lib.flatten(old), config_lib.flatten(
      json.loads(json.dumps(new)))
  differ = [key for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
            and not key.startswith(tuple(free_keys))]
  changed = [key for key in differ if key.startswith('data_found.')]
  if changed and changed == differ:
    raise UserError(
        f'the data of {where} has changed: ' + ', '.join(
            f'{key.split(".")[1]} {str(old.get(key))[:_MOST_SHOWN]} there, '
            f'{new.get(key)} now'
            for key in changed)
        + '\nname another --workdir, or restore the data')
  if differ:
    show = lambda value: repr(value)[:_MOST_SHOWN]
    shown = ', '.join(
        f'{key[:_MOST_SHOWN]} ({show(old.get(key))} there, {show(new.get(key))} now)'
        for key in differ[:4])
    more = ' ...' if len(differ) > 4 else ''
    raise UserError(
        f'{where} holds a run with another config: {shown}{more}\nname another '
        '--workdir, or use the same values')


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
  """Holds the directory for this process, until the end of the block.

  The lock is a file that names its holder. On one machine the system knows
  whether the holder lives (flock). From another machine, which may see the same
  directory over a network, the holder is alive if the file goes on changing.

  Raises:
    UserError: another process holds it; names it.
  """
  file = os.path.join(path, 'lock.json')
  try:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise _cannot_write(path, error) from error
  stop = threading.Event()
  beating = None
  try:
    _flock(descriptor, path)
    holder = _read(descriptor)
    if holder and holder.get('host') != socket.gethostname():
      _wait_until_stale(descriptor, holder, path)
    if holder:
      logs.console.info('the run that held %s is gone (%s): going on', path,
                        _name(holder))
    me = {'host': socket.gethostname(), 'pid': os.getpid(),
          'since': time.strftime('%Y-%m-%d %H:%M:%S')}
    _write(descriptor, me | {'beat': 0})

    def beat():
      count = 0
      while not stop.wait(_BEAT_SECONDS):
        count += 1
        with contextlib.suppress(OSError):  # a full disk: flock holds still
          _write(descriptor, me | {'beat': count})

    beating = threading.Thread(target=beat, name='lock', daemon=True)
    beating.start()
    yield
  finally:
    stop.set()
    if beating is not None:
      beating.join()
      with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)  # left in order
    os.close(descriptor)


def _flock(descriptor: int, path: str) -> None:
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise _in_use(path, _read(descriptor)) from error
  except OSError as error:
    # some network file systems have no flock: the beats alone must do
    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
      raise _cannot_write(path, error) from error


def _wait_until_stale(descriptor: int, holder: dict[str, Any], path: str) -> None:
  """Returns when a holder on another machine has shown no sign of life."""
  logs.console.info('%s was in use by %s: waiting %g s for a sign of life', path,
                    _name(holder), _BEAT_SECONDS * _STALE_BEATS)
  until = time.monotonic() + _BEAT_SECONDS * _STALE_BEATS
  while time.monotonic() < until:
    time.sleep(_BEAT_SECONDS / 5)
    now = _read(descriptor)
    if not now:
      return
    if now != holder:
      raise _in_use(path, now)


def _read(descriptor: int) -> dict[str, Any]:
  """What the lock file says; {} where it says nothing, or nothing whole."""
  try:
    holder = json.loads(os.pread(descriptor, 4096, 0))
    return holder if isinstance(holder, dict) else {}
  except (OSError, ValueError):
    return {}


def _write(descriptor: int, holder: dict[str, Any]) -> None:
  data = json.dumps(holder).encode() + b'\n'
  os.pwrite(descriptor, data, 0)
  os.ftruncate(descriptor, len(data))


def _name(holder: dict[str, Any]) -> str:
  return (f'process {holder.get("pid", "?")} on {holder.get("host", "?")}, '
          f'since {holder.get("since", "?")}')


def _in_use(path: str, holder: dict[str, Any]) -> UserError:
  return UserError(f'workdir {path} is in use by {_name(holder)}: wait for its '
                   'end, stop it, or name another --workdir')


def _cannot_write(path: str, error: Exception) -> UserError:
  return UserError(f'cannot write to workdir {path}: '
                   f'{getattr(error, "strerror", None) or error}; set --workdir')
