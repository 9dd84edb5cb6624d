"""The benchmarks of the input run, and their last line is JSON."""

import json
import os
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(name='images', scope='module')
def _images(tmp_path_factory):
  folder = tmp_path_factory.mktemp('images')
  for k in range(20):
    Image.fromarray(np.full((24, 32, 3), 10 * k, np.uint8)).save(
        folder / f'{k}.jpg')
  return folder


def _last_line(script, *arguments, codes=(0,)):
  done = subprocess.run(
      [sys.executable, f'{ROOT}/benchmarks/{script}.py', *arguments], text=True,
      capture_output=True, timeout=300, check=False, env=os.environ | {
          'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': ROOT, 'XLA_FLAGS': ''})
  assert done.returncode in codes, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def test_input(images):
  said = _last_line('input', f'--images={images}', '--seconds=0.1', '--rounds=1',
                    '--threads=1', '--short-side=16')
  assert said['images'] == 20 and said['short_side'] == 16
  for key in ('images_per_second', 'cpu_ms_per_image', 'ratio_to_tfdata',
              'ratio_to_pil', 'share_of_decode_limit'):
    assert said[key] > 0


@pytest.mark.parametrize('short_side', [0, 16])
def test_soak(images, short_side):
  said = _last_line('soak', f'--images={images}', '--minutes=0.01', '--threads=1',
                    f'--short-side={short_side}', codes=(0, 1))  # it still warms up
  assert said['images'] > 6400 and said['short_side'] == short_side
  for key in ('memory_mib', 'files', 'threads'):
    assert 0 < said[key]['first'] <= said[key]['largest']


def test_soak_tells_what_grows(monkeypatch):
  monkeypatch.syspath_prepend(f'{ROOT}/benchmarks')
  import soak
  note = {'memory_mib': 400.0, 'files': 20, 'threads': 5}
  assert soak.judged([note, note | {'memory_mib': 900}, note])['grew'] == []
  for key, value in (('memory_mib', 430), ('files', 25), ('threads', 7)):
    assert soak.judged([note, note | {key: value}])['grew'] == [key]
