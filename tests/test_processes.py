"""One run on other numbers of processes and devices: nothing changes but speed.

Processes that die, stop or differ are in tests/faults.
"""

import json
import os
import pathlib
import shutil
import sys

import numpy as np
from PIL import Image
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'faults'))

import harness

from byol_jax.data.feed import order

# The program, which notes the bytes of every example that it feeds: after jax is
# set up, in main(), as it must be.
_NOTING = '''
import json, os, sys, zlib
import numpy as np
from byol_jax import main
from byol_jax.data.feed import streamed
from byol_jax.run import signals
feed = streamed.Streamed.batches
def batches(self, start_step, num_steps, grid, stop=None):
  for k, batch in enumerate(feed(self, start_step, num_steps, grid, stop)):
    if grid.ndim == 3:  # training, not an evaluation
      with open(os.environ['NOTE'], 'a') as f:
        for place in np.ndindex(grid.shape):
          fed = {name: zlib.crc32(x[place].tobytes()) for name, x in batch.items()}
          f.write(json.dumps([start_step + k, int(grid[place]), fed]) + chr(10))
    yield batch
streamed.Streamed.batches = batches
signals.for_good()
sys.exit(main.main(sys.argv))
'''
_RUN = ('--config.log.every_steps=1', '--config.data.resident=no',
        '--config.data.source=folder',
        '--config.data.path=images',
        '--config.train.batch_size=16', '--config.train.epochs=3',
        '--config.train.base_learning_rate=0.05', '--config.checkpoint.every_steps=4',
        '--config.checkpoint.keep=3',
        '--config.evaluation.every_epochs=1',
        '--config.evaluation.examples=32')  # 12 steps


def _train(scratch, workdir, processes, devices, *more, final=False):
  """Trains to the end.

  Args:
    scratch: where `images` is.
    workdir: in it.
    processes: how many.
    devices: of each.
    *more: arguments of the command.
    final: whether the result is measured, which takes most of the time.

  Returns:
    {(step, example): what was fed}, of all processes, and what each printed.
  """
  scratch.joinpath('noting.py').write_text(_NOTING)
  notes = [scratch / f'{i}.fed' for i in range(processes)]
  for note in notes:
    note.unlink(missing_ok=True)
  arguments = (f'--workdir={workdir}', *_RUN, f'--config.evaluation.final={final}',
               *more)
  if processes == 1:
    started = [harness.start(
        scratch, *arguments, devices=devices,
        script=('noting.py',), NOTE=str(notes[0]))]
  else:
    started = harness.start_several(
        scratch, processes, *arguments, devices=devices,
        per_process_script=dict.fromkeys(range(processes), ('noting.py',)),
        per_process_environment={
            i: {'NOTE': str(note)} for i, note in enumerate(notes)})
  outputs = []
  for process in started:
    code, output = harness.finish(process)
    assert code == 0, output
    outputs.append(output)
  fed = [tuple(json.loads(line)) for note in notes
         for line in note.read_text().splitlines()]
  seen = {line[:2]: line[2] for line in fed}
  assert len(seen) == len(fed)  # nobody else fed it
  return seen, outputs


def _metrics(workdir):
  return [json.loads(line) for line in
          (workdir / 'metrics.jsonl').read_text().splitlines()]


def _assert_same_run(ours, theirs):
  a, b = _metrics(ours), _metrics(theirs)
  assert [x['step'] for x in a] == [x['step'] for x in b] == list(range(1, 13))
  for x, y in zip(a, b):
    assert x['loss'] == pytest.approx(y['loss'], rel=1e-5)
    assert x['probe_loss'] == pytest.approx(y['probe_loss'], rel=1e-5)
    assert x.get('knn_top1') == y.get('knn_top1')
  (step, a), (other, b) = harness.state_of(ours), harness.state_of(theirs)
  assert step == other == 12 and list(a) == list(b)
  for name in a:
    if name.startswith('opt_state'):
      continue  # that of a bias before a normalization is nothing but rounding
    off = np.max(np.abs(a[name] - b[name])) / max(np.max(np.abs(b[name])), 0.01)
    assert off < 1e-4, name


@pytest.fixture(name='alone', scope='module')
def _alone(tmp_path_factory):
  """A folder with 64 images and a run on them by one process of four devices."""
  scratch = tmp_path_factory.mktemp('alone') / 'runs'
  rng = np.random.default_rng(0)
  for k in range(64):
    path = scratch / 'images' / f'class{k % 4}' / f'{k}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 200, (12, 12, 3)) + 4 * (k % 4)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
  fed, outputs = _train(scratch, 'whole', 1, 4, final=True)
  assert len(fed) == 12 * 16
  assert set(fed[0, 0]) == {'views', 'labels', 'examples'}
  assert '4 local of 4 cpu devices' in outputs[0]
  return scratch, fed


