"""Images from tars: the same batches as from the folder, and what is refused."""

import gzip
import io
import tarfile

import pytest
import tiny_shards

from byol_jax.data import fingerprint
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def _open(path, split='train', **more):
  return open_lib.open_part('tar', split, path=str(path), **more)


def _add(tar, name, content=b''):
  info = tarfile.TarInfo(name)
  info.size = len(content)
  tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize('label', ['cls', 'kind'])
def test_the_same_batches_as_from_the_folder(tmp_path, label):
  made = tiny_shards.images(23)
  tiny_shards.write_folder(tmp_path / 'folder', made)
  ordered = tiny_shards.in_order(made)
  for k in range(3):  # 8, 8 and 7 images
    tiny_shards.write_tar(tmp_path / f'shards/x-{k:03d}.tar', ordered[8 * k:8 * k + 8],
                          label=label)
  folder = open_lib.open_part('folder', path=str(tmp_path / 'folder'))
  for path in ('shards', 'shards/x-{000..002}.tar', 'shards/*.tar',
               f'shards/x-000.tar,{tmp_path}/shards/x-00[12].tar'):
    source = _open(tmp_path / path, label_column='' if label == 'cls' else label)
    tiny_shards.check_same_batches(source, folder, starts=1000 if path == 'shards' else 3)
    assert list(source.names) == [f'{name}.jpg' for name, _, _ in ordered]
  assert source.class_names == (None if label == 'cls' else tiny_shards.CLASSES)


def test_parts_follow_from_the_names_and_labels_may_be_left_out(tmp_path):
  made = tiny_shards.images(9)
  tiny_shards.write_tar(tmp_path / 'train-0.tar', made[:6])
  tiny_shards.write_tar(tmp_path / 'test-0.tar', made[6:], label=None)
  tiny_shards.write_tar(tmp_path / 'val-0.tar', made[6:])
  assert _open(tmp_path).size == 6
  test = _open(tmp_path, 'test')
  assert test.size == 3 and test.labels.tolist() == [0, 1, 2]  # the one with labels
  assert _open(tmp_path, 'val').size == 3
  assert _open(tmp_path, label_column='none').labels is None
  assert _open(tmp_path / 'train-0.tar', 'test') is None
  assert _open(tmp_path / 'train-0.tar', 'test', test_path=str(
      tmp_path / 'val-0.tar')).size == 3


def test_ids_are_numbered_and_some_may_have_no_label(tmp_path):
  made = [(name, label, data) for (name, _, data), label in zip(
      tiny_shards.images(4), (48662, 901, 48662, -1))]
  tiny_shards.write_tar(tmp_path / 'train.tar', made)
  tiny_shards.write_tar(tmp_path / 'val.tar', made[:1])
  train = _open(tmp_path)
  assert train.labels.tolist() == [1, 0, 1, -1] and train.class_names == ('901', '48662')
  assert _open(tmp_path, 'test', class_names=train.class_names).labels.tolist() == [1]


