"""What a user can get wrong in a config: a key, a value, values together."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil
import sys
import time
from typing import Any
from unittest import mock

import harness
from harness import Outcome
from harness import row
import numpy as np

TINY = harness.HERE / 'tiny_config.py'


# --- G1: one value of a config is wrong --------------------------------------------

_KINDS = ('typo', 'none', 'wrong type', 'negative', 'zero', 'huge', 'nan', 'inf',
          'empty', 'unicode', 'list', 'bool')
_UNICODE = 'gr\xf6\xdfe \u200f\u5b57\U0001f600'
_SECONDS = 3.0  # for a refusal, once everything is imported

# Config files that fail as a whole, and a word of the message.
_BASE = 'from byol_jax.config import base\nimport ml_collections\n'
_ODD_FILES = {
    'def get_config(: pass': 'syntax',
    '': 'get_config',
    'get_config = 3': 'callable',
    'import nowhere_at_all': 'nowhere_at_all',
    'raise KeyError("boom")': 'boom',
    'raise AttributeError("boom")': 'boom',
    'raise Exception': 'Exception',
    'raise SystemExit("left")': 'left',
    'raise MemoryError("full")': 'full',
    'raise OSError(5, "no disk")': 'no disk',
    'raise FileNotFoundError(2, "no disk")': 'no disk',
    'def get_config(): exit(0)': 'SystemExit',
    'def get_config(): return None': 'ConfigDict',
    'def get_config(): return {}': 'ConfigDict',
    'def get_config(): return base': 'ConfigDict',
    'def get_config(a, b): return base()': 'get_config',
    'def get_config(): return 1 / 0': 'division',
    'def get_config(): return get_config()': 'recursion',
    'def get_config(): return open("none").read()': "'none'",
    'def get_config(): return "\ud800".encode()': 'utf-8',
    'def get_config():\n  c = base()\n  c.train = 3\n  return c': 'train',
    'def get_config():\n  c = base()\n  c.nothing.x = 3\n  return c': 'nothing',
    'def get_config():\n  c = base()\n  del c.train\n  return c': 'line 5',
    'def get_config():\n  return ml_collections.ConfigDict()': 'base()',
    'def get_config():\n'
    '  return ml_collections.ConfigDict({**base(), "train": 3})': 'train',
    'def get_config():\n'
    '  return ml_collections.ConfigDict({**base(), "7": 3})': '7',
    'def get_config():\n'
    '  return ml_collections.ConfigDict({**base(), "seed": {}})': 'seed',
    'def get_config():\n'
    '  return ml_collections.ConfigDict({**base(), "seed": {"a": 1}})': 'seed',
    'def get_config():\n  c = base()\n  c.get_ref("seed").set(-1)\n  return c':
        'seed',
    'def get_config():\n  c = base()\n  with c.ignore_type():\n'
    '    c.seed = lambda: 3\n  return c': 'seed',
    'import numpy as np\ndef get_config():\n  c = base()\n'
    '  with c.ignore_type():\n    c.seed = np.arange(3)\n  return c': 'seed',
    'def get_config():\n  c = base()\n  with c.ignore_type():\n'
    '    c.train.epochs = 10 ** 400\n  return c': 'line 6',
    'def get_config():\n  c = base()\n  with c.ignore_type():\n'
    '    c.data.mean = (10 ** 5000, 0, 0)\n  return c': 'data.mean',
    'def get_config():\n  c = base()\n  c.data.source = "npz"\n'
    '  c.data.path = "a\\0b"\n  return c': 'data.path',
    '\0': 'null',
}


@row('G1', cases=10_000, sample=150,
     bound='a message that names the key (of a typo also the nearest key) in 3 s, '
     'nothing written; or a run that can be built')
def config_values(cases: int, scratch: pathlib.Path) -> Outcome:
  """Every config key with every kind of mistake, as a flag and in the file."""
  from byol_jax.config import keys as keys_lib
  from byol_jax.storage import files as files_lib
  base = files_lib.flatten(keys_lib.base())
  todo = [(key, kind, how) for key in base for kind in _KINDS
          for how in ('flag', 'file')] + [(text, '', '') for text in _ODD_FILES]
  order = harness.rng('G1').permutation(len(todo))[:cases]
  rng = harness.rng('G1 values')
  failures, refused = [], 0
  (scratch / 'empty').mkdir()
  with in_folder(scratch / 'empty'), networks_as_they_were():
    for number, (key, kind, how) in enumerate(todo[k] for k in order):
      # a file of its own: Python's cache knows them by name and time
      file = scratch / f'{number}' / 'config.py'
      file.parent.mkdir()
      argument = ''
      if not kind:
        words, shown = [_ODD_FILES[key]], repr(key)
        file.write_text(_BASE + key, errors='surrogatepass')
      else:
        wrong = _typo(key, base, rng) if kind == 'typo' else key
        value = _value(base[key], kind, rng)
        text, words = TINY.read_text(), [wrong]
        if how == 'flag':
          shown = argument = f'--config.{wrong}={value}'
        else:
          text, shown, words = _in_file(text, wrong, value, kind, rng)
        file.write_text(text)
      before = harness.everything(scratch)
      started = time.monotonic()
      config, message, failure = _parse(file, argument)
      seconds = time.monotonic() - started
      if failure is None:
        if seconds > _SECONDS:
          failure = f'took {seconds:.1f} s'
        elif harness.everything(scratch) != before:
          failure = 'something was written'
        elif config is not None:
          failure = ('accepted' if kind in ('typo', '') else
                     _cannot_be_built(config, key))
        else:
          refused += 1
          failure = _bad_message(message, words, key, base, kind, how)
      if failure is not None:
        failures.append(f'{shown[:120]} ({how} {kind}): {failure[:300]}')
      shutil.rmtree(file.parent)
  return Outcome(len(order), failures,
                 f'{refused} refused, {len(order) - refused} legal')


def _value(default: Any, kind: str, rng: np.random.Generator) -> Any:
  """A value of that kind for a key with that default."""
  text = isinstance(default, str)
  def like(x):
    return (x,) * len(default) if isinstance(default, list) else x
  return {
      'typo': default, 'none': None, 'wrong type': 3 if text else 'many',
      'negative': like(-1), 'zero': like(0),
      'huge': 'x' * 20_000 if text else like(
          [10**12, 10**30, 1e300, 3e38][rng.integers(4)]),
      'nan': like(float('nan')), 'inf': like(float('inf')), 'empty': '',
      'unicode': _UNICODE, 'list': [1, 2], 'bool': True}[kind]


def _typo(key: str, known: dict[str, Any], rng: np.random.Generator) -> str:
  """The key with a character lost, doubled, changed or swapped."""
  while True:
    at = int(rng.integers(len(key)))
    change = rng.integers(4)
    if change == 0:
      wrong = key[:at] + key[at + 1:]
    elif change == 1:
      wrong = key[:at] + key[at] + key[at:]
    elif change == 2:
      wrong = key[:at] + chr(rng.integers(ord('a'), ord('z') + 1)) + key[at + 1:]
    else:
      wrong = key[:at] + key[at:at + 2][::-1] + key[at + 2:]
    sections = {'.'.join(k.split('.')[:n]) for k in known for n in (1, 2)}
    if (wrong not in known and wrong not in sections
        and all(part.isidentifier() for part in wrong.split('.'))):
      return wrong


def _in_file(text: str, key: str, value: Any, kind: str,
             rng: np.random.Generator) -> tuple[str, str, list[str]]:
  """(config file that sets the key, its line, what the message may name)."""
  # ml_collections lets everything pass, new keys, or nothing
  around = [('c.ignore_type()', 'c.unlocked()'), ('c.unlocked()',)][kind == 'typo']
  around = [*around, ''][rng.integers(len(around) + 1)]
  source = repr(value).replace('inf', "float('inf')").replace(
      'nan', "float('nan')") if kind in ('nan', 'inf') else repr(value)
  line = f'c.{key} = {source}'
  if '.' in key and kind == 'typo' and around:
    # what does not exist yet has no parts either
    line = (f'c.update_from_flattened_dict({{{key!r}: {source}}})'
            if rng.integers(2) else line)
  block = f'with {around}:\n    {line}' if around else line
  words = [key]
  if around != 'c.ignore_type()':  # it knows a key by its parts alone
    words += key.split('.')
  return text.replace('  return c', f'  {block}\n  return c'), line, words


def _bad_message(message: str, words: list[str], key: str, base: dict[str, Any],
                 kind: str, how: str) -> str | None:
  """What is wrong with a refusal, if anything."""
  if not any(word in message for word in words):
    return f'does not say {" or ".join(words)}: {message}'
  if len(message) > 1000 or len(message.splitlines()) > 3:
    return f'{len(message)} characters: {message}'
  if 'Traceback' in message:
    return f'a traceback: {message}'
  if kind == 'typo' and key not in message:
    # another key may be as near
    named = [k for k in base if f'mean {k}?' in message]
    wrong = words[0]
    if how == 'file' and any(
        f'mean {part}?' in message for part in key.split('.')):
      return None  # ml_collections sees the parts only
    if not named or _distance(named[0], wrong) > _distance(key, wrong):
      return f'does not propose {key}: {message}'
  return None


def _distance(a: str, b: str) -> int:
  """Levenshtein's."""
  before = list(range(len(b) + 1))
  for i, x in enumerate(a, 1):
    now = [i]
    for j, y in enumerate(b, 1):
      now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (x != y)))
    before = now
  return before[-1]


