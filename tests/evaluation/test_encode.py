"""Features of images that can be read, in step with their labels."""

import io

import haiku as hk
import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.evaluation import encode
from byol_jax.networks.model import Model
from byol_jax.views import make as views_lib

BAD = (3, 4, 17)


def encoded(num=24, bad_rows=BAD, limit=100):
  """Images i of one grey, 10 i, with label i; some of them are no images."""
  def read(row):
    if row in bad_rows:
      return b'not a picture'
    file = io.BytesIO()
    Image.fromarray(np.full((6 + row % 3, 6, 3), 10 * row, np.uint8)).save(file, 'PNG')
    return file.getvalue()
  names = [f'{row}.png' for row in range(num)]
  return table.Encoded(read, num, np.arange(num, dtype=np.int32), names, None, 'greys',
                       bad.BadImages(names, 'greys', limit))


@pytest.fixture(name='encoder', scope='module')
def _encoder():
  """The mean of an image, in [0, 255], for its feature."""
  forward = hk.without_apply_rng(hk.transform_with_state(
      lambda images, is_training: 255 * images.mean((1, 2))[:, :1]))
  model = Model(None, None, forward, None, 1)
  spec = views_lib.ViewSpec(image_size=4, mean=(0.,) * 3, std=(1.,) * 3)
  return encode.Inference(model, spec, center_share=1.0, batch_size=2, threads=2)


def assert_in_step(data, found, rows):
  assert found.rows.tolist() == [row for row in rows if row not in BAD]
  np.testing.assert_allclose(found.x[:, 0], 10 * data.labels[found.rows], atol=1e-3)


@pytest.mark.parametrize('rows', [np.arange(24), np.array([17, 20, 3, 4, 5, 1, 0]),
                                  np.array([4]), np.arange(0)],
                         ids=['all', 'in another order', 'one that is bad', 'none'])
def test_labels_and_features_are_in_step(encoder, rows):
  networks = mapped.replicate(({}, {}))
  data = encoded()
  for _ in range(2):  # when the bad ones are met, and when they are known
    assert_in_step(data, encoder(networks, data, rows), rows)
  assert set(data.bad.reasons()) == set(BAD) & set(rows.tolist())
  pixels = encoder.pixels(data, rows, 1)
  assert pixels.rows.tolist() == [row for row in rows if row not in BAD]
  np.testing.assert_allclose(255 * pixels.x[:, 0], 10 * pixels.rows, atol=1e-3)
  assert encoder.readable(encoded(), rows).tolist() == pixels.rows.tolist()


def test_images_in_memory_whose_place_another_takes_are_left_out(encoder):
  pixels = np.arange(6, dtype=np.uint8).repeat(16 * 3).reshape(6, 4, 4, 3) * 10
  data = table.Images(pixels, np.arange(6), None, 'greys',
                      bad.BadImages(list('012345'), 'greys', 100))
  data.bad.add(4, 'is broken')
  rows = np.arange(6)
  found = encoder(mapped.replicate(({}, {})), data, rows)
  assert found.rows.tolist() == encoder.readable(data, rows).tolist() == [0, 1, 2, 3, 5]
  np.testing.assert_allclose(found.x[:, 0], 10 * found.rows, atol=1e-3)


def test_an_encoder_without_statistics_gets_them_from_images_that_can_be_read():
  def forward(images, is_training):
    mean = hk.get_state('mean', (), init=lambda *_: np.zeros((), np.float32))
    if is_training:
      hk.set_state('mean', mean + 255 * images.mean())
    return mean
  forward = hk.without_apply_rng(hk.transform_with_state(forward))
  spec = views_lib.ViewSpec(image_size=4, mean=(0.,) * 3, std=(1.,) * 3)
  encoder = encode.Inference(Model(None, None, forward, None, 1), spec, center_share=1.0,
                           batch_size=2, threads=2)
  state = {'~': {'mean': np.zeros((), np.float32)}}
  data = encoded()
  data.bad.add(3, 'is broken')  # known; 4 is met
  _, found = encoder.calibrate(({}, state), data, np.arange(6))
  np.testing.assert_allclose(found['~']['mean'], 10 * np.mean([0, 1, 2, 5]), atol=1e-3)


@pytest.mark.parametrize('most, seed, expected', [(10, 0, 10), (40, 0, 24)])
def test_a_subset(most, seed, expected):
  rows = encode.subset(24, most, seed)
  assert len(set(rows)) == expected and sorted(rows) == rows.tolist()
  assert rows.tolist() == encode.subset(24, most, seed).tolist()
