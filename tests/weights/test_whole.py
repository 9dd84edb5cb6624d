"""The networks of a run with their heads, as its checkpoint has them."""

import json

import jax
import numpy as np
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.run import checkpoint
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load
from byol_jax.weights import whole


@pytest.fixture(name='run')
def _run(tmp_path, monkeypatch):
  """A run of the smallest network; its arrays are numbered in haiku's order."""
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8',
                      architectures.Architecture((1,), False, (8,), 8))
  config = keys_lib.base().unlock()
  config.network.update(name='resnet8', stem='small', precision='float32',
                        projector_hidden_size=4, predictor_hidden_size=4,
                        projection_size=3)
  config.data.image_size = 8
  model = build.make_model(config, 0, None)
  networks = []
  for network in (model.online, model.target):
    shapes = jax.eval_shape(
        lambda network=network: network.init(
            jax.random.PRNGKey(0), np.zeros((2, 8, 8, 3), np.float32), True))
    leaves, tree = jax.tree.flatten(shapes)
    networks.append(jax.tree.unflatten(tree, [
        np.full(leaf.shape, k + 100 * len(networks), leaf.dtype)
        for k, leaf in enumerate(leaves)]))
  (tmp_path / 'checkpoints').mkdir()
  (tmp_path / 'config.json').write_text(json.dumps(config.to_dict()))
  opened = checkpoint.Checkpoints(tmp_path / 'checkpoints')
  (online, online_state), (target, target_state) = networks
  opened.save(10, {'online_params': online, 'online_state': online_state,
                   'target_params': target, 'target_state': target_state,
                   'opt_state': {'m': np.zeros(3, np.float32)}},
              {'config': config.to_dict()})
  opened.close()
  return tmp_path, networks


def test_both_networks_are_read_with_their_heads(run):
  folder, networks = run
  found = whole.read(load.load(str(folder), 'online'))
  for ours, theirs in zip(found, networks):
    assert jax.tree.structure(ours) == jax.tree.structure(tuple(theirs))
    jax.tree.map(np.testing.assert_array_equal, ours, tuple(theirs))
  (online, _), (target, _) = found
  assert any('predictor' in module for module in online)
  assert not any('predictor' in module for module in target)


def test_what_has_no_heads_is_refused(run):
  folder, _ = run
  path = str(folder / f'encoder{find.SUFFIX}')
  load.save(load.load(str(folder), 'online'), path)
  with pytest.raises(UserError, match='lacks the heads; name the WORKDIR'):
    whole.read(load.load(path, 'online'))
