"""Features know which images they are of, however many cannot be read."""

import hashlib
import io
import json

import haiku as hk
import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation.features import Features
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
  return encode.Encoder(model, spec, center_share=1.0, batch_size=2, threads=2)


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


def test_what_was_kept_knows_its_images(encoder, tmp_path, caplog):
  networks = mapped.replicate(({}, {}))
  rows, key = np.arange(24), {'encoder': 'mean'}
  def store(data, **more):
    kept = features_lib.Store(str(tmp_path), 8)
    return kept(lambda *images: encoder(networks, *images), key | more, data, rows, 'greys')
  first, again = encoded(), encoded()
  whole = store(first)
  assert_in_step(first, whole, rows)
  kept = store(again)  # has met no bad image of its own
  assert again.bad.reasons() == first.bad.reasons()
  for one, other in zip(whole, kept):
    np.testing.assert_array_equal(one, other)
  # one more is bad now: what was kept does not fit
  worse = encoded(bad_rows=(*BAD, 9))
  worse.bad.add(9, 'is broken')
  found = store(worse)
  assert 'computing them again' in caplog.text
  assert found.rows.tolist() == [row for row in rows if row not in (*BAD, 9)]


def test_the_files_are_those_of_version_0_1(tmp_path):
  """Their place, their names and what is in them."""
  data, rows = encoded(6, bad_rows=()), np.arange(6)
  made = []
  def encoder(data, rows):
    made.extend(rows.tolist())
    rows = features_lib.readable(data, rows)
    return Features(rows, np.stack([rows, rows + .5], 1).astype(np.float32))
  key = {'encoder': 'x', 'image_size': 8}
  whole = key | {'data': fingerprint.fingerprint(data), 'name': data.name,
                 'files': hashlib.sha256(json.dumps(fingerprint.file_states(
                     data, range(6))).encode()).hexdigest()}
  digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()
                          + rows.astype(np.int64).tobytes())
  folder = tmp_path / digest.hexdigest()[:16]
  folder.mkdir()
  np.savez(folder / '000000000-000000004.npz', bad=json.dumps({1: 'is broken'}),
           features=np.array([[0, .5], [2, 2.5], [3, 3.5]], np.float32))
  found = features_lib.Store(str(tmp_path), 2)(
      encoder, key, data, rows, 'six')
  assert found.rows.tolist() == [0, 2, 3, 4, 5]
  np.testing.assert_array_equal(found.x[:, 0], found.rows)
  assert made == [0, 2, 3, 4, 5]  # three to see that all is as it was
  assert data.bad.reasons() == {1: 'is broken'}
  assert {path.name for path in folder.iterdir()} == {
      '000000000-000000004.npz', '000000004-000000006.npz'}
  with np.load(folder / '000000004-000000006.npz', allow_pickle=False) as file:
    assert set(file) == {'features', 'bad'} and str(file['bad']) == '{}'


def test_no_image_that_was_kept_can_be_read(tmp_path):
  data = encoded(4, bad_rows=())
  encoder = lambda data, rows: Features(
      features_lib.readable(data, rows),
      np.zeros((len(features_lib.readable(data, rows)), 2), np.float32))
  for row in (0, 1):
    data.bad.add(row, 'is broken')
  for rows in (np.arange(2), np.arange(2)):
    found = features_lib.Store(str(tmp_path), 2)(encoder, {}, data, rows, 'two')
    assert found.rows.tolist() == [] and found.x.shape == (0, 2)
