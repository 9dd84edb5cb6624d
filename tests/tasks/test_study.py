"""A study: which runs it makes, what it tells of them, and how it goes on.

The runs are those of a stand-in of the program, which takes a workdir, a lock and time.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from tiny import call
from tiny import ROOT

from byol_jax import errors
from byol_jax.config import command as command_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import compare
from byol_jax.tasks import study
from byol_jax.tasks import study_plan

# It counts its starts and its steps, and goes on where it was; its figures follow from
# its arguments. It fails as often as the file `fails` beside the cells says.
STUB = r'''
import fcntl, json, os, pathlib, signal, sys, time, zlib
given = dict(a.removeprefix('--').partition('=')[::2] for a in sys.argv[1:])
workdir = pathlib.Path(given.pop('workdir'))
lock = open(workdir / 'lock.json', 'a')
try:
  fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
  print(f'byol_jax: workdir {workdir} is in use by process 1')
  sys.exit(2)
for number in (signal.SIGTERM, signal.SIGINT):
  signal.signal(number, lambda *_: sys.exit(0))
with open(workdir / 'starts', 'a') as f:
  f.write(f'{os.getpid()}\n')
starts = len((workdir / 'starts').read_text().split())
fails = workdir.parent.parent / 'fails.json'
for code, message, times in json.loads(fails.read_text()).get(workdir.name, []) if (
    fails.exists()) else []:
  if starts <= times:
    print(message, file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), 9) if code == -9 else sys.exit(code)
done = workdir / 'done'
print('step 1/2  50.0%  9 img/s  ETA 0:01:00  loss 1', flush=True)
if workdir.name == 'b-5':
  print('warning: the run has collapsed', flush=True)
while (steps := len(done.read_text()) if done.exists() else 0) < int(os.environ['STEPS']):
  time.sleep(0.02)
  with open(done, 'a') as f:
    f.write('.')
given.pop('config')
value = zlib.crc32(json.dumps(sorted(given.items())).encode()) % 5000 / 100 + 50
results = {
    'method': given.get('config.method.name', 'byol'),
    'run': {'steps': steps, 'training_seconds_this_session': 1.0},
    'untrained': {'knn_top1': 20.0, 'linear_top1': 30.0},
    'protocol': {'images': 'few'}}
results[results['method']] = {'knn_top1': value - 1, 'linear_top1': value}
(workdir / 'results.tmp').write_text(json.dumps(results))
os.replace(workdir / 'results.tmp', workdir / 'results.json')
'''
GRID = '--config.study.grid=a:; b: train.tau_base=0.5; c: method.name=simclr'


def stub(path):
  """The stand-in's command, for `study.command`."""
  file = pathlib.Path(path) / 'stub.py'
  file.write_text(STUB)
  def command(config, workdir, base):
    return [sys.executable, str(file), f'--workdir={workdir}', f'--config={base}',
            *[a for a in arguments(config, workdir, base) if a.startswith('--config.')]]
  return command


arguments = study.command


@pytest.fixture(name='made')
def _made(tmp_path, monkeypatch):
  """(arguments of a study) -> its exit code."""
  monkeypatch.setattr(study, 'command', stub(tmp_path))
  monkeypatch.setenv('STEPS', '2')
  return lambda *arguments, name='study:target': call(
      name, f'--workdir={tmp_path}/out', *arguments)


def told(path):
  return json.loads((path / 'out' / 'study.json').read_text())


def starts(path):
  """{run: how often it was started}."""
  return {x.parent.name: len(x.read_text().split())
          for x in (path / 'out' / 'cells').glob('*/starts')}