def _parse(file: pathlib.Path, *arguments: str):
  """(config, message of a refusal, failure): one of them is not None."""
  from byol_jax.config import command
  from byol_jax.errors import UserError
  argv = ['byol_jax.main', f'--config={file}', *filter(None, arguments)]
  try:
    config = command.parse(argv).config
  except UserError as error:
    return None, str(error), None
  except BaseException as error:
    return None, None, f'{type(error).__name__}: {error}'
  return config, None, None


def _cannot_be_built(config: Any, key: str) -> str | None:
  """Why a run that was accepted has no data, schedule or networks."""
  import jax

  from byol_jax.config import schedule
  from byol_jax.errors import UserError
  from byol_jax.tasks import data as data_lib
  from byol_jax.training import build
  try:
    for images in (64, 1281167):
      with contextlib.suppress(UserError):
        schedule.resolve(config, images)
    train, _ = data_lib.open_data(config)
    resolved = schedule.resolve(config, len(train.images))
    built = build.build(resolved, len(train.images), 4)
    if key.startswith(('network.', 'data.', 'train.target')):
      jax.eval_shape(built.init)
  except UserError:
    return None
  except BaseException as error:
    return f'accepted, then {type(error).__name__}: {error}'
  return None


def networks_as_they_were() -> contextlib.AbstractContextManager:
  """Undoes, behind it, what the tiny config does to the networks' table."""
  from byol_jax.networks import architectures
  return mock.patch.dict(architectures.ARCHITECTURES)


