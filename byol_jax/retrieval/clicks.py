"""Makes an event log of labelled images, with noise that is known: for demonstrations.

Real catalogues come with a log of their own. Here a visitor looks at an image, and half
a minute later at another one of its class; a share of the second clicks goes anywhere.
"""

from __future__ import annotations

import numpy as np

from byol_jax.retrieval.pairs import Events

_START, _DAYS = 1_767_225_600.0, 30  # 2026-01-01, UTC
_BETWEEN = 30.0  # seconds


def make(labels: np.ndarray, sessions: int, noise: float, seed: int) -> Events:
  """Makes the events of some sessions, two clicks each.

  Args:
    labels: int [N], the classes of the images, which are the items; one that is alone
      in its class is clicked twice.
    sessions: the number of sessions.
    noise: the share (0 to 1) of second clicks on an image of any class.
    seed: the seed.

  Returns:
    2 * sessions events in the order of time of the sessions.
  """
  rng = np.random.default_rng([seed, 23])  # not the order of the training
  of_class = np.argsort(labels, kind='stable')
  ends = np.cumsum(np.bincount(labels))
  first = rng.integers(len(labels), size=sessions)
  is_noise = rng.random(sessions) < noise
  label = labels[first]
  low = np.where(is_noise | (label == 0), 0, ends[label - 1])
  high = np.where(is_noise, len(labels), ends[label])
  slot = rng.integers(low, high)
  # nobody clicks on what is shown already
  following = np.where(slot + 1 < high, slot + 1, low)
  second = of_class[np.where(of_class[slot] == first, following, slot)]
  start = _START + np.sort(rng.uniform(0, _DAYS * 86_400, sessions))
  return Events(
      np.repeat(np.arange(sessions), 2), np.stack([first, second], 1).reshape(-1),
      np.ones(2 * sessions), (start[:, None] + [0, _BETWEEN]).reshape(-1))
