"""Tables of any kind as columns of texts, and what cannot be read."""

import pyarrow
from pyarrow import parquet
import pytest

from byol_jax.errors import UserError
from byol_jax.retrieval import tables


def write(tmp_path, text, name='a.csv'):
  path = tmp_path / name
  path.write_bytes(text.encode())
  return str(path)


def test_csv_keeps_texts_as_they_are(tmp_path):
  table = tables.read(write(
      tmp_path, '\ufeffItem ID,name\n007,"a, b"\n1e5,"two\nlines"\n8,\n'), 'pairs.path')
  assert table.size == 3 and table.first == 2
  assert list(table.find(['item_id'])) == ['007', '1e5', '8']
  assert list(table.find(['title', 'NAME'])) == ['a, b', 'two\nlines', None]
  assert table.find(['weight']) is None
  with pytest.raises(UserError, match='row 4, has no name'):
    table.need(['name'], 'name')
  with pytest.raises(UserError, match='Item ID, name, none of them for the time: call '
                     'it one of time, date'):
    table.need(['time', 'date'], 'the time')


def test_tsv_and_parquet_say_the_same(tmp_path):
  tsv = tables.read(write(tmp_path, 'item\ttime\n7\t1767225600\n8\t2026-01-01\n',
                          'a.tsv'), 'pairs.path')
  path = str(tmp_path / 'a.parquet')
  parquet.write_table(pyarrow.table({
      'item': pyarrow.array([7.0, 8.0]),
      'time': pyarrow.array([1767225600, 1767225600], pyarrow.timestamp('s'))}), path)
  for table in (tsv, tables.read(path, 'pairs.path')):
    assert list(table.find(['item'])) == ['7', '8']
    assert list(table.times(['time'])) == [1767225600.0] * 2


@pytest.mark.parametrize('text,seconds', [
    ('1767225600', 1767225600), ('1767225600500', 1767225600.5),
    ('2026-01-01T01:00:00+01:00', 1767225600), ('2026-01-01T00:00:00Z', 1767225600),
    ('2026-01-01 00:00:01.5', 1767225601.5), ('-5', -5)])
def test_times(tmp_path, text, seconds):
  table = tables.read(write(tmp_path, f'time\n{text}\n'), 'pairs.path')
  assert list(table.times(['time'])) == [seconds]


@pytest.mark.parametrize('text', ['yesterday', 'nan', '01/02/2026'])
def test_what_is_no_time(tmp_path, text):
  table = tables.read(write(tmp_path, f'time\n5\n{text}\n'), 'pairs.path')
  with pytest.raises(UserError, match=f"row 3, has the time '{text}': write seconds"):
    table.times(['time'])
  assert table.times(['date']) is None


@pytest.mark.parametrize('text', ['-1', 'many', 'inf', 'nan'])
def test_weights_are_numbers_from_0_on(tmp_path, text):
  table = tables.read(write(tmp_path, f'weight\n0.5\n{text}\n'), 'pairs.path')
  with pytest.raises(UserError, match=f"row 3, has the weight '{text}': it must be"):
    table.numbers(['weight'], 'weight')


@pytest.mark.parametrize('content,match', [
    (b'', 'which is no table'), (b'a,b\n', 'which has no row'),
    (b'a,b\n1,2,3\n', 'which is no table'), (b'a\n\xff\xfe\x00\n', 'no table')])
def test_files_that_are_no_tables(tmp_path, content, match):
  path = tmp_path / 'a.csv'
  path.write_bytes(content)
  with pytest.raises(UserError, match=match):
    tables.read(str(path), 'pairs.path')
  path = tmp_path / 'a.parquet'
  path.write_bytes(content)
  with pytest.raises(UserError, match='config key pairs.items'):
    tables.read(str(path), 'pairs.items')
  with pytest.raises(UserError, match='cannot read config key pairs.path'):
    tables.read(str(tmp_path / 'none.csv'), 'pairs.path')
