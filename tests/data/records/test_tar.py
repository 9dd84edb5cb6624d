"""The index of a tar, against Python's tarfile, in all formats that are written today."""

import io
import tarfile

import numpy as np
import pytest

from byol_jax.data.records import tar
from byol_jax.data.records import texts
from byol_jax.errors import UserError

_WANTED = tar.Wanted(('.jpg', '.jpeg', '.png'))
_NAMES = ['a.jpg', 'a.cls', 'deep/er/b.JPEG', 'deep/er/b.cls', 'l/' * 40 + 'c' * 90 + '.jpg',
          'ö.png', 'x' * 200 + '.jpg', 'no.txt', '._a.jpg', '__MACOSX/a.jpg']


def _write(path, how=tarfile.PAX_FORMAT, names=_NAMES):
  rng = np.random.default_rng(0)
  with tarfile.open(path, 'w', format=how) as archive:
    folder = tarfile.TarInfo('deep')
    folder.type = tarfile.DIRTYPE
    archive.addfile(folder)
    for name in names:
      content = b'7' if name.endswith('cls') else rng.bytes(int(rng.integers(0, 2000)))
      info = tarfile.TarInfo(name)
      info.size = len(content)
      info.mtime = 1.5  # which pax writes into a header of its own
      archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize('how', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT,
                                 tarfile.PAX_FORMAT])
def test_images_lie_where_tarfile_finds_them(tmp_path, how):
  path = str(tmp_path / 'x.tar')
  names = [x for x in _NAMES if how != tarfile.USTAR_FORMAT or len(x) < 100]
  _write(path, how, names)
  found = tar.index(path, _WANTED)
  with tarfile.open(path) as archive:
    members = [x for x in archive if x.isfile() and not x.name.endswith(('cls', 'txt'))
               and x.name not in _NAMES[-2:]]
    assert found['start'].tolist() == [x.offset_data for x in members]
    assert found['size'].tolist() == [x.size for x in members]
    assert list(texts.of(found, 'name')) == [x.name for x in members]
    for k, member in enumerate(members):
      at = (int(found[key][k]) for key in ('start', 'size', 'check'))
      assert tar.read(path, *at) == archive.extractfile(member).read()
  assert found['label'].tolist()[:2] == [0, 0] and set(found['label'][2:]) == {-1}
  assert list(texts.of(found, 'label')) == ['7']
  assert found['num_without'] == 1 and list(texts.of(found, 'without')) == ['no.txt']


def test_a_member_of_more_than_8_gib_is_passed_by_its_size(tmp_path):
  """In base 256 (GNU) and in a header of its own (pax); the files are sparse."""
  for how in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
    path = tmp_path / 'x.tar'
    info = tarfile.TarInfo('large.bin')
    info.size = 9 << 30
    small = tarfile.TarInfo('a.jpg')
    small.size = 3
    with open(path, 'wb') as f:
      f.write(info.tobuf(how))
      f.seek(info.size, 1)
      f.write(small.tobuf(how) + b'abc'.ljust(512, b'\0') + bytes(1024))
    found = tar.index(str(path), _WANTED)
    assert found['start'][0] > 9 << 30 and found['size'].tolist() == [3]
    path.unlink()


def test_every_damaged_header_is_found(tmp_path):
  path = tmp_path / 'x.tar'
  _write(path)
  data = path.read_bytes()
  header = data.index(b'a.jpg')
  for position in range(header, header + 345, 7):
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1:])
    with pytest.raises(ValueError, match=f'damaged at byte {header}'):
      tar.index(str(path), _WANTED)
  path.write_bytes(data[:header + 520])
  with pytest.raises(ValueError, match='cut short'):
    tar.index(str(path), _WANTED)


def test_a_link_to_an_image_is_refused(tmp_path):
  with tarfile.open(tmp_path / 'x.tar', 'w') as archive:
    link = tarfile.TarInfo('a.jpg')
    link.type, link.linkname = tarfile.SYMTYPE, 'b.jpg'
    archive.addfile(link)
  with pytest.raises(UserError, match=r"'a\.jpg' as a link .*--dereference"):
    tar.index(str(tmp_path / 'x.tar'), _WANTED)
