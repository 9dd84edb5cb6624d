"""Workers of embed, each on a shard: killed, two on one, and damage to what they wrote."""

from __future__ import annotations

from collections.abc import Callable
import os
import pathlib
import re
import shutil
import signal
import time

import harness
from harness import Outcome
from harness import row
import numpy as np
import shard_rows
import tiny_shards

_COUNT = 4
# one that evaluations know without tiny_config.py
_NETWORK = ('--config.network.name=resnet8', '--config.network.width=0.25')
# keeps each image's features by itself, and takes long over each
_SLOWLY = '''
import sys, time
from byol_jax import main
from byol_jax.evaluation import features
from byol_jax.run import signals
features._SECONDS, write = 0, features.Store._write
features.Store._write = lambda *arguments: (time.sleep(0.2), write(*arguments))[1]
signals.for_good(); sys.exit(main.main(sys.argv))
'''


def _arguments(scratch: pathlib.Path, out: pathlib.Path, shard: str) -> list[str]:
  return [f'--config={harness.ROOT / "configs" / "embed.py"}',
          f'--config.weights={scratch / "run"}',
          '--config.data.source=auto', f'--config.data.path={scratch / "images"}',
          '--config.evaluation.batch_size=1', '--config.embed.formats=npz',
          f'--config.shard={shard}', f'--workdir={out}']


def _embed(scratch: pathlib.Path, out: pathlib.Path, shard: str) -> tuple[int, str]:
  return harness.run(scratch, *_arguments(scratch, out, shard))


def _folder(out: pathlib.Path, number: int) -> pathlib.Path:
  return out / 'shards' / f'{number:05d}-of-{_COUNT:05d}'


def _features(folder: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(folder / 'embeddings.npz', allow_pickle=False) as file:
    return dict(file)


def _one_pass(scratch: pathlib.Path, kind: str) -> dict[str, np.ndarray]:
  """Makes an encoder and images; returns what one process makes of them."""
  if kind == 'folder':
    tiny_shards.write_folder(scratch / 'images', tiny_shards.images(64))
  else:
    shard_rows._write(scratch / 'images', kind)
  for code, output in (harness.run(scratch, f'--workdir={scratch / "run"}', *_NETWORK),
                       _embed(scratch, scratch / 'whole', '')):
    if code:
      raise RuntimeError(harness.tail(output))
  return _features(scratch / 'whole')


def _merged(scratch: pathlib.Path, out: pathlib.Path, whole) -> str:
  """'' if a merge gives what one pass gave."""
  code, output = _embed(scratch, out, 'merge')
  return (f'merge: exit {code}: {harness.tail(output)}' if code
          else harness.differ(whole, _features(out)))


@row('P8', cases=20, sample=0, bound='the union of all shards is one pass, to the bit')
def workers_killed(cases: int, scratch: pathlib.Path) -> Outcome:
  """SIGKILL to one of two workers that embed in shards, at a random time."""
  rng, failures, kills, late, rounds = harness.rng('P8'), [], 0, 0, 0
  while kills < cases:
    base = scratch / str(rounds)
    base.mkdir()
    whole = _one_pass(base, shard_rows._KINDS[rounds % 3])
    rounds += 1
    for number in range(1, _COUNT, 2):
      other = harness.start(base, *_arguments(base, base / 'out', f'{number + 1}/4'))
      for _ in range(10):
        process = harness.start(
            base, *_arguments(base, base / 'out', f'{number}/4'),
            script=('-c', _SLOWLY))
        parts = _folder(base / 'out', number) / 'parts'
        # the first features of this process, so that the next goes on from them
        seen = len(harness.everything(parts))
        while process.poll() is None and len(harness.everything(parts)) <= seen:
          time.sleep(0.02)
        time.sleep(rng.uniform(0, 1))
        if process.poll() is None:
          process.send_signal(signal.SIGKILL)
          kills += 1
          late += parts.exists()
        code, output = harness.finish(process)
        if code != -signal.SIGKILL:
          break
      else:
        code, output = _embed(base, base / 'out', f'{number}/4')
      failures += [f'exit {code}: {harness.tail(output)}' for code, output in (
          (code, output), harness.finish(other)) if code]
    if wrong := _merged(base, base / 'out', whole):
      failures.append(f'round {rounds}: {wrong}')
  return Outcome(kills, failures,
                 f'{rounds} rounds, {late} kills once there were features')


def _change(name: str, change: Callable[[bytes], bytes]):
  def damage(out: pathlib.Path) -> None:
    path = _folder(out, 2) / name
    path.write_bytes(change(path.read_bytes()))
  return damage


def _flip(data: bytes) -> bytes:
  return data[:300] + bytes([data[300] ^ 1]) + data[301:]


_DAMAGE: dict[str, Callable[[pathlib.Path], None]] = {
    'a flipped bit': _change('embeddings.npz', _flip),
    'cut': _change('embeddings.npz', lambda data: data[:len(data) // 2]),
    'features gone': lambda out: (_folder(out, 2) / 'embeddings.npz').unlink(),
    'results emptied': _change('results.json', lambda data: b''),
    'results cut': _change('results.json', lambda data: data[:len(data) // 2]),
    'config emptied': _change('config.json', lambda data: b''),
    'the shard gone': lambda out: shutil.rmtree(_folder(out, 2)),
    # 22 cats are the first images, 16 a shard
    'another image': lambda out: os.utime(
        sorted((out.parent / 'images' / 'cat').iterdir())[-1])}


@row('P9', cases=2 * len(_DAMAGE), sample=0, bound=(
    'exit 2 and one line that names the shard; run again, the union is one pass'))
def shards_damaged(cases: int, scratch: pathlib.Path) -> Outcome:
  """Two workers on one shard; a merge with a shard damaged, gone or of other images."""
  whole = _one_pass(scratch, 'folder')
  out, failures = scratch / 'out', []
  def refused(shard: str, *words: str) -> None:
    code, output = _embed(scratch, out, shard)
    said = [line for line in output.splitlines() if line.startswith('byol_jax: ')]
    if code != 2 or len(said) != 1 or not re.search('|'.join(words), said[0]):
      failures.append(f'{words}: exit {code}: {harness.tail(output)}')
  for case in range(cases):
    name = list(_DAMAGE)[case // 2 % len(_DAMAGE)]
    if case % 2 == 0:  # a worker on a shard that another has
      process = harness.start(scratch, *_arguments(scratch, out, '2/4'),
                              script=('-c', _SLOWLY))
      harness.wait_for(process, _folder(out, 2) / 'parts')
      if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # it must not end before the other begins
        refused('2/4', f'in use by process {process.pid}')
        process.send_signal(signal.SIGCONT)
      elif not (_folder(out, 2) / 'results.json').exists():
        failures.append(f'{name}: exit {process.returncode}')
      code, output = harness.finish(process)
      for number in (1, 3, 4):
        code = code or _embed(scratch, out, f'{number}/4')[0]
      if code or (wrong := _merged(scratch, out, whole)):
        failures.append(f'before {name}: {wrong if not code else harness.tail(output)}')
      continue
    _DAMAGE[name](out)
    refused('merge', '2/4', _folder(out, 2).name)
    if name == 'config emptied':
      (_folder(out, 2) / 'config.json').unlink()  # as the message says
  return Outcome(cases, failures)
