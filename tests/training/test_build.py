"""What a config builds: views, rates and networks, each from its own keys."""

import math
import os
import pathlib

import jax
from jax.extend import core
import numpy as np
import pytest

from byol_jax.config import command
from byol_jax.config import keys as keys_lib
from byol_jax.config import schedule
from byol_jax.devices import mapped
from byol_jax.methods.method import Method
from byol_jax.networks import architectures
from byol_jax.training import batch as batch_lib
from byol_jax.training import build

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name='config')
def _config(monkeypatch):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8',
                      architectures.Architecture((1,), False, (8,), 8))
  config = keys_lib.base().unlock()
  config.data.update(image_size=8, eval_image_size=0, center_share=0.9)
  config.network.update(
      name='resnet8', stem='half', precision='float32', projector_hidden_size=6,
      predictor_hidden_size=7, projection_size=5)
  config.train.update(batch_size=32, epochs=10.0, warmup_epochs=2.0,
                      base_learning_rate=0.4, tau_base=0.97)
  return config


def test_every_key_of_a_view_counts(config):
  """And the specification can be compared and hashed: jit takes it as static."""
  before = build.view_spec(config)
  assert hash(before) == hash(build.view_spec(config))
  for number, view in enumerate((config.augment.view1, config.augment.view2)):
    for key, value in view.to_dict().items():
      with view.ignore_type():  # of randaugment, which is a whole number, and of texts
        view[key] = (0.3, 0.7) if key == 'blur_sigma' else 0.123
      recipe = build.view_spec(config).recipes[number]
      assert getattr(recipe, key) == ((0.3, 0.7) if key == 'blur_sigma' else 0.123)
      with view.ignore_type():
        view[key] = value
      assert recipe == before.recipes[number]._replace(**{key: getattr(recipe, key)})
  assert build.view_spec(config) == before


def test_the_crops_and_colours_of_the_section_data(config):
  config.data.update(image_size=12, crop_area=(0.2, 0.9), crop_aspect=(0.5, 2.0),
                     mean=(.1, .2, .3), std=(.4, .5, .6), crop_sampler='tf')
  spec = build.view_spec(config)
  assert (spec.image_size, spec.area, spec.aspect, spec.mean, spec.std) == (
      12, (0.2, 0.9), (0.5, 2.0), (.1, .2, .3), (.4, .5, .6))
  assert spec.sampler == spec.crop.sampler == 'tf'


@pytest.mark.parametrize('of_the_run, asked, size', [
    (0, 0, 8), (12, 0, 12), (12, 16, 16)])
def test_evaluated_images(config, of_the_run, asked, size):
  config.data.eval_image_size = of_the_run
  spec, share = build.eval_view(config, asked)
  assert (spec.image_size, share) == (size, 0.9)
  assert build.eval_view(config, asked, 0.5)[1] == 0.5


def test_the_rates_are_those_of_the_paper(config):
  """320 images in batches of 32: 100 steps, 20 of warm-up; appendix, section J."""
  rate, ema, _ = build.make_optimizer(config, 320)
  peak = 0.4 * 32 / 256
  for step, expected in ((0, 0), (10, peak / 2), (20, peak), (60, peak / 2), (100, 0)):
    assert float(rate(step)) == pytest.approx(expected, abs=1e-8)
  for step in (0, 50, 100):
    tau = 1 - (1 - 0.97) * (np.cos(np.pi * step / 100) + 1) / 2
    assert 1 - float(ema(step)) == pytest.approx(tau, abs=1e-6)