def _assert_welcomed(outputs, devices):
  """Every process says who it is."""
  processes = len(outputs)
  for i, output in enumerate(outputs):
    assert (f'process {i} of {processes}: {devices} local of 4 cpu devices; '
            f'batch 16, {16 // processes} a process, 4 a device') in output


def _go_on(scratch, workdir, processes, devices, expected):
  """Goes on from step 4, to the same end."""
  for step in (8, 12):
    shutil.rmtree(scratch / workdir / 'checkpoints' / str(step))
  fed, outputs = _train(scratch, workdir, processes, devices)
  assert f'resuming {workdir} at step 4' in outputs[0]
  assert fed == {k: v for k, v in expected.items() if k[0] >= 4}
  _assert_same_run(scratch / workdir, scratch / 'whole')


def test_two_processes(alone):
  scratch, expected = alone
  fed, outputs = _train(scratch, '2x2', 2, 2, final=True)
  _assert_welcomed(outputs, 2)
  assert fed == expected  # to the byte
  _assert_same_run(scratch / '2x2', scratch / 'whole')
  # each image counts once, whoever encodes it
  ours, theirs = (json.loads((scratch / run / 'results.json').read_text())
                  for run in ('2x2', 'whole'))
  assert ours['protocol']['images'] == theirs['protocol']['images']
  for name in ('byol', 'untrained', 'raw_pixels'):
    assert ours[name] == theirs[name]
  _go_on(scratch, '2x2', 1, 4, expected)


_SHORT = ('--config.train.epochs=1', '--config.checkpoint.every_steps=100')
_METHODS = {
    'simclr': ('--config.method.name=simclr',),
    'simsiam': ('--config.method.name=simsiam',),
    'infomin': ('--config.method.name=moco', '--config.method.queue=64',
                '--config.method.jigsaw=0.5', '--config.augment.jigsaw.size=9',
                '--config.augment.jigsaw.tile=3', '--config.network.bn_groups=4')}


@pytest.mark.parametrize('method', [
    pytest.param(name, marks=() if name == 'infomin' else pytest.mark.skipif(
        'BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1'))
    for name in _METHODS])
def test_other_methods_on_two_processes(alone, method):
  """Negatives, keys and statistics cross the processes."""
  scratch, _ = alone
  fed = [_train(scratch, f'{method}{processes}', processes, 4 // processes, *_SHORT,
                *_METHODS[method])[0] for processes in (1, 2)]
  assert fed[0] == fed[1]
  assert ('jigsaw' in fed[0][0, 0]) == (method == 'infomin')
  one, two = (_metrics(scratch / f'{method}{processes}') for processes in (1, 2))
  assert len(one) == len(two) == 4
  for x, y in zip(one, two):
    assert x['loss'] == pytest.approx(y['loss'], rel=1e-4)


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
def test_four_processes(alone):
  scratch, expected = alone
  fed, outputs = _train(scratch, '4x1', 4, 1)
  _assert_welcomed(outputs, 1)
  assert fed == expected
  _assert_same_run(scratch / '4x1', scratch / 'whole')
  shutil.copytree(scratch / 'whole', scratch / 'copy')
  _go_on(scratch, 'copy', 4, 1, expected)


def test_bad_images_count_whichever_process_meets_them(tmp_path):
  shown = [order.rows(0, step, 8, 32).tolist() for step in range(4)]
  # of the first process and of the second; the monitor shows step 0 to both
  bad = shown[1][:2] + shown[2][4:6]
  (tmp_path / 'images').mkdir()
  for k in range(32):
    path = tmp_path / 'images' / f'{k:02d}.png'
    if k in bad:
      path.write_text('no picture')
    else:
      Image.fromarray(np.full((12, 12, 3), 8 * k, np.uint8)).save(path)
  for most in (4, 3):
    outputs = [harness.finish(process) for process in harness.start_several(
        tmp_path, 2, f'--workdir={most}', '--config.data.source=folder',
        '--config.data.path=images', '--config.data.resident=no',
        '--config.train.epochs=1', '--config.train.warmup_epochs=0',
        '--config.log.every_steps=3', '--config.checkpoint.every_steps=100',
        f'--config.data.max_bad_images={most}')]
    for _, output in outputs:
      assert output.count('warning: left out') == 2, output
    codes, (step, _) = [code for code, _ in outputs], harness.state_of(
        tmp_path / str(most))
    if most == 4:
      assert (codes, step) == ([0, 0], 4), outputs
      results = json.loads((tmp_path / '4' / 'results.json').read_text())
      assert sorted(results['left_out']['train']) == sorted(
          f'{k:02d}.png' for k in bad)
    else:  # both say it at the first log line, and what was learned is kept
      assert (codes, step) == ([2, 2], 3), outputs
      for _, output in outputs:
        assert '4 of 32 images of ' in output
        assert 'data.max_bad_images allows 3' in output


