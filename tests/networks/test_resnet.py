"""The ResNets: parameter counts, and torchvision's forward pass."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.networks import architectures
from byol_jax.networks import norm
from byol_jax.networks import resnet

TINY = architectures.Architecture((1, 1), False, (8, 16), 8)


def _net(architecture, **kwargs):
  if isinstance(architecture, str):
    architecture = architectures.ARCHITECTURES[architecture]
  def forward(images, is_training=True):
    return resnet.ResNet(architecture, norm=norm.BatchNorm, **kwargs)(
        images, is_training)
  return hk.without_apply_rng(hk.transform_with_state(forward))


def _shapes(architecture, side=64, **kwargs):
  """Shapes of parameters and state; nothing is computed."""
  net = _net(architecture, **kwargs)
  return jax.eval_shape(net.init, jax.random.PRNGKey(0),
                        jnp.zeros((2, side, side, 3)))


def _count(shapes):
  return sum(leaf.size for leaf in jax.tree.leaves(shapes[0]))


# ------------------------------------------------------------------- shapes
@pytest.mark.parametrize('name, count', [
    # torchvision's, less fc
    ('resnet18', 11_176_512), ('resnet34', 21_284_672), ('resnet50', 23_508_032),
    ('resnet101', 42_500_160), ('resnet152', 58_143_808)])
def test_parameter_counts_are_torchvisions(name, count):
  assert _count(_shapes(name)) == count


def test_resnet200_is_built():
  params, _ = _shapes('resnet200')
  convs = [m for m in params if 'conv' in m and 'shortcut' not in m]
  assert len(convs) == 199  # and the classifier would be the 200th layer
  assert 62e6 < _count((params,)) < 63e6  # 63M in the paper's table 1


def test_width_multiplies_every_layer():
  """The counts in millions of the paper's table 1: 94, 211 and 250."""
  for name, width, millions in (('resnet50', 2, 94), ('resnet50', 3, 211),
                                ('resnet200', 2, 250)):
    params, _ = _shapes(name, width=width)
    assert round(_count((params,)) / 1e6) == millions
  params, _ = _shapes('resnet50', width=2)
  assert params['encoder/~/initial_conv']['w'].shape == (7, 7, 3, 128)
  last = params['encoder/~/block_group_3/~/block_2/~/conv_2']['w']
  assert last.shape == (1, 1, 1024, 4096)
  half, _ = _shapes('resnet18', width=0.5)
  assert half['encoder/~/initial_conv']['w'].shape == (7, 7, 3, 32)


@pytest.mark.parametrize('padding', ['torch', 'same'])
@pytest.mark.parametrize('stem, kernel, reduction', [
    ('imagenet', 7, 32), ('small', 3, 8), ('half', 3, 16)])
def test_stems(stem, kernel, reduction, padding):
  net = _net('resnet18', stem=stem, padding=padding)
  images = jnp.zeros((2, 64, 64, 3))
  seen = {}
  def spy(next_f, args, kwargs, context):
    out = next_f(*args, **kwargs)
    if context.method_name == '__call__':
      seen[context.module.module_name] = out.shape
    return out
  def init(key):
    with hk.intercept_methods(spy):
      return net.init(key, images)
  params, _ = jax.eval_shape(init, jax.random.PRNGKey(0))
  assert params['encoder/~/initial_conv']['w'].shape == (kernel, kernel, 3, 64)
  assert seen['encoder/~/block_group_3'] == (
      2, 64 // reduction, 64 // reduction, 512)
  assert seen['encoder'] == (2, 512)
  smallest = architectures.minimum_image_size(architectures.ARCHITECTURES['resnet18'], stem)
  assert smallest == reduction


def test_where_shortcuts_project():
  """torchvision: where the shape changes; DeepMind: in every group."""
  def projected(*args, **kwargs):
    params, _ = _shapes(*args, **kwargs)
    return sorted(m.split('/')[2] for m in params
                  if m.endswith('shortcut_conv'))
  groups = [f'block_group_{i}' for i in range(4)]
  assert projected('resnet18') == groups[1:]
  assert projected('resnet18', padding='same') == groups
  assert projected('resnet50') == projected('resnet50', padding='same') == groups


@pytest.mark.parametrize('name, size', [('resnet18', 512), ('resnet50', 2048)])
def test_feature_sizes(name, size):
  net = _net(name)
  params, state = _shapes(name)
  features, _ = jax.eval_shape(net.apply, params, state,
                               jnp.zeros((2, 64, 64, 3)))
  assert features.shape == (2, size) and features.dtype == jnp.float32


# ------------------------------------------------------------------- values
def _initial(architecture, **kwargs):
  """A tiny network with its own initial values, and images."""
  net = _net(architecture, stem='small', **kwargs)
  images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)),
                       jnp.float32)
  params, state = jax.jit(net.init)(jax.random.PRNGKey(1), images)
  return net, params, state, images


