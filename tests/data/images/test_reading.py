"""Which images are too large; how files are read is in test_decode.py."""

import threading

import pytest

from byol_jax.data.images import reading


@pytest.mark.parametrize('height, width, said', [
    (10, 10, ''), (10, 11, 'at most 100 are read .config key data.max_pixels'),
    (1, 1_000_001, '')])
def test_sizes(height, width, said):
  if said:
    with pytest.raises(reading.BadImage, match=f'too large: {width} x {height}.*{said}'):
      reading.check_size(height, width, 100)
  else:
    reading.check_size(height, min(width, 100 // height), 100)


def test_an_endless_side():
  with pytest.raises(reading.BadImage, match='1,000,000 a side'):
    reading.check_size(1, 1_000_001, reading.MAX_PIXELS)


def test_large_images_take_turns():
  inside = threading.Event()
  def work():
    with reading.turn(reading._LARGE + 1):
      inside.set()
  with reading.turn(reading._LARGE + 1), reading.turn(reading._LARGE + 1):
    thread = threading.Thread(target=work)
    thread.start()
    assert not inside.wait(0.05)
  thread.join(10)
  assert inside.is_set()
