"""Checkpoints in the layout of DeepMind's BYOL come in, and nothing else does."""

import collections
import pickle
import re

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.weights import agreement
from byol_jax.weights import deepmind
from byol_jax.weights import load as weights_lib


class _Name:
  """A function or class that is pickled by this name alone."""

  def __init__(self, module, name):
    self.module, self.name = module, name

  def __call__(self):
    raise NotImplementedError


_State = collections.namedtuple('_ByolExperimentState', (
    'online_params', 'target_params', 'online_state', 'target_state', 'opt_state'))
_NEW = '0.4'


class _Pickler(pickle._Pickler):
  """Writes what dill of one version wrote, by protocol 2."""
  dispatch = dict(pickle._Pickler.dispatch)

  def __init__(self, file, version):
    super().__init__(file, 2)
    self.version = version

  def save_name(self, name):
    if self.version == _NEW or name.module.startswith('dill'):
      self.write(f'c{name.module}\n{name.name}\n'.encode())
    else:  # functions of C
      module = self.of_dill('_import_module', name.module)
      self.save_reduce(*self.of_dill('_get_attr', module, name.name))

  def of_dill(self, name, *arguments):
    return _Name('dill._dill', name), arguments

  def save(self, obj, save_persistent_id=True):
    if isinstance(obj, tuple) and len(obj) == 2 and isinstance(obj[0], _Name):
      return self.save_reduce(*obj)  # a call, from `of_dill`
    return super().save(obj, save_persistent_id)

  def save_array(self, array):
    _, (_, *rest), state = array.__reduce__()
    core = '_core' if self.version == _NEW else 'core'
    make = _Name(f'numpy.{core}.multiarray' if self.version == _NEW else
                 'numpy.core._multiarray_umath', '_reconstruct')
    arguments = _Name('numpy', 'ndarray'), *rest
    if self.version == _NEW:
      self.save_reduce(*self.of_dill('_create_array', make, arguments, state, None))
    else:
      self.save_reduce(make, arguments, state)

  def save_class(self, kind):
    if kind is np.dtype or issubclass(kind, np.dtype):
      self.write(b'cnumpy\ndtype\n')
    else:
      self.save_reduce(*self.of_dill('_create_namedtuple', kind.__name__, kind._fields,
                                     'byol.byol_experiment'))

  def save_function(self, function):
    self.save_name(_Name('_codecs', function.__name__))

  dispatch[_Name] = save_name
  dispatch[np.ndarray] = save_array
  dispatch[type] = save_class
  dispatch[type(np.dtype)] = save_class
  dispatch[type(len)] = save_function


@pytest.fixture(name='theirs', scope='module')
def _theirs():
  """haiku's own ResNet with small groups, in the place of DeepMind's ResNet-18."""
  sizes = architectures.Architecture((1, 1, 2, 1), False, (8, 8, 16, 16), 8)
  def forward(images, is_training):
    net = hk.nets.ResNet(
        sizes.blocks, num_classes=sizes.channels[-1], resnet_v2=False, bottleneck=False,
        channels_per_group=sizes.channels, use_projection=(True,) * 4,
        bn_config={'decay_rate': 0.9, 'eps': 1e-5},
        initial_conv_config={'output_channels': 8},
        logits_config={'w_init': lambda shape, dtype: jnp.eye(*shape, dtype=dtype),
                       'with_bias': False, 'name': 'logits'}, name='res_net18')
    return net(images, is_training)
  net = hk.without_apply_rng(hk.transform_with_state(forward))
  images = np.random.default_rng(0).normal(size=(3, 45, 45, 3)).astype(np.float32)
  @jax.jit
  def made():
    params, state = net.init(jax.random.PRNGKey(0), images, True)
    state = net.apply(params, state, images, True)[1]
    return params, state, net.apply(params, state, images, False)[0]
  params, state, features = made()
  params = {name: leaves for name, leaves in params.items() if 'logits' not in name}
  params['projector/linear'] = {'w': np.zeros((2, 2), np.float32)}
  tree = jax.tree.map(np.asarray, (dict(params), dict(state)))
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet18', sizes)
    yield images, *tree, np.asarray(features)


def checkpoint(path, params, state, version=_NEW, step=5):
  zeros = jax.tree.map(np.zeros_like, params)
  content = {'experiment_state': _State(params, zeros, state, state, ()), 'step': np.array(step),
             'rng': np.zeros(2, np.uint32)}
  with open(path, 'wb') as f:
    _Pickler(f, version).dump(content)
  return str(path)


@pytest.mark.parametrize('version', [_NEW, '0.3.2'])
def test_an_encoder_comes_in(theirs, tmp_path, version, caplog):
  images, params, state, features = theirs
  path = checkpoint(tmp_path / 'a.pkl', params, state, version)
  weights = weights_lib.load(path, 'online')
  assert weights.step == 5 and weights.config.network.padding == 'same'
  assert weights.config.data.image_size == 224
  ours = agreement.features(weights, images.transpose(0, 3, 1, 2))
  np.testing.assert_allclose(ours, features, rtol=1e-4, atol=1e-5)
  assert 'CC BY-NC' in caplog.text
  _, target, _, _ = deepmind.read(path, 'target')
  assert not target['params']['encoder/~/initial_conv']['w'].any()


def test_what_dill_itself_writes(theirs, tmp_path):
  dill = pytest.importorskip('dill', reason='pip install dill')
  images, params, state, features = theirs
  content = {'experiment_state': _State(params, params, state, state, ()),
             'step': np.int64(7), 'rng': np.zeros(2, np.uint32)}
  path = tmp_path / 'a.pkl'
  path.write_bytes(dill.dumps(content, protocol=2, byref=False))
  weights = weights_lib.load(str(path), 'target')
  ours = agreement.features(weights, images.transpose(0, 3, 1, 2))
  np.testing.assert_allclose(ours, features, rtol=1e-4, atol=1e-5)
  assert weights.step == 7


def test_what_is_no_checkpoint(theirs, tmp_path):
  _, params, state, _ = theirs
  path = checkpoint(tmp_path / 'a.pkl', params, state)
  whole = (tmp_path / 'a.pkl').read_bytes()
  def refused(data, message):
    (tmp_path / 'b.pkl').write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
      weights_lib.load(str(tmp_path / 'b.pkl'), None, 'init_from')
    assert re.fullmatch("config key init_from is '.*b.pkl': it [^\n]*", str(error.value))
  refused(whole[:-1], 'cut short')
  refused(b'', 'it is empty')
  refused(b'PK' + bytes(40), 'it is of PyTorch: .*, convert it: import torch')
  refused(pickle.dumps({'a': 1}, 2), 'no experiment_state')
  refused(pickle.dumps([1], 2), 'no experiment_state')
  refused(pickle.dumps(print, 2), 'it names .* nothing in it was executed')
  other = {name.replace('res_net18', 'vgg'): leaves for name, leaves in params.items()}
  checkpoint(tmp_path / 'c.pkl', other, {})
  refused((tmp_path / 'c.pkl').read_bytes(), 'its encoder is vgg, not a ResNet')
  with pytest.raises(UserError, match='no such file'):
    deepmind.read(str(tmp_path / 'none.pkl'), 'online')
  assert path
