"""The losses of all methods, and the probe's.

"The paper" is BYOL, Grill et al. 2020 (arXiv:2006.07733).
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def l2_normalize(x: jax.Array, eps: float = 1e-12) -> jax.Array:
  """Computes x / ||x|| along the last axis; vectors shorter than sqrt(eps) shrink."""
  squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, eps))


def regression_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Computes ||n(p) - n(z)||^2 = 2 - 2 cos(p, z), in [0, 4] (paper, equation 2).

  Args:
    prediction: [..., D].
    target: [..., D]; the caller stops its gradient.

  Returns:
    [...], one value an example.
  """
  difference = l2_normalize(prediction) - l2_normalize(target)
  return jnp.sum(jnp.square(difference), axis=-1)


def byol_loss(prediction1: jax.Array, prediction2: jax.Array,
              target1: jax.Array, target2: jax.Array) -> jax.Array:
  """Computes the symmetric loss: the *sum* of both directions, in [0, 8].

  L = mean_b ||n(q(z1)) - n(z'2)||^2 + ||n(q(z2)) - n(z'1)||^2 (paper, equation
  2 and the line below it). Averaging the directions instead halves every
  gradient, which costs accuracy under a learning rate tuned for the sum.

  Args:
    prediction1: [B, P], the online network's prediction from view 1.
    prediction2: [B, P], from view 2.
    target1: [B, P], the target network's projection of view 1; its gradient
      is stopped here.
    target2: [B, P], likewise of view 2.

  Returns:
    A scalar.
  """
  chex.assert_rank(prediction1, 2)
  chex.assert_equal_shape([prediction1, prediction2, target1, target2])
  target1, target2 = jax.lax.stop_gradient((target1, target2))
  return jnp.mean(regression_loss(prediction1, target2)
                  + regression_loss(prediction2, target1))


