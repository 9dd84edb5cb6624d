"""Makes plain `pytest` run as tests/run.sh does: eight CPU devices."""

import inspect
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

_console = logging.getLogger('byol_jax')

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  # of a shell's background job; what tests start would inherit it, and Ctrl-C is tested
  signal.signal(signal.SIGINT, signal.default_int_handler)

if 'jax' not in sys.modules:  # it reads these when it is imported
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  _FLAGS = os.environ.get('XLA_FLAGS', '')
  if 'xla_force_host_platform_device_count' not in _FLAGS:
    os.environ['XLA_FLAGS'] = (
        _FLAGS + ' --xla_force_host_platform_device_count=8').strip()


_LONGEST_NAME = 60  # characters of a parameter in a test's name


def pytest_make_parametrize_id(val):
  """Names a parameter by what it holds, where pytest would count or dump bytes."""
  if isinstance(val, bytes):
    is_text = val.isascii() and val.decode().isprintable()
    return val.decode()[:_LONGEST_NAME] if is_text else f'{len(val)} bytes'
  if isinstance(val, str) and not val.isprintable():
    lines = ' / '.join(val.splitlines())[:_LONGEST_NAME]
    return lines if lines.isprintable() else f'{len(val)} characters'
  if isinstance(val, BaseException):
    return f'{type(val).__name__}: {val}'[:_LONGEST_NAME]
  if isinstance(val, (tuple, list, dict, set)):
    text = repr(val)
    return text[:_LONGEST_NAME] if text.isprintable() and ' at 0x' not in text else None
  if getattr(val, '__name__', '') == '<lambda>':
    return re.search(r'lambda\b.*', inspect.getsource(val))[0][:_LONGEST_NAME]
  return None  # numbers, texts and types have names; other objects are counted


def pytest_collection_modifyitems(items):
  """Refuses names that differ between processes or from one second to the next."""
  for item in items:
    if re.search(r'\\x|\bat 0x', item.nodeid):
      raise pytest.UsageError(f'{item.nodeid!r} has bytes or an address in its name: '
                              'name the case, with pytest.param(..., id=...)')


@pytest.fixture(name='x64')
def _x64():
  """Runs the test with float64 enabled."""
  import jax  # not at the top: after the environment is set
  with jax.enable_x64(True):
    yield


@pytest.fixture(autouse=True)
def _fresh_console():
  """Gives each test the console as it is before main: that one's handler holds a
  stdout that pytest closes, and pytest hears twice what it does not propagate."""
  pass
  def as_imported():
    _console.handlers, _console.propagate = [], True
    _console.setLevel('NOTSET')
  as_imported()  # a module's fixture may have run main
  yield
  as_imported()


# The emulator numbers the versions of an object, but neither tells the number to who
# reads nor minds it in conditional writes, as Google does. It fails at empty objects, and
# at moves in a way that gcsfs tries again for half a minute.
_EMULATOR = '''
import http, sys
from gcp_storage_emulator import exceptions
from gcp_storage_emulator.handlers import objects
insert, download = objects.insert, objects.download
def generation(request, storage, name):
  try:
    return storage.get_file_obj(request.params['bucket_name'], name)['generation']
  except exceptions.NotFound:
    return '0'
def insert_if(request, response, storage, *args, **kwargs):
  if request.data is None:
    request._data = b''
  wanted = request.query.get('ifGenerationMatch')
  if wanted and wanted[0] != generation(request, storage, request.query['name'][0]):
    response.status = http.HTTPStatus.PRECONDITION_FAILED
  else:
    insert(request, response, storage, *args, **kwargs)
def download_with(request, response, storage, *args, **kwargs):
  response['x-goog-generation'] = generation(request, storage,
                                             request.params['object_id'])
  download(request, response, storage, *args, **kwargs)
objects.insert, objects.download = insert_if, download_with
from gcp_storage_emulator import server  # which has a table of them
def refuse(request, response, storage, *args, **kwargs):
  response.status = http.HTTPStatus.BAD_REQUEST
server.HANDLERS = (('^.*/moveTo/.*$', {'POST': refuse}), *server.HANDLERS)
server.create_server('localhost', int(sys.argv[1]), in_memory=True,
                     default_bucket='bucket').run()
'''


@pytest.fixture(scope='session', name='cloud')
def _cloud():
  """The environment of processes that take an emulator for Google Cloud Storage."""
  pytest.importorskip('gcp_storage_emulator')
  pytest.importorskip('gcsfs')
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = s.getsockname()[1]
  server = subprocess.Popen([sys.executable, '-c', _EMULATOR, str(port)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  for _ in range(300):
    with socket.socket() as s:
      if not s.connect_ex(('localhost', port)):
        break
    time.sleep(0.1)
  where = f'http://localhost:{port}'
  yield dict(
      STORAGE_EMULATOR_HOST=where, TENSORSTORE_GCS_HTTP_URL=where,
      CLOUD_STORAGE_EMULATOR_ENDPOINT=where,
      GCE_METADATA_ROOT=f'localhost:{port}',  # tensorstore waits for one for 40 s
      FSSPEC_GCS='{"use_listings_cache": false, "token": "anon"}',
      GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT='false', EPATH_USE_TF='false',
      GOOGLE_CLOUD_PROJECT='test')
  server.kill()
  server.wait()
