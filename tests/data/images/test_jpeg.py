"""The markers of a JPEG: which way up it is, and how often it is drawn."""

import io

from PIL import Image
import pytest

from byol_jax.data.images import jpeg


def _jpeg(**options):
  file = io.BytesIO()
  Image.new('RGB', (24, 16)).save(file, 'JPEG', **options)
  return file.getvalue()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  assert jpeg.orientation(_jpeg(exif=exif)) == orientation


@pytest.mark.parametrize('value', [0, 9, 2**15])
def test_an_orientation_that_is_none(value):
  exif = Image.Exif()
  exif[0x0112] = value
  assert jpeg.orientation(_jpeg(exif=exif)) == 1


def test_no_orientation():
  assert jpeg.orientation(_jpeg()) == jpeg.orientation(b'') == 1
  exif = Image.Exif()
  exif[0x010F] = 'a camera'
  data = _jpeg(exif=exif)
  for length in range(len(data)):  # cut anywhere
    assert jpeg.orientation(data[:length]) == 1


def test_drawing():
  assert jpeg.drawing(_jpeg()) == (1, 16, 24)
  scans, height, width = jpeg.drawing(_jpeg(progressive=True))
  assert scans > 5 and (height, width) == (16, 24)
  assert jpeg.drawing(b'') == (0, 0, 0)
