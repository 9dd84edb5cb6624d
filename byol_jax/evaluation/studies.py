"""The studies that the paper made: their rows, and its figures beside them.

ImageNet, ResNet-50, linear top-1 of test images: what these studies are repeated on is
mostly smaller, so the order and the changes are to be compared, not the figures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_PAPER = 'Grill et al. 2020'
_LEAST_SUB_BATCH = 4  # below it batch normalization knows next to nothing


class Row(NamedTuple):
  """One cell of a study.

  Attributes:
    name: the cell's.
    changes: {key: value}: what differs from the study's config.
    paper: the published figure, percent; None without one.
    line: the line of the figure that it is on; '' where there is one only.
    place: its place along the figure's x axis; the same on all lines.
  """
  name: str
  changes: dict[str, Any]
  paper: float | None = None
  line: str = ''
  place: str = ''


class Axis(NamedTuple):
  """One study.

  Attributes:
    title: for people.
    source: where the published figures stand.
    rows: the cells, in order.
    reference: the place of the cells that the others are compared with.
    untrained: the published figure of a network of random weights.
  """
  title: str
  source: str
  rows: tuple[Row, ...]
  reference: str
  untrained: float | None = None


# table 16: sub-batches 1, 2, 4, ... of a batch
_BATCH_SIZES = {'byol': (72.5, 72.4, 72.2, 72.2, 71.8, 69.6, 59.7),
                'simclr': (67.9, 67.8, 67.4, 66.5, 64.3, 63.6, 59.2)}
# table 17 and figure 3b: each row leaves out what the rows above it do, and more
_LEFT_OUT = {'baseline': (), 'no_grayscale': ('grayscale',), 'no_color': ('jitter',),
             'crop_blur': ('flip', 'solarize', 'randaugment'),
             'crop': ('blur',)}
_AUGMENTATIONS = {'byol': (72.5, 70.3, 63.4, 61.1, 59.4),
                  'simclr': (67.9, 61.9, 45.7, 41.7, 40.3)}
# tables 5b and 19, which have 69.1 and 69.0 for (online, True, 1); table 19 has both
# 70.2 and 70.1 for (stopped, True, 1). (method.target, with a predictor, method.beta):
# figure
_PREDICTORS = {
    ('ema', True, 0): 72.5, ('ema', True, 1): 70.9, ('ema', False, 1): 70.7,
    ('stopped', True, 1): 70.2, ('online', False, 1): 69.4,
    ('stopped', False, 1): 69.2, ('online', True, 1): 69.1,
    ('stopped', True, 0): 5.5, ('online', True, 0): 0.3, ('ema', False, 0): 0.2,
    ('stopped', False, 0): 0.1, ('online', False, 0): 0.1}


def make(name: str, batch_size: int) -> Axis:
  """Makes a study.

  Args:
    name: one of `AXES`.
    batch_size: of the study's config.
  """
  return _batch_size(batch_size) if name == 'batch_size' else _MAKERS[name]()


def _batch_size(batch_size: int) -> Axis:
  """Smaller batches, with the optimizer's as it is (paper, appendix G.2).

  Gradients are averaged over N sub-batches, before the optimizer and the target move;
  the statistics and the negatives are a sub-batch's.
  """
  rows = []
  for method, figures in _BATCH_SIZES.items():
    for i, figure in enumerate(figures):
      part, rest = divmod(batch_size, 2**i)
      if i and (rest or part < _LEAST_SUB_BATCH):
        break
      rows.append(Row(f'{method}_{part}', {
          'method.name': method, 'train.batch_size': batch_size,
          'train.accumulation_steps': 2**i}, figure, method, f'{part}'))
  return Axis('Batch size', f'{_PAPER}, table 16 and figure 3a; the first row stands '
              'for 4096, the next for 2048, ...', tuple(rows), f'{batch_size}')


def _augmentation() -> Axis:
  rows = []
  for method, figures in _AUGMENTATIONS.items():
    changes = {'method.name': method}
    for (place, left_out), figure in zip(_LEFT_OUT.items(), figures):
      changes = changes | {f'augment.view{view}.{key}': 0
                           for view in (1, 2) for key in left_out}
      rows.append(Row(f'{method}_{place}', changes, figure, method, place))
  return Axis('Augmentations, progressively left out',
              f'{_PAPER}, table 17 and figure 3b', tuple(rows), 'baseline')


def _target() -> Axis:
  same = {'method.name': 'byol', 'method.target': 'ema'}
  rows = [_at('tau_1', same | {'train.tau_base': 1.0, 'train.tau_end': 1.0}, 18.8)]
  # moving averages: from tau_base to 1, as in the paper's schedule
  for tau, figure in ((0.999, 69.8), (0.99, 72.5), (0.9, 68.4)):
    rows.append(_at(f'tau_{tau}', same | {
        'train.tau_base': tau, 'train.tau_end': 1.0}, figure))
  rows.append(_at('tau_0', same | {
      'train.tau_base': 0.0, 'train.tau_end': 0.0}, 0.3))
  return Axis('Target: tau at first, or always 1 and 0', f'{_PAPER}, table 5a; a '
              'random network: section 2', tuple(rows), 'tau_0.99', 1.4)


def _predictor() -> Axis:
  rows = []
  for (target, predictor, beta), figure in _PREDICTORS.items():
    name = target + '_alone' * (not predictor) + '_beta1' * beta
    rows.append(_at(name, {
        'method.name': 'byol', 'method.target': target, 'method.beta': float(beta),
        'network.predictor': predictor}, figure))
  return Axis('Predictor, target and negatives: ema is BYOL, alone is without a '
              'predictor', f'{_PAPER}, tables 5b and 19; SimCLR is online_alone_beta1',
              tuple(rows), 'ema')


def _methods() -> Axis:
  return Axis('Methods', 'Chen and He 2020, table 4: 800 epochs, MoCo v2 symmetric',
              tuple(_at(name, {'method.name': name}, figure) for name, figure in (
                  ('byol', 74.3), ('simclr', 70.4), ('moco', 72.2),
                  ('simsiam', 71.3))), 'byol')


def _at(name: str, changes: dict[str, Any], paper: float) -> Row:
  """Makes a row of a study with one line."""
  return Row(name, changes, paper, '', name)


_MAKERS = {'augmentation': _augmentation, 'target': _target, 'predictor': _predictor,
           'methods': _methods}
AXES = ('batch_size', *_MAKERS)
