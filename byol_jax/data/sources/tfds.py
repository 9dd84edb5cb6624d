"""A prepared TFDS data set as encoded records with random access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent import futures
import hashlib
import json
import logging
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from byol_jax import errors
from byol_jax.data.records import shards
from byol_jax.data.records import tfrecord
from byol_jax.data.records.tf_cpu import import_tf
from byol_jax.data.sources import lazy
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

_NAMES = ('file_name', 'filename', 'image/filename')  # features, as ImageNet has it
_INFO = 'its dataset_info.json or features.json is missing or damaged'
_MAX_BYTES = 4 * 2**30  # of a data set without random access, held in memory


class Records(NamedTuple):
  """One split of a TFDS data set."""
  read: Callable[[int], bytes]  # the encoded image
  size: int
  labels: np.ndarray | lazy.Labels | None  # int32 [N]
  class_names: tuple[str, ...] | None
  names: Sequence[str]  # file names, or 'tiny/1.0.0, split train, record 5'
  identity: str  # changes with the records' number and order


def open_records(
    name: str | None,
    split: str,
    data_dir: str | None = None,
    max_bytes: int = _MAX_BYTES,
) -> Records | None:
  """Opens a split of a data set that `tfds build` has prepared.

  Works from the prepared files alone: the data set's own code is not run and
  nothing is ever downloaded. Files in the array_record format are read by
  random access, and so are TFRecord files, once their records are found
  (`tfrecord.indexes`); what else there is is read into memory once, still encoded.

  Args:
    name: TFDS name, as 'cifar10', 'imagenet2012:5.*.*' or 'my_data/config'.
      None if `data_dir` is itself the folder of one prepared version.
    split: a TFDS split, as 'train' or 'train[10000:]'. 'test' means
      'validation' where the data set has no 'test'.
    data_dir: the folder that holds the prepared data sets; None for TFDS's own.
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
  if name:  # as people write it, 'imagenet2012:5.*'; TFDS wants all three numbers
    name = re.sub(r':(\d+)\.\*$', r':\1.*.*', name)
  builder = _open_builder(tfds, name, data_dir)
  info = builder.info
  title = info.full_name
  split = _choose_split(builder, split)
  if split is None:
    return None
  wanted = _wanted_features(tfds, builder)
  size = info.splits[split].num_examples
  sizes = _sizes(builder, split)
  read_record, formats = None, tfds.core.FileFormat
  if builder.info.file_format == formats.ARRAY_RECORD:
    read_record = _array_records(builder, split)
  elif builder.info.file_format == formats.TFRECORD:
    read_record = _tfrecords(builder, split)
  if read_record is not None:
    read, labels, names = _by_random_access(tfds, builder, read_record, wanted, size)
  else:
    read, labels, names = _read_into_memory(tfds, builder, split, wanted, sizes,
                                            max_bytes)
  if labels is not None and _are_hidden(labels):
    _console.info('%s, split %s: hidden labels, so none', title, split)
    labels = None
  class_names = None
  if labels is not None:
    class_names = tuple(getattr(builder.info.features['label'], 'names', None)
                        or ()) or None
  identity = json.dumps([title, split, info.file_format.value, [
      [os.path.basename(shard.filename), size, shard.skip, shard.take,
       shard.examples_in_shard]
      for shard, size in zip(info.splits[split].file_instructions, sizes)],
      hashlib.sha256(read(0)).hexdigest()])
  return Records(read, size, labels, class_names, names or _Numbers(title, split, size),
                 identity)


class _Numbers(Sequence):
  """'title, split split, record 5' for every record, made when asked for."""

  def __init__(self, title: str, split: str, size: int):
    self._prefix = f'{title}, split {split}, record '
    self._size = size

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> str:
    return f'{self._prefix}{range(self._size)[index]}'


def _import_tfds() -> Any:
  """Imports tensorflow_datasets, after TensorFlow was made quiet."""
  import_tf()
  try:
    import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise UserError(
        f"config.data.source='tfds' needs tensorflow_datasets ({error}): "
        'pip install tensorflow-datasets') from error
  return tfds


def _open_builder(tfds: Any, name: str | None, data_dir: str | None) -> Any:
  """Opens the prepared files, without the code that prepared them."""
  if not name:
    if data_dir and 'features.json' in _names(data_dir):
      return _insist_on(
          lambda: tfds.builder_from_directory(data_dir), data_dir,
          lambda error: f'TFDS folder {data_dir!r} is damaged '
                        f'({errors.one_line(error)}): {_INFO}; prepare it again')
    raise UserError('config.data.tfds_name is not set: it must be the name of a '
                    'TFDS data set, as cifar10')
  where = str(data_dir or tfds.core.constants.DATA_DIR)
  if not data_dir and paths_lib.in_bucket(where):
    paths_lib.require(where)  # as `open_source` does with data_dir
  if data_dir and not paths_lib.in_bucket(where) and not os.path.isdir(where):
    raise UserError(f'TFDS folder {data_dir!r} does not exist: check '
                    'config.data.path')
  # Not tfds.builder: it runs the data set's code, and names with a namespace
  # make it go to the network.
  return _insist_on(
      lambda: tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir),
      os.path.join(where, name.split(':')[0]),
      lambda error: _why_not_there(name, where, error))


