"""task=search as a user calls it: features of task=embed, and an index."""

import csv

import html_page
import numpy as np
from PIL import Image
import pytest
from tiny import call

MARKUP = "<script>alert(1)'.png"


@pytest.fixture(name='photos', scope='module')
def _photos(tmp_path_factory):
  """Ten pictures in a folder, one with markup in its name."""
  folder = tmp_path_factory.mktemp('photos')
  for k in range(10):
    pixels = np.random.default_rng(k).integers(0, 256, (14, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / (f'{k}.png' if k else MARKUP))
  return folder


@pytest.fixture(name='features', scope='module')
def _features(run, photos, tmp_path_factory):
  folder = tmp_path_factory.mktemp('features')
  assert call('embed', f'--config.weights={run}', '--config.data.source=folder',
              f'--config.data.path={photos}', f'--workdir={folder}',
              '--config.evaluation.batch_size=2', '--config.embed.formats=npz') == 0
  return folder


def search(place, query, *more):
  return call('search', f'--config.search.index={place}',
              f'--config.search.query={query}', '--config.search.k=3', *more)


def hits(folder):
  with open(folder / 'hits.csv', newline='', encoding='utf-8') as f:
    return list(csv.DictReader(f))


def test_a_folder_of_queries(features, photos, tmp_path, capsys):
  """Each picture finds itself first: queries are prepared as the catalogue is."""
  (tmp_path / 'queries').mkdir()
  for path in photos.iterdir():
    (tmp_path / 'queries' / path.name).write_bytes(path.read_bytes())
  (tmp_path / 'queries' / 'bad.jpg').write_bytes(b'no picture')
  assert search(features, tmp_path / 'queries', f'--workdir={tmp_path / "out"}') == 0
  found = hits(tmp_path / 'out')
  assert len(found) == 30 and 'left out 1 file,' in capsys.readouterr().out
  for row in found:
    if row['rank'] == '1':
      assert row['query'].endswith('/' + row['image'])
      assert float(row['score']) == pytest.approx(1, abs=1e-5)
  page = html_page.Page((tmp_path / 'out/gallery.html').read_text())
  assert page.runs_nothing() and page.says(MARKUP)
  assert [of.get('class') for of in page.named('figure')].count('query') == 10
  assert len(page.named('img')) == 10  # features have no thumbnails


def test_an_image_of_the_catalogue_by_its_name(features):
  assert search(features, MARKUP) == 0
  found = hits(features / 'search')
  assert len(found) == 3 and MARKUP not in [row['image'] for row in found]


def test_an_index_with_a_condition(run, photos, tmp_path, capsys):
  pytest.importorskip('lancedb', reason='the extra [index] is not installed')
  assert call('index', f'--config.weights={run}', '--config.data.source=folder',
              f'--config.data.path={photos}', f'--workdir={tmp_path}',
              '--config.evaluation.batch_size=2') == 0
  assert search(tmp_path, photos / '3.png', "--config.search.where=image < '5'") == 0
  found = hits(tmp_path / 'search')
  assert [row['image'] for row in found][0] == '3.png' and len(found) == 3
  assert all(row['image'] < '5' for row in found)
  page = html_page.Page((tmp_path / 'search/gallery.html').read_text())
  assert len(page.named('img')) == 4
  assert search(tmp_path, photos / '3.png', '--config.search.where=colour <') == 2
  assert 'which is no condition on the columns image' in capsys.readouterr().err


@pytest.mark.parametrize('query, message', [
    ('nothing.jpg', 'no file, no folder, and no name of an image'),
    ('', 'search.query'),
    (__file__, 'where no picture can be used')])
def test_mistakes_end_in_one_line(features, query, message, capsys):
  assert search(features, query) == 2
  said = capsys.readouterr().err
  assert message in said and said.count('\n') == 1
