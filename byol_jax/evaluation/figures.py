"""The figures of an evaluation over seeds, and the table that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from byol_jax.evaluation import scores
from byol_jax.methods import names as method_names

UNTRAINED, RAW_PIXELS = 'untrained', 'raw_pixels'
_BASELINES = {UNTRAINED: 'untrained encoder', RAW_PIXELS: 'raw pixels'}


def kinds(method: str) -> dict[str, str]:
  """Returns the kinds of encoders in results.json, and their names in tables.

  Args:
    method: the name of the method that trained the encoder, as of
      `method_names.result_name`.
  """
  return {method: method_names.title(method)} | _BASELINES


def method_of(results: Mapping[str, Any]) -> str:
  """Returns the method of a results.json; older ones are BYOL's, and do not say so."""
  return str(results.get('method', 'byol'))


def is_trained(kind: str) -> bool:
  """Returns whether a kind of encoder is not one of the baselines."""
  return kind not in _BASELINES


def over_seeds(task: str, each: list[dict[str, Any]],
               num_test: int) -> dict[str, Any]:
  """Returns the figures of one seed, or mean and deviation over several.

  Args:
    task: the task, which gives the figures' names.
    each: for each seed the figures, and the chosen values, which have no mean.
    num_test: the number of test images of each.
  """
  if len(each) == 1:
    return {f'{task}_{name}': value for name, value in each[0].items()}
  result: dict[str, Any] = {f'{task}_seeds': each}
  for name in scores.FIGURES:
    if name in each[0]:
      values = [one[name] for one in each]
      result[f'{task}_{name}'] = float(np.mean(values))
      result[f'{task}_{name}_std'] = float(np.std(values, ddof=1))
  result[f'{task}_top1_interval'] = scores.interval(
      result[f'{task}_top1'], num_test)
  return result


def cell(value: float, spread: float | None = None) -> str:
  """Returns a figure in percent, with the deviation over seeds if it is known."""
  return f'{value:.2f}%' + ('' if spread is None else f' +-{spread:.2f}')


def table(task: str, results: dict[str, Any]) -> str:
  """Returns a table with a row for each encoder."""
  lines = [f'{task:<20}{"top-1":>16}{"top-5":>9}{"per class":>11}  95 % interval']
  for kind, title in kinds(method_of(results)).items():
    if kind not in results:
      continue
    row = results[kind]
    top1, top5, per_class = ('-' if value is None else cell(value) for value in (
        row.get(f'{task}_{name}') for name in scores.FIGURES))
    if (spread := row.get(f'{task}_top1_std')) is not None:
      top1 = cell(row[f'{task}_top1'], spread)
    interval = row.get(f'{task}_top1_interval')
    lines.append(f'{title:<20}{top1:>16}{top5:>9}{per_class:>11}  '
                 + ('-' if interval is None else
                    f'{interval[0]:.2f} to {interval[1]:.2f}'))
  return '\n'.join(lines)


def results_table(results: Mapping[str, Any]) -> str:
  """Returns the table at the end of a run.

  Args:
    results: as in results.json: `raw_pixels`, `untrained` and the method, each with
      `knn_top1` and `linear_top1` in percent. A missing figure shows as '-'.

  Returns:
    Lines of equal length.
  """
  def cell(name, figure):
    value = results.get(name, {}).get(figure)
    return '-' if value is None else f'{value:.1f}%'

  lines = [f'{"":<20}{"k-NN":>10}{"linear":>10}']
  for name, title in reversed(kinds(method_of(results)).items()):
    lines.append(f'{title:<20}{cell(name, "knn_top1"):>10}'
                 f'{cell(name, "linear_top1"):>10}')
  return '\n'.join(lines)
