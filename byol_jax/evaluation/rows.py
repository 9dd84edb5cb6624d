"""Reads every results.json that byol_jax has written, as rows."""

from __future__ import annotations

from collections.abc import Callable
import logging
import re
from typing import Any, NamedTuple

from etils import epath

from byol_jax.config import keys as keys_lib
from byol_jax.evaluation import figures
from byol_jax.evaluation import scores
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

_OF_THE_RUN = ('knn', 'linear')  # measured at the end of a pretraining


class Row(NamedTuple):
  """One figure of one encoder.

  Attributes:
    workdir: the pretraining's, or that of an evaluation that lies elsewhere.
    step: the encoder's step.
    encoder: one of `figures.kinds`.
    network: 'online' or 'target'.
    task: 'knn', 'linear_eval', ...; at the end of a pretraining 'knn' or 'linear'.
    name: the evaluation's name; '' at the end of a pretraining.
    number: the evaluation's number among those of its name; '' for the first.
    metric: one of `scores.FIGURES`.
    value: percent, the mean over the evaluation's seeds.
    std: the deviation over these seeds; None for one seed.
    n: the number of test images; None if it was not written.
    seed: the pretraining's seed.
    group: the same for pretrainings that differ in their seed only.
    protocol: the evaluation's protocol.
    how: the classifier's protocol; with several seeds that of the first.
  """
  workdir: str
  step: str
  encoder: str
  network: str
  task: str
  name: str
  number: str
  metric: str
  value: float
  std: float | None
  n: int | None
  seed: str
  group: str
  protocol: dict[str, Any]
  how: dict[str, Any]


def leave_out(path: epath.Path) -> None:
  """Warns of a damaged file."""
  _console.warning('%s is not what byol_jax writes: left out', path)


def of_run(workdir: epath.Path,
           tell: Callable[[epath.Path], None] = leave_out) -> list[Row]:
  """Reads the results of a pretraining and of the evaluations in its workdir.

  Args:
    workdir: a pretraining's, or an evaluation's.
    tell: is called with each file that is damaged, and so left out.
  """
  rows = _of_folder(workdir, workdir, tell)
  evaluations = workdir / 'evaluations'
  if evaluations.is_dir():
    for path in sorted(evaluations.iterdir()):
      if path.is_dir():
        rows += _of_folder(path, workdir, tell)
  return rows


def _of_folder(path: epath.Path, workdir: epath.Path,
               tell: Callable[[epath.Path], None]) -> list[Row]:
  """Reads one results.json; `workdir` is the pretraining's."""
  file = path / 'results.json'
  results = _read(file, tell)
  if results is None:
    return []
  # for evaluations, too, the pretraining's config is the one that groups
  config = _read(workdir / 'config.json', tell) or {}
  # without a config a group of its own: runs may differ in more than their seed
  group = _group(config) if config else str(path)
  try:
    return _rows(results, path, str(workdir), str(config.get('seed')), group)
  except (AttributeError, TypeError, ValueError, LookupError, OverflowError):
    tell(file)  # somebody has changed it
    return []


def _group(config: dict[str, Any]) -> str:
  """Returns a text that pretrainings with the same config but for the seed share.

  Keys that may differ when a run goes on may differ here, too, but for those of the
  figures at its end. The images are known by what was found of them. A key that an
  older version lacked has the value of what was done then.
  """
  flat = keys_lib.was() | files_lib.flatten(config)
  has_found = any(key.startswith('data_found.') for key in flat)
  free = {key for key in keys_lib.free('pretrain') if not key.startswith(
      'evaluation.' if has_found else ('evaluation.', 'data.'))}
  return str(sorted((key, str(value)) for key, value in flat.items()
                    if key != 'seed' and key not in free
                    and not key.startswith('environment.')))


def _rows(results: dict[str, Any], path: epath.Path, workdir: str, seed: str,
          group: str) -> list[Row]:
  """Returns the figures of a pretraining's or an evaluation's results as rows."""
  protocol, task = results.get('protocol', {}), results.get('task')
  step = str(protocol['step'] if 'step' in protocol else results['run']['steps'])
  name, number = _name(results, path, step) if task else ('', '')
  rows = []
  for kind in reversed(figures.kinds(figures.method_of(results))):
    measured = results.get(kind, {})
    for task_name in ([task] if task else _OF_THE_RUN):
      for metric in scores.FIGURES:
        value, std = (measured.get(f'{task_name}_{metric}{end}')
                      for end in ('', '_std'))
        if value is not None:
          how = (protocol.get('classifiers', {}).get(kind, {}) if task else
                 protocol.get(f'{kind}_classifiers', {}).get(task_name, {}))
          how = dict(_of_first_seed(how))
          rows.append(Row(
              workdir, step, kind, protocol.get('network', 'online'), task_name, name,
              number, metric, float(value), None if std is None else float(std),
              how.get('test_images'), seed, group, protocol, how))
  return rows


def _name(results: dict[str, Any], path: epath.Path, step: str) -> tuple[str, str]:
  """Returns (NAME, '') for the folder NAME-STEP, (NAME, '2') for NAME-STEP-2."""
  found = re.fullmatch(rf'(.+)-{step}(?:-(\d+))?', path.name)
  if path.parent.name == 'evaluations' and found:
    return found[1], found[2] or ''
  labels = {str(how['labels']) for how in map(
      _of_first_seed, results['protocol'].get('classifiers', {}).values())
            if 'labels' in how}
  return '_'.join([str(results['task']), *labels]), ''  # finetune_0.1


def _of_first_seed(how: Any) -> dict[str, Any]:
  """Returns a classifier's protocol, the first of a list over several seeds."""
  return how[0] if isinstance(how, list) else how


def _read(path: epath.Path,
          tell: Callable[[epath.Path], None]) -> dict[str, Any] | None:
  """Reads a JSON object; returns None, and tells of it, for anything else."""
  try:
    found = files_lib.parse_json(path.read_bytes())
  except FileNotFoundError:
    return None
  except OSError:
    found = None
  if isinstance(found, dict):
    return found
  tell(path)
  return None
