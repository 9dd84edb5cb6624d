"""The way to TensorFlow: off the accelerators, and a word where it is missing."""

import os
import subprocess
import sys

import pytest

from byol_jax.data.records import tf_cpu
from byol_jax.errors import UserError


def test_it_takes_no_accelerator_and_says_nothing():
  pytest.importorskip('tensorflow')
  code = ('from byol_jax.data.records import tf_cpu; tf = tf_cpu.import_tf(); '
          'assert tf is tf_cpu.import_tf(); '
          'assert not [d for d in tf.config.get_visible_devices() '
          'if d.device_type != "CPU"]')
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert not done.stdout and not done.stderr


def test_without_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  with pytest.raises(UserError, match='needs TensorFlow.* or choose another '
                     'config.data.source'):
    tf_cpu.import_tf.__wrapped__()
  os.write(2, b'')  # what it had silenced is there again
