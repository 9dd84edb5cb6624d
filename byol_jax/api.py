"""The tasks as Python functions, for notebooks and programs (docs/python.md).

  import byol_jax

  byol_jax.preview('PHOTOS')                    # the path of a page
  run = byol_jax.pretrain('PHOTOS', out='runs/photos', **{'train.epochs': 100})
  encode = run.encoder()
  found = byol_jax.embed(run, 'PHOTOS')        # found.features, float32 [N, D]
  byol_jax.evaluate(run, 'knn', 'LABELLED').results

A function does what the command of the same config does, to the digit, and raises the
errors that the command prints. The process stays the caller's: nothing here ends it,
and its logging, its signals and jax's numbers are as before after the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import functools
import io
import json
import os
from typing import Any

from etils import epath
import numpy as np

from byol_jax import encoder as encoder_lib
from byol_jax.config import command
from byol_jax.config import names as task_names
from byol_jax.config import verbs
from byol_jax.devices import backend
from byol_jax.devices import compiler
from byol_jax.errors import UserError
from byol_jax.evaluation import embed as embed_lib
from byol_jax.run import console
from byol_jax.storage import bucket
from byol_jax.storage import files as files_lib
from byol_jax.tasks import embed as embed_task
from byol_jax.tasks import evaluate as evaluate_task
from byol_jax.tasks import export as export_task
from byol_jax.tasks import pretrain as pretrain_task
from byol_jax.tasks import preview as preview_task

Path = str | os.PathLike


class Run(os.PathLike):
  """The workdir of a run or of an evaluation; each value is read when it is asked for.

  The functions here, and `open`, take it in place of a path.

  Attributes:
    workdir: the directory or bucket.
  """

  def __init__(self, workdir: Path):
    """Names a workdir, of this session or of an earlier one."""
    self.workdir = os.fspath(workdir)

  def __fspath__(self) -> str:
    return self.workdir

  def __repr__(self) -> str:
    return f'{type(self).__name__}({self.workdir!r})'

  @property
  def config(self) -> dict[str, Any]:
    """Returns config.json: every value, also those that were chosen automatically."""
    return _json(self.workdir, 'config.json')

  @property
  def results(self) -> dict[str, Any]:
    """Returns results.json: the figures, and how they were measured.

    Raises:
      UserError: there is none (yet), or it is damaged.
    """
    return _json(self.workdir, 'results.json')

  @property
  def metrics(self) -> list[dict[str, Any]]:
    """Returns metrics.jsonl: one dictionary a logged step.

    Raises:
      UserError: there is none; evaluations have none.
    """
    lines = _read(self.workdir, 'metrics.jsonl').splitlines()
    values = [files_lib.parse_json(line) for line in lines]
    return [value for value in values if isinstance(value, dict)]  # one may be torn

  @property
  def report(self) -> str:
    """Returns the path of report.html.

    Raises:
      UserError: there is none.
    """
    path = os.path.join(self.workdir, 'report.html')
    if not epath.Path(path).exists():
      raise UserError(f'{self.workdir} has no report.html (yet)')
    return path

  def encoder(self, **options: Any) -> encoder_lib.Encoder:
    """Returns the run's encoder, in its newest checkpoint; see `encoder.load`."""
    return encoder_lib.load(self.workdir, **options)


