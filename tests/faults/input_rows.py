"""The order of the images, which a run that goes on must not change."""

from __future__ import annotations

import itertools
import pathlib
import resource
import subprocess
import sys
import time

import harness
from harness import Outcome
from harness import row


def _tests(scratch: pathlib.Path, cases: int, *names: str) -> Outcome:
  """Rows that the ordinary tests hold at full length."""
  done = subprocess.run(
      [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
       *(str(harness.ROOT / 'tests' / name) for name in names)],
      cwd=harness.ROOT, text=True, env=harness.environment(scratch),
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
  failures = [harness.tail(done.stdout, 8)] if done.returncode else []
  return Outcome(cases, failures, 'in the ordinary tests: ' + ', '.join(names))


@row('D1', cases=1000, sample=0, bound='equal to the unbroken stream to the byte')
def start_steps(cases, scratch):
  """Random start steps."""
  return _tests(scratch, cases, 'data/feed/test_stream.py::'
                'test_a_thousand_start_steps_equal_the_unbroken_stream')


@row('D2', cases=50, sample=0, bound='every image exactly once an epoch')
def epochs(cases, scratch):
  """Sizes, batches and hosts that do not divide each other."""
  return _tests(scratch, cases, 'data/feed/test_order.py::'
                'test_exactly_once_an_epoch_over_all_hosts')


@row('D3', cases=12, sample=0, bound='the same batches to the byte')
def hosts_and_threads(cases, scratch):
  """1, 2, 4, 8 hosts and 1, 2, 8 threads."""
  return _tests(scratch, cases, 'data/feed/test_stream.py::'
                'test_hosts_and_threads_change_no_byte')


@row('D4', cases=3, sample=1,
     bound='the first batch in 10 s, with less than 200 MB more memory')
def resume_late_in_an_epoch(cases, scratch):
  """A run on 1,281,167 images goes on at 90 % of an epoch."""
  del scratch
  import numpy as np
  import simplejpeg

  from byol_jax.data import bad
  from byol_jax.data.feed import stream
  from byol_jax.data.images.crops import CropSpec
  from byol_jax.data.sources import table
  size = 1_281_167
  data = simplejpeg.encode_jpeg(np.full((64, 64, 3), 90, np.uint8))
  source = table.Encoded(
      read=lambda index: data, size=size, labels=None, names=range(size),
      class_names=None, name='one image, many times', bad=bad.BadImages(range(size), ''))
  failures, slowest, most = [], 0.0, 0.0
  for case in range(cases):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    step = int((0.9 + 7 * case) * size / 4096)
    batches = stream.train_batches(
        source, CropSpec(32), seed=case, start_step=step, num_steps=2,
        batch_size=4096, examples_of_host=np.arange(64))
    first = next(batches)
    seconds = time.monotonic() - started
    batches.close()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    slowest, most = max(slowest, seconds), max(most, grown)
    if first['views'].shape != (64, 2, 32, 32, 3) or seconds > 10 or grown > 200:
      failures.append(f'step {step}: {seconds:.1f} s, {grown:.0f} MiB')
  return Outcome(cases, failures, f'slowest {slowest:.2f} s, {most:.0f} MiB')


@row('N3', cases=24, sample=0,
     bound='every collapse is warned of, and no healthy run')
def collapse(cases, scratch):
  """Four runs without a predictor or momentum, twenty as they should be."""
  broken = itertools.islice(itertools.product(
      (('--config.network.predictor=False',),
       ('--config.network.predictor=False', '--config.train.tau_base=0.0')),
      (0, 1)), min(cases, 4))
  healthy = (((), seed) for seed in range(cases - 4))
  failures = []
  for number, (arguments, seed) in enumerate([*broken, *healthy]):
    code, output = harness.run(
        scratch, f'--workdir=run{number}', f'--config.seed={seed}', *arguments,
        '--config.train.epochs=20', '--config.data.fake_images=256',
        '--config.evaluation.examples=256', '--config.evaluation.every_epochs=10',
        '--config.network.projection_size=16', '--config.log.every_steps=500',
        '--config.checkpoint.every_steps=500')
    if code or ('collapse' in output) != bool(arguments):
      failures.append(f'{arguments}, seed {seed}: exit {code}: '
                      f'{harness.tail(output)}')
  return Outcome(cases, failures)
