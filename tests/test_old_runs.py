"""Runs that were begun with version 0.1 go on, to the bit.

fixtures/v0.1 holds two of them, stopped in their middle, and how they ended with the
code that began them; make.py there says how it was made.
"""

import importlib.util
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from byol_jax.run import checkpoint
from byol_jax.weights import load

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIXTURE = ROOT / 'tests' / 'fixtures' / 'v0.1'
# Another compiler or processor rounds otherwise. Code for AVX2 in place of AVX-512
# moves a loss by up to 5e-6 of it in 13 steps, and the norm of a momentum by 7e-5;
# the losses of two steps are 5e-3 apart and more.
LOSS, NORM = 1e-4, 1e-3
FEATURES = 1e-5  # of one forward pass


def _load_make():
  spec = importlib.util.spec_from_file_location('make_v01', FIXTURE / 'make.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


make = _load_make()
ENDS = json.loads((FIXTURE / 'ends.json').read_text(encoding='utf-8'))


@pytest.fixture(name='old')
def _old(tmp_path):
  """A copy of the fixture: what goes on writes into it."""
  return shutil.copytree(FIXTURE, tmp_path / 'old')


def run(command, folder):
  done = subprocess.run(command, cwd=folder, env=make.environment(ROOT), text=True,
                        capture_output=True, timeout=600)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def state(workdir):
  """The arrays of the last checkpoint, by name."""
  checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints', read_only=True)
  assert checkpoints.latest() == make.STEPS
  opened = checkpoints.open(make.STEPS)
  return opened.read(opened.leaves)


@pytest.mark.parametrize('kind', make.KINDS)
def test_a_run_goes_on_to_its_end(kind, old):
  before, expected = make.lines(old / kind), ENDS[kind]
  stopped = expected['stopped']
  said = run(make.command(kind), old)
  assert f'resuming {kind} at step {stopped}' in said
  found = make.end(old / kind, state(old / kind))
  # each step once, and those of the first session as they were
  assert [line['step'] for line in found['lines']] == list(range(1, make.STEPS + 1))
  assert found['lines'][:stopped] == before
  # the reasons' words may change
  assert ({part: list(files) for part, files in found['left_out'].items()}
          == {part: list(files) for part, files in expected['left_out'].items()})
  assert found['leaves'].keys() == expected['leaves'].keys()
  is_alike = make.computer() == ENDS['computer']
  for name, leaf in expected['leaves'].items():
    ours = found['leaves'][name]
    assert (ours['shape'], ours['dtype']) == (leaf['shape'], leaf['dtype']), name
    if is_alike:
      assert ours['crc32'] == leaf['crc32'], name
    # the biases before a normalization hold nothing but rounding
    assert ours['norm'] == pytest.approx(leaf['norm'], rel=NORM, abs=1e-5), name
  for ours, line in zip(found['lines'], expected['lines'], strict=True):
    if is_alike:
      assert ours.items() >= line.items()
    for key in ('loss', 'learning_rate', 'tau', 'epoch'):
      assert ours[key] == pytest.approx(line[key], rel=LOSS), (line['step'], key)
  if is_alike:
    for row, figures in expected['figures'].items():
      assert found['figures'][row].items() >= figures.items()


def test_its_encoder_loads(old):
  for kind in make.KINDS:
    for network, digest in ENDS[kind]['encoders'].items():
      assert load.load(str(old / kind), network).digest == digest
  run(make.embed_command('streamed', 'out'), old)
  with np.load(old / 'out' / 'embeddings.npz') as found, np.load(
      old / 'features.npz') as expected:
    assert found['names'].tolist() == expected['names'].tolist()
    assert found['labels'].tolist() == expected['labels'].tolist()
    np.testing.assert_allclose(found['features'], expected['features'],
                               rtol=FEATURES, atol=FEATURES)