def test_initial_values_are_haikus():
  """Truncated normals of 1/sqrt(fan_in), not He's; every gamma 1."""
  _, params, _, _ = _initial(architectures.Architecture((1,), False, (64,), 64))
  w = np.asarray(params['encoder/~/block_group_0/~/block_0/~/conv_1']['w'])
  fan_in = 9 * 64
  assert np.abs(w).max() <= 2 / fan_in**0.5
  assert w.std() * fan_in**0.5 == pytest.approx(0.88, abs=0.01)
  for module in params:
    if 'norm' in module:
      np.testing.assert_array_equal(params[module]['scale'], 1)
      np.testing.assert_array_equal(params[module]['offset'], 0)


@pytest.mark.parametrize('architecture', [
    TINY, architectures.Architecture((2,), True, (16,), 8)])
def test_zero_last_gamma_makes_each_block_its_shortcut(architecture):
  net, params, state, images = _initial(architecture, last_gamma=0.0)
  last = 2 if architecture.bottleneck else 1
  for module in params:
    if 'norm' in module:
      is_last = module.endswith(f'/batchnorm_{last}')
      np.testing.assert_array_equal(params[module]['scale'], 0 if is_last else 1)
      np.testing.assert_array_equal(params[module]['offset'], 0)
  # whatever the residual's weights are
  other = {m: ({'w': -2 * p['w']} if '/conv_' in m else p)
           for m, p in params.items()}
  apply = jax.jit(lambda p: net.apply(p, state, images)[0])
  np.testing.assert_array_equal(apply(params), apply(other))
  assert np.abs(apply(params)).max() > 0.1


@pytest.mark.parametrize('padding', ['torch', 'same'])
@pytest.mark.parametrize('size', [7, 8, 9, 16])
def test_both_forms_of_max_pooling_are_equal(size, padding, monkeypatch):
  """The one for TPUs, which the CPU does not choose, and the other."""
  x = jax.random.normal(jax.random.PRNGKey(size), (2, size, size, 3))
  def value_and_gradient():
    return jax.value_and_grad(
        lambda x: jnp.sum(jnp.sin(resnet._max_pool(x, padding))))(x)
  value, gradient = value_and_gradient()
  monkeypatch.setattr(jax.lax, 'platform_dependent',
                      lambda x, tpu, default: tpu(x))
  of_tpu, gradient_of_tpu = value_and_gradient()
  assert jnp.any(gradient != 0)
  np.testing.assert_allclose(value, of_tpu, rtol=1e-6)
  np.testing.assert_allclose(gradient, gradient_of_tpu, rtol=1e-6)


def test_same_padding_is_another_function_at_stride_2():
  """Same weights, both paddings: equal in the first group, not in the second.

  The extra shortcut of the 'same' network's first group is made the identity.
  """
  images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)),
                       jnp.float32)
  shapes, state_shapes = _shapes(TINY, stem='small', padding='same')
  shortcut = 'encoder/~/block_group_0/~/block_0/~/shortcut_'
  channels = np.zeros((1, 1, 1, 8), np.float32)
  params = _random_params(shapes) | {
      shortcut + 'conv': {'w': jnp.eye(8)[None, None]},
      shortcut + 'batchnorm': {'scale': channels + 1, 'offset': channels}}
  state = _random_statistics(state_shapes) | {
      shortcut + 'batchnorm/~/mean_ema': _average(channels),
      shortcut + 'batchnorm/~/var_ema': _average(channels + 1 - 1e-5)}

  def groups(padding):
    net = _net(TINY, stem='small', padding=padding)
    seen = {}
    def spy(next_f, args, kwargs, context):
      out = next_f(*args, **kwargs)
      if context.method_name == '__call__':
        seen[context.module.module_name.split('/')[-1]] = out
      return out
    def apply(params, state):
      with hk.intercept_methods(spy):
        net.apply(params, state, images, False)
      return seen['block_group_0'], seen['block_group_1']
    return jax.jit(apply)(params, state)

  difference = [np.abs(a - b).max() / np.abs(a).max()
                for a, b in zip(groups('torch'), groups('same'))]
  assert difference[0] < 1e-5 and difference[1] > 0.05


def _average(x):
  return {'average': jnp.asarray(x, jnp.float32),
          'hidden': jnp.asarray(x, jnp.float32), 'counter': jnp.int32(1)}


def _random_statistics(state, seed=0):
  """Running averages like those of a trained network."""
  rng = np.random.default_rng(seed)
  def fill(module, leaf):
    shape = leaf['average'].shape
    if module.endswith('mean_ema'):
      return _average(0.2 * rng.standard_normal(shape))
    return _average(rng.uniform(0.5, 1.5, shape))
  return {module: fill(module, leaf) for module, leaf in state.items()}


def _random_params(shapes, seed=0):
  """He-scaled weights, so that activations keep their size; scales near 1."""
  rng = np.random.default_rng(seed)
  def fill(name, shape):
    if name == 'w':
      return rng.standard_normal(shape) * (2 / np.prod(shape[:-1]))**0.5
    return (name == 'scale') * 0.7 + 0.2 * rng.standard_normal(shape)
  return {module: {name: jnp.asarray(fill(name, leaf.shape), jnp.float32)
                   for name, leaf in leaves.items()}
          for module, leaves in shapes.items()}


