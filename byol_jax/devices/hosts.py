"""Several processes, one run: they start together, agree, and fail together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import hashlib
import itertools
import json
import os
import re
import sys
import threading
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from byol_jax import ending
from byol_jax import errors
from byol_jax.errors import EXIT_CODE
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

T = TypeVar('T')
_MESSAGE_BYTES = 512
_GATHERED_BYTES = 256 << 20  # from all processes together, at a time
_MEETING_SECONDS = 6 * 3600
_meetings = itertools.count()  # equal everywhere: all processes make the same calls
_USERS, _MACHINES = 'U', 'M'  # the kinds of failure in a message
# The text of jax's ValueError for no cluster, an error without a type of its own
# (https://github.com/jax-ml/jax/pull/12415 relies on the text, too).
_NO_CLUSTER = 'coordinator_address should be defined'
# The environment in which jax looks for the other processes (jax/_src/clusters).
_OF_CLUSTERS = re.compile(
    r'JAX_(COORDINATOR_ADDRESS|NUM_PROCESSES|PROCESS_ID)|JOB_COMPLETION_INDEX|JOBSET_\w+'
    r'|SLURM_(JOB_ID|NTASKS|PROCID|LOCALID|STEP_NODELIST|STEP_NUM_NODES)|PMIX_RANK'
    r'|OMPI_(MCA_orte_hnp_uri|COMM_WORLD_(SIZE|RANK|LOCAL_RANK))'
    r'|TPU_WORKER_(ID|HOSTNAMES)|MEGASCALE_\w+')
_PROXIES = ('grpc_proxy', 'https_proxy', 'http_proxy')  # gRPC looks at these
_MOST_SHOWN = 60  # characters of a variable's value


def initialize(mode: str, heartbeat_seconds: int, timeout_seconds: int) -> None:
  """Joins the other processes; must be called before any other use of jax.

  Args:
    mode: 'off' for a process by itself; 'on' for one of several, which jax
      finds on Cloud TPU, GKE, Slurm and Open MPI, and elsewhere in
      JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; 'auto' for
      'on' where one of these is found, else 'off'.
    heartbeat_seconds: a process that is silent for so long ends all.
    timeout_seconds: how long to wait for the others; then the process ends with
      exit code 75.

  Raises:
    UserError: there is no cluster.
    TransientError: the processes do not all come.
  """
  if mode == 'off':
    return
  where = {'coordinator_address': os.environ.get('JAX_COORDINATOR_ADDRESS')}
  try:
    for name, variable in (('num_processes', 'JAX_NUM_PROCESSES'),
                           ('process_id', 'JAX_PROCESS_ID')):
      value = os.environ.get(variable)
      where[name] = None if value is None else int(value)
    # when jax stops waiting it aborts, with pages of stack
    patience = threading.Timer(timeout_seconds, _give_up, [where, timeout_seconds])
    patience.daemon = True
    patience.start()
    try:
      with _without_proxies():
        jax.distributed.initialize(
            **where, heartbeat_timeout_seconds=heartbeat_seconds,
            initialization_timeout=timeout_seconds + 60)
    finally:
      patience.cancel()
  except RuntimeError as error:
    raise TransientError('the processes of this run did not come together: '
                         f'{errors.one_line(error)}; {_found()}') from error
  except ValueError as error:
    if mode == 'auto' and not any(where.values()) and _NO_CLUSTER in str(error):
      return
    raise UserError(
        f'--distributed={mode}: no cluster found ({error}); {_found()}; set '
        'JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID, '
        'or --distributed=off') from error


def _give_up(where: Mapping[str, Any], seconds: int) -> None:
  me = where['process_id']
  ending.exit_saying(
      EXIT_CODE,
      f'byol_jax: process {"?" if me is None else me} of '
      f'{where["num_processes"] or "?"} has waited {seconds} s for '
      + ('the others: were all started, with this coordinator (' if me == 0 else
         'process 0: was it started, and can it be reached (')
      + f'{where["coordinator_address"] or "address found by jax"})? {_found()}; '
      'config key safety.startup_timeout', sys.stderr)


@contextlib.contextmanager
def _without_proxies() -> Iterator[None]:
  """Hides the proxies of the web from gRPC, which would ask them for the coordinator.

  gRPC looks at them when a channel is made. The processes of a run never meet through a
  proxy; downloads may need one, so they are there again behind the block.
  """
  hidden = {name: os.environ.pop(name) for variable in _PROXIES
            for name in (variable, variable.upper()) if name in os.environ}
  try:
    yield
  finally:
    os.environ.update(hidden)


def _found() -> str:
  """Returns which variables say where the other processes are, for a message."""
  found = [f'{name}={value[:_MOST_SHOWN]}' for name, value in sorted(os.environ.items())
           if _OF_CLUSTERS.fullmatch(name)]
  return 'found here: ' + (', '.join(found) or 'no variable of a cluster')


def is_one_of_several() -> bool:
  """Returns whether `initialize` has joined other processes."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
  """Makes an error of one process in the block an error of all processes.

  Args:
    what: names the part of the run in messages.

  Raises:
    UserError: a process raised a UserError.
    TransientError: a process raised any other error.
  """
  if jax.process_count() == 1:
    yield
    return
  mine, text = None, ''
  try:
    yield
  except Exception as error:  # any type: the others wait for this process
    mine = error
    sign = _USERS if isinstance(error, UserError) else _MACHINES
    text = sign + (str(error) or type(error).__name__)
  try:
    _meet()
  except Exception:  # a process is dead
    if mine is not None:
      raise mine  # noqa: B904  # `from` would take the place of its own cause
    raise
  data = text.encode(errors='backslashreplace')
  data = data[:_MESSAGE_BYTES].ljust(_MESSAGE_BYTES, b'\0')
  everyone = multihost_utils.process_allgather(
      np.frombuffer(data, np.uint8), tiled=False)
  if mine is not None:
    raise mine
  for process, data in enumerate(np.asarray(everyone)):
    text = data.tobytes().rstrip(b'\0').decode(errors='ignore')
    if text:
      kind = UserError if text[0] == _USERS else TransientError
      raise kind(f'process {process}, {what}: {text[1:]}')


