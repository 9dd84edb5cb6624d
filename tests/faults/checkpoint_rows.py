"""Checkpoints under attack: flipped bits, lost files, kills within a commit."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import NamedTuple

import harness
from harness import Outcome
from harness import row
import numpy as np


class State(NamedTuple):
  """As a train state, in small."""
  step: np.ndarray
  params: dict[str, dict[str, np.ndarray]]
  momentum: dict[str, np.ndarray]


def make_state(seed: int) -> State:
  rng = np.random.default_rng(seed)
  normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  return State(
      np.int32(seed),
      {f'encoder/~/conv_{k}': {'w': normal(3, 3, k + 1, 8), 'b': normal(8)}
       for k in range(6)} | {'norm': {'scale': np.ones(8, np.float32),
                                      'empty': np.zeros((0, 3), np.float32)}},
      {'conv': normal(40, 50)})


def same(a, b) -> bool:
  import jax
  return all(np.asarray(x).tobytes() == np.asarray(y).tobytes()
             for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def saved(folder: pathlib.Path, *steps: int) -> pathlib.Path:
  """A folder with the checkpoints of some steps, made once."""
  from byol_jax.run import checkpoint
  from byol_jax.storage import retry
  retry.CHECKPOINT = retry.Policy(())  # what is damaged stays so
  if not folder.exists():
    checkpoints = checkpoint.Checkpoints(folder)
    for step in steps:
      checkpoints.save(step, make_state(step), {'config': {'a': [1, 2.5, None]}})
    checkpoints.close()
  return folder


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.rglob('*') if p.is_file() and p.stat().st_size)


def outcome_of(folder: pathlib.Path) -> tuple[str, int | None]:
  """What restoring the newest does: ('step', N), or the error's type."""
  from byol_jax.errors import UserError
  from byol_jax.run import checkpoint
  checkpoints = checkpoint.Checkpoints(folder)
  try:
    found = checkpoints.restore_latest(make_state(0))
    if found is None:
      return 'nothing', None
    opened, state = found
    return ('step' if same(state, make_state(opened.step)) else 'WRONG VALUES'
            ), opened.step
  except UserError:
    return 'UserError', None
  finally:
    checkpoints.close()


def attack(name, cases, scratch, choose):
  """Damages the newer of two checkpoints; either is to be restored, unharmed."""
  rng = harness.rng(name)
  whole = saved(scratch / 'whole', 1, 2)
  files = choose(files_of(whole / '2'), whole / '2')
  sizes = np.array([f.stat().st_size for f in files], float)
  failures, detected = [], 0
  for case in range(cases):
    victim = files[rng.choice(len(files), p=sizes / sizes.sum())]
    hit = scratch / 'hit'
    shutil.rmtree(hit, ignore_errors=True)
    shutil.copytree(whole, hit)
    path = hit / victim.relative_to(whole)
    data = bytearray(path.read_bytes())
    bit = int(rng.integers(8 * len(data)))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    what, step = outcome_of(hit)
    detected += (what, step) == ('step', 1)
    if what != 'step':
      failures.append(f'case {case}: bit {bit} of {victim.relative_to(whole)}: '
                      f'{what} {step}')
  return Outcome(cases, failures, f'{detected} found, the other '
                 f'{cases - detected - len(failures)} changed nothing')


@row('C10', cases=1000, sample=15,
     bound='found, and the older checkpoint taken; or the same values')
def flipped_bits_in_data(cases, scratch):
  """One flipped bit in the arrays of the newest checkpoint."""
  return attack('C10', cases, scratch,
                lambda files, root: [f for f in files if 'd' in f.parts])


@row('C11', cases=500, sample=15,
     bound='found, and the older checkpoint taken; or the same values')
def flipped_bits_in_metadata(cases, scratch):
  """One flipped bit in any other file of it, the manifest included."""
  return attack('C11', cases, scratch,
                lambda files, root: [f for f in files if 'd' not in f.parts])


