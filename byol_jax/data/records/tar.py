"""Random access to the images of tar files by an index of where each lies.

A member of a tar is a header of 512 bytes (POSIX.1-1988 ustar; GNU's and pax's longer
names are members of their own before it) and its content, padded to 512. Only headers
and labels are read to make the index. Members that follow one another and have one
name up to its first dot are a sample, as in WebDataset: an image, its label.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
import json
from typing import Any, NamedTuple
import zlib

import numpy as np

from byol_jax.data.records import scan
from byol_jax.data.records import texts
from byol_jax.data.records.index import Index
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_BLOCK = 512
_LOCAL_READ = 8192  # a header, a label and the next header in one read
_MOST_TEXT = 1 << 24  # bytes of a name, or of a sample's .json
_TOLD = 10  # samples without an image that are named
_ZEROS = bytes(_BLOCK)
_FILES, _DIRECTORY = b'0\x007', b'5'  # kinds of members
_PACKED = {b'\x1f\x8b': 'gzip -d', b'BZh': 'bzip2 -d', b'\xfd7zXZ': 'xz -d',
           b'(\xb5/\xfd': 'zstd -d', b'\x04"M\x18': 'lz4 -d'}


class Wanted(NamedTuple):
  """Names the members of a tar that are looked for."""
  endings: tuple[str, ...]  # of images, as in '.jpg'
  image: str = ''  # the ending of the image where a sample has several; '' for the only
  label: str = ''  # a field of .json; '' for .cls, 'none' for no labels


class _Member(NamedTuple):
  """A file in a tar."""
  name: bytes
  start: int  # the byte where its content starts
  size: int
  check: int  # the CRC-32 of its header


def index(path: str, wanted: Wanted) -> Index:
  """Finds the images of a tar, with names and labels.

  Args:
    path: a file, local or in a bucket, not compressed.
    wanted: what is looked for.

  Returns:
    start: int64 [N], the byte where each image starts; size: int64 [N]; check: uint32
    [N], the CRC-32 of its header; name_texts, name_ends: `texts.Texts` of the members'
    names; label: int32 [N], the number of each image's label in the `Texts`
    label_texts, label_ends, or -1; without_texts, without_ends: the first samples that
    have no image, and num_without, int64 []: how many there are.

  Raises:
    UserError: the tar is compressed, or a sample has two images or a wrong label.
    ValueError: it is cut short, damaged or no tar; names the byte.
    OSError: it cannot be read.
  """
  start, size, check, label = (array.array(kind) for kind in 'qqIi')
  names, without, labels = (texts.Packer() for _ in range(3))
  known, num_without = {}, 0
  with scan.reading(path, _LOCAL_READ) as (read_at, length):
    for sample in _samples(_members(path, read_at, length, wanted.endings)):
      image = _image(path, sample, wanted)
      if image is None:
        num_without += 1
        if num_without <= _TOLD:
          without.add(next(iter(sample.values())).name)
        continue
      text = _label(path, sample, wanted.label, read_at)
      start.append(image.start)
      size.append(image.size)
      check.append(image.check)
      names.add(image.name)
      if text is not None and text not in known:
        known[text] = len(known)
        labels.add(text.encode())
      label.append(-1 if text is None else known[text])
  result = {'start': np.array(start, np.int64), 'size': np.array(size, np.int64),
            'check': np.array(check, np.uint32), 'label': np.array(label, np.int32),
            'num_without': np.array(num_without)}
  return (result | names.arrays('name') | without.arrays('without')
          | labels.arrays('label'))


def read(path: str, start: int, size: int, check: int) -> bytes:
  """Reads one image.

  Args:
    path: the tar.
    start, size, check: as in its index.

  Raises:
    ValueError: another header stands before it than when the index was made.
    OSError: the file cannot be read.
  """
  data = paths_lib.read_range(path, start - _BLOCK, start + size)
  if len(data) != _BLOCK + size or zlib.crc32(data[:_BLOCK]) != check:
    raise ValueError(f'{path} is damaged or has changed at byte {start - _BLOCK}')
  return data[_BLOCK:]


def _samples(members: Iterator[_Member]) -> Iterator[dict[bytes, _Member]]:
  """Yields the files of each sample by ending, as in {b'jpg': ..., b'cls': ...}."""
  sample, key = {}, None
  for member in members:
    folder, slash, name = member.name.rpartition(b'/')
    base, _, ending = name.partition(b'.')
    # a file of the system: a dot first (macOS), WebDataset's description
    if (not base or base.startswith(b'__') and base.endswith(b'__')
        or b'__MACOSX' in folder):
      continue
    if (folder, base) != key or ending.lower() in sample:
      if sample:
        yield sample
      sample, key = {}, (folder, base)
    sample[ending.lower()] = member
  if sample:
    yield sample


def _image(path: str, sample: dict[bytes, _Member], wanted: Wanted) -> _Member | None:
  """Returns the image of a sample; None without one."""
  if wanted.image:
    return sample.get(wanted.image.lower().lstrip('.').encode())
  whole = [x for x in sample if (b'.' + x).decode(errors='replace') in wanted.endings]
  found = whole or [x for x in sample if x.decode(errors='replace').endswith(
      wanted.endings)]  # 0001.left.jpg
  if len(found) > 1:
    first, second = (sample[x].name.decode(errors='backslashreplace')
                     for x in found[:2])
    raise UserError(
        f'{path} has two images in one sample, {first!r} and {second!r}: choose one by '
        "its ending, config key data.image_column='"
        f"{found[0].decode(errors='replace')}', or if they are two pictures, give them "
        'names that differ before the first dot')
  return sample[found[0]] if found else None


def _label(path: str, sample: dict[bytes, _Member], field: str,
           read_at: Any) -> str | None:
  """Returns the text of a sample's label; None without one."""
  member = sample.get(b'json' if field else b'cls')
  if field == 'none' or member is None:
    return None
  where = f'{path}, {member.name.decode(errors="backslashreplace")!r},'
  if member.size > _MOST_TEXT:
    raise UserError(f'{where} has {member.size} bytes, too many for a label')
  try:
    text = read_at(member.start, member.size).decode().strip()
    if field:
      fields = json.loads(text)
      if not isinstance(fields, dict) or fields.get(field) is None:
        return None
      if not isinstance(fields[field], (bool, int, float, str)):
        raise UserError(f'{where} has {field!r} = {json.dumps(fields[field])[:60]}: a '
                        'label is a whole number or a name; choose another field with '
                        'config key data.label_column')
      text = str(fields[field]).strip()
  except (ValueError, RecursionError) as error:  # UnicodeDecodeError, too
    raise UserError(f'{where} is no {"JSON object" if field else "text"}: {error}'
                    ) from error
  if not text or '\n' in text:
    raise UserError(f'{where} has the label {text[:60]!r}: write a number or a name')
  return text


