"""The same few images as a folder, as tars and as Parquet files."""

import io
import json
import os
import pathlib
import tarfile

import numpy as np
from PIL import Image

from byol_jax.data import fingerprint
from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec

CLASSES = ('cat', 'dog', 'emu')


def images(count, seed=0, kind='JPEG'):
  """Makes (name, label, bytes of a file) of images of different sizes."""
  rng, made = np.random.default_rng(seed), []
  for k in range(count):
    pixels = rng.integers(0, 256, (*rng.integers(12, 40, 2), 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    made.append((f'{k:04d}', k % len(CLASSES), file.getvalue()))
  return made


def write_folder(path, made):
  """Writes a folder a class; the order of the files is that of the names."""
  for name, label, data in made:
    file = pathlib.Path(path) / CLASSES[label] / f'{name}.jpg'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def in_order(made):
  """Returns the images in the order in which a folder of classes lists them."""
  return sorted(made, key=lambda one: (CLASSES[one[1]], one[0]))


def write_tar(path, made, how=tarfile.PAX_FORMAT, label='cls', ending='jpg'):
  """Writes NAME.jpg and NAME.cls, or a field of NAME.json, for each image."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with tarfile.open(path, 'w', format=how) as tar:
    for name, number, data in made:
      files = [(ending, data)]
      if label == 'cls':
        files.append(('cls', b'%d' % number))
      elif label:
        files.append(('json', json.dumps({label: CLASSES[number]}).encode()))
      for end, content in files:
        info = tarfile.TarInfo(f'{name}.{end}')
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def write_parquet(path, made, names=True, labels=CLASSES, **how):
  """Writes the columns image and label as Hugging Face's `datasets` do.

  `names`: whether each image has a path; `labels`: the class names in the metadata, ()
  for none, None for no labels; `how`: as in pyarrow's write_table.
  """
  import pyarrow
  from pyarrow import parquet
  os.makedirs(os.path.dirname(path), exist_ok=True)
  columns = {'image': pyarrow.array(
      [None if data is None else {'bytes': data, 'path': f'{name}.jpg' if names else None}
       for name, _, data in made],
      pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())]))}
  features = {'image': {'_type': 'Image'}}
  if labels is not None:
    columns['label'] = pyarrow.array([label for _, label, _ in made], pyarrow.int64())
    features['label'] = {'names': list(labels), '_type': 'ClassLabel'} if labels else {
        'dtype': 'int64', '_type': 'Value'}
  parquet.write_table(pyarrow.table(columns).replace_schema_metadata({
      'huggingface': json.dumps({'info': {'features': features}})}), path, **how)


def check_same_batches(source, other, starts=20):
  """Checks that two sources give the same batches, to 1, 2 and 4 hosts, from any step.

  So every image comes once in an epoch, and a run that is stopped goes on to the bit.
  """
  assert source.size == other.size
  def batches(data, start, steps, rows):
    return list(stream.train_batches(
        data, CropSpec(8), seed=3, start_step=start, num_steps=steps, batch_size=4,
        examples_of_host=rows, threads=2))
  whole = batches(other, 0, 12, np.arange(4))
  for batch, right in zip(batches(source, 0, 12, np.arange(4)), whole):
    for key in right:
      np.testing.assert_array_equal(batch[key], right[key])
  rng = np.random.default_rng(1)
  for start in rng.integers(0, 12, starts):
    hosts = int(rng.choice([1, 2, 4]))
    rows = np.split(np.arange(4), hosts)[rng.integers(hosts)]
    batch, = batches(source, int(start), 1, rows)
    for key, right in whole[start].items():
      np.testing.assert_array_equal(batch[key], right[rows])


def told_apart(source, others):
  """Returns whether the fingerprint of a source is that of none of the others."""
  return fingerprint.fingerprint(source) not in map(fingerprint.fingerprint, others)