# ------------------------------------------------------- against torchvision
def _torch_resnet(blocks, bottleneck):
  """torchvision's resnet without fc, restated; its names of parameters.

  Kept in plain torch: torchvision pins a torch version, and the network of
  2016 does not change.
  """
  import torch
  from torch import nn

  class Block(nn.Module):

    def __init__(self, inputs, width, stride):
      super().__init__()
      outputs = width * 4 if bottleneck else width
      shapes = ([(inputs, width, 1, 1), (width, width, 3, stride),
                 (width, outputs, 1, 1)] if bottleneck else
                [(inputs, width, 3, stride), (width, width, 3, 1)])
      self.depth = len(shapes)
      for i, (a, b, kernel, s) in enumerate(shapes, 1):
        setattr(self, f'conv{i}', nn.Conv2d(a, b, kernel, s, kernel // 2,
                                            bias=False))
        setattr(self, f'bn{i}', nn.BatchNorm2d(b))
      self.downsample = None
      if stride != 1 or inputs != outputs:
        self.downsample = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False),
            nn.BatchNorm2d(outputs))

    def forward(self, x):
      out = x
      for i in range(1, self.depth + 1):
        out = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(out))
        if i < self.depth:
          out = torch.relu(out)
      return torch.relu(
          out + (x if self.downsample is None else self.downsample(x)))

  class ResNet(nn.Module):

    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
      self.bn1 = nn.BatchNorm2d(64)
      self.maxpool = nn.MaxPool2d(3, 2, 1)
      inputs = 64
      for i, depth in enumerate(blocks):
        layer = []
        for j in range(depth):
          layer.append(Block(inputs, 64 * 2**i, 2 if i > 0 and j == 0 else 1))
          inputs = 64 * 2**i * (4 if bottleneck else 1)
        setattr(self, f'layer{i + 1}', nn.Sequential(*layer))

    def forward(self, x):
      x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
      for i in range(len(blocks)):
        x = getattr(self, f'layer{i + 1}')(x)
      return x.mean((2, 3))

  return ResNet()


def _torch_name(module):
  """encoder/~/block_group_0/~/block_1/~/conv_2 -> layer1.1.conv3."""
  parts = [p for p in module.split('/')[1:] if p != '~']
  if parts[0].startswith('initial'):
    return {'initial_conv': 'conv1', 'initial_batchnorm': 'bn1'}[parts[0]]
  group, block = (int(p.split('_')[-1]) for p in parts[:2])
  kind = {'shortcut_conv': 'downsample.0', 'shortcut_batchnorm': 'downsample.1'}
  layer = kind.get(parts[2])
  if layer is None:
    name, index = parts[2].split('_')
    layer = {'conv': 'conv', 'batchnorm': 'bn'}[name] + str(int(index) + 1)
  return f'layer{group + 1}.{block}.{layer}'


def _state_dict(params, state):
  """Our parameters and running averages in torchvision's layout, as numpy."""
  out = {}
  for module, leaves in params.items():
    for name, value in leaves.items():
      value = np.array(value)  # torch wants it writable
      if name == 'w':
        out[f'{_torch_name(module)}.weight'] = value.transpose(3, 2, 0, 1)
      else:
        kind = {'scale': 'weight', 'offset': 'bias'}[name]
        out[f'{_torch_name(module)}.{kind}'] = value.reshape(-1)
  for module, leaves in state.items():
    module, _, name = module.rsplit('/', 2)
    kind = {'mean_ema': 'running_mean', 'var_ema': 'running_var'}[name]
    out[f'{_torch_name(module)}.{kind}'] = np.array(leaves['average']).reshape(-1)
  return out


@pytest.mark.parametrize('name', ['resnet18', 'resnet50'])
def test_features_equal_torchvisions_forward_pass(name):
  torch = pytest.importorskip(
      'torch', reason='the comparison with torch needs the extra [torch]')
  architecture = architectures.ARCHITECTURES[name]
  shapes, state_shapes = _shapes(name)
  params = _random_params(shapes)
  state = _random_statistics(state_shapes)
  images = np.random.default_rng(2).standard_normal((2, 64, 64, 3)).astype('f4')
  features = jax.jit(functools.partial(_net(name).apply, is_training=False))(
      params, state, images)[0]

  theirs = _torch_resnet(architecture.blocks, architecture.bottleneck).eval()
  weights = {k: torch.from_numpy(np.ascontiguousarray(v))
             for k, v in _state_dict(params, state).items()}
  missing, unexpected = theirs.load_state_dict(weights, strict=False)
  assert not unexpected
  assert all(key.endswith('num_batches_tracked') for key in missing)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
  assert expected.std() > 0.1 and np.isfinite(expected).all()
  np.testing.assert_allclose(features, expected, rtol=1e-4,
                             atol=1e-4 * np.abs(expected).max())
