"""The names by which checkpoints hold a tree's leaves."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from byol_jax.devices import trees


class State(NamedTuple):
  params: Any
  opt_state: Any
  nothing: Any = None


def test_names_never_change():
  params = {'encoder/~/conv': {'w': np.zeros(2), 'b': np.ones(1)}}
  state = State(params, optax.sgd(.1, momentum=.9).init(params))
  named = trees.named(state)
  assert list(named) == [  # as version 0.1 wrote them
      'params.encoder/~/conv.b', 'params.encoder/~/conv.w',
      'opt_state.0.trace.encoder/~/conv.b', 'opt_state.0.trace.encoder/~/conv.w']
  assert all(a is b for a, b in zip(named.values(), jax.tree.leaves(state), strict=True))
  assert list(trees.named([1, (2, {'a': 3})])) == ['0', '1.0', '1.1.a']


def test_two_leaves_of_one_name_are_refused():
  with pytest.raises(ValueError, match='the same name'):
    trees.named({'a': {'b': 1}, 'a.b': 2})


def test_a_tree_is_filled_by_name_in_its_own_order():
  like = State({'b/x': {'w': np.zeros(2, np.float32)}, 'a/y': {'w': np.ones(1)}}, ())
  assert trees.spec(like) == {'params.a/y.w': ((1,), 'float64'),
                              'params.b/x.w': ((2,), 'float32')}
  assert trees.nested(trees.named(like)) == {'params': dict(like.params)}
  filled = trees.filled(like, {'params.b/x.w': 'new'})
  assert filled.params['b/x']['w'] == 'new'
  assert filled.params['a/y']['w'] is like.params['a/y']['w']  # none was given
