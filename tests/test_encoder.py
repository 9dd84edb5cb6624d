"""An encoder in a program of one's own gives the features of task=embed."""

import json
import os
import sys

import numpy as np
from PIL import Image
import pytest

from byol_jax import encoder
from byol_jax import main as main_lib
from byol_jax.data.images import decode
from byol_jax.errors import UserError
from byol_jax.networks import architectures

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  """A run of one step, its exported encoder, 21 photos, and their embeddings."""
  root = tmp_path_factory.mktemp('encoder')
  (root / 'photos').mkdir()
  rng = np.random.default_rng(0)
  for k in range(21):
    Image.fromarray(rng.integers(0, 256, (30 + k % 2, 40, 3), np.uint8)).save(
        root / 'photos' / f'{k:02d}.png')
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8',
                  architectures.Architecture((1,), False, (16,), 16))
    patch.chdir(root)
    def call(config, *arguments):
      assert main_lib.main([
          'byol_jax.main', f'--config={ROOT}/configs/{config}.py', '--distributed=off',
          *arguments]) == 0
    call('folder', '--workdir=run', '--config.data.path=photos',
         '--config.train.batch_size=16', '--config.train.epochs=1',
         '--config.network.name=resnet8', '--config.network.stem=half',
         '--config.network.width=0.25', '--config.data.image_size=16',
         '--config.data.eval_image_size=24', '--config.log.tensorboard=False',
         '--config.network.precision=float32')
    for task in ('export', 'embed'):
      call(task, '--config.weights=run', f'--workdir={task}')
    yield root


def test_files_give_the_features_of_embed(folder):
  embedded = np.load(folder / 'embed/embeddings.npz')
  files = [(folder / 'photos' / name).read_bytes() for name in embedded['names']]
  for path in ('run', 'run/checkpoints/1', 'export/encoder.safetensors'):
    encode = encoder.load(str(folder / path), batch_size=2)  # two calls, one padded
    assert encode.image_size == 24 and len(encode.digest) == 16
    features = encode(files)
    assert features.shape == (21, encode.feature_size) and features.std() > 1e-3
    np.testing.assert_allclose(features, embedded['features'], rtol=0, atol=1e-4)
  target = encoder.load(str(folder / 'run'), network='target')(files)
  assert np.abs(target - embedded['features']).max() > 1e-3


def test_onnxruntime_computes_the_same(folder, capsys, monkeypatch):
  pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")
  assert main_lib.main([
      'byol_jax.main', f'--config={ROOT}/configs/embed.py', '--distributed=off',
      f'--config.weights={folder}/run', '--config.data.source=folder',
      f'--config.data.path={folder}/photos', '--config.embed.runtime=onnx',
      f'--workdir={folder}/by_onnx']) == 0
  assert 'were computed before' not in capsys.readouterr().out  # by jax
  said = json.loads((folder / 'by_onnx/results.json').read_text())
  assert said['protocol']['precision'] == 'float32, onnxruntime'
  embedded = np.load(folder / 'embed/embeddings.npz')
  theirs = np.load(folder / 'by_onnx/embeddings.npz')['features']
  np.testing.assert_allclose(theirs, embedded['features'], rtol=0, atol=1e-4)
  encode = encoder.load(str(folder / 'run'), batch_size=2, runtime='onnx')
  files = [folder / 'photos' / name for name in embedded['names']]
  np.testing.assert_allclose(encode(files), theirs, rtol=0, atol=1e-4)
  pixels = np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), np.uint8)
  np.testing.assert_allclose(
      encode(pixels), encoder.load(str(folder / 'run'))(pixels), rtol=0, atol=1e-4)
  with pytest.raises(UserError, match="'ort': name 'jax' or 'onnx'"):
    encoder.load(str(folder / 'run'), runtime='ort')
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  with pytest.raises(UserError, match=r'onnxruntime is not installed: .*\[onnx\]'):
    encoder.load(str(folder / 'run'), runtime='onnx')


def test_pixels_give_nearly_those_of_files(folder):
  encode = encoder.load(str(folder / 'run'), center_share=0.5)
  files = [(folder / 'photos' / f'{k:02d}.png').read_bytes() for k in (0, 2, 4)]
  pixels = np.stack([decode.decode(data) for data in files])
  of_files, of_pixels = encode(files), encode(pixels)
  assert np.abs(of_files - of_pixels).max() < 0.05 * np.abs(of_files).max()
  assert encode(pixels[:0]).shape == (0, encode.feature_size)
  assert encode(pixels[..., :1]).shape == (3, encode.feature_size)


