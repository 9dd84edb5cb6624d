"""Odd machines: damaged caches of compiled programs, odd clocks and folders."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import harness
from harness import Outcome
from harness import row
import numpy as np

TINY = harness.HERE / 'tiny_config.py'


# --- G4: the cache of compiled programs -------------------------------------------


def _run(scratch: pathlib.Path, *arguments: str, cwd: pathlib.Path | None = None,
         script: tuple[str, ...] = ('-m', 'byol_jax.main'),
         **changes: str | None) -> tuple[int, str]:
  """A tiny run in a changed environment: (exit code, output)."""
  environment = harness.environment(scratch) | changes
  process = subprocess.Popen(
      harness.command(*arguments, script=script), cwd=cwd or scratch, text=True,
      env={name: value for name, value in environment.items() if value is not None},
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
  return harness.finish(process)


def _difference(expected: tuple[int | None, dict[str, np.ndarray]],
                workdir: pathlib.Path) -> str:
  """'' if the run ended in that very state."""
  if not (workdir / 'checkpoints').is_dir():
    return 'no checkpoints'
  step, state = harness.state_of(workdir)
  if step != expected[0]:
    return f'step {step}, not {expected[0]}'
  return harness.differ(expected[1], state)


def _each(change):
  """Damages every file of a cache by change(bytes, rng)."""
  def damage(folder, rng):
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
      path.write_bytes(change(path.read_bytes(), rng))
  return damage


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
  flipped = bytearray(data)
  bit = int(rng.integers(8 * len(data)))
  flipped[bit // 8] ^= 1 << bit % 8
  return bytes(flipped)


def _rename(folder: pathlib.Path, rng: np.random.Generator):
  for path in list(folder.iterdir()):
    path.rename(path.with_name(f'jit_other-{rng.bytes(32).hex()}-cache'))


def _folders(folder: pathlib.Path, rng: np.random.Generator):
  for path in list(folder.iterdir()):
    path.unlink()
    path.mkdir()


def _file(folder: pathlib.Path, rng: np.random.Generator):
  shutil.rmtree(folder)
  folder.write_text('not a folder')


def _dangling(folder: pathlib.Path, rng: np.random.Generator):
  shutil.rmtree(folder)
  folder.symlink_to(folder.with_name('nowhere') / 'deeper')


def _read_only(folder: pathlib.Path, rng: np.random.Generator):
  for path in folder.iterdir():
    path.unlink()
  folder.chmod(0o500)


_CACHES = {
    'cut': _each(lambda data, rng: data[:len(data) // 2]),
    'emptied': _each(lambda data, rng: b''),
    'zeroed': _each(lambda data, rng: bytes(len(data))),
    'garbage': _each(lambda data, rng: rng.bytes(len(data))),
    'lengthened': _each(lambda data, rng: data + rng.bytes(100)),
    'a flipped bit in each': _each(_flip),
    'of other programs': _rename, 'folders for files': _folders,
    'a file for the folder': _file, 'a dangling link': _dangling,
    'read-only': _read_only, 'impossible': None}


@row('G4', cases=len(_CACHES), sample=0,
     bound='the run ends with the same bits as without a cache')
def compilation_cache(cases: int, scratch: pathlib.Path) -> Outcome:
  """JAX's cache of compiled programs is damaged, or cannot be written."""
  rng = harness.rng('G4')
  code, output = _run(scratch, '--workdir=plain', JAX_COMPILATION_CACHE_DIR=None)
  if code:
    return Outcome(0, [f'the run without a cache: {harness.tail(output)}'])
  expected = harness.state_of(scratch / 'plain')
  # one path for all: it is part of the names of the programs
  cache, whole = scratch / 'cache', scratch / 'whole'
  def run(path):
    shutil.rmtree(scratch / 'out', ignore_errors=True)
    code, output = _run(scratch, '--workdir=out',
                        JAX_COMPILATION_CACHE_DIR=str(path))
    return code, _difference(expected, scratch / 'out'), output
  run(cache)
  shutil.copytree(cache, whole)
  failures = []
  if run(cache)[:2] != (0, '') or not len(harness.everything(whole)) == len(
      harness.everything(cache)) > 0:
    failures.append('the whole cache is not used')
  for name in list(_CACHES)[:cases]:
    path = pathlib.Path('/proc/nowhere/cache')
    if _CACHES[name] is not None:
      path = cache
      _remove(cache)
      shutil.copytree(whole, cache)
      _CACHES[name](cache, rng)
    code, difference, output = run(path)
    if code or difference:
      failures.append(f'{name}: exit code {code}, {difference or "same bits"}: '
                      f'{harness.tail(output)}')
  return Outcome(min(cases, len(_CACHES)), failures,
                 f'{len(harness.everything(whole))} programs'
                 + (', as root, whom no mode stops' if os.getuid() == 0 else ''))


def _remove(path: pathlib.Path):
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


@row('G7', cases=200, sample=0,
     bound='exit code 0 and the same bits as ever; no crash')
