"""Tars and Parquet files: killed runs, and shards that are damaged or gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import os
import pathlib
import shutil
import sys
from unittest import mock

import harness
from harness import Outcome
from harness import row
import numpy as np
import run_rows

sys.path.insert(0, str(harness.ROOT / 'tests' / 'data' / 'sources'))

import tiny_shards

_KINDS = ('tar', 'parquet', 'snappy')
_IMAGES, _SHARDS = 64, 4  # as many images as tiny_config.py has


def _write(folder: pathlib.Path, kind: str) -> list[bytes]:
  """Writes images as shards of a kind; returns their bytes in order."""
  made = tiny_shards.images(_IMAGES)
  for k in range(_SHARDS):
    part = made[k * _IMAGES // _SHARDS:(k + 1) * _IMAGES // _SHARDS]
    path = folder / f'train-{k:05d}-of-{_SHARDS:05d}.{kind.replace("snappy", "parquet")}'
    if kind == 'tar':
      tiny_shards.write_tar(path, part)
    else:
      tiny_shards.write_parquet(path, part, compression=kind.replace('parquet', 'none'),
                                use_dictionary=False, row_group_size=5)
  return [data for _, _, data in made]


def _arguments(folder: pathlib.Path) -> list[str]:
  """The arguments of a run that reads shards again for each batch."""
  return ['--config.data.source=auto', f'--config.data.path={folder}',
          '--config.data.resident=no']


@row('C1c', cases=45, sample=0,
     bound='final state equal to the bit to an unbroken run, each step logged once')
def killed(cases: int, scratch: pathlib.Path) -> Outcome:
  """SIGKILL at a random time, while images come from tars and Parquet files."""
  rng, failures, notes, kills = harness.rng('C1c'), [], [], 0
  for kind in _KINDS[:cases]:
    (scratch / kind).mkdir()
    _write(scratch / f'{kind}.data', kind)
    done = run_rows.killed_often(max(cases // len(_KINDS), 1), scratch / kind, rng,
                                 *_arguments(scratch / f'{kind}.data'))
    failures += [f'{kind}: {failure}' for failure in done.failures]
    notes.append(f'{kind}: {done.note}')
    kills += done.cases
  return Outcome(kills, failures, '; '.join(notes))


# --- D5: damage of every kind, while a source is opened or read ------------------


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
  flipped = bytearray(data)
  bit = int(rng.integers(8 * len(data)))
  flipped[bit // 8] ^= 1 << bit % 8
  return bytes(flipped)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
  return data[:int(rng.integers(1, len(data)))]


def _zeros(data: bytes, rng: np.random.Generator) -> bytes:
  """Zeros a block of a disk, as after a power cut."""
  start = 4096 * int(rng.integers(len(data) // 4096 + 1))
  return data[:start] + bytes(len(data[start:start + 4096])) + data[start + 4096:]


_WAYS: dict[str, Callable[[bytes, np.random.Generator], bytes | None]] = {
    'a flipped bit': _flip, 'cut': _cut, 'a block of zeros': _zeros,
    'empty': lambda data, rng: b'', 'gone': lambda data, rng: None,
    'a page of HTML': lambda data, rng: b'<html>404</html>' * 99}


def _read_all(source) -> dict[int, bytes]:
  """Reads the images that can be read; those that are null or missing are left out."""
  from byol_jax.data.images.decode import BadImage
  found = {}
  for k in range(source.size):
    try:
      found[k] = source.read(k)
    except BadImage:
      pass
  return found


def _wrong(folder: pathlib.Path, kind: str, way: str, is_open: bool,
           right: Sequence[bytes], rng: np.random.Generator) -> tuple[str, str]:
  """Damages a shard: ('refused', 'the same' or 'unnoticed', what is wrong)."""
  from byol_jax.data.sources import open as open_lib
  from byol_jax.errors import UserError
  def opened():
    return open_lib.open_part(kind.replace('snappy', 'parquet'), path=str(folder))
  source = opened() if is_open else None
  file = sorted(folder.iterdir())[number := int(rng.integers(_SHARDS))]
  damaged = _WAYS[way](file.read_bytes(), rng)
  if damaged is None:
    file.unlink()
  else:
    file.write_bytes(damaged)
  try:
    found = _read_all(source or opened())
  except UserError as error:
    is_told = file.name in str(error) and '\n' not in str(error)
    return 'refused', '' if is_told else f'says {error}'
  except Exception as error:
    return 'refused', f'{type(error).__name__}: {error}'
  ours = range(number * _IMAGES // _SHARDS, (number + 1) * _IMAGES // _SHARDS)
  other = [k for k in range(_IMAGES) if found.get(k) != right[k]]
  if not set(other) <= set(ours):
    return 'unnoticed', f'images of other files differ: {other}'
  if other and way not in ('a flipped bit', 'a block of zeros'):
    return 'unnoticed', f'{len(other)} images differ'
  return ('unnoticed' if other else 'the same'), ''


@row('D5', cases=720, sample=36, bound=(
    'refused in a line that names the file; or all images, of which only those in the '
    'damaged bytes differ'))
def damaged(cases: int, scratch: pathlib.Path) -> Outcome:
  """A shard (tar, Parquet, plain and snappy) is damaged, before or after it is opened."""
  with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(scratch / 'cache')):
    return _damaged(cases, scratch)


def _damaged(cases: int, scratch: pathlib.Path) -> Outcome:
  rng, failures, counts = harness.rng('D5'), [], dict.fromkeys(
      ('refused', 'the same', 'unnoticed'), 0)
  right = {kind: _write(scratch / kind, kind) for kind in _KINDS}
  for case in range(cases):
    kind, way = _KINDS[case % 3], list(_WAYS)[case // 3 % len(_WAYS)]
    is_open = bool(case // 3 // len(_WAYS) % 2)
    folder = scratch / 'damaged'
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scratch / kind, folder)
    what, wrong = _wrong(folder, kind, way, is_open, right[kind], rng)
    counts[what] += 1
    if wrong:
      failures.append(f'{kind}, {way}, {"open" if is_open else "before"}: {wrong}')
  return Outcome(cases, failures, '{refused} refused, {the same} as they were, '
                 '{unnoticed} other bytes in an image: neither format has checksums'
                 .format(**counts))


@row('D6', cases=6, sample=0, bound=(
    'exit 2 and a line that names the file, the state saved; mended, the end is equal '
    'to the bit'))
def damaged_while_it_trains(cases: int, scratch: pathlib.Path) -> Outcome:
  """A shard is removed or cut while a run trains from it, and is put back."""
  failures = []
  for case in range(cases):
    kind, is_cut = _KINDS[case % 3], case >= 3
    base, folder = scratch / f'{kind}{case}', scratch / f'{kind}{case}.data'
    base.mkdir()
    _write(folder, kind)
    expected = run_rows.unbroken(base, *_arguments(folder))
    file = sorted(folder.iterdir())[1]
    data, work = file.read_bytes(), base / 'run'
    # slowly, so that it is still at work when the file goes
    process = harness.start(base, f'--workdir={work}', *_arguments(folder),
                            script=('-c', _SLOWLY))
    harness.wait_for(process, work / 'checkpoints' / '5')
    if is_cut:
      file.write_bytes(data[:600])
    else:
      file.unlink()
    code, output = harness.finish(process)
    errors = [line for line in output.splitlines() if line.startswith('byol_jax: ')]
    step = harness.state_of(work)[0]
    if code != 2 or len(errors) != 1 or file.name not in errors[0] or not step:
      failures.append(f'{kind}: exit {code}, step {step}: {harness.tail(output)}')
    file.write_bytes(data)
    code, output = harness.run(base, f'--workdir={work}', *_arguments(folder))
    if code or (wrong := run_rows.compare(work, *expected)):
      failures.append(f'{kind}, mended: exit {code}: '
                      f'{harness.tail(output) if code else wrong}')
  return Outcome(cases, failures)


# a run that takes long to read an image, and keeps no more than a row group of them
_SLOWLY = '''
import sys, time
from byol_jax import main
from byol_jax.data.records import parquet, tar
from byol_jax.run import signals
def slow(read):
  return lambda *arguments: (time.sleep(0.05), read(*arguments))[1]
tar.read, parquet.read = slow(tar.read), slow(parquet.read)
parquet.RowGroups.read = slow(parquet.RowGroups.read)
parquet.KEPT = 1
signals.for_good(); sys.exit(main.main(sys.argv))
'''
