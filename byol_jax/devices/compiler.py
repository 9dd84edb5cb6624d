"""Settings of the compiler and the generator of random numbers, made once a process."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import re

import jax
import jaxlib

_YNN = '--xla_cpu_experimental_ynn_fusion_type'

_HARMLESS = ('--xla_force_host_platform_device_count', '--xla_dump', _YNN,
             '--xla_gpu_cuda_data_dir')
# jax's variables that change no number: who computes, caches, logs, checks
_HARMLESS_OF_JAX = re.compile(
    r'JAX_(COORDINATOR_\w+|NUM_\w+|PROCESS_ID|PLATFORM\w*|\w*CACHE\w*|\w*DEVICES?'
    r'|\w*TIMEOUT\w*|\w*LOG\w*|\w*DEBUG\w*|\w*DUMP\w*|\w*TRACEBACK\w*|\w*CHECK\w*'
    r'|PGLE\w*|TRANSFER_\w+|CROSS_HOST\w+|PPRINT\w*|\w*PROFILE\w*)')
_PINNED = {
    'jax_threefry_partitionable': True, 'jax_default_prng_impl': 'threefry2x32',
    'jax_enable_x64': False, 'jax_default_matmul_precision': None,
    'jax_random_seed_offset': 0, 'jax_numpy_dtype_promotion': 'standard',
    'jax_numpy_rank_promotion': 'allow', 'jax_disable_jit': False,
    # these stop a program at what it may do
    'jax_legacy_prng_key': 'allow', 'jax_enable_custom_prng': False,
    'jax_debug_key_reuse': False, 'jax_transfer_guard': 'allow'}
_OF_NUMBERS = ('LIBTPU_INIT_ARGS', 'NVIDIA_TF32_OVERRIDE')


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
  before = {name: getattr(jax.config, name) for name in _PINNED}
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
  for name, value in _PINNED.items():
    jax.config.update(name, value)


def environment() -> dict[str, str]:
  """Returns what may change numbers and cannot be set by this program.

  XLA reads its variables before or beside jax. What changes no number is left out, and
  the number of devices: a run may go on with another one.
  """
  flags = [flag for flag in os.environ.get('XLA_FLAGS', '').split()
           if not flag.startswith(_HARMLESS)]
  of_jax = [f'{name}={value}' for name, value in sorted(os.environ.items())
            if name.startswith('JAX_') and hasattr(jax.config, name.lower())
            and name.lower() not in _PINNED and not _HARMLESS_OF_JAX.fullmatch(name)]
  return {'XLA_FLAGS': ' '.join(sorted(flags)), 'JAX_*': ' '.join(of_jax)} | {
      name: os.environ.get(name, '') for name in _OF_NUMBERS} | {
          'jaxlib': jaxlib.__version__, 'devices': jax.devices()[0].device_kind}