def test_a_study_leaves_what_it_promises(made, tmp_path, capsys):
  assert made(GRID, '--config.study.seeds=2', '--config.seed=5') == 0
  said = capsys.readouterr().out
  assert 'study of a grid of your own: 3 cells, 6 runs' in said
  # seed by seed, so that there is something to see early
  assert re.findall(r'now (\S+)', said) == ['a-5', 'b-5', 'c-5', 'a-6', 'b-6', 'c-6']
  assert re.search(r'study 3/6 runs  50%  0:00:0\d a run  ETA 0:00:\d\d  now a-6', said)
  a, b, c, untrained = told(tmp_path)['cells']
  assert [x['name'] for x in (a, b, c, untrained)] == [
      'a', 'b', 'c', 'untrained encoder']
  assert b['changes'] == {'train.tau_base': 0.5} and b['reference'] == 'a'
  values = [run['linear_top1'] for run in b['runs']]
  assert b['linear']['mean'] == pytest.approx(sum(values) / 2, abs=1e-3)
  assert b['linear_change']['mean'] == pytest.approx(
      b['linear']['mean'] - a['linear']['mean'], abs=1e-3)
  assert c['runs'][1] | {'linear_top1': 0, 'knn_top1': 0} == {
      'seed': 6, 'workdir': 'cells/c-6', 'state': 'done', 'linear_top1': 0,
      'knn_top1': 0, 'steps': 2, 'seconds_of_last_session': 1.0, 'device': None}
  assert untrained['linear']['mean'] == 30.0
  assert told(tmp_path)['settings']['train.batch_size'] == 64
  page = (tmp_path / 'out' / 'study.md').read_text()
  assert '\nwarning: b-5: the run has collapsed\n' in said
  assert '\n- b-5 warns: the run has collapsed\n' in page
  assert b['runs'][0]['warnings'] == ['the run has collapsed']
  for text in (said, page):
    assert f'{b["linear"]["mean"]:.2f} +-{b["linear"]["std"]:.2f}' in text
  assert '![](study.svg)' in page
  assert '<svg' in (tmp_path / 'out' / 'study.svg').read_text()
  # the cells are ordinary runs, whose command can be given by hand
  at = _plan(GRID).runs[1]
  again = command_lib.parse(['main', *arguments(
      at.config, at.workdir, f'{tmp_path}/out/base.py')[3:]])
  assert files_lib.flatten(again.config) == files_lib.flatten(at.config)
  assert again.flags['workdir'] == 'out/cells/b-0'
  config = command_lib.parse(
      ['main', '--config=configs/compare.py',
       f'--config.compare.workdirs={tmp_path}/out/cells/*']).config
  compare.run(config, None)
  assert f'{b["runs"][0]["linear_top1"]:.2f}%' in capsys.readouterr().out

  before = told(tmp_path)
  assert made(GRID, '--config.study.seeds=2', '--config.seed=5') == 0
  assert told(tmp_path) == before and set(starts(tmp_path).values()) == {1}
  assert made(GRID, '--config.study.seeds=3', '--config.seed=5',
              '--config.study.reference=b') == 0
  assert sum(starts(tmp_path).values()) == 9
  assert '6/9 runs  67%  0:00:01 a run  ETA 0:00:03' in capsys.readouterr().out
  assert {x['reference'] for x in told(tmp_path)['cells']} == {'b'}


def test_the_first_run_tells_when_the_whole_study_ends(made, monkeypatch, capsys):
  monkeypatch.setattr(study, '_TELL_SECONDS', 0.3)
  monkeypatch.setenv('STEPS', '60')
  assert made('--config.study.grid=a:; b: train.tau_base=0.5',
              '--config.study.seeds=1') == 0
  said = capsys.readouterr().out
  # a minute of this run, and another run of a minute or a little more
  assert re.search(r'a-0  step 1/2 .* ETA 0:01:00  loss 1  study ETA 0:02:0\d', said)
  assert re.search(r'b-0  step 1/2 .*  study ETA 0:01:00', said)


def test_published_figures_and_the_settings_of_a_method(made, tmp_path, capsys):
  by_method = ('--config.study.by_method=simclr: train.base_learning_rate=2.5 '
               'train.batch_size=512')  # but both have the same batches
  assert made('--config.study.seeds=1', '--config.train.batch_size=16', by_method,
              name='study:batch_size') == 0
  rows = {row['name']: row for row in told(tmp_path)['cells']}
  assert list(rows) == ['byol_16', 'byol_8', 'byol_4', 'simclr_16', 'simclr_8',
                        'simclr_4', 'untrained encoder']
  assert rows['simclr_8']['changes'] == {
      'train.base_learning_rate': 2.5, 'method.name': 'simclr',
      'train.batch_size': 16, 'train.accumulation_steps': 2}
  assert rows['simclr_8']['reference'] == 'simclr_16'  # each method has its own
  assert (rows['byol_4']['paper'], rows['byol_4']['paper_change']) == (72.2, -0.3)
  assert '67.8' in capsys.readouterr().out
  assert told(tmp_path)['published'].startswith('Grill et al. 2020, table 16')


def test_cells_that_are_one_run_are_made_once(made, tmp_path, capsys):
  """On gray images, grayscale changes nothing."""
  assert made('--config.study.seeds=1', name='study:augmentation') == 0
  assert told(tmp_path)['left_out']['byol_no_grayscale'] == 'byol_baseline'
  assert 'warning: cell byol_no_grayscale is the same run as byol_baseline' in (
      capsys.readouterr().out)
  assert 'byol_no_grayscale-0' not in starts(tmp_path)
  assert 'byol_no_grayscale is left out' in (tmp_path / 'out/study.md').read_text()


