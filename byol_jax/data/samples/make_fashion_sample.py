"""Makes fashion_sample.npz, the embedded data set, from the full Fashion-MNIST.

  apt-get install dataset-fashion-mnist
  python -m byol_jax.data.samples.make_fashion_sample

Takes 1,000 training and 200 test images of each of the ten classes, chosen by a
seeded permutation and kept in their original order. The same arrays on every
run and machine; the test of this file compares them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import zipfile

import numpy as np

from byol_jax.data.sources import idx

_HERE = os.path.dirname(os.path.abspath(__file__))
_SEED = 20200523  # the day of the upstream version that Debian packages
# split: (the IDX files' prefix, images per class)
_SPLITS = {'train': ('train', 1000), 'test': ('t10k', 200)}


def choose(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
  """Chooses `per_class` members of every class.

  Args:
    labels: uint8 [N].
    per_class: how many indices to take of each class.
    seed: seeds the permutation whose first `per_class` members win.

  Returns:
    int64 [classes * per_class], ascending indices into `labels`.
  """
  # RandomState and not default_rng: numpy promises never to change its streams.
  order = np.random.RandomState(seed).permutation(len(labels))
  classes = np.unique(labels)
  taken = [order[labels[order] == c][:per_class] for c in classes]
  return np.sort(np.concatenate(taken))


def make(source: str) -> dict[str, np.ndarray]:
  """Reads the four IDX files in `source`, returns the sample's arrays."""
  arrays = {}
  for split, (prefix, per_class) in _SPLITS.items():
    images = idx.read_idx(idx.find_idx(source, f'{prefix}-images-idx3-ubyte'), 3)
    labels = idx.read_idx(idx.find_idx(source, f'{prefix}-labels-idx1-ubyte'), 1)
    chosen = choose(labels, per_class, _SEED)
    arrays[f'x_{split}'] = images[chosen]
    arrays[f'y_{split}'] = labels[chosen]
  return arrays


def save(path: str, arrays: dict[str, np.ndarray]) -> None:
  """Writes an .npz as numpy does, with zlib's best level and a fixed date."""
  with zipfile.ZipFile(path, 'w') as archive:
    for name, array in arrays.items():
      content = io.BytesIO()
      np.lib.format.write_array(content, array, allow_pickle=False)
      archive.writestr(
          zipfile.ZipInfo(name + '.npy'),  # dated 1980-01-01
          content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
  parser.add_argument('--source', default='/usr/share/datasets/fashion-mnist',
                      help='folder with the four IDX files')
  parser.add_argument('--output',
                      default=os.path.join(_HERE, 'fashion_sample.npz'))
  args = parser.parse_args()
  arrays = make(args.source)
  save(args.output, arrays)
  for name, array in arrays.items():
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    print(f'{name}: {array.shape} {array.dtype} sha256 {digest}')
  print(f'{args.output}: {os.path.getsize(args.output):,} bytes')


if __name__ == '__main__':
  main()
