"""The hint that large images want to be prepared: once, and only for them."""

import io
import logging

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import large


def _jpeg(width, height):
  file = io.BytesIO()
  Image.fromarray(np.zeros((height, width), np.uint8)).save(file, 'JPEG')
  return file.getvalue()


@pytest.mark.parametrize('side, told', [(1200, 0), (1800, 1)])
def test_told_once_of_large_images(caplog, side, told):
  files = [_jpeg(side, side), _jpeg(64, 64), _jpeg(side, side), b'no picture']
  read = large.watched(lambda index: files[index % 4], 224)
  with caplog.at_level(logging.INFO, 'byol_jax'):
    for index in range(100):
      assert read(index) == files[index % 4]
  assert len(caplog.records) == told
  if told:
    assert '3.2 megapixels' in caplog.text
    assert '--config.prepare.short_side=256' in caplog.text