@row('C9', cases=100, sample=6,
     bound='the older checkpoint, or the same values; the damaged one is kept')
def damaged_files(cases, scratch):
  """Each file of the newest checkpoint truncated, zeroed, emptied, deleted."""
  whole = saved(scratch / 'whole', 1, 2)
  def truncate(p): p.write_bytes(p.read_bytes()[:p.stat().st_size // 2])
  def zero(p): p.write_bytes(bytes(p.stat().st_size))
  def empty(p): p.write_bytes(b'')
  todo = [(f, how) for f in files_of(whole / '2')
          for how in (truncate, zero, empty, pathlib.Path.unlink)]
  order = harness.rng('C9').permutation(len(todo))[:cases]
  failures = []
  for k in order:
    victim, how = todo[k]
    hit = scratch / 'hit'
    shutil.rmtree(hit, ignore_errors=True)
    shutil.copytree(whole, hit)
    how(hit / victim.relative_to(whole))
    what, step = outcome_of(hit)
    if what != 'step' or (step == 1 and not (hit / '2.damaged').is_dir()):
      failures.append(f'{how.__name__} {victim.relative_to(whole)}: {what} {step}, '
                      f'{sorted(os.listdir(hit))}')
  return Outcome(len(order), failures, f'{len(todo)} files and ways in all')


@row('C12', cases=3, sample=0, bound='an error, never a fresh start')
def all_damaged(cases, scratch):
  """Every checkpoint of a run is damaged; the run is started again."""
  failures = []
  for case in range(cases):
    work = scratch / f'run{case}'
    code, output = harness.run(scratch, f'--workdir={work}')
    if code:
      return Outcome(cases, [harness.tail(output)])
    for file in files_of(work / 'checkpoints'):
      if case == 0:
        file.write_bytes(bytes(file.stat().st_size))
      elif case == 1 and file.name == 'metadata':
        file.unlink()
      elif case == 2 and 'd' in file.parts:
        file.write_bytes(file.read_bytes()[:-7])
    code, output = harness.run(scratch, f'--workdir={work}')
    if code != 2 or 'damaged' not in output or 'compil' in output:
      failures.append(f'case {case}: exit {code}: {harness.tail(output)}')
  return Outcome(cases, failures)


@row('C13', cases=20, sample=20, bound='the newest good checkpoint is taken')
def foreign_files(cases, scratch):
  """Leftovers, foreign files, odd names and links beside the checkpoints."""
  whole = saved(scratch / 'whole', 1, 2)
  failures = []
  def make(name, kind):
    def do(folder):
      path = folder / name
      if kind == 'file': path.write_text('x')
      elif kind == 'folder': (path / 'state').mkdir(parents=True)
      elif kind == 'copy': shutil.copytree(folder / '1', path)
      elif kind == 'link': path.symlink_to(folder / '1')
      elif kind == 'dead link': path.symlink_to(folder / 'nowhere')
    return f'{kind} {name}', do
  todo = [make(name, kind) for name, kind in (
      ('3.orbax-checkpoint-tmp', 'folder'), ('3.orbax-checkpoint-tmp', 'copy'),
      ('2.orbax-checkpoint-tmp-17', 'folder'), ('00100', 'copy'), ('0002', 'copy'),
      ('100', 'file'), ('100', 'dead link'), ('-5', 'folder'), ('7.5', 'folder'),
      ('notes.txt', 'file'), ('.DS_Store', 'file'), ('state', 'folder'),
      ('²', 'folder'), ('1_000', 'copy'), ('2.damaged', 'copy'), ('3 ', 'folder'),
      ('default', 'copy'), ('99999999999999999999', 'folder'), ('3', 'folder'),
      ('١٢', 'copy'))]
  for name, do in todo[:cases]:
    hit = scratch / 'hit'
    shutil.rmtree(hit, ignore_errors=True)
    shutil.copytree(whole, hit)
    do(hit)
    try:
      if (got := outcome_of(hit)) != ('step', 2):
        failures.append(f'{name}: {got}')
      elif any('tmp' in left for left in os.listdir(hit)):
        failures.append(f'{name}: not cleaned')
    except Exception as error:
      failures.append(f'{name}: {type(error).__name__} {error}')
  return Outcome(min(cases, len(todo)), failures)


_COMMIT = '''
import ctypes, os, sys
sys.path[:0] = [{here!r}, {root!r}]
import checkpoint_rows as rows
from byol_jax.run import checkpoint
import jax, orbax.checkpoint  # before the fork
library = ctypes.CDLL(os.environ['LD_PRELOAD'])
def child(act):
  pid = os.fork()
  if pid == 0:
    try:
      act()
      os._exit(0)
    except BaseException as error:
      print(type(error).__name__, error, flush=True)
      os._exit(1)
  return os.waitpid(pid, 0)[1]
def save():
  checkpoints = checkpoint.Checkpoints({folder!r}, max_to_keep=1)
  library.shim_arm(int(sys.argv[1]))
  checkpoints.save(2, rows.make_state(2), {{}})
  checkpoints.close()
  print('calls', library.shim_arm(-1), flush=True)
def look():
  print(*rows.outcome_of({folder!r}), flush=True)
  checkpoints = checkpoint.Checkpoints({folder!r}, max_to_keep=1)
  checkpoints.save(3, rows.make_state(3), {{}})  # and the run can go on
  checkpoints.close()
  print(*rows.outcome_of({folder!r}), *sorted(os.listdir({folder!r})), flush=True)
first, last, stride = map(int, sys.argv[1:])
import shutil, pathlib
for n in range(first, last, stride):
  shutil.rmtree({folder!r}, ignore_errors=True)
  shutil.copytree({folder!r} + '-1', {folder!r})
  sys.argv[1] = str(n)
  status = child(save)
  print('KILLED' if os.WIFSIGNALED(status) else 'saved', n, flush=True)
  child(look)
'''


@row('C2', cases=1000, sample=8,
     bound='the checkpoint before or after, whole; the next save works')
def killed_within_a_commit(cases, scratch):
  """SIGKILL before each call that changes a file, during a save."""
  # The calls of threads interleave as they like, so their number varies a
  # little: N is raised until a save comes through twice.
  folder = scratch / 'c2' / 'checkpoints'
  folder.parent.mkdir()
  saved(pathlib.Path(f'{folder}-1'), 1)
  environment = harness.environment(
      scratch, LD_PRELOAD=str(harness.shim(scratch)), SHIM_PATH='c2/checkpoints/')
  code = _COMMIT.format(here=str(harness.HERE), root=str(harness.ROOT),
                        folder=str(folder))

  def attempts(first, last, stride):
    done = subprocess.run(
        [sys.executable, '-c', code, str(first), str(last), str(stride)],
        env=environment, text=True, capture_output=True, timeout=3000)
    return done.stdout.splitlines(), done.stderr

  lines, errors = attempts(10**6, 10**6 + 1, 1)  # not killed: how many calls
  calls = [int(line.split()[1]) for line in lines if line.startswith('calls')]
  if not calls:
    return Outcome(1, [f'{lines} {errors[-300:]}'])
  last = calls[0] + 3
  lines, errors = attempts(1, last, max(1, last // cases))
  failures, killed, case = [], 0, []
  for line in lines + ['end']:
    if line.startswith(('KILLED', 'saved', 'end')):
      if case:
        killed += case[0].startswith('KILLED')
        good = (len(case) == 3 and case[1] in ('step 1', 'step 2')
                and case[2].split() == ['step', '3', '3'])
        if not good:
          failures.append(' / '.join(case))
      case = [line]
    elif case and not line.startswith('calls'):
      case.append(line)
  if errors and not killed:
    failures.append(errors[-300:])
  return Outcome(killed, failures, f'{calls[0]} calls in a save')
