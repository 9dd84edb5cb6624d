"""Opens a source by its name."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import os

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data.sources import arrays
from byol_jax.data.sources import folder as folder_lib
from byol_jax.data.sources import lists
from byol_jax.data.sources import names as names_lib
from byol_jax.data.sources import prepared as prepared_lib
from byol_jax.data.sources import table
from byol_jax.data.sources import tfds as tfds_lib
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

_OF_FILES = ('folder', 'list', 'npz', 'fashion_mnist')


def open_source(
    source: str,
    *,
    path: str | None = None,
    split: str = 'train',
    test_path: str | None = None,
    class_names: tuple[str, ...] | None = None,
    max_bad: int | None = None,
    max_bytes: int | None = None,
    tfds_name: str | None = None,
    image_size: int = 32,
    num_images: int = 1024,
    num_classes: int = 10,
    seed: int = 0,
) -> table.Images | table.Encoded | None:
  """Opens one split of a data set.

  Args:
    source: one of `SOURCES`.
    path: the folder ('fashion_mnist', 'folder', 'prepared'), the file ('npz',
      'list') or TFDS's data_dir ('tfds'). None: Debian's folder of
      Fashion-MNIST, TFDS's default.
    split: 'train' or 'test'; for 'folder' also the name of another part, for
      'tfds' any TFDS split.
    test_path: the list of the test part, for 'list'.
    class_names: those of the training part, for the test part of a 'list'; None
      where its labels are numbers.
    max_bad: how many images may be bad; None: `bad.default_limit`.
    max_bytes: how large the arrays of an 'npz' may be; None for any size.
    tfds_name: the data set's name, for 'tfds'.
    image_size: of views; side of the images, for 'fake'.
    num_images: number of images, for 'fake'.
    num_classes: number of classes, for 'fake'; 0 for no labels.
    seed: seed of the images, for 'fake'.

  Returns:
    The images; None where `split` is 'test' and the data ('npz', 'folder',
    'tfds') has no test part.

  Raises:
    UserError: no such source, or the data is missing, damaged or of a form that
      cannot be used. The message names the path.
    TransientError: a bucket cannot be reached, or storage fails for a minute.
  """
  # the shell expands no ~ behind the = of a flag
  path, test_path = (x and os.path.expanduser(x) for x in (path, test_path))
  for key, value in (('path', path), ('test_path', test_path)):
    if value and paths_lib.in_bucket(value) and source in _OF_FILES:
      raise UserError(f'config key data.{key} is {value!r}, but data.source='
                      f"'{source}' reads local files: mount the bucket, or make "
                      'records with configs/prepare.py and copy those there')
  if path and paths_lib.in_bucket(path):
    paths_lib.require(path)
  if source == 'fashion_sample':
    return arrays.fashion_sample(split)
  if source == 'fashion_mnist':
    return arrays.fashion_mnist(path or arrays.DEBIAN_FASHION_MNIST, split)
  if source == 'npz':
    return arrays.npz(_needed(path, source, 'an .npz file'), split, max_bytes)
  if source == 'folder':
    return folder(_needed(path, source, 'a folder of images'), split, max_bad)
  if source == 'list':
    arrays.train_or_test(split, 'list')
    path = _needed(path, source, 'a text or CSV file that lists images')
    if split == 'test':
      path = test_path
    return file_list(path, split, class_names, max_bad) if path else None
  if source == 'prepared':
    path = _needed(path, source, 'a folder that task=prepare wrote')
    return prepared(path, split, max_bad, image_size)
  if source == 'tfds':
    return tfds(tfds_name, split, path, max_bad)
  if source == 'fake':
    return arrays.fake(num_images, image_size, num_classes, seed, split)
  raise UserError(
      f'config.data.source={source!r} is not one of {", ".join(names_lib.SOURCES)}')


def folder(path: str, split: str, max_bad: int | None = None) -> table.Encoded | None:
  """Image files in a folder, flat or one folder a class: `folder.list_folder`.

  A file is looked at when it is read, not before.
  """
  listing = folder_lib.list_folder(path, split)
  if listing is None:
    return None
  return _files(listing.root, listing.files, listing.labels,
                listing.class_names, listing.root, max_bad)


def file_list(path: str, split: str = 'train',
              class_names: tuple[str, ...] | None = None,
              max_bad: int | None = None) -> table.Encoded:
  """Image files by name, with or without labels: `lists.read_list`."""
  listed = lists.read_list(path, split, class_names)
  return _files(*listed, path, max_bad)


def _files(root: str, files: Sequence[str], labels: np.ndarray | None,
           class_names: tuple[str, ...] | None, name: str,
           max_bad: int | None) -> table.Encoded:
  """Files below a folder as a source."""
  return table.Encoded(
      read=lambda index: folder_lib.read_file(os.path.join(root, files[index])),
      size=len(files), labels=labels, names=files, class_names=class_names,
      name=name, bad=bad_lib.BadImages(files, name, max_bad), root=root)


def prepared(path: str, split: str,
             max_bad: int | None = None, image_size: int = 0) -> table.Encoded | None:
  """What task=prepare has written: `prepared.open_prepared`."""
  opened = prepared_lib.open_prepared(path, split)
  if opened is None:
    return None
  if 0 < opened.short_side < image_size:
    _console.warning(
        'WARNING: %s, %s: images were prepared with a short side of %d pixels, fewer '
        'than config key data.image_size = %d: they will be enlarged; prepare them '
        'anew, or set a smaller size', path, split, opened.short_side, image_size)
  return table.Encoded(
      read=opened.read, size=len(opened.names), labels=opened.labels,
      names=opened.names, class_names=opened.class_names, name=path,
      bad=bad_lib.BadImages(opened.names, path, max_bad), identity=opened.identity)


def tfds(
    tfds_name: str | None, split: str, data_dir: str | None = None,
    max_bad: int | None = None,
) -> table.Encoded | None:
  """A prepared TFDS data set: `tfds_records.open_records`."""
  records = tfds_lib.open_records(tfds_name, split, data_dir)
  if records is None:
    return None
  name = f'tfds {tfds_name or data_dir}'
  return table.Encoded(
      read=records.read, size=records.size, labels=records.labels,
      names=records.names, class_names=records.class_names, name=name,
      bad=bad_lib.BadImages(records.names, name, max_bad), identity=records.identity)


def _needed(path: str | None, source: str, what: str) -> str:
  """Returns the path, UserError if there is none."""
  if not path:
    raise UserError(
        f'config.data.source={source!r} needs config.data.path: {what}')
  return path
