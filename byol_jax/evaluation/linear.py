"""Linear probe: multinomial logistic regression on frozen features.

Full-batch L-BFGS, as in the paper's transfer evaluation (appendix D.2), with
the l2 penalty chosen on held-out *training* images. The test images are used
once, for the classifier that was fitted to all training images.

  objective = mean_i cross_entropy(W x_i + b, y_i) + l2 / 2 ||W||^2

The bias is not penalised. In scikit-learn's terms C = 1 / (l2 N).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from byol_jax import losses
from byol_jax.errors import UserError
from byol_jax.evaluation import checks


class _Fit(NamedTuple):
  parameters: np.ndarray    # [C, D + 1]: W, and b in the last column
  iterations: int
  converged: bool           # False where max_iterations ended it


class _Data(NamedTuple):
  x: jax.Array              # [N, D], standardised, in principal axes
  labels: np.ndarray        # [N]
  variances: np.ndarray     # [D], along the axes


def _prepare(train: np.ndarray, labels: np.ndarray,
             other: np.ndarray) -> tuple[_Data, jax.Array]:
  """Standardises both by `train` and turns them to its principal axes.

  The rotation changes neither objective nor result; `_fit` uses it to scale
  the axes. A constant column becomes zero.
  """
  mean = np.mean(train, axis=0, dtype=np.float64).astype(np.float32)
  variance = np.mean(np.square(train - mean), axis=0, dtype=np.float64)
  std = np.sqrt(variance).astype(np.float32)
  # a constant leaves no more than the rounding of its mean
  scale = np.where(std > 1e-6 * np.abs(mean), std, np.inf)
  train, other = (train - mean) / scale, (other - mean) / scale
  variances, axes = np.linalg.eigh(train.T @ train / len(train))
  return (_Data(jnp.asarray(train @ axes), labels, np.maximum(variances, 0)),
          jnp.asarray(other @ axes))


@jax.jit
def _logits(parameters, x):
  w, b = parameters[:, :-1], parameters[:, -1]
  # W as [C, D]: its gradient is then a fast product on CPU too
  return jnp.matmul(x, w.T, precision=jax.lax.Precision.HIGHEST) + b


@jax.jit
@jax.value_and_grad
def _objective(scaled, scale, x, labels, l2):
  parameters = scaled * scale
  penalty = 0.5 * l2 * jnp.sum(jnp.square(parameters[:, :-1]))
  return losses.cross_entropy(_logits(parameters, x), labels) + penalty


def _fit(data: _Data, l2: float, start: np.ndarray,
         max_iterations: int) -> _Fit:
  """Minimises the objective from `start` [C, D + 1].

  Searches over parameters divided by `scale`, in which the curvature is about
  the same in every direction: a third of the iterations for correlated
  features.
  """
  curvature = np.append(data.variances / len(start) + max(l2, 1e-8), 0.1)
  scale = (1 / np.sqrt(curvature)).astype(np.float32)

  def value_and_grad(flat):
    value, grad = _objective(
        jnp.asarray(flat.reshape(start.shape), jnp.float32), scale, data.x,
        data.labels, l2)
    return float(value), np.asarray(grad, np.float64).ravel()

  found = optimize.minimize(
      value_and_grad, (start / scale).ravel(), jac=True, method='L-BFGS-B',
      # both about what float32 resolves
      options=dict(maxiter=max_iterations, maxfun=2 * max_iterations,
                   gtol=1e-5, ftol=1e-8))
  parameters = (found.x.reshape(start.shape) * scale).astype(np.float32)
  return _Fit(parameters, int(found.nit), found.status != 1)


def holdout_rows(labels: np.ndarray, fraction: float,
                 seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Splits rows into (kept, held out), the same share of every class.

  A class keeps at least one example, and holds out at least one if it has two.
  """
  rng = np.random.default_rng(seed)
  kept, held_out = [], []
  for c in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == c))
    n = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    held_out.append(rows[:n])
    kept.append(rows[n:])
  return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    num_classes: int,
    l2_grid: Sequence[float],
    holdout_fraction: float = 0.1,
    seed: int = 0,
    max_iterations: int = 200,
) -> dict[str, Any]:
  """Test accuracy of the best linear classifier of frozen features.

  Features are standardised by the mean and the standard deviation of the
  images that the classifier is fitted to.

  Args:
    train_features: [N, D].
    train_labels: [N], in [0, num_classes).
    test_features: [M, D].
    test_labels: [M].
    num_classes: number of classes.
    l2_grid: penalties to choose from, by accuracy on the held-out part (then
      by its cross-entropy).
    holdout_fraction: share of every class of the training images that chooses.
    seed: of that split.
    max_iterations: of L-BFGS, for each fit.

  Returns:
    `top1` and, with more than 5 classes, `top5`, in percent; `l2`, the chosen
    penalty; `protocol`, how they were measured.

  Raises:
    UserError: impossible values, non-finite features.
  """
  train_features, train_labels = checks.check_labelled(
      train_features, train_labels, num_classes, 'training')
  test_features, test_labels = checks.check_labelled(
      test_features, test_labels, num_classes, 'test')
  grid = sorted(map(float, l2_grid), reverse=True)  # easiest problem first
  if not grid or not (np.isfinite(grid).all() and grid[-1] >= 0):
    raise UserError(f'l2_grid is {list(l2_grid)}: it must list one or '
                    'more numbers >= 0')
  if not 0 < holdout_fraction < 1:
    raise UserError(f'holdout_fraction is {holdout_fraction}: it must '
                    'lie between 0 and 1')
  if max_iterations < 1:
    raise UserError(f'max_iterations is {max_iterations}: it must be at '
                    'least 1')

  # Choose l2 without the test images.
  start = np.zeros((num_classes, train_features.shape[1] + 1))
  l2, held_out_top1 = grid[0], {}
  if len(grid) > 1:
    kept, held_out = holdout_rows(train_labels, holdout_fraction, seed)
    if not len(held_out):
      raise UserError('l2_grid has several values to choose from, but '
                      'no class has two training images: list one value')
    held_out_labels = train_labels[held_out]
    data, held_out_x = _prepare(train_features[kept], train_labels[kept],
                                train_features[held_out])
    best = None
    for candidate in grid:
      fit = _fit(data, candidate, start, max_iterations)
      start = fit.parameters
      logits = np.asarray(_logits(fit.parameters, held_out_x))
      top1 = checks.top_k_accuracy(logits, held_out_labels, 1)
      loss = float(losses.cross_entropy(logits, held_out_labels))
      held_out_top1[f'{candidate:g}'] = top1
      if best is None or (top1, -loss) > best:
        best, l2 = (top1, -loss), candidate

  data, test_x = _prepare(train_features, train_labels, test_features)
  fit = _fit(data, l2, np.zeros_like(start), max_iterations)
  logits = np.asarray(_logits(fit.parameters, test_x))

  results = {'top1': checks.top_k_accuracy(logits, test_labels, 1)}
  if num_classes > 5:
    results['top5'] = checks.top_k_accuracy(logits, test_labels, 5)
  results['l2'] = l2
  results['protocol'] = {
      'method': 'multinomial logistic regression, L-BFGS',
      'objective': 'mean cross-entropy + l2 / 2 ||W||^2',
      'features': 'frozen, standardised by the training images',
      'l2': l2,
      'l2_grid': grid[::-1],
      'l2_chosen_on': (f'{holdout_fraction:g} of the training images, stratified'
                       if held_out_top1 else 'nothing: one value given'),
      'held_out_top1': held_out_top1,
      'seed': seed,
      'max_iterations': max_iterations,
      'iterations': fit.iterations,
      'converged': fit.converged,
      'train_images': len(train_labels),
      'test_images': len(test_labels),
      'feature_size': train_features.shape[1],
      'num_classes': num_classes,
  }
  return results