def _insist_on(open_builder: Callable[[], Any], folder: str,
               why: Callable[[Exception], str]) -> Any:
  """A builder, or the error for what is wrong with its folder.

  TFDS takes a bucket that does not answer for one without the data set: what it
  does not find it must not find again once the bucket has answered.
  """
  for is_last in (False, True):
    try:
      return open_builder()
    except Exception as error:  # not found, or of the parsers of its files
      cause = failures.cause(error)
      may_pass = cause is not None and failures.may_pass(cause)
      if not is_last and (may_pass or paths_lib.in_bucket(folder)) and _names(folder):
        continue
      if cause is None or isinstance(cause, FileNotFoundError):
        if paths_lib.in_bucket(folder):
          _read_descriptions(folder)  # TFDS passes over one that it may not read
        raise UserError(why(error)) from error
      if may_pass:
        raise TransientError(f'cannot read {folder}: {cause.strerror}') from error
      raise paths_lib.refused(folder, cause) from error
  raise AssertionError('not reached')


def _read_descriptions(folder: str) -> None:
  """Reads the files that describe a data set; their own errors are clearer.

  Raises:
    UserError, TransientError: one cannot be read.
  """
  for version in ('', *_names(folder)):
    for name in ('dataset_info.json', 'features.json'):
      path = os.path.join(folder, version, name)
      try:
        retry.insist(lambda path=path: paths_lib.read_bytes(path), repr(path))
      except FileNotFoundError:
        pass
      except OSError as error:
        raise paths_lib.refused(path, error) from error


def _names(folder: str) -> list[str]:
  """What is in a folder, once it answers."""
  try:
    return paths_lib.names(folder)
  except OSError as error:
    raise paths_lib.refused(folder, error) from error


def _why_not_there(name: str, where: str, error: Exception) -> str:
  """What is wrong, where TFDS finds no data set of a name."""
  plain = name.split(':')[0]
  again = f'tfds build {plain} --data_dir={where} --file_format=array_record'
  versions = _names(os.path.join(where, plain))
  if versions:
    return (f'TFDS data set {name!r} cannot be opened in {where} '
            f'({errors.one_line(error)}): there is {", ".join(versions)}; if that is '
            f'what you want, {_INFO}: prepare it again with: {again}')
  # its own folder, or that of a version, instead of the one around
  parents = pathlib.PurePath(where)
  for parent in (parents, *parents.parents):
    if parent.name == plain.split('/')[0]:
      return (f'TFDS data set {name!r} is not below {where}: set config.data.path to '
              f'the folder around it, {parent.parent}')
  return (f'TFDS data set {name!r} is not prepared in {where}; prepare it with: '
          f'{again}')


def _choose_split(builder: Any, split: str) -> str | None:
  """Returns the split to read, None if there is nothing to test on."""
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


class _Wanted(NamedTuple):
  """The features that are read, by what they are."""
  image: str
  label: str | None
  name: str | None


def _wanted_features(tfds: Any, builder: Any) -> _Wanted:
  """Checks the feature 'image', and looks for one that is a label and a file's name."""
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
  return _Wanted('image', 'label' if is_label else None, names[0] if names else None)


def _sizes(builder: Any, split: str) -> list[int]:
  """Of the files of a split, in bytes; one that is missing is named now."""
  def size(shard: Any) -> int:
    path = str(shard.filename)
    try:
      return retry.insist(lambda: paths_lib.stat(path), repr(path))[0]
    except FileNotFoundError as error:
      raise _damaged(builder, f'{path} is missing') from error
    except OSError as error:
      raise _damaged(builder, error) from error
  with futures.ThreadPoolExecutor(lazy.THREADS) as pool:  # storage takes its time
    return list(pool.map(size, builder.info.splits[split].file_instructions))


def _array_records(builder: Any, split: str) -> Callable[[int], bytes]:
  """Reads a record of a split, the whole serialized example."""
  instructions = builder.info.splits[split].file_instructions
  # not TFDS's own data source, which keeps every shard open
  return _by_number(builder, instructions, shards.reader(
      [str(shard.filename) for shard in instructions]))


def _tfrecords(builder: Any, split: str) -> Callable[[int], bytes]:
  """As `_array_records`, for TFRecord files."""
  instructions = builder.info.splits[split].file_instructions
  files = [str(shard.filename) for shard in instructions]
  try:
    starts = tfrecord.indexes(files)
    for file, shard, found in zip(files, instructions, starts):
      if len(found) - 1 != shard.examples_in_shard:
        raise ValueError(f'{file} has {len(found) - 1} records, not '
                         f'{shard.examples_in_shard}')
  except (OSError, ValueError) as error:
    raise _damaged(builder, error) from error

  def read(shard: int, k: int) -> bytes:
    return retry.insist(lambda: tfrecord.read(
        files[shard], *map(int, starts[shard][k:k + 2])), repr(files[shard]))
  return _by_number(builder, instructions, read)


