"""launch/supervise.sh: what it makes of a machine that comes and goes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import ACTIVE
from stand_ins import CONFIG
from stand_ins import hosts
from stand_ins import ODD
from stand_ins import READY


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
