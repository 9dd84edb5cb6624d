"""What is automatic in a config, and the steps of a run."""

import os

import pytest

from byol_jax.config import command
from byol_jax.config import schedule
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib
from byol_jax.training import build

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load(path, *overrides):
  return command.parse(['byol_jax.main', f'--config={path}', *overrides]).config


def test_imagenet_presets_have_the_papers_steps():
  for epochs, steps in ((40, 12511), (100, 31278), (300, 93835), (1000, 312784)):
    config = load(f'{ROOT}/configs/imagenet_r50.py:{epochs}')
    assert schedule.total_steps(config, 1281167) == steps
    assert schedule.warmup_steps(config, 1281167) == 3127


def test_automatic_schedule_grows_with_few_images():
  config = load(f'{ROOT}/configs/folder.py', '--config.data.path=/photos')
  epochs = {n: schedule.resolve(config, n).train.epochs
            for n in (1000, 50000, 1281167)}
  assert epochs == {1000: 1000, 50000: 506, 1281167: 100}
  paper = config.copy_and_resolve_references()
  paper.train.batch_size = 4096
  resolved = schedule.resolve(paper, 1281167)
  assert resolved.train.base_learning_rate == 0.45
  assert resolved.train.tau_base == pytest.approx(0.984, abs=2e-3)


def test_tau_is_scaled_to_the_batch_where_it_is_asked_for():
  path = f'{ROOT}/configs/imagenet_r50.py'
  def tau_at_0(*overrides):
    config = load(path, *overrides)
    _, ema_rate, _ = build.make_optimizer(config, 1281167)
    return 1 - float(ema_rate(0))
  large = '--config.train.batch_size=16384'
  assert tau_at_0(large) == pytest.approx(0.996, abs=1e-6)
  scaled = '--config.train.tau_batch_size=4096'
  assert tau_at_0(large, scaled) == pytest.approx(0.996**4, abs=1e-6)
  assert tau_at_0(scaled) == pytest.approx(0.996, abs=1e-6)
  with pytest.raises(UserError, match='train.tau_base is None'):
    load(f'{ROOT}/configs/folder.py', '--config.data.path=/photos', scaled)


def test_too_few_images_for_a_batch():
  config = load(f'{ROOT}/configs/fashion.py')
  with pytest.raises(UserError, match='has 10 images.*batch_size=8'):
    schedule.resolve(config, 10)


@pytest.mark.parametrize('wanted,platform,precision', [
    ('auto', 'cpu', 'float32'), ('auto', 'tpu', 'bfloat16'), ('auto', 'gpu', 'bfloat16'),
    ('bfloat16', 'cpu', 'bfloat16'), ('float32', 'tpu', 'float32')])
def test_precision_follows_the_machine_where_it_is_automatic(wanted, platform,
                                                             precision):
  assert schedule.precision(wanted, platform) == precision
  config = load(f'{ROOT}/configs/fashion.py', f'--config.network.precision={wanted}')
  resolved = schedule.resolve(config, 10_000, platform)
  assert resolved.network.precision == precision
  assert None not in files_lib.flatten(resolved).values()
  assert config.network.precision == wanted


def test_temperature_and_layers_are_the_methods_own():
  for method, temperature, layers in (
      ('byol', 0.1, 2), ('simclr', 0.1, 3), ('moco', 0.2, 2), ('simsiam', 0.1, 3)):
    config = load(f'{ROOT}/configs/fashion.py', f'--config.method.name={method}')
    resolved = schedule.resolve(config, 10_000)
    assert resolved.method.temperature == temperature
    assert resolved.network.projector_layers == layers
  config = load(f'{ROOT}/configs/fashion.py', '--config.method.temperature=0.7',
                '--config.network.projector_layers=1')
  resolved = schedule.resolve(config, 10_000)
  assert resolved.method.temperature == 0.7
  assert resolved.network.projector_layers == 1
