"""Columns of lists; what is wrong with a list as a whole is in test_list.py."""

from byol_jax.data.sources import columns


def _write(folder, name, text):
  (folder / name).write_text(text, encoding='utf-8')
  return str(folder / name)


def test_columns_have_a_cell_for_each_image(tmp_path):
  path = _write(tmp_path, 'a.csv', 'photo,price,sku\na.jpg,3,p\n\nb.jpg\n')
  assert columns.read_columns(path, 'photo') == {
      'photo': ['a.jpg', 'b.jpg'], 'price': ['3', ''], 'sku': ['p', '']}
  path = _write(tmp_path, 'a.tsv', 'sku\tpath\tlabel\np\ta.jpg\t0\n\nq\tb.jpg\n')
  assert columns.read_columns(path) == {
      'sku': ['p', 'q'], 'path': ['a.jpg', 'b.jpg'], 'label': ['0', '']}
  # as Excel takes them, and two files of Windows one behind the other
  path = _write(tmp_path, 'b.csv', 'sep=;\npath;label\na.jpg;0\n\ufeffb.jpg;1\n')
  assert columns.read_columns(path) == {'path': ['a.jpg', 'b.jpg'], 'label': ['0', '1']}
  assert not columns.read_columns(_write(tmp_path, 'b.csv', 'a.jpg,1\nb.jpg,2\n'))
  assert not columns.read_columns(_write(tmp_path, 'c.txt', 'a.jpg\n'))


def test_titles_of_labels():
  assert columns.label_title(['image', 'Class-Name']) == 1
  assert columns.label_title(['image', 'caption']) is None
