"""The cells of a study as a text, and the configs that they are."""

import pytest

from byol_jax.config import cells
from byol_jax.config import command
from byol_jax.config import keys
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib


def test_a_text_is_read_in_its_order():
  assert cells.read('study.grid', """
      b: train.epochs=3 data.crop_area=(0.2, 1) ; a;
      byol+neg-1.5: method.beta=1 data.path=/my photos/x=1 network.predictor=false;""") == {
          'b': {'train.epochs': 3.0, 'data.crop_area': (0.2, 1)}, 'a': {},
          'byol+neg-1.5': {'method.beta': 1.0, 'data.path': '/my photos/x=1',
                           'network.predictor': False}}
  assert cells.read('study.grid', ' ; ') == {}


def test_what_is_written_is_read_again():
  grid = {'a': {'train.epochs': None, 'data.mean': [0.5, 0.5, 0.25],
                'method.name': 'moco', 'network.predictor': True}, 'b': {}}
  again = cells.read('study.by_method', cells.written(grid))
  assert again == grid | {'a': grid['a'] | {'data.mean': (0.5, 0.5, 0.25)}}


@pytest.mark.parametrize('text, message', [
    ('a b', "has the part 'a b': write 'NAME: KEY=VALUE"),
    ('train.epochs=3', "has the part 'train.epochs=3'"),
    ('../a: train.epochs=3', "has the part '../a"),
    ('a: train.epochs', "cell a: 'train.epochs' is not KEY=VALUE"),
    ('a: train.epoch=3', r'cell a: unknown config key train.epoch \(did you mean train'),
    ('a: train.epochs=x', "cell a: train.epochs is 'x', it must be a number above 0"),
    ('a: train.epochs=3 train.epochs=4', 'train.epochs stands there twice'),
    ('a: seed=3', 'seed cannot differ .* set --config.study.seeds'),
    ('a: task=knn', 'task cannot differ'), ('a: study.seeds=1', 'study.seeds cannot'),
    ('a; b; a: train.epochs=3', 'two cells of the name a')])
def test_what_cannot_be_read(text, message):
  with pytest.raises(UserError, match=message) as error:
    cells.read('study.grid', text)
  assert 'config key study.grid' in str(error.value) and '\n' not in str(error.value)


def test_the_settings_of_a_method():
  settings = cells.by_method('simclr: method.name=simclr train.base_learning_rate=2')
  assert cells.with_method({'method.name': 'simclr', 'train.epochs': 3.0}, 'byol',
                           settings) == {
      'method.name': 'simclr', 'train.base_learning_rate': 2.0, 'train.epochs': 3.0}
  mine = {'method.name': 'simclr', 'train.base_learning_rate': 5.0}
  assert cells.with_method(mine, 'byol', settings) == mine
  assert cells.with_method({}, 'byol', settings) == {}
  assert cells.with_method({}, 'simclr', settings) == settings['simclr']
  with pytest.raises(UserError, match="has the name 'simlcr', it must be one of byol"):
    cells.by_method('simlcr: train.epochs=3')


def test_a_cell_is_an_ordinary_pretraining():
  config = keys.base()
  config.task, config.study.seeds, config.data.crop_area = 'study', 5, (0.3, 1.0)
  config.data.path = '/my photos'
  cell = cells.make(config, 'a', {'method.name': 'simclr', 'train.epochs': None}, 7)
  assert (cell.task, cell.seed, cell.study.seeds) == ('pretrain', 7, 3)
  assert config.train.epochs == 1000 and config.method.name == 'byol'
  assert cells.differences(cell, config) == {
      'task': 'pretrain', 'seed': 7, 'study.seeds': 3, 'method.name': 'simclr',
      'train.epochs': None}
  with pytest.raises(UserError, match='cell b of the study: config key method.beta is '):
    cells.make(config, 'b', {'method.name': 'simclr', 'method.beta': 0.5}, 0)
  with pytest.raises(UserError, match='cell b of the study: config key seed is 2147'):
    cells.make(config, 'b', {}, 2**31)


def test_its_arguments_make_the_same_config(tmp_path):
  config = keys.base()
  config.data.crop_area, config.data.path = (0.3, 1.0), '/my photos'
  config.train.warmup_epochs, config.data.mean = None, (0.5, 0.25, 0.125)
  cell = cells.make(config, 'a', {'network.predictor': False}, 7)
  base = tmp_path / 'base.py'
  base.write_text('from byol_jax.config import base as get_config\n')
  again = command.parse(['main', f'--config={base}', *cells.arguments(cell)]).config
  assert files_lib.flatten(again) == files_lib.flatten(cell)
  assert cells.arguments(keys.base()) == []
