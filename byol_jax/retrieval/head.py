"""A linear head on frozen features, learned from pairs.

It starts at the identity on features that get mean 0 and deviation 1, which are
compared by cosine. All points of the grid, a temperature and a rate each, are trained
in one pass over the pairs. Two layers memorise noisy pairs and were worse than no head.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.evaluation import stages as stages_lib
from byol_jax.retrieval import batches as batches_lib
from byol_jax.run import console as console_lib
from byol_jax.training import supervised

_MOMENTUM = 0.9
_STEPS_AT_A_TIME = 32


class Point(NamedTuple):
  """A temperature and a learning rate; a cosine takes the rate to 0."""
  temperature: float
  learning_rate: float


class Head(NamedTuple):
  """A linear map of features: x @ w + b.

  Attributes:
    w: float32 [D, d].
    b: float32 [d].
  """
  w: np.ndarray
  b: np.ndarray

  def __call__(self, x: np.ndarray) -> np.ndarray:
    """Maps features float32 [N, D] to float32 [N, d]."""
    return x @ self.w + self.b


def points(temperatures: Sequence[float],
           learning_rates: Sequence[float]) -> list[Point]:
  """Returns each combination once, in the user's order."""
  return [Point(*map(float, values)) for values in dict.fromkeys(
      itertools.product(temperatures, learning_rates))]


def start(x: np.ndarray, size: int) -> dict[str, np.ndarray]:
  """Makes the head that `supervised.standardized` starts from.

  Args:
    x: float32 [N, D], features of the images to learn from.
    size: d. Below D the head starts at the first d principal directions.

  Returns:
    'mean' and 'scale' [D], 'w' [D, d] and 'b' [d], float32. A feature that does not
    vary has the scale 0.
  """
  x = x.astype(np.float64)
  mean, deviation = x.mean(0), x.std(0)
  varies = deviation > 1e-6 * max(deviation.max(initial=0), 1e-30)
  scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
  w = np.eye(x.shape[1])
  if size < x.shape[1]:
    standard = (x - mean) * scale
    _, directions = np.linalg.eigh(standard.T @ standard)
    w = directions[:, ::-1][:, :size]
    w = w * np.sign(w[np.abs(w).argmax(0), np.arange(size)])  # eigh's is arbitrary
  head = {'mean': mean, 'scale': scale, 'w': w, 'b': np.zeros(w.shape[1])}
  return {name: array.astype(np.float32) for name, array in head.items()}


def finished(head: dict[str, np.ndarray]) -> Head:
  """Returns a head of `start`'s form as one linear map of the features themselves."""
  parts = {name: np.asarray(x, np.float64) for name, x in head.items()}
  w = parts['scale'][:, None] * parts['w']
  return Head(w.astype(np.float32),
              (parts['b'] - parts['mean'] @ w).astype(np.float32))


class _State(NamedTuple):
  """The heads of K points and their momentum; leaves lead with K."""
  heads: dict[str, jax.Array]
  momentum: dict[str, jax.Array]


def fit(x: np.ndarray, batches: batches_lib.Batches, first: dict[str, np.ndarray],
        grid: Sequence[Point], *, epochs: float, learn_temperature: bool,
        stages: stages_lib.Stages, name: str) -> list[dict[str, np.ndarray]]:
  """Trains a head for each point, all on the same batches.

  Args:
    x: float32 [N, D], the features of all images, by `Batches.images`.
    batches: the pairs.
    first: the head to start from, of `start`.
    grid: K points.
    epochs: passes over the pairs.
    learn_temperature: whether the temperature learns, from the point's on.
    stages: keep the work of earlier sessions.
    name: this training's name among the stages, and on the console.

  Returns:
    K heads of `first`'s form; with 'log_temperature' if it was learned.
  """
  total = max(int(epochs * batches.size // batches.batch_size), 1)
  temperatures, rates = (np.array(values, np.float32) for values in zip(*grid))
  heads = {key: np.repeat(array[None], len(grid), 0) for key, array in first.items()}
  if learn_temperature:
    heads['log_temperature'] = np.log(temperatures)
  state = _State(heads, jax.tree.map(np.zeros_like, heads))
  used, places = np.unique(batches.images, return_inverse=True)
  places = dict(zip(used.tolist(), range(len(used))))
  x = jnp.asarray(x[used])  # images without a pair need no room on the device
  stage_name = f'{name}, {total} steps of {batches.batch_size}, {len(grid)} heads'
  with stages.opened(stage_name) as stage:
    step, state = stage.restore(state)
    state = jax.tree.map(jnp.array, state)
    bar = console_lib.Progress(f'{name}: steps', total - step, 'step/s')
    while step < total:
      several = [batches.of(k)
                 for k in range(step, min(step + _STEPS_AT_A_TIME, total))]
      several = {key: np.stack([one[key] for one in several])
                 for key in several[0]}
      images = several.pop('images')
      several['rows'] = np.vectorize(places.get, otypes=[np.int32])(images)
      state = _train(state, x, several, step, total, rates, temperatures,
                     learn_temperature)
      step += len(images)
      stage.save(step, state, last=step == total)
      bar.add(len(images))
    bar.close()
  heads = jax.tree.map(np.asarray, state.heads)
  return [jax.tree.map(lambda leaf, k=k: leaf[k], heads) for k in range(len(grid))]


@functools.partial(jax.jit, static_argnames='learn_temperature', donate_argnums=0)
def _train(state: _State, x: jax.Array, several: dict[str, jax.Array], step, total,
           rates, temperatures, learn_temperature: bool) -> _State:
  """Does m steps: the leaves of `several` lead with m, those of the state with K."""
  def gradient(heads, temperature, features, targets):
    loss = supervised.pairs(None, None)
    if not learn_temperature:
      heads = heads | {'log_temperature': jax.lax.stop_gradient(jnp.log(temperature))}
    return loss(heads, features, targets)

  def one(carry, batch):
    state, step = carry
    features = x[batch.pop('rows')].reshape(-1, x.shape[1])
    grads = jax.vmap(jax.grad(gradient), (0, 0, None, None))(
        state.heads, temperatures, features, batch)
    rate = rates * 0.5 * (1 + jnp.cos(jnp.pi * step / total))
    momentum = jax.tree.map(lambda m, g: _MOMENTUM * m + g, state.momentum, grads)
    heads = jax.tree.map(
        lambda p, m, g: p - rate.reshape(-1, *(1,) * (p.ndim - 1)) * (
            _MOMENTUM * m + g), state.heads, momentum, grads)
    return (_State(heads, momentum), step + 1), None

  (state, _), _ = jax.lax.scan(one, (state, jnp.float32(step)), several)
  return state
