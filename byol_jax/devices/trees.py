"""The leaves of a tree by name."""

from __future__ import annotations

from typing import Any

import jax


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
