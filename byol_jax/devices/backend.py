"""Asks for the devices once, and says in one line what jax's errors mean for a user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
import re

import jax
from jaxlib import xla_client

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

# Texts of errors that have no type of their own.
_NO_MEMORY = re.compile(
    r'RESOURCE_EXHAUSTED|out of memory|failed to allocate|unable to allocate|bad_alloc',
    re.IGNORECASE)
_BYTES = re.compile(
    r'allocat\w*\D{0,40}?(\d{5,})|allocat\w*\D{0,40}?([\d.]+) ?([KMGT])i?B',
    re.IGNORECASE)
_OF_THE_MOMENT = re.compile(  # another process has the device, or the network is down
    r'in use|UNAVAILABLE|DEADLINE_EXCEEDED|out of memory|RESOURCE_EXHAUSTED',
    re.IGNORECASE)
# Kinds of jax's errors that come again with every start of the same program.
_OF_THE_PROGRAM = ('INVALID_ARGUMENT', 'UNIMPLEMENTED', 'OUT_OF_RANGE', 'NOT_FOUND')
_EVALUATION = 'lower config key evaluation.batch_size or data.eval_image_size'
_ADVICE = {  # by task; pretrain's first step has advice of its own
    'pretrain': 'lower config key evaluation.batch_size or evaluation.examples, or '
                'data.resident_limit_mib so that images are streamed',
    'preflight': 'lower config key train.batch_size or data.image_size',
    'preview': 'lower config key train.batch_size or preview.looked_at',
    'linear_eval': f'{_EVALUATION}, or linear_eval.batch_size',
    'finetune': f'{_EVALUATION}, or finetune.batch_size',
    'prepare': 'lower config key data.threads'}
_NAMED = ('JAX_PLATFORMS', 'JAX_PLATFORM_NAME', 'CUDA_VISIBLE_DEVICES',
          'TPU_VISIBLE_CHIPS')
_EXTRAS = {'cuda': 'cuda', 'gpu': 'cuda', 'tpu': 'tpu'}  # platform: extra of setup.py


def check_flags() -> None:
  """Lets a child read XLA_FLAGS: XLA ends a process at a flag that it does not know.

  Raises:
    UserError: names the flag.
  """
  flags = os.environ.get('XLA_FLAGS')
  if not flags:
    return
  reading, writing = os.pipe()
  child = os.fork()
  if child == 0:
    try:
      os.dup2(writing, 2)
      xla_client.CompileOptions()
    finally:  # it was read, or the flags are not read here at all
      os._exit(0)
  os.close(writing)
  with open(reading, encoding='utf-8', errors='replace') as f:
    message = f.readline().rpartition('] ')[2].strip()
  if os.waitpid(child, 0)[1]:
    raise UserError(f'XLA_FLAGS={flags!r} cannot be read ({message}): mend or unset it')


def require() -> None:
  """Asks jax for its devices, once, before anything else needs them.

  Raises:
    UserError: there are none: JAX_PLATFORMS names what this machine does not have.
    TransientError: another process holds them.
  """
  try:
    jax.devices()
    return
  except (RuntimeError, AssertionError, ValueError) as error:
    cause, reason = _root(error), error
  wanted = jax.config.jax_platforms or ''
  # XLA's flags say how many devices a CPU counts as
  names = _NAMED if wanted not in ('', 'cpu') else (*_NAMED, 'XLA_FLAGS')
  named = ', '.join(f'{name}={os.environ[name]!r}' for name in names
                    if os.environ.get(name)) or f'JAX_PLATFORMS={wanted!r}'
  why = errors.one_line(cause)
  if why == 'AssertionError':  # jax's for a plug-in that is not there
    why = f'jax has no plug-in for {wanted!r} here'
  extra = next((_EXTRAS[name] for name in wanted.lower().split(',') if name in _EXTRAS),
               None)
  if _OF_THE_MOMENT.search(why):
    raise TransientError(f'the devices cannot be had now ({why}): another process may '
                         f'hold them; {named}') from reason
  raise UserError(f'{named} cannot be had ({why}): '
                  + (f"pip install '.[{extra}]', or " if extra else '')
                  + 'unset it to take what the machine has, or set '
                  'JAX_PLATFORMS=cpu') from reason


def advice(task: str) -> str:
  """Returns what to change where the memory for a task is missing."""
  return _ADVICE.get(task, _EVALUATION)


@contextlib.contextmanager
def explained(advice: str, has_worked: Callable[[], bool] = lambda: False,
              ) -> Iterator[None]:
  """Says which keys help where the memory for a computation is missing.

  Args:
    advice: what to change.
    has_worked: whether the same computation was done before, so that another process
      may have taken the memory.

  Raises:
    UserError: memory ran out at the first time; the same command would fail again.
    TransientError: memory ran out later.
  """
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
      raise
    wanted = f'{_wanted(str(error))} cannot be had ({errors.one_line(error)[:120]})'
    if has_worked():
      raise TransientError(f'memory ran out: {wanted}; the same command goes on from '
                           f'the last checkpoint; if it happens again, {advice}'
                           ) from error
    raise UserError(f'not enough memory: {wanted}: {advice}') from error


def is_transient(error: Exception) -> bool:
  """Returns whether an error is of a device or another process, and may pass."""
  return (isinstance(error, jax.errors.JaxRuntimeError)
          and not str(error).startswith(_OF_THE_PROGRAM))


def _root(error: BaseException) -> BaseException:
  """Returns the first cause that has a text."""
  while (below := error.__cause__ or error.__context__) is not None and str(below):
    error = below
  return error


def _wanted(text: str) -> str:
  """Returns how much memory was asked for, by the text of an error."""
  found = _BYTES.search(text)
  if found is None:
    return 'what the computation needs'
  if found[1]:
    return f'{int(found[1]) / 2**30:,.1f} GiB'
  return f'{found[2]} {found[3].upper()}iB'
