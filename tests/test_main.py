"""The command line, as a user types it: what runs, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'data/sources'))

import tiny_shards

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FASHION = f'--config={ROOT}/configs/fashion.py'
FOLDER = f'--config={ROOT}/configs/folder.py'
# A run of seconds: 16 steps of a tiny network.
TINY = [
    '--config.network.width=0.25', '--config.data.image_size=8',
    '--config.data.eval_image_size=8', '--config.train.batch_size=32',
    '--config.network.projector_hidden_size=16',
    '--config.network.predictor_hidden_size=16',
    '--config.network.projection_size=8', '--config.log.every_steps=4',
    '--config.evaluation.examples=64', '--config.evaluation.batch_size=64',
    '--config.evaluation.final_images=200']


def command(*arguments):
  return [sys.executable, '-m', 'byol_jax.main', *arguments]


def environment(devices=1):
  return dict(
      os.environ, JAX_PLATFORMS='cpu', PYTHONPATH=ROOT,
      XLA_FLAGS=' '.join((  # the last one counts
          os.environ['XLA_FLAGS'],
          f'--xla_force_host_platform_device_count={devices}')))


def run(*arguments, cwd, devices=1, timeout=300, **variables):
  return subprocess.run(
      command(*arguments), cwd=cwd, env=environment(devices) | variables, text=True,
      capture_output=True, timeout=timeout)


@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  """A tiny data set with 128 training and 40 test images."""
  rng = np.random.RandomState(0)
  path = tmp_path_factory.mktemp('data') / 'tiny.npz'
  arrays = {}
  for split, n in (('train', 128), ('test', 40)):
    labels = np.arange(n) % 4
    images = rng.randint(0, 60, (n, 12, 12, 3)) + 45 * labels[:, None, None, None]
    arrays |= {f'x_{split}': images.astype(np.uint8), f'y_{split}': labels}
  np.savez(path, **arrays)
  return ['--config.data.source=npz', f'--config.data.path={path}',
          '--config.train.epochs=4', '--config.train.warmup_epochs=1',
          '--config.evaluation.every_epochs=2', '--config.checkpoint.every_steps=3']


def leaves(workdir):
  """Every array of the last checkpoint, by name."""
  from byol_jax.run import checkpoint
  checkpoints = checkpoint.Checkpoints(f'{workdir}/checkpoints', read_only=True)
  opened = checkpoints.open(checkpoints.latest())
  return opened.step, opened.read(opened.leaves)


def metrics(workdir):
  with open(f'{workdir}/metrics.jsonl', encoding='utf-8') as f:
    return [json.loads(line) for line in f]


def test_a_run_leaves_what_it_promises(data, tmp_path):
  done = run(FASHION, *TINY, *data, '--workdir=out', cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  for words in ('128 training images of 4 classes, on the device; 40 to test', 'loss',
                '(0..8)', 'ETA', 'tau', 'wait', 'raw pixels', 'untrained encoder',
                'BYOL'):
    assert words in done.stdout
  out = tmp_path / 'out'
  lines = metrics(out)
  assert [line['step'] for line in lines] == [4, 8, 12, 16]
  for key in ('epoch', 'loss', 'learning_rate', 'tau', 'images_per_second',
              'data_wait', 'probe_top1', 'batch_projection_std'):
    assert key in lines[0]
  for key in ('feature_rank', 'projection_rank', 'alignment', 'uniformity',
              'predictor_explained', 'projection_std', 'knn_top1'):
    assert key in lines[1]
  results = json.loads((out / 'results.json').read_text())
  for row in ('byol', 'untrained', 'raw_pixels'):
    assert 0 <= results[row]['knn_top1'] <= 100
    assert 0 <= results[row]['linear_top1'] <= 100
  assert results['protocol']['byol_classifiers']['knn']['k'] == 20
  assert json.loads((out / 'config.json').read_text())['train']['batch_size'] == 32
  assert any(name.startswith('events.out.tfevents') for name in os.listdir(out))
  assert (out / 'checkpoints' / '16').is_dir()

  # at keys of other tasks no pretraining looks
  again = run(FASHION, *TINY, *data, '--workdir=out', '--config.finetune.batch_size=8',
              '--config.logistic.l2=(1,)', '--config.network.precision=auto',
              cwd=tmp_path)
  assert again.returncode == 0, again.stderr
  assert again.stdout.splitlines()[0].endswith('a device, float32')
  assert 'finished' in again.stdout and 'compil' not in again.stdout

  other = run(FASHION, *TINY, *data, '--workdir=out', '--config.train.tau_base=0.5',
              cwd=tmp_path)
  assert other.returncode == 2
  assert 'train.tau_base (0.' in other.stderr


def test_a_run_keeps_the_precision_that_it_began_with(data, tmp_path):
  """What a machine would choose is for new runs."""
  arguments = [FASHION, *TINY, *data, '--config.network.name=resnet8',
               '--config.train.epochs=1', '--config.evaluation.final=False',
               '--config.train.warmup_epochs=0.5', '--workdir=out']
  began = run(*arguments, '--config.network.precision=bfloat16', cwd=tmp_path)
  assert began.returncode == 0, began.stderr
  assert began.stdout.splitlines()[0].endswith('a device, bfloat16')
  config = json.loads((tmp_path / 'out/config.json').read_text())
  assert config['network']['precision'] == 'bfloat16'

  on = run(*arguments, '--config.network.precision=auto', cwd=tmp_path)
  assert on.returncode == 0, on.stderr
  assert 'bfloat16 as this run began (a new one would take float32 here)' in (
      on.stdout.splitlines()[0])
  other = run(*arguments, '--config.network.precision=float32', cwd=tmp_path)
  assert other.returncode == 2
  assert "network.precision ('bfloat16' there, 'float32' now)" in other.stderr


MOCO = ['--config.method.name=moco', '--config.method.queue=128',
        '--config.network.bn_groups=4']


@pytest.mark.parametrize('method', [
    pytest.param([], id='byol', marks=pytest.mark.skipif(
        not os.environ.get('BYOL_TEST_LONG'), reason='BYOL_TEST_LONG=1 runs it: MoCo '
        'has all that BYOL carries, and a queue')),
    pytest.param(MOCO, id='moco')])
def test_a_killed_run_resumes_to_the_bit(data, tmp_path, method):
  _check_resume(data + method, tmp_path)  # the queue that MoCo carries is history


@pytest.mark.skipif(not os.environ.get('BYOL_TEST_LONG'), reason='BYOL_TEST_LONG=1 runs '
                    "it: tests of data/sources show that the shards' batches are the same")
@pytest.mark.parametrize('kind', ['tar', 'parquet'])
def test_a_killed_run_from_shards_resumes_to_the_bit(tmp_path, kind):
  made = tiny_shards.images(128)
  for k in range(4):
    write = tiny_shards.write_tar if kind == 'tar' else tiny_shards.write_parquet
    write(tmp_path / f'shards/train-0000{k}-of-00004.{kind}', made[k::4])
  write(tmp_path / f'shards/test-00000-of-00001.{kind}', made[:40])
  _check_resume(['--config.data.source=auto', '--config.data.path=shards',
                 '--config.data.resident=no', '--config.train.epochs=4',
                 '--config.train.warmup_epochs=1', '--config.evaluation.every_epochs=2',
                 '--config.checkpoint.every_steps=3'], tmp_path)
  said = run(FASHION, *TINY, '--config.data.source=auto', '--config.data.path=shards',
             '--workdir=broken', cwd=tmp_path)
  assert f"shards: data.source='{kind}', as there is " in said.stdout


def _check_resume(data, tmp_path):
  """Compares a run that is killed and stopped with one that is not."""
  whole = run(FASHION, *TINY, *data, '--workdir=whole', cwd=tmp_path)
  assert whole.returncode == 0, whole.stderr

  # SIGKILL once a checkpoint is there; then SIGTERM; then to the end
  broken = tmp_path / 'broken'
  arguments = [FASHION, *TINY, *data, '--workdir=broken']
  for number in (signal.SIGKILL, signal.SIGTERM):
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in process.stdout:
      if line.startswith('step '):
        break
    process.send_signal(number)
    rest = process.stdout.read()
    code = process.wait(timeout=60)
    if number == signal.SIGTERM:
      assert code == 0, rest
    else:
      assert code == -number
  # another shell, in which somebody has exported this
  done = run(*arguments, cwd=tmp_path, JAX_THREEFRY_PARTITIONABLE='0',
             JAX_ENABLE_X64='1')
  assert done.returncode == 0, done.stderr
  step, expected = leaves(tmp_path / 'whole')
  step2, resumed = leaves(broken)
  assert step == step2 == 16
  for name in expected:
    assert expected[name].tobytes() == resumed[name].tobytes(), name
  steps = [line['step'] for line in metrics(broken)]
  assert steps == sorted(set(steps)) and steps[-1] == 16
  ours, theirs = metrics(tmp_path / 'whole')[-1], metrics(broken)[-1]
  assert ours['loss'] == theirs['loss'] and ours['knn_top1'] == theirs['knn_top1']


def test_device_counts_compute_the_same_run(data, tmp_path):
  lines = []
  for devices in (1, 4):
    # a small rate: sixteen steps at the default one amplify rounding
    done = run(FASHION, *TINY, *data, f'--workdir={devices}',
               '--config.train.accumulation_steps=2', '--config.log.every_steps=1',
               '--config.train.base_learning_rate=0.05',
               '--config.evaluation.final=False', cwd=tmp_path, devices=devices)
    assert done.returncode == 0, done.stderr
    lines.append(metrics(tmp_path / str(devices)))
  assert len(lines[0]) == len(lines[1]) == 16
  for one, four in zip(*lines):
    assert one['loss'] == pytest.approx(four['loss'], rel=1e-5)


def test_a_flat_folder_needs_no_labels(tmp_path):
  """Nothing but the training meets the images: later sessions must know of bad ones."""
  rng = np.random.RandomState(0)
  photos = tmp_path / 'photos'
  photos.mkdir()
  for i in range(24):  # two sizes: streamed, not resident
    pixels = rng.randint(0, 255, (20 + i % 2, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photos / f'{i}.{"png" if i % 3 else "jpg"}')
  (photos / '7.png').write_text('no picture')
  arguments = [FOLDER, '--config.data.path=photos', *TINY,
               '--config.network.name=resnet8', '--config.network.stem=half',
               '--config.train.batch_size=8', '--config.train.epochs=2',
               '--config.data.image_size=16', '--workdir=out']
  done = run(*arguments, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert '24 training images, no labels' in done.stdout
  assert 'streamed' in done.stdout
  assert 'probe_top1' not in metrics(tmp_path / 'out')[-1]
  assert 'feature_rank' in metrics(tmp_path / 'out')[-1]
  results = tmp_path / 'out/results.json'
  left_out = json.loads(results.read_text())['left_out']
  assert list(left_out['train']) == ['7.png']
  results.unlink()
  assert run(*arguments, cwd=tmp_path).returncode == 0  # nothing is left to train
  assert json.loads(results.read_text())['left_out'] == left_out


def test_a_list_with_bad_files_runs_to_the_end(tmp_path):
  """They are replaced, named on the console and in results.json."""
  rng = np.random.RandomState(0)
  rows = []
  for i in range(40):
    name = f'{i}.jpg'
    Image.fromarray(rng.randint(0, 255, (20 + i % 2, 24, 3)).astype(
        np.uint8)).save(tmp_path / name)
    rows.append(f'{name},{"cat" if i % 3 else "dog"}')
  (tmp_path / '7.jpg').write_text('no picture')
  (tmp_path / '8.jpg').write_bytes((tmp_path / '9.jpg').read_bytes()[:200])
  (tmp_path / 'all.csv').write_text('path,label\n' + '\n'.join(rows))
  arguments = (FOLDER, '--config.data.source=list', '--config.data.path=all.csv',
               *TINY, '--config.network.name=resnet8',
               '--config.network.stem=half', '--config.train.batch_size=8',
               '--config.train.epochs=2', '--config.data.image_size=16',
               '--workdir=out')
  done = run(*arguments, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert '40 training images of 2 classes' in done.stdout
  assert "left out '7.jpg'" in done.stdout
  assert '2 of 40 images' in done.stdout
  results = json.loads((tmp_path / 'out/results.json').read_text())
  assert sorted(results['left_out']['train']) == ['7.jpg', '8.jpg']
  assert results['left_out']['train']['7.jpg'].startswith('not an image')
  too_many = run(*arguments[:-1], '--workdir=other',
                 '--config.data.max_bad_images=1', cwd=tmp_path)
  assert too_many.returncode == 2
  assert 'data.max_bad_images' in too_many.stderr
  assert "'7.jpg'" in too_many.stderr and 'Traceback' not in too_many.stderr


def _folders(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'file').write_text('x')
  bad = tmp_path / 'bad'
  bad.mkdir()
  for i in range(9):
    (bad / f'{i}.jpg').write_text('not a picture')


@pytest.mark.parametrize('arguments,words', [
    ([], '--config is missing'),
    (['--config=none.py'], 'none.py'),
    ([FASHION, '--config'], 'Missing value for flag'),
    ([FASHION, 'extra'], "'extra'"),
    ([FASHION, '--nonsense=1'], 'nonsense'),
    ([FASHION, '--train.epochs=1'], 'did you mean --config.train.epochs?'),
    ([FASHION, '--config.weights=run'], '--config.init_from'),
    ([FASHION, '--config.init_from=none.safetensors'], 'there is no such file'),
    ([FASHION, '--config.train.bach_size=8'], 'train.batch_size'),
    ([FASHION, '--config.train.epochs=many'], 'train.epochs'),
    ([FASHION, '--config.train.warmup_epochs=99999'], 'train.warmup_epochs'),
    (['--config.train.warmup_epochs=99999', FASHION], 'longer than the run'),
    ([FASHION, '--config.train.tau_base=-0.1'], 'train.tau_base'),
    ([FASHION, '--config.data.image_size=4'], 'data.image_size'),
    ([FASHION, '--config.train.batch_size=36'], 'train.batch_size'),
    ([FASHION, '--config.train.batch_size=20000'], 'train.batch_size'),
    ([FASHION, '--workdir=file/deep'], 'file/deep'),
    ([FASHION, '--workdir=/proc/nowhere'], '/proc/nowhere'),
    ([FOLDER], 'data.path'),
    ([FOLDER, '--config.data.path=missing'], 'missing'),
    ([FOLDER, '--config.data.path=empty'], 'empty'),
    ([FOLDER, '--config.data.path=bad', '--config.train.batch_size=8'], 'bad'),
    ([f'--config={ROOT}/configs/imagenet_r50.py:77'], '77'),
], ids=lambda value: None if isinstance(value, str) else ' '.join(
    v.rsplit('/', 1)[-1] for v in value) or 'nothing')
def test_bad_input_ends_in_seconds(arguments, words, tmp_path):
  _folders(tmp_path)
  before = sorted(os.listdir(tmp_path))
  start = time.time()
  done = run(*arguments, cwd=tmp_path, devices=8, timeout=120)
  assert done.returncode == 2
  assert words in done.stderr
  assert 'Traceback' not in done.stderr + done.stdout
  assert len(done.stderr.strip().splitlines()) <= 3
  assert sorted(os.listdir(tmp_path)) == before
  assert time.time() - start < 60  # seconds on a quiet machine


def test_help_may_be_cut_short(tmp_path):
  done = subprocess.run(
      f'{sys.executable} -m byol_jax.main --help | head -n 1', cwd=tmp_path, text=True,
      env=environment(), shell=True, capture_output=True, timeout=120)
  assert done.stdout.startswith('usage:') and not done.stderr


def test_tensorflow_stays_out_of_a_resident_run(data, tmp_path):
  """Rule: pretraining on resident data runs where TensorFlow is missing."""
  (tmp_path / 'tensorflow.py').write_text('raise ImportError("not here")')
  (tmp_path / 'tensorflow_datasets.py').write_text('raise ImportError("no")')
  done = subprocess.run(
      command(FASHION, *TINY, *data, '--workdir=out'), cwd=tmp_path, text=True,
      env=environment() | {'PYTHONPATH': f'{tmp_path}:{ROOT}'},
      capture_output=True, timeout=300)
  assert done.returncode == 0, done.stderr


_SIGNALLED = """
import os, signal, types
from byol_jax.run import signals
signals.for_good()
from byol_jax import config, main
from byol_jax.config import command
task = types.SimpleNamespace(
    run=lambda *_: (os.kill(os.getpid(), signal.SIGTERM), signal.pause()))
main.importlib = types.SimpleNamespace(import_module=lambda _: task)
asked = config.base()
asked.task = '{}'
main._run(command.Command(asked, 'x', dict(distributed='off', workdir='')))
"""


@pytest.mark.parametrize('task, code', [('pretrain', 0), ('compare', 143)])
def test_a_task_that_does_not_leave_by_itself_is_not_done_when_a_signal_ends_it(
    task, code):
  done = subprocess.run([sys.executable, '-c', _SIGNALLED.format(task)], text=True,
                        env=environment(), capture_output=True, timeout=100)
  assert done.returncode == code, done.stderr
  assert 'the same command goes on' in done.stdout + done.stderr
