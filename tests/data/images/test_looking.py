"""Pictures that come to nearly nothing are told of, once, with the key that helps."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.images import decode
from byol_jax.data.images import look
from byol_jax.data.images import looking
from byol_jax.data.images import pillow
from byol_jax.data.sources import table

_Y, _X = np.mgrid[:64, :80]
_GRAY = (np.sin(_X / 7) + np.cos(_Y / 9) + 2) / 4


def _save(array, kind='PNG'):
  file = io.BytesIO()
  Image.fromarray(array).save(file, kind)
  return file.getvalue()


def _icon():
  pixels = np.zeros((64, 80, 4), np.uint8)
  pixels[20:40, 20:60, 3] = 255
  return pixels


def _read(files, how=decode.DEFAULT):
  names = list(map(str, range(len(files))))
  data = looking.watching(table.Encoded(
      files.__getitem__, len(files), None, names, None, 'them',
      bad.BadImages(names, 'them'), how=how))
  for index in [*range(len(files)), 0, 1]:
    assert data.read(index) == files[index]


def _different(array):
  return [_save(array) + bytes([k]) for k in range(20)]


@pytest.mark.parametrize('array, said', [
    ((_GRAY * 4095).astype(np.uint16), r"data.gray_range='\(0, 4095\)'"),
    ((_GRAY * 1023).astype(np.uint16), r"data.gray_range='\(0, 1023\)'"),
    ((_GRAY * 16383).astype(np.uint16), r"are dark: .*data.gray_range='\(0, 16383\)'"),
    ((20000 + _GRAY * 299).astype(np.uint16), r"data.gray_range='\(20000, 202\d\d\)'"),
    (np.where(_GRAY > .5, 3, 65533).astype(np.uint16), 'drawings or masks'),
    (_icon(), 'data.background=white'),
    (np.full((64, 80, 3), 9, np.uint8), 'drawings or masks'),
    # ten bits and a broken pixel
    ((_GRAY * 1023).astype(np.uint16) | np.uint16(65535) * (_X + _Y == 0),
     r"data.gray_range='\(0, 1023\)'"),
    ((_GRAY * 15).astype(np.uint8), 'fewer than 32 of 256 levels')])
def test_what_is_odd_is_told_once(caplog, array, said):
  _read(_different(array))
  line, = caplog.messages
  assert __import__('re').search(said, line), line


@pytest.mark.parametrize('array', [
    (_GRAY * 255).astype(np.uint8), (_GRAY * 65535).astype(np.uint16),
    np.zeros((4, 4, 3), np.uint8)[:2, :2]])
def test_good_pictures_are_not_told_of(caplog, array):
  _read(_different(array))
  assert not caplog.messages


def test_half_of_them_count_and_bad_ones_do_not(caplog):
  good = _different((_GRAY * 255).astype(np.uint8))
  flat = _save(np.zeros((64, 80), np.uint8))
  _read(good[:11] + [flat] * 5)
  _read([b'no image'] * 16)
  assert not caplog.messages
  _read(good[:8] + [flat] * 8)
  assert len(caplog.messages) == 1


def test_one_picture_in_the_place_of_all(caplog):
  _read([_save((_GRAY * 255).astype(np.uint8))] * 20)
  assert 'one and the same picture' in caplog.text


def test_more_than_four_channels(caplog):
  looks = [look.Look('TIFF', (9, 9), (), '', header=pillow.Header(
      'TIFF', (9, 9), False, False, 6, False))] * 4
  looking._tell(looks, 'them')
  assert '6 channels' in caplog.text
  assert pillow.header(_save(_icon())).bands == 4


def test_the_keys_help():
  deep = _save((_GRAY * 4095).astype(np.uint16))
  assert len(np.unique(decode.decode(deep))) <= 16
  seen = decode.decode(deep, how=decode.Reading(gray_range=(0.0, 4095.0)))
  np.testing.assert_allclose(seen[..., 0], _GRAY * 255, atol=0.6)
  icon = decode.decode(_save(_icon()), how=decode.Reading(background='white'))
  assert icon[30, 30].tolist() == [0, 0, 0] and icon[0, 0].tolist() == [255] * 3
  fractions = _save(_GRAY.astype(np.float32), 'TIFF')
  with pytest.raises(decode.BadImage, match='go from 0 to 1: .*data.gray_range'):
    decode.decode(fractions)
  dark = _save((_GRAY * 16383).astype(np.uint16))
  seen = decode.decode(dark, how=decode.Reading(gray_range=(0.0, 16383.0)))
  np.testing.assert_allclose(seen[..., 0], _GRAY * 255, atol=0.6)
  seen = decode.decode(fractions, how=decode.Reading(gray_range=(0.0, 1.0)))
  np.testing.assert_allclose(seen[..., 0], _GRAY * 255, atol=0.6)


def test_large_images_have_a_key_and_may_be_made_smaller():
  photo = _save(np.zeros((1000, 2000, 3), np.uint8), 'JPEG')
  how = decode.Reading(max_pixels=1_000_000)
  with pytest.raises(decode.BadImage, match='too large.*data.max_pixels'):
    decode.decode(photo, how=how)
  assert decode.decode(photo, at_least=100, how=how).shape == (125, 250, 3)
  assert decode.decode(photo).shape == (1000, 2000, 3)