def test_folders_within_are_told_of(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  made = [(f'{part}/{label}/{name}', label, data) for part in ('train', 'test')
          for name, label, data in tiny_shards.images(4)]
  tiny_shards.write_tar(tmp_path / 'x.tar', made, label=None)
  assert _open(tmp_path / 'x.tar').labels is None
  assert "'test', 'train' within look like parts" in caplog.text
  assert "no .cls, and the folders within, 'test/0'" in caplog.text
  caplog.clear()
  tiny_shards.write_tar(tmp_path / 'y.tar', [
      (f'a/{k}', label, data) for k, (_, label, data) in enumerate(made)])
  _open(tmp_path / 'y.tar')
  assert 'within' not in caplog.text


def test_the_fingerprint_knows_the_images_and_their_order(tmp_path):
  made = tiny_shards.images(6)
  other = made[:5] + [('other', 1, made[5][2])]
  for k, images in enumerate((made, made[::-1], made[:5], other)):
    tiny_shards.write_tar(tmp_path / f'{k}.tar', images)
  sources = [_open(tmp_path / f'{k}.tar') for k in range(4)]
  assert len({fingerprint.fingerprint(source) for source in sources}) == 4
  (tmp_path / 'copy.tar').write_bytes((tmp_path / '0.tar').read_bytes())
  assert fingerprint.fingerprint(_open(tmp_path / 'copy.tar')) == (
      fingerprint.fingerprint(sources[0]))


def test_bad_input_is_one_line(tmp_path):
  made = tiny_shards.images(6)
  path = tmp_path / 'x.tar'
  tiny_shards.write_tar(path, made)
  data = path.read_bytes()

  def refused(content, match, name='x.tar', **more):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=match) as error:
      source = _open(tmp_path / name, **more)
      for k in range(source.size):
        source.read(k)
    assert name in str(error.value) and '\n' not in str(error.value)

  refused(gzip.compress(data), 'gzip -d', 'y.tar.gz')
  refused(b'no tar' * 1000, 'damaged at byte 0, or no tar')
  refused(b'', 'cut short')
  refused(data[:2000], 'cut short')
  refused(data[:-5000].rstrip(b'\0'), 'cut short')
  refused(data + data, 'join')
  with pytest.raises(UserError, match='check config.data.path'):
    _open(tmp_path / 'no.tar')
  with pytest.raises(UserError, match=r'x-001\.tar.* is missing'):
    tiny_shards.write_tar(tmp_path / 'some/x-000.tar', made)
    _open(tmp_path / 'some/x-{000..001}.tar')
  refused(data, "field 'kind'|has a label in 'kind'", label_column='kind')

  def tar(*members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
      for member in members:
        _add(archive, *member)
    return file.getvalue()

  image = made[0][2]
  refused(tar(('a.jpg', image), ('a.png', image)), 'two images in one sample')
  refused(tar(('a.jpg', image), ('a.cls', b'0'), ('b.jpg', image)), 'some images only')
  refused(tar(('a.jpg', image), ('a.cls', b'0.5')), "label '0.5'")
  refused(tar(('a.jpg', image), ('a.cls', b'-3')), 'counted from 0')
  refused(tar(('a.jpg', image), ('a.json', b'{')), 'no JSON', label_column='x')
  refused(tar(('a.txt', b'words')), 'no image in 1 sample of ', max_bad=0)
  refused(tar(('a.txt', b'words')), 'no images in')
  refused(tar(('a.jpg', image), ('a.json', b'{"x": [1]}')), 'whole number or a name',
          label_column='x')
  refused(tar(('a.jpg', image), ('a.json', b'{"x": 1.5}')), "'1.5'", label_column='x')
  for said, names in ((b'1.0', None), (b'true', ('True',)), (b'"1"', None)):
    (tmp_path / 'x.tar').write_bytes(tar(
        ('a.jpg', image), ('a.json', b'{"x": %s}' % said), ('b.jpg', image),
        ('b.json', b'{"x": %s}' % said.replace(b'1', b'0'))))
    assert _open(path, label_column='x').class_names == names
  (tmp_path / 'x.tar').write_bytes(tar(('a.jpg', image), ('a.left.png', image)))
  assert _open(path, image_column='left.png').names[0] == 'a.left.png'


def test_a_tar_that_changes_while_it_is_read_is_said(tmp_path):
  made = tiny_shards.images(6)
  path = tmp_path / 'x.tar'
  tiny_shards.write_tar(path, made)
  source = _open(path)
  tiny_shards.write_tar(path, made[::-1])
  with pytest.raises(UserError, match='image 0 of .*x.tar.*has changed'):
    source.read(0)
  path.unlink()
  with pytest.raises(UserError, match='image 1 of .*x.tar'):
    source.read(1)


def test_names_of_cameras_and_of_webdataset(tmp_path):
  with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
    for name in ('_MG_0001.jpg', '__key__', '__a.jpg', 'x.jpg', '._x.jpg'):
      _add(tar, name, b'1')
  assert list(_open(tmp_path / 'a.tar').names) == ['_MG_0001.jpg', '__a.jpg', 'x.jpg']


@pytest.mark.parametrize('split', ['val', 'validation', 'test'])
def test_another_part_has_the_numbers_of_training(tmp_path, split):
  for part, labels in (('train', range(6)), (split, (1, 3, 5))):
    with tarfile.open(tmp_path / f'{part}.tar', 'w') as tar:
      for k, label in enumerate(labels):
        _add(tar, f'{k}.jpg', b'1')
        _add(tar, f'{k}.cls', str(label).encode())
  assert _open(tmp_path, split).labels.tolist() == [1, 3, 5]
  # the part that learns may have another name
  assert _open(tmp_path, split, train_split=split).class_names == ('1', '3', '5')