@pytest.mark.parametrize('classes, width, features', [(4, 1, 8), (0, 2, 16)])
def test_a_program(config, classes, width, features):
  """Nothing is computed: shapes alone."""
  config.network.width = width
  program = build.build(schedule.resolve(config, 320), 320, classes)
  assert isinstance(program.method, Method) and program.spec.image_size == 8
  assert program.unmapped_model.feature_size == features
  state = jax.eval_shape(program.init)
  shapes = {module: leaves['w'].shape for module, leaves in state.online_params.items()
            if 'w' in leaves}
  assert shapes['projector/linear'] == (features, 6)
  assert shapes['predictor/linear'] == (5, 7)
  assert not any(module.startswith('predictor') for module in state.target_params)
  biases = [x for x in jax.tree.leaves(state.probe_params) if x.shape == (4,)]
  assert len(biases) == bool(classes)


def test_a_jigsaw(config):
  """Without its weight there is none; evaluations never have one."""
  config.method.update(name='moco', queue=64)
  config.augment.jigsaw.update(size=27, tile=8, area=(0.5, 0.9))
  assert build.view_spec(config).jigsaw is None
  config.method.jigsaw = 0.5
  config.train.tau_end = config.train.tau_base
  program = build.build(schedule.resolve(config, 320), 320, 0)
  assert program.spec.jigsaw == program.spec.crop.jigsaw == (27, 8, (0.5, 0.9))
  assert program.eval_spec.jigsaw is None
  shapes = dict(
      views=((4, 2, 8, 8, 3), np.uint8), jigsaw=((4, 27, 27, 3), np.uint8),
      examples=((4,), np.int32))
  batch = {name: jax.ShapeDtypeStruct(*x) for name, x in shapes.items()}
  views = jax.eval_shape(
      program.make_views, {'key': jax.ShapeDtypeStruct((2,), np.uint32)},
      jax.ShapeDtypeStruct((), np.int32), batch)
  assert views.tiles.shape == (4, 9, 8, 8, 3)
  state = jax.eval_shape(program.init)
  assert any(module.startswith('jigsaw') for module in state.online_params)


def _arithmetic(jaxpr) -> float:
  """Counts the operations of all products, as if padding were pixels."""
  total = 0.0
  for equation in jaxpr.eqns:
    made = 2 * math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == 'conv_general_dilated':
      # a gradient's zeros between pixels are no arithmetic
      weight, place = equation.invars[1].aval.shape, equation.params['dimension_numbers']
      total += made * math.prod(weight) / weight[place.rhs_spec[0]] / math.prod(
          equation.params['lhs_dilation'])
    elif equation.primitive.name == 'dot_general':
      (summed, _), _ = equation.params['dimension_numbers']
      total += made * math.prod(equation.invars[0].aval.shape[i] for i in summed)
    total += sum(equation.params.get('length', 1) * _arithmetic(inner)
                 for inner in core.jaxprs_in_params(equation.params))
  return total


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
@pytest.mark.parametrize('name, forwards', [
    ('imagenet_r50', 8), ('simclr_r50', 6), ('moco_r50', 4), ('simsiam_r50', 6),
    # a tile has (64 / 224)^2 of an image's pixels
    ('infomin_r50', 4 + 3 * 9 * (64 / 224)**2)])
def test_the_arithmetic_of_a_step(name, forwards):
  """Forward passes of 8.2 GFLOP an image; a backward pass is two of them."""
  config = command.parse(['byol_jax.main', f'--config={ROOT}/configs/{name}.py',
                          '--config.train.batch_size=16']).config
  config = schedule.resolve(config, 1_281_167)
  program = build.build(config, 1_281_167, 1000)
  shapes = batch_lib.streamed(
      (1, 1, 16), 2, 224, True, program.spec.jigsaw.size if program.spec.jigsaw else 0)
  step = jax.make_jaxpr(mapped.pmap_update(program.update, jax.devices()[:1]))(
      jax.eval_shape(program.init),
      {'key': jax.ShapeDtypeStruct((2,), np.uint32)}, shapes)
  counted = _arithmetic(step.jaxpr) / 16 / 1e9
  print(f'{name}: {counted:.1f} GFLOP an image')
  assert counted == pytest.approx(8.2 * forwards, rel=0.03)
