"""The page before a run: what is there, what is odd, what would be refused."""

import pathlib

import html_page
import numpy as np
import photos
from PIL import Image
import pytest
from tiny import call

SMALL = ['--config.network.name=resnet8', '--config.data.image_size=16']


def preview(path, out, *arguments):
  assert call('preview', f'--config.data.path={path}', f'--workdir={out}', *SMALL,
              *arguments) == 0
  return html_page.Page((out / 'preview.html').read_text('utf-8'))


def test_photos(tmp_path):
  folder = tmp_path / 'photos'
  photos.photos_in(folder, count=20)
  first = sorted((folder / 'train').rglob('*.jpg'))[0]
  for name, pixels in (('dark.png', 3), ('same.png', 120)):
    Image.fromarray(np.full((30, 40, 3), pixels, np.uint8)).save(first.parent / name)
  Image.fromarray(np.random.default_rng(0).integers(
      0, 255, (30, 40, 4)).astype(np.uint8)).save(first.parent / 'clear.png')
  (first.parent / 'again.jpg').write_bytes(first.read_bytes())
  (first.parent / 'torn.jpg').write_bytes(first.read_bytes()[:200])
  (first.parent / 'notes.txt').write_text('x')
  page = preview(folder, tmp_path / 'out', '--config.train.batch_size=8')
  assert page.runs_nothing()
  assert {'images', 'views', 'formats-and-sizes', 'what-looks-odd', 'what-the-reader-says',
          'schedule'} <= set(page.chapters())
  for told in ('clear.png: transparent', 'same.png: constant', 'torn.jpg: bad:',
               '1 file by the ending (.txt x 1', '1 group of images with the same bytes', '40 x 30'):
    assert page.says(told), told
  assert page.says('gone')  # the torn one has no picture
  assert not (tmp_path / 'out' / 'config.json').exists()  # the run may begin there


def test_a_run_that_would_be_refused_has_a_page(tmp_path):
  folder = tmp_path / html_page.MARKUP.replace('/', '')
  photos.photos_in(folder, count=5)
  page = preview(folder, tmp_path / 'out')
  assert page.says('The run would be refused: the data set has 5 images')
  assert 'views' in page.chapters() and page.runs_nothing()


def test_one_image(tmp_path):
  folder = tmp_path / 'one'
  photos.photos_in(folder, count=1)
  assert 'images' in preview(folder, tmp_path / 'out').chapters()


@pytest.mark.parametrize('path', ['/gone', ''])
def test_no_images_is_one_line(tmp_path, capsys, path):
  assert call('preview', f'--config.data.path={path}', f'--workdir={tmp_path}') == 2
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_images_in_memory_with_classes(tmp_path):
  np.savez(tmp_path / 'x.npz', x_train=np.random.RandomState(0).randint(
      0, 255, (40, 12, 12, 3)).astype(np.uint8), y_train=np.arange(40) % 3)
  page = preview(tmp_path / 'x.npz', tmp_path / 'out', '--config.data.source=npz',
                 '--config.train.batch_size=8')
  assert page.says('3 classes, of 13 to 14 training images each')
  assert pathlib.Path(tmp_path / 'out' / 'preview.html').stat().st_size < 3e6
