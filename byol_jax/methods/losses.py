"""The objective (paper, section 3.1) and the probe's loss."""

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
