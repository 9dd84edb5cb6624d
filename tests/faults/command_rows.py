"""What a user can get wrong on a command line."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pathlib
import subprocess
import sys
from typing import Any
from unittest import mock

from config_rows import in_folder
from config_rows import networks_as_they_were
from config_rows import TINY
import harness
from harness import Outcome
from harness import row
import numpy as np

# --- G2: random command lines ------------------------------------------------------


class _Accepted(BaseException):  # which main does not catch
  """A command line would have started a run."""


_LEGAL = (
    ('--workdir=x',), ('--workdir', 'x'), ('-workdir=x y',), ('--workdir=\xfc',),
    ('--distributed=off',), ('--distributed', 'off'), ('--distributed=on',),
    ('--config.train.batch_size=16',), ('--config.seed', '3'),
    ('-config.seed=4',), ('--config.log.tensorboard',),
    ('--noconfig.log.tensorboard',), ('--config.log.tensorboard=true',),
    ('--config.data.mean=(0.5,0.5,0.5)',), ('--config.train.tau_base=1',),
    ('--config.data.test_split=',), ('--config.task=pretrain',))
_WRONG = (
    ('extra',), ('',), ('-',), (' ',), ('=',), ('x=y',), ('--nonsense=1',),
    ('-x',), ('--=1',), ('---',), ('--config.tran.seed=1',), ('--config.train=3',),
    ('--config.train={}',), ('--config.seed=abc',), ('--config.seed=-1',),
    ('--config.seed=',), ('--config.seed.x=1',), ('--config.=1',),
    ('--config..seed=1',), ('--config.data.mean[0]=1',), ('--config.data.mean=1',),
    ('--config.data.mean=(1',), ('--config.seed=1', '--config.seed=0x1z'),
    ('--config.train.batch_size=1e400',), ('--config.task=nothing',),
    ('--config.task=prepare', '--config.prepare.quality=101'),
    ('--distributed=maybe',), ('--distributed=',), ('--nodistributed',),
    ('--noworkdir',), ('--flagfile=missing',), ('--flagfile=.',),
    ('--gr\xf6\xdfe=\u5b57',), ('\udcff\udcfe',), ('--\udcff=\udcfe',),
    ('--config.\U0001f600=1',), ('--version',), ('--helpfull',), ('--logtostderr',),
    ('--config.seed=' + '9' * 5000,), ('--' + 'a' * 5000,))
# What these mean depends on what follows.
_EITHER = (
    ('--',), ('--workdir',), ('--config.seed',), ('--config',), ('--help',),
    ('-h',), ('-help',), ('--undefok=nonsense',), ('--undefok',),
    ('--flagfile',), ('--flagfile=',), ('--distributed',), ('--config.data.path',))


@row('G2', cases=1000, sample=60,
     bound='exit code 2 and a message, or 0 and help; or a legal command; '
     'no traceback, nothing written')
def command_lines(cases: int, scratch: pathlib.Path) -> Outcome:
  """Random command lines, some of them in a process of their own."""
  rng = harness.rng('G2')
  failures, accepted, processes = [], 0, 0
  folder = scratch / 'empty'
  folder.mkdir()
  for case in range(cases):
    arguments, verdict = _command_line(rng)
    shown = ' '.join(map(repr, arguments))[:150]
    code, output, errors = _main(arguments, folder)
    accepted += code == 'accepted'
    failure = _bad_end(arguments, verdict, code, output, errors)
    if failure is None and any(folder.iterdir()):
      failure = f'{os.listdir(folder)} was written'
    if code == 2 and processes <= case // 200:
      processes += 1
      done = subprocess.run(
          [sys.executable, '-m', 'byol_jax.main', *arguments], text=True,
          cwd=folder, env=harness.environment(scratch), capture_output=True,
          errors='surrogateescape', timeout=120, check=False)
      failure = failure or _bad_end(arguments, verdict, done.returncode,
                                    done.stdout, done.stderr)
    if failure is not None:
      failures.append(f'{shown}: {failure[:300]}')
  return Outcome(cases, failures, f'{accepted} legal, {processes} in a process '
                 'of their own')


def _command_line(rng: np.random.Generator) -> tuple[list[str], str]:
  """(arguments, 'legal', 'wrong' or 'either')."""
  def one(of):
    return of[rng.integers(len(of))]
  groups, verdict = [], 'legal'
  legal = [_LEGAL[k] for k in rng.permutation(len(_LEGAL))]
  if rng.random() < 0.9:
    groups.append((f'--config={TINY}',))
  else:
    groups.append(one([(), ('--config=',), ('--config=missing.py',),
                       ('--config=.',), (f'--config={TINY}:argument',)]))
    verdict = 'wrong'
  for _ in range(rng.integers(4)):
    kind = rng.random()
    if kind < 0.5:
      groups.append(legal.pop())
    elif kind < 0.75:
      groups.append(one(_WRONG))
      verdict = 'wrong' if verdict == 'legal' else verdict
    elif kind < 0.87:
      groups.append(one(_EITHER))
      verdict = 'either'
    else:
      groups.append((_noise(''.join(one(_LEGAL)), rng),))
      verdict = 'either'
  order = rng.permutation(len(groups))
  if rng.random() < 0.8:  # any order is as good
    order = range(len(groups))
  return [argument for k in order for argument in groups[k]], verdict


def _noise(text: str, rng: np.random.Generator) -> str:
  """A text with a few characters changed; any at all, now and then."""
  alphabet = '-=.:/ acdefgnostw0123456789()[]{}\'"\\\n\t\xfc\u5b57'
  if rng.random() < 0.2:
    text = '-' * rng.integers(20)
  characters = list(text)
  for _ in range(rng.integers(1, 5)):
    at = rng.integers(len(characters) + 1)
    characters[at:at + rng.integers(2)] = alphabet[rng.integers(len(alphabet))]
  return ''.join(characters)


def _main(arguments: list[str], folder: pathlib.Path) -> tuple[Any, str, str]:
  """main() in this process: (exit code, stdout, stderr), and no run."""
  from byol_jax import main as main_lib
  from byol_jax.devices import hosts
  from byol_jax.tasks import prepare
  from byol_jax.tasks import pretrain
  console = logging.getLogger('byol_jax')
  handlers, propagate, level = console.handlers, console.propagate, console.level
  output, errors = io.StringIO(), io.StringIO()
  try:
    with (in_folder(folder), networks_as_they_were(),
          mock.patch.dict(os.environ),
          mock.patch.object(pretrain, 'run', side_effect=_Accepted),
          mock.patch.object(prepare, 'run', side_effect=_Accepted),
          mock.patch.object(hosts, 'initialize'),
          contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors)):
      code = main_lib.main(['byol_jax.main', *arguments])
  except _Accepted:
    code = 'accepted'
  except BaseException as error:
    code = f'{type(error).__name__}: {error}'
  finally:
    console.handlers, console.propagate = handlers, propagate
    console.setLevel(level)
  return code, output.getvalue(), errors.getvalue()


def _bad_end(arguments: list[str], verdict: str, code: Any, output: str,
             errors: str) -> str | None:
  """What is wrong with the end of a command, if anything."""
  asks_help = {'-h', '--help', '-help'} & set(arguments)
  if 'Traceback' in output + errors:
    return f'a traceback: {harness.tail(errors)}'
  if asks_help:
    return None if code == 0 and 'usage' in output else f'{code} instead of help'
  if code == 'accepted':
    return None if verdict != 'wrong' else 'accepted'
  if code != 2:
    return f'exit code {code}: {harness.tail(errors)}'
  if verdict == 'legal':
    return f'refused: {harness.tail(errors)}'
  if not errors.startswith('byol_jax: ') or len(errors) > 6000 or len(
      errors.splitlines()) > 3:
    return f'a message of {len(errors)} characters: {errors[:200]}'
  return None
