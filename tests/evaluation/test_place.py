"""Where an evaluation writes: its own place, and nobody else's."""

import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import place as place_lib
from byol_jax.weights.load import Weights


def weights(path, network='online'):
  return Weights(None, {}, {}, network, 20, path, '0123456789abcdef')


@pytest.mark.parametrize('path, network, other, expected', [
    ('runs/a', 'online', '', 'runs/a/evaluations/knn-20'),
    ('runs/a/checkpoints', 'online', '', 'runs/a/evaluations/knn-20'),
    ('runs/a/checkpoints/20', 'target', '', 'runs/a/evaluations/knn_target-20'),
    ('runs/a', 'online', 'my photos/2', 'runs/a/evaluations/knn_my_photos_2-20'),
    ('x/y.safetensors', 'target', 'cifar10:3.0.2',
     'runs/encoder-01234567/evaluations/knn_target_cifar10_3.0.2-20')])
def test_beside_the_weights(path, network, other, expected):
  assert place_lib.beside(weights(path, network), 'knn', other) == expected


def opened(path, config, is_named=False, measured=True):
  """Opens a place, and leaves results there."""
  with place_lib.opened(
      str(path), is_named=is_named, config=config, found={'data': 'x'},
      free_keys=('free',), defaults={'k': 20}) as place:
    if measured:
      place.write_results({'k': config.get('k')})
    return place


def test_another_evaluation_stays_and_the_next_place_is_taken(tmp_path):
  path = tmp_path / 'knn-20'
  assert opened(path, {'k': 20}).workdir == str(path)
  assert opened(path, {'k': 5}).workdir == f'{path}-2'
  assert opened(path, {'k': 3}).workdir == f'{path}-3'
  assert opened(path, {'k': 5, 'free': 1}, measured=False).results() == {'k': 5}
  assert opened(path, {}, measured=False).results() == {'k': 20}  # by default


def test_what_the_user_names_is_taken_or_refused(tmp_path):
  opened(tmp_path, {'k': 20}, is_named=True)
  with pytest.raises(UserError, match=r'k \(20 there, 5 now\)'):
    opened(tmp_path, {'k': 5}, is_named=True)


def test_nothing_to_spoil(tmp_path):
  """A command that was wrong has left a config.json, and no results."""
  opened(tmp_path, {'k': 1000}, is_named=True, measured=False)
  assert opened(tmp_path, {'k': 5}, is_named=True).results() == {'k': 5}


def test_damaged_results(tmp_path, caplog):
  place = opened(tmp_path, {})
  (tmp_path / 'results.json').write_text('{"byol": ')
  assert place.results() is None
  assert 'results.json is damaged: measuring again' in caplog.text
  assert place.named('results.json') == f'{tmp_path}/results.json'