def _members(path: str, read_at: Any, length: int,
             endings: tuple[str, ...]) -> Iterator[_Member]:
  """Yields the files of a tar, in order; refuses images that are links."""
  at, name, size = 0, None, None  # what an extended header says of the next member
  while True:
    if at + _BLOCK > length:
      _refuse_packed(path, read_at, length)
      raise ValueError(f'{path} is cut short at byte {length}: it has no end mark (if '
                       'it never had one, head -c 1024 /dev/zero >> it)')
    header = read_at(at, _BLOCK)
    if header == _ZEROS:
      _check_end(path, read_at, at, length)
      return
    start = at + _BLOCK
    try:
      held = _number(header[124:136])
      if not _is_right(header):
        raise ValueError
    except ValueError:
      _refuse_packed(path, read_at, length)
      raise ValueError(f'{path} is damaged at byte {at}, or no tar') from None
    kind, held = header[156:157], size if size is not None else held
    at = start + -(-held // _BLOCK) * _BLOCK
    if start + held > length:
      raise ValueError(f'{path} is cut short at byte {length}')
    if kind in b'LKxXg' and kind != b'':
      if held > _MOST_TEXT:
        raise ValueError(f'{path} is damaged at byte {start - _BLOCK}')
      content = read_at(start, held)
      if kind == b'L':
        name = content.rstrip(b'\0')
      elif kind in b'xX':
        headers = _pax(path, content, start)
        name = headers.get(b'path', name)
        size = int(headers[b'size']) if b'size' in headers else None
      continue
    if kind in _FILES and not header[:100].split(b'\0')[0].endswith(b'/'):
      yield _Member(name or _plain_name(header), start, held, zlib.crc32(header))
    else:
      shown = (name or _plain_name(header)).decode(errors='backslashreplace')
      if kind not in _DIRECTORY and shown.lower().endswith(endings):
        raise UserError(
            f'{path} holds {shown!r} as a link or in pieces, at byte {start - _BLOCK}: '
            'write it again with tar --dereference --hard-dereference')
    name = size = None


def _plain_name(header: bytes) -> bytes:
  """Returns the name that a header holds itself."""
  name = header[:100].split(b'\0')[0]
  prefix = header[345:500].split(b'\0')[0] if header[257:263] == b'ustar\0' else b''
  return prefix + b'/' + name if prefix else name


def _number(field: bytes) -> int:
  """Reads a number in octal, or in base 256 where the first bit is set."""
  if field[0] & 0x80:
    return int.from_bytes(field[1:], 'big') if field[0] == 0x80 else -1
  return int(field.split(b'\0')[0].strip() or b'0', 8)


def _is_right(header: bytes) -> bool:
  """Returns whether a header's checksum is that of its bytes.

  It is the sum of the bytes, with blanks in its own place. Adler-32 holds the sum of
  all bytes and 1, modulo 65521, and is fast.
  """
  total = zlib.adler32(header[156:], zlib.adler32(header[:148])) & 0xFFFF
  return (_number(header[148:156]) + 1 - 8 * 32) % 65521 == total


def _pax(path: str, content: bytes, start: int) -> dict[bytes, bytes]:
  """Reads the records 'LENGTH KEY=VALUE\\n' of an extended header."""
  headers, at = {}, 0
  try:
    while at < len(content):
      length = int(content[at:content.index(b' ', at)])
      key, _, value = content[at:at + length].partition(b' ')[2].partition(b'=')
      if length <= 0 or value[-1:] != b'\n':
        raise ValueError
      headers[key] = value[:-1]
      at += length
    if b'size' in headers:
      int(headers[b'size'])
  except ValueError:
    raise ValueError(f'{path} is damaged at byte {start}') from None
  return headers


def _check_end(path: str, read_at: Any, at: int, length: int) -> None:
  """Raises UserError if anything stands behind the end mark."""
  while at < length:
    part = read_at(at, min(1 << 20, length - at))
    if part.strip(b'\0'):
      raise UserError(f'{path} goes on behind an end mark at byte {at}: it is damaged, '
                      'or tars were joined by cat; join them with tar --concatenate')
    at += len(part)


def _refuse_packed(path: str, read_at: Any, length: int) -> None:
  """Raises UserError for a tar that is compressed."""
  first = read_at(0, min(8, length))
  for mark, command in _PACKED.items():
    if first.startswith(mark):
      raise UserError(f'{path} is compressed, which makes images no smaller and leaves '
                      f'no random access: decompress it, {command} {path}')

