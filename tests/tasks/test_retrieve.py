"""task=retrieve as a user calls it, on a tiny run."""

import csv

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import results

from byol_jax.retrieval import metrics


def figure(said, name, kind='byol'):
  return said[kind][f'retrieve_{name}']


@pytest.fixture(name='photos', scope='module')
def _photos(tmp_path_factory):
  """20 pictures of 10 products, two and two alike; with lists of them."""
  root = tmp_path_factory.mktemp('photos')
  rng = np.random.default_rng(0)
  rows = []
  for product in range(10):
    base = rng.integers(0, 256, (12, 12, 3))
    for copy in 'ab':
      name = f'{product}{copy}.png'
      noise = rng.integers(-9, 10, base.shape)
      Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(root / name)
      rows.append((name, product % 2, f'p{product}'))
  (root / '9b.png').write_bytes((root / '9a.png').read_bytes())
  with open(root / 'list.csv', 'w', newline='', encoding='utf-8') as f:
    csv.writer(f).writerows([('path', 'label', 'sku'), *rows])
  return root


def test_each_image_against_all_others_equals_numpy(run, tmp_path, capsys):
  assert call('retrieve', f'--config.weights={run}', '--config.retrieve.recall_at=(1,3)',
              f'--workdir={tmp_path / "r"}') == 0
  said = results(tmp_path / 'r')
  assert call('embed', f'--config.weights={run}', '--config.embed.split=test',
              f'--workdir={tmp_path / "e"}') == 0
  out = capsys.readouterr().out
  assert '90 of 90 features were computed before' in out
  assert 'R@1' in out and 'raw pixels' in out and 'untrained' in out
  found = np.load(tmp_path / 'e/embeddings.npz')
  x = found['features'].astype(float)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  cosines = x @ x.T
  np.fill_diagonal(cosines, -np.inf)
  same = found['labels'][:, None] == found['labels']
  np.fill_diagonal(same, False)
  expected = np.mean([metrics.of_query(metrics.rank(row, np.flatnonzero(is_same)),
                                       (1, 3)) for row, is_same in zip(cosines, same)],
                     axis=0)
  for name, value in zip(metrics.names((1, 3)), expected):
    assert figure(said, name) == pytest.approx(100 * value, abs=.5), name
    low, high = figure(said, f'{name}_interval')
    assert low <= figure(said, name) <= high
  assert said['protocol']['queries'] == 90
  assert call('retrieve', f'--config.weights={run}', '--config.retrieve.recall_at=(1,3)',
              f'--workdir={tmp_path / "r"}') == 0
  assert 'measured before' in capsys.readouterr().out


def test_products_of_a_list_pairs_and_two_parts(run, photos, tmp_path, capsys):
  arguments = ['retrieve', f'--config.weights={run}', '--config.data.source=list',
               f'--config.data.path={photos / "list.csv"}',
               '--config.retrieve.gallery=train', '--config.evaluation.baselines=False']
  assert call(*arguments, '--config.retrieve.product=sku',
              f'--workdir={tmp_path / "sku"}') == 0
  said = results(tmp_path / 'sku')
  assert figure(said, 'recall_share_at_10') > 60
  assert said['protocol']['equal_bytes'] == 2
  assert said['byol']['near_duplicates'] >= 2
  # the same products as pairs; a name that is not here is told
  pairs = tmp_path / 'pairs.csv'
  pairs.write_text('query,item,weight\nold.png,0a.png,1\n' + ''.join(
      f'{i}{a}.png,{i}{b}.png,2\n' for i in range(10) for a, b in ('ab', 'ba')))
  capsys.readouterr()
  assert call(*arguments, f'--config.retrieve.pairs={pairs}',
              f'--workdir={tmp_path / "pairs"}') == 0
  assert "left out 1 of 21 pairs" in (out := capsys.readouterr().out)
  assert "'old.png'" in out
  assert results(tmp_path / 'pairs')['byol'] == said['byol']
  # queries from another list, each alone with its twin
  for part in 'ab':
    (photos / f'{part}.csv').write_text('path,label,sku\n' + ''.join(
        f'{i}{part}.png,0,p{i}\n' for i in range(10)))
  arguments[3] = f'--config.data.path={photos / "b.csv"}'
  assert call(*arguments, '--config.retrieve.product=sku',
              f'--config.retrieve.queries_path={photos / "a.csv"}',
              f'--workdir={tmp_path / "two"}') == 0
  two = results(tmp_path / 'two')
  assert two['protocol']['queries'] == two['protocol']['gallery_images'] == 10
  assert figure(two, 'recall_share_at_10') == 100
  assert two['protocol']['equal_bytes'] == 1


def test_queries_that_are_the_gallery_are_no_results(run, tmp_path):
  for name, queries in (('one', ''), ('same', 'test')):
    assert call('retrieve', f'--config.weights={run}', '--config.retrieve.recall_at=(1,)',
                '--config.evaluation.baselines=False',
                f'--config.retrieve.queries={queries}',
                f'--workdir={tmp_path / name}') == 0
  assert results(tmp_path / 'same')['byol'] == results(tmp_path / 'one')['byol']


def test_a_product_column_that_has_changed_is_measured_again(run, photos, tmp_path,
                                                             capsys):
  (tmp_path / 'l.csv').write_text((photos / 'list.csv').read_text())
  arguments = ['retrieve', f'--config.weights={run}', '--config.data.source=list',
               f'--config.data.path={tmp_path / "l.csv"}',
               f'--config.data.list_root={photos}', '--config.retrieve.gallery=train',
               '--config.evaluation.baselines=False', '--config.retrieve.product=sku',
               f'--workdir={tmp_path / "r"}']
  assert call(*arguments) == 0 == call(*arguments)
  assert 'measured before' in capsys.readouterr().out
  (tmp_path / 'l.csv').write_text((tmp_path / 'l.csv').read_text().replace('p3', 'p4'))
  assert call(*arguments) == 2
  assert 'the data of' in capsys.readouterr().err


@pytest.mark.parametrize('arguments,message', [
    (['--config.data.source=folder', '--config.data.path={photos}',
      '--config.retrieve.queries=test'], 'a folder without parts is train'),
    (['--config.data.source=folder', '--config.data.path={photos}'],
     'has no labels: say what is relevant'),
    (['--config.retrieve.pairs=/none.csv'], 'retrieve.pairs is'),
    (['--config.retrieve.product=sku'], 'set --config.data.source=list'),
    (['--config.retrieve.recall_at=(1.5,)'], 'numbers of images are whole'),
    (['--config.data.source=list', '--config.data.path={photos}/list.csv',
      '--config.retrieve.gallery=train', '--config.retrieve.product=price'],
     'has the columns path, label, sku'),
])
def test_mistakes_are_told_in_one_line(run, photos, tmp_path, capsys, arguments,
                                       message):
  assert call('retrieve', f'--config.weights={run}', f'--workdir={tmp_path}', *(
      argument.format(photos=photos) for argument in arguments)) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1
  assert not (tmp_path / 'results.json').exists()