def gather(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Gathers [n, P] of every device to [B, P], in the order of the global examples.

  Gradients flow back to the device that holds the example: with each device's mean as
  its loss and gradients averaged over the devices, they are the global mean's.
  """
  if axis_name is None or jax.lax.axis_size(axis_name) == 1:
    return x
  return jax.lax.all_gather(x, axis_name, tiled=True)


def own_rows(n: int, size: int, axis_name: str | None) -> jax.Array:
  """Returns where this device's `n` examples are in the gathered `size`: int32 [n]."""
  first = 0 if size == n else n * jax.lax.axis_index(axis_name)
  return first + jnp.arange(n)


def similarities(x: jax.Array, y: jax.Array) -> jax.Array:
  """Computes the products [n, m] of rows [n, P] and [m, P], in full precision.

  A TPU would round to bfloat16: an error of 0.004 in a cosine is 0.04 in a logit at
  temperature 0.1.
  """
  return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def log_denominators(
    phi1: jax.Array, phi2: jax.Array, psi1: jax.Array, psi2: jax.Array, *,
    temperature: float, axis_name: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Computes the contrast of each example with all examples of the global batch.

  For view 1: log(sum_{j != i} exp(phi1_i . psi1_j / T) + sum_j exp(phi1_i . psi2_j /
  T)); the second sum holds the positive, the first leaves out the view itself (paper,
  section 5; SimCLR, arXiv:2002.05709, equation 1). View 2 likewise.

  Args:
    phi1: [n, P], unit rows of this device, what is compared, view 1.
    phi2: [n, P], view 2.
    psi1: [n, P], unit rows, what it is compared with, view 1.
    psi2: [n, P], view 2.
    temperature: T.
    axis_name: the mapped axis that the examples are gathered over.

  Returns:
    [n] for view 1, [n] for view 2, and the share (0 to 1) of this device's examples
    whose view 1 is more like its own view 2 than like any other.
  """
  n = phi1.shape[0]
  all1, all2 = gather(psi1, axis_name), gather(psi2, axis_name)
  own = own_rows(n, all1.shape[0], axis_name)
  itself = own[:, None] == jnp.arange(all1.shape[0])

  def denominator(phi, same, other):
    negatives = jnp.where(itself, -jnp.inf, similarities(phi, same))
    across = similarities(phi, other)
    logits = jnp.concatenate([negatives, across], axis=1) / temperature
    return jax.nn.logsumexp(logits, axis=1), across

  one, across = denominator(phi1, all1, all2)
  two, _ = denominator(phi2, all2, all1)
  return one, two, jax.lax.stop_gradient(
      jnp.mean((jnp.argmax(across, axis=1) == own).astype(jnp.float32)))


def infonce_loss(
    phi1: jax.Array, phi2: jax.Array, psi1: jax.Array, psi2: jax.Array, *,
    temperature: float, beta: float, axis_name: str | None,
) -> tuple[jax.Array, jax.Array]:
  """Computes BYOL's interpolation to a contrastive loss (section 5, appendix F.4).

  L = 4 - InfoNCE(v, v') - InfoNCE(v', v), with cosines S and B examples,

    InfoNCE(v, v') = 2/B sum_i S(v_i, v'_i) - beta 2 T/B sum_i log(
        sum_{j != i} exp S(v_i, v_j)/T + sum_j exp S(v_i, v'_j)/T).

  beta = 0 is `byol_loss`; beta = 1 with psi = phi is 4 + 2 T times `ntxent_loss`.

  Args:
    phi1: [n, P], predictions (or projections) of view 1 on this device.
    phi2: [n, P], of view 2.
    psi1: [n, P], what they are compared with, of view 1. Gradients flow through it:
      the caller stops them where there shall be none.
    psi2: [n, P], of view 2.
    temperature: T, alpha in the paper.
    beta: weight of the negatives.
    axis_name: the mapped axis.

  Returns:
    This device's mean, a scalar. And the share (0 to 1) of images whose other view is
    the nearest one.
  """
  chex.assert_rank(phi1, 2)
  chex.assert_equal_shape([phi1, phi2, psi1, psi2])
  positive = regression_loss(phi1, psi2) + regression_loss(phi2, psi1)
  one, two, top1 = log_denominators(
      *map(l2_normalize, (phi1, phi2, psi1, psi2)), temperature=temperature,
      axis_name=axis_name)
  return jnp.mean(positive + beta * 2 * temperature * (one + two)), top1


def best_linear(z1: jax.Array, z2: jax.Array, goal1: jax.Array, goal2: jax.Array,
                axis_name: str | None) -> tuple[jax.Array, jax.Array]:
  """Predicts by the linear map that is best for the global batch (paper, appendix I).

  Q = (Z'Z)^-1 Z'G over both directions, with a part in 10^6 of Z'Z's mean diagonal
  added to it; no gradient goes through Q.

  Args:
    z1: [n, P], projections of view 1 on this device.
    z2: [n, P], of view 2.
    goal1: [n, P], what z1 is to predict.
    goal2: [n, P], what z2 is to predict.
    axis_name: the mapped axis.

  Returns:
    z1 Q and z2 Q, [n, P].
  """
  z, goal = jax.lax.stop_gradient(
      (jnp.concatenate([z1, z2]), jnp.concatenate([goal1, goal2])))
  sums = similarities(z.T, z.T), similarities(z.T, goal.T)
  if axis_name is not None:
    sums = jax.lax.psum(sums, axis_name)
  square, cross = sums
  ridge = 1e-6 * jnp.trace(square) / len(square)
  best = jnp.linalg.solve(square + ridge * jnp.eye(len(square)), cross)
  return similarities(z1, best.T), similarities(z2, best.T)


def ntxent_loss(
    projection1: jax.Array, projection2: jax.Array, *, temperature: float,
    axis_name: str | None,
) -> tuple[jax.Array, jax.Array]:
  """Computes SimCLR's loss (arXiv:2002.05709, equation 1), the *sum* of both views.

  SimCLR's algorithm 1 averages over 2 N views. Its authors' code sums the two views of
  an image and averages over N images, which is twice that. This is the code's.

  Args:
    projection1: [n, P], of view 1 on this device.
    projection2: [n, P], of view 2.
    temperature: T.
    axis_name: the mapped axis that negatives are gathered over.

  Returns:
    This device's mean, a scalar; 2 log(2 N - 1) by chance for N images of all
    devices. And the share (0 to 1) of images whose other view is the nearest one.
  """
  chex.assert_rank(projection1, 2)
  chex.assert_equal_shape([projection1, projection2])
  z1, z2 = l2_normalize(projection1), l2_normalize(projection2)
  one, two, top1 = log_denominators(
      z1, z2, z1, z2, temperature=temperature, axis_name=axis_name)
  positive = jnp.sum(z1 * z2, axis=-1) / temperature
  return jnp.mean(one + two - 2 * positive), top1


def queue_loss(query: jax.Array, key: jax.Array, queue: jax.Array,
               temperature: float) -> tuple[jax.Array, jax.Array]:
  """Computes MoCo's loss (arXiv:1911.05722, equation 1).

  -log(exp(q . k / T) / (exp(q . k / T) + sum_j exp(q . queue_j / T))), the mean.

  Args:
    query: [n, P], unit rows.
    key: [n, P], unit rows, each query's positive.
    queue: [K, P], unit rows, the negatives.
    temperature: T.

  Returns:
    A scalar; log(K + 1) by chance. And the share (0 to 1) of queries that are more
    like their key than like any key of the queue.
  """
  chex.assert_equal_shape([query, key])
  key, queue = jax.lax.stop_gradient((key, queue))
  positive = jnp.sum(query * key, axis=-1, keepdims=True)
  logits = jnp.concatenate([positive, similarities(query, queue)], axis=1) / temperature
  loss = jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0])
  return loss, jax.lax.stop_gradient(
      jnp.mean((jnp.argmax(logits, axis=1) == 0).astype(jnp.float32)))


def pair_loss(
    anchor: jax.Array, positive: jax.Array, weight: jax.Array, masks: jax.Array,
    log_frequency: jax.Array, *, temperature: float | jax.Array,
    axis_name: str | None,
) -> jax.Array:
  """Computes the symmetric InfoNCE of pairs; the global batch gives the negatives.

  For pair i of weight w_i, the mean of both directions of

    -log(exp(S(a_i, p_i)/T - log q_i) / sum_j exp(S(a_i, p_j)/T - log q_j)),

  where j goes over the batch without what is no negative, and q_j is how often item j
  is drawn: popular items are negatives more often, and would be pushed away (Yi et al.
  2019, "Sampling-bias-corrected neural modeling").

  Args:
    anchor: [n, P], of this device, not normalized.
    positive: [n, P], what belongs to each.
    weight: [n], above 0.
    masks: bool [2, n, B], True for what is no negative: the positives of the global
      batch for each anchor, and the anchors for each positive.
    log_frequency: [2, n], log q of the anchors and of the positives.
    temperature: T.
    axis_name: the mapped axis.

  Returns:
    This device's share of the weighted mean, a scalar: the mean over the devices is
    that of the batch. log(B) by chance.
  """
  chex.assert_rank(anchor, 2)
  chex.assert_equal_shape([anchor, positive])
  a, p = l2_normalize(anchor), l2_normalize(positive)
  n = a.shape[0]
  total = jnp.mean(weight)
  if axis_name is not None:
    total = jax.lax.pmean(total, axis_name)

  def direction(one, other, mask, log_q):
    others = gather(other, axis_name)
    logits = similarities(one, others) / temperature - gather(log_q, axis_name)
    logits = jnp.where(mask, -jnp.inf, logits)
    own = own_rows(n, others.shape[0], axis_name)
    positives = jnp.take_along_axis(logits, own[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - positives

  both = 0.5 * (direction(a, p, masks[0], log_frequency[1])
                + direction(p, a, masks[1], log_frequency[0]))
  return jnp.mean(weight * both) / total


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Computes the mean softmax cross-entropy of logits [B, K] and labels int [B]."""
  chex.assert_rank([logits, labels], [2, 1])
  chex.assert_equal_shape_prefix([logits, labels], 1)
  log_probabilities = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)
  return -jnp.mean(picked)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Computes the share (0 to 1) of examples whose largest logit is the label's."""
  return jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
