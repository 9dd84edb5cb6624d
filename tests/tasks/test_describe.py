"""What a config says in words."""

import pytest

from byol_jax.config import base
from byol_jax.run.journal import Journal
from byol_jax.tasks import describe
from byol_jax.training import diagnostics

FOUND = {'data_found.images': 1000, 'data_found.classes': 3}


def config(**method):
  c = base()
  c.network.name, c.train.batch_size, c.evaluation.examples = 'resnet8', 100, 500
  for key, value in method.items():
    c.method[key] = value
  return c.lock()


def facts(c, metrics=()):
  return describe.facts(c, Journal('w', FOUND, {}, list(metrics), [], []))


def test_schedule_and_changes():
  found = facts(config())
  assert found.total_steps == 10_000 and found.title == 'BYOL, resnet8'
  groups = {title: dict(lines) for title, lines in found.groups}
  assert groups['Schedule']['steps'] == '10,000'
  assert groups['Schedule']['learning rate'].startswith('0.07812 at its peak')
  assert groups['Data']['images'] == '1,000'
  assert ('train.batch_size', 100, 4096) in found.changed and len(found.changed) == 3


@pytest.mark.parametrize('method, bound', [('byol', False), ('simclr', True)])
def test_bounds(method, bound):
  found = facts(config(name=method))
  assert ('loss' in found.bounds) == bound
  [least] = found.bounds['projection_rank']
  assert least.value == max(diagnostics.MIN_RANK, 0.005 * 256)
  assert ('tau' in dict(found.groups[0][1])) == (method == 'byol')


@pytest.mark.parametrize('line, told', [
    ({'projection_std': 0.9, 'feature_rank': 20.0, 'projection_rank': 20.0}, ''),
    ({'projection_std': 0.01, 'feature_rank': 20.0, 'projection_rank': 20.0},
     'the run has collapsed'),
    ({'projection_std': None, 'feature_rank': None, 'projection_rank': None},
     'has diverged'),
    ({'projection_std': 'x', 'feature_rank': [], 'projection_rank': 1.0},
     'has diverged')])
def test_warnings(line, told):
  warnings = facts(config(), [{'step': 5} | line, {'step': 6, 'loss': 1.0}]).warnings
  assert len(warnings) == bool(told)
  assert not told or told in warnings[0] and warnings[0].startswith('Step 5: ')