def starts(cases: int, scratch: pathlib.Path) -> Outcome:
  """A stopped run goes on, on two virtual devices, with a warm cache and without."""
  devices = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}
  code, output = _run(scratch, '--workdir=stopped', **devices)
  if code:
    return Outcome(0, [f'the first run: {harness.tail(output)}'])
  expected = harness.state_of(scratch / 'stopped')
  shutil.rmtree(scratch / 'stopped' / 'checkpoints' / str(expected[0]))
  counts, failures = {'warm': 0, 'cold': 0}, []
  for case in range(cases):
    kind = ('warm', 'cold')[case % 2]
    shutil.rmtree(scratch / 'out', ignore_errors=True)
    shutil.copytree(scratch / 'stopped', scratch / 'out')
    cache = {} if kind == 'warm' else {'JAX_COMPILATION_CACHE_DIR': None}
    code, output = _run(scratch, '--workdir=out', **devices, **cache)
    difference = _difference(expected, scratch / 'out')
    if code or difference:
      failures.append(f'{kind}: exit code {code}, {difference or "same bits"}: '
                      f'{harness.tail(output)}')
    counts[kind] += 1
  return Outcome(cases, failures, '{warm} warm, {cold} cold'.format(**counts))


# --- G6: the surroundings ---------------------------------------------------------

_MAIN = ('import sys; from byol_jax import main; from byol_jax.run import signals; '
         'signals.for_good(); sys.exit(main.main(sys.argv))')
# Once there is a checkpoint of step 20.
_CLOCK = '''
import os, threading, time
real, jump = time.time, [0]
time.time = lambda: real() + jump[0]
time.time_ns = lambda: int(1e9 * time.time())
def watch():
  while not os.path.exists('out/checkpoints/20'): time.sleep(0.01)
  jump[0] = %d
threading.Thread(target=watch, daemon=True).start()
'''
_EPOCH_CLOCK = f'''
import time
time.time = lambda start=time.time(), real=time.time: real() - start
time.time_ns = lambda: int(1e9 * time.time())
{_MAIN}'''
_NO_FOLDER = f'''
import os
os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')
{_MAIN}'''
_PROXY = 'http://none.invalid:1'
_NAME = 'gr\xf6\xdfe \u5b57'  # of a workdir
_TFDS = ('--config.data.source=tfds', '--config.data.tfds_name=cifar10',
         '--config.data.path=missing')

# name -> (environment, script after -c, workdir, arguments, exit code, a word)
_SURROUNDINGS = {
    'an odd time zone': ({'TZ': ':/nowhere/XYZ+99:99:99'}, '', 'out', (), 0, ''),
    'no home': ({'HOME': '/nowhere/home'}, '', 'out', (), 0, ''),
    'no HOME': ({'HOME': None, 'USER': None, 'LOGNAME': None}, '', 'out', (), 0, ''),
    'a read-only home': ({'HOME': '/proc', 'XDG_CACHE_HOME': '/proc/cache'}, '',
                         'out', (), 0, ''),
    'proxies that lead nowhere': (
        {name: _PROXY for name in ('http_proxy', 'https_proxy', 'all_proxy')}
        | {'no_proxy': ''}, '', 'out', (), 0, ''),
    'LC_ALL=C': ({'LC_ALL': 'C'}, '', _NAME, (), 0, ''),
    'LC_ALL=POSIX, no UTF-8 mode': (
        {'LC_ALL': 'POSIX', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}, '',
        _NAME, (), 2, 'workdir'),
    'an ASCII console': ({'PYTHONIOENCODING': 'ascii'}, '', _NAME, (), 0, ''),
    'a clock that jumps ahead': ({}, _CLOCK % 864000 + _MAIN, 'out', (), 0, ''),
    'a clock that jumps back': ({}, _CLOCK % -864000 + _MAIN, 'out', (), 0, ''),
    'a clock that starts in 1970': ({}, _EPOCH_CLOCK, 'out', (), 0, ''),
    'a folder to run in that is gone': ({}, _NO_FOLDER, '/out', (), 0, ''),
    'the same, and a workdir in it': ({}, _NO_FOLDER, 'out', (), 2, 'out'),
    'umask 077': ({}, f'import os; os.umask(0o077); {_MAIN}', 'out', (), 0, ''),
    'no TFDS folder': ({}, '', 'out', _TFDS, 2, 'missing'),
    'no temporary folder': ({'TMPDIR': '/nowhere/else'}, '', 'out', (), 0, '')}


@row('G6', cases=len(_SURROUNDINGS), sample=0,
     bound='the same bits as ever, or exit code 2 and a message; no traceback')
def surroundings(cases: int, scratch: pathlib.Path) -> Outcome:
  """Odd clocks, homes, locales and folders."""
  code, output = _run(scratch, '--workdir=plain')
  if code:
    return Outcome(0, [f'the plain run: {harness.tail(output)}'])
  expected = harness.state_of(scratch / 'plain')
  failures = []
  for name in list(_SURROUNDINGS)[:cases]:
    changes, script, workdir, arguments, wanted, word = _SURROUNDINGS[name]
    # '/out' for a path that does not depend on where the process is
    path = scratch / workdir.lstrip('/')
    shown = str(path) if workdir.startswith('/') else workdir
    shutil.rmtree(path, ignore_errors=True)
    code, output = _run(
        scratch, f'--workdir={shown}', *arguments,
        script=('-c', script) if script else ('-m', 'byol_jax.main'), **changes)
    failure = '' if wanted else _difference(expected, path)
    if code != wanted or failure or word not in output or 'Traceback' in output:
      failures.append(f'{name}: exit code {code}, {failure}: '
                      f'{harness.tail(output)}')
  return Outcome(min(cases, len(_SURROUNDINGS)), failures)
