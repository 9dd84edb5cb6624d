"""What an error says fits in one line."""

import errno
import os

import pytest

from byol_jax import errors

_PAGE = ("DATA_LOSS: Error opening \"zarr\" driver: Error reading \"w/0.0\": \nExpected "
         "size 12, but got 11 [tensorstore_spec='{\\\"context\\\":{}}'] [source "
         "locations='a.cc:1\\nb.cc:2']")


@pytest.mark.parametrize('error, said', [
    (ValueError('two\n  lines'), 'two lines'),
    (ValueError(), 'ValueError'),
    pytest.param(ValueError('é\x1b[31m'), r'é\x1b[31m', id='escaped'),
    (ValueError('x' * 1000), 'x' * 300),
    (OSError(errno.ENOSPC, 'no room'), 'no room'),
    (OSError('bare'), 'bare'),
    (FileNotFoundError(errno.ENOENT, 'gone', '/a'), "[Errno 2] gone: '/a'"),
    (ValueError("a page [os_error_code='28'] of words"), os.strerror(28)),
    (ValueError(_PAGE), 'DATA_LOSS: Expected size 12, but got 11')])
def test_one_line(error, said):
  assert errors.one_line(error) == said
