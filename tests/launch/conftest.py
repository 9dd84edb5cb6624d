"""What the tests of the launch scripts begin with."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import Bench
from stand_ins import executable

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


@pytest.fixture(name='cluster')
def _cluster(cloud):
  cloud.tools('kubectl', 'xpk', 'docker', 'sbatch', 'srun', 'scontrol', 'scancel')
  cloud.env |= dict(BYOL_ACCELERATOR='v5p-32', BYOL_IMAGE='image:1', BYOL_CLUSTER='c')
  return cloud


@pytest.fixture(name='host')
def _host(bench):
  """One host, on which the program is a stand-in."""
  executable(bench.bin / 'program', _PROGRAM)
  bench.env |= dict(BYOL_INSTALL='0', BYOL_PYTHON=str(bench.bin / 'program'))
  yield bench
  bench.run('worker.sh', 'kill')