class Embeddings(Run):
  """The features of some images.

  Attributes:
    features: float32 [N, D], or float16 with embed.float16.
    names: str [N], of the images.
    labels: int32 [N]; None without.
    class_names: str [classes], by label; None without.
  """
  features = property(lambda self: self._arrays['features'])
  names = property(lambda self: self._arrays['names'])
  labels = property(lambda self: self._arrays.get('labels'))
  class_names = property(lambda self: self._arrays.get('class_names'))

  @functools.cached_property
  def _arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays of embeddings.npz."""
    data = io.BytesIO(_read(self.workdir, embed_lib.FILES['npz']))
    with np.load(data, allow_pickle=False) as arrays:
      return dict(arrays)


def pretrain(data: Path | None = None, out: Path | None = None,
             config: str = 'folder', **keys: Any) -> Run:
  """Pretrains an encoder; goes on where the workdir stands.

  Args:
    data: a folder of images; None: the config's own, as in 'fashion'.
    out: the workdir; None: runs/NAME for the config NAME.
    config: a config file, or the name of one that comes with byol_jax.
    **keys: values of the config, as in **{'train.epochs': 100}, seed=1.

  Returns:
    The run, finished.

  Raises:
    UserError: a mistake that the user can mend.
    TransientError: the machine or its storage failed; the same call goes on.
    KeyboardInterrupt: Ctrl-C, or the notebook's stop; the run has saved its last step
      before, unless there was none, and the same call goes on.
  """
  asked = _asked(config, keys, out, _of(data))
  if asked.config.task != 'pretrain':
    raise UserError(f'config {config} is one of task={asked.config.task}, not of '
                    'pretrain: byol_jax.evaluate, embed and export are for others')
  with _as_guest('pretrain'):
    pretrain_task.run(asked.config, asked.workdir)
  return Run(asked.workdir)


def preview(data: Path | None = None, out: Path | None = None,
            config: str = 'folder', **keys: Any) -> str:
  """Writes a page about the images that a run would learn from; trains nothing.

  Args:
    data, out, config, **keys: as for `pretrain`.

  Returns:
    The path of preview.html in the workdir.

  Raises:
    UserError, TransientError, KeyboardInterrupt: as `pretrain`.
  """
  asked = _asked(config, keys, out, {'task': 'preview'} | _of(data))
  with _as_guest('preview'):
    preview_task.run(asked.config, asked.workdir)
  return os.path.join(asked.workdir, preview_task.NAME)


def evaluate(weights: Path, task: str = 'knn', data: Path | None = None,
             out: Path | None = None, **keys: Any) -> Run:
  """Measures how good an encoder is, by images with labels.

  Args:
    weights: a Run, its workdir, WORKDIR/checkpoints/STEP or an exported file.
    task: knn, linear_eval, logistic or finetune; 'finetune:0.01' takes 1 % of the
      labels.
    data: a folder with one sub-folder a class; None: the images of the pretraining.
    out: the place of the results; None: within the workdir of the weights.
    **keys: values of the config, as in **{'evaluation.knn_k': 200}.

  Returns:
    The place, whose `results` has the figures.

  Raises:
    UserError, TransientError, KeyboardInterrupt: as `pretrain`.
  """
  if task.partition(':')[0] not in task_names.MEASURING:
    raise UserError(f'task is {task!r}, it must be one of '
                    f'{", ".join(task_names.MEASURING)}')
  return Run(_evaluated(evaluate_task.run, task, weights, data, out, keys))


def embed(weights: Path, data: Path | None = None, out: Path | None = None,
          **keys: Any) -> Embeddings:
  """Computes the features of images, and writes them to files.

  Args:
    weights, data, out, **keys: as for `evaluate`; labels are not needed.

  Raises:
    UserError, TransientError, KeyboardInterrupt: as `pretrain`.
  """
  return Embeddings(_evaluated(embed_task.run, 'embed', weights, data, out, keys))


def export(weights: Path, out: Path | None = None, format: str = 'safetensors',
           **keys: Any) -> str:
  """Writes an encoder for other programs (docs/weights.md).

  Args:
    weights, out, **keys: as for `evaluate`.
    format: safetensors, timm, onnx or all.

  Returns:
    The path of the file or folder; for all of them that of the folder they are in.

  Raises:
    UserError, TransientError, KeyboardInterrupt: as `pretrain`.
  """
  folder = _evaluated(export_task.run, f'export:{format}', weights, None, out, keys)
  written = export_task.FORMATS.get(format)
  return os.path.join(folder, written.name) if written else folder


# ------------------------------------------------------------------------ calls
def _evaluated(run: Any, config: str, weights: Path, data: Path | None,
               out: Path | None, keys: Mapping[str, Any]) -> str:
  """Runs a task that takes weights; returns the place of its results."""
  asked = _asked(config, keys, out, {'weights': os.fspath(weights)} | _of(data))
  with _as_guest(asked.config.task):
    return run(asked.config, asked.workdir, asked.name)


def _of(data: Path | None) -> dict[str, Any]:
  """Returns the keys that stand for images."""
  return {} if data is None else {
      'data.source': verbs.SOURCE, 'data.path': os.fspath(data)}


def _asked(config: str, keys: Mapping[str, Any], out: Path | None,
           values: dict[str, Any]) -> command.Command:
  """Returns the command that a call stands for."""
  for key in keys.keys() & values.keys() - {'data.source'}:
    raise UserError(f'{key} is given twice, by its key and by an argument')
  values |= {key: os.fspath(value) if isinstance(value, os.PathLike) else value
             for key, value in keys.items()}
  return command.made(os.fspath(config), values, {
      'workdir': '' if out is None else os.fspath(out), 'distributed': 'off'})


@contextlib.contextmanager
def _as_guest(task: str) -> Iterator[None]:
  """Prepares the process for a task as the program does, and gives it back after."""
  compiler.set_compiler_flags()
  bucket.choose_library()
  backend.require()
  with (compiler.pinned_numbers(), console.borrowed(),
        backend.explained(backend.advice(task))):
    yield


# ------------------------------------------------------------------------ files
def _read(workdir: str, name: str) -> bytes:
  bucket.choose_library()
  try:
    return (epath.Path(workdir) / name).read_bytes()
  except OSError as error:
    raise UserError(f'{workdir} has no {name} that can be read: {error}') from error


def _json(workdir: str, name: str) -> dict[str, Any]:
  try:
    return json.loads(_read(workdir, name))
  except (ValueError, RecursionError) as error:
    raise UserError(f'{os.path.join(workdir, name)} is damaged: {error}') from error
