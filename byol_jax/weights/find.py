"""Finds the checkpoint that a path names, or says why the path names none.

The run may be writing and removing checkpoints meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
import logging
import os
import time

from etils import epath

from byol_jax import wording
from byol_jax.config import names as task_names
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

SUFFIX = '.safetensors'
MODEL = f'model{SUFFIX}'  # the arrays in a folder of timm or Hugging Face
PICKLED = ('.pth', '.pt', '.bin', '.ckpt', '.tar')  # PyTorch's
DEEPMIND = ('.pkl', '.pickle', '.dill')

_SECONDS_TO_WRITE = 120.0  # to wait for a checkpoint that is being written
_SECONDS_TO_REMOVE = 5.0   # a checkpoint that lacks files may be being removed
_MOST_NAMED = 5
_MOST_LOOKED_AT = 200      # a folder of images has many more


def parse(path: str) -> tuple[str, int | None]:
  """Returns the folder of the checkpoints, and the step if the path names one.

  Args:
    path: WORKDIR, WORKDIR/checkpoints or WORKDIR/checkpoints/STEP.
  """
  path = path.rstrip('/') or path
  folder, last = os.path.split(path)
  if last.isdecimal() and os.path.basename(folder) == 'checkpoints':
    return folder, int(last)
  return (path if last == 'checkpoints' else os.path.join(path, 'checkpoints')), None


def form(path: str) -> str:
  """Returns what a path names: 'file', 'folder', 'deepmind', 'torch' or 'run'.

  A folder is one of timm or Hugging Face; a run's is never taken for one. A path of
  nothing is that of a run.
  """
  for name, suffixes in (('file', (SUFFIX,)), ('deepmind', DEEPMIND),
                         ('torch', PICKLED)):
    if path.lower().endswith(suffixes) and not epath.Path(path).is_dir():
      return name
  here = epath.Path(path)
  if (here / 'checkpoints').is_dir():
    return 'run'
  if (here / MODEL).exists():
    return 'folder'
  config = files_lib.read_json(here / 'config.json') or {}
  return 'folder' if {'architecture', 'architectures'} & config.keys() else 'run'


def how_to_convert(path: str, to: str = '') -> str:
  """Returns a line of Python that makes a safetensors file of PyTorch's.

  Args:
    path: PyTorch's file.
    to: the safetensors file; '' for one beside it.
  """
  return ('it is a pickle, which may hold a program; where PyTorch is, convert it: '
          f"import torch, safetensors.torch as s; d = torch.load({path!r}, "
          f"weights_only=True); s.save_file({{k: v.float().contiguous() for k, v in "
          f"d.get('state_dict', d).items()}}, "
          f"{to or os.path.splitext(path)[0] + SUFFIX!r})")


def opened(path: str, key: str, *,
           without: Collection[int] = ()) -> tuple[checkpoint.Checkpoints, int]:
  """Opens a run's checkpoint to be read; waits for one that is being written.

  Args:
    path: as for `parse`; the newest step where none is named.
    key: the config key with the path, for messages.
    without: steps that must not be opened.

  Returns:
    The checkpoints, to be closed by the caller, and the step.

  Raises:
    UserError: there is no such checkpoint.
  """
  folder, step = parse(path)
  # fine-tuning has other checkpoints
  if not epath.Path(folder).is_dir() or _is_evaluation(epath.Path(folder).parent):
    raise UserError(f'config key {key} is {path!r}: {_what_it_is(path)}')
  checkpoints = checkpoint.Checkpoints(folder, read_only=True)
  try:
    return checkpoints, _wait_for(checkpoints, step, path, key, without)
  except BaseException:
    checkpoints.close()
    raise


def is_gone(checkpoints: checkpoint.Checkpoints, step: int,
            error: Exception) -> bool:
  """Returns whether a checkpoint that cannot be read has been removed.

  Args:
    checkpoints: the run's checkpoints.
    step: the checkpoint's step.
    error: raised by reading it. If a file could not be read, the run may be removing
      the checkpoint now, and the folder is watched for some seconds.
  """
  end = time.monotonic() + (_SECONDS_TO_REMOVE if error.__cause__ else 0)
  while step in checkpoints.steps():
    if time.monotonic() >= end:
      return False
    time.sleep(0.2)
  return True


def listed(found: Collection[int]) -> str:
  """Returns steps as a text for a message."""
  return ', '.join(map(str, found)) or 'none'


def _wait_for(checkpoints: checkpoint.Checkpoints, step: int | None, path: str,
              key: str, without: Collection[int]) -> int:
  """Waits until a checkpoint is complete, and returns its step."""
  folder = epath.Path(parse(path)[0])
  end = time.monotonic() + _SECONDS_TO_WRITE
  has_warned = False
  while True:
    # asked first: it may be complete by the time that the steps are listed
    is_coming = checkpoints.is_being_written(step)
    there = [x for x in checkpoints.steps() if x not in without]
    if there and (step is None or step in there):
      return there[-1] if step is None else step
    if not is_coming:
      raise UserError(f'config key {key} is {path!r}: there is no checkpoint ' + (
          f'of that step; there are: {listed(there)}' if there else
          f'in {folder} yet' + ''.join(
              f'; {x.name} is damaged' for x in sorted(folder.glob('*.damaged*')))))
    if time.monotonic() > end:
      raise UserError(f'the checkpoint {path!r} is being written, or was left '
                      f'unfinished, for {_SECONDS_TO_WRITE:g} s now: try later, or '
                      f'take another one: {listed(there)}')
    if not has_warned:
      _console.info('%s is being written; waiting ...', path)
      has_warned = True
    time.sleep(0.5)


def _what_it_is(path: str) -> str:
  """Returns what a path without checkpoints is, and which path to name instead."""
  here = epath.Path(path)
  if not here.exists():
    if path.startswith(('hf-hub:', 'hf_hub:', 'timm/', 'local-dir:')):
      return ('it is no path: name the folder itself; what lies at Hugging Face must '
              'be fetched before, as by `hf download NAME --local-dir FOLDER`')
    return 'there are no checkpoints, as there is no such file or folder'
  if here.suffix == '.onnx':
    return ('it is an ONNX file, whose normalizations are gone: name the run or the '
            'file that it was made of')
  if not here.is_dir():
    return ('it is neither a run nor an encoder: name a WORKDIR, one of its '
            'WORKDIR/checkpoints/STEP, a .safetensors file, or a folder of timm or '
            'Hugging Face')
  inside = sorted(here.iterdir())[:_MOST_LOOKED_AT]
  exported = [x for x in inside if x.name.endswith('.safetensors')]
  if exported:
    return f'it holds an exported encoder: name {exported[0]}'
  if 'evaluations' in (here.name, here.parent.name):
    run = here.parent if here.name == 'evaluations' else here.parent.parent
    return f'it is of an evaluation: name the run that it belongs to, {run}'
  if _is_evaluation(here):
    return 'it is of an evaluation: name the weights that it measured'
  runs = [str(x) for x in inside
          if (x / 'checkpoints').is_dir() and not _is_evaluation(x)]
  if runs:
    return 'it holds runs: name one of them: ' + wording.some(runs, _MOST_NAMED)
  return 'it is not the workdir of a run: there are no checkpoints in it'


def _is_evaluation(workdir: epath.Path) -> bool:
  config = files_lib.read_json(workdir / 'config.json') or {}
  return config.get('task') in task_names.EVALUATING