_GATHERING = '''
import sys
import numpy as np
from byol_jax.devices import hosts
hosts.initialize('on', 100, 100)
import jax
hosts._GATHERED_BYTES = 64  # several parts
me = jax.process_index()
rows = np.arange(7, dtype=np.float32)[:, None] * [1, 10]
mine = hosts.my_part(rows)
assert len(mine) == (4, 3)[me]
np.testing.assert_array_equal(hosts.gather(mine), rows)
assert hosts.gather(mine).dtype == np.float32
np.testing.assert_array_equal(hosts.gather(rows[:5 * me]), rows[:5])
assert hosts.gather(rows[:0]).shape == (0, 2)
said = hosts.gather_json({'3': 'schräg'} if me else {})
assert said == [{}, {'3': 'schräg'}]
'''


def test_what_two_processes_gather(tmp_path):
  (tmp_path / 'gathering.py').write_text(_GATHERING)
  started = harness.start_several(
      tmp_path, 2, per_process_script=dict.fromkeys(range(2), ('gathering.py',)))
  for process in started:
    code, output = harness.finish(process)
    assert code == 0, output


# The evaluations' own config files do not shrink the network; this does.
_EVALUATING = '''
import sys
from tests.faults import tiny_config
from byol_jax import main
from byol_jax.run import signals
signals.for_good()
sys.exit(main.main(sys.argv))
'''
_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
_RATES = '--config.finetune.learning_rates=(.1,.01)'
_EVALUATIONS = (  # what configs/<name>.py is given
    ('linear_eval', '--config.linear_eval.epochs=2'),
    ('embed',),
    pytest.param(('knn',), marks=_LONG),
    pytest.param(('logistic', '--config.logistic.l2_values=3'), marks=_LONG),
    pytest.param(('linear_eval:crops', '--config.linear_eval.epochs=2'), marks=_LONG),
    pytest.param(('finetune', _RATES, '--config.finetune.epochs=(2,)',
                  '--config.finetune.labels=0.5'), marks=_LONG),
)


def _evaluate(scratch, task, processes, devices):
  """Evaluates `whole`; its results and what each process printed."""
  name, *arguments = task
  name, _, form = name.partition(':')
  workdir = f'{name}{form}-{processes}x{devices}'
  scratch.joinpath('evaluating.py').write_text(_EVALUATING)
  file = f'{harness.ROOT}/configs/{name}.py' + (f':{form}' if form else '')
  arguments += [f'--config={file}', '--config.weights=whole', f'--workdir={workdir}',
                '--config.evaluation.cache=False']
  if name != 'embed':
    arguments.append('--config.evaluation.baselines=True')
  # --config must come before what changes it
  arguments.sort(key=lambda argument: not argument.startswith('--config='))
  if processes == 1:
    started = [harness.start(
        scratch, *arguments, devices=devices, script=('evaluating.py',))]
  else:
    started = harness.start_several(
        scratch, processes, *arguments, devices=devices,
        per_process_script=dict.fromkeys(range(processes), ('evaluating.py',)))
  outputs = []
  for process in started:
    code, output = harness.finish(process)
    assert code == 0, output
    outputs.append(output)
  if name == 'embed':
    with np.load(scratch / workdir / 'embeddings.npz') as arrays:
      return dict(arrays), outputs
  return json.loads((scratch / workdir / 'results.json').read_text()), outputs


@pytest.mark.parametrize('task', _EVALUATIONS, ids=lambda task: task[0])
def test_evaluations_on_two_processes(alone, task):
  scratch, _ = alone
  ours, outputs = _evaluate(scratch, task, 2, 2)
  theirs, _ = _evaluate(scratch, task, 1, 4)
  # the first alone speaks
  assert not [x for x in outputs[1].splitlines() if not x.startswith('[Gloo]')]
  if task[0] == 'embed':
    assert set(ours) == set(theirs) and len(ours['names']) == 64
    for name in ours:
      np.testing.assert_array_equal(ours[name], theirs[name])
  else:
    assert ours == theirs
