"""The benchmarks run, and their last line is JSON."""

import importlib
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


def _said(script, *arguments, codes=(0,), without=''):
  """Runs a benchmark; `without` is a folder of modules that must not be imported."""
  done = subprocess.run(
      [sys.executable, f'{ROOT}/benchmarks/{script}.py', *arguments], text=True,
      capture_output=True, timeout=300, check=False, env=os.environ | {
          'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': f'{without}:{ROOT}', 'XLA_FLAGS': ''})
  assert done.returncode in codes, done.stderr
  return done.stdout.splitlines()


def _last_line(script, *arguments, **options):
  return json.loads(_said(script, *arguments, **options)[-1])


def _forbidden(folder, *modules):
  for module in modules:
    (folder / f'{module}.py').write_text(f'raise ImportError("no {module} here")')
  return folder


@pytest.fixture(name='benchmark')
def _benchmark(monkeypatch):
  monkeypatch.syspath_prepend(f'{ROOT}/benchmarks')
  return importlib.import_module


def test_input(images, tmp_path):
  """Also where lightly is there, but cannot be imported: it once never ended."""
  said = _last_line('input', f'--images={images}', '--seconds=0.1', '--rounds=1',
                    '--threads=1', '--short-side=16',
                    without=_forbidden(tmp_path, 'lightly'))
  assert said['images'] == 20 and said['short_side'] == 16 and said['pil'] == 'PIL'
  for key in ('images_per_second', 'cpu_ms_per_image', 'ratio_to_tfdata',
              'ratio_to_pil', 'share_of_decode_limit'):
    assert said[key] > 0


def test_input_of_tars_and_parquet_beside_a_folder(images):
  said = _last_line('input', f'--images={images}', '--seconds=0.1', '--rounds=1',
                    '--threads=1', '--source=tar,parquet,snappy', '--copies=4')
  assert said['images'] == 80
  for key in ('ratio_to_folder', 'ratio_by_cpu'):
    assert said[key]['folder'] == 1 and said[key]['tar'] > 0.2 < said[key]['parquet']


def test_start():
  said = _last_line('start', '--folder=300', '--tar=600', '--list=0')
  for kind in ('folder', 'tar', 'tar again'):
    assert said[kind]['images'] == 300 and said[kind]['mib'] >= said[kind]['mib_before']


def test_a_pool_whose_processes_die_ends_in_an_error(images, tmp_path):
  script = tmp_path / 'dying.py'
  script.write_text(f'''
import os, sys
sys.path.insert(0, {f'{ROOT}/benchmarks'!r})
import input
input._start_process = os._exit  # of the processes of the pool
if __name__ == '__main__':
  input.measure = lambda own, *_: input.pool_rate(own, 1, 1, False)
  sys.exit(input.main())
''')
  done = subprocess.run(
      [sys.executable, script, f'--images={images}'], text=True, capture_output=True,
      timeout=120, env=os.environ | {'PYTHONPATH': ROOT})
  assert done.returncode == 1 and 'a process of the pool died' in done.stderr


@pytest.mark.parametrize('short_side', [0, 16])
def test_soak(images, short_side):
  said = _last_line('soak', f'--images={images}', '--minutes=0.01', '--threads=1',
                    f'--short-side={short_side}', codes=(0, 1))  # it still warms up
  assert said['images'] > 6400 and said['short_side'] == short_side
  for key in ('memory_mib', 'files', 'threads'):
    assert 0 < said[key]['first'] <= said[key]['largest']


def test_soak_tells_what_grows(benchmark):
  soak = benchmark('soak')
  note = {'memory_mib': 400.0, 'files': 20, 'threads': 5}
  assert soak.judged([note, note | {'memory_mib': 900}, note])['grew'] == []
  for key, value in (('memory_mib', 430), ('files', 25), ('threads', 7)):
    assert soak.judged([note, note | {key: value}])['grew'] == [key]


def test_step_of_another_method_without_tensorflow(tmp_path):
  said = _last_line(
      'step', f'--config={ROOT}/configs/simclr_r50.py', '--config.data.source=fake',
      '--config.network.name=resnet8', '--config.network.stem=small',
      '--config.data.image_size=8', '--config.train.batch_size=16',
      '--config.network.precision=float32', '--config.network.projector_hidden_size=8',
      *(f'--config.augment.view{view}.{operation}=0' for view in (1, 2)
        for operation in ('jitter', 'blur')),
      '--steps=1', '--in_a_row=2', '--parts=step',
      without=_forbidden(tmp_path, 'tensorflow'))
  assert said['method'] == 'simclr' and said['steps_timed'] == 2
  assert said['images_per_second'] * said['seconds_per_step'] == pytest.approx(16)
  assert said['roofline_share'] is None  # of a CPU nothing is known
  # two views, a forward pass and two as long backward, of 1.08 MFLOP each (nothing is
  # counted for a convolution's padding), and what lies between the convolutions
  assert 6.0e-3 < said['gflop_per_image'] < 8.5e-3 and said['gigabytes_moved'] > 0


def test_torch_step_without_torch(tmp_path):
  said, = _said('torch_step', without=_forbidden(tmp_path, 'torch'))
  assert said.startswith('not measured: ') and 'pip install torch lightly' in said


