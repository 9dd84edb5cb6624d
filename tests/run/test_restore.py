"""One checkpoint for all processes; several of them are in test_processes.py."""

import contextlib

import jax
import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.run import restore


def test_the_newest_checkpoint_unless_it_is_refused(tmp_path):
  like = {'w': jax.ShapeDtypeStruct((3,), np.float32)}
  def refuse(opened):
    raise UserError(f'not step {opened.step}')
  with contextlib.closing(checkpoint.Checkpoints(tmp_path)) as there:
    assert restore.together(there, like, refuse) == (None, None)
    for step in (2, 4):
      there.save(step, {'w': np.full(3, step, np.float32)}, {})
    there.wait()
    opened, state = restore.together(there, like)
    assert opened.step == 4 and state['w'].tolist() == [4, 4, 4]
    with pytest.raises(UserError, match='not step 4'):
      restore.together(there, like, refuse)
