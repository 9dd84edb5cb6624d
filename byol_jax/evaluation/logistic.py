"""Multinomial logistic regression on frozen features.

Full-batch L-BFGS, as in the paper's transfer evaluation (appendix D.2), with
the l2 penalty chosen on held-out *training* images; then fitted to all of them.

  objective = mean_i cross_entropy(W x_i + b, y_i) + l2 / 2 ||W||^2

The bias is not penalised. In scikit-learn's terms C = 1 / (l2 N).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from byol_jax.evaluation import checks
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation.scores import Classifier
from byol_jax.methods import losses

_ANY_CHOICE = scores_lib.Choice()


class Penalties(NamedTuple):
  """The penalties to choose from, and the way to fit with each.

  Attributes:
    l2: penalties to choose from.
    standardize: whether features are first standardized by the mean and the
      standard deviation of the images that the classifier is fitted to.
    max_iterations: the most iterations of L-BFGS in a fit.
  """
  l2: Sequence[float]
  standardize: bool
  max_iterations: int = 200


class _Fit(NamedTuple):
  parameters: np.ndarray    # [C, D + 1]: W, and b in the last column
  iterations: int
  converged: bool           # False where max_iterations ended it


class _Data(NamedTuple):
  x: jax.Array              # [N, D], centred (and scaled), in principal axes
  labels: np.ndarray        # [N]
  variances: np.ndarray     # [D], along the axes


def _prepare(
    train: np.ndarray, labels: np.ndarray, standardize: bool,
) -> tuple[_Data, Callable[[np.ndarray], jax.Array]]:
  """Centres features and turns them to their principal axes; returns this map, too.

  Neither changes objective or result, as the bias is free: `_fit` uses the axes.
  Standardizing changes both. A constant column then becomes zero.
  """
  mean = np.mean(train, axis=0, dtype=np.float64).astype(np.float32)
  scale = np.ones_like(mean)
  if standardize:
    variance = np.mean(np.square(train - mean), axis=0, dtype=np.float64)
    std = np.sqrt(variance).astype(np.float32)
    # a constant column leaves no more than the rounding of its mean
    scale = np.where(std > 1e-6 * np.abs(mean), std, np.inf)
  train = (train - mean) / scale
  variances, axes = np.linalg.eigh(train.T @ train / len(train))
  turn = lambda x: jnp.asarray((x - mean) / scale @ axes)
  return _Data(jnp.asarray(train @ axes), labels, np.maximum(variances, 0)), turn


@jax.jit
def _logits(parameters, x):
  w, b = parameters[:, :-1], parameters[:, -1]
  # with W as [C, D] its gradient is a fast product on a CPU, too
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

  The search is over parameters divided by `scale`, for which the curvature is about
  the same in every direction. It needs a third of the iterations for correlated
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
      # both are about the resolution of float32
      options=dict(maxiter=max_iterations, maxfun=2 * max_iterations,
                   gtol=1e-5, ftol=1e-8))
  parameters = (found.x.reshape(start.shape) * scale).astype(np.float32)
  return _Fit(parameters, int(found.nit), found.status != 1)


def fit(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    penalties: Penalties,
    choice: scores_lib.Choice = _ANY_CHOICE,
    *,
    num_classes: int,
) -> Classifier:
  """Fits the linear classifier of frozen features that generalizes best.

  Args:
    train_features: [N, D].
    train_labels: [N], in [0, num_classes).
    penalties: the penalties to choose from, and the way to fit.
    choice: chooses the penalty, by the metric (then by the cross-entropy).
    num_classes: number of classes.

  Returns:
    The classifier of features [M, D]; chosen: 'l2'.

  Raises:
    UserError: there is nothing to choose on, or features are not finite.
  """
  train_features, train_labels = checks.check_labelled(
      train_features, train_labels, num_classes, 'training')
  grid = sorted(set(map(float, penalties.l2)), reverse=True)  # the easiest first
  start = np.zeros((num_classes, train_features.shape[1] + 1))
  l2, held_out_figures = grid[0], {}
  if len(grid) > 1:
    l2, held_out_figures = _choose(train_features, train_labels, grid, start,
                                   penalties, choice)
  data, turn = _prepare(train_features, train_labels, penalties.standardize)
  found = _fit(data, l2, start, penalties.max_iterations)

  def scores(features: np.ndarray) -> np.ndarray:
    return np.asarray(_logits(found.parameters, turn(features)))

  return Classifier(scores, {'l2': l2}, {
      'method': 'multinomial logistic regression, L-BFGS',
      'objective': 'mean cross-entropy + l2 / 2 ||W||^2, the bias is free',
      'features': 'frozen, ' + ('standardized by the training images'
                                if penalties.standardize else 'as they are'),
      'l2': l2,
      'l2_grid': grid[::-1],
      'l2_chosen_on': (f'{choice.holdout:g} of the training images, stratified'
                       if held_out_figures else 'nothing: one value given'),
      f'held_out_{choice.metric}': held_out_figures,
      'seed': choice.seed,
      'max_iterations': penalties.max_iterations,
      'iterations': found.iterations,
      'converged': found.converged,
      'train_images': len(train_labels),
      'feature_size': train_features.shape[1],
      'num_classes': num_classes,
  })


def _choose(features: np.ndarray, labels: np.ndarray, grid: Sequence[float],
            start: np.ndarray, penalties: Penalties, choice: scores_lib.Choice,
            ) -> tuple[float, dict[str, float]]:
  """Returns the best penalty on held-out images, and the figure of each penalty."""
  kept, held_out = splits.holdout_rows(labels, choice.holdout, choice.seed,
                                       'logistic.l2')
  data, turn = _prepare(features[kept], labels[kept], penalties.standardize)
  held_out_x, held_out_labels = turn(features[held_out]), labels[held_out]
  qualities, figures = [], {}
  for candidate in grid:
    found = _fit(data, candidate, start, penalties.max_iterations)
    start = found.parameters  # near the next solution
    logits = np.asarray(_logits(found.parameters, held_out_x))
    qualities.append(scores_lib.quality(choice.metric, logits, held_out_labels))
    figures[f'{candidate:g}'] = qualities[-1].figure
  return grid[scores_lib.best(qualities, 'logistic.l2')], figures
