"""The code of docs/weights.md and of the model card runs as it stands there."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest
import safetensors.numpy

from byol_jax import encoder
from byol_jax.evaluation import embed
from byol_jax.weights import agreement
from byol_jax.weights import card
from byol_jax.weights import load as weights_lib
from byol_jax.weights import onnx
from byol_jax.weights import timm_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/weights.md').read_text()
# what the page's reader has not installed
WITHOUT = "import sys\nsys.modules |= {'jax': None, 'byol_jax': None}\n"


def code(word, page=PAGE):
  """Returns the one block of Python that has a word."""
  found, = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL)
            if word in block)
  return found


def ran(folder, program):
  """Runs a program in a folder, and returns the features that it had at its end."""
  subprocess.run([sys.executable, '-c', program + (
      "\nimport numpy\nnumpy.save('features.npy', numpy.asarray(features))")],
      cwd=folder, check=True, env=os.environ | {'PYTHONPATH': str(ROOT)})
  return np.load(folder / 'features.npy')


@pytest.fixture(name='photo')
def _photo(tmp_path):
  """A photograph that lies on its side, as a camera writes it."""
  image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8))
  exif = image.getexif()
  exif[274] = 6  # orientation
  image.resize((60, 40)).save(tmp_path / 'photo.jpg', exif=exif)
  return tmp_path / 'photo.jpg'


def close(ours, theirs):
  found = agreement.difference(ours, theirs)
  assert found['relative_l2'] < 1e-4 and found['one_minus_cos'] < 1e-6


def test_onnxruntime(made, tmp_path, photo):
  pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")
  weights = made()
  onnx.write(weights, str(tmp_path / 'encoder.onnx'))
  encode = encoder.Encoder(weights, 0, 0.0, 1)
  close(encode([photo]), ran(tmp_path, WITHOUT + code('onnxruntime')))


@pytest.mark.parametrize('name', ['resnet18', 'resnet10'])
def test_torch(made, tmp_path, name):
  """The page's and the card's, without byol_jax as far as the card says so."""
  for library in ('torch', 'timm', 'torchvision', 'transformers'):
    pytest.importorskip(library, reason="large: pip install 'byol_jax[torch]'")
  weights = made(name=name, stem='imagenet')  # nothing is patched in other processes
  out = tmp_path / 'OUT/timm'
  timm_folder.write(weights, str(out))
  sample = agreement.sample(weights, [
      np.random.default_rng(1).integers(0, 256, (90, 80, 3), np.uint8)], 'noise')
  np.save(tmp_path / 'images.npy', sample.prepared)
  given = ('import numpy, torch; torch.set_grad_enabled(False)\n'
           "images = torch.from_numpy(numpy.load('images.npy'))\n"
           'from PIL import Image\npil_images = [Image.new("RGB", (9, 9))]\n')
  close(sample.features, ran(tmp_path, WITHOUT + given + code(
      "'local-dir:" if name == 'resnet18' else "byol_resnet.load('OUT/timm')")))
  said = code("encoder.load('DIR')", card.text(weights, {}, 'noise', [], ''))
  torch_s, ours = said.replace('DIR', str(out)).split('from byol_jax')
  close(sample.features, ran(tmp_path, WITHOUT + given + torch_s))
  # by what is ours it is prepared, too
  paths = f'paths = [{str(tmp_path / "a.png")!r}]\nfrom byol_jax'
  Image.fromarray(sample.whole[0]).save(tmp_path / 'a.png')
  close(sample.features, ran(tmp_path, paths + ours))


def test_what_a_pth_becomes(tmp_path):
  """The line that converts it, of the message that refuses it."""
  torch = pytest.importorskip('torch', reason="large: pip install 'byol_jax[torch]'")
  path = tmp_path / 'theirs.pth'
  torch.save({'state_dict': {'a.weight': torch.ones(3, 2).half().T}}, path)
  (tmp_path / 'hf').mkdir()
  (tmp_path / 'hf/config.json').write_text('{"architectures": ["ResNetModel"]}')
  shutil.copy(path, tmp_path / 'hf/pytorch_model.bin')
  for named, made in ((path, 'theirs'), (tmp_path / 'hf', 'hf/model')):
    with pytest.raises(weights_lib.UserError) as refused:
      weights_lib.load(str(named), None)
    line = re.search(r'(import torch, .*)$', str(refused.value))[1]
    subprocess.run([sys.executable, '-c', line], check=True)
    arrays = safetensors.numpy.load_file(tmp_path / f'{made}.safetensors')
    np.testing.assert_array_equal(arrays['a.weight'], np.ones((2, 3)))


def test_indexes(tmp_path):
  for library in ('faiss', 'lancedb'):
    pytest.importorskip(library, reason=f'pip install {library}')
  features = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
  embed.write(str(tmp_path), ['npz', 'parquet'], features,
              np.array([f'{i}.jpg' for i in range(30)]), None, ())
  ran(tmp_path, WITHOUT + code('faiss') + (
      'assert rows[0, 0] == 0 and cosine[0, 0] > 0.999\n'
      'found = images.search(features[0]).distance_type("cosine").limit(3).to_list()\n'
      'assert found[0]["name"] == "0.jpg"'))


def test_lightly_studio(made, tmp_path):
  pytest.importorskip('lightly_studio_serve', reason='pip install lightly-studio-serve')
  timm_folder.write(made(name='resnet10'), str(tmp_path / 'RUN'))
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = str(s.getsockname()[1])
  server = subprocess.Popen(
      [sys.executable, '-c', code('lightly').replace('8093', port)], cwd=tmp_path,
      env=os.environ | {'PYTHONPATH': str(ROOT)})
  try:
    while server.poll() is None:
      with socket.socket() as s:
        if not s.connect_ex(('localhost', int(port))):
          break
      time.sleep(0.1)
    check = subprocess.run(
        [sys.executable, '-c', 'from lightly_studio_serve import cli; cli.main()',
         'conformance', f'http://127.0.0.1:{port}'], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    assert re.search(r'image_bytes +passed', check.stdout)
  finally:
    server.kill()
    server.wait()
