"""The colours of pages: texts and marks can be read on both grounds."""

import re

import pytest

from byol_jax.pages import chart
from byol_jax.pages import style


def luminance(colour):
  """As WCAG 2 defines it."""
  parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
  parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
  high, low = sorted((luminance(a), luminance(b)), reverse=True)
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('block', [0, 1], ids=['light', 'dark'])
def test_contrast(block):
  colours = dict(re.findall(r'--(\w+): (#\w{6})', style.COLOURS.split('@media')[block]))
  shown = ['ink', 'soft', 'good', 'bad', *(f'c{i}' for i in range(chart.COLOURS))]
  for name in shown:
    for ground in ('page', 'card'):
      assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def test_each_colour_of_a_rule_is_defined():
  used = set(re.findall(r'var\(--(\w+)\)', style.PAGE + chart.STYLE))
  assert used <= set(re.findall(r'--(\w+):', style.COLOURS)) | {'c'}
