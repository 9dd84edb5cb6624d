"""launch/tpu.sh against a stand-in of gcloud."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import ACTIVE
from stand_ins import CONFIG
from stand_ins import hosts
from stand_ins import ODD
from stand_ins import QUEUE
from stand_ins import READY
from stand_ins import VM
from stand_ins import WHERE


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
