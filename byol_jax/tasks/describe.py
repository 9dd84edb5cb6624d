"""Says in words and numbers what a config means, for pages."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

import ml_collections

from byol_jax import wording
from byol_jax.config import cells
from byol_jax.config import keys as keys_lib
from byol_jax.config import schedule
from byol_jax.methods.method import Method
from byol_jax.pages import chart
from byol_jax.pages import report
from byol_jax.run.journal import Journal
from byol_jax.training import build
from byol_jax.training import diagnostics
from byol_jax.training import optim

_DATA_KEYS = ('source', 'path', 'tfds_name', 'train_split', 'test_split')


def facts(config: ml_collections.ConfigDict, journal: Journal) -> report.Facts:
  """Returns what a page says of a run's config.

  Args:
    config: complete.
    journal: the run's files; config.json has the number of images.

  Raises:
    UserError: the config is not that of a run.
  """
  images = journal.config.get('data_found.images')
  images = images if isinstance(images, int) and images > 0 else None
  changed_keys, least = changed(config), config.train.batch_size
  config = schedule.resolve(config, max(images or least, least))
  method = build.make_method(config)
  model = build.make_model(config, 0, None)
  sizes = {'feature': model.feature_size, 'projection': config.network.projection_size}
  examples = min(config.evaluation.examples, images or config.evaluation.examples)
  total = schedule.total_steps(config, images) if images else None
  warnings, healthy = _health(journal, sizes, examples)
  return report.Facts(
      title=f'{method.title}, {config.network.name}', total_steps=total,
      loss=_loss(method), bounds=_bounds(method, sizes, examples),
      warnings=warnings, healthy=healthy,
      groups=[('Schedule', schedule_lines(config, total)),
              ('Data', _data_lines(config, journal.config)),
              ('Network', _network_lines(config, sizes['feature']))],
      changed=changed_keys)


def changed(config: ml_collections.ConfigDict) -> list[tuple[str, Any, Any]]:
  """Returns (key, value, default) of each key that differs from its default."""
  return [(key, value, keys_lib.KEYS[key].default)
          for key, value in cells.differences(config, keys_lib.base()).items()]


def schedule_lines(config: ml_collections.ConfigDict,
                   total: int | None) -> list[tuple[str, Any]]:
  """Returns the schedule of a config; `total` steps are known of a resolved one."""
  train = config.train
  lines = [
      ('epochs', f'{train.epochs:g}' if train.epochs else 'chosen by the images'),
      ('steps', f'{total:,}' if total else '-'),
      ('batch', wording.count(train.batch_size, 'image', ',') + (
          f', in {train.accumulation_steps} sub-batches'
          if train.accumulation_steps > 1 else ''))]
  if train.base_learning_rate is not None:
    peak = optim.scaled(train.base_learning_rate, train.batch_size, train.rate_scaling)
    lines.append(('learning rate', f'{peak:.4g} at its peak, base '
                  f'{train.base_learning_rate:g}'))
  if train.warmup_epochs is not None:
    lines.append(('warm-up', wording.count(train.warmup_epochs, 'epoch', 'g')))
  lines.append(('optimizer', f'{train.optimizer}, momentum {train.momentum:g}'
                + ('' if train.weight_decay is None else
                   f', weight decay {train.weight_decay:g}')))
  if total and build.make_method(config).target_views:
    lines.append(('tau', schedule.tau_in_words(config)))
  return lines


def _loss(method: Method) -> str:
  """Returns a sentence about the logged loss."""
  low, high, chance = method.meaning
  text = f'from {low:g}' + ('' if high is None else f' to {high:g}')
  if chance is not None:
    text += f', {chance:.3g} by chance'
  return text + (f'; {method.note}' if method.note else '')


def _bounds(method: Method, sizes: Mapping[str, int],
            examples: int) -> dict[str, list[chart.Bound]]:
  """Returns the chance level of the loss, and the bounds of the collapse alarm."""
  bounds = {'projection_std': [
      chart.Bound(diagnostics.MIN_PROJECTION_STD, 'below: collapsed')]}
  if method.meaning.chance is not None:
    bounds['loss'] = [chart.Bound(method.meaning.chance, 'chance')]
  for name, size in sizes.items():
    if (limit := diagnostics.min_rank(min(examples, size))) is not None:
      bounds[f'{name}_rank'] = [chart.Bound(limit, 'below: collapsed')]
  return bounds


def _health(journal: Journal, sizes: Mapping[str, int],
            examples: int) -> tuple[list[str], str]:
  """Returns what the last measures say of a collapse: warnings, or that all is well."""
  names = ('projection_std', 'feature_rank', 'projection_rank')
  for line in reversed(journal.metrics):
    if all(name in line for name in names):
      # null stands for what is not finite
      found = {name: line[name] if isinstance(line[name], (int, float)) else math.nan
               for name in names}
      warning = diagnostics.collapse_warning(
          found, num_examples=examples, feature_size=sizes['feature'],
          projection_size=sizes['projection'])
      at = f'Step {line["step"]:,}: '
      return ([f'{at}{warning}'], '') if warning else (
          [], f'{at}no sign of a collapse')
  return [], ''


def _data_lines(config: ml_collections.ConfigDict,
                flat: Mapping[str, Any]) -> list[tuple[str, Any]]:
  lines = [(name, config.data[name]) for name in _DATA_KEYS if config.data[name]]
  for name in ('images', 'classes', 'fingerprint'):
    if f'data_found.{name}' in flat:
      value = flat[f'data_found.{name}']
      lines.append((name, f'{value:,}' if isinstance(value, int) else value))
  low, high = config.data.crop_area
  return [*lines, ('views', f'{config.data.image_size} pixels, crops of {low:g} to '
                   f'{high:g} of the image'),
          ('evaluated', f'{build.eval_view(config)[0].image_size} pixels')]


def _network_lines(config: ml_collections.ConfigDict,
                   feature_size: int) -> list[tuple[str, Any]]:
  n = config.network
  return [('encoder', f'{n.name}, width {n.width:g}, stem {n.stem}'),
          ('features', f'{feature_size:,}'),
          ('projection', f'{n.projection_size:,}, hidden {n.projector_hidden_size:,}'),
          ('precision', n.precision)]
