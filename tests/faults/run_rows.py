"""Whole runs that are killed, stopped, and started twice."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import signal
import time

import harness
from harness import Outcome
from harness import row

STEPS = 60  # of tiny_config.py


def unbroken(scratch: pathlib.Path, *arguments: str, processes: int = 1):
  """The final state of an undisturbed run, and its metrics; made once."""
  work = scratch / f'unbroken{processes}'
  if not work.exists():
    if processes == 1:
      done = [harness.run(scratch, f'--workdir={work}', *arguments)]
    else:
      done = [harness.finish(p) for p in harness.start_several(
          scratch, processes, f'--workdir={work}', *arguments)]
    if any(code for code, _ in done):
      raise RuntimeError('the unbroken run failed: '
                         + ' // '.join(harness.tail(o) for _, o in done))
  return harness.state_of(work)[1], metrics(work)


def metrics(work: pathlib.Path) -> list[dict]:
  with open(work / 'metrics.jsonl', encoding='utf-8') as f:
    return [json.loads(line) for line in f]


def compare(work, expected, expected_metrics) -> str:
  """'' if a finished run is what it would have been undisturbed."""
  step, state = harness.state_of(work)
  if step != STEPS:
    return f'ends at step {step}'
  if wrong := harness.differ(expected, state):
    return wrong
  ours = [(line['step'], line['loss']) for line in metrics(work)]
  regular = {line['step'] for line in expected_metrics}
  # a run that was asked to leave has also logged the step at which it left
  if [pair for pair in ours if pair[0] in regular] != [
      (line['step'], line['loss']) for line in expected_metrics] or (
          len({step for step, _ in ours}) != len(ours)):
    return f'its log has {ours}'
  left = [p for p in os.listdir(work / 'checkpoints') if 'tmp' in p]
  return f'{left} is left' if left else ''


def interrupt(scratch, work, rng, number, *arguments, longest=4.0):
  """Starts a run and sends a signal some time after it has taken its workdir.

  Returns:
    (exit code, output, seconds from the signal to the end); code 0 and None if
    the run was finished by then.
  """
  process = harness.start(scratch, f'--workdir={work}', *arguments)
  # its own entry: a run that ended leaves an empty lock file
  while process.poll() is None and _pid(work) != process.pid:
    time.sleep(0.01)
  time.sleep(rng.uniform(0, longest))
  if process.poll() is not None:
    return *harness.finish(process), None
  process.send_signal(number)
  started = time.monotonic()
  code, output = harness.finish(process)
  return code, output, time.monotonic() - started


def _pid(work):
  try:
    return json.loads((work / 'lock.json').read_text())['pid']
  except (OSError, ValueError, KeyError):
    return None


@row('C1', cases=100, sample=0,
     bound='final state equal to the bit to an unbroken run, each step logged once')
def killed(cases, scratch):
  """SIGKILL at a random time, the same command again, to the end."""
  return killed_often(cases, scratch, harness.rng('C1'))


def killed_often(cases, scratch, rng, *arguments):
  """Kills runs of one command until there were enough kills."""
  expected = unbroken(scratch, *arguments)
  failures, kills, late, runs = [], 0, 0, 0
  while kills < cases:
    work = scratch / f'run{runs}'
    runs += 1
    for tries in range(40):
      # later each time: on a slow machine four seconds never reach a step
      code, output, _ = interrupt(scratch, work, rng, signal.SIGKILL, *arguments,
                                  longest=4.0 + tries)
      if code != -signal.SIGKILL:
        break
      kills += 1
      late += any(work.glob('checkpoints/[0-9]*'))
    else:  # so slow a machine that every start was killed before the end
      code, output = harness.run(scratch, f'--workdir={work}', *arguments)
    if code:
      failures.append(f'run {runs}: exit {code}: {harness.tail(output)}')
    elif wrong := compare(work, *expected):
      failures.append(f'run {runs}: {wrong}')
    shutil.rmtree(work)
  return Outcome(kills, failures,
                 f'{runs} runs, {late} kills once there was a checkpoint')


_METHODS = {
    'simclr': ('--config.method.name=simclr',),
    'moco': ('--config.method.name=moco', '--config.method.queue=32',
             '--config.method.symmetric=True', '--config.network.bn_groups=2'),
    'infomin': ('--config.method.name=moco', '--config.method.queue=32',
                '--config.method.jigsaw=0.5', '--config.augment.jigsaw.size=9',
                '--config.augment.jigsaw.tile=3'),
    'simsiam': ('--config.method.name=simsiam',)}


@row('C1b', cases=80, sample=0,
     bound='final state, with the queue, equal to the bit; each step logged once')
def methods_killed(cases, scratch):
  """SIGKILL at a random time: SimCLR, MoCo v2, InfoMin and SimSiam."""
  rng, failures, notes, kills = harness.rng('C1b'), [], [], 0
  for name, arguments in _METHODS.items():
    (scratch / name).mkdir()
    done = killed_often(cases // len(_METHODS), scratch / name, rng, *arguments)
    failures += [f'{name}: {failure}' for failure in done.failures]
    notes.append(f'{name}: {done.note}')
    kills += done.cases
  return Outcome(kills, failures, '; '.join(notes))


@row('C3', cases=20, sample=0,
     bound='exit 0 within 10 s, saved at that step; the end equal to the bit')
def stopped(cases, scratch):
  """SIGTERM and SIGINT at a random time, one process."""
  expected = unbroken(scratch)
  rng, failures, done, slowest, runs = harness.rng('C3'), [], 0, 0.0, 0
  while done < cases:
    work = scratch / f'run{runs}'
    runs += 1
    for _ in range(40):
      number = (signal.SIGTERM, signal.SIGINT)[done % 2]
      code, output, seconds = interrupt(scratch, work, rng, number)
      if seconds is None or code:
        break
      done += 1
      slowest = max(slowest, seconds)
      said = [l for l in output.splitlines() if l.startswith('saved step')]
      step = harness.state_of(work)[0] if (work / 'checkpoints').exists() else None
      if said and int(said[0].split()[2]) != step:
        failures.append(f'{said[0]}, but the checkpoint is of step {step}')
      if seconds > 10:
        failures.append(f'took {seconds:.1f} s: {harness.tail(output)}')
      if 'results:' in output:
        break
    if code:
      failures.append(f'exit {code}: {harness.tail(output)}')
      continue
    code, output = harness.run(scratch, f'--workdir={work}')
    if code or (wrong := compare(work, *expected)):
      failures.append(f'afterwards exit {code}: {harness.tail(output)} {wrong}')
  return Outcome(done, failures, f'slowest {slowest:.1f} s')


@row('C3c', cases=6, sample=1,
     bound='exit 0 within 10 s, saved at that step; the end equal to the bit')
def stopped_while_every_step_is_logged(cases, scratch):
  """SIGTERM where each step is logged, saved or measured."""
  every = ('--config.log.every_steps=1', '--config.checkpoint.every_steps=1',
           '--config.evaluation.every_epochs=0.125')
  long = '--config.train.epochs=2000'
  failures, slowest = [], 0.0
  for case in range(cases):
    work = scratch / f'run{case}'
    process = harness.start(scratch, f'--workdir={work}', every[case % 3], long)
    harness.wait_for(process, work / 'checkpoints' / '5')
    started = time.monotonic()
    process.terminate()
    code, output = harness.finish(process)
    seconds = time.monotonic() - started
    slowest = max(slowest, seconds)
    said = [l for l in output.splitlines() if l.startswith('saved step')]
    if code or seconds > 10 or not said or (
        int(said[0].split()[2]) != harness.state_of(work)[0]):
      failures.append(f'case {case}: exit {code} after {seconds:.0f} s: '
                      f'{harness.tail(output)}')
  return Outcome(cases, failures, f'slowest {slowest:.1f} s')


@row('C4', cases=10, sample=0, bound='leaves at once, and nothing is lost')
def stopped_twice(cases, scratch):
  """A second SIGTERM, 0 to 100 ms after the first."""
  expected = unbroken(scratch)
  rng, failures, codes = harness.rng('C4'), [], []
  for case in range(cases):
    work = scratch / f'run{case}'
    process = harness.start(scratch, f'--workdir={work}')
    harness.wait_for(process, work / 'checkpoints' / '5')
    process.terminate()
    time.sleep(rng.uniform(0, 0.1))
    process.terminate()
    started = time.monotonic()
    code, output = harness.finish(process)
    codes.append(code)
    if code not in (0, 128 + signal.SIGTERM, -signal.SIGTERM) or (
        time.monotonic() - started > 10):
      failures.append(f'exit {code}: {harness.tail(output)}')
    code, output = harness.run(scratch, f'--workdir={work}')
    if code or (wrong := compare(work, *expected)):
      failures.append(f'afterwards exit {code}: {wrong if not code else harness.tail(output)}')
  return Outcome(cases, failures, f'exit codes {sorted(set(codes))}')


@row('C5', cases=20, sample=0, bound='every step once, with the same loss')
def steps_executed(cases, scratch):
  """Stopped and gone on: which steps were done."""
  every = '--config.log.every_steps=1'
  expected = unbroken(scratch, every)
  rng, failures, done, runs = harness.rng('C5'), [], 0, 0
  while done < cases:
    work = scratch / f'run{runs}'
    runs += 1
    for tries in itertools.count():
      number = (signal.SIGTERM, signal.SIGKILL)[done % 2]
      # later each time: on a slow machine four seconds never reach a step
      code, output, seconds = interrupt(scratch, work, rng, number, every,
                                        longest=4.0 + tries / 5)
      if seconds is None or 'results:' in output:
        break
      done += 1
    if wrong := compare(work, *expected):
      failures.append(f'run {runs}, exit {code}: {wrong} {harness.tail(output)}')
  return Outcome(done, failures, f'{runs} runs')


@row('C14', cases=5, sample=1,
     bound='the second refuses and names the first; after a kill it goes on')
def two_runs_in_a_workdir(cases, scratch):
  """The same workdir twice, at a time and after a kill."""
  expected = unbroken(scratch)
  failures = []
  for case in range(cases):
    work = scratch / f'run{case}'
    first = harness.start(scratch, f'--workdir={work}',
                          '--config.train.epochs=300')
    harness.wait_for(first, work / 'checkpoints')
    code, output = harness.run(scratch, f'--workdir={work}',
                               '--config.train.epochs=300')
    if code != 2 or f'process {first.pid} on' not in output:
      failures.append(f'exit {code}: {harness.tail(output)}')
    if first.poll() is not None:
      failures.append('the first run ended')
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    shutil.rmtree(work / 'checkpoints')
    (work / 'config.json').unlink()
    code, output = harness.run(scratch, f'--workdir={work}')
    if code or (wrong := compare(work, *expected)):
      failures.append(f'after the kill: exit {code}: {wrong if not code else harness.tail(output)}')
  return Outcome(cases, failures)
