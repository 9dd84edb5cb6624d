"""The evaluation tasks as a user calls them, on a tiny run."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import FEW
from tiny import figures
from tiny import results
from tiny import ROOT
from tiny import SMALLEST

from byol_jax.evaluation import protocols
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages
from byol_jax.run import checkpoint
from byol_jax.tasks import evaluate
from byol_jax.tasks import subject
from byol_jax.weights import load as weights_lib


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
      cwd=ROOT, capture_output=True, text=True, check=False, env=dict(
          os.environ, JAX_PLATFORMS='cpu',
          XLA_FLAGS='--xla_force_host_platform_device_count=1'))
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
  assert call(*arguments, '--config.evaluation.knn_k=1000') == 2
  assert 'choose 1 to 160' in capsys.readouterr().err
  assert call(*arguments, '--config.evaluation.knn_k=5') == 0


def test_keys_of_other_tasks_are_told(run, tmp_path, capsys):
  assert call('knn', f'--config.weights={run}', f'--workdir={tmp_path}',
              '--config.finetune.labels=0.1', '--config.evaluation.knn_k=7') == 0
  warnings = [line for line in capsys.readouterr().out.splitlines()
              if line.startswith('warning')]
  assert warnings == ['warning: config key finetune.labels is 0.1, but task=knn does '
                      'not look at it']
  # nor is it another config with them
  assert call('knn', f'--config.weights={run}', f'--workdir={tmp_path}',
              '--config.evaluation.knn_k=7') == 0


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


@pytest.mark.parametrize('task', ['linear_eval:crops', 'finetune:1.0'])
def test_bad_images_do_not_teach(run, tmp_path, task):
  """Nor does another image teach twice in their place."""
  rng = np.random.default_rng(0)
  for folder, count in (('train/a', 24), ('train/b', 24), ('test/a', 8), ('test/b', 8)):
    (tmp_path / 'photos' / folder).mkdir(parents=True)
    for k in range(count):
      Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(
          tmp_path / 'photos' / folder / f'{k:02d}.png')
  for name in ('03', '07'):
    (tmp_path / 'photos/train/a' / f'{name}.png').write_bytes(b'not a picture')
  assert call(task, f'--config.weights={run}', '--config.data.source=folder',
              f'--config.data.path={tmp_path / "photos"}', '--config.data.resident=no',
              *[x for x in FEW if 'labels' not in x],
              f'--workdir={tmp_path / "out"}') == 0
  protocol = results(tmp_path / 'out')['protocol']
  assert set(protocol['left_out']['train']) == {'a/03.png', 'a/07.png'}
  how = protocol['classifiers']['byol']
  assert how['labelled_images' if 'finetune' in task else 'trained_on'] == 46


@pytest.mark.parametrize('task, saves', [
    ('finetune', (3, 10)), ('linear_eval:crops', (2, 4))])
def test_interrupted_training_goes_on(run, tmp_path, monkeypatch, task, saves):
  arguments = [task, f'--config.weights={run}', *FEW]
  assert call(*arguments, f'--workdir={tmp_path / "whole"}') == 0
  monkeypatch.setattr(stages, '_SECONDS', -1)
  save, saved = stages.Stage.save, []
  def break_off(self, step, state, *, last=False):
    save(self, step, state, last=last)
    saved.append(step)
    if len(saved) in saves:  # in the choice, and in what follows it
      self._saver._checkpoints.wait()
      raise KeyboardInterrupt
  monkeypatch.setattr(stages.Stage, 'save', break_off)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      call(*arguments, f'--workdir={tmp_path / "broken"}')
  assert call(*arguments, f'--workdir={tmp_path / "broken"}') == 0
  assert figures(results(tmp_path / 'whole')) == figures(results(tmp_path / 'broken'))


def test_seeds_give_mean_and_deviation(run, tmp_path):
  out = tmp_path / 'out'
  assert call('finetune', f'--config.weights={run}', *FEW, f'--workdir={out}',
              '--config.finetune.learning_rates=(.1,)',  # in place of FEW's
              '--config.evaluation.seeds=3') == 0
  said = results(out)
  row = said['byol']
  for how in said['protocol']['classifiers']['byol']:
    assert how['grid']['learning_rates'] == [.1]
  each = [one['top1'] for one in row['finetune_seeds']]
  assert len(set(each)) > 1
  assert row['finetune_top1'] == pytest.approx(np.mean(each))
  assert row['finetune_top1_std'] == pytest.approx(np.std(each, ddof=1))
  low, high = row['finetune_top1_interval']
  assert low < row['finetune_top1'] < high
  # what was chosen is told of each seed, and no mean of it
  assert 'finetune_learning_rate' not in row
  assert [one['learning_rate'] for one in row['finetune_seeds']] == [.1] * 3
  assert call('knn', f'--config.weights={run}', *FEW, f'--workdir={tmp_path / "k"}',
              '--config.evaluation.seeds=3') == 2


def test_no_fit_reaches_the_test_images(run, tmp_path, monkeypatch):
  fitted = []
  class Guarded(splits.Split):
    """Test images that may be looked at when something is fitted."""
    @property
    def test(self):
      assert fitted, 'the test images were looked at too early'
      return self._test
    @test.setter
    def test(self, value):
      self._test = value
  monkeypatch.setattr(evaluate.splits, 'Split', Guarded)
  for task, protocol in (('knn', protocols.Knn), ('logistic', protocols.Logistic),
                         ('linear_eval', protocols.Linear),
                         ('finetune', protocols.Finetune)):
    fitted.clear()
    def then(*arguments, fit=protocol.fit):
      classifier = fit(*arguments)
      fitted.append(classifier)
      return classifier
    monkeypatch.setattr(protocol, 'fit', then)
    assert call(task, f'--config.weights={run}', *FEW,
                f'--workdir={tmp_path / task}') == 0
    assert len(fitted) == 1


def test_a_signal_ends_a_training_at_its_next_step(run, tmp_path):
  command = [sys.executable, '-c', f'{SMALLEST}import runpy\n'
             'runpy.run_module("byol_jax.main", run_name="__main__")',
             f'--config={ROOT}/configs/linear_eval.py', *FEW,
             f'--config.weights={run}', f'--workdir={tmp_path / "out"}',
             '--config.linear_eval.epochs=100000']
  def until(words):
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT)
    for line in process.stdout:
      if words in line:
        break
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    return process.returncode, line, said
  code, _, said = until('choosing: steps')
  assert code == 128 + signal.SIGTERM
  assert 'the same command goes on' in said and 'Traceback' not in said
  # long before the minute in which it would have been saved anyway
  _, line, _ = until('going on at step')
  step = int(line.split('step ')[-1])
  assert step and step % 64 == 0


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


# ------------------------------------------------------------------ bad input
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
  assert code == 2 and 'knn_k is 50, but there are 36' in said
  code, said = measure(x_train=images, y_train=labels, x_test=images,
                       y_test=np.arange(40) % 3)
  assert code == 2 and 'has a label 2' in said
  code, said = measure(x_train=images, y_train=labels * 2, x_test=images,
                       y_test=np.arange(40) % 3)
  assert code == 0 and '1 classes of the test images have no training image' in said


def test_weights_that_cannot_be_used(run, tmp_path, capsys):
  def refused(*arguments):
    code = call('knn', f'--workdir={tmp_path / "out"}', *arguments)
    said = capsys.readouterr().err
    assert code == 2 and 'Traceback' not in said and not (tmp_path / 'out').exists()
    return said
  (tmp_path / 'empty' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'text.safetensors').write_text('hello, this is not a file of arrays')
  for path, words in ((tmp_path / 'nothing', 'there are no checkpoints'),
                      (tmp_path / 'empty', 'there is no checkpoint'),
                      (f'{run}/checkpoints/19', 'there are: 10, 20'),
                      (tmp_path / 'text.safetensors', 'task=export wrote'),
                      (tmp_path / 'none.safetensors', 'no such file')):
    assert words in refused(f'--config.weights={path}')
  assert 'network.name' in refused(f'--config.weights={run}',
                                   '--config.network.name=resnet18')
  for key, value in (('center_share', '0.5'), ('mean', '(.1,.1,.1)'),
                     ('crop_area', '(.9,1)'), ('image_size', '64')):
    said = refused(f'--config.weights={run}', f'--config.data.{key}={value}')
    assert f'data.{key}' in said and 'data.eval_image_size' in said
  # arrays of one network, the config of another
  shutil.copytree(run, tmp_path / 'other')
  checkpoints = checkpoint.Checkpoints(tmp_path / 'other' / 'checkpoints')
  opened = checkpoints.open(20)
  opened.meta['config']['network']['width'] = 0.5  # twice the channels
  checkpoints.save(30, opened.read(opened.leaves), opened.meta)
  checkpoints.close()
  assert 'another architecture' in refused(f'--config.weights={tmp_path / "other"}')


def test_a_checkpoint_that_is_written_or_removed(run, tmp_path, monkeypatch):
  shutil.copytree(run, tmp_path / 'run')
  folder = tmp_path / 'run' / 'checkpoints'
  (folder / '20').rename(folder / '20.orbax-checkpoint-tmp-1')
  slept = []
  def finish(seconds):
    slept.append(seconds)
    if len(slept) == 3:
      (folder / '20.orbax-checkpoint-tmp-1').rename(folder / '20')
  monkeypatch.setattr('time.sleep', finish)
  assert weights_lib.load(str(folder / '20'), 'online').step == 20
  assert len(slept) == 3
  # removed while it is read: the newest there is, or a word
  read, removed = checkpoint.Opened.read, []
  def remove(self, like):
    if not removed:
      removed.append(self.step)
      shutil.rmtree(folder / str(self.step))
    return read(self, like)
  monkeypatch.setattr(checkpoint.Opened, 'read', remove)
  assert weights_lib.load(str(tmp_path / 'run'), 'online').step == 10
  removed.clear()
  with pytest.raises(weights_lib.UserError, match='the run removed it'):
    weights_lib.load(str(folder / '10'), 'online')


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_a_training_that_diverges(run, tmp_path, capsys):
  arguments = ['finetune', f'--config.weights={run}', *FEW, f'--workdir={tmp_path}']
  assert call(*arguments, '--config.finetune.learning_rates=(1e6,1e5)') == 2
  assert 'finetune.learning_rates has diverged' in capsys.readouterr().err
  shutil.rmtree(tmp_path)
  assert call(*arguments, '--config.finetune.learning_rates=(1e6,)') == 2
  assert 'the classifier has diverged' in capsys.readouterr().err
  shutil.rmtree(tmp_path)
  # the same point twice, then a better one: the figures find their points
  assert call(*arguments, '--config.finetune.learning_rates=(1e-6,1e-6,.1)') == 0
  how = results(tmp_path)['protocol']['classifiers']['byol']
  assert len(how['held_out_top1']) == 2 and how['chosen']['learning_rate'] == .1


def test_devices_that_cannot_share_a_batch(run, tmp_path, capsys):
  code = call('finetune', f'--config.weights={run}', *FEW, f'--workdir={tmp_path}',
              '--config.finetune.batch_size=12')
  said = capsys.readouterr().err
  assert code == 2 and '8 devices cannot share the batches of 12' in said


def test_features_that_are_not_finite(run, tmp_path, capsys, monkeypatch):
  load = weights_lib.load
  def diverged(*arguments):
    weights = load(*arguments)
    params = {module: {name: array * np.nan for name, array in leaves.items()}
              for module, leaves in weights.params.items()}
    return weights._replace(params=params, digest='nan')
  monkeypatch.setattr(subject.weights_lib, 'load', diverged)
  for task in ('knn', 'logistic', 'linear_eval', 'embed'):
    assert call(task, f'--config.weights={run}', *FEW,
                f'--workdir={tmp_path / task}') == 2
    assert 'not finite' in capsys.readouterr().err
