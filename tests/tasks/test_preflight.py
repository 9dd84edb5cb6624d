"""Steps compiled for TPUs that are not there."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from byol_jax.config import base
from byol_jax.tasks import preflight as preflight_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None,
    reason="the TPU compiler is not installed: pip install 'byol_jax[tpu]'")

is_long = pytest.mark.skipif(
    'BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1 adds it')


def preflight(workdir, *arguments, **environment):
  """(exit code, output) of a preflight of the fault matrix's tiny run."""
  done = subprocess.run(
      [sys.executable, '-m', 'byol_jax.main',
       f'--config={ROOT}/tests/faults/tiny_config.py',
       '--config.task=preflight', f'--workdir={workdir}',
       '--config.preflight.images=100000000', *arguments],
      cwd=ROOT, env=os.environ | environment, text=True, check=False, timeout=300,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  return done.returncode, done.stdout


@needs_compiler
@pytest.mark.parametrize('topology, devices, hosts, kind', [
    pytest.param('v3:2x2', 8, 1, 'TPU v3', marks=is_long),
    ('v3:16x16', 512, 64, 'TPU v3'),
    pytest.param('v6e-8', 8, 2, 'TPU v6 lite', marks=is_long)])
def test_a_step_that_fits(tmp_path, topology, devices, hosts, kind):
  arguments = (f'--config.preflight.topology={topology}',
               f'--config.train.batch_size={2 * devices}')
  code, output = preflight(tmp_path, *arguments)
  assert code == 0 and 'FITS' in output, output
  report = json.loads((tmp_path / 'preflight.json').read_text())
  assert report['fits'] and report['devices'] == devices
  assert report['hosts'] == hosts and report['device_kind'] == kind
  assert report['batch_size_per_device'] == 2
  assert 0 < report['peak_hbm_bytes'] < report['available_hbm_bytes'] < 100 << 30
  # two views of 8 x 8 pixels, the image's number and label: 5 batches
  assert report['waiting_bytes'] == 5 * 2 * (2 * 8 * 8 * 3 + 4 + 4)
  assert report['lower_bound_by'] == (
      'compiler' if kind == 'TPU v3' else 'arithmetic')  # `lower_bound` says why
  assert report['flops'] > 1e5 and report['bytes_accessed'] > 1e5
  # the figures belong together
  seconds = report['lower_bound_ms'] / 1e3
  assert seconds > 0
  assert report['images_per_second_bound'] == pytest.approx(2 * devices / seconds)
  assert report['images_per_second_per_host'] == pytest.approx(
      2 * devices / seconds / hosts)
  assert report['hours_bound'] == pytest.approx(report['steps'] * seconds / 3600)
  assert sorted(os.listdir(tmp_path)) == ['preflight.json']

  code, output = preflight(tmp_path, *arguments)
  assert code == 0 and 'compiled before' in output and 'minutes' not in output


def test_the_fewest_parts_that_fit_are_compiled(monkeypatch):
  tried = []
  large = preflight_lib.TooLarge(20 << 30, 16 << 30)
  def compile_step(config, devices):
    tried.append((config.train.accumulation_steps, len(devices)))
    return large if config.train.accumulation_steps < 4 else preflight_lib.Compiled(
        0, 0, 0, 0, 1.0, 1.0, 1.0)
  monkeypatch.setattr(preflight_lib, 'compile_step', compile_step)
  config = base().unlock()
  config.train.batch_size = 96
  found = preflight_lib._advice(config, [None] * 8, large)
  assert found == {'fitting_accumulation_steps': 4, 'fitting_batch_size': 24}
  assert tried == [(2, 8), (3, 8), (4, 8)]  # those that 12 images a device divide into
  report = {'topology': 'v3-8', 'devices': 8, 'device_kind': 'TPU v3', 'hosts': 1,
            'network': 'resnet50 x1', 'precision': 'bfloat16', 'image_size': 224,
            'batch_size': 96, 'batch_size_per_device': 12, 'accumulation_steps': 1,
            'fits': False, 'peak_hbm_bytes': 20 << 30, 'available_hbm_bytes': 16 << 30}
  said = preflight_lib._table(report | found)
  assert f'DOES NOT FIT, {preflight_lib._size(4 << 30)} are missing' in said
  assert '--config.train.accumulation_steps=4' in said
  assert 'not with one image a device either' in preflight_lib._table(report)


@needs_compiler
@is_long
def test_a_step_that_does_not_fit_says_what_would(tmp_path):
  code, output = preflight(tmp_path, '--config.preflight.topology=v3-8',
                           '--config.train.batch_size=524288')
  assert code == 1 and 'DOES NOT FIT' in output, output
  report = json.loads((tmp_path / 'preflight.json').read_text())
  assert not report['fits']
  assert report['peak_hbm_bytes'] > report['available_hbm_bytes'] > 15 << 30
  steps = report['fitting_accumulation_steps']
  assert 2 <= steps <= 4 and f'--config.train.accumulation_steps={steps}' in output
  assert report['fitting_batch_size'] == 524288 // steps


@needs_compiler
@is_long
def test_batches_that_wait_take_memory_too(tmp_path):
  code, output = preflight(
      tmp_path, '--config.preflight.topology=v3-8', '--config.train.batch_size=256',
      '--config.data.prefetch=1024', '--config.data.image_size=224')
  assert code == 1 and 'DOES NOT FIT' in output, output
  report = json.loads((tmp_path / 'preflight.json').read_text())
  batch = 32 * (2 * 224 * 224 * 3 + 4 + 4) + 4
  peak = report['peak_hbm_bytes'] - (1024 + 3) * batch
  assert 0 < peak < report['available_hbm_bytes']
  fitting = report['fitting_prefetch']
  left = report['available_hbm_bytes'] - peak - (fitting + 3) * batch
  assert 0 <= left < batch and f'--config.data.prefetch={fitting}' in output


@needs_compiler
@pytest.mark.parametrize('argument, said', [
    ('--config.preflight.topology=v3-9', 'one of v2-8, '),
    ('--config.preflight.topology=v3:3x3', 'the compiler does not take'),
    ('--config.train.batch_size=12', 'not a multiple of 512 devices'),
])
def test_what_cannot_be_compiled(tmp_path, argument, said):
  code, output = preflight(tmp_path / 'out', argument)
  assert code == 2 and said in output and 'Traceback' not in output
  assert not (tmp_path / 'out').exists()


def test_without_the_compiler(tmp_path):
  """A module of that name that cannot be found."""
  (tmp_path / 'sitecustomize.py').write_text(
      'import importlib.util\n'
      'find = importlib.util.find_spec\n'
      'importlib.util.find_spec = lambda name, *rest: (\n'
      '    None if name == "libtpu" else find(name, *rest))\n')
  code, output = preflight(tmp_path / 'out', PYTHONPATH=f'{tmp_path}:{ROOT}')
  assert code == 2 and "pip install 'byol_jax[tpu]'" in output


@needs_compiler
def test_a_compiler_that_crashes(tmp_path):
  """As libtpu 0.0.42 does for the paper's step on a v6e-256."""
  (tmp_path / 'sitecustomize.py').write_text(
      'import os, sys\n'
      'if "--multiprocessing-fork" in sys.orig_argv:\n'
      '  os.kill(os.getpid(), 11)\n')
  paths = f'{tmp_path}:{ROOT}:{os.environ.get("PYTHONPATH", "")}'
  code, output = preflight(tmp_path / 'out', '--config.train.batch_size=512',
                           PYTHONPATH=paths)
  assert code == 2 and 'the TPU compiler crashed' in output, output
  assert 'Traceback' not in output and not (tmp_path / 'out').exists()
