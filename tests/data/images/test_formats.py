"""Which files count as images, and what is said of those that are none."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import decode
from byol_jax.data.images import formats


def test_endings_of_version_0_1_are_among_those_of_today():
  assert set(formats.ENDINGS_0_1) < set(formats.ENDINGS)
  assert {'.jfif', '.jpe', '.ppm', '.pgm', '.avif', '.jp2', '.heic', '.jxl'} <= set(
      formats.ENDINGS)


def test_pillow_is_asked_for_no_format_that_runs_programs():
  assert not set(formats.pillow()) & {'EPS', 'WMF', 'SPIDER', 'GBR'}
  assert {'JPEG', 'PNG', 'PPM', 'TIFF'} <= set(formats.pillow())


@pytest.mark.parametrize('data, what', [
    (b'version https://git-lfs.github.com/spec/v1', 'git lfs pull'),
    (b'<!DOCTYPE html><html>', 'HTML'), (b'  <html>', 'HTML'), (b'%PDF-1.4', 'PDF'),
    (b'{"error": "not found"}', 'JSON'), (b'\x1f\x8b\x08', 'gzip'),
    (b'/9j/4AAQSkZJRg', 'base64.: decode'), (b'301 Moved Permanently', 'but text'),
    (b'\0\x05\x16\x07' + bytes(30), 'macOS'), (b'BZh91AY&SY' + bytes(9), 'compressed'),
    (b'<?xml version="1.0"?><svg>', 'SVG'), (bytes(128) + b'DICM', 'DICOM'),
    (b'II*\0\x08\0\0\0\1\0\x15\1\3\0\1\0\0\0\x0d\0\0\0', 'TIFF of 13 channels'),
    (b'II*\0\x08\0\0\0\1\0\x15\1\3\0\1\0\0\0\4\0\0\0', 'TIFF of 4 channels'),
    (bytes(300), 'zeros alone'), (b'hello', 'not an image that can be read .JPEG')])
def test_what_stands_in_the_place_of_an_image(data, what):
  with pytest.raises(decode.BadImage, match=f'^not an image .*{what}|^{what}'):
    decode.decode(data)


@pytest.mark.parametrize('data, plug_in', [
    (b'\0\0\0\x18ftypheic' + bytes(40), 'HEIF'), (b'\xff\x0a' + bytes(40), 'JXL')])
def test_a_plug_in_that_is_missing_is_named(monkeypatch, data, plug_in):
  known = tuple(name for name in formats.pillow() if name != plug_in)
  monkeypatch.setattr(formats, 'pillow', lambda: known)
  with pytest.raises(decode.BadImage, match=r"pip install '\.\[formats\]'"):
    decode.decode(data)


@pytest.mark.parametrize('name, data', [
    ('TIFF', b'II*\0' + bytes(9)), ('PNG', b'\x89PNG\r\n'), ('WEBP', b'RIFF1234WEBPVP')])
def test_the_beginning_of_an_image_is_told_from_other_files(name, data):
  with pytest.raises(decode.BadImage, match=f'only the beginning of {name}, or damaged'):
    decode.decode(data)


@pytest.mark.parametrize('kind, module', [
    ('HEIF', 'pillow_heif'), ('JXL', 'pillow_jxl'), ('AVIF', 'PIL'), ('JPEG2000', 'PIL'),
    ('PPM', 'PIL')])
def test_formats_of_plug_ins_are_read(kind, module):
  pytest.importorskip(module, reason='the extra [formats] is not installed')
  if kind not in formats.pillow():
    pytest.skip('this build of Pillow does not read it')
  pixels = np.tile(np.linspace(0, 255, 80).astype(np.uint8)[None, :, None], (64, 1, 3))
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, kind)
  data = file.getvalue()
  assert np.abs(decode.decode(data).astype(int) - pixels).mean() < 3
  with pytest.raises(decode.BadImage) as error:
    decode.decode(data[:len(data) // 3])
  assert '\n' not in str(error.value)
