"""The studies of the paper: every cell is a config that is allowed, with its figure."""

import pytest

from byol_jax.config import cells
from byol_jax.config import keys
from byol_jax.config import names as task_names
from byol_jax.evaluation import studies


def by_name(axis, batch_size=4096):
  return {row.name: row for row in studies.make(axis, batch_size).rows}


def test_the_config_knows_them_all():
  assert studies.AXES == task_names.STUDIES


@pytest.mark.parametrize('name', studies.AXES)
def test_every_cell_is_allowed(name):
  axis = studies.make(name, 4096)
  assert len({row.name for row in axis.rows}) == len(axis.rows)
  for line in {row.line for row in axis.rows}:  # the paper's best has no change
    of_line = [row for row in axis.rows if row.line == line]
    assert len({row.place for row in of_line}) == len(of_line)
    assert max(row.paper for row in of_line) == next(
        row.paper for row in of_line if row.place == axis.reference)
  for row in axis.rows:
    assert cells.read('study.grid', cells.written({row.name: row.changes})) == {
        row.name: row.changes}
    cells.make(keys.base(), row.name, row.changes, 0)


def test_smaller_batches_are_parts_of_one():
  rows = by_name('batch_size')
  assert [row.place for row in rows.values() if row.line == 'simclr'] == [
      '4096', '2048', '1024', '512', '256', '128', '64']
  assert rows['byol_64'].changes == {
      'method.name': 'byol', 'train.batch_size': 4096, 'train.accumulation_steps': 64}
  assert (rows['byol_64'].paper, rows['simclr_64'].paper) == (59.7, 59.2)
  # no parts of which batch normalization knows nothing, and none with a rest
  assert [row.place for row in by_name('batch_size', 24).values()] == [
      '24', '12', '6'] * 2
  assert [row.place for row in by_name('batch_size', 3).values()] == ['3', '3']


def test_augmentations_are_left_out_one_after_the_other():
  rows = by_name('augmentation')
  for method in ('byol', 'simclr'):
    before = -1
    for place in ('baseline', 'no_grayscale', 'no_color', 'crop_blur', 'crop'):
      changes = rows[f'{method}_{place}'].changes
      assert len(changes) > before and not any(
          value for key, value in changes.items() if key != 'method.name')
      before = len(changes)
  config = cells.make(keys.base(), 'a', rows['byol_crop'].changes, 0)
  for view in config.augment.view1, config.augment.view2:
    assert not any((view.flip, view.jitter, view.grayscale, view.blur, view.solarize,
                    view.randaugment))
  config = cells.make(keys.base(), 'a', rows['byol_crop_blur'].changes, 0)
  assert config.augment.view1.blur == 1.0 and config.augment.view2.blur == 0.1


def test_targets():
  rows = by_name('target')
  for name, base, end in (('tau_1', 1.0, 1.0), ('tau_0', 0.0, 0.0),
                          ('tau_0.99', 0.99, 1.0)):  # to 1, as the paper's
    assert rows[name].changes == {
        'method.name': 'byol', 'method.target': 'ema', 'train.tau_base': base,
        'train.tau_end': end}
  assert studies.make('target', 64).untrained == 1.4


def test_the_predictor_saves_from_collapse():
  """Tables 5b and 19: without negatives, only a predictor and a moving target learn."""
  rows = by_name('predictor')
  assert len(rows) == 12 == len({str(row.changes) for row in rows.values()})
  for row in rows.values():
    target, alone, beta = (row.changes[key] for key in (
        'method.target', 'network.predictor', 'method.beta'))
    assert (row.paper > 60) == (beta == 1 or (target, alone) == ('ema', True))
