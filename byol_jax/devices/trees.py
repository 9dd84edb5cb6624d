"""The leaves of a tree by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def spec(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
  """Returns shape and dtype of each leaf, by name."""
  return {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
          for name, leaf in named(tree).items()}


def filled(like: Any, leaves: Mapping[str, Any]) -> Any:
  """Returns a tree with other leaves, by name; those that are missing stay.

  The order is that of `like`: digests and compiled functions depend on it.
  """
  return jax.tree.unflatten(jax.tree.structure(like), [
      leaves.get(name, leaf) for name, leaf in named(like).items()])


def nested(leaves: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
  """Returns {kind: {module: {name: leaf}}} of leaves by name: `named` undone."""
  trees: dict[str, dict[str, dict[str, Any]]] = {}
  for name, leaf in leaves.items():
    kind, module, last = name.split('.', 2)
    trees.setdefault(kind, {}).setdefault(module, {})[last] = leaf
  return trees


def named(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree by name, such as 'online_params.projector/linear.w'.

  Checkpoints hold these names, so they must never change.

  Returns:
    {name: leaf}, in the order of jax.tree.leaves.

  Raises:
    ValueError: two leaves have the same name.
  """
  paths_and_leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  leaves = {jax.tree_util.keystr(path, simple=True, separator='.'): leaf
            for path, leaf in paths_and_leaves}
  if len(leaves) != len(paths_and_leaves):
    raise ValueError('two leaves of the state have the same name')
  return leaves