def in_turn(what: str, act: Callable[[], T]) -> T:
  """Calls act on process 0, then on all others, and returns this process's result.

  Args:
    what: as for `together`.
    act: the later calls find the files that process 0's call has written.

  Raises:
    UserError, TransientError: as `together`.
  """
  for is_turn_of_first in (True, False):
    with together(what):
      if (jax.process_index() == 0) == is_turn_of_first:
        result = act()
  return result


def _meet() -> None:
  """Waits for the others, for hours if needed; a collective may give up in seconds.

  A process may have to list millions of files, or to read a data set's records for an
  index. If a process dies its heartbeat stops, and the waiting ends.
  """
  from byol_jax.devices import barrier  # slow
  barrier.wait_for_all(f'byol_jax-{next(_meetings)}', _MEETING_SECONDS)


def agree(values: Mapping[str, Any]) -> None:
  """Checks that all processes hold the same values.

  Args:
    values: JSON values, by a name for messages; the same names in the same order
      everywhere.

  Raises:
    UserError: on every process; names the processes that differ from process 0,
      and the values that differ.
  """
  if jax.process_count() == 1:
    return
  mine = np.stack([
      np.frombuffer(hashlib.sha256(
          json.dumps(value, sort_keys=True).encode()).digest(), np.uint8)
      for value in values.values()])
  everyone = np.asarray(multihost_utils.process_allgather(mine, tiled=False))
  same = (everyone == everyone[0]).all(-1)  # [processes, values]
  if not same.all():
    names = list(values)
    differ = [f'process {process} in its '
              + ', '.join(names[k] for k in np.flatnonzero(~row))
              for process, row in enumerate(same) if not row.all()]
    raise UserError('the processes of this run are not alike: '
                    + '; '.join(differ[:4]) + f'{" ..." if differ[4:] else ""} '
                    'differ from process 0: start all with the same code, '
                    'command and data')


def from_first(value: int) -> int:
  """Returns process 0's value on every process."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def my_part(rows: np.ndarray, unit: int = 1) -> np.ndarray:
  """Returns this process's share of the rows [n, ...]; shares follow one another.

  Each share but the last one is a multiple of `unit` long.
  """
  return part(rows, jax.process_index(), jax.process_count(), unit)


def part(rows: np.ndarray, index: int, count: int, unit: int) -> np.ndarray:
  """Returns part `index`, from 0, of `count`, as `my_part` does for this process."""
  mine = np.array_split(np.arange(0, len(rows), unit), count)[index]
  return rows[mine[0]:mine[-1] + unit] if len(mine) else rows[:0]


def gather(rows: np.ndarray) -> np.ndarray:
  """Gathers every process's rows, in the order of the processes.

  Args:
    rows: [n, ...]; n differs between the processes, the rest does not.

  Returns:
    [sum of n, ...], on every process.
  """
  if jax.process_count() == 1:
    return rows
  counts = np.asarray(multihost_utils.process_allgather(np.int32(len(rows))))
  padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
  padded[:len(rows)] = rows
  row_bytes = max(padded[:1].nbytes, 1)
  each = max(_GATHERED_BYTES // (row_bytes * len(counts)), 1)
  # in parts: the rows pass through the memory of the devices
  parts = [np.asarray(multihost_utils.process_allgather(padded[i:i + each]))
           for i in range(0, len(padded), each)]
  everyone = np.concatenate(parts, axis=1) if parts else padded[None]
  return np.concatenate([x[:count] for x, count in zip(everyone, counts)])


def gather_json(value: Any) -> list[Any]:
  """Gathers every process's value, in the order of the processes."""
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = gather(np.array([len(data)]))
  ends = np.cumsum(sizes)
  everyone = gather(data).tobytes()
  return [json.loads(everyone[end - size:end]) for end, size in zip(ends, sizes)]


def code_digest() -> str:
  """Returns the SHA-256 of this package's source files."""
  root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  digest = hashlib.sha256()
  for folder, subfolders, files in os.walk(root):
    subfolders.sort()
    for name in sorted(files):
      if name.endswith('.py'):
        path = os.path.join(folder, name)
        digest.update(os.path.relpath(path, root).encode() + b'\0')
        with open(path, 'rb') as f:
          digest.update(f.read())
  return digest.hexdigest()
