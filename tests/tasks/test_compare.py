"""The table over several runs, from results.json as the tasks write it."""

import json
import logging
import pathlib

import pytest

from byol_jax.config import keys
from byol_jax.errors import UserError
from byol_jax.tasks import compare


def knn(top1, *, network='online', metric='top1', k=20, test_images=90, **more):
  """results.json of task=knn."""
  return {
      'byol': {'knn_top1': top1, 'knn_mean_per_class': top1 - 1} | {
          f'knn_{name}': value for name, value in more.items()},
      'task': 'knn',
      'protocol': {
          'step': 20, 'network': network, 'metric': metric, 'image_size': 8,
          'images': f'160 training images, {test_images} test images',
          'data': 'tiny', 'seeds': [0],
          'classifiers': {'byol': {'k': k, 'test_images': test_images}}}}


@pytest.fixture(name='runs')
def _runs(tmp_path):
  """(name, seed, results of task=knn or None) -> the workdir of a run."""
  def make(name, seed=0, results=None):
    workdir = tmp_path / name
    folder = workdir / 'evaluations' / 'knn-20'
    folder.mkdir(parents=True)
    write(workdir / 'config.json', {'seed': seed, 'train': {'epochs': 4.0}})
    write(workdir / 'results.json', {
        'run': {'steps': 20, 'seed': seed},
        'byol': {'knn_top1': 50.0 + seed, 'linear_top1': 60.0},
        'protocol': {'images': '160 training images, 90 test images',
                     'byol_classifiers': {'knn': {'k': 20}, 'linear': {}}}})
    if results:
      write(folder / 'results.json', results)
    return workdir
  return make


def write(path, value):
  path.write_text(value if isinstance(value, str) else json.dumps(value))


def compared(workdirs):
  config = keys.base()
  config.compare.workdirs = workdirs
  compare.run(config, None)


@pytest.fixture(name='said')
def _said(tmp_path, capsys):
  def said(workdirs=None):
    compared(workdirs or f'{tmp_path}/*')
    return capsys.readouterr().out
  return said


def test_networks_are_told_apart(runs, said):
  runs('a', 0, knn(70.0))
  b = runs('b', 1, knn(72.0, network='target'))
  out = said()
  assert '  BYOL target  ' in out
  assert 'not alike, knn: network is online in ' in out and f'target in {b}' in out
  assert not any(  # nor is the mean taken of both
      row.startswith('mean') and '71.00%' in row for row in out.splitlines())


@pytest.mark.parametrize('key, other', [
    ('metric', {'metric': 'mean_per_class'}), ('k', {'k': 200}),
    ('images', {'test_images': 45}), ('test_images', {'test_images': 45})])
def test_what_makes_figures_incomparable_is_told(runs, said, key, other):
  runs('a', 0, knn(70.0))
  runs('b', 1, knn(72.0))
  assert 'not alike' not in said()
  runs('c', 2, knn(74.0, **other))
  assert f'not alike, knn: {key} is ' in said()


def test_a_mean_says_of_how_many(runs, said):
  for seed in range(3):
    runs(f'run{seed}', seed, knn(70.0 + seed) if seed else None)
  runs('twice', 2, knn(72.0))  # not another seed
  rows = [row for row in said().splitlines() if row.startswith('mean of 3 seeds')]
  assert len(rows) == 1
  assert '51.00% +-1.00 n=3' in rows[0] and '71.50% +-0.71 n=2' in rows[0]


def test_seeds_of_several_versions_are_one_group(runs, said):
  """A key that came later, or may differ, makes no other run."""
  runs('a', 0)
  config = {'seed': 1, 'train': {'epochs': 4.0, 'trust_clip': False},
            'log': {'every_steps': 7}}
  write(runs('b', 1) / 'config.json', config)
  assert 'mean of 2 seeds' in said()
  config['train']['trust_clip'] = True
  write(runs('b2', 1) / 'config.json', config)
  write(runs('c', 2) / 'config.json', config | {'seed': 2})
  assert said().count('mean of 2 seeds') == 2


