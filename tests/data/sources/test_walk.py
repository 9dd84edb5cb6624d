"""A walk through folders; layouts and links are in test_folder.py."""

from byol_jax.data.sources import walk


def test_files_and_folders(tmp_path):
  for name in ('b/2.png', 'a/1.png', 'a/notes.txt', '@eaDir/3.png'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  seen = walk.Walk('0.2')
  assert sorted(seen.files(str(tmp_path))) == ['a/1.png', 'b/2.png']
  assert '.txt x 1' in str(seen.passed) and '@eaDir x 1' in str(seen.passed)
  assert seen.scan(str(tmp_path)) == ({'a', 'b'}, False)
  assert seen.class_folders(str(tmp_path)) == ('a', 'b')
  assert walk.Walk('0.1').scan(str(tmp_path))[0] == {'a', 'b', '@eaDir'}


def test_first_folders():
  assert walk.first_folders(['b/1', 'a/x/2', 'b/3']) == ('a', 'b')
  assert walk.first_folders(['b/1', '2']) == ()


def test_a_link_to_itself(tmp_path):
  (tmp_path / 'loop').symlink_to('loop')
  (tmp_path / 'loop.png').symlink_to('loop.png')
  (tmp_path / 'a.png').touch()
  seen = walk.Walk('0.2')
  assert sorted(seen.files(str(tmp_path))) == ['a.png', 'loop.png']  # bad on reading
