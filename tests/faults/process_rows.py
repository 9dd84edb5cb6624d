"""Numbers gone bad, and processes and devices that die, stop or differ."""

from __future__ import annotations

import os
import shutil
import signal
import time

import harness
from harness import Outcome
from harness import row
import numpy as np
import run_rows

INJECTED = (str(harness.HERE / 'injected_main.py'),)
HEARTBEAT = 10
_SEVERAL = (f'--config.safety.heartbeat={HEARTBEAT}',)


def injected(scratch, fault: str, *arguments, devices=2, **more):
  return harness.finish(harness.start(
      scratch, *arguments, script=INJECTED, devices=devices, FAULT=fault, **more))


@row('N1', cases=40, sample=2,
     bound='seen within a logging period, never saved; a skipped update leaves '
     'the state as it was')
def not_finite(cases, scratch):
  """NaN or infinity in gradient, loss, images, parameters, target, momentum."""
  rng, failures = harness.rng('N1'), []
  kinds = ('grads', 'loss', 'views', 'params', 'ema', 'momentum', 'statistics')
  for case in range(cases):
    kind, policy = kinds[case % len(kinds)], ('stop', 'skip')[case // 2 % 2]
    step = int(rng.integers(7, 50))
    work = scratch / f'run{case}'
    code, output = injected(
        scratch, f'{kind}:{step}', f'--workdir={work}', '--config.log.every_steps=1',
        f'--config.safety.on_nonfinite={policy}',
        FAULT_DEVICE=str(case % 2), FAULT_VALUE=('nan', 'inf')[case // 3 % 2])
    at, state = harness.state_of(work)
    what = f'{kind} at step {step}, {policy}: exit {code}, saved {at}'
    if not all(np.isfinite(x).all() for x in state.values()):
      failures.append(f'{what}: not finite')
    passing = kind in ('grads', 'loss', 'views') and policy == 'skip'
    if passing:
      # the step itself is left out, all others are done
      if code or at != run_rows.STEPS or 'update was skipped' not in output:
        failures.append(f'{what}: {harness.tail(output)}')
      continue
    logged = [line['step'] for line in run_rows.metrics(work)]
    seen = 'not finite' in output and code == 2
    if not seen or at > step or logged[-1] > step + 2:
      failures.append(f'{what}, logged to {logged[-1]}: {harness.tail(output)}')
    elif 'last good checkpoint is of step' not in output:
      failures.append(f'{what}: no last good checkpoint: {harness.tail(output)}')
  return Outcome(cases, failures)


@row('N2', cases=3, sample=0, bound='ends with a report once over the limit')
def skipped_in_a_row(cases, scratch):
  """More steps in a row that are not finite than may be skipped."""
  failures = []
  for case in range(cases):
    most = case + 1
    for count, code_wanted in ((most, 0), (most + 1, 2)):
      work = scratch / f'run{case}-{count}'
      code, output = injected(
          scratch, 'grads:12', f'--workdir={work}',
          '--config.safety.on_nonfinite=skip',
          f'--config.safety.max_skipped={most}', FAULT_COUNT=str(count))
      if code != code_wanted or 'Traceback' in output:
        failures.append(f'{count} of {most}: exit {code}: {harness.tail(output)}')
  return Outcome(2 * cases, failures)


@row('P6', cases=5, sample=0, bound='found before the next checkpoint is written')
def replicas_differ(cases, scratch):
  """One bit of one device's parameters is flipped."""
  rng, failures = harness.rng('P6'), []
  for case in range(cases):
    work, step = scratch / f'run{case}', int(rng.integers(6, 50))
    code, output = injected(scratch, f'replica:{step}', f'--workdir={work}',
                            devices=(2, 4, 8)[case % 3])
    at, _ = harness.state_of(work)
    if code != 75 or 'do not hold the same state' not in output or at > step:
      failures.append(f'step {step}: exit {code}, saved {at}: '
                      f'{harness.tail(output)}')
  return Outcome(cases, failures)


def several(scratch, count, work, *arguments, **options):
  return harness.start_several(
      scratch, count, f'--workdir={work}', *_SEVERAL, *arguments, **options)


def end(processes, timeout=240):
  return [harness.finish(p, timeout) for p in processes]


def _goes_on(scratch, count, work, expected):
  """The same command again, to the end; what is not as it should be."""
  done = end(several(scratch, count, work))
  codes, wrong = [code for code, _ in done], run_rows.compare(work, *expected)
  shutil.rmtree(work)
  if any(codes) or wrong:
    return [f'{work.name}, afterwards: {codes} {harness.tail(done[0][1])} {wrong}']
  return []


@row('C3b', cases=20, sample=0,
     bound='all exit 0 within 10 s, at the same step; the end equal to the bit')
def stopped_in_two_processes(cases, scratch):
  """SIGTERM or SIGINT to one or both of two processes."""
  expected = run_rows.unbroken(scratch, *_SEVERAL, processes=2)
  rng, failures, slowest = harness.rng('C3b'), [], 0.0
  for case in range(cases):
    work = scratch / f'run{case}'
    # where each step is logged, as well
    often = ['--config.log.every_steps=1'] if case % 2 else []
    processes = several(scratch, 2, work, *often)
    # the limit is for runs that train: nobody leaves before all have compiled
    trained = harness.wait_for(processes[0], work / 'checkpoints' / '5')
    time.sleep(rng.uniform(0, 2))
    number = (signal.SIGTERM, signal.SIGINT)[case % 2]
    asked = [processes[:1], processes[1:], processes][case % 3]
    started = time.monotonic()
    for process in asked:
      process.send_signal(number)
    done = end(processes)
    seconds = time.monotonic() - started
    slowest = max(slowest, seconds)
    said = [l for _, o in done for l in o.splitlines() if l.startswith('saved step')]
    step = harness.state_of(work)[0]
    if any(code for code, _ in done) or not trained or seconds > 10:
      failures.append(f'case {case}: exits {[c for c, _ in done]} after '
                      f'{seconds:.1f} s: {harness.tail(done[0][1])} // '
                      f'{harness.tail(done[1][1])}')
    elif said and int(said[0].split()[2]) != step:
      failures.append(f'case {case}: {said}, but the checkpoint is of {step}')
    failures += _goes_on(scratch, 2, work, expected)
  return Outcome(cases, failures, f'slowest {slowest:.1f} s')


@row('P1', cases=20, sample=0,
     bound='all others exit within the heartbeat + 10 s; the end equal to the bit')
def one_of_four_killed(cases, scratch):
  """SIGKILL to one of four processes, then the same command again."""
  expected = run_rows.unbroken(scratch, *_SEVERAL, processes=4)
  rng, failures, slowest = harness.rng('P1'), [], 0.0
  for case in range(cases):
    work = scratch / f'run{case}'
    processes = several(scratch, 4, work)
    harness.wait_for(processes[0], work / 'checkpoints' / '5')
    time.sleep(rng.uniform(0, 1))
    victim = case % 4
    processes[victim].kill()
    started = time.monotonic()
    done = end(processes)
    seconds = time.monotonic() - started
    slowest = max(slowest, seconds)
    others = [code for k, (code, _) in enumerate(done) if k != victim]
    finished = done[victim][0] == 0
    if not finished and (not all(others) or seconds > HEARTBEAT + 10):
      failures.append(f'case {case}: exits {[c for c, _ in done]} after '
                      f'{seconds:.0f} s: {harness.tail(done[victim - 1][1])}')
    failures += _goes_on(scratch, 4, work, expected)
  return Outcome(cases, failures, f'slowest {slowest:.0f} s')


@row('P2', cases=10, sample=0,
     bound='all exit within the step timeout + heartbeat + 10 s, with a dump of '
     'all threads')
def one_of_four_stuck(cases, scratch):
  """One of four sleeps with its heart beating, or is stopped (SIGSTOP)."""
  limit, failures, slowest = 15, [], 0.0
  for case in range(cases):
    work = scratch / f'run{case}'
    asleep, victim = case % 2 == 0, 1 + case % 3
    arguments = (f'--config.safety.step_timeout={limit}',)
    if asleep:
      processes = _with_a_sleeper(scratch, work, victim, arguments)
    else:
      processes = several(scratch, 4, work, *arguments)
    harness.wait_for(processes[0], work / 'checkpoints' / '10')
    if not asleep:
      os.kill(processes[victim].pid, signal.SIGSTOP)
    started = time.monotonic()
    done = end([p for k, p in enumerate(processes) if asleep or k != victim])
    seconds = time.monotonic() - started
    if not asleep:
      os.kill(processes[victim].pid, signal.SIGKILL)
      processes[victim].wait()
    slowest = max(slowest, seconds)
    dumped = list(work.glob('stacks-*.txt'))
    if not all(code > 0 or code < 0 for code, _ in done) or (
        seconds > limit + HEARTBEAT + 10):
      failures.append(f'case {case}: exits {[c for c, _ in done]} after '
                      f'{seconds:.0f} s: {harness.tail(done[0][1])}')
    if asleep and not (dumped and 'Thread' in dumped[0].read_text()):
      failures.append(f'case {case}: no dump')
    shutil.rmtree(work)
  return Outcome(cases, failures, f'slowest {slowest:.0f} s')


def _with_a_sleeper(scratch, work, victim, arguments):
  return harness.start_several(
      scratch, 4, f'--workdir={work}', *_SEVERAL, *arguments,
      per_process_environment={victim: {'FAULT': 'sleep:17'}},
      per_process_script={victim: INJECTED})


@row('P3', cases=8, sample=2, bound='all refuse at the start, and say who differs')
def another_command_on_one_process(cases, scratch):
  """One of two processes has another config, seed, data or code."""
  other = scratch / 'code'
  shutil.copytree(harness.ROOT / 'byol_jax', other / 'byol_jax')
  with open(other / 'byol_jax' / 'losses.py', 'a', encoding='utf-8') as f:
    f.write('\n# another version\n')
  todo = [(('--config.seed=1',), {}, 'config'),
          ((), {'PYTHONPATH': str(other)}, 'code'),
          (('--config.data.fake_images=72',), {}, 'data'),
          (('--config.train.base_learning_rate=0.51',), {}, 'config'),
          (('--config.network.width=0.125',), {}, 'config'),
          (('--config.checkpoint.every_steps=7',), {}, 'config'),
          (('--config.data.fake_classes=5',), {}, 'data'),
          (('--config.train.epochs=8',), {}, 'config')][:cases]
  failures = []
  for k, (arguments, more, word) in enumerate(todo):
    work = scratch / f'run{k}'
    done = end(harness.start_several(
        scratch, 2, f'--workdir={work}', *_SEVERAL, per_process={1: arguments},
        per_process_environment={1: more}))
    for code, output in done:
      error = [l for l in output.splitlines() if 'not alike' in l]
      if code != 2 or not error or word not in error[0]:
        failures.append(f'{arguments}{more}: exit {code}: {harness.tail(output)}')
    if work.exists():
      failures.append(f'{arguments}{more}: wrote {os.listdir(work)}')
  return Outcome(len(todo), failures)


@row('P4', cases=4, sample=0, bound='all refuse, and say that it is not shared')
def a_checkpoint_that_one_process_lacks(cases, scratch):
  """One of two processes sees another workdir, or an older one."""
  work = scratch / 'run'
  stopped = harness.start_several(scratch, 2, f'--workdir={work}', *_SEVERAL)
  harness.wait_for(stopped[0], work / 'checkpoints' / '10')
  stopped[0].terminate()
  end(stopped)
  failures = []
  for case in range(cases):
    elsewhere = scratch / f'other{case}'
    if case % 2:
      shutil.copytree(work, elsewhere)
      steps = sorted(int(p.name) for p in (elsewhere / 'checkpoints').iterdir())
      shutil.rmtree(elsewhere / 'checkpoints' / str(steps[-1]))
    done = end(harness.start_several(
        scratch, 2, f'--workdir={work}', *_SEVERAL,
        per_process={1: (f'--workdir={elsewhere}',)}))
    for code, output in done:
      if code != 2 or 'process 1' not in output and 'checkpoint' not in output:
        failures.append(f'case {case}: exit {code}: {harness.tail(output)}')
  return Outcome(cases, failures)


@row('P7', cases=5, sample=1,
     bound='each that waits says for whom, and exits with 75 after the timeout; '
     'a late one is waited for')
def not_all_come(cases, scratch):
  """No process 0, no process 1, a wrong port, a late process."""
  failures = []
  timeout = '--config.safety.startup_timeout=20'
  for case in range(cases):
    work = scratch / f'run{case}'
    late = case % 5 in (3, 4)
    more = [timeout] if not late else []
    wrong_port = {1: {'JAX_COORDINATOR_ADDRESS': 'localhost:1'}}
    processes = several(
        scratch, 2, work, *more, per_process_environment=wrong_port
        if case % 5 == 2 else None, only={0: (1,), 1: (0,), 3: (1, 0)}.get(case % 5, (0, 1)),
        wait={case % 5 - 3: 30} if late else None)
    started = time.monotonic()
    done = end(processes)
    seconds = time.monotonic() - started
    for code, output in done:
      if late:
        if code or not any('results:' in said for _, said in done):
          failures.append(f'case {case}: exit {code}: {harness.tail(output)}')
      elif (code != 75 or 'has waited 20 s for' not in output
            or 'Traceback' in output or seconds > 60):
        failures.append(f'case {case}: exit {code} after {seconds:.0f} s: '
                        f'{harness.tail(output)}')
    if work.exists() != late:
      failures.append(f'case {case}: {work} exists: {work.exists()}')
  return Outcome(cases, failures)


@row('P5', cases=8, sample=0,
     bound='losses within 1e-5 of the run on eight devices, each step once')
def other_numbers_of_devices(cases, scratch):
  """8 -> 4 -> 2 -> 1 -> 8 devices, 4 -> 2 -> 1 processes, one run."""
  gentle = ('--config.train.base_learning_rate=0.01', '--config.log.every_steps=1',
            '--config.train.batch_size=16', '--config.train.epochs=15')
  chains = [[(8, 1), (4, 1), (2, 1), (1, 1), (8, 1)], [(1, 4), (1, 2), (1, 1)]]
  whole = scratch / 'whole'
  code, output = harness.run(scratch, f'--workdir={whole}', *gentle, devices=8)
  if code:
    return Outcome(1, [harness.tail(output)])
  expected = run_rows.metrics(whole)
  failures, worst, done_cases = [], 0.0, 0
  for k, chain in enumerate(chains if cases > 1 else [[(8, 1), (2, 1), (1, 1)]]):
    work = scratch / f'chain{k}'
    for i, (devices, processes) in enumerate(chain):
      done_cases += 1
      started = harness.start_several(
          scratch, processes, f'--workdir={work}', *gentle, *_SEVERAL,
          devices=devices) if processes > 1 else [harness.start(
              scratch, f'--workdir={work}', *gentle, devices=devices)]
      if i < len(chain) - 1:
        wanted = work / 'checkpoints' / str(10 * (i + 1))
        harness.wait_for(started[0], wanted)
        started[0].terminate()
      done = end(started)
      if any(code for code, _ in done):
        failures.append(f'{devices} x {processes}: {[c for c, _ in done]} '
                        f'{harness.tail(done[0][1])}')
    ours = run_rows.metrics(work)
    if [l['step'] for l in ours] != [l['step'] for l in expected]:
      failures.append(f'chain {k}: steps {[l["step"] for l in ours]}')
      continue
    error = max(abs(a['loss'] - b['loss']) / b['loss']
                for a, b in zip(ours, expected))
    worst = max(worst, error)
    if error > 1e-5:
      failures.append(f'chain {k}: a loss is off by {error:.2g}')
  return Outcome(done_cases, failures, f'losses within {worst:.2g}')
