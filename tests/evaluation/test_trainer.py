"""Training of an encoder and a head: the formula in numpy, and sessions in a row."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.feed import order
from byol_jax.data.sources import table
from byol_jax.evaluation import crops
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation import trainer
from byol_jax.training import supervised
from byol_jax.views import make as views_lib

SPEC = views_lib.ViewSpec(image_size=4, mean=(0.,) * 3, std=(1.,) * 3)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 3), np.uint8)
LABELS = np.arange(12) % 3
ROWS = np.array([11, 1, 2, 4, 5, 6, 7, 8, 9, 10])  # 0 and 3 are held out
OPTIONS = dict(batch_size=8, learning_rate=0.5, epochs=4.5, weight_decay=0.1)
STEPS = 5  # 4.5 * 10 / 8, whole ones


def start():
  """Networks and head to start from: colours times a matrix, and a classifier."""
  w = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
  head = supervised.linear_head(4, 3, np.float32, seed=2)
  return ({'conv': {'w': w}}, {'seen': np.float32(0)}), jax.tree.map(np.asarray, head)


def make(tmp_path, decays=None, times=1):
  def make_model(decay):
    if decays is not None:
      decays.append(decay)
    def apply(params, statistics, images, is_training):
      assert is_training
      colours = jnp.mean(images, (1, 2))  # no crop or flip changes them
      return (jnp.matmul(colours, params['conv']['w'], precision='highest'),
              {'seen': statistics['seen'] + 1})
    return types.SimpleNamespace(encoder=types.SimpleNamespace(apply=apply))
  images = np.broadcast_to(
      np.tile(COLOURS, (times, 1))[:, None, None], (12 * times, 8, 8, 3))
  labels = np.tile(LABELS, times).astype(np.int32)
  networks, head = start()
  data = table.Images(images, labels, None, 'colours')
  return trainer.Trainer(
      crops.Feed(data, SPEC, seed=7, threads=1), networks, head, make_model,
      supervised.classification, encoder_rate=0.3, seed=7,
      stages=stages_lib.Stages(str(tmp_path), str(tmp_path)))


def expected():
  """The weights of encoder and head, and the bias, after the training."""
  (params, _), head = start()
  values = [params['conv']['w'], head['w'], head['b']]
  values = [x.astype(float) for x in values]
  momentum = [np.zeros_like(x) for x in values]
  for step in range(STEPS):
    shown = ROWS[order.rows(7, step, 8, len(ROWS))]
    x, (w, v, b) = COLOURS[shown] / 255, values
    logits = x @ w @ v + b
    likely = np.exp(logits - logits.max(1, keepdims=True))
    error = (likely / likely.sum(1, keepdims=True) - np.eye(3)[LABELS[shown]]) / 8
    grads = [x.T @ error @ v.T + 0.1 * w, (x @ w).T @ error + 0.1 * v, error.sum(0)]
    rate = 0.5 * (1 + np.cos(np.pi * step / STEPS)) * 0.5
    momentum = [0.9 * m + g for m, g in zip(momentum, grads)]
    values = [p - r * (0.9 * m + g) for p, m, g, r in zip(
        values, momentum, grads, (0.3 * rate, rate, rate))]
  return values


def leaves(trained):
  ((params, head), statistics) = trained
  return params['conv']['w'], head['w'], head['b'], statistics['seen']


def test_the_training_is_the_formula(tmp_path):
  """Eight devices share each batch; only the rows asked for are shown."""
  decays = []
  trained = make(tmp_path, decays)
  found = leaves(trained(ROWS, 'one', **OPTIONS))
  for ours, theirs in zip(found[:3], expected()):
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
  assert np.abs(found[0] - start()[0][0]['conv']['w']).max() > 0.01
  assert found[3] == STEPS
  assert decays == [0.9]  # 1 - 10 / 1.5, but not less


def test_the_same_trainer_starts_anew_each_time(tmp_path):
  decays = []
  trained = make(tmp_path, decays)
  first = leaves(trained(ROWS, 'one', **OPTIONS))
  other = leaves(trained(ROWS, 'two', **OPTIONS | {'learning_rate': 0.1}))
  third = leaves(trained(ROWS, 'three', **OPTIONS))
  for ours, theirs in zip(first, third):
    np.testing.assert_array_equal(ours, theirs)
  assert (first[0] != other[0]).any()
  assert len(decays) == 1  # compiled once


def test_at_least_one_step_and_the_papers_decay(tmp_path):
  decays = []
  trained = make(tmp_path, decays, times=200)
  assert leaves(trained(ROWS, 'one', **OPTIONS | {'epochs': 0.01}))[3] == 1
  assert decays == [pytest.approx(1 - 10 / 300)]  # 2400 images in batches of 8


def test_a_training_that_was_interrupted_goes_on_to_the_bit(tmp_path, monkeypatch):
  whole = leaves(make(tmp_path / 'whole')(ROWS, 'one', **OPTIONS))
  monkeypatch.setattr(stages_lib, '_SECONDS', -1)
  save, saved = stages_lib.Stage.save, []
  def break_off(self, step, state, *, last=False):
    save(self, step, state, last=last)
    saved.append(step)
    if step == 3:
      self._checkpoints.wait()
      raise KeyboardInterrupt
  with monkeypatch.context() as patch:
    patch.setattr(stages_lib.Stage, 'save', break_off)
    with pytest.raises(KeyboardInterrupt):
      make(tmp_path / 'broken')(ROWS, 'one', **OPTIONS)
    again = leaves(make(tmp_path / 'broken')(ROWS, 'one', **OPTIONS))
  assert saved == [1, 2, 3, 4, 5]
  for ours, theirs in zip(whole, again):
    np.testing.assert_array_equal(ours, theirs)