def test_roofline(benchmark):
  roofline = benchmark('roofline')
  assert roofline.seconds('NVIDIA H200', 'bfloat16', 989e12, 0) == 1
  assert roofline.seconds('NVIDIA H200', 'bfloat16', 989e12, 9.6e12) == 2
  for kind, precision, flops in (('cpu', 'bfloat16', 1), ('NVIDIA H200', 'float32', 1),
                                 ('NVIDIA H200', 'bfloat16', 0)):
    assert roofline.seconds(kind, precision, flops, 1) is None


def test_roofline_counts_calls_of_libraries(benchmark):
  roofline = benchmark('roofline')
  hlo = """HloModule step, entry_computation_layout={(bf16[2,3]{1,0})->f32[4]{0}}
ENTRY %main (x: bf16[2,3]) -> f32[4] {
  %x = bf16[2,3]{1,0} parameter(0)
  %w.1 = bf16[5]{0} constant({1, 2, 3, 4, 5})
  %conv-fwd.2 = (f32[4]{0}, u8[100]{0}) custom-call(%x, %w.1), custom_call_target="__cudnn$convForward", backend_config={"a":"%x)"}
  %other = f32[9]{0} custom-call(%x), custom_call_target="Sharding"
  ROOT %out = f32[4]{0} get-tuple-element(%conv-fwd.2), index=0
}"""
  assert roofline.library_bytes(hlo) == 2 * 6 + 2 * 5 + 4 * 4 + 100
  # the arithmetic before the compiler, the traffic after it
  assert roofline.counted({'flops': 7.0, 'bytes accessed': 99.0},
                          {'flops': -1.0, 'bytes accessed': 10.0}, hlo) == (7, 148)
  assert roofline.counted(None, {}, '') == (0, 0)


@pytest.mark.parametrize('seconds, speed, epochs', [
    (285, 10_000, 34),    # 0.85 x 200 s x 10,000 images/s
    (85, 10_000, 0), (88, 10_000, 0), (5000, 1e6, 200)])
def test_gpu_epochs(benchmark, seconds, speed, epochs):
  assert benchmark('gpu').epochs_that_fit(seconds, speed, 50_000) == epochs


def test_gpu_goes_on_after_a_part_that_fails(benchmark, tmp_path, monkeypatch):
  gpu = benchmark('gpu')
  monkeypatch.setattr(gpu, '_GRACE', 1.0)
  monkeypatch.setattr(gpu, '_LEAST_SECONDS', 0.1)
  call = gpu.Call(tmp_path, minutes=1)
  ours = {'method': 'byol', 'images_per_second': 100.0, 'seconds_per_step': 0.16,
          'seconds_per_step_without_augmentation': 0.1, 'device': '1 x GPU',
          'gflop_per_image': 65.6, 'roofline_share': 0.5, 'augmentation_share': 0.02}
  for name, program, limit in (
      ('byol', f'print({json.dumps(json.dumps(ours))})', 30),
      ('byol_torch', 'print(\'{"images_per_second": 80, "modules": "plain"}\')', 30),
      ('moco', 'raise ValueError("no such thing")', 30),
      ('moco_torch', 'print("not measured: no torch")', 30),
      ('simclr', 'import time; time.sleep(60)', 1)):
    call.part(name, ['-c', program], limit=limit)
  call.part('simsiam', ['-c', ''], reserve=3600)
  said = json.loads((tmp_path / 'summary.json').read_text())
  row = said['rows'][0]
  assert row['without_augmentation'] == pytest.approx(160) and row['ratio'] == 2
  assert 'no such thing' in said['parts']['moco']['why']
  assert said['parts']['moco_torch']['why'] == 'not measured: no torch'
  assert said['parts']['simclr']['why'] == 'stopped after 1 s'
  assert 'no time' in said['parts']['simsiam']['why']
  table = (tmp_path / 'summary.md').read_text()
  assert '| byol | 100 | 160.0 | 65.6 | 50% | 2.0% | 160 | 80 | 2.00 | plain |' in table
  assert '| moco | - |' in table and '- simclr: stopped' in table
  assert gpu.Call(tmp_path, 1).parts.keys() == said['parts'].keys()


def test_encoder():
  pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")
  said = _last_line('encoder', '--network=resnet8', '--size=32', '--turns=1')
  assert said['ratio_1'] > 0 and said['onnxruntime_8'] > 0 and said['size'] == 32


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
def test_catalogue():
  """An index is killed, and gone on with to the same content; changes cost themselves."""
  pytest.importorskip('lancedb', reason='the extra [index] is not installed')
  whole, killed, gone_on, changed, nothing, end = _last_line(
      'catalogue', '--images=5000', '--kills=1', '--changed=30')
  assert whole['encoded'] == 5000 and 0 < killed['images_in_the_index'] < 5000
  assert gone_on['encoded'] == 5000 - killed['images_in_the_index']
  assert changed['encoded'] == changed['removed'] == 30
  assert nothing['encoded'] == nothing['removed'] == 0 and end['images'] == 4970


def test_retrieval():
  pytest.importorskip('lancedb', reason='the extra [index] is not installed')
  found = _last_line('retrieval', '--rows=600', '--size=16', '--queries=3')
  assert found['index, exact']['recall'] == 1 and found['changed'] == 3


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1: nine '
                    'processes that load jax')
def test_embed_shards():
  """3,000 images, four shards, two processes, one killed twice: the union is one pass."""
  said = _last_line('embed_shards', '--images=3000', '--shards=4')
  assert said['same'] and said['kills'] == 2 and said['images'] == 3000
  assert max(said['mib'].values()) < 2048
