"""What tasks write for people."""

import re

import pytest

from byol_jax.errors import UserError
from byol_jax.tasks import output


def test_a_file_is_written_and_told(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  output.write(str(tmp_path), 'grün')
  output.write(str(tmp_path / 'new'), 'a,b\n', 'hits.csv')
  assert (tmp_path / 'report.html').read_bytes() == 'grün'.encode()
  assert caplog.messages == [f'report: {tmp_path}/report.html',
                             f'hits: {tmp_path}/new/hits.csv']
  with pytest.raises(UserError, match='cannot write'):
    output.write(str(tmp_path / 'report.html'), 'x')


def test_when_a_page_was_made():
  assert re.fullmatch(r'page of \d{4}(-\d\d){2} \d\d(:\d\d){2}, byol_jax \S+',
                      output.made())
