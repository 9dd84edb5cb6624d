"""The key shard: which piece, of how many."""

import pytest

from byol_jax.config import shard
from byol_jax.config.shard import Shard
from byol_jax.errors import UserError


@pytest.mark.parametrize('value, is_right', [
    ('', True), ('3/16', True), ('16/16', True), ('1/1', True), ('auto', True),
    ('auto/16', True), ('merge', True), ('0/16', False), ('17/16', False),
    ('-1/16', False), ('3', False), ('3/0', False), ('auto/0', False), ('3/16/2', False),
    ('1.5/3', False), ('x/3', False), (3, False), ('\u0663/16', False), ('3/16\n', False)])
def test_what_is_allowed(value, is_right):
  assert (shard.kind().refusal(value) == '') == is_right


def test_a_number_that_is_too_large_is_answered_with_the_range():
  with pytest.raises(UserError, match='shard is .17/16.*from 1/16 to 16/16'):
    shard.kind().check('config key shard', '17/16')


def slurm(task, first, count, step=1):
  return {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in (
      ('ID', task), ('MIN', first), ('COUNT', count), ('STEP', step))}


@pytest.mark.parametrize('value, environment, expected', [
    ('', slurm(3, 0, 16), None),  # an array may be one over seeds
    ('merge', slurm(3, 0, 16), None),
    ('3/16', slurm(0, 0, 4), (3, 16)),
    ('auto', slurm(0, 0, 16), (1, 16)), ('auto', slurm(15, 0, 16), (16, 16)),
    ('auto', slurm(1, 1, 16), (1, 16)), ('auto/16', slurm(16, 1, 16), (16, 16)),
    ('auto', slurm(10, 0, 4, step=5), (3, 4)),
    ('auto/16', {'JOB_COMPLETION_INDEX': '0'}, (1, 16)),
    ('auto/16', {'JOB_COMPLETION_INDEX': '15'}, (16, 16))])
def test_schedulers_count_from_their_first(value, environment, expected):
  assert shard.asked(value, environment) == (expected and Shard(*expected))


@pytest.mark.parametrize('value, environment, said', [
    ('auto', {}, 'neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX'),
    ('auto', {'JOB_COMPLETION_INDEX': '3'}, 'Kubernetes does not say how many'),
    ('auto/3', {'JOB_COMPLETION_INDEX': '3'}, 'this is completion 3, counted from 0'),
    # a part of the array was submitted again: other shards, if they were counted anew
    ('auto/16', slurm(3, 3, 2), 'has 2 tasks.*submit a whole array'),
    ('auto', slurm(7, 1, 3), 'has 3 tasks, this one 7 from 1 on'),  # --array=1,3,7
    ('auto', {'SLURM_ARRAY_TASK_ID': '3'}, "SLURM_ARRAY_TASK_MIN is ''")])
def test_an_environment_that_does_not_say_it(value, environment, said):
  with pytest.raises(UserError, match=said):
    shard.asked(value, environment)