def test_paths_arrays_and_images_of_pillow_are_files(folder):
  encode = encoder.load(str(folder / 'run'), batch_size=2)
  paths = [folder / 'photos' / f'{k:02d}.png' for k in (1, 2, 3)]
  expected = encode([path.read_bytes() for path in paths])
  images = [Image.open(path) for path in paths]
  for given in (paths, list(map(str, paths)), np.array(list(map(str, paths))), images,
                list(map(np.asarray, images)), iter(paths),
                [np.asarray(image) / 255 for image in images]):
    np.testing.assert_allclose(encode(given), expected, rtol=0, atol=1e-5)
  np.testing.assert_allclose(encode(str(paths[0])), expected[:1], rtol=0, atol=1e-5)


def test_bad_files_do_not_lose_the_others(folder):
  encode = encoder.load(str(folder / 'run'), batch_size=2)
  paths = [folder / 'photos' / f'{k:02d}.png' for k in (1, 2)]
  images = [b'none', paths[0], '/none.png', b'', paths[1], b'x', b'y', b'z', b'end']
  features, kept = encode(images, skip_bad=True)
  assert kept.tolist() == [1, 4]
  np.testing.assert_allclose(features, encode(paths), rtol=0, atol=1e-5)
  features, kept = encode([b'x'], skip_bad=True)
  assert features.shape == (0, encode.feature_size) and kept.shape == (0,)


def test_a_shortage_of_memory_names_what_helps(folder, monkeypatch):
  encode = encoder.load(str(folder / 'run'))
  def short(*_, **__):
    raise MemoryError('out of memory')
  monkeypatch.setattr(encode._inference, 'of_pixels', short, raising=False)
  with pytest.raises(UserError, match='not enough memory: .*smaller batch_size'):
    encode(np.zeros((1, 24, 24, 3), np.uint8))


def test_it_can_be_trained_on(folder):
  encode = encoder.load(str(folder / 'run'))
  images = np.random.default_rng(0).normal(size=(4, 24, 24, 3)).astype(np.float32)
  features, state = encode.apply(encode.params, encode.state, images, True)
  assert features.shape == (4, encode.feature_size)
  assert set(state) <= set(encode.state)


def test_what_is_no_image_is_named(folder):
  encode = encoder.load(str(folder / 'run'))
  good = (folder / 'photos/00.png').read_bytes()
  with pytest.raises(decode.BadImage, match=r'images\[1\] is not an image'):
    encode([good, b'not a picture'])
  with pytest.raises(decode.BadImage, match=r"images\[1\] \('/none.png'\) is missing"):
    encode([good, '/none.png'])
  with pytest.raises(ValueError, match='floats from 7 to 7'):
    encode(np.full((1, 8, 8, 3), 7.0))
  with pytest.raises(ValueError, match=r'images\[1\] is int'):
    encode([good, 1], skip_bad=True)
  with pytest.raises(UserError, match='no such file'):
    encoder.load(str(folder / 'none'))


def test_a_bucket_is_read_as_main_reads_it(monkeypatch):
  """Before it is opened: requests must end, and TensorFlow stays out."""
  calls = []
  monkeypatch.setattr(encoder.bucket, 'choose_library', lambda: calls.append('choose'))
  monkeypatch.setattr(encoder.weights_lib, 'load',
                      lambda path, network: calls.append(path) or 1 / 0)
  with pytest.raises(ZeroDivisionError):
    encoder.load('gs://bucket/run')
  assert calls == ['choose', 'gs://bucket/run']


def test_batches_keep_every_row(folder, caplog):
  batches = encoder.Batches(str(folder / 'run'), batch_size=2)
  embedded = np.load(folder / 'embed/embeddings.npz')
  files = np.array([(folder / 'photos' / name).read_bytes()
                    for name in embedded['names'][:5]], object)
  whole = batches(files)  # as Spark calls it: a column alone
  np.testing.assert_allclose(whole, embedded['features'][:5], rtol=0, atol=1e-4)
  table = {'bytes': files.copy(), 'sku': np.arange(5)}
  table['bytes'][1], table['bytes'][3] = b'no picture', None
  found = batches(table)  # as Ray calls it
  assert found.keys() == {'bytes', 'sku', 'feature'} and 'feature' not in table
  assert found['sku'].tolist() == list(range(5)) and found['feature'].dtype == np.float32
  assert np.isnan(found['feature']).all(1).tolist() == [False, True, False, True, False]
  np.testing.assert_allclose(found['feature'][::2], whole[::2], rtol=0, atol=1e-6)
  assert '2 of 5 images are missing or cannot be used' in caplog.text
  assert batches({'bytes': np.array([], object)})['feature'].shape == (
      0, whole.shape[1])
  pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
  named = encoder.Batches(str(folder / 'run'), column='image', feature='vector')
  assert np.isfinite(named({'image': pixels})['vector']).all()
  with pytest.raises(ValueError, match="no column 'image', but bytes"):
    named({'bytes': files})
