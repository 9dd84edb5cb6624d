"""Checks features and labels before a classifier is fitted to them."""

from __future__ import annotations

import numpy as np

from byol_jax.errors import UserError

_LARGEST = 1e15  # sums of squares of larger ones leave float32


def check_labelled(features: np.ndarray, labels: np.ndarray, num_classes: int,
                   what: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns float32 features [N, D] and int32 labels [N], checked.

  Args:
    features: [N, D].
    labels: [N], in [0, num_classes).
    num_classes: number of classes.
    what: the kind of images, for the message: 'training' or 'test'.

  Returns:
    The arrays.

  Raises:
    UserError: no or unequal numbers of rows, non-finite or huge features, labels
      out of range.
  """
  features = np.asarray(features, np.float32)
  labels = np.asarray(labels)
  if features.ndim != 2 or len(features) == 0:
    raise UserError(f'the {what} features must be a non-empty [N, D] array, not '
                    f'of shape {list(features.shape)}')
  if labels.shape != (len(features),):
    raise UserError(f'{len(features)} {what} features, but labels of shape '
                    f'{list(labels.shape)}')
  check_finite(features, what)
  if labels.min() < 0 or labels.max() >= num_classes:
    raise UserError(f'{what} labels lie in [{labels.min()}, {labels.max()}], '
                    f'which does not fit {num_classes} classes')
  return features, labels.astype(np.int32)


def check_finite(features: np.ndarray, what: str = 'training') -> None:
  """Raises UserError if features [..., D] are not finite, or huge."""
  features = features.reshape(-1, features.shape[-1])
  bad = np.flatnonzero(~(np.abs(features) < _LARGEST).all(axis=1))  # or NaN
  if len(bad):
    raise UserError(
        f'{len(bad)} of {len(features)} {what} features are not finite, or above '
        f'{_LARGEST:g} (first: image {bad[0]}): the encoder has diverged; use an '
        'earlier checkpoint or lower the learning rate')


def check_classes(labels: np.ndarray) -> None:
  """Raises UserError unless the labels [N] name two classes or more."""
  if len(np.unique(labels)) < 2:
    raise UserError('the training images are of one class only: every encoder would '
                    'be right; name data with at least two (one sub-folder each)')
