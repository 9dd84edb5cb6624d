"""task=prepare: a folder, a list or a TFDS data set becomes ArrayRecord shards."""

from __future__ import annotations

from concurrent import futures
import hashlib
import io
import json
import os
import sys
import threading
import time

import ml_collections
import numpy as np
from PIL import Image

from byol_jax import logs
from byol_jax.data import decode
from byol_jax.data import pipeline
from byol_jax.data import prepared
from byol_jax.data import sources
from byol_jax.data.decode import BadImage
from byol_jax.errors import UserError


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
  if '://' in options.output:
    raise UserError(f'config key prepare.output is {options.output!r}: write to a '
                    'local folder and copy it to the bucket')
  class_names = None
  for part, split in (('train', data.train_split), ('test', data.test_split)):
    if not split:
      continue
    source = sources.open_source(
        data.source, path=data.path or None, split=split,
        test_path=data.test_path or None, class_names=class_names,
        max_bad=data.max_bad_images, tfds_name=data.tfds_name or None)
    if source is None:
      continue
    if not isinstance(source, sources.Encoded):
      raise UserError(f'config key data.source is {data.source!r}, which needs no '
                      'preparation: it is read into memory')
    class_names = source.class_names
    _prepare(source, os.path.join(options.output, part), options,
             data.threads or pipeline.cores())


def _prepare(source: sources.Encoded, folder: str,
             options: ml_collections.ConfigDict, threads: int) -> None:
  """Writes one part."""
  names = unique_names(source.names)
  how = {'source': source.name, 'short_side': options.short_side,
         'quality': options.quality if options.short_side else None}
  fingerprint = hashlib.sha256(json.dumps(
      [how, options.images_per_shard, names,
       # of records, they come with the images
       source.labels.tolist() if isinstance(source.labels, np.ndarray) else None]
  ).encode('utf-8', 'surrogateescape')).hexdigest()
  count = -(-source.size // options.images_per_shard)
  files = [f'images-{k:05d}-of-{count:05d}.array_record' for k in range(count)]
  try:
    os.makedirs(folder, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {folder!r}, config key prepare.output: '
                    f'{error.strerror}') from error
  done = prepared.read_metadata(folder)
  if done is not None:
    if done['fingerprint'] != fingerprint:
      raise UserError(f'{folder!r} holds other data, or was prepared otherwise: '
                      'choose another config key prepare.output')
    _verify(folder, done)
    return

  def is_there(file: str) -> bool:
    said = prepared.read_sidecar(os.path.join(folder, file))
    return (said is not None and said['fingerprint'] == fingerprint
            and os.path.exists(os.path.join(folder, file)))

  todo = [k for k, file in enumerate(files) if not is_there(file)]
  if len(todo) < count:
    logs.console.info('%s: %d of %d shards are there, going on', folder,
                      count - len(todo), count)
  bar = _Progress(folder, min(len(todo) * options.images_per_shard, source.size))
  stop = threading.Event()

  def write(k: int) -> None:
    first = k * options.images_per_shard
    left_out = {}

    def records():
      for i in range(first, min(first + options.images_per_shard, source.size)):
        if stop.is_set():
          raise futures.CancelledError
        try:
          image = smaller(source.read(i), options.short_side, options.quality)
          label = None if source.labels is None else int(source.labels[i])
          yield names[i], label, image
        except BadImage as error:
          left_out[names[i]] = str(error)
          source.bad.add(i, str(error))
        bar.add(1)

    prepared.write_shard(os.path.join(folder, files[k]), records(), left_out,
                         fingerprint)

  try:
    with futures.ThreadPoolExecutor(threads) as pool:
      jobs = [pool.submit(write, k) for k in todo]
      try:
        for job in futures.as_completed(jobs):
          job.result()
      except BaseException:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
  except OSError as error:
    raise UserError(f'cannot write {folder!r}: {error}') from error
  whole = prepared.finish(
      folder, files, fingerprint=fingerprint, **how,
      class_names=list(source.class_names) if source.class_names else None)
  bar.close()
  if source.bad:
    logs.console.warning('WARNING: %s', source.bad.summary())
  logs.console.info(
      '%s: %d images in %d shards, %.1f MiB', folder, whole['images'], count,
      sum(shard['bytes'] for shard in whole['shards']) / 2**20)


def _verify(folder: str, metadata: dict) -> None:
  """Reads every shard of a finished part again."""
  for shard in metadata['shards']:
    file = os.path.join(folder, shard['file'])
    if not os.path.exists(file):
      raise UserError(f'shard {file!r} is missing: remove {folder!r} and prepare '
                      'it again')
    if prepared.digest(file) != shard['sha256']:
      raise UserError(f'shard {file!r} is damaged: its SHA-256 is not the one in '
                      f'metadata.json; remove {folder!r} and prepare it again')
  logs.console.info('%s: complete, %d shards with the right SHA-256', folder,
                    len(metadata['shards']))


def unique_names(names) -> list[str]:
  """The names, the second 'a.jpg' as 'a.jpg#2', so that each names one image."""
  seen: dict[str, int] = {}
  result = []
  for name in names:
    seen[name] = seen.get(name, 0) + 1
    result.append(name if seen[name] == 1 else f'{name}#{seen[name]}')
  return result


def smaller(data: bytes, short_side: int, quality: int) -> bytes:
  """Makes an image smaller, never larger.

  Args:
    data: an encoded image.
    short_side: the new length of its shorter side; 0 leaves it as it is, apart
      from a check that it can be decoded.
    quality: of the JPEG that it becomes, 4:2:0. Antialiased bicubic.

  Returns:
    The encoded image; `data` itself where nothing changes.

  Raises:
    BadImage: it cannot be decoded.
  """
  pixels = decode.decode(data)
  height, width, _ = pixels.shape
  if not short_side or min(height, width) <= short_side:
    return data
  scale = short_side / min(height, width)
  size = (max(round(width * scale), short_side),
          max(round(height * scale), short_side))
  image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
  file = io.BytesIO()
  image.save(file, 'JPEG', quality=quality)
  return file.getvalue()


class _Progress:
  """A line that counts up: in place on a terminal, now and then in a log."""

  def __init__(self, title: str, total: int):
    self._title, self._total = title, total
    self._done, self._start = 0, time.monotonic()
    self._lock = threading.Lock()
    self._is_terminal = sys.stdout.isatty()
    self._next = self._start

  def add(self, count: int) -> None:
    with self._lock:
      self._done += count
      now = time.monotonic()
      if now < self._next:
        return
      self._next = now + (0.2 if self._is_terminal else 10.0)
      self._show(now)

  def _show(self, now: float) -> None:
    rate = self._done / max(now - self._start, 1e-3)
    left = (self._total - self._done) / max(rate, 1e-3)
    line = (f'{self._title}  {self._done:,}/{self._total:,}  '
            f'{100 * self._done / max(self._total, 1):.0f}%  {rate:,.0f} img/s  '
            f'ETA {logs.duration(left)}')
    if self._is_terminal:
      print(f'\r{line}\x1b[K', end='', flush=True)
    else:
      logs.console.info('%s', line)

  def close(self) -> None:
    if self._is_terminal:
      self._show(time.monotonic())
      print(flush=True)
