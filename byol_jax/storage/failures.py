"""Divides errors of storage into mistakes of the user and failures that pass.

Each library has errors of its own. gcsfs raises those of five packages, some without a
number or a text; array_record raises RuntimeErrors, and tensorstore ValueErrors.
`number_of` knows them all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re

from byol_jax import errors

_REFUSED = errno.ENOTSUP  # for a request that a bucket will never grant
NO_LOGIN = errno.EPERM  # for one without a valid login, which may be renewed soon
# the file itself is at fault, and trying again is of no use
_FINAL = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES,
          errno.ENAMETOOLONG, _REFUSED}
# the user's mistake, if nothing has been read or written there before
_MISTAKES = _FINAL | {
    NO_LOGIN, errno.EROFS, errno.EINVAL, errno.EEXIST, errno.ENOTEMPTY, errno.EILSEQ,
    errno.EFBIG, errno.EXDEV, errno.EMLINK, errno.EBADF, errno.ENODEV, errno.ENXIO,
    errno.ENOSYS}
_KINDS = ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES),
          (IsADirectoryError, errno.EISDIR), (NotADirectoryError, errno.ENOTDIR))
_NUMBERS = {'NotFoundError': errno.ENOENT, 'PermissionDeniedError': errno.EACCES,
            'UnauthenticatedError': NO_LOGIN, 'InvalidArgumentError': _REFUSED,
            'DefaultCredentialsError': NO_LOGIN} | dict.fromkeys(
                ('UnavailableError', 'DeadlineExceededError', 'AbortedError',
                 'ResourceExhaustedError', 'InternalError', 'UnknownError'), errno.EIO)
_OF_PATHS = re.compile(r'\b(reading|opening) [^;]+')  # a path may hold any word
_OF_THE_SYSTEM = {os.strerror(number): number for number in errno.errorcode}
# Texts of errors without a number. gcsfs: 'Forbidden: ', 'Bad Request: ', 'Bucket is
# requester pays'. Google's login: 'invalid_grant'. array_record: 'open() failed: Too
# many open files; opening ...', 'Retry policy exhausted' and 'Permanent error', with
# Google's answer. tensorstore: "[http_response_code='403']", "[os_error_code='28']",
# and status codes in capitals.
_TEXTS = (
    (re.compile(r'^Forbidden: |"code": ?403|\bPERMISSION_DENIED: '), errno.EACCES),
    (re.compile(r'"code": ?401|\bUNAUTHENTICATED: |invalid_grant'), NO_LOGIN),
    (re.compile(r'"code": ?404|\bNOT_FOUND: '), errno.ENOENT),
    (re.compile(r'^Bad Request: |^Bucket is requester pays|Permanent error|'
                r'\bINVALID_ARGUMENT: '), _REFUSED),
    (re.compile(r'Retry policy exhausted|\b(UNAVAILABLE|DEADLINE_EXCEEDED|'
                r'RESOURCE_EXHAUSTED|ABORTED): '), errno.EIO),
)
# an error of these packages without a number or a known text is the network's
_OF_NETWORKS = ('aiohttp', 'gcsfs', 'google.api_core', 'google.auth', 'google.cloud',
                'requests', 'urllib3')


def of_storage(message: str,
               error: BaseException) -> errors.UserError | errors.TransientError:
  """Returns the error to raise for one of storage: a UserError or a TransientError."""
  return (errors.UserError if is_mistake(error) else errors.TransientError)(message)


def is_mistake(error: BaseException) -> bool:
  """Returns whether an error is the user's mistake, if nothing has worked before."""
  number = number_of(error)
  return number is None or number in _MISTAKES


def may_pass(error: BaseException) -> bool:
  """Returns whether the same read may succeed later."""
  number = number_of(error)
  return number is not None and number not in _FINAL


def cause(error: BaseException) -> OSError | None:
  """Returns the storage's error that an error is or was caused by; None without.

  What was raised `from None` has no cause.
  """
  chain = [error]
  while following := chain[-1].__cause__ or (
      None if chain[-1].__suppress_context__ else chain[-1].__context__):
    chain.append(following)
  for find in (_known_number, number_of):  # libraries wrap it in OSErrors of their own
    for link in chain:
      if find(link):
        return as_os_error(link)
  return None


def as_os_error(error: BaseException) -> OSError:
  """Returns an OSError with a number; EIO, for a failure, where nothing is known."""
  if isinstance(error, OSError) and error.errno is not None:
    return error
  return OSError(number_of(error) or errno.EIO, f'{type(error).__name__}: {error}')


def number_of(error: BaseException) -> int | None:
  """Returns an error's errno, or the nearest one; None if it is not storage's."""
  if number := _known_number(error):
    return number
  is_failure = isinstance(error, OSError) or type(error).__module__.startswith(
      _OF_NETWORKS)
  return errno.EIO if is_failure else None


def _known_number(error: BaseException) -> int | None:
  """Returns an errno by the error's number, type or text; None without."""
  if isinstance(error, OSError) and error.errno is not None:
    return error.errno
  for kind, number in _KINDS:
    if isinstance(error, kind):
      return number
  if number := _NUMBERS.get(type(error).__name__):
    return number
  with contextlib.suppress(TypeError, ValueError):
    if number := _of_status(int(getattr(error, 'code', None))):
      return number
  text = _OF_PATHS.sub('', str(error))
  if found := re.search(r"\[(http_response|os_error)_code='(\d+)'\]", text):
    number = int(found[2])
    return number if found[1] == 'os_error' else _of_status(number)
  if found := re.search(r'\w+\(\) failed: ([^;]+)', text):
    return _OF_THE_SYSTEM.get(found[1].strip(), errno.EIO)
  for pattern, number in _TEXTS:
    if pattern.search(text):
      return number
  return None


def _of_status(status: int) -> int | None:
  """Returns the errno nearest to an HTTP status; None for a status that is no error."""
  known = {401: NO_LOGIN, 403: errno.EACCES, 404: errno.ENOENT, 408: errno.EIO,
           429: errno.EIO}
  if status in known:
    return known[status]
  return _REFUSED if 400 <= status < 500 else errno.EIO if status >= 500 else None
