"""What every row of the fault matrix is made of.

A row is a function that tries to break something `cases` times and returns what
it saw. `python tests/faults/run.py` runs all rows at full length,
`test_sample.py` each of them with a few cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
SEED = 20261123  # of every random choice


class Outcome(NamedTuple):
  """What came of the cases of a row."""
  cases: int
  failures: list[str]  # one line each
  note: str = ''


class Row(NamedTuple):
  """A row of the matrix."""
  name: str  # C1, ...
  title: str
  bound: str  # what counts as a success
  cases: int  # at full length
  sample: int  # in the ordinary tests; 0 for none
  run: Callable[[int, pathlib.Path], Outcome]


ROWS: dict[str, Row] = {}


def row(name: str, *, bound: str, cases: int, sample: int):
  """Registers fn(cases, scratch folder) -> Outcome as a row."""
  def register(fn):
    assert name not in ROWS
    ROWS[name] = Row(name, fn.__doc__.split('\n')[0], bound, cases, sample, fn)
    return fn
  return register


def rng(name: str) -> np.random.Generator:
  """Random numbers of a row, the same in every run."""
  return np.random.default_rng([SEED, *name.encode()])


# --- whole runs, as a user starts them -------------------------------------------


def command(*arguments: str, script: Sequence[str] = ('-m', 'byol_jax.main'),
            ) -> list[str]:
  """A run of a tiny network: 0.2 s of training, most of the rest is imports."""
  if not any(argument.startswith('--config=') for argument in arguments):
    arguments = (f'--config={HERE}/tiny_config.py', *arguments)
  return [sys.executable, *script, *arguments]


def environment(scratch: pathlib.Path, devices: int = 1,
                **more: str) -> dict[str, str]:
  """The environment of a run; compiled programs are shared between rows."""
  return os.environ | dict(
      JAX_PLATFORMS='cpu', PYTHONPATH=str(ROOT),
      JAX_COMPILATION_CACHE_DIR=str(scratch.parent / 'jax_cache'),
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
      XLA_FLAGS=f'--xla_force_host_platform_device_count={devices}') | more


def start(scratch: pathlib.Path, *arguments: str, devices: int = 1,
          script: Sequence[str] = ('-m', 'byol_jax.main'),
          **more: str) -> subprocess.Popen:
  """Starts a run in a process group of its own."""
  return subprocess.Popen(
      command(*arguments, script=script), cwd=scratch,
      env=environment(scratch, devices, **more), text=True,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def finish(process: subprocess.Popen, timeout: float = 600) -> tuple[int, str]:
  """(exit code, output); 'timeout' as the code's place if it hangs."""
  try:
    output = process.communicate(timeout=timeout)[0]
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    return -999, 'TIMEOUT ' + process.communicate()[0]
  return process.returncode, output


def run(scratch: pathlib.Path, *arguments: str, devices: int = 1,
        **more: str) -> tuple[int, str]:
  """Runs to the end: (exit code, output)."""
  return finish(start(scratch, *arguments, devices=devices, **more))


def start_several(
    scratch: pathlib.Path, count: int, *arguments: str,
    per_process: Mapping[int, Sequence[str]] | None = None,
    per_process_environment: Mapping[int, Mapping[str, str]] | None = None,
    per_process_script: Mapping[int, Sequence[str]] | None = None,
    devices: int = 1, only: Sequence[int] | None = None,
    wait: Mapping[int, float] | None = None) -> list[subprocess.Popen]:
  """Starts one run of `count` processes over loopback.

  Args:
    scratch: a folder.
    count: of processes.
    *arguments: of all.
    per_process: more arguments, by process.
    per_process_environment: more environment.
    per_process_script: what to run in place of the program.
    devices: of each.
    only: start no others.
    wait: seconds before a process is started.

  Returns:
    Those started.
  """
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = s.getsockname()[1]
  processes = []
  for i in range(count) if only is None else only:
    time.sleep((wait or {}).get(i, 0))
    more = dict(JAX_COORDINATOR_ADDRESS=f'localhost:{port}',
                JAX_NUM_PROCESSES=str(count), JAX_PROCESS_ID=str(i))
    more |= (per_process_environment or {}).get(i, {})
    script = (per_process_script or {}).get(i, ('-m', 'byol_jax.main'))
    processes.append(start(
        scratch, '--distributed=on', *arguments, *(per_process or {}).get(i, ()),
        devices=devices, script=script, **more))
  return processes


def wait_for(process: subprocess.Popen, path: pathlib.Path,
             seconds: float = 120) -> bool:
  """Whether a file or folder appears while the process runs."""
  until = time.monotonic() + seconds
  while time.monotonic() < until and process.poll() is None:
    if path.exists():
      return True
    time.sleep(0.01)
  return path.exists()


def state_of(workdir: pathlib.Path) -> tuple[int | None, dict[str, np.ndarray]]:
  """The newest checkpoint of a run: (step, every array by name)."""
  from byol_jax.run import checkpoint  # not at the top: rows fork before jax starts
  checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints', read_only=True)
  try:
    step = checkpoints.latest()
    if step is None:
      return None, {}
    opened = checkpoints.open(step)
    return step, opened.read(opened.leaves)
  finally:
    checkpoints.close()


def differ(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> str:
  """'' if two states are equal to the bit, else the first difference."""
  if list(a) != list(b):
    return 'other arrays'
  for name in a:
    if a[name].tobytes() != b[name].tobytes():
      return f'{name} differs'
  return ''


def everything(folder: pathlib.Path) -> list[str]:
  return sorted(str(path) for path in folder.rglob('*'))


def tail(output: str, lines: int = 3) -> str:
  """The end of an output in one line."""
  return ' | '.join(output.strip().splitlines()[-lines:])[-400:]


# --- the storage ---------------------------------------------------------------


def shim(folder: pathlib.Path) -> pathlib.Path:
  """Compiles shim.c, which is put between a process and its files."""
  library = folder / 'shim.so'
  if not library.exists():
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', str(library),
                    str(HERE / 'shim.c'), '-ldl'], check=True)
  return library
