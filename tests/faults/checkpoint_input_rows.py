"""What is not this run's: checkpoints of other networks and formats."""

from __future__ import annotations

from collections.abc import Callable
import json
import pathlib
import shutil
from typing import Any, NamedTuple

import harness
from harness import Outcome
from harness import row
import numpy as np


class State(NamedTuple):
  """A train state in small."""
  step: np.ndarray
  params: dict[str, np.ndarray]
  momentum: dict[str, np.ndarray]


def make_state(seed: int) -> State:
  rng = np.random.default_rng(seed)
  def arrays(dtype=np.float32):
    return {'encoder.w': rng.standard_normal((40, 50)).astype(dtype),
            'head.w': rng.standard_normal((50, 4)).astype(dtype)}
  return State(np.int32(seed), arrays(), arrays())


def saved(folder: pathlib.Path) -> pathlib.Path:
  """A workdir with the checkpoints of steps 1 and 2, made once."""
  from byol_jax.run import checkpoint
  if not folder.exists():
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints')
    for step in (1, 2):
      checkpoints.save(step, make_state(step), {'config': {'seed': 0}})
    checkpoints.close()
  return folder


def rewrite(step: pathlib.Path, change: Callable[[dict[str, Any]], Any]):
  """Changes a manifest, under a right SHA-256."""
  from byol_jax.run import manifest as manifest_lib
  path = step / 'manifest' / 'metadata'
  body = json.loads(path.read_text())
  del body['sha256']
  body = change(body) or body
  path.write_text(json.dumps(body | {'sha256': manifest_lib._sha256(body)}))


# --- C15: of another network -------------------------------------------------------


def _other(**changes: Any) -> Callable[[State], State]:
  return lambda state: state._replace(**{
      name: change(getattr(state, name)) for name, change in changes.items()})


def _cast(dtype: str):
  return lambda arrays: {k: v.astype(dtype) for k, v in arrays.items()}


# What a state should be, and the leaf that tells it from what is saved.
_OTHER_STATES = {
    'float16': (_other(params=_cast('float16')), 'params.encoder.w'),
    'bfloat16': (_other(params=_cast('bfloat16')), 'params.encoder.w'),
    'float64 momentum': (_other(momentum=_cast('float64')), 'momentum.encoder.w'),
    'a longer step': (_other(step=np.int64), 'step'),
    'no momentum': (_other(momentum=lambda _: {}), 'momentum.encoder.w'),
    'a second moment': (
        _other(momentum=lambda m: m | {'nu': np.zeros(3, np.float32)}),
        'momentum.nu'),
    'transposed': (_other(params=lambda p: p | {'head.w': p['head.w'].T}),
                   'params.head.w'),
    'renamed': (_other(params=lambda p: {k.upper(): v for k, v in p.items()}),
                'params.ENCODER.W'),
}
_OTHER_RUNS = (
    'network.name=resnet8', 'network.width=2', 'network.projector_hidden_size=16',
    'network.projection_size=8', 'network.predictor_hidden_size=4',
    'network.predictor=False', 'data.fake_classes=5', 'data.fake_classes=0')


@row('C15', cases=len(_OTHER_STATES) + len(_OTHER_RUNS),
     sample=len(_OTHER_STATES) + 1, bound=(
         'refused with the first leaves that differ, before anything is compiled '
         'or changed'))
def other_networks(cases: int, scratch: pathlib.Path) -> Outcome:
  """A checkpoint of another network, dtype, optimizer or number of classes."""
  from byol_jax.errors import UserError
  from byol_jax.run import checkpoint
  failures = []
  folder = saved(scratch / 'saved')
  checkpoints = checkpoint.Checkpoints(folder / 'checkpoints')
  for name, (change, leaf) in list(_OTHER_STATES.items())[:cases]:
    try:
      checkpoints.restore_latest(change(make_state(0)))
      failures.append(f'{name}: restored')
    except UserError as error:
      if f'{leaf}: ' not in str(error):
        failures.append(f'{name}: {error}')
  checkpoints.close()
  runs = _OTHER_RUNS[:max(cases - len(_OTHER_STATES), 0)]
  if runs:
    failures += _refused(scratch, {
        override: (lambda workdir: None, [f'--config.{override}'], 'float32[')
        for override in runs})
  return Outcome(min(cases, len(_OTHER_STATES)) + len(runs), failures)


def _refused(scratch: pathlib.Path, todo: dict[str, tuple]) -> list[str]:
  """Goes on with a run that was made different; what did not come as it should.

  Args:
    scratch: a folder.
    todo: name -> (change of the workdir, arguments, a word of the refusal). Every
      other run is finished, the others were left halfway.
  """
  code, output = harness.run(scratch, '--workdir=whole')
  if code:
    return [f'the first run: {harness.tail(output)}']
  failures = []
  for number, (name, (change, arguments, word)) in enumerate(todo.items()):
    workdir = scratch / 'out'
    shutil.rmtree(workdir, ignore_errors=True)
    shutil.copytree(scratch / 'whole', workdir)
    # it would be compared first, and name keys
    (workdir / 'config.json').unlink()
    steps = sorted(p for p in (workdir / 'checkpoints').iterdir()
                   if p.name.isdecimal())
    if number % 2:
      shutil.rmtree(max(steps, key=lambda p: int(p.name)))
    change(workdir)
    before = _bytes(workdir / 'checkpoints')
    code, output = harness.run(scratch, '--workdir=out', *arguments)
    if (code != 2 or word not in output or 'compil' in output
        or 'Traceback' in output or _bytes(workdir / 'checkpoints') != before):
      failures.append(f'{name}: exit code {code}: {harness.tail(output, 6)}')
  return failures


def _bytes(folder: pathlib.Path) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes()
          for p in folder.rglob('*') if p.is_file()}


# --- C16: of another format --------------------------------------------------------

_FORMATS = (2, 0, '1', None)


@row('C16', cases=len(_FORMATS), sample=1,
     bound='refused with its format, exit code 2')
def other_formats(cases: int, scratch: pathlib.Path) -> Outcome:
  """The newest checkpoint has an older, a newer or a strange format."""
  def change(said):
    def write(workdir):
      newest = max((p for p in (workdir / 'checkpoints').iterdir()
                    if p.name.isdecimal()), key=lambda p: int(p.name))
      rewrite(newest, lambda manifest: manifest | {'format': said})
    return write
  failures = _refused(scratch, {
      f'format {said!r}': (change(said), [], f'format {said}, this byol_jax reads')
      for said in _FORMATS[:cases]})
  return Outcome(min(cases, len(_FORMATS)), failures)
