"""Measures that distinguish a run that learns from one that collapses.

BYOL's objective has a trivial solution: the same output for every image, loss
0. None of these measures is part of the objective. The functions from
`projection_std` to `predictor_explained` are pure jnp; a table of what a
healthy run and a collapsed one show stands at `collapse_warning`.
"""

from __future__ import annotations

from collections.abc import Mapping
import math

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.methods.losses import l2_normalize


def _normalize(x: jax.Array) -> jax.Array:
  return l2_normalize(jnp.asarray(x, jnp.float32))


def projection_std(z: jax.Array) -> jax.Array:
  """Computes the spread of l2-normalised vectors on the sphere: mean_d std(n(z)_d).

  Multiplied by sqrt(D), the inverse of what vectors spread evenly over the
  sphere have: 1 = spread out, 0 = collapsed to one point (SimSiam, arXiv
  2011.10566, figure 2). The square is roughly the share of a vector's length
  that is not common to all images.

  Args:
    z: [N, D].

  Returns:
    A float32 scalar in [0, 1].
  """
  return jnp.mean(jnp.std(_normalize(z), axis=0)) * math.sqrt(z.shape[-1])


def alignment(x: jax.Array, y: jax.Array) -> jax.Array:
  """Computes mean_i ||n(x_i) - n(y_i)||^2, in [0, 4] (arXiv 2005.10242, alpha = 2).

  Args:
    x: [N, D], from one view of each image.
    y: [N, D], from the other view.

  Returns:
    A float32 scalar, 0 where both views of an image agree.
  """
  difference = _normalize(x) - _normalize(y)
  return jnp.mean(jnp.sum(jnp.square(difference), axis=-1))


def uniformity(x: jax.Array, t: float = 2.0) -> jax.Array:
  """Computes log mean_{i<j} exp(-t ||n(x_i) - n(x_j)||^2) (arXiv 2005.10242).

  Takes N^2 floats of memory.

  Args:
    x: [N, D], N > 1.
    t: inverse width of the kernel.

  Returns:
    A float32 scalar in [-4 t, 0]: 0 = collapsed to one point; vectors spread
    evenly over a sphere of many dimensions have about -2 t.
  """
  x = _normalize(x)
  n = x.shape[0]
  cosines = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
  exponents = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, 2 * t * (cosines - 1))
  return jax.nn.logsumexp(exponents) - math.log(n * (n - 1))


