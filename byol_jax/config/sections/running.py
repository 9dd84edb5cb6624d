"""The keys of a run: what it tells, keeps, and does when something fails."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config import names
from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import COUNT
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import number
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import whole

SECTIONS = key.Sections()
_add = SECTIONS.add
_SECONDS = whole(above=0, at_most=1_000_000)

_add(
    'log: what a run tells', names.PRETRAIN, free=names.PRETRAIN,
    every_steps=(50, POSITIVE, 'steps between two lines'),
    tensorboard=(True, flag(), 'whether TensorBoard events are written, too'),
    report=(True, flag(), 'whether report.html is written, at each measuring and '
            'at the end (docs/report.md)'))
_add(
    'checkpoint: what a run keeps', names.PRETRAIN, free=names.PRETRAIN,
    every_steps=(None, automatic(POSITIVE),
                 'steps between two; None: a twentieth of the run, at most 1000'),
    keep=(3, POSITIVE, 'how many of the newest'),
    keep_every=(0, COUNT, 'and those of multiples of this step; 0: none'))
_add(
    'safety: what a run does when something fails', names.LEARNING,
    free=names.LEARNING,
    on_nonfinite=('stop', choice('stop', 'skip'), 'stop, or skip the update, where '
                  'the loss or the gradient is not finite'))
_add(
    'safety', names.PRETRAIN, free=names.PRETRAIN,
    max_skipped=(10, COUNT, 'steps in a row that may be skipped'),
    step_timeout=(900.0, number(at_least=0), 'seconds a step; 0: for ever'))
_add(
    'safety', names.TASKS, free=names.TASKS,
    heartbeat=(100, _SECONDS, 'seconds after which a silent process ends all'),
    startup_timeout=(300, _SECONDS, 'seconds to wait for the other processes'))
