"""The files that a path names, and the part that each belongs to."""

import os

import pytest

from byol_jax.data.sources import parts
from byol_jax.data.sources import table
from byol_jax.errors import UserError


def _files(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b'')


def _found(root, path='', split='train', endings=('.tar',), **more):
  found = parts.candidates(table.Request(os.path.join(root, path), **more), split, endings)
  return [[os.path.relpath(file, root) for file in files] for files in found]


def test_a_path_is_a_file_a_folder_a_pattern_a_range_or_several(tmp_path):
  _files(tmp_path, 'a-00.tar', 'a-01.tar', 'a-02.tar', 'b/c-10.tar', '.x.tar', 'x.txt')
  every = ['a-00.tar', 'a-01.tar', 'a-02.tar', 'b/c-10.tar']
  assert _found(tmp_path) == [every]
  assert _found(tmp_path, 'a-01.tar') == [every[1:2]]
  assert _found(tmp_path, 'a-*.tar') == _found(tmp_path, 'a-0?.tar') == [every[:3]]
  assert _found(tmp_path, 'a-{01..02}.tar') == [every[1:3]]
  assert _found(tmp_path, '{a-02,b/c-10}.tar') == [every[2:]]
  assert _found(tmp_path, f'a-{{00,02}}.tar, {tmp_path}/b') == [
      ['a-00.tar', 'a-02.tar', 'b/c-10.tar']]
  assert list(parts.expanded('{08..11}')) == ['08', '09', '10', '11']
  _files(tmp_path, 'odd{1},[x].tar')  # a file is no pattern
  assert _found(tmp_path, 'odd{1},[x].tar') == [['odd{1},[x].tar']]
  for path in ('no.tar', 'no-*.tar', 'x'):
    with pytest.raises(UserError, match=r'check config\.data\.path'):
      _found(tmp_path, path)
  with pytest.raises(UserError, match='the smaller number comes first'):
    _found(tmp_path, 'a-{02..01}.tar')


def test_names_say_the_part(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  _files(tmp_path, 'data/train-0.tar', 'data/train-1.tar', 'data/Validation-0.tar',
         'data/test-0.tar', 'extra.tar', 'constrained.tar')
  train = [['data/train-0.tar', 'data/train-1.tar']]
  assert _found(tmp_path) == train
  assert "passed over 'constrained.tar', 'extra.tar'" in caplog.text
  assert _found(tmp_path, split='test') == [['data/test-0.tar'], ['data/Validation-0.tar']]
  assert _found(tmp_path, split='validation') == [['data/Validation-0.tar']]
  assert _found(tmp_path, split='extra') == [['extra.tar']]
  assert _found(tmp_path, 'data/test-0.tar') == [['data/test-0.tar']]  # chosen
  assert _found(tmp_path, 'data/train-0.tar', 'test') == []
  assert _found(tmp_path, 'data/train-0.tar', 'test',
                test_path=str(tmp_path / 'extra.tar')) == [['extra.tar']]
  with pytest.raises(UserError, match="has no part 'dev'"):
    _found(tmp_path, split='dev')
  _files(tmp_path, 'by/train/0.tar', 'by/test/0.tar')
  assert _found(tmp_path, 'by') == [['by/train/0.tar']]
  assert _found(tmp_path, 'by', 'test') == [['by/test/0.tar']]


@pytest.mark.parametrize('first', [0, 1])
def test_a_shard_that_is_missing_is_named(tmp_path, first):
  names = [f'train-{k:05d}-of-00003.tar' for k in range(first, first + 3)]
  _files(tmp_path, *names)
  assert _found(tmp_path) == [names]
  (tmp_path / names[1]).unlink()
  with pytest.raises(UserError, match=names[1] + ' is missing: '):
    _found(tmp_path)
  assert _found(tmp_path, names[0]) == [names[:1]]  # a file that was chosen


def test_many_shards_that_are_missing_are_counted(tmp_path):
  _files(tmp_path, 'train-00004-of-00009.tar')
  with pytest.raises(UserError, match='train-00000-of-00009.tar is missing, as are 7 more'):
    _found(tmp_path)


def test_numbered_names():
  names = parts.numbered(['/x/a.parquet', '/x/b.parquet'], [2, 3], 'row')
  assert len(names) == 5 and list(names) == [
      'a.parquet, row 0', 'a.parquet, row 1', 'b.parquet, row 0', 'b.parquet, row 1',
      'b.parquet, row 2']
  assert names[-1] == names[4]


def test_several_folders_with_a_training_part_are_named(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  for name in ('one/train', 'two/train'):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / 'a.parquet').touch()
  files, = parts.candidates(table.Request(str(tmp_path)), 'train', ('.parquet',))
  assert len(files) == 2 and f"'{tmp_path}/one/train', '{tmp_path}/two/train'" in caplog.text


def test_a_pointer_of_git_lfs_is_told(tmp_path):
  path = tmp_path / 'a.tar'
  path.write_text('version https://git-lfs.github.com/spec/v1')
  with pytest.raises(UserError, match='a.tar is a pointer of Git LFS: git lfs pull'):
    with parts.saying_what_to_do([str(path)]):
      raise ValueError('cut short')


def test_folders_with_dots_and_links(tmp_path):
  _files(tmp_path, 'a/part.1/x.tar', 'a/part2/y.tar', 'a/b/c/d/e/f/g/z.tar',
         'a/w.tar/v.tar', 'out/u.tar')
  (tmp_path / 'a/latest').symlink_to('part2')
  (tmp_path / 'a/part2/up').symlink_to('..')
  (tmp_path / 'a/other').symlink_to(tmp_path / 'out')
  (tmp_path / 'a/third').symlink_to(tmp_path / 'out')
  assert _found(tmp_path, 'a') == [[
      'a/b/c/d/e/f/g/z.tar', 'a/other/u.tar', 'a/part.1/x.tar', 'a/part2/y.tar',
      'a/w.tar/v.tar']]


def test_what_is_tested_on_is_not_trained_on(tmp_path, caplog):
  _files(tmp_path, 'a/x-0.tar', 'a/holdout.tar', 'b/trainval-0.tar', 'b/test-0.tar')
  holdout = str(tmp_path / 'a/./holdout.tar')
  assert _found(tmp_path, 'a', test_path=holdout) == [['a/x-0.tar']]
  with pytest.raises(UserError, match='data.test_path is .* nothing to train on'):
    _found(tmp_path, 'a/holdout.tar', test_path=holdout)
  assert not caplog.text
  assert _found(tmp_path, 'b') == [['b/test-0.tar', 'b/trainval-0.tar']]
  assert "files such as 'test-0.tar' look like another part" in caplog.text


def test_a_path_of_commas():
  with pytest.raises(UserError, match="data.path is ' , ', which names nothing"):
    parts.split_paths(' , ')
