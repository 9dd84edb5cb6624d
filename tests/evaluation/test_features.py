"""Features know which images they are of, and so do those that were kept."""

import hashlib
import json

import numpy as np

from byol_jax.data import bad
from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation.features import Features


def images(num, limit=100):
  names = [f'{row}.png' for row in range(num)]
  return table.Encoded(lambda row: b'', num, np.arange(num, dtype=np.int32), names, None,
                       'images', bad.BadImages(names, 'images', limit))


def encode(data, rows, broken=(3, 4, 17)):
  """(row, row + 1/2) of those that can be read."""
  for row in set(broken) & set(rows.tolist()):
    data.bad.add(row, 'is broken')
  rows = features_lib.readable(data, rows)
  return Features(rows, np.stack([rows, rows + .5], 1).astype(np.float32))


def test_what_was_kept_knows_its_images(tmp_path, caplog):
  rows = np.arange(24)
  def store(data):
    return features_lib.joined(list(features_lib.Store(str(tmp_path), 8).parts(
        encode, {'encoder': 'x'}, data, rows, 'images')))
  first, again, worse = images(24), images(24), images(24)
  whole, kept = store(first), store(again)  # has met no bad image of its own
  assert again.bad.reasons() == first.bad.reasons() == dict.fromkeys(
      (3, 4, 17), 'is broken')
  for found in (whole, kept):
    assert found.rows.tolist() == [row for row in rows if row not in (3, 4, 17)]
    np.testing.assert_array_equal(found.x[:, 0], found.rows)
  # one more is bad now: what was kept does not fit
  worse.bad.add(9, 'is broken')
  found = store(worse)
  assert 'computing them again' in caplog.text
  assert found.rows.tolist() == [row for row in rows if row not in (3, 4, 9, 17)]
  np.testing.assert_array_equal(found.x[:, 0], found.rows)


def test_the_files_are_those_of_version_0_1(tmp_path):
  """Their place, their names and what is in them."""
  data, rows = images(6), np.arange(6)
  made = []
  def encode_and_note(data, rows):
    made.extend(rows.tolist())
    return encode(data, rows, broken=())
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
  found = features_lib.joined(list(features_lib.Store(str(tmp_path), 2).parts(
      encode_and_note, key, data, rows, 'six')))
  assert found.rows.tolist() == [0, 2, 3, 4, 5]
  np.testing.assert_array_equal(found.x[:, 0], found.rows)
  assert made == [0, 2, 3, 4, 5]  # three to see that all is as it was
  assert data.bad.reasons() == {1: 'is broken'}
  assert {path.name for path in folder.iterdir()} == {
      '000000000-000000004.npz', '000000004-000000006.npz'}
  with np.load(folder / '000000004-000000006.npz', allow_pickle=False) as file:
    assert set(file) == {'features', 'bad'} and str(file['bad']) == '{}'


def test_no_image_that_was_kept_can_be_read(tmp_path):
  for _ in range(2):
    found = features_lib.joined(list(features_lib.Store(str(tmp_path), 2).parts(
        lambda data, rows: encode(data, rows, broken=(0, 1)), {}, images(4),
        np.arange(2), 'two')))
    assert found.rows.tolist() == [] and found.x.shape == (0, 2)


def test_parts_come_one_by_one_and_stay_small(tmp_path, monkeypatch):
  monkeypatch.setattr(features_lib, '_MOST_BYTES', 4 * 8)  # four rows of two numbers
  store, data, rows = features_lib.Store(str(tmp_path), 2), images(20), np.arange(20)
  whole = lambda data, rows: encode(data, rows, broken=())
  parts = store.parts(whole, {}, data, rows, 'images')
  sizes = []
  for part in parts:
    sizes.append(len(part.rows))
    written = len(list(tmp_path.rglob('*.npz')))
    assert written == len(sizes)  # the next part has not begun
  assert max(sizes) == 4 and sum(sizes) == 20
  kept = list(features_lib.Store(str(tmp_path), 2).parts(
      whole, {}, images(20), rows, 'images'))
  assert [len(part.rows) for part in kept] == sizes
  found = features_lib.joined(kept)
  np.testing.assert_array_equal(found.x[:, 0], found.rows)


def test_other_features_are_computed_again(tmp_path, caplog):
  def store(encode):
    return features_lib.joined(list(features_lib.Store(str(tmp_path), 8).parts(
        encode, {}, images(24), np.arange(24), 'images'))).x
  first = store(encode)
  again = store(lambda data, rows: encode(data, rows)._replace(
      x=2 * encode(data, rows).x))
  assert 'computing them again' in caplog.text
  np.testing.assert_array_equal(again, 2 * first)


def test_images_that_can_be_read_since(tmp_path, caplog, monkeypatch):
  """A plug-in was installed, or config key data.max_pixels was raised."""
  rows = np.arange(6)
  def store(broken):
    return features_lib.joined(list(features_lib.Store(str(tmp_path), 8).parts(
        lambda data, rows: encode(data, rows, broken), {'encoder': 'x'}, images(6), rows,
        'images')))
  assert store((2,)).rows.tolist() == [0, 1, 3, 4, 5]
  assert store(()).rows.tolist() == [0, 1, 3, 4, 5]  # kept: it is no picture still
  monkeypatch.setattr(features_lib.decode, 'decode', lambda data, how: data)
  assert store(()).rows.tolist() == [0, 1, 2, 3, 4, 5]
  assert 'left out can be read now' in caplog.text
