"""Settings of the compiler and the generator of random numbers, made once a process."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os

import jax

_YNN = '--xla_cpu_experimental_ynn_fusion_type'


def set_compiler_flags() -> None:
  """Adds to XLA_FLAGS a flag that makes this program faster.

  Call this before the first computation. In jax 0.10.2 on a CPU the convolutions of
  XLA's newer library, YNN, use one thread where there are fewer than 128 channels
  (https://github.com/jax-ml/jax/issues/37465 uses the same flag for reductions); 0.12
  has that mended. No other version gets the flag: XLA aborts at a flag that it does not
  know. Flags that the user has set stay.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if jax.__version_info__ == (0, 10, 2) and _YNN not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {_YNN}=LIBRARY_FUSION_TYPE_REDUCE'.strip()


def leave_accelerators() -> None:
  """Keeps this process on the CPU: its children need the accelerators.

  Call this before anything asks for a device: a process that has a GPU takes most of
  its memory, and one that has a TPU takes it all.
  """
  jax.config.update('jax_platforms', 'cpu')


@contextlib.contextmanager
def pinned_numbers() -> Iterator[None]:
  """Calls `pin_numbers` until the end of the block, in a program of somebody else."""
  names = ('jax_threefry_partitionable', 'jax_default_prng_impl', 'jax_enable_x64')
  before = {name: getattr(jax.config, name) for name in names}
  pin_numbers()
  try:
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)


def pin_numbers() -> None:
  """Fixes jax's generator and its widths, whatever the environment says.

  A run must not change with its libraries or with an exported JAX_* variable. The
  numbers of one key are a prefix of more numbers of that key only with
  `jax_threefry_partitionable`, so that a new augmentation, which draws more, leaves
  the draws of old runs as they were.
  """
  jax.config.update('jax_threefry_partitionable', True)
  jax.config.update('jax_default_prng_impl', 'threefry2x32')
  jax.config.update('jax_enable_x64', False)
