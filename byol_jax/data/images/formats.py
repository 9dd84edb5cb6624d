"""The formats of image files: endings of names, Pillow's plug-ins, what is none.

Importing it costs nothing. Which files count as images never depends on what is
installed: the order of the images would change with the machine.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re

from byol_jax.data.images import metadata

# Endings of version 0.1; runs begun with it keep their list of images.
ENDINGS_0_1 = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
ENDINGS = tuple(sorted((
    *ENDINGS_0_1,
    '.jpe', '.jfif', '.jif', '.jfi', '.pjpeg', '.pjp', '.mpo',  # JPEG by other names
    '.apng', '.dib',
    '.pbm', '.pgm', '.ppm', '.pnm',
    '.jp2', '.j2k', '.j2c', '.jpc', '.jpf', '.jpx',
    '.avif', '.avifs',
    '.heic', '.heif', '.hif', '.jxl')))

_BUILT_IN = ('JPEG', 'PNG', 'GIF', 'BMP', 'DIB', 'WEBP', 'TIFF', 'PPM', 'JPEG2000',
             'AVIF')
# of the extra [formats]: Pillow's name of the format, the module, how to register it
_PLUG_INS = (('HEIF', 'pillow_heif', 'register_heif_opener'),
             ('JXL', 'pillow_jxl', None))
SLOW = ('JPEG2000', 'AVIF', 'HEIF', 'JXL')  # more time and memory for each pixel
_MOST_BANDS = 3  # of a TIFF; Pillow reads some with more
_NEEDED = "needs its plug-in: pip install '.[formats]'"

# Beginnings of files that stand in the place of images.
_BEGINNINGS = {
    'HEIF': rb'.{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)',
    'JXL': rb'\xff\x0a|\0\0\0\x0cJXL \r\n', 'AVIF': rb'.{4}ftypavi[fs]',
    'PNG': rb'\x89PNG', 'JPEG': rb'\xff\xd8', 'GIF': rb'GIF8',
    'TIFF': rb'II\*\0|MM\0\*', 'WEBP': rb'RIFF.{4}WEBP'}
_OTHERS = (
    (_BEGINNINGS['HEIF'], f'HEIC, which {_NEEDED}'),
    (_BEGINNINGS['JXL'], f'JPEG XL, which {_NEEDED}'),
    (_BEGINNINGS['AVIF'], 'AVIF, which this Pillow cannot read'),
    (rb'version https://git-lfs', 'a pointer of Git LFS: git lfs pull'),
    (rb'/annex/|\.\./.{0,40}\.git/annex', 'a pointer of git-annex: git annex get'),
    (rb'\s*<(!doctype )?html|\s*<!--', 'a page of HTML, as of a failed download'),
    (rb'\s*(<\?xml[^>]*>\s*)?(<!.{0,200})?<svg', 'SVG'),
    (rb'\s*<\?xml', 'XML'), (rb'\s*[{\[]\s*["\]}{]', 'JSON'),
    (rb'(data:image/.{1,20};base64,)?(/9j/|iVBORw0KG)', 'text (base64): decode it'),
    (rb'\x1f\x8b', 'gzip'), (rb'BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd', 'compressed'),
    (rb'\0\x05\x16\x07', 'what macOS keeps beside a file'),
    (rb'PK\x03\x04', 'a ZIP archive'), (rb'%PDF', 'PDF'), (rb'8BPS', 'Photoshop'),
    (rb'\x93NUMPY', 'an array of numpy'),
    (rb'.{128}DICM', 'DICOM'), (rb'.{4}ftyp|\x1a\x45\xdf\xa3', 'a film'),
    (rb'[\t\r\n -~]{12}', 'text'),
    (rb'\0+\Z', 'zeros alone, as of a copy that was cut short'))


@functools.cache  # once a process
def pillow() -> tuple[str, ...]:
  """Returns the formats that Pillow is asked for; it knows others that run programs."""
  from PIL import Image
  Image.init()
  found = [name for name in _BUILT_IN if name in Image.OPEN]
  for name, module, register in _PLUG_INS:
    with contextlib.suppress(ImportError):
      plug_in = importlib.import_module(module)
      if register:
        getattr(plug_in, register)()
      found.append(name)
  return tuple(found)


def instead(data: bytes) -> str:
  """Returns what a file is that is no image that can be read, for a message."""
  head = data[:512]
  if re.match(_BEGINNINGS['TIFF'], head) and (
      bands := metadata.tiff_bands(data)) > _MOST_BANDS:
    return (f'that can be read: a TIFF of {bands} channels, in a form that Pillow does '
            'not know; write the three that are red, green and blue')
  for name, pattern in _BEGINNINGS.items():
    if name in pillow() and re.match(pattern, head, re.DOTALL):
      return f'that can be read, but only the beginning of {name}, or damaged'
  found = next((what for pattern, what in _OTHERS
                if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), None)
  if found:
    return f'that can be read, but {found}'
  names = [name for name in pillow() if name not in ('BMP', 'DIB')]
  return f'that can be read ({", ".join(names)}, BMP)'
