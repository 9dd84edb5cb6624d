"""The tasks as Python functions: what the commands do, in a process of the caller's."""

import json
import logging
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import byol_jax
from byol_jax import api
from byol_jax.networks import architectures

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tests' / 'tasks'))

import tiny  # noqa: E402

# what tiny.TINY says, as Python's values
KEYS = {
    'network.width': 0.25, 'data.image_size': 8, 'data.eval_image_size': 8,
    'train.batch_size': 32, 'network.projector_hidden_size': 16,
    'network.predictor_hidden_size': 16, 'network.projection_size': 8,
    'train.epochs': 4, 'checkpoint.every_steps': 10, 'evaluation.examples': 64,
    'evaluation.batch_size': 16, 'evaluation.final': False,
    'log.tensorboard': False, 'log.every_steps': 5}
TIMES = ('images_per_second', 'seconds_left', 'data_wait')


class _Interrupting(logging.Filter):
  """Sends Ctrl-C with the first progress line."""

  def filter(self, record):
    if getattr(record, 'share', None):
      logging.getLogger('byol_jax').removeFilter(self)
      signal.raise_signal(signal.SIGINT)
    return True


@pytest.fixture(name='runs', scope='module')
def _runs(tmp_path_factory):
  """The workdir of a command, and a run of Python that was interrupted once."""
  root = tmp_path_factory.mktemp('api')
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8', tiny.RESNET8)
    patch.setattr(tiny, 'TINY', [*tiny.TINY, '--config.log.every_steps=5',
                                 '--config.evaluation.final=False'])
    command = tiny.pretrained(root)
    console = logging.getLogger('byol_jax')
    console.addFilter(interrupting := _Interrupting())
    call = lambda: byol_jax.pretrain(
        root / 'tiny.npz', root / 'python', config='fashion',
        **{'data.source': 'npz'}, **KEYS)
    try:
      with pytest.raises(KeyboardInterrupt):
        call()
    finally:
      console.removeFilter(interrupting)
    left = [path.name for path in (root / 'python' / 'checkpoints').iterdir()]
    yield api.Run(command), call(), left


def test_an_interrupted_run_has_saved_and_goes_on(runs):
  _, run, left = runs
  assert left == ['6']  # no checkpoint was due; the step on the devices is finished
  assert [line['step'] for line in run.metrics] == [5, 6, 10, 15, 20]
  assert run.results['run']['steps'] == 20


def test_a_run_is_that_of_the_command_to_the_digit(runs):
  command, run, _ = runs
  def figures(lines):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines
            if line['step'] % 5 == 0]  # not that of the interruption
  assert figures(run.metrics) == figures(command.metrics)
  assert run.config == command.config
  images = np.random.RandomState(1).randint(0, 256, (3, 12, 12, 3)).astype(np.uint8)
  np.testing.assert_array_equal(run.encoder()(images), command.encoder()(images))


def test_tasks_on_a_run(runs, monkeypatch):
  command, run, _ = runs
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8', tiny.RESNET8)
  found = byol_jax.embed(run)
  assert tiny.call('embed', f'--config.weights={command.workdir}') == 0
  theirs = api.Embeddings(f'{command.workdir}/evaluations/embed-20')
  assert found.features.dtype == np.float32 and found.features.shape == (160, 4)
  np.testing.assert_array_equal(found.features, theirs.features)
  assert found.names.tolist() == theirs.names.tolist()
  assert found.labels.tolist() == theirs.labels.tolist() and found.class_names is None

  measured = byol_jax.evaluate(run, 'knn', **{'evaluation.batch_size': 16})
  assert tiny.call('knn', f'--config.weights={command.workdir}',
                   '--config.evaluation.batch_size=16') == 0
  assert measured.results['byol'] == tiny.results(
      f'{command.workdir}/evaluations/knn-20')['byol']
  again = byol_jax.evaluate(run, 'knn', **{'evaluation.batch_size': 16})
  assert again.workdir == measured.workdir

  file = byol_jax.export(run, pathlib.Path(run) / 'exported')
  assert file == f'{run.workdir}/exported/encoder.safetensors'
  assert byol_jax.encoder.load(file).feature_size == 4
  folder = byol_jax.export(run, pathlib.Path(run) / 'exported', format='timm')
  assert folder == f'{run.workdir}/exported/timm'
  assert byol_jax.encoder.load(folder).feature_size == 4


def test_the_process_stays_the_callers(tmp_path, caplog):
  console = logging.getLogger('byol_jax')
  handler = logging.NullHandler()
  console.handlers, console.propagate = [handler], True
  before = signal.getsignal(signal.SIGINT)
  with jax.enable_x64(True), pytest.raises(byol_jax.UserError, match='nowhere'):
    byol_jax.pretrain(tmp_path / 'nowhere', tmp_path / 'run')
  assert console.handlers == [handler] and console.propagate
  assert signal.getsignal(signal.SIGINT) is before
  jax.config.update('jax_enable_x64', True)
  try:
    with pytest.raises(byol_jax.UserError):
      byol_jax.embed(tmp_path)
    assert jax.config.jax_enable_x64
  finally:
    jax.config.update('jax_enable_x64', False)


@pytest.mark.parametrize('call, words', [
    (lambda: byol_jax.pretrain('x', epochs=3), 'key epochs .did you mean train.epochs'),
    (lambda: byol_jax.pretrain('x', **{'train.epochs': 'many'}), "epochs is 'many', it"),
    (lambda: byol_jax.pretrain('x', config='foldr'), 'no such file .did you mean folder'),
    (lambda: byol_jax.pretrain('x', config='knn', weights='a'), 'is one of task=knn'),
    (lambda: byol_jax.pretrain('x', **{'data.path': 'y'}), 'data.path is given twice'),
    (lambda: byol_jax.pretrain('x', task='embed', weights='y'), 'config folder is one'),
    (lambda: byol_jax.pretrain(), 'data.path is empty'),
    (lambda: byol_jax.evaluate('x', 'nearest'), "'nearest', it must be one of knn"),
    (lambda: byol_jax.evaluate('x'), 'weights is .x.: there are no checkpoints'),
    (lambda: api.Run('x').results, 'x has no results.json'),
    (lambda: api.Run('x').report, 'no report.html'),
])
def test_mistakes_are_exceptions(call, words, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(byol_jax.UserError, match=words):
    call()
  assert not list(tmp_path.iterdir())


def test_files_of_a_run_that_are_damaged(tmp_path):
  (tmp_path / 'results.json').write_text('{"a": ')
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n[]\n{"ste')
  with pytest.raises(byol_jax.UserError, match='results.json is damaged'):
    len(api.Run(tmp_path).results)
  assert api.Run(tmp_path).metrics == [{'step': 1}]


def test_the_package_is_light():
  code = ('import sys, json, byol_jax; "pretrain" in dir(byol_jax); '
          'print(json.dumps([m for m in sys.modules if m in ("jax", "numpy", '
          '"ml_collections")])); '
          'from byol_jax import *; print(encoder.load.__name__, pretrain.__name__)')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, text=True,
                        capture_output=True, check=True)
  light, names = done.stdout.splitlines()
  assert json.loads(light) == [] and names == 'load pretrain'
  with pytest.raises(AttributeError, match='no attribute .pretrian'):
    byol_jax.pretrian  # noqa: B018