@contextlib.contextmanager
def in_folder(folder: pathlib.Path) -> Iterator[None]:
  """Works in a folder; Python writes no caches beside what it imports."""
  before, dont_write = os.getcwd(), sys.dont_write_bytecode
  os.chdir(folder)
  sys.dont_write_bytecode = True
  try:
    yield
  finally:
    os.chdir(before)
    sys.dont_write_bytecode = dont_write


# --- G3: values that do not go together -------------------------------------------

# (overrides of the tiny config, devices, words of the message)
_COMBINATIONS = (
    ('train.batch_size=9 train.accumulation_steps=2', 1,
     'train.batch_size accumulation_steps'),
    ('', 3, 'train.batch_size devices'),
    ('train.accumulation_steps=4', 4, 'train.batch_size devices'),
    ('train.batch_size=1', 1, 'train.batch_size two'),
    ('train.accumulation_steps=8', 1, 'train.accumulation_steps two'),
    ('train.batch_size=128', 1, '--config.train.batch_size=64'),
    ('train.warmup_epochs=8', 1, 'train.warmup_epochs train.epochs'),
    ('train.epochs=0.5', 1, 'train.warmup_epochs train.epochs'),
    ('train.epochs=0.01 train.warmup_epochs=0', 1, 'train.epochs step'),
    ('train.epochs=1e12', 1, 'train.epochs 2^31'),
    ('train.tau_base=1.5', 1, 'train.tau_base'),
    ('train.momentum=1.01', 1, 'train.momentum'),
    ('network.bn_decay_rate=1', 1, 'network.bn_decay_rate'),
    ('data.image_size=7 network.name=resnet10', 1, 'data.image_size 8'),
    ('data.image_size=31 network.name=resnet34 network.stem=imagenet', 1,
     'network.stem 32'),
    ('data.image_size=7 network.name=resnet8 network.stem=half', 1,
     'network.stem 8'),
    ('network.width=0.001', 1, 'network.width'),
    ('data.source=npz', 1, 'data.path'),
    ('data.source=folder', 1, 'data.path'),
    ('data.source=list', 1, 'data.path'),
    ('data.source=prepared', 1, 'data.path'),
    ('data.source=tfds', 1, 'data.tfds_name'),
    ('data.crop_area=(0.5,0.1)', 1, 'data.crop_area smaller'),
    ('data.crop_area=(0.08,1.5)', 1, 'data.crop_area whole'),
    ('data.mean=(123.7,116.3,103.5)', 1, 'data.mean'),
    ('data.std=(0.2,0,0.2)', 1, 'data.std'),
    ('data.fake_images=1000000000', 1, 'data.fake_images resident_limit_mib'),
    ('data.resident=no', 1, 'data.resident auto'),
    ('data.source=fashion_sample data.train_split=validation', 1, 'validation'),
    ('data.source=fashion_sample data.resident_limit_mib=1', 1,
     'data.resident_limit_mib'),
)


@row('G3', cases=len(_COMBINATIONS), sample=30,
     bound='each refused by a rule that names the keys')
def combinations(cases: int, scratch: pathlib.Path) -> Outcome:
  """Values that are legal by themselves but not together."""
  from byol_jax.config import rules
  from byol_jax.config import schedule
  from byol_jax.errors import UserError
  from byol_jax.tasks import data as data_lib
  del scratch
  failures = []
  order = harness.rng('G3').permutation(len(_COMBINATIONS))[:cases]
  with networks_as_they_were():
    for overrides, devices, words in (_COMBINATIONS[k] for k in order):
      config, message, failure = _parse(
          TINY, *(f'--config.{override}' for override in overrides.split()))
      if config is not None:
        try:
          # as a run does it, in this order
          rules.check_devices(config.train.batch_size,
                              config.train.accumulation_steps, devices)
          train, _ = data_lib.open_data(config)
          schedule.resolve(config, len(train.images))
          failure = 'accepted'
        except UserError as error:
          message = str(error)
      missing = [word for word in words.split() if word not in (message or '')]
      if failure or missing:
        failures.append(f'{overrides} on {devices} devices: '
                        f'{failure or message}; not named: {missing}')
  return Outcome(len(order), failures)
