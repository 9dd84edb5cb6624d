"""The least time of a step by a device's published peaks, for benchmarks/step.py.

A step takes at least its arithmetic over the peak rate, and at least the bytes that it
moves over the memory's bandwidth. The larger one over the measured time is the share of
the roofline. Data sheets promise more than any program gets: a large matrix product has
80 to 90 % of the first peak, a copy about 90 % of the second.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import NamedTuple


class Peak(NamedTuple):
  """What a data sheet says of one device."""
  flops: float  # bfloat16 a second, dense
  bandwidth: float  # of its memory, bytes a second


# Device by jax's `device_kind`. NVIDIA's data sheets of the H200, H100, A100, L4 and
# V100 (float16: it has no bfloat16 units); Google's pages of each TPU version, per
# device as jax counts them: half a chip of v2 and v3, a chip of the others.
PEAKS = {
    'NVIDIA H200': Peak(989e12, 4.8e12),
    'NVIDIA H100 80GB HBM3': Peak(989e12, 3.35e12),
    'NVIDIA H100 PCIe': Peak(756e12, 2.0e12),
    'NVIDIA A100-SXM4-80GB': Peak(312e12, 2.039e12),
    'NVIDIA A100 80GB PCIe': Peak(312e12, 1.935e12),
    'NVIDIA A100-SXM4-40GB': Peak(312e12, 1.555e12),
    'NVIDIA A100-PCIE-40GB': Peak(312e12, 1.555e12),
    'NVIDIA L4': Peak(121e12, 0.3e12),
    'Tesla V100-SXM2-16GB': Peak(125e12, 0.9e12),
    'Tesla V100-SXM2-32GB': Peak(125e12, 0.9e12),
    'TPU v2': Peak(22.5e12, 0.3e12),
    'TPU v3': Peak(61.5e12, 0.45e12),
    'TPU v4': Peak(275e12, 1.2e12),
    'TPU v5 lite': Peak(197e12, 0.819e12),
    'TPU v5': Peak(459e12, 2.765e12),
    'TPU v6 lite': Peak(918e12, 1.64e12),
}
# Libraries that XLA calls on a GPU; its cost analysis knows neither their arithmetic
# nor their traffic.
_LIBRARIES = ('__cudnn', '__cublas')
_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'f16': 2, 'bf16': 2,
          's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8}
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?(%?[\w.-]+) = (.*)$')
_SHAPE = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')


def seconds(kind: str, precision: str, flops: float,
            bytes_moved: float) -> float | None:
  """Computes the least time of a step.

  Args:
    kind: the device's, as jax names it.
    precision: network.precision.
    flops: of one device, in a step.
    bytes_moved: likewise; 0 where it is not known.

  Returns:
    Seconds; None for a device that is not in `PEAKS`, another precision than bfloat16,
    or flops that are not known (0).
  """
  peak = PEAKS.get(kind)
  if peak is None or precision != 'bfloat16' or flops <= 0:
    return None
  return max(flops / peak.flops, bytes_moved / peak.bandwidth)


def library_bytes(hlo: str) -> int:
  """Counts what the calls of cuDNN and cuBLAS read and write.

  Args:
    hlo: a compiled program, as text.

  Returns:
    Bytes: each call's operands once and its results once, as XLA counts a fusion.
    Workspaces are among the results.
  """
  sizes, total = {}, 0
  for line in hlo.splitlines():
    instruction = _INSTRUCTION.match(line)
    if not instruction:
      continue
    name, rest = instruction.groups()
    head, call, tail = rest.partition(' custom-call(')
    if not call:  # the shape, or a tuple of shapes, stands before the operation
      head = rest.split(')' if rest.startswith('(') else '(', 1)[0]
    sizes[name] = _size(head)
    if call and any(f'custom_call_target="{library}' in tail
                    for library in _LIBRARIES):
      operands = re.findall(r'%[\w.-]+', tail.split(')', 1)[0])
      total += sizes[name] + sum(sizes.get(operand, 0) for operand in operands)
  return total


def _size(shapes: str) -> int:
  """Returns the bytes of all arrays that a text names, as bf16[8,3]{1,0} does."""
  total = 0
  for dtype, dimensions in _SHAPE.findall(shapes):
    size = _BYTES.get(dtype, 0)
    for dimension in filter(None, dimensions.split(',')):
      size *= int(dimension)
    total += size
  return total


def counted(lowered: Mapping[str, float] | None, compiled: Mapping[str, float] | None,
            hlo: str) -> tuple[float, float]:
  """Returns (FLOP, bytes) of one device's step, 0 for what is not known.

  The arithmetic is that of the program as it was written: after the compiler it hides
  in calls of libraries. The traffic is that of the compiled program, after fusion.

  Args:
    lowered: the cost analysis before the compiler.
    compiled: the cost analysis after it.
    hlo: the compiled program's text.
  """
  flops = max(0.0, (lowered or {}).get('flops', 0.0))
  moved = max(0.0, (compiled or {}).get('bytes accessed', 0.0))
  return flops, moved + library_bytes(hlo)
