"""Opens the folder of a prepared TFDS data set, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
import pathlib
import re
from typing import Any

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib

_INFO = 'its dataset_info.json or features.json is missing or damaged'


def open_builder(tfds: Any, name: str | None, data_dir: str | None) -> Any:
  """Opens a prepared data set, without the code that prepared it.

  Args:
    tfds: the module.
    name: 'cifar10', 'imagenet2012:5.*.*' or 'my_data/config', for example. None if
      `data_dir` is itself the folder of one prepared version.
    data_dir: the folder that holds the prepared data sets; None for TFDS's own.

  Returns:
    TFDS's builder, which knows the splits and features.

  Raises:
    UserError: the data set is not prepared, damaged, or may not be read.
    TransientError: the storage fails for a minute.
  """
  if not name:
    if data_dir and 'features.json' in paths_lib.names(data_dir):
      return _insist_on(
          lambda: tfds.builder_from_directory(data_dir), data_dir,
          lambda error: f'TFDS folder {data_dir!r} is damaged '
                        f'({errors.one_line(error)}): {_INFO}; prepare it again')
    raise UserError('config.data.tfds_name is not set: it must be the name of a '
                    'TFDS data set, as cifar10')
  # people write 'imagenet2012:5.*', but TFDS wants all three numbers
  name = re.sub(r':(\d+)\.\*$', r':\1.*.*', name)
  where = str(data_dir or tfds.core.constants.DATA_DIR)
  if not data_dir and paths_lib.in_bucket(where):
    paths_lib.require(where)  # `open_part` does so with data_dir
  if data_dir and not paths_lib.in_bucket(where) and not os.path.isdir(where):
    raise UserError(f'TFDS folder {data_dir!r} does not exist: check '
                    'config.data.path')
  # Not tfds.builder: it runs the data set's code, and names with a namespace
  # make it go to the network.
  return _insist_on(
      lambda: tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir),
      os.path.join(where, name.split(':')[0]),
      lambda error: _why_not_there(name, where, error))


def _insist_on(build: Callable[[], Any], folder: str,
               why: Callable[[Exception], str]) -> Any:
  """Returns a builder, or raises the error for what is wrong with its folder.

  TFDS takes a bucket that does not answer for one without the data set. So the call
  is made a second time, once the bucket has answered.
  """
  for is_last in (False, True):
    try:
      return build()
    except Exception as error:  # not found, or an error of the parsers of its files
      cause = failures.cause(error)
      may_pass = cause is not None and failures.may_pass(cause)
      if not is_last and (may_pass or paths_lib.in_bucket(folder)) and (
          paths_lib.names(folder)):
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
  """Reads the files that describe a data set, for their clearer errors.

  Raises:
    UserError, TransientError: a file cannot be read.
  """
  for version in ('', *paths_lib.names(folder)):
    for name in ('dataset_info.json', 'features.json'):
      path = os.path.join(folder, version, name)
      with paths_lib.reading(path), contextlib.suppress(FileNotFoundError):
        paths_lib.read_bytes(path)


def _why_not_there(name: str, where: str, error: Exception) -> str:
  """Returns the reason why TFDS finds no data set of a name."""
  plain = name.split(':')[0]
  again = f'tfds build {plain} --data_dir={where} --file_format=array_record'
  versions = paths_lib.names(os.path.join(where, plain))
  if versions:
    return (f'TFDS data set {name!r} cannot be opened in {where} '
            f'({errors.one_line(error)}): there is {", ".join(versions)}; if that is '
            f'what you want, {_INFO}: prepare it again with: {again}')
  # the data set's own folder, or a version's, instead of the folder around it
  parents = pathlib.PurePath(where)
  for parent in (parents, *parents.parents):
    if parent.name == plain.split('/')[0]:
      return (f'TFDS data set {name!r} is not below {where}: set config.data.path to '
              f'the folder around it, {parent.parent}')
  return (f'TFDS data set {name!r} is not prepared in {where}; prepare it with: '
          f'{again}')
