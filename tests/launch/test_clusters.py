"""launch/gke and launch/slurm against stand-ins of kubectl, xpk and sbatch."""

import json
import pathlib
import shlex
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import CONFIG
from stand_ins import LAUNCH
from stand_ins import ODD


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
