"""What takes long is done once."""

import json

import numpy as np
import pytest

from byol_jax.evaluation import stages as stages_lib


@pytest.fixture(name='stages')
def _stages(tmp_path):
  return lambda: stages_lib.Stages(str(tmp_path), str(tmp_path))


def test_once(stages, tmp_path):
  done = []
  def act():
    done.append(0)
    return 1.5, None
  for _ in range(2):
    assert stages().once('a', act) == [1.5, None]
  assert len(done) == 1
  assert json.loads((tmp_path / 'progress.json').read_text()) == {'a': [1.5, None]}
  (tmp_path / 'progress.json').write_text('{"a": ')
  assert stages().once('a', act) == [1.5, None] and len(done) == 2


def test_a_training_goes_on_and_its_checkpoints_are_removed(stages, tmp_path):
  state = {'w': np.zeros(2, np.float32)}
  with stages().opened('first, 3 steps of 2') as stage:
    assert stage.restore(state) == (0, state)
    stage.save(2, {'w': np.ones(2, np.float32)}, last=True)
  with stages().opened('first, 3 steps of 2') as stage:
    step, found = stage.restore(state)
    assert step == 2 and found['w'].tolist() == [1, 1]
  with stages().opened('first, 4 steps of 2') as stage:  # other steps
    assert stage.restore(state)[0] == 0
  (tmp_path / 'checkpoints' / '10').mkdir()  # a pretraining's
  stages().remove()
  assert [x.name for x in (tmp_path / 'checkpoints').iterdir()] == ['10']
