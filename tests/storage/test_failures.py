"""What an error of storage is: a failure that may pass, or a mistake."""

import errno

import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures

_JSON = b'{"error": {"code": %d, "message": "%s"}}'


@pytest.mark.parametrize('status, said, is_passing, is_mistake', [
    (500, b'', True, False), (502, b'', True, False), (503, b'', True, False),
    (408, b'', True, False), (429, b'', True, False),
    (401, b'Invalid Credentials', True, True),  # a login that is renewed soon, maybe
    (403, b'', False, True), (404, b'', False, True), (416, b'', False, True),
    (400, b'', False, True), (400, b'invalid name', False, True)])
def test_what_google_answers(status, said, is_passing, is_mistake):
  retry = pytest.importorskip('gcsfs.retry')
  with pytest.raises(Exception) as caught:
    retry.validate_response(status, _JSON % (status, said), 'b/timed out/UNAVAILABLE')
  assert failures.may_pass(caught.value) == is_passing
  kind = UserError if is_mistake else TransientError
  assert type(failures.of_storage('', caught.value)) is kind


@pytest.mark.parametrize('text, is_passing', [
    ('Retry policy exhausted, with a last message of {"error": {"code": 503}}', True),
    ('Permanent error, with a last message of {"error": {"code": 401}}; reading x', True),
    ('Permanent error, with a last message of {"error": {"code": 403}}; reading x', False),
    ('Permanent error, with a last message of {"error": {"code": 404}}; reading x', False),
    ('Permanent error, with a last message of {"error": {"code": 400}}; reading x', False),
    ("PERMISSION_DENIED: x [http_response_code='401']", True),
    ("PERMISSION_DENIED: x [http_response_code='403']", False),
    ("x [http_response_code='400']", False),
    ("ABORTED: All 3 retry attempts failed: x [http_response_code='503']", True),
    ("ABORTED: All 3 retry attempts failed: CURL error Empty reply", True),
    ("DATA_LOSS: x [os_error_code='28'] [os='No space']", True),
    ("DATA_LOSS: x [os_error_code='13']", False),
    ('chunk is broken; reading gs://b/UNAVAILABLE; at byte 3', False)])
def test_what_array_record_and_tensorstore_say_of_a_bucket(text, is_passing):
  assert failures.may_pass(RuntimeError(text)) == is_passing


def test_errors_of_other_packages():
  auth = pytest.importorskip('google.auth.exceptions')
  fsspec = pytest.importorskip('fsspec.exceptions')
  assert failures.may_pass(fsspec.FSTimeoutError())
  assert failures.may_pass(auth.RefreshError('invalid_grant: expired'))
  assert type(failures.of_storage('', auth.RefreshError('invalid_grant'))) is UserError
  assert type(failures.of_storage('', ValueError('no such config'))) is UserError
  assert not failures.may_pass(FileNotFoundError('gs://b/Connection timed out'))
  aiohttp = pytest.importorskip('aiohttp')
  for error in (aiohttp.ServerDisconnectedError(), auth.TransportError('x'),
                aiohttp.ClientPayloadError(), auth.RefreshError('503')):
    assert failures.may_pass(error) and type(
        failures.of_storage('', error)) is TransientError


@pytest.mark.parametrize('number, kind', [
    (errno.ENOSPC, TransientError), (errno.EDQUOT, TransientError),
    (errno.ESTALE, TransientError), (errno.EIO, TransientError),
    (errno.EMFILE, TransientError), (errno.EACCES, UserError), (errno.EPERM, UserError),
    (errno.EROFS, UserError), (errno.EEXIST, UserError), (errno.ENOTDIR, UserError),
    (errno.ENXIO, UserError), (errno.EBUSY, TransientError)])
def test_a_workdir_that_refuses(number, kind):
  assert type(failures.of_storage('', OSError(number, 'x', 'a'))) is kind


def test_the_error_behind_an_error():
  try:
    try:
      raise OSError(errno.EIO, 'disk')
    except OSError as error:
      raise ValueError('cannot parse') from error
  except ValueError as error:
    assert failures.cause(error) is error.__cause__
  assert failures.cause(ValueError('cannot parse')) is None
