"""The source 'tfds': a prepared TFDS data set, as encoded records with random access.

It reads the prepared files alone: the data set's own code is not run and nothing is
ever downloaded. Files in the array_record format are read by random access, and so
are TFRecord files, once their records are found. Other formats are read into memory
once, still encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import hashlib
import json
import logging
import os
from typing import Any, NamedTuple

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data import workers
from byol_jax.data.records import index as index_lib
from byol_jax.data.records import shards
from byol_jax.data.records import tfrecord
from byol_jax.data.records.tf_cpu import import_tf
from byol_jax.data.sources import lazy
from byol_jax.data.sources import table
from byol_jax.data.sources import tfds_folder
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

_NAMES = ('file_name', 'filename', 'image/filename')  # features, as ImageNet has it
_MAX_BYTES = 4 * 2**30  # a data set without random access is held in memory


class _Part(NamedTuple):
  """One split of a data set, and the features that are read of each record."""
  tfds: Any  # the module
  builder: Any
  split: str
  image: str
  label: str | None
  name: str | None  # the feature with the file's name

  @property
  def info(self) -> Any:
    return self.builder.info

  @property
  def size(self) -> int:
    return self.info.splits[self.split].num_examples

  @property
  def shards(self) -> Sequence[Any]:
    """Returns the files: name, number of records, and the records of the split."""
    return self.info.splits[self.split].file_instructions

  @property
  def files(self) -> list[str]:
    return [str(shard.filename) for shard in self.shards]

  def damaged(self, why: object) -> UserError:
    """Returns the error for files that are missing or broken, or may not be read."""
    if isinstance(why, OSError) and not isinstance(why, FileNotFoundError):
      return paths_lib.refused(str(self.builder.data_dir), why)
    return UserError(f'cannot read TFDS data set {self.info.full_name} in '
                     f'{self.builder.data_dir}: {why}; prepare it again')


class _Records(NamedTuple):
  """The content of a part."""
  read: Callable[[int], bytes]  # the encoded image
  labels: np.ndarray | lazy.Labels | None  # int32 [N]
  names: Sequence[str] | None


def open_split(request: table.Request, split: str,
               max_bytes: int = _MAX_BYTES) -> table.Encoded | None:
  """Opens a split of a data set that `tfds build` has prepared.

  Args:
    request: `tfds_name` and `path`, as in `tfds_folder.open_builder`.
    split: a TFDS split, as 'train' or 'train[10000:]'. 'test' means
      'validation' where the data set has no 'test'.
    max_bytes: the most that may be read into memory.

  Returns:
    The records, or None where `split` is 'test' and there is neither 'test' nor
    'validation'. Labels are None without a feature 'label' of one integer, or
    if a label is negative (hidden test labels).

  Raises:
    UserError: the data set is not prepared, has no such split or no suitable
      feature 'image', or is too large to be read into memory.
    TransientError: the storage fails for a minute.
  """
  tfds = _import_tfds()
  builder = tfds_folder.open_builder(tfds, request.tfds_name, request.path)
  split = _choose_split(builder, split)
  if split is None:
    return None
  part = _Part(tfds, builder, split, *_wanted_features(tfds, builder))
  info, formats = part.info, tfds.core.FileFormat
  sizes = _sizes(part)
  if info.file_format == formats.ARRAY_RECORD:
    # not TFDS's own data source, which keeps every shard open (no issue known)
    records = _by_random_access(part, shards.reader(part.files))
  elif info.file_format == formats.TFRECORD:
    records = _by_random_access(part, _tfrecords(part))
  else:
    records = _in_memory(part, sizes, max_bytes)
  labels, class_names = records.labels, None
  if labels is not None and _are_hidden(labels):
    _console.info('%s, split %s: hidden labels, so none', info.full_name, split)
    labels = None
  if labels is not None:
    class_names = tuple(getattr(info.features[part.label], 'names', None) or ()) or None
  names = records.names or lazy.Names(
      lambda index: f'{info.full_name}, split {split}, record {index}', part.size)
  name = f'tfds {request.tfds_name or request.path}'
  return table.Encoded(
      records.read, part.size, labels, names, class_names, name,
      bad_lib.BadImages(names, name, request.max_bad),
      identity=_identity(part, sizes, records.read(0)))


def _identity(part: _Part, sizes: Sequence[int], first: bytes) -> str:
  """Returns a text that changes with the records' number and order."""
  files = [[os.path.basename(shard.filename), size, shard.skip, shard.take,
            shard.examples_in_shard] for shard, size in zip(part.shards, sizes)]
  return json.dumps([part.info.full_name, part.split, part.info.file_format.value,
                     files, hashlib.sha256(first).hexdigest()])


def _import_tfds() -> Any:
  """Imports tensorflow_datasets, after TensorFlow was made quiet."""
  import_tf()
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise UserError(
        f"config.data.source='tfds' needs tensorflow_datasets ({error}): "
        'pip install tensorflow-datasets') from error
  return tfds


def _choose_split(builder: Any, split: str) -> str | None:
  """Returns the split to read; None if there is no test part."""
  splits = builder.info.splits
  if split == 'test' and 'test' not in splits:
    if 'validation' not in splits:
      return None
    _console.info('%s has no split test: taking validation',
                 builder.info.full_name)
    return 'validation'
  try:
    size = splits[split].num_examples
  except Exception as error:  # TFDS raises KeyError, ValueError, AssertionError
    raise UserError(
        f'TFDS data set {builder.info.full_name} has no split {split!r}, only '
        f'{", ".join(sorted(splits))}') from error
  if not size:
    raise UserError(
        f'split {split!r} of {builder.info.full_name} has no records')
  return split


