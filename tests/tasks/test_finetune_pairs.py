"""Learning from pairs as a user calls it, on a tiny run."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import on_one_device
from tiny import results
from tiny import ROOT
from tiny import SMALLEST

from byol_jax import encoder as encoder_lib
from byol_jax.evaluation import stages as stages_lib
from byol_jax.weights import load as weights_lib

FEW = ['--config.evaluation.batch_size=16', '--config.pairs.batch_size=32',
       '--config.pairs.epochs=4', '--config.pairs.encoder_epochs=1',
       '--config.pairs.duplicates=1', '--config.pairs.temperatures=(.2,.5)',
       '--config.pairs.learning_rates=(.1,)', '--config.pairs.encoder_rates=(.01,)']
_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
KINDS = ('byol', 'untrained', 'raw_pixels')


@pytest.fixture(name='learned', scope='module')
def _learned(run):
  """The demonstration with baselines, and with the whole encoder."""
  weights = f'--config.weights={run}'
  assert call('finetune_pairs:300', *FEW, weights,
              '--config.evaluation.baselines=True') == 0
  assert call('finetune_pairs:300', *FEW, weights, f'--workdir={run}-encoder',
              '--config.pairs.train=encoder') == 0
  return f'{run}/evaluations/finetune_pairs_300-20', f'{run}-encoder'


def pixels():
  return np.random.RandomState(1).randint(0, 256, (5, 12, 12, 3)).astype(np.uint8)


def test_every_kind_is_measured_without_and_with_pairs(learned):
  said = results(learned[0])
  for kind in KINDS:
    assert said[kind].keys() == {'without', 'standardized', 'with'}
    for state in said[kind].values():
      figures = state['test_images']
      low, high = figures['map_at_r_interval']
      assert 0 < low < figures['map_at_r'] < high < 100
      assert 0 < state['test_pairs']['mrr'] < 100
    how = said['protocol']['learned'][kind]
    assert len(how['held_out_rank']) == 2 and how['pairs'] > 200
  assert said['counts']['sessions'] == 300 and said['protocol']['test_pairs'] > 25
  assert said['byol']['with'] != said['byol']['standardized'] != said['byol']['without']
  said = results(learned[1])
  assert said['byol'].keys() == {'without', 'standardized', 'head', 'with'}
  assert said['byol']['head'] == results(learned[0])['byol']['with']
  assert said['protocol']['learned']['byol']['statistics'] == 'frozen'
  for folder in learned:
    assert not os.path.exists(f'{folder}/checkpoints') or not os.listdir(
        f'{folder}/checkpoints')


def test_the_head_lives_on_in_the_encoder(run, learned, tmp_path):
  path = f'{learned[0]}/encoder.safetensors'
  weights = weights_lib.load(path, 'online')
  before = encoder_lib.load(run)(pixels())
  layer = weights.params['encoder/~/embedding']
  after = encoder_lib.load(path)
  assert after.feature_size == layer['w'].shape[1]
  np.testing.assert_allclose(after(pixels()), before @ layer['w'] + layer['b'], atol=1e-4)
  # all other arrays are the run's, with the head alone; and are not with the encoder
  plain = weights_lib.load(run, 'online').params
  whole = weights_lib.load(f'{learned[1]}/encoder.safetensors', 'online').params
  for module in plain:
    for name, array in plain[module].items():
      np.testing.assert_array_equal(weights.params[module][name], array)
  assert any((whole[module][name] != array).any()
             for module in plain for name, array in plain[module].items())
  # it is an encoder as any other: retrieve, embed, export, and pairs once more
  assert call('retrieve', f'--config.weights={path}', '--config.evaluation.batch_size=16',
              '--config.evaluation.baselines=False', f'--workdir={tmp_path / "r"}') == 0
  # the figures that it was written with
  assert results(tmp_path / 'r')['byol']['retrieve_map_at_r'] == pytest.approx(
      results(learned[0])['byol']['with']['test_images']['map_at_r'], abs=0.5)
  assert call('embed', f'--config.weights={path}', f'--workdir={tmp_path / "e"}',
              '--config.evaluation.batch_size=16') == 0
  features = np.load(tmp_path / 'e' / 'embeddings.npz')['features']
  assert features.shape == (160, after.feature_size)
  assert call('export:all', f'--config.weights={path}',
              f'--workdir={tmp_path / "x"}') == 0
  assert weights_lib.load(str(tmp_path / 'x' / 'encoder.safetensors'),
                          'online').digest == weights.digest
  with open(tmp_path / 'x' / 'export.json', encoding='utf-8') as f:
    checked = json.load(f)['checked']
  for checks in checked.values():  # the head inside; PyTorch may not be installed
    for found in checks.values():
      assert isinstance(found, str) or found['relative_l2'] < 1e-4
  assert checked.keys() == {'safetensors', 'timm', 'onnx'}
  assert call('finetune_pairs:300', *FEW, f'--config.weights={path}',
              f'--workdir={tmp_path / "again"}') == 0
  again = weights_lib.load(str(tmp_path / 'again' / 'encoder.safetensors'), 'online')
  assert again.config.network.embedding == after.feature_size
  assert again.digest != weights.digest


def test_an_index_of_an_encoder_with_a_head(learned, tmp_path):
  pytest.importorskip('lancedb', reason='the extra [index] is not installed')
  path = f'{learned[0]}/encoder.safetensors'
  Image.fromarray(pixels()[0]).save(tmp_path / 'photo.png')
  assert call('index', f'--config.weights={path}', '--config.evaluation.batch_size=16',
              f'--workdir={tmp_path / "index"}') == 0
  assert call('search', f'--config.search.index={tmp_path / "index"}',
              f'--config.search.query={tmp_path / "photo.png"}') == 0
  query, = encoder_lib.load(path)([tmp_path / 'photo.png'])
  catalogue = encoder_lib.load(path)(np.load(f'{learned[0]}/../../../tiny.npz')['x_train'])
  cosines = catalogue @ query / (np.linalg.norm(catalogue, axis=1) * np.linalg.norm(query))
  with open(tmp_path / 'index' / 'search' / 'hits.csv', encoding='utf-8') as f:
    scores = [float(row['score']) for row in csv.DictReader(f)]
  np.testing.assert_allclose(scores, np.sort(cosines)[::-1][:10], atol=1e-4)


@_LONG
def test_one_device_says_the_same(run, learned, tmp_path):
  """Figures and encoder, up to the order of sums."""
  shutil.copytree(f'{run}/checkpoints', tmp_path / 'checkpoints')
  config = f'--config={ROOT}/configs/finetune_pairs.py:300'
  arguments = [config, *FEW, f'--config.weights={tmp_path}', '--distributed=off']
  done = subprocess.run(
      [sys.executable, '-c', f'{SMALLEST}from byol_jax import main\n'
       f'a = {arguments}\n'
       'assert main.main(["", *a, "--config.evaluation.baselines=True"]) == 0\n'
       'assert main.main(["", *a, "--config.pairs.train=encoder", '
       f'"--workdir={tmp_path}/whole"]) == 0\n'],
      cwd=ROOT, capture_output=True, text=True, check=False,
      env=on_one_device())
  assert done.returncode == 0, done.stderr
  one, eight = results(tmp_path / 'evaluations' / 'finetune_pairs_300-20'), results(
      learned[0])
  for kind in KINDS:  # a query's rank may flip, where two images are as near
    for state, measured in eight[kind].items():
      for what, figures in measured.items():
        for name, value in figures.items():
          assert one[kind][state][what][name] == pytest.approx(value, abs=0.5)
  ours, theirs = (weights_lib.load(f'{folder}/encoder.safetensors', 'online').params
                  for folder in (tmp_path / 'whole', learned[1]))
  for module, leaves in theirs.items():
    for name, array in leaves.items():
      np.testing.assert_allclose(ours[module][name], array, atol=2e-4, rtol=2e-3)


def test_learned_before(run, learned, capsys):
  del learned
  assert call('finetune_pairs:300', *FEW, f'--config.weights={run}',
              '--config.evaluation.baselines=True') == 0
  said = capsys.readouterr().out
  assert 'raw pixels, with pairs' in said and 'step' not in said.split('MAP@R')[1]


def _log(tmp_path, rng=None):
  """An event log of the tiny images as 80 products of two, and their items."""
  rng = rng or np.random.default_rng(0)
  items = tmp_path / 'items.csv'
  items.write_text('item,image\n' + ''.join(
      f'p{k % 80},train[{k}]\n' for k in range(160)))
  lines = ['session_id,item_id,event_type,timestamp']
  for session in range(200):
    group = rng.integers(20)
    for k, item in enumerate(rng.integers(4, size=3)):
      kind = rng.choice(['view', 'cart', 'purchase'])
      lines.append(f's{session},p{group + 20 * item},{kind},{session * 3600 + k}')
  lines.append('s0,nobody,view,5')
  log = tmp_path / 'log.csv'
  log.write_text('\n'.join(lines))
  return [f'--config.pairs.path={log}', f'--config.pairs.items={items}']


def test_an_event_log_with_products_of_two_images(run, tmp_path, caplog):
  """The parts share no product, and what tests is later."""
  arguments = [*FEW, f'--config.weights={run}', *_log(tmp_path),
               '--config.pairs.test=0.3']
  assert call('finetune_pairs', *arguments, f'--workdir={tmp_path / "out"}') == 0
  said = results(tmp_path / 'out')
  assert said['protocol']['test_pairs'] > 0
  assert 'items that pairs connect' in said['protocol']['divided_by']
  assert 'by time at' in said['protocol']['divided_by']
  assert said['counts']['events of an unknown item'] == 1
  figures = said['byol']['with']['test_pairs']
  assert 0 < figures['mrr'] <= 100 and 0 < figures['ndcg_at_10'] <= 100
  # another log is another evaluation
  _log(tmp_path, np.random.default_rng(1))
  assert call('finetune_pairs', *arguments, f'--workdir={tmp_path / "out"}') == 2


@_LONG
@pytest.mark.parametrize('train', ['head', 'encoder'])
def test_a_session_that_ends_goes_on_to_the_bit(run, tmp_path, monkeypatch, train):
  arguments = [*FEW, f'--config.weights={run}', f'--config.pairs.train={train}']
  monkeypatch.setattr(stages_lib, '_SECONDS', -1)  # saves at every look
  assert call('finetune_pairs:300', *arguments, f'--workdir={tmp_path}/whole') == 0
  save, saved = stages_lib.Stage.save, []

  def break_off(self, step, state, *, last=False):
    save(self, step, state, last=last)
    saved.append(step)
    if len(saved) % 2 == 0 and len(saved) < 8:
      self._checkpoints.wait()
      raise KeyboardInterrupt

  monkeypatch.setattr(stages_lib.Stage, 'save', break_off)
  folder = tmp_path / 'broken'
  while not (folder / 'results.json').exists():
    with contextlib.suppress(KeyboardInterrupt):
      assert call('finetune_pairs:300', *arguments, f'--workdir={folder}') == 0
  assert len(saved) > 2
  assert results(folder)['byol'] == results(tmp_path / 'whole')['byol']
  one, other = (weights_lib.load(f'{path}/encoder.safetensors', 'online').digest
                for path in (folder, tmp_path / 'whole'))
  assert one == other


@_LONG
def test_byol_together_with_pairs(run, learned, tmp_path):
  arguments = [*FEW, f'--config.weights={run}', '--config.pairs.train=encoder']
  assert call('finetune_pairs:300', *arguments, '--config.pairs.byol_weight=0.5',
              f'--workdir={tmp_path}') == 0
  said = results(tmp_path)
  assert said['protocol']['learned']['byol']['byol_weight'] == 0.5
  assert said['byol']['with'] != results(learned[1])['byol']['with']


@_LONG
def test_from_scratch(run, tmp_path):
  assert call('finetune_pairs:300', *FEW, f'--config.weights={run}',
              '--config.pairs.train=scratch', f'--workdir={tmp_path}') == 0
  said = results(tmp_path)
  assert 'byol' not in said and 'with' in said['scratch']
  assert said['protocol']['learned']['scratch']['statistics'] == 'of the global batch'


@pytest.mark.parametrize('arguments,match', [
    (['--config.pairs.path=none.csv'], 'cannot read config key pairs.path'),
    (['--config.pairs.items=x.csv'], 'cannot read config key pairs.items'),
    (['--config.pairs.train=encoder', '--config.evaluation.baselines=True'],
     'baselines have heads only'),
    (['--config.pairs.byol_weight=1'], "needs pairs.train='encoder'"),
    (['--config.pairs.train=encoder', '--config.pairs.batch_size=12'],
     '8 devices cannot share the batches of 12')])
def test_mistakes_end_in_one_line(run, tmp_path, capsys, arguments, match):
  assert call('finetune_pairs:300', *FEW, f'--config.weights={run}',
              f'--workdir={tmp_path}', *arguments) == 2
  said = [line for line in capsys.readouterr().err.splitlines()
          if line.startswith('byol_jax: ')]
  assert len(said) == 1 and match in said[0]
  assert not os.path.exists(tmp_path / 'encoder.safetensors')