def test_runs_on_other_images_are_no_seeds_of_one_another(runs, said):
  config = {'train': {'epochs': 4.0}, 'data': {'source': 'folder'}}
  write(runs('a', 0) / 'config.json', config | {
      'seed': 0, 'data_found': {'fingerprint': 'cats'}})
  b = runs('b', 1) / 'config.json'
  for other in ({'data_found': {'fingerprint': 'cars'}},
                {'data': {'source': 'folder', 'path': '/cars'}},
                {'data_found': {'fingerprint': 'cats'}, 'evaluation': {'knn_k': 5}}):
    write(b, config | {'seed': 1} | other)
    assert 'mean of' not in said()
  write(b, config | {'seed': 1, 'data_found': {'fingerprint': 'cats'},
                     'data': {'source': 'folder', 'path': '/moved'}})
  assert 'mean of 2 seeds' in said()


def test_runs_without_a_config_are_no_seeds_of_another(runs, said):
  for seed in range(2):
    (runs(f'run{seed}', seed) / 'config.json').unlink()
  assert 'mean of' not in said()


def test_a_table_for_each_metric(runs, said):
  runs('a', 0, knn(70.0, top5=95.0))
  first, second = said().split('\n\n')
  assert first.split('\n')[0].endswith('knn top-1') and '70.00%' in first
  assert second.split('\n')[0].split()[3:] == ['knn', 'top-5'] and '95.00%' in second
  assert '69.00%' not in first + second
  runs('b', 1, knn(72.0, metric='mean_per_class'))
  last = said().split('\n\n')[2]
  assert 'knn mean per class' in last and '71.00%' in last and '69.00%' not in last


@pytest.mark.parametrize('file, change', [
    ('results.json', lambda x: x | {'run': None}),
    ('results.json', lambda x: x | {'byol': []}),
    ('results.json', lambda x: x | {'byol': {'knn_top1': 'high'}}),
    ('results.json', lambda x: x | {'protocol': None}),
    ('results.json', lambda x: [x]),
    ('results.json', lambda x: '{"run": '),
    ('evaluations/knn-20/results.json',
     lambda x: x | {'protocol': x['protocol'] | {'classifiers': []}}),
    ('evaluations/knn-20/results.json',
     lambda x: x | {'protocol': x['protocol'] | {'classifiers': {'byol': []}}}),
    ('config.json', lambda x: [x]),
    ('config.json', lambda x: 'null'),
])
def test_a_file_that_someone_edited_is_left_out_by_name(runs, said, caplog, file,
                                                        change):
  runs('whole', 0, knn(70.0))
  path: pathlib.Path = runs('edited', 1, knn(72.0)) / file
  write(path, change(json.loads(path.read_text())))
  with caplog.at_level(logging.WARNING):
    out = said()
  assert '70.00%' in out
  assert f'{path} is not what byol_jax writes: left out' in caplog.text


def test_nothing_to_compare(runs, tmp_path):
  write(runs('run') / 'results.json', {'run': {'steps': 20}})  # no final figures
  with pytest.raises(UserError, match='none of them has'):
    compared(str(tmp_path / 'run'))
  with pytest.raises(UserError, match='no such folder'):
    compared(str(tmp_path / 'none'))


def test_second_evaluations_and_workdirs_of_their_own(runs, said, tmp_path):
  """A column each for NAME-STEP-2, and for each share of labels."""
  a = runs('a', 0, knn(70.0) | {'untrained': {'knn_top1': 30.0}})
  for name, found in (('knn-20-2', knn(71.0, k=5)), ('finetune_0.1-20', None)):
    (a / 'evaluations' / name).mkdir()
    if found:
      write(a / 'evaluations' / name / 'results.json', found)
  tuned = {'task': 'finetune', 'byol': {'finetune_top1': 80.0}, 'protocol': {
      'step': 20, 'classifiers': {'byol': [{'labels': 0.1}, {'labels': 0.1}]}}}
  (tmp_path / 'b').mkdir()
  write(tmp_path / 'b' / 'results.json', tuned)
  write(a / 'evaluations' / 'finetune_0.1-20' / 'results.json', tuned)
  out = said(f'{a},{tmp_path / "b"}')
  head, *rows = out.split('\n\n')[0].splitlines()
  assert head.count('finetune_0.1 top-1') == 1 and 'knn (2) top-1' in head
  assert [row.split('  ')[0] for row in rows[:3]] == [str(a)] * 2 + [str(tmp_path / 'b')]
  rows = rows[1::-1]  # baselines come first
  assert '70.00%' in rows[0] and '71.00%' in rows[0] and '30.00%' in rows[1]
  assert f'not alike, knn: k is 20 in {a}, 5 in {a} (2)' in out
