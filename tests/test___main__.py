"""The command that is a word."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_the_word_is_the_program(tmp_path):
  """As pip's script calls it, in a place without configs/."""
  done = subprocess.run(
      [sys.executable, '-c', 'from byol_jax import __main__; __main__.main()',
       'pretrain', 'no where'], cwd=tmp_path, text=True, capture_output=True,
      env=dict(os.environ, PYTHONPATH=str(ROOT)))
  assert done.returncode == 2
  assert done.stdout.startswith('python -m byol_jax.main --config=configs/folder.py '
                                "'--config.data.path=no where'\n")
  assert done.stderr == ("byol_jax: config key data.path is 'no where', which does "
                         'not exist: check it, or set data.source\n')