def _wanted_features(tfds: Any, builder: Any) -> tuple[str, str | None, str | None]:
  """Returns the features 'image' (checked), label and file name; None without."""
  features = builder.info.features
  is_dict = isinstance(features, tfds.features.FeaturesDict)
  features = dict(features.items()) if is_dict else {}
  image = features.get('image')
  if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
    raise UserError(
        f"{builder.info.full_name} has no 8-bit image feature called 'image': "
        f'its features are {", ".join(features) or "none"}')
  label = features.get('label')
  is_label = (label is not None and label.shape == ()
              and np.issubdtype(label.np_dtype, np.integer))
  names = [name for name in _NAMES
           if isinstance(features.get(name), tfds.features.Text)]
  return 'image', 'label' if is_label else None, names[0] if names else None


def _sizes(part: _Part) -> list[int]:
  """Returns the size of each file in bytes; raises UserError if one is missing."""
  def size(path: str) -> int:
    try:
      return retry.insist(lambda: paths_lib.stat(path), repr(path))[0]
    except FileNotFoundError as error:
      raise part.damaged(f'{path} is missing') from error
    except OSError as error:
      raise part.damaged(error) from error
  return list(workers.each(size, part.files))


def _tfrecords(part: _Part) -> Callable[[int, int], bytes]:
  """Returns (file's index, record's number in it) -> the record of TFRecord files."""
  files = part.files
  try:
    starts = [found['starts'] for found in index_lib.indexes(
        files, lambda path: {'starts': tfrecord.index(path)}, 'TFRecord')]
    for file, shard, found in zip(files, part.shards, starts):
      if len(found) - 1 != shard.examples_in_shard:
        raise ValueError(f'{file} has {len(found) - 1} records, not '
                         f'{shard.examples_in_shard}')
  except (OSError, ValueError) as error:
    raise part.damaged(error) from error

  def read(shard: int, k: int) -> bytes:
    return retry.insist(lambda: tfrecord.read(
        files[shard], *map(int, starts[shard][k:k + 2])), repr(files[shard]))
  return read


def _by_random_access(part: _Part, read_one: Callable[[int, int], bytes]) -> _Records:
  """Returns the content of a part whose records, by file and number, are read alone."""
  read_record = shards.by_number(
      part.files, [shard.take for shard in part.shards], read_one,
      lambda file, k, error: part.damaged(f'record {k} of {file}: {error}'),
      [shard.skip for shard in part.shards])

  def parser(*features: str | None) -> Callable[[int], dict[str, Any]]:
    # Parses only these features, not bounding boxes for example.
    only = part.tfds.features.FeaturesDict(
        {feature: part.info.features[feature] for feature in features if feature})
    decoders = {part.image: part.tfds.decode.SkipDecoding()} if (
        part.image in features) else None
    return lambda index: only.deserialize_example_np(read_record(int(index)),
                                                     decoders=decoders)
  parse = parser(part.image, part.label)
  labels, names, num_classes = None, None, None
  if part.label:
    num_classes = getattr(part.info.features[part.label], 'num_classes', None)
    labels = lazy.Labels(lambda index: parse(index)[part.label], part.size,
                         num_classes or 0)
  if part.name:
    parse_name = parser(part.name)
    names = lazy.FileNames(lambda index: _text(parse_name(index)[part.name]), part.size)

  def read(index: int) -> bytes:
    example = parse(index)
    if labels is not None:
      labels.put(int(index), example[part.label])
    return bytes(example[part.image])

  if labels is not None and num_classes is None:
    # only the labels say how many classes there are
    return _Records(read, np.asarray(labels), names)
  return _Records(read, labels, names)


def _in_memory(part: _Part, sizes: Sequence[int], max_bytes: int) -> _Records:
  """Reads every record of a format without random access, in file order."""
  info = part.info
  size = sum(size * shard.take // max(1, shard.examples_in_shard)
             for size, shard in zip(sizes, part.shards))
  if size > max_bytes:
    raise UserError(
        f'{info.full_name}, split {part.split}, has {size / 2**30:.1f} GiB in the '
        f'format {info.file_format.value}, too much to hold in memory; prepare '
        f'it again with: tfds build {info.name} --file_format=array_record')
  dataset = part.builder.as_dataset(
      split=part.split, shuffle_files=False,
      decoders={part.image: part.tfds.decode.SkipDecoding()},
      read_config=part.tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False))
  wanted = [feature for feature in (part.image, part.label, part.name) if feature]
  dataset = dataset.map(lambda record: {key: record[key] for key in wanted})
  records = []
  try:
    records.extend(part.tfds.as_numpy(dataset))
  except import_tf().errors.OpError as error:
    cause = failures.cause(error)
    if cause is not None and failures.may_pass(cause):
      raise TransientError(
          f'cannot read {part.builder.data_dir}: {error.message}') from error
    # The message without the names of TensorFlow's functions and operations.
    why = error.message.split('}} ')[-1].split(' [Op')[0]
    raise part.damaged(why) from error
  labels = names = None
  if part.label:
    labels = np.array([record[part.label] for record in records], np.int32)
  if part.name:
    names = [_text(record[part.name]) for record in records]
  return _Records([record[part.image] for record in records].__getitem__, labels, names)


def _text(value: bytes) -> str:
  return value.decode(errors='backslashreplace')


def _are_hidden(labels: np.ndarray | lazy.Labels) -> bool:
  """Returns whether a label is negative; the first of `Labels` stands for all."""
  return bool((labels[:1] if isinstance(labels, lazy.Labels) else labels).min() < 0)