def predictor_explained(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Computes the share of the targets' variance that the prediction explains.

  1 - sum_i ||n(t_i) - n(p_i)||^2 / sum_i ||n(t_i) - mean_j n(t_j)||^2

  Args:
    prediction: [N, D], the predictor's output for one view.
    target: [N, D], the target network's projection of the other view.

  Returns:
    A float32 scalar: 1 = exact, 0 = no better than predicting the mean target
    (or the targets have no variance), negative = worse than that.
  """
  target = _normalize(target)
  residual = jnp.sum(jnp.square(target - _normalize(prediction)))
  variance = jnp.sum(jnp.square(target - jnp.mean(target, axis=0)))
  return jnp.where(
      variance > 0, 1 - residual / jnp.where(variance > 0, variance, 1), 0.0)


def effective_rank(x: jax.Array | np.ndarray, eps: float = 1e-7) -> float:
  """Computes RankMe: exp(entropy of normalised singular values) (arXiv 2210.02885).

  p_k = s_k / sum_j s_j + eps, rank = exp(-sum_k p_k log p_k). Not centered, as
  in the paper. Runs on the host in float64 by way of the smaller Gram matrix:
  2,000 x 2,048 takes about a second, and singular values are exact to 1e-8 of
  the largest, less than the rounding of float32 features.

  Args:
    x: [N, D].
    eps: the paper's; keeps log p finite.

  Returns:
    A number in [1, min(N, D)]; 1.0 for all zeros, nan for non-finite x.
  """
  x = np.asarray(x, np.float64)
  if not np.all(np.isfinite(x)):
    return math.nan
  gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
  singular_values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
  total = singular_values.sum()
  if total == 0:
    return 1.0
  p = singular_values / total + eps
  return float(np.exp(-np.sum(p * np.log(p))))


_device_measures = jax.jit(lambda z1, z2, prediction, target: {
    'projection_std': projection_std(z1),
    'alignment': alignment(z1, z2),
    'uniformity': uniformity(z1),
    'predictor_explained': predictor_explained(prediction, target),
})


def collapse_measures(
    features: jax.Array,
    projection1: jax.Array,
    projection2: jax.Array,
    prediction: jax.Array,
    target: jax.Array,
) -> dict[str, float]:
  """Computes all measures for N images seen in two views each.

  A few hundred to a few thousand images are plenty; the ranks are bounded by
  N, so compare them between runs with the same N only.

  Args:
    features: [N, F], the encoder's output for view 1.
    projection1: [N, P], the online projection of view 1.
    projection2: [N, P], the online projection of view 2.
    prediction: [N, P], the predictor's output for view 1.
    target: [N, P], the target network's projection of view 2.

  Returns:
    `projection_std` (as a ratio: 1 = spread out, 0 = collapsed), `alignment`,
    `uniformity`, `predictor_explained`, `feature_rank`, `projection_rank`.
  """
  measures = _device_measures(projection1, projection2, prediction, target)
  measures = {name: float(value) for name, value in measures.items()}
  measures['feature_rank'] = effective_rank(features)
  measures['projection_rank'] = effective_rank(projection1)
  return measures


# Thresholds of the warning. Seen with small ResNet-18s on 16-pixel CIFAR-10,
# where a false alarm is likeliest (64 or 256 projections, 512 images, inference
# mode, one seed each, 300 steps):
#                                       projection_std    projection_rank
#   with a predictor, from step 5          0.40 - 0.82         2.7 - 112
#   no predictor, from step 100            below 0.02          1.0 - 1.4
#   learning rate far too high             0.58 - 0.75         1.1 - 2.3
# The rank is low for a while in every warm-up, and recovers. In the last line
# the outputs spread over one or two directions: the ranks see that, the spread
# does not. The share of the dimensions is a cautious guess for large networks,
# not measured; a rank is only judged where it could be large.
MIN_PROJECTION_STD = 0.1
MIN_RANK = 2.0
MIN_RANK_SHARE = 0.005    # share of min(N, D)
SMALLEST_JUDGED_RANK_BOUND = 16


def min_rank(bound: int) -> float | None:
  """Returns the rank below which the warning speaks; None where it does not judge.

  Args:
    bound: the largest possible rank, min(images, dimensions).
  """
  if bound < SMALLEST_JUDGED_RANK_BOUND:
    return None
  return max(MIN_RANK, MIN_RANK_SHARE * bound)


def collapse_warning(
    measures: Mapping[str, float],
    *,
    num_examples: int,
    feature_size: int,
    projection_size: int,
) -> str | None:
  """Returns a warning if the measures mean collapse, with what to do about it.

  Complete collapse: all projections are one point. Dimensional collapse: they
  differ, but the projections or the features fill next to no dimensions.

  Args:
    measures: the result of `collapse_measures`.
    num_examples: N, the number of images measured.
    feature_size: F.
    projection_size: P.

  Returns:
    A line for the user, or None where nothing is wrong.
  """
  advice = ('usual causes: a learning rate too high for the optimizer and batch size, '
            'a warm-up that is too short, or a loss without negatives and no predictor')
  bad = sorted(name for name, value in measures.items()
               if not math.isfinite(value))
  if bad:
    return (f'the networks\' outputs are not finite ({", ".join(bad)}): the run '
            'has diverged; lower the learning rate')
  spread = measures['projection_std']
  if spread < MIN_PROJECTION_STD:
    return (f'the run has collapsed: all images have nearly the same projection '
            f'(projection_std {spread:.3f}; 1 = spread out, 0 = one point); '
            + advice)
  for name, size in (('projection', projection_size), ('feature', feature_size)):
    rank, bound = measures[f'{name}_rank'], min(num_examples, size)
    limit = min_rank(bound)
    if limit is not None and rank < limit:
      return (f'dimensional collapse: the {name}s fill about {rank:.1f} of '
              f'{bound} dimensions ({name}_rank); ' + advice)
  return None
