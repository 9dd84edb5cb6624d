"""Names the curves of a page, and says what is good to know of each.

The names are those of metrics.jsonl. One that is not known here has a chart, too, with
its own name as its title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from byol_jax.pages import chart
from byol_jax.pages import template
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

_NO_CURVES = ('step', 'epoch', 'seconds_left', 'skipped_steps')


class Curve(NamedTuple):
  """Says how a metric is drawn.

  Attributes:
    title: its name for people.
    group: the title of the charts that it stands among.
    log: whether its axis is logarithmic.
    include: values that the axis reaches in any case.
    about: a few words below the chart.
  """
  title: str
  group: str
  log: bool = False
  include: tuple[float, ...] = ()
  about: str = ''


_LEARNED, _COLLAPSE = 'What is learned', 'Whether it collapses'
_RUN, _OTHERS = 'How it runs', 'Others'
KNOWN = {
    'loss': Curve('Loss', _LEARNED),
    'knn_top1': Curve('k-NN top-1, percent', _LEARNED,
                      about='training images, against others'),
    'probe_top1': Curve('Probe top-1, percent', _LEARNED, about=(
        'a linear classifier, on the features of the training batch')),
    'projection_std': Curve('Spread of the projections', _COLLAPSE, include=(0, 1),
                            about='1: spread out, 0: all images are one point'),
    'batch_projection_std': Curve(
        'Spread within a training batch', _COLLAPSE, include=(0, 1),
        about='the same, of the views in training'),
    'feature_rank': Curve('Rank of the features', _COLLAPSE, True,
                          about='dimensions that they fill'),
    'projection_rank': Curve('Rank of the projections', _COLLAPSE, True,
                             about='dimensions that they fill'),
    'alignment': Curve('Distance of two views', _COLLAPSE, include=(0,),
                       about='0: the views of an image agree'),
    'uniformity': Curve('Uniformity', _COLLAPSE, include=(0,),
                        about='0: one point; lower: spread more evenly'),
    'predictor_explained': Curve('Variance that the predictor explains', _COLLAPSE,
                                 include=(0, 1), about='1: all of it'),
    'learning_rate': Curve('Learning rate', _RUN, include=(0,)),
    'tau': Curve('Memory of the target, tau', _RUN,
                 about='1: the target network stays as it is'),
    'gradient_norm': Curve('Norm of the gradient', _RUN, True),
    'images_per_second': Curve('Images a second', _RUN, include=(0,),
                               about='all devices together'),
    'data_wait': Curve('Waiting for images', _RUN, include=(0, 0.02),
                       about='the share of the time of a step'),
    'probe_loss': Curve('Loss of the probe', _RUN, include=(0,)),
}
SIDE_BY_SIDE = ('knn_top1', 'probe_top1', 'loss', 'projection_std', 'feature_rank',
                'projection_rank', 'learning_rate', 'images_per_second')


def points(metrics: Sequence[Mapping[str, Any]],
           name: str) -> list[tuple[int, float | None]]:
  """Returns (step, value) of a metric; None for a value that is not finite."""
  # null stands for what is not finite, and is no gap between two measurements
  return [(line['step'], line[name]) for line in metrics if name in line and (
      line[name] is None or is_number(line[name]))]


def chapter(metrics: Sequence[Mapping[str, Any]], *, loss: str, end: int | None,
            bounds: Mapping[str, Sequence[chart.Bound]]) -> Markup | None:
  """Returns the chapter 'Curves', a chart for each metric; None without any.

  Args:
    metrics: the lines of metrics.jsonl.
    loss: about the loss's range.
    end: the last step of the whole run; None where it is not known.
    bounds: values that are marked, by metric.
  """
  names = dict.fromkeys(name for line in metrics for name in line
                        if name not in _NO_CURVES)
  by_group: dict[str, list[Markup]] = {
      group: [] for group in (_LEARNED, _COLLAPSE, _RUN, _OTHERS)}
  last = max((line['step'] for line in metrics), default=0)
  for name in (*KNOWN, *sorted(names.keys() - KNOWN.keys())):
    if found := points(metrics, name):
      known = KNOWN.get(name, Curve(name, _OTHERS))
      by_group[known.group].append(chart.curves(
          known.title, [chart.Line(name, found)], x_end=max(last, end or 0),
          log=known.log, bounds=bounds.get(name, ()), include=known.include,
          about=loss if name == 'loss' else known.about))
  parts = [part for group, charts in by_group.items() if charts
           for part in (tag('h3', group, class_='kind'),
                        tag('div', *charts, class_='cards'))]
  if not parts:
    return None
  return template.chapter('Curves', *parts, about=(
      'Every number of metrics.jsonl. The pointer on a chart tells the value there.'))


def is_number(value: Any) -> bool:
  """Returns whether a value of a file is a number."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)
