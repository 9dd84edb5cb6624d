"""An axis of a chart: its ends, its round values, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
import math


def short(value: float) -> str:
  """Returns a number for an axis: '0.5', '1e-06', '20k'."""
  if value and not 1e-3 <= abs(value) < 1e7:
    return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e')
  for size, letter in ((1e6, 'M'), (1e4, 'k')):
    if abs(value) >= size:
      return f'{value / (size if letter == "M" else 1e3):.4g}{letter}'
  return f'{value:.4g}'


def steps(low: float, high: float, most: int = 6) -> float:
  """Returns a round distance between at most `most` + 1 ticks from low to high."""
  wide = high - low
  step = 10 ** math.floor(math.log10(wide / most))
  return next(step * f for f in (1, 2, 5, 10) if wide / (step * f) <= most)


class Axis:
  """One axis: its ends, its ticks, and where a value stands."""

  def __init__(self, values: Sequence[float], log: bool, margin: float = 0.05):
    self._log = log
    values = [math.log10(value) for value in values] if log else values
    low, high = min(values), max(values)
    wide = high - low
    if wide <= 1e-9 * max(abs(low), abs(high)):  # one value: it stands in the middle
      wide = (0.2 if log else 0.2 * abs(high) or 1.0)
      low, high = low - wide / 2, high + wide / 2
    self._low, self._high = low - margin * wide, high + margin * wide

  def share(self, value: float) -> float:
    """Returns the place of a value, 0 at the low end and 1 at the high one."""
    value = math.log10(value) if self._log else value
    return (value - self._low) / (self._high - self._low)

  def ticks(self, most: int = 6) -> list[float]:
    """Returns the values that are named along the axis."""
    if self._log and self._high - self._low >= 1.5:
      step = max(1, math.ceil((self._high - self._low) / most))
      first = math.ceil(self._low / step) * step
      return [10.0 ** power for power in range(first, math.floor(self._high) + 1, step)]
    low, high = ((10**self._low, 10**self._high) if self._log
                 else (self._low, self._high))
    step = steps(low, high, most)
    return [round(i * step, 12) for i in range(math.ceil(low / step),
                                               math.floor(high / step) + 1)
            if not self._log or i]
