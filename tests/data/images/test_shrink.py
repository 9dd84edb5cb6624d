"""Images made smaller: their shape, their pixels, and how many at a time."""

from concurrent import futures
import io
import threading
import time

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import decode
from byol_jax.data.images import reading
from byol_jax.data.images import shrink


@pytest.mark.parametrize('size, new', [
    ((40, 60), (20, 30)), ((61, 40), (30, 20)), ((20, 500), (20, 500)),
    ((7, 9), (7, 9)), ((21, 21), (20, 20))])
def test_smaller_keeps_the_shape_and_never_enlarges(size, new):
  file = io.BytesIO()
  pixels = np.full((*size, 3), (200, 100, 50), np.uint8)
  Image.fromarray(pixels).save(file, 'PNG')
  data = shrink.smaller(file.getvalue(), 20, 95)
  assert decode.decode(data).shape[:2] == new
  assert np.abs(decode.decode(data).astype(int) - (200, 100, 50)).max() < 4
  assert (data == file.getvalue()) == (size == new)


def test_large_jpegs_become_smaller_as_whole_ones_do(monkeypatch):
  """Decoded at a quarter: the same to less than what JPEG itself changes."""
  rng = np.random.default_rng(0)
  rough = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
  photo = np.asarray(rough.resize((1600, 1200), Image.Resampling.BICUBIC), np.int16)
  photo = photo + rng.normal(0, 6, photo.shape)  # a sensor's noise
  file = io.BytesIO()
  Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(file, 'JPEG', quality=90)
  sizes, whole = [], decode.decode
  def spied(data, at_least=0, how=decode.DEFAULT):
    pixels = whole(data, at_least, how)
    sizes.append(pixels.shape[:2])
    return pixels
  monkeypatch.setattr(decode, 'decode', spied)
  fast = whole(shrink.smaller(file.getvalue(), 128, 95)).astype(int)
  assert sizes == [(300, 400)]
  monkeypatch.setattr(decode, 'decode', lambda data, at_least, how: whole(data))
  exact = whole(shrink.smaller(file.getvalue(), 128, 95)).astype(int)
  assert fast.shape == exact.shape == (128, 171, 3)
  assert np.sqrt(np.mean((fast - exact) ** 2)) < 1.5
  assert whole(file.getvalue(), 601).shape == (1200, 1600, 3)
  assert whole(file.getvalue(), 600).shape == (600, 800, 3)


def test_large_images_are_made_smaller_one_at_a_time(monkeypatch):
  """Their pixels and a copy of them: as many threads would take as many times that."""
  monkeypatch.setattr(reading, '_LARGE', 40 * 60 - 1)
  inside, most = [], []
  whole, resize = decode.decode, Image.Image.resize
  def enter(data, at_least=0, how=decode.DEFAULT):
    inside.append(None)
    most.append(len(inside))
    together.wait(timeout=30)
    time.sleep(0.02)
    return whole(data, at_least, how)
  def leave(image, *arguments):
    inside.pop()
    return resize(image, *arguments)
  monkeypatch.setattr(decode, 'decode', enter)
  monkeypatch.setattr(Image.Image, 'resize', leave)
  for height, at_once in ((40, 1), (39, 4)):
    together = threading.Barrier(at_once)
    file = io.BytesIO()
    Image.new('RGB', (60, height)).save(file, 'PNG')
    with futures.ThreadPoolExecutor(4) as pool:
      list(pool.map(lambda data: shrink.smaller(data, 20, 95), [file.getvalue()] * 4))
    assert max(most) == at_once
    most.clear()


def test_longer_than_a_jpeg_can_be():
  file = io.BytesIO()
  Image.fromarray(np.zeros((40, 70_000, 3), np.uint8)).save(file, 'PNG')
  assert shrink.smaller(file.getvalue(), 39, 95) == file.getvalue()
  assert decode.decode(shrink.smaller(file.getvalue(), 10, 95)).shape == (
      10, 17_500, 3)
