"""The evaluation tasks as a user calls them, on a tiny run."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import FEW
from tiny import figures
from tiny import on_one_device
from tiny import results
from tiny import ROOT
from tiny import SMALLEST


@pytest.fixture(name='measured', scope='module')
def _measured(run):
  """Results of all tasks, by task, with both forms of linear evaluation."""
  found = {}
  for task, name in (('knn', 'knn'), ('logistic', 'logistic'),
                     ('linear_eval:crops', 'linear_eval_crops'),
                     ('linear_eval:cached', 'linear_eval_cached'),
                     ('finetune', 'finetune')):
    assert call(task, *FEW, f'--config.weights={run}',
                '--config.evaluation.baselines=True') == 0
    folder = f'{run}/evaluations/{name}-20'
    found[name] = results(folder)
    # what an interrupted one goes on from
    assert not any(os.scandir(f'{folder}/checkpoints')) if os.path.exists(
        f'{folder}/checkpoints') else name in ('knn', 'logistic')
  return found


def test_every_task_measures_all_kinds_of_encoders(measured):
  for name, said in measured.items():
    task = said['task']
    kinds = set(figures(said))
    assert kinds == {'byol', 'untrained'} | (
        set() if task == 'finetune' else {'raw_pixels'})
    for kind in kinds:
      row = said[kind]
      low, high = row[f'{task}_top1_interval']
      assert 0 <= low < row[f'{task}_top1'] < high <= 100
      assert f'{task}_top5' not in row  # four classes
      assert 0 < row[f'{task}_mean_per_class'] <= 100
      how = said['protocol']['classifiers'][kind]
      assert how['test_images'] == 90
    protocol = said['protocol']
    assert protocol['step'] == 20 and protocol['network'] == 'online'
    assert protocol['images'].startswith(
        '80 of 160 training images, 90 test' if name == 'finetune' else
        '160 training images, 90 test'), name
  # the encoders are told apart
  assert len({row['knn_top1'] for row in figures(measured['knn']).values()}) > 1
  how = measured['finetune']['protocol']['classifiers']['byol']
  assert how['labelled_images'] == 80 and len(how['held_out_top1']) == 2


def test_figures_are_scikit_learns(run, measured, tmp_path):
  """k-NN and logistic regression on the features of task=embed."""
  neighbors = pytest.importorskip('sklearn.neighbors')
  linear_model = pytest.importorskip('sklearn.linear_model')
  arrays = {}
  for split in ('train', 'test'):
    out = tmp_path / split
    assert call('embed', f'--config.weights={run}', f'--workdir={out}', *FEW,
                f'--config.embed.split={split}') == 0
    arrays[split] = np.load(out / 'embeddings.npz', allow_pickle=False)
  train, test = arrays['train'], arrays['test']
  model = neighbors.KNeighborsClassifier(
      20, metric='cosine', algorithm='brute',
      weights=lambda distance: np.exp((1 - distance) / 0.07))
  model.fit(train['features'], train['labels'])
  top1 = 100 * model.score(test['features'], test['labels'])
  assert measured['knn']['byol']['knn_top1'] == pytest.approx(top1, abs=1e-9)
  l2 = measured['logistic']['byol']['logistic_l2']
  model = linear_model.LogisticRegression(C=1 / (l2 * 160), max_iter=50_000, tol=1e-7)
  model.fit(train['features'].astype(float), train['labels'])
  top1 = 100 * model.score(test['features'], test['labels'])
  assert measured['logistic']['byol']['logistic_top1'] == pytest.approx(top1, abs=1.2)
  assert len(set(train['names'])) == 160 and train['names'][3] == 'train[3]'


def test_one_device_says_the_same_to_the_digit(run, measured, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(f'{run}/checkpoints', copy / 'checkpoints')
  arguments = [*FEW, f'--config.weights={copy}', '--distributed=off',
               '--config.evaluation.baselines=True']
  tasks = ('embed', 'knn', 'logistic', 'linear_eval:crops', 'linear_eval:cached',
           'finetune')
  paths = [f'{ROOT}/configs/{file}.py{colon}{argument}' for file, colon, argument in (
      task.partition(':') for task in tasks)]
  done = subprocess.run(
      [sys.executable, '-c', f'{SMALLEST}from byol_jax import main\n'
       f'for path in {paths}:\n'
       f'  code = main.main(["", f"--config={{path}}", *{arguments}])\n'
       '  assert code == 0, code\n'],
      cwd=ROOT, capture_output=True, text=True, check=False,
      env=on_one_device())
  assert done.returncode == 0, done.stderr
  for name in ('knn', 'logistic', 'linear_eval_crops', 'linear_eval_cached'):
    said = results(copy / 'evaluations' / f'{name}-20')
    assert figures(said) == figures(measured[name]), name
  assert call('embed', *arguments, f'--workdir={tmp_path / "eight"}') == 0
  one, eight = (np.load(folder / 'embeddings.npz')['features'] for folder in (
      copy / 'evaluations' / 'embed-20', tmp_path / 'eight'))
  np.testing.assert_array_equal(one, eight)
  # up to the order of sums in batch normalization: two of 90 images
  said, before = results(copy / 'evaluations' / 'finetune-20'), measured['finetune']
  for kind, row in figures(said).items():
    assert row['finetune_top1'] == pytest.approx(
        before[kind]['finetune_top1'], abs=100 * 2.1 / 90)
    one, eight = (x['protocol']['classifiers'][kind] for x in (said, before))
    assert one['batch_size'] == eight['batch_size'] == 32
    assert one['chosen'] == eight['chosen']


def test_measured_before(run, measured, capsys):
  del measured
  assert call('knn', f'--config.weights={run}', *FEW,
              '--config.evaluation.baselines=True') == 0
  said = capsys.readouterr().out
  assert 'measured before' in said and 'untrained encoder' in said


def test_another_config_has_a_place_of_its_own(run, measured, tmp_path, capsys):
  del measured
  base = f'{run}/evaluations/knn-20'
  for k in (3, 5, 3):
    assert call('knn', f'--config.weights={run}', f'--config.evaluation.knn_k={k}') == 0
  said = capsys.readouterr().out
  assert 'evaluation.knn_k (20 there, 5 now)' in said
  assert said.count('measured before') == 1
  found = [results(x)['protocol']['classifiers']['byol']['k']
           for x in (base, f'{base}-2', f'{base}-3')]
  assert found == [20, 3, 5] and not os.path.exists(f'{base}-4')
  # what the user names is not left for another
  knn = ['knn', f'--config.weights={run}', f'--workdir={tmp_path}']
  assert call(*knn) == 0
  capsys.readouterr()
  assert call(*knn, '--config.evaluation.knn_k=3') == 2
  assert 'evaluation.knn_k (20 there, 3 now)' in capsys.readouterr().err


def test_a_command_that_was_wrong_does_not_bar_the_right_one(run, tmp_path, capsys):
  arguments = ['knn', f'--config.weights={run}', f'--workdir={tmp_path}']
  assert call(*arguments, '--config.data.train_split=extra') == 2
  assert 'has the splits train and test' in capsys.readouterr().err
  assert call(*arguments, '--config.evaluation.knn_k=5') == 0


def test_features_are_computed_once(run, measured, tmp_path, capsys):
  del measured
  arguments = ['knn', f'--config.weights={run}', *FEW, '--config.evaluation.knn_k=3']
  assert call(*arguments, f'--workdir={tmp_path / "a"}') == 0
  assert '160 of 160 features were computed before' in capsys.readouterr().out
  # an encoder that makes something else of the images
  folder = f'{run}/evaluations/features'
  for path in [os.path.join(base, name) for base, _, names in os.walk(folder)
               for name in names]:
    with np.load(path) as file:
      kept = dict(file)
    np.savez(path, **kept | {'features': kept['features'] + 1})
  assert call(*arguments, f'--workdir={tmp_path / "b"}') == 0
  assert 'computing them again' in capsys.readouterr().out
  assert figures(results(tmp_path / 'a')) == figures(results(tmp_path / 'b'))


def test_a_file_has_a_folder_of_its_own(run, measured, tmp_path, monkeypatch, capsys):
  """Where no workdir is named, nothing meets the results of something else."""
  monkeypatch.chdir(tmp_path)
  assert call('export', f'--config.weights={run}', '--workdir=.') == 0
  for task in ('knn', 'linear_eval'):
    capsys.readouterr()
    assert call(task, '--config.weights=encoder.safetensors', *FEW) == 0
  assert '160 of 160 features were computed before' in capsys.readouterr().out
  folder, = (tmp_path / 'runs').iterdir()
  assert {x.name for x in (folder / 'evaluations').iterdir()} == {
      'knn-20', 'linear_eval-20', 'features'}
  assert figures(results(folder / 'evaluations' / 'knn-20'))['byol'] == (
      measured['knn']['byol'])
  shutil.copytree(run, tmp_path / 'run')
  np.savez('other.npz', images=np.load(f'{run}/../tiny.npz')['x_train'],
           labels=np.arange(160) % 3)
  assert call('knn', '--config.weights=run', *FEW,
              '--config.evaluation.network=target', '--config.data.source=npz',
              '--config.data.path=other.npz') == 0
  said = results(tmp_path / 'run' / 'evaluations' / 'knn_target_other.npz-20')
  assert said['protocol']['network'] == 'target'
  # not: that pretraining has seen these
  assert said['protocol']['images'] == (
      '144 training images, no test part: 16 training images, held out from the '
      'classifiers')


def test_damaged_results_are_measured_again(run, tmp_path, capsys):
  arguments = ['knn', f'--config.weights={run}', *FEW, f'--workdir={tmp_path}']
  assert call(*arguments) == 0
  before = results(tmp_path)
  (tmp_path / 'results.json').write_text('{"byol": ')
  capsys.readouterr()
  assert call(*arguments) == 0
  assert 'is damaged: measuring again' in capsys.readouterr().out
  assert results(tmp_path) == before


def test_compare(run, measured, tmp_path, capsys):
  del measured
  twin = tmp_path / 'twin'
  shutil.copytree(run, twin)
  config = json.loads((twin / 'config.json').read_text()) | {'seed': 1}
  (twin / 'config.json').write_text(json.dumps(config))
  path = twin / 'evaluations' / 'knn-20' / 'results.json'
  said = json.loads(path.read_text())
  said['byol']['knn_top1'] += 2
  said['protocol']['classifiers']['byol']['k'] = 200
  path.write_text(json.dumps(said))
  capsys.readouterr()
  assert call('compare', f'--config.compare.workdirs={run},{tmp_path}/tw*') == 0
  out = capsys.readouterr().out
  head, *rows = out.splitlines()
  assert head.split()[:3] == ['workdir', 'step', 'encoder']
  assert 'knn (run)' in head and 'linear_eval_cached' in head
  assert 'mean of 2 seeds' in out and '+-1.41' in out
  assert any(row.startswith('not alike, knn: k is 20 in') for row in rows)
  assert call('compare', f'--config.compare.workdirs={tmp_path}/none') == 2
  (tmp_path / 'empty').mkdir()
  assert call('compare', f'--config.compare.workdirs={tmp_path}/empty') == 2
  assert 'none of them has' in capsys.readouterr().err


def test_labels_that_no_classifier_can_learn(run, tmp_path, capsys):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (40, 12, 12, 3), np.uint8)
  def measure(task='knn', *more, **arrays):
    np.savez(tmp_path / 'data.npz', **arrays)
    shutil.rmtree(tmp_path / 'out', ignore_errors=True)
    code = call(task, f'--config.weights={run}', f'--workdir={tmp_path / "out"}',
                '--config.data.source=npz', *FEW, *more,
                f'--config.data.path={tmp_path / "data.npz"}')
    said = capsys.readouterr()
    return code, said.out + said.err
  labels = np.arange(40) % 2
  code, said = measure(images=images)
  assert code == 2 and 'has no labels' in said and 'task=embed' in said
  code, said = measure(images=images, labels=np.zeros(40, int))
  assert code == 2 and 'one class only' in said
  for task in ('knn', 'finetune'):
    code, said = measure(task, images=images, labels=np.full(40, 3))
    assert code == 2 and 'one class only' in said
  code, said = measure('knn', '--config.evaluation.knn_k=50', images=images,
                       labels=labels)
  assert code == 0 and 'knn_k is 50, more than the 36 training images' in said
  code, said = measure(x_train=images, y_train=labels, x_test=images,
                       y_test=np.arange(40) % 3)
  assert code == 2 and 'has a label 2' in said
  gap = dict(x_train=images, y_train=labels * 2, x_test=images,
             y_test=np.arange(40) % 3)
  code, said = measure(**gap)
  assert code == 2 and 'has the label 1, which is not one of the 2 classes' in said
  code, said = measure('knn', '--config.data.rules=0.1', **gap)
  assert code == 0 and 'no training image for 1 class of the test images' in said


def test_another_folder_with_the_same_names_is_measured(run, tmp_path, capsys):
  """As those of ImageNet-C have; sizes differ, so they are not decoded into memory."""
  rng = np.random.default_rng(0)
  for folder in ('a', 'b'):
    for part, count in (('train', 6), ('test', 3)):
      for label in ('x', 'y'):
        (tmp_path / folder / part / label).mkdir(parents=True)
        for k in range(count):
          Image.fromarray(rng.integers(0, 256, (20 + k, 30, 3), np.uint8)).save(
              tmp_path / folder / part / label / f'{k}.png')
  said = []
  for folder in ('a', 'b', 'a'):
    assert call('knn', f'--config.weights={run}', '--config.data.source=folder',
                f'--config.data.path={tmp_path / folder}', '--config.evaluation.knn_k=3',
                '--config.evaluation.baselines=False') == 0
    said.append(capsys.readouterr().out)
  assert ['measured before' in out for out in said] == [False, False, True]
