"""Whole runs that are robbed of their disk."""

from __future__ import annotations

from concurrent import futures
import pathlib
import shutil
import subprocess
import time

import harness
from harness import Outcome
from harness import row
from run_rows import compare
from run_rows import STEPS
from run_rows import unbroken


@row('C6', cases=10, sample=0,
     bound='training goes on, older checkpoints stay, the end is equal to the bit')
def disk_full(cases, scratch):
  """A full disk while training, freed while it trains or when it waits."""
  expected = unbroken(scratch)
  disk = scratch / 'disk'
  disk.mkdir()
  mounted = subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(disk)],
      capture_output=True, check=False).returncode == 0
  if not mounted:
    return Outcome(0, [], 'not run: it takes the right to mount a tmpfs')
  failures = []
  try:
    for case in range(cases):
      work, filler = disk / 'run', disk / 'filler'
      shutil.rmtree(work, ignore_errors=True)
      never = case % 5 == 4
      process = harness.start(scratch, f'--workdir={work}')
      harness.wait_for(process, work / 'checkpoints' / '5')
      _fill(filler)
      if not never:
        time.sleep(0.2 + 0.6 * case)
        filler.unlink()
      code, output = harness.finish(process)
      if never:
        step, _ = harness.state_of(work)
        if code != 75 or step is None or 'Traceback' in output:
          failures.append(f'never freed: exit {code}, step {step}: '
                          f'{harness.tail(output)}')
        filler.unlink()
        code, output = harness.run(scratch, f'--workdir={work}')
      wrong = compare(work, expected[0], []) if code == 0 else ''
      if code or (wrong and not wrong.startswith('its log')):
        failures.append(f'case {case}: exit {code} {wrong}: {harness.tail(output)}')
  finally:
    subprocess.run(['umount', str(disk)], check=False)
  return Outcome(cases, failures)


def _fill(path):
  with open(path, 'wb', buffering=0) as f:
    for size in (1 << 16, 1 << 12, 1):
      try:
        while f.write(bytes(size)) == size:
          pass
      except OSError:
        pass


@row('C7', cases=5, sample=0, bound='training ends as if nothing were wrong')
def logs_cannot_be_written(cases, scratch):
  """Only the log, the events or the compilation cache cannot be written."""
  expected = unbroken(scratch)[0]
  failures = []
  library = str(harness.shim(scratch))
  file = scratch / 'a_file'
  file.write_text('')
  todo = [
      ('metrics.jsonl is a folder', lambda w: (w / 'metrics.jsonl').mkdir(), {}),
      ('the log fails', lambda w: None, dict(
          LD_PRELOAD=library, SHIM_PATH='metrics.jsonl', SHIM_FAIL='1000')),
      ('events fail', lambda w: None, dict(
          LD_PRELOAD=library, SHIM_PATH='tfevents', SHIM_FAIL='1000')),
      ('the cache is a file', lambda w: None,
       dict(JAX_COMPILATION_CACHE_DIR=str(file))),
      ('the cache fails', lambda w: None, dict(
          LD_PRELOAD=library, SHIM_PATH='jax_cache', SHIM_FAIL='1000')),
  ][:cases]
  for name, do, more in todo:
    work = scratch / name.replace(' ', '_')
    work.mkdir()
    do(work)
    environment = harness.environment(scratch) | more
    process = subprocess.Popen(
        harness.command(f'--workdir={work}', '--config.log.tensorboard=True'),
        cwd=scratch, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True)
    code, output = harness.finish(process)
    wrong = '' if code else harness.differ(expected, harness.state_of(work)[1])
    if code or wrong:
      failures.append(f'{name}: exit {code} {wrong} {harness.tail(output)}')
  return Outcome(len(todo), failures)


@row('C8', cases=6, sample=2,
     bound='exit 2 before anything is compiled, one line that names the path')
def impossible_workdirs(cases, scratch):
  """A workdir that cannot be written."""
  (scratch / 'file').write_text('')
  (scratch / 'dead link').symlink_to(scratch / 'nowhere' / 'at all')
  todo = [scratch / 'file', scratch / 'file' / 'below', pathlib.Path('/proc/x'),
          pathlib.Path('/dev/null/x'), scratch / ('x' * 300),
          scratch / 'dead link'][:cases]
  failures = []
  for path in todo:
    code, output = harness.run(scratch, f'--workdir={path}')
    errors = [l for l in output.splitlines() if l.startswith('byol_jax: ')]
    if (code != 2 or 'Traceback' in output or 'compiling' in output
        or len(errors) != 1 or str(path) not in errors[0]):
      failures.append(f'{path}: exit {code}: {harness.tail(output)}')
  return Outcome(len(todo), failures)


@row('G5', cases=50, sample=0,
     bound='training reaches its end; with sound storage the state is equal to '
     'the bit')
def flaky_storage(cases, scratch):
  """1 to 5 % of the calls on checkpoints fail with EIO."""
  expected = unbroken(scratch)
  library = str(harness.shim(scratch))

  def one(case):
    work = scratch / f'run{case}'
    process = harness.start(
        scratch, f'--workdir={work}', LD_PRELOAD=library,
        SHIM_PATH=f'run{case}/checkpoints/', SHIM_SEED=str(case),
        SHIM_FAIL=str(10 * (1 + case % 5)))
    first, output = harness.finish(process)
    if first not in (0, 75) or f'step {STEPS}/{STEPS}' not in output:
      return first, f'case {case}: exit {first}: {harness.tail(output, 6)}'
    code, output = harness.run(scratch, f'--workdir={work}')
    wrong = compare(work, *expected)
    shutil.rmtree(work)
    if code or wrong:
      return first, f'case {case}, then: exit {code}: {harness.tail(output)} {wrong}'
    return first, ''

  with futures.ThreadPoolExecutor(4) as pool:  # they wait most of the time
    outcomes = list(pool.map(one, range(cases)))
  saved = sum(code == 0 for code, _ in outcomes)
  return Outcome(cases, [failure for _, failure in outcomes if failure],
                 f'{saved} saved their last state all the same')
