"""task=prepare: a folder, a list or a TFDS data set becomes ArrayRecord shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import socket
from typing import Any

import jax
import ml_collections
import numpy as np
from PIL import Image

from byol_jax.data import fingerprint as fingerprint_lib
from byol_jax.data.feed import stream
from byol_jax.data.images import decode
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import prepared
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.run import console as console_lib
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

_PARTS = ('train', 'test')
_AHEAD = 4  # images a thread: enough for one that takes four times as long
_MAX_JPEG_SIDE = 65_500  # libjpeg's JPEG_MAX_DIMENSION


def run(config: ml_collections.ConfigDict) -> None:
  """Prepares the training part and, if there is one, the test part.

  A run that was killed goes on with the shards that it lacks. Run again when all
  is there, it reads every shard and compares its SHA-256.

  Args:
    config: `data` says what is read, `prepare` what becomes of it.

  Raises:
    UserError: whatever the user can mend.
  """
  data, options = config.data, config.prepare
  if not options.output:
    raise UserError('config key prepare.output is empty: set it to the folder to '
                    'write, --config.prepare.output=DIR')
  if paths_lib.in_bucket(options.output):
    raise UserError(f'config key prepare.output is {options.output!r}: write to a '
                    'local folder and copy it to the bucket')
  output = os.path.expanduser(options.output)  # as data.path: no shell does it here
  if data.path:
    _check_apart(output, os.path.expanduser(data.path))
  if jax.process_count() > 1:
    raise UserError('task=prepare is the work of one process, here are '
                    f'{jax.process_count()}: run it on one host, without '
                    '--distributed')
  parts, class_names = [], None
  for part, split in zip(_PARTS, (data.train_split, data.test_split)):
    if not split:
      continue
    source = open_lib.open_source(
        data.source, path=data.path or None, split=split,
        test_path=data.test_path or None, class_names=class_names,
        max_bad=data.max_bad_images, tfds_name=data.tfds_name or None)
    if source is None:
      continue
    if not isinstance(source, table.Encoded):
      raise UserError(f'config key data.source is {data.source!r}, which needs no '
                      'preparation: it is read into memory')
    class_names = source.class_names
    parts.append((source, os.path.join(output, part)))
  with _alone(output):
    for source, folder in parts:
      _prepare(source, folder, options, data.threads or stream.cores())


def _check_apart(output: str, path: str) -> None:
  """Raises UserError where shards would lie among the images, links followed.

  A folder that prepare makes in there would be taken for a class, too.
  """
  images = os.path.realpath(path)
  for folder in (output, *(os.path.join(output, part) for part in _PARTS)):
    real = os.path.realpath(folder)
    if os.path.commonpath((images, real)) == images:
      what = 'which' if folder == output else f'so its part {folder!r}'
      where = 'is' if real == images else 'lies in'
      raise UserError(f'config key prepare.output is {output!r}, {what} {where} '
                      f'data.path: name a folder outside {path!r}')


def _prepare(source: table.Encoded, folder: str,
             options: ml_collections.ConfigDict, threads: int) -> None:
  """Writes one part."""
  # ------------------------------------------------------------ what is wanted
  names = unique_names(source.names)
  how = {'source': os.path.realpath(source.name) if source.root else source.name,
         'short_side': options.short_side,
         'quality': options.quality if options.short_side else None,
         'decoded_at': 2 * options.short_side or None}  # or more, before that
  class_names = list(source.class_names) if source.class_names else None
  shards = [range(first, min(first + options.images_per_shard, source.size))
            for first in range(0, source.size, options.images_per_shard)]
  files = [f'images-{k:05d}-of-{len(shards):05d}.array_record'
           for k in range(len(shards))]
  paths = [os.path.join(folder, file) for file in files]

  def fingerprint(rows: range) -> str:
    labels = None
    if isinstance(source.labels, np.ndarray):  # else they come with the images
      labels = source.labels[rows.start:rows.stop].tolist()
    return _sha256([how, class_names, names[rows.start:rows.stop], labels,
                    fingerprint_lib.file_states(source, rows), source.identity])

  fingerprints = list(map(fingerprint, shards))
  whole_fingerprint = _sha256(fingerprints)

  # ------------------------------------------------------------- what is there
  with prepared.writing(folder):
    os.makedirs(folder, exist_ok=True)
  done = prepared.read_metadata(folder)
  if done is not None:
    if done['fingerprint'] != whole_fingerprint:
      raise UserError(f'{folder!r} holds other data, was prepared otherwise, or '
                      'the images have changed since: remove it, or choose '
                      'another config key prepare.output')
    _verify(folder, done)
    return
  todo = []
  for k, rows in enumerate(shards):
    said = prepared.read_sidecar(paths[k])
    if (said is None or said['fingerprint'] != fingerprints[k]
        or not os.path.exists(paths[k])
        or os.path.getsize(paths[k]) != said['bytes']):
      todo.append(k)
      continue
    for i in rows:
      if names[i] in said['left_out']:
        source.bad.add(i, said['left_out'][names[i]])
  if len(todo) < len(shards):
    _console.info('%s: %d of %d shards are there, going on', folder,
                  len(shards) - len(todo), len(shards))

  # ----------------------------------------------------------- what is missing
  def make(i: int) -> bytes | BadImage:
    try:
      return smaller(source.read(i), options.short_side, options.quality)
    except BadImage as error:
      return error

  def records(rows: range, left_out: dict[str, str]):
    for i in rows:
      image = next(images)
      if isinstance(image, BadImage):
        left_out[names[i]] = str(image)
        source.bad.add(i, str(image))
      else:
        label = None if source.labels is None else int(source.labels[i])
        yield names[i], label, image
      bar.add(1)

  bar = console_lib.Progress(folder, sum(len(shards[k]) for k in todo))
  with (futures.ThreadPoolExecutor(1) as finisher, contextlib.closing(bar),
        contextlib.closing(_in_order(
            make, (i for k in todo for i in shards[k]), threads)) as images):
    finishing = None
    for k in todo:
      left_out = {}
      finish_shard = prepared.write_shard(
          paths[k], records(shards[k], left_out), left_out, fingerprints[k])
      if finishing is not None:
        finishing.result()
      finishing = finisher.submit(finish_shard)
    if finishing is not None:
      finishing.result()
  whole = prepared.finish(folder, files, fingerprint=whole_fingerprint, **how,
                          class_names=class_names)
  if source.bad:
    _console.warning('WARNING: %s', source.bad.summary())
  _console.info(
      '%s: %d images in %d shards, %.1f MiB', folder, whole['images'], len(shards),
      sum(shard['bytes'] for shard in whole['shards']) / 2**20)


def _verify(folder: str, metadata: dict[str, Any]) -> None:
  """Reads every shard of a finished part again."""
  for shard in metadata['shards']:
    prepared.check_shard(folder, shard)
    file = os.path.join(folder, shard['file'])
    if prepared.digest(file) != shard['sha256']:
      raise UserError(f'shard {file!r} is damaged: its SHA-256 is not the one in '
                      f'metadata.json; remove {folder!r} and prepare it again')
  _console.info('%s: complete, %d shards with the right SHA-256', folder,
                len(metadata['shards']))


def _sha256(said: Any) -> str:
  return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _in_order(function: Callable[[int], Any], items: Iterable[int],
              threads: int) -> Iterator[Any]:
  """Yields function(item) in the items' order, worked out by several threads.

  At most `_AHEAD` results a thread wait for their turn, which bounds the memory.
  """
  pool = futures.ThreadPoolExecutor(threads)
  begun = deque()
  try:
    for item in items:
      begun.append(pool.submit(function, item))
      if len(begun) > _AHEAD * threads:
        yield begun.popleft().result()
    while begun:
      yield begun.popleft().result()
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
  """Makes a folder and keeps other processes from preparing data in it.

  Raises:
    UserError: another one is at it. The system releases the lock with the process.
  """
  with prepared.writing(folder):
    os.makedirs(folder, exist_ok=True)
    # The file stays: were it removed, two could hold a lock, one without a name.
    lock = open(os.path.join(folder, prepared.LOCK), 'a+', encoding='utf-8')
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      lock.seek(0)
      raise UserError(
          f'{folder!r} is being written by {lock.read() or "another process"}: '
          'wait for its end, or choose another config key prepare.output'
      ) from error
    except OSError as error:  # a file system without locks
      _console.warning('warning: cannot lock %s (%s): do not prepare twice '
                       'into one folder at a time', folder, error.strerror)
    lock.truncate(0)
    lock.write(f'process {os.getpid()} on {socket.gethostname()}')
    lock.flush()
    yield


def unique_names(names: Iterable[str]) -> list[str]:
  """The names, the second 'a.jpg' as 'a.jpg#2', so that each names one image."""
  names = list(names)
  taken, count = set(names), {}
  result = []
  for name in names:
    count[name] = number = count.get(name, 0) + 1
    unique = name
    if number > 1:
      while (unique := f'{name}#{number}') in taken:
        number += 1
      taken.add(unique)
      count[name] = number
    result.append(unique)
  return result


def smaller(data: bytes, short_side: int, quality: int) -> bytes:
  """Makes an image smaller, never larger.

  Args:
    data: an encoded image.
    short_side: the new length of its shorter side; 0 leaves it as it is, apart
      from a check that it can be decoded. So does a longer side that would be
      more than a JPEG can have.
    quality: of the JPEG that it becomes, 4:2:0. Antialiased bicubic.

  Returns:
    The encoded image; `data` itself where nothing changes.

  Raises:
    BadImage: it cannot be decoded, or not encoded again.
  """
  with decode.turn(decode.promised_pixels(data)):  # the copy takes as much again
    image = _shrunk(data, short_side)
  if image is None:
    return data
  file = io.BytesIO()
  try:
    image.save(file, 'JPEG', quality=quality)
  except (OSError, ValueError) as error:
    raise BadImage(f'damaged (cannot be made smaller: {error})') from error
  return file.getvalue()


def _shrunk(data: bytes, short_side: int) -> Image.Image | None:
  """The image, made smaller; None where it stays as it is."""
  # twice the size is left to antialiasing, as Pillow's thumbnail() does
  pixels = decode.decode(data, at_least=2 * short_side)
  height, width, _ = pixels.shape
  if not short_side or min(height, width) <= short_side:
    return None
  scale = short_side / min(height, width)
  size = (max(round(width * scale), short_side),
          max(round(height * scale), short_side))
  if max(size) > _MAX_JPEG_SIDE:
    return None
  image = Image.fromarray(pixels)
  del pixels  # up to 240 MB
  return image.resize(size, Image.Resampling.BICUBIC)
