"""Reads IDX files, the format of MNIST and its relatives.

An IDX file is two zero bytes, a type code (8: unsigned byte), the number of
dimensions, each dimension as a big-endian uint32, and the data in C order.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib

import numpy as np

from byol_jax.errors import UserError

_UNSIGNED_BYTE = 8
_MAX_BYTES = 2**34


def read_idx(path: str, ndim: int) -> np.ndarray:
  """Reads one IDX file of unsigned bytes, gzip-compressed or not.

  Args:
    path: the file. Compression is recognised by content, not by name.
    ndim: the number of dimensions that the array must have: 3 for images, 1 for labels.

  Returns:
    uint8 array with `ndim` dimensions.

  Raises:
    UserError: the file cannot be read, is no IDX file of unsigned bytes with
      `ndim` dimensions, or is shorter or longer than its header says.
  """
  try:
    with open(path, 'rb') as file:
      compressed = file.read(2) == b'\x1f\x8b'
    with (gzip.open if compressed else open)(path, 'rb') as file:
      header = file.read(4 + 4 * ndim)
      shape = _parse_header(path, header, ndim)
      size = math.prod(shape)
      data = file.read(size + 1)
  except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
    raise UserError(f'cannot read IDX file {path}: {error}') from error
  if len(data) != size:
    amount = 'fewer' if len(data) < size else 'more'
    raise UserError(
        f'IDX file {path} is damaged: its header says {shape}, {size} bytes, '
        f'and {amount} follow')
  return np.frombuffer(data, np.uint8).reshape(shape)


def find_idx(folder: str, stem: str) -> str:
  """Finds `stem` or `stem.gz` in `folder`; raises UserError if neither is there."""
  for name in (stem, stem + '.gz'):
    path = os.path.join(folder, name)
    if os.path.exists(path):
      return path
  raise UserError(
      f'neither {stem} nor {stem}.gz is in {folder}: config.data.path must be '
      'the folder with the four IDX files')


def _parse_header(path: str, header: bytes, ndim: int) -> tuple[int, ...]:
  """Checks magic number and dimensions, and returns the shape."""
  if len(header) < 4 or header[:2] != b'\0\0':
    raise UserError(f'{path} is not an IDX file: it starts with {header[:4]!r}')
  if header[2] != _UNSIGNED_BYTE:
    raise UserError(
        f'IDX file {path} has type code 0x{header[2]:02x}, expected 0x08 '
        '(unsigned bytes)')
  if header[3] != ndim:
    raise UserError(
        f'IDX file {path} has {header[3]} dimensions, expected {ndim} '
        f'({"images" if ndim == 3 else "labels"})')
  if len(header) != 4 + 4 * ndim:
    raise UserError(f'IDX file {path} is damaged: it ends inside its header')
  shape = struct.unpack(f'>{ndim}I', header[4:])
  if 0 in shape or math.prod(shape) > _MAX_BYTES:
    raise UserError(f'IDX file {path} is empty or damaged: shape {shape}')
  return shape
