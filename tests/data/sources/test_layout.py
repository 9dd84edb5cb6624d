"""Names of parts, of folders of the system, and what was passed over."""

import pytest

from byol_jax.data.sources import folder
from byol_jax.data.sources import layout


@pytest.mark.parametrize('name, part', [
    ('train', 'train'), ('Train2017', 'train'), ('train_images', 'train'),
    ('images-val', 'val'), ('test1', 'test'), ('validation_set', 'validation'),
    ('trainer', None), ('test tube', None), ('training_shoes', None), ('cat', None)])
def test_names_of_parts(name, part):
  assert layout.part_of(name) == part


def test_parts():
  coco = ['annotations', 'train2017', 'val2017', 'test2017', 'unlabeled2017']
  assert layout.parts(coco, '0.2') == ('train2017', ['test2017', 'val2017'])
  assert layout.parts(coco, '0.1') == (None, [])
  assert layout.parts(['train2014', 'train2017', 'val2017'], '0.2') == (None, [])
  assert layout.parts(['train', 'val2017'], '0.2') == ('train', ['val2017'])
  assert layout.parts(['train', 'train2', 'test'], '0.2') == ('train', ['test'])


def _make(root, *files):
  for name in files:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'x')
  return str(root)


def test_coco(tmp_path):
  root = _make(tmp_path, 'train2017/1.jpg', 'val2017/2.jpg', 'test2017/3.jpg')
  train = folder.list_folder(root, 'train')
  assert train.files == ['1.jpg'] and train.labels is None
  assert folder.list_folder(root, 'train', rules='0.1').class_names == (
      'test2017', 'train2017', 'val2017')


@pytest.mark.parametrize('test', [
    ('test/images/1.JPEG',), ('test/a1/1.jpg', 'test/a2/2.jpg'), ('test/1.jpg',)])
def test_tiny_imagenet_and_other_parts_without_labels(tmp_path, test):
  root = _make(tmp_path, 'train/n1/images/1.JPEG', 'train/n2/images/2.JPEG',
               'val/images/3.JPEG', *test)
  assert folder.list_folder(root, 'train').class_names == ('n1', 'n2')
  assert folder.list_folder(root, 'test').labels is None


def test_a_part_without_images_is_none(tmp_path, caplog):
  root = _make(tmp_path, 'train/a/1.jpg', 'train/b/2.jpg', 'val/notes.txt', 'test/.x')
  assert folder.list_folder(root, 'test') is None
  assert "no test part: there are no images in 'test', 'val'" in caplog.text
  _make(tmp_path, 'val/3.jpg')
  assert folder.list_folder(root, 'test').files == ['3.jpg']


def test_a_single_folder_of_a_known_class_is_labelled(tmp_path):
  root = _make(tmp_path, 'train/a/1.jpg', 'train/b/2.jpg', 'test/b/3.jpg')
  assert folder.list_folder(root, 'test').labels.tolist() == [1]