def _by_number(builder: Any, instructions: Sequence[Any],
               read: Callable[[int, int], bytes]) -> Callable[[int], bytes]:
  """Finds the shard of a record and its number there, and names both on damage."""
  first = np.cumsum([0] + [shard.take for shard in instructions])

  def read_record(index: int) -> bytes:
    shard = int(np.searchsorted(first, index, 'right')) - 1
    k = int(index - first[shard]) + instructions[shard].skip
    try:
      return read(shard, k)
    # array_record raises the first two
    except (RuntimeError, IndexError, ValueError, OSError) as error:
      file = instructions[shard].filename
      cause = failures.cause(error)  # of array_record, which may lack the right
      if cause is not None and not isinstance(cause, FileNotFoundError):
        raise paths_lib.refused(str(file), cause) from error
      raise _damaged(builder, f'record {k} of {file}: {error}') from error
  return read_record


def _by_random_access(
    tfds: Any, builder: Any, read_record: Callable[[int], bytes], wanted: _Wanted,
    size: int,
) -> tuple[Callable[[int], bytes], np.ndarray | lazy.Labels | None, lazy.FileNames | None]:
  """(reads an image, labels, names) from a way to read whole records."""
  def parser(*features: str | None) -> Callable[[int], dict[str, Any]]:
    # Parses these features and no others, bounding boxes for example.
    only = tfds.features.FeaturesDict(
        {feature: builder.info.features[feature] for feature in features if feature})
    decoders = {wanted.image: tfds.decode.SkipDecoding()} if (
        wanted.image in features) else None
    return lambda index: only.deserialize_example_np(read_record(int(index)),
                                                     decoders=decoders)
  parse = parser(wanted.image, wanted.label)
  labels, names, num_classes = None, None, None
  if wanted.label:
    num_classes = getattr(builder.info.features[wanted.label], 'num_classes', None)
    labels = lazy.Labels(lambda index: parse(index)[wanted.label], size, num_classes or 0)
  if wanted.name:
    parse_name = parser(wanted.name)
    names = lazy.FileNames(lambda index: _text(parse_name(index)[wanted.name]), size)

  def read(index: int) -> bytes:
    example = parse(index)
    if labels is not None:
      labels.put(int(index), example[wanted.label])
    return bytes(example[wanted.image])

  if labels is not None and num_classes is None:
    # How many classes there are, the labels alone can tell.
    return read, np.asarray(labels), names
  return read, labels, names


def _read_into_memory(
    tfds: Any, builder: Any, split: str, wanted: _Wanted, sizes: Sequence[int],
    max_bytes: int,
) -> tuple[Callable[[int], bytes], np.ndarray | None, list[str] | None]:
  """Reads every record of a format without random access, in file order."""
  info = builder.info
  size = sum(size * shard.take // max(1, shard.examples_in_shard) for size, shard
             in zip(sizes, info.splits[split].file_instructions))
  if size > max_bytes:
    raise UserError(
        f'{info.full_name}, split {split}, has {size / 2**30:.1f} GiB in the '
        f'format {info.file_format.value}, too much to hold in memory; prepare '
        f'it again with: tfds build {info.name} --file_format=array_record')
  dataset = builder.as_dataset(
      split=split, shuffle_files=False,
      decoders={wanted.image: tfds.decode.SkipDecoding()},
      read_config=tfds.ReadConfig(
          interleave_cycle_length=1, try_autocache=False))
  dataset = dataset.map(
      lambda record: {key: record[key] for key in wanted if key})
  records = []
  try:
    records.extend(tfds.as_numpy(dataset))
  except import_tf().errors.OpError as error:
    cause = failures.cause(error)
    if cause is not None and failures.may_pass(cause):
      raise TransientError(f'cannot read {builder.data_dir}: {error.message}') from error
    # Without the names of TensorFlow's functions and operations.
    why = error.message.split('}} ')[-1].split(' [Op')[0]
    raise _damaged(builder, why) from error
  labels = names = None
  if wanted.label:
    labels = np.array([record[wanted.label] for record in records], np.int32)
  if wanted.name:
    names = [_text(record[wanted.name]) for record in records]
  return [record[wanted.image] for record in records].__getitem__, labels, names


def _text(value: bytes) -> str:
  return value.decode(errors='backslashreplace')


def _are_hidden(labels: np.ndarray | lazy.Labels) -> bool:
  """Whether a label is negative; of `Labels` the first tells for all."""
  return bool((labels[:1] if isinstance(labels, lazy.Labels) else labels).min() < 0)


def _damaged(builder: Any, why: object) -> UserError:
  """The error for files that are missing or broken, or may not be read."""
  if isinstance(why, OSError) and not isinstance(why, FileNotFoundError):
    return paths_lib.refused(str(builder.data_dir), why)
  return UserError(
      f'cannot read TFDS data set {builder.info.full_name} in '
      f'{builder.data_dir}: {why}; prepare it again')
