"""The key `shard`: which piece of the images is this process's, of how many."""

from __future__ import annotations

from collections.abc import Mapping
import os
import re
from typing import NamedTuple

from byol_jax.config.kinds import Kind
from byol_jax.errors import UserError

MERGE = 'merge'
_WORDS = ("as 3/16, the third of sixteen; 'auto' in a job array of Slurm, 'auto/16' "
          "there and in an Indexed Job of Kubernetes; 'merge'; or empty")
_FORM = re.compile(r'(auto|0*[1-9]\d{0,5})/0*([1-9]\d{0,5})')


class Shard(NamedTuple):
  """One piece of several: number 1 .. count."""
  number: int
  count: int

  def __str__(self) -> str:
    return f'{self.number}/{self.count}'


def kind() -> Kind:
  """Makes the kind of the key's values."""
  def refusal(value):
    if not isinstance(value, str):
      return _WORDS
    found = _FORM.fullmatch(value)
    if not found:
      return '' if value in ('', 'auto', MERGE) else _WORDS
    if found[1] != 'auto' and int(found[1]) > int(found[2]):
      return f'from 1/{found[2]} to {found[2]}/{found[2]}'
    return ''
  return Kind(str, _WORDS, str, refusal)


def asked(value: str, environment: Mapping[str, str] = os.environ) -> Shard | None:
  """Returns the shard that a valid value names; None for '' and 'merge'.

  A scheduler may count from any number: the first of its processes is shard 1.

  Args:
    value: the key's value.
    environment: variables of the scheduler.

  Raises:
    UserError: the environment does not say which it is, or of another number.
  """
  if value in ('', MERGE):
    return None
  number, _, count = value.partition('/')
  if number != 'auto':
    return Shard(int(number), int(count))
  prefix = f'config key shard is {value!r}, '
  if 'SLURM_ARRAY_TASK_ID' in environment:
    here, first, tasks = (_whole(environment, f'SLURM_ARRAY_TASK_{name}', prefix)
                          for name in ('ID', 'MIN', 'COUNT'))
    step = int(environment.get('SLURM_ARRAY_TASK_STEP') or 1)
    number = (here - first) // step + 1
    if not 1 <= number <= tasks or (count and int(count) != tasks):
      raise UserError(
          f'{prefix}but this Slurm array has {tasks} tasks, this one {here} from '
          f'{first} on: submit a whole array, as in --array=1-16 (shards that are '
          'there are skipped), or name the shard, as in --config.shard=3/16')
    return Shard(number, tasks)
  if 'JOB_COMPLETION_INDEX' in environment:
    number = _whole(environment, 'JOB_COMPLETION_INDEX', prefix) + 1
    if not count:
      raise UserError(f'{prefix}but Kubernetes does not say how many there are: set '
                      "the Job's completions, as in --config.shard=auto/16")
    if number > int(count):
      raise UserError(f'{prefix}but this is completion {number - 1}, counted from 0: '
                      "set the Job's completions")
    return Shard(number, int(count))
  raise UserError(f'{prefix}but there is neither SLURM_ARRAY_TASK_ID nor '
                  'JOB_COMPLETION_INDEX: name the shard, as in --config.shard=3/16')


def _whole(environment: Mapping[str, str], name: str, prefix: str) -> int:
  value = environment.get(name, '')
  if not value.isdecimal():
    raise UserError(f'{prefix}but {name} is {value!r}: name the shard, as in '
                    '--config.shard=3/16')
  return int(value)