def test_folders_of_the_system_at_any_depth(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  root = _make(tmp_path, 'cat/1.jpg', 'dog/2.jpg', 'cat/@eaDir/1.jpg/THUMB.jpg',
               '@eaDir/cat/3.jpg', '#recycle/4.jpg', '__MACOSX/cat/5.jpg',
               '$RECYCLE.BIN/6.jpg', 'dog/System Volume Information/7.jpg',
               '~snapshot/cat/8.jpg')
  listed = folder.list_folder(root, 'train')
  assert listed.files == ['cat/1.jpg', 'dog/2.jpg']
  assert listed.class_names == ('cat', 'dog') and '@eaDir x 2' in caplog.text
  assert len(folder.list_folder(root, 'train', rules='0.1').files) == 9


@pytest.mark.parametrize('files, said', [
    (('test/1.jpg', 'val/1.jpg'), "'test', 'val' look like parts"),
    (('train2014/1.jpg', 'train2017/1.jpg'), 'look like parts'),
    (('trainA/1.jpg', 'trainB/1.jpg'), 'look like parts'),
    (('bottle/train/1.jpg', 'bottle/test/2.jpg', 'cable/test/1.jpg'),
     "'bottle/test', 'bottle/train', 'cable/test' look like parts"),  # as MVTec
    (('images/train/1.jpg', 'images/val/1.jpg'), 'look like parts'),  # as YOLO's
    (('seg_train/seg_train/a/1.jpg', 'seg_test/seg_test/a/2.jpg', 'seg_pred/3.jpg'),
     "'seg_test', 'seg_train' look like"),
    (('DIV2K_train_HR/1.png', 'DIV2K_valid_HR/2.png'), 'look like parts'),
    (('train_station/1.jpg', 'test_tube/2.jpg'), ''),
    (('a/1.jpg', 'b/1.jpg', 'more/a/1.jpg', 'more/b/1.jpg'), "'more' hold folders with"),
    # parts by other names, and images by domain
    (('tr/a/1.jpg', 'tr/b/2.jpg', 'te/a/3.jpg', 'te/b/4.jpg', 'te/c/4.jpg'),
     "'te', 'tr' holds folders of the same names, 'a', 'b', and they are the classes"),
    (tuple(f'{c}/{side}/1.jpg' for c in 'abc' for side in ('front', 'back')), ''),
    (('images/1.jpg', 'masks/1.png'), "'masks' look like masks"),
    (('img_dir/1.jpg', 'ann_dir/1.png'), "'ann_dir' look like masks"),
    (('leftImg8bit/1.jpg', 'gtFine/1.png'), "'gtFine' look like masks"),
    (('imagesTr/1.jpg', 'labels_train/1.png', 'ann/2.jpg'), "'labels_train' look like masks"),
    (('cat/images/1.jpg', 'cat/ground_truth/1.png', 'dog/images/1.jpg'),
     "'cat/ground_truth' look like masks"),
    (('JPEGImages/1.jpg', 'SegmentationClass/1.png'), 'look like masks'),
    (('a/1.png', 'a/1_mask.png', 'b/2.png', 'b/2_mask_1.png'), "'a/1_mask.png' look like"),
    (('a/1.png', 'b/1.png', 'a/thumbs/1.png'), 'small copies'),
    (('cat/1.jpg', 'dog/mask_1.jpg'), ''), (('fold/1.jpg', 'query/1.jpg'), ''),
    (('dev/1.jpg', 'ops/1.jpg'), ''), (('n1/images/1.jpg', 'n2/images/1.jpg'), '')])
def test_what_lies_beside_the_images_is_told(tmp_path, caplog, files, said):
  folder.list_folder(_make(tmp_path, *files), 'train')
  assert said in caplog.text and bool(said) == bool(caplog.records)
  assert ('masks' in said or '_mask' in said) == ('look like masks' in caplog.text)
  caplog.clear()
  folder.list_folder(str(tmp_path), 'train', rules='0.1')
  assert not caplog.records


def test_what_was_passed_over_is_counted(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  root = _make(tmp_path, 'a/1.jfif', 'a/2.JPE', 'b/3.ppm', 'b/4.avif', 'b/5.jpg_large',
               'b/6.jpg.1', 'b/7', 'b/8.txt', 'b/9.txt', '.hidden.txt')
  listed = folder.list_folder(root, 'train')
  assert listed.files == ['a/1.jfif', 'a/2.JPE', 'b/3.ppm', 'b/4.avif']
  (tmp_path / 'gone').mkdir()
  folder.list_folder(root, 'train')
  assert caplog.messages[-1] == f"{root}: no images in 'gone'"
  line = next(x for x in caplog.messages if 'passed over' in x)
  assert '5 files by the ending (.txt x 2, ' in line and 'without an ending x 1' in line
  with pytest.raises(folder.UserError, match=r'no images in .*passed over 1 file .*\.raw'):
    folder.list_folder(_make(tmp_path / 'raw', '1.raw'), 'train')


def test_leaf_folders_as_classes(tmp_path):
  root = _make(tmp_path, 'train/a/airfield/1.jpg', 'train/a/abbey/2.jpg',
               'train/b/bar/in/3.jpg', 'val/a/abbey/4.jpg')
  train = folder.list_folder(root, 'train', class_folders='leaf')
  assert train.class_names == ('a/abbey', 'a/airfield', 'b/bar/in')
  assert folder.list_folder(root, 'test', class_folders='leaf').labels.tolist() == [0]
  assert folder.list_folder(root, 'train').class_names == ('a', 'b')
  assert folder.list_folder(root, 'train', class_folders='none').labels is None
