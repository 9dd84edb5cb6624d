"""The hint that large images want to be prepared: once, and only for them."""

import io
import logging

import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.images import large
from byol_jax.data.sources import table


def _jpeg(width, height):
  file = io.BytesIO()
  Image.fromarray(np.zeros((height, width), np.uint8)).save(file, 'JPEG')
  return file.getvalue()


@pytest.mark.parametrize('side, size, told', [(1200, 100, 0), (1800, 100, 1),
                                              (1800, 5, 1)])
def test_told_once_of_large_images(caplog, side, size, told):
  files = [_jpeg(side, side), _jpeg(64, 64), _jpeg(side, side), b'no picture']
  names = list(map(str, range(size)))
  read = large.watching(table.Encoded(
      lambda index: files[index % 4], size, None, names, None, 'them',
      bad.BadImages(names, 'them')), 224).read
  with caplog.at_level(logging.INFO, 'byol_jax'):
    for index in [*range(size)] * 2:
      assert read(index) == files[index % 4]
  assert len(caplog.records) == told
  if told:
    assert '3.2 megapixels' in caplog.text
    assert '--config.prepare.short_side=256' in caplog.text
