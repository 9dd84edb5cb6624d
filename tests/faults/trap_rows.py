"""Files made to run code or to fill the memory: checkpoints, arrays, configs."""

from __future__ import annotations

from collections.abc import Callable
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from typing import Any
import zipfile
import zlib

from checkpoint_input_rows import make_state
from checkpoint_input_rows import rewrite
from checkpoint_input_rows import saved
from checkpoint_input_rows import State
import harness
from harness import Outcome
from harness import row
import numpy as np

# --- C17: traps --------------------------------------------------------------------

_MOST_MIB = 1024


class _Trap:
  """Leaves a file behind when it is unpickled."""

  def __init__(self, sentinel: pathlib.Path):
    self._sentinel = sentinel

  def __reduce__(self):
    return os.mkdir, (str(self._sentinel),)


def _child() -> None:
  """Opens a trap; prints what came of it, and the most memory it took."""
  kind, path = sys.argv[1:]
  from byol_jax.data.sources import open as open_lib
  from byol_jax.errors import UserError
  from byol_jax.run import checkpoint
  from byol_jax.run import workdir
  from byol_jax.run.manifest import DamagedError
  from byol_jax.storage import retry
  retry.CHECKPOINT = retry.Policy(())
  try:
    if kind == 'npz':
      what = open_lib.open_part('npz', path=path, max_bytes=256 << 20)
      outcome = f'images {what.images.shape}'
    elif kind == 'config':
      with open(os.path.join(path, 'results.json'), 'w', encoding='utf-8'):
        pass  # there is something to spoil
      workdir.compare(path, path, {'seed': 0}, {'images': 1}, (), {})
      outcome = 'claimed'
    else:
      checkpoints = checkpoint.Checkpoints(os.path.join(path, 'checkpoints'))
      found = checkpoints.restore_latest(make_state(0))
      outcome = 'nothing'
      if found:
        same = all(a.tobytes() == b.tobytes() for a, b in zip(
            _leaves(found[1]), _leaves(make_state(found[0].step)), strict=True))
        outcome = f'step {found[0].step}' if same else 'WRONG VALUES'
      checkpoints.close()
  except (UserError, DamagedError) as error:
    name = 'UserError' if isinstance(error, UserError) else type(error).__name__
    outcome = f'{name}: {str(error)[:500]}'
    if len(str(error)) > 5000:
      outcome = f'a message of {len(str(error))} characters'
  except BaseException as error:
    outcome = f'ESCAPED {type(error).__name__}: {str(error)[:300]}'
  with open('/proc/self/status', encoding='utf-8') as f:
    peak = next(int(line.split()[1]) for line in f if line.startswith('VmHWM'))
  print(json.dumps([outcome, peak // 1024]))


def _leaves(state: State) -> list[np.ndarray]:
  return [state.step, *state.params.values(), *state.momentum.values()]


def _open(kind: str, path: pathlib.Path,
          scratch: pathlib.Path) -> tuple[str, int]:
  """(outcome, peak MiB) of a process that opens a trap."""
  try:
    done = subprocess.run(
        [sys.executable, '-c', 'import trap_rows; trap_rows._child()', kind, str(path)],
        env=harness.environment(scratch) | {
            'PYTHONPATH': f'{harness.ROOT}{os.pathsep}{harness.HERE}'},
        cwd=scratch, text=True, capture_output=True, timeout=120, check=False)
  except subprocess.TimeoutExpired:
    return 'TIMEOUT', 0
  try:
    outcome, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return outcome, peak
  except (ValueError, IndexError):
    return f'DIED {done.returncode}: {harness.tail(done.stderr)}', 0


# JSON that is small to write and large to read. Made when it is needed: the
# processes that are measured import this file.
_BOMBS = {
    'deep': lambda: '[' * 200_000 + ']' * 200_000,
    'many': lambda: '[' + '[],' * 33_000_000 + '[]]',  # 100 MB, read 2 GB
    'digits': lambda: '1' * 100_000_000,
    'fraction': lambda: '0.' + '1' * 100_000_000,
    'string': lambda: '"' + 'x' * 100_000_000 + '"'}


def _forge(step: pathlib.Path, inflated: bytes | int = b'', **changes: Any):
  """Changes how an array is stored: its metadata, and its only chunk.

  Args:
    step: the checkpoint.
    inflated: so many zero bytes as the chunk; 0 for none.
    **changes: of the metadata.
  """
  import tensorstore as ts
  store = ts.KvStore.open({
      'driver': 'ocdbt', 'base': f'file://{step}/state/'}).result()
  key = 'params.encoder.w/'
  metadata = json.loads(store.read(key + '.zarray').result().value)
  store.write(key + '.zarray', json.dumps(metadata | changes)).result()
  store.write(key + '0.0', _zeros(inflated) if inflated else None).result()


def _zeros(size: int) -> bytes:
  """So many zeros, deflated."""
  deflate, block = zlib.compressobj(1), bytes(1 << 24)
  parts = [deflate.compress(block) for _ in range(size >> 24)]
  return b''.join([*parts, deflate.flush()])


_HUGE = [40_000, 20_000]  # float32: 3 GB
_ZLIB = {'id': 'zlib', 'level': 1}


def _set_leaf(**changes: Any):
  def change(manifest):
    manifest['leaves']['params.encoder.w'].update(changes)
  return lambda step, trap: rewrite(step, change)


def _set(**changes: Any):
  return lambda step, trap: rewrite(step, lambda manifest: manifest | changes)


def _add_leaves(*names: str):
  def change(manifest):
    for name in names:
      manifest['leaves'][name] = manifest['leaves']['params.encoder.w']
  return lambda step, trap: rewrite(step, change)


def _names_outside(step: pathlib.Path, trap: _Trap):
  """Leaves that are stored, if orbax believes it, in files elsewhere."""
  del trap
  path = step / 'state' / '_METADATA'
  text = path.read_text().replace('params.encoder.w', '../../../../outside')
  path.write_text(text.replace('"use_ocdbt": true', '"use_ocdbt": false'))


def _handlers(step: pathlib.Path, trap: _Trap):
  path = step / '_CHECKPOINT_METADATA'
  metadata = json.loads(path.read_text())
  metadata['item_handlers'] = {'state': 'os.mkdir', 'manifest': 'os.mkdir'}
  metadata['custom_metadata'] = {'__reduce__': 'os.mkdir'}
  path.write_text(json.dumps(metadata))


def _pickle(trap: _Trap, protocol: int = 4) -> bytes:
  return pickle.dumps(trap, protocol)


def _checkpoint_traps(files: list[str]) -> dict[str, Callable]:
  """name -> fn(folder of the newest checkpoint, trap)."""
  traps = {f'a pickle for {"d/*" if "/d/" in file else file}':
           lambda step, trap, file=file: (step / file).write_bytes(_pickle(trap))
           for file in files}
  def everywhere(step, trap):
    for file in files:
      (step / file).write_bytes(_pickle(trap, 0))
  traps |= {'pickles for all': everywhere}
  for file in ('manifest/metadata', 'state/_METADATA', '_CHECKPOINT_METADATA'):
    for name, text in _BOMBS.items():
      traps[f'{name} in {file}'] = lambda step, trap, file=file, text=text: (
          (step / file).write_text('{"a": ' + text() + '}'))
  return traps | {
      'a long string in meta': lambda step, trap: rewrite(
          step, lambda m: m | {'meta': {'a': 'x' * 100_000_000}}),
      'leaves are a list': _set(leaves=[1, 2]),
      'leaves are null': _set(leaves=None),
      'leaves are strings': _set(leaves={'step': 'x'}),
      'meta is null': _set(meta=None),
      'meta is a list': _set(meta=[]),
      'format is a dict': _set(format={}),
      'crc32 is a string': _set_leaf(crc32='1'),
      'shape is a number': _set_leaf(shape=3),
      'shape is of dicts': _set_leaf(shape=[{}, []]),
      'shape is negative': _set_leaf(shape=[-40, -50]),
      'shape is null': _set_leaf(shape=None),
      'dtype is a list': _set_leaf(dtype=['float32']),
      'dtype is object': _set_leaf(dtype='object'),
      'leaves outside': _add_leaves('../../../../outside', '/outside', ''),
      'leaves outside, in files': _names_outside,
      'handlers': _handlers,
      'a forged array': lambda step, trap: _forge(step, shape=_HUGE, chunks=_HUGE),
      'a forged array, whole': lambda step, trap: (
          _forge(step, shape=_HUGE, chunks=_HUGE, fill_value=0),
          _set_leaf(shape=_HUGE)(step, trap)),
      'a chunk larger than its array': lambda step, trap: _forge(
          step, 3_200_000_000, chunks=_HUGE, compressor=_ZLIB),
      'a chunk that does not end': lambda step, trap: _forge(
          step, 3_200_000_000, compressor=_ZLIB),
      'an array of strings': lambda step, trap: _forge(
          step, dtype='|S2000000000', fill_value=None),
  }


def _npy(header: str, data: bytes = b'') -> bytes:
  """A .npy file with any header."""
  text = header.encode() + b'\n'
  return b'\x93NUMPY\x02\x00' + len(text).to_bytes(4, 'little') + text + data


def _zip(path: pathlib.Path, *, zeros: int = 0, **members: bytes):
  """An .npz file with any members, the last one followed by zeros."""
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      with archive.open(f'{name}.npy', 'w', force_zip64=True) as f:
        f.write(data)
        if name == list(members)[-1]:
          for _ in range(zeros >> 24):
            f.write(bytes(1 << 24))


def _header(shape: str, descr: str = "'|u1'") -> bytes:
  return _npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def _good_npz(labels: Any) -> bytes:
  file = io.BytesIO()
  np.savez(file, x_train=np.zeros((4, 8, 8, 3), np.uint8), y_train=labels)
  return file.getvalue()


def _encrypted(path: pathlib.Path, trap: _Trap):
  del trap
  data = bytearray(_good_npz(np.zeros(4, int)))
  for signature, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
    start = -1
    while (start := data.find(signature, start + 1)) >= 0:
      data[start + at] |= 1
  path.write_bytes(data)


def _method(number: int):
  """An archive of which the members claim another compression."""
  def make(path, trap):
    del trap
    data = bytearray(_good_npz(np.zeros(4, int)))
    for signature, at in ((b'PK\x03\x04', 8), (b'PK\x01\x02', 10)):
      start = -1
      while (start := data.find(signature, start + 1)) >= 0:
        data[start + at] = number
    path.write_bytes(data)
  return make


_NPZ_TRAPS = {
    'a pickle': lambda path, trap: path.write_bytes(_pickle(trap)),
    'objects': lambda path, trap: np.savez(
        path, x_train=np.array([trap, None], object)),
    'objects as labels': lambda path, trap: path.write_bytes(
        _good_npz(np.array([trap] * 4, object))),
    'a bare .npy of objects': lambda path, trap: path.write_bytes(
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
             _pickle(trap))),
    'objects in a structure': lambda path, trap: _zip(
        path, x_train=_header('(1,)', "[('a', '|O')]") + _pickle(trap)),
    'code in the header': lambda path, trap: _zip(path, x_train=_npy(
        f'__import__("os").mkdir({str(trap._sentinel)!r})')),
    'a zip bomb': lambda path, trap: _zip(
        path, zeros=3_000_000_000, x_train=_header('(976562, 32, 32, 3)')),
    'a zip bomb as labels': lambda path, trap: _zip(
        path, zeros=3_000_000_000, x_train=_header('(4, 8, 8, 3)') + bytes(768),
        y_train=_header('(375000000,)', "'<i8'")),
    'bytes behind the array': lambda path, trap: _zip(
        path, zeros=3_000_000_000, x_train=_header('(4, 8, 8, 3)')),
    'a huge shape': lambda path, trap: _zip(
        path, x_train=_header('(1000000, 1000, 1000, 3)')),
    'a larger shape': lambda path, trap: _zip(
        path, x_train=_header('(10000, 1000, 100, 3)')),
    'a shape beyond 64 bits': lambda path, trap: _zip(
        path, x_train=_header(f'({2**40}, {2**40}, {2**40}, 3)')),
    'a negative shape': lambda path, trap: _zip(
        path, x_train=_header('(-4, -8, 8, 3)') + bytes(768)),
    'a shape of floats': lambda path, trap: _zip(
        path, x_train=_header('(4., 8, 8, 3)') + bytes(768)),
    'a shape of 5000 digits': lambda path, trap: _zip(
        path, x_train=_header(f'({"9" * 5000},)')),
    'a deep header': lambda path, trap: _zip(
        path, x_train=_npy('-' * 9000 + '1')),
    'a deeper header': lambda path, trap: _zip(
        path, x_train=_npy('(' * 5000 + ')' * 4000)),
    'a header of 100 MB': lambda path, trap: _zip(
        path, x_train=_npy(' ' * 100_000_000)),
    'strings of 2 GB': lambda path, trap: _zip(
        path, x_train=_header('(4,)', "'|S2000000000'")),
    'files outside': lambda path, trap: _zip(
        path, **{'../../../outside': _header('(4, 8, 8, 3)')}),
    'a password': _encrypted,
    'lzma': _method(14), 'bzip2': _method(12), 'an unknown method': _method(97),
}

_CONFIG_TRAPS = {
    name: lambda path, trap, text=text: path.write_text(
        '{"seed": ' + text() + '}')
    for name, text in (
        *_BOMBS.items(), ('a section for a value', lambda: '{"a": {"b": 1}}'),
        ('500 sections', lambda: '{"a": ' * 500 + '1' + '}' * 500),
        ('infinity', lambda: 'Infinity'))
} | {
    'a pickle': lambda path, trap: path.write_bytes(_pickle(trap)),
    'a text pickle': lambda path, trap: path.write_bytes(_pickle(trap, 0)),
    'a list': lambda path, trap: path.write_text('[]'),
    'no UTF-8': lambda path, trap: path.write_bytes(b'\xff\xfe{\x00}\x00'),
}


@row('C17', cases=83, sample=4, bound=(
    f'refused, or the older checkpoint; no code runs; below {_MOST_MIB} MiB'))
def traps(cases: int, scratch: pathlib.Path) -> Outcome:
  """Files made to run code or fill the memory: checkpoints, .npz, config.json."""
  whole = saved(scratch / 'whole')
  newest = whole / 'checkpoints' / '2'
  files = sorted(str(p.relative_to(newest)) for p in newest.rglob('*')
                 if p.is_file())
  first_data = [f for f in files if '/d/' in f][:1]
  files = [f for f in files if '/d/' not in f] + first_data
  todo = [('checkpoint', *item) for item in _checkpoint_traps(files).items()]
  todo += [('npz', *item) for item in _NPZ_TRAPS.items()]
  todo += [('config', *item) for item in _CONFIG_TRAPS.items()]
  order = harness.rng('C17').permutation(len(todo))[:cases]
  failures, worst = [], 0
  for kind, name, make in (todo[k] for k in order):
    shutil.rmtree(scratch / 'case', ignore_errors=True)
    (scratch / 'case').mkdir()
    trap = _Trap(scratch / 'case' / 'sentinel')
    if kind == 'checkpoint':
      path = scratch / 'case' / 'run'
      shutil.copytree(whole, path)
      make(path / 'checkpoints' / '2', trap)
    elif kind == 'npz':
      path = scratch / 'case' / 'data.npz'
      make(path, trap)
    else:
      path = scratch / 'case' / 'run'
      path.mkdir()
      make(path / 'config.json', trap)
    before = sorted(os.listdir(scratch / 'case'))
    outcome, peak = _open(kind, path, scratch)
    worst = max(worst, peak)
    fine = ('UserError', 'DamagedError') + (
        # nothing that is read was touched, or it was restored all the same
        ('step 1', 'step 2') if kind == 'checkpoint' else ())
    if (not outcome.startswith(fine) or peak >= _MOST_MIB
        or sorted(os.listdir(scratch / 'case')) != before):
      failures.append(f'{kind}, {name}: {outcome[:200]}, {peak} MiB, '
                      f'{sorted(os.listdir(scratch / "case"))}')
    elif os.environ.get('FAULTS_VERBOSE'):
      print(kind, '|', name, '|', outcome[:160].replace(str(scratch), ''), peak)
  return Outcome(len(order), failures, f'at most {worst} MiB')
