"""TPU pods that are not there: their devices, memory, and the least time of a step."""

from __future__ import annotations

import importlib.util
import os
import re

import jax
from jax.experimental import topologies
import numpy as np

from byol_jax import errors
from byol_jax.devices import mapped
from byol_jax.errors import UserError

# One device a chip, as v4 and v5p have it at run time.
_MEGACORE = dict(chip_config_name='megacore', chips_per_host_bounds=(2, 2, 1),
                 wrap=(False, False, False))
# accelerator type by Cloud TPU's name: topology by the compiler's name
_ACCELERATORS = {
    'v2-8': 'v2:2x2', 'v2-32': 'v2:4x4', 'v2-128': 'v2:8x8', 'v2-512': 'v2:16x16',
    'v3-8': 'v3:2x2', 'v3-32': 'v3:4x4', 'v3-64': 'v3:4x8', 'v3-128': 'v3:8x8',
    'v3-256': 'v3:8x16', 'v3-512': 'v3:16x16', 'v3-1024': 'v3:16x32',
    'v3-2048': 'v3:32x32',
    'v4-8': 'v4:2x2x1', 'v4-16': 'v4:2x2x2', 'v4-32': 'v4:2x2x4',
    'v4-64': 'v4:2x4x4', 'v4-128': 'v4:4x4x4', 'v4-256': 'v4:4x4x8',
    'v4-512': 'v4:4x8x8', 'v4-1024': 'v4:8x8x8',
    'v5e-4': 'v5e:2x2', 'v5e-8': 'v5e:2x4', 'v5e-16': 'v5e:4x4',
    'v5e-32': 'v5e:4x8', 'v5e-64': 'v5e:8x8', 'v5e-128': 'v5e:8x16',
    'v5e-256': 'v5e:16x16',
    'v5p-8': 'v5p:2x2x1', 'v5p-16': 'v5p:2x2x2', 'v5p-32': 'v5p:2x2x4',
    'v5p-64': 'v5p:2x4x4', 'v5p-128': 'v5p:4x4x4', 'v5p-256': 'v5p:4x4x8',
    'v5p-512': 'v5p:4x8x8',
    'v6e-4': 'v6e:2x2', 'v6e-8': 'v6e:2x4', 'v6e-16': 'v6e:4x4',
    'v6e-32': 'v6e:4x8', 'v6e-64': 'v6e:8x8', 'v6e-128': 'v6e:8x16',
    'v6e-256': 'v6e:16x16',
}
# bfloat16 FLOP/s of a device, published by Google for its chips
_PEAK_FLOPS = {'TPU v2': 22.5e12, 'TPU v3': 61.5e12, 'TPU v4': 275e12,
               'TPU v5 lite': 197e12, 'TPU v5': 459e12, 'TPU v6 lite': 918e12}
GIB = 1 << 30


def describe(topology: str) -> list[jax.Device]:
  """Describes the devices of a pod that is not there.

  Args:
    topology: v3-512, by Cloud TPU's name, or v3:16x16, by the compiler's.

  Returns:
    Devices to compile for.

  Raises:
    UserError: there is no such topology, or no TPU compiler.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise UserError("task=preflight takes the TPU compiler: pip install "
                    "'byol_jax[tpu]' (on any machine)")
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # no questions to the network
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v3-8')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')  # two at a time
  name = _ACCELERATORS.get(topology, topology)
  known = ', '.join(_ACCELERATORS)
  if not re.fullmatch(r'(v2|v3|v4|v5e|v5p|v6e):\d+x\d+(x\d+)?', name):
    raise UserError(f'config key preflight.topology is {topology!r}: it must be '
                    f'one of {known}, or as in v3:16x16')
  options = _MEGACORE if name.startswith(('v4', 'v5p')) else {}
  try:
    return list(topologies.get_topology_desc(
        topology_name=name, platform='tpu', **options).devices)
  except Exception as error:  # untyped: the compiler's
    raise UserError(
        f'config key preflight.topology is {topology!r}, which the compiler does '
        f'not take ({errors.one_line(error)}): one of {known}, or as in v3:16x16'
        ) from error


def num_hosts(devices: list[jax.Device]) -> int:
  """Returns how many hosts have the devices."""
  return len({device.process_index for device in devices})


def lower_bound(seconds: float, flops: float, device_kind: str) -> tuple[float, str]:
  """Returns the least time of a step, and the source of this figure.

  For a v5e the compiler's own sum is minus two minutes, for a v6e below the arithmetic;
  then only the time by the chip's published peak can be given. (No issue known:
  'optimal_seconds' of the cost_analysis() of configs/imagenet_r50.py.)

  Args:
    seconds: the compiler's figure.
    flops: of a device and step, likewise.
    device_kind: the kind of device by jax's name.

  Returns:
    Seconds, and 'compiler' or 'arithmetic'.
  """
  arithmetic = flops / _PEAK_FLOPS[device_kind]
  return max((arithmetic, 'arithmetic'), (seconds, 'compiler'))


def available_bytes(devices: list[jax.Device]) -> int:
  """Returns how much of a core's memory a program may take, by asking for too much."""
  huge = jax.ShapeDtypeStruct((1 << 20, 1 << 20), np.float32)
  each = jax.ShapeDtypeStruct((len(devices),), np.float32)
  double = lambda state, shared, batch: (state * 2, ())
  try:
    mapped.pmap_update(double, devices).lower(huge, (), each).compile()
  except jax.errors.JaxRuntimeError as error:
    found = re.search(r'exceeds available HBM \(([\d.]+)G', str(error))
    if found:
      return int(float(found[1]) * GIB)
    raise
  raise AssertionError('4 TiB fit a core')