def test_failures(made, tmp_path, capsys):
  """A mistake is not tried again; a machine is, once."""
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'fails.json').write_text(json.dumps({
      'a-0': [[2, 'byol_jax: config key data.path is odd\nset it', 9]],
      'b-0': [[75, 'byol_jax: no space', 1]],
      'b-1': [[75, 'byol_jax: no space', 9]],
      'c-0': [[-9, '', 1]], 'c-1': [[0, 'nothing', 9]]}))
  assert made(GRID, '--config.study.seeds=2') == 2
  out, err = capsys.readouterr()
  assert starts(tmp_path) == {'a-0': 1, 'b-0': 2, 'c-0': 2, 'a-1': 1, 'b-1': 2, 'c-1': 2}
  assert err.count('\n') == 1 and err.startswith('byol_jax: 3 of 6 runs failed; ')
  assert 'a-0: config key data.path is odd set it' in err
  assert 'b-1: no space' in err and 'c-1: it ended without a results.json' in err
  assert 'b-0 failed, and is tried again (exit code 75): no space' in out
  runs = {f'{row["name"]}-{run["seed"]}': run for row in told(tmp_path)['cells']
          for run in row['runs']}
  assert {name: run['state'] for name, run in runs.items()} == {
      'a-0': 'failed', 'a-1': 'done', 'b-0': 'done', 'b-1': 'failed', 'c-0': 'done',
      'c-1': 'failed'}
  assert runs['a-0']['message'] == 'config key data.path is odd set it'
  assert '- a-0 failed: config key data.path' in (tmp_path / 'out/study.md').read_text()
  # the same command tries what has failed; without mistakes, the machine is to blame
  (tmp_path / 'out' / 'fails.json').write_text(
      json.dumps({'b-1': [[75, 'byol_jax: no space', 9]]}))
  assert made(GRID, '--config.study.seeds=2') == errors.EXIT_CODE
  assert '1 of 6 runs failed; b-1: no space' in capsys.readouterr().err


def test_a_run_that_another_process_holds_is_left_to_it(made, tmp_path, monkeypatch):
  """Here it is the child of a study that was killed: it holds the run's own lock."""
  monkeypatch.setattr(study, '_WAIT_SECONDS', 0.3)
  folder = tmp_path / 'out' / 'cells' / 'a-0'
  folder.mkdir(parents=True)
  orphan = subprocess.Popen(
      study.command(_plan(GRID).runs[0].config, str(folder), 'base.py'),
      env=os.environ | {'STEPS': '100'})
  try:
    while not (folder / 'starts').exists():
      time.sleep(0.02)
    assert made(GRID, '--config.study.seeds=1') == 0
    assert orphan.wait(60) == 0
    assert starts(tmp_path) == {'a-0': 1, 'b-0': 1, 'c-0': 1}
    assert told(tmp_path)['cells'][0]['runs'][0]['steps'] == 100
  finally:
    orphan.kill()


def _plan(*given):
  return study_plan.make(command_lib.parse([
      'main', f'--config={ROOT}/configs/study.py:target', *given]).config, 'out')


# ------------------------------------------------------- processes of their own
def start(tmp_path, *arguments, steps=8):
  """Starts a study as a process."""
  stub(tmp_path)
  code = (f'import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n'
          'from byol_jax import main\nfrom byol_jax.run import signals\n'
          'from byol_jax.tasks import study\nsignals.for_good()\nimport '
          f'test_study\nstudy.command = test_study.stub({str(tmp_path)!r})\n'
          'study._WAIT_SECONDS = 0.3\nsys.exit(main.main(sys.argv))')
  return subprocess.Popen(
      [sys.executable, '-c', code, f'--config={ROOT}/configs/study.py:target',
       f'--workdir={tmp_path}/out', GRID, '--config.study.seeds=2', *arguments],
      env=os.environ | {'STEPS': str(steps), 'PYTHONPATH': ROOT}, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for_a_start(tmp_path, process):
  until = time.monotonic() + 60
  while not list((tmp_path / 'out').glob('cells/*/starts')):
    assert process.poll() is None and time.monotonic() < until
    time.sleep(0.02)


@pytest.fixture(name='whole', scope='module')
def _whole(tmp_path_factory):
  """study.json of a study that nothing has interrupted."""
  path = tmp_path_factory.mktemp('whole')
  process = start(path)
  assert process.wait(120) == 0, process.stdout.read()
  return told(path)


@pytest.mark.parametrize('with_children', [False, True])
def test_a_killed_study_ends_with_the_same_table(tmp_path, whole, with_children):
  process = start(tmp_path)
  wait_for_a_start(tmp_path, process)
  time.sleep(random.uniform(0, 1.5))
  process.kill()
  process.wait()
  if with_children:
    for file in (tmp_path / 'out').glob('cells/*/starts'):
      for pid in file.read_text().split():
        try:
          os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
          pass
  again = start(tmp_path)
  assert again.wait(120) == 0, again.stdout.read()
  assert told(tmp_path) == whole


def test_ctrl_c_saves_and_leaves(tmp_path, whole):
  process = start(tmp_path)
  wait_for_a_start(tmp_path, process)
  process.send_signal(signal.SIGINT)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 0, out
  assert 'left; nothing is lost, and the same command goes on' in out
  assert 'failed' not in out
  again = start(tmp_path)
  assert again.wait(120) == 0, again.stdout.read()
  assert told(tmp_path) == whole


def test_two_processes_share_the_runs(tmp_path, whole):
  both = [start(tmp_path, steps=8) for _ in range(2)]
  for process in both:
    assert process.wait(120) == 0, process.stdout.read()
  assert told(tmp_path) == whole
  assert starts(tmp_path) == {f'{name}-{seed}': 1 for name in 'abc' for seed in (0, 1)}
