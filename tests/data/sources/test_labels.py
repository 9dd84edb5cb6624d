"""Ids, names and no labels; those of each source are in its own test."""

import numpy as np
import pytest

from byol_jax.data.records import texts
from byol_jax.data.sources import labels
from byol_jax.data.sources import table
from byol_jax.errors import UserError


@pytest.mark.parametrize('ids, numbers, names', [
    ([0, 1, 2, 1], [0, 1, 2, 1], None), ([0, 2, 2], [0, 1, 1], ('0', '2')),
    ([-1, -1], [-1, -1], None), ([2**60, -1, 7], [1, -1, 0], ('7', str(2**60)))])
def test_numbers(ids, numbers, names):
  found = labels.number(np.array(ids), 'them', None)
  assert found[0].tolist() == numbers and found[1] == names


def test_other_parts_have_the_training_parts_numbers():
  assert labels.number(np.array([9, 5]), 'them', ('5', '7', '9'))[0].tolist() == [2, 0]
  with pytest.raises(UserError, match='them has the label 6'):
    labels.number(np.array([6]), 'them', ('5', '7'))


def _of_texts(said, which=None, split='train', names=None):
  which = np.arange(len(said)) if which is None else np.array(which)
  return labels.of_texts('them', labels.Texts(
      {text: k for k, text in enumerate(said)}, which, 'file {}'.format), split, names)


_LONG = '123456789012345678'  # 18 digits; with more they are names


@pytest.mark.parametrize('said, numbers, names', [
    (['48662', '901'], [1, 0], ('901', '48662')), (['dog', 'cat'], [1, 0], ('cat', 'dog')),
    (['1.0', 'nan', '0.0', 'NA', 'None', '-1'], [1, -1, 0, -1, -1, -1], None),
    ([_LONG + '1', '-1', _LONG + '2', '7'], [1, -1, 2, 0], ('7', _LONG + '1', _LONG + '2')),
    (['cat', 'NA'], [1, 0], ('NA', 'cat'))])  # Namibia among names
def test_texts(said, numbers, names):
  found = _of_texts(said)
  assert found[0].tolist() == numbers and found[0].dtype == np.int32
  assert found[1] == names


def test_long_ids_of_other_parts():
  names = ('7', _LONG + '1')
  assert _of_texts([_LONG + '1', '7'], names=names, split='test')[0].tolist() == [1, 0]
  assert _of_texts(['7'], names=names, split='test')[0].tolist() == [0]


def test_version_0_1_took_na_for_a_name():
  found = labels.of_texts('them', labels.Texts({'3': 1, 'NA': 2}, np.arange(2), str),
                          'train', None, '0.1')
  assert found[0].tolist() == [0, 1] and found[1] == ('3', 'NA')


@pytest.mark.parametrize('said, more, match', [
    (['0', '1.5'], {}, "file 1 has the label '1.5': labels are whole.*label_column='none'"),
    (['0', '-2'], {}, "label '-2'"), ([_LONG + '1'], {'split': 'test'}, 'has numbers'),
    (['cat'], {'split': 'test'}, "label 'cat', and the training part has numbers"),
    (['cow'], {'split': 'test', 'names': ('cat',)}, "'cow', which is not one of the 1")])
def test_what_is_no_label_is_refused(said, more, match):
  with pytest.raises(UserError, match=match):
    _of_texts(said, **more)


def _shards(*said):
  """Makes the indexes of files with these labels, None for no label."""
  found = []
  for one in said:
    known, packer = list(dict.fromkeys(x for x in one if x is not None)), texts.Packer()
    for text in known:
      packer.add(text.encode())
    found.append(packer.arrays('label') | {'label': np.array(
        [-1 if x is None else known.index(x) for x in one], np.int32)})
  return found


def test_labels_of_several_files_are_one():
  def of(*said, declared=None, **more):
    return labels.of_shards(
        table.Request('them', **more), 'train', ['a', 'b'], _shards(*said),
        [f'image {k}' for k in range(9)], declared)
  found, names = of(['7', '901'], ['901', '7', '48662'])
  assert found.tolist() == [0, 1, 1, 0, 2] and names == ('7', '901', '48662')
  assert of(['-1'], ['-1']) == of([None], [None]) == (None, None)
  found, names = of(['1', '-1'], ['0'], declared=('x', 'y', 'z'))
  assert found.tolist() == [1, -1, 0] and names == ('x', 'y', 'z')
  for arguments, more, match in (
      ((['1'], ['1', None]), {}, "b has labels for some images only, 'image 2' has none"),
      ((['1'], ['3']), {'declared': ('x', 'y')}, 'b has a label 3, but names for 2'),
      ((['1'], ['0']), {'declared': ('x', 'y'), 'class_names': ('y', 'x')}, 'other classes'),
      (([None], [None]), {'label_column': 'kind'}, "no image of them has .* 'kind'")):
    with pytest.raises(UserError, match=match):
      of(*arguments, **more)
