"""Short commands and the long ones that they stand for."""

import os
import re

import pytest

from byol_jax.config import command
from byol_jax.config import verbs
from byol_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SAME = f'--config.data.source={verbs.SOURCE}'


@pytest.mark.parametrize('short, long', [
    ('pretrain PHOTOS', '--config=configs/folder.py --config.data.path=PHOTOS'),
    ('pretrain PHOTOS --workdir=a --config.seed=1',
     '--config=configs/folder.py --config.data.path=PHOTOS --workdir=a --config.seed=1'),
    ('embed RUN', '--config=configs/embed.py --config.weights=RUN'),
    ('embed RUN PHOTOS', '--config=configs/embed.py --config.weights=RUN '
     f'{SAME} --config.data.path=PHOTOS'),
    ('finetune:0.1 RUN', '--config=configs/finetune.py:0.1 --config.weights=RUN'),
    ('finetune_pairs RUN LOG --workdir=a', '--config=configs/finetune_pairs.py '
     '--config.weights=RUN --config.pairs.path=LOG --workdir=a'),
    ('finetune_pairs RUN LOG PHOTOS', '--config=configs/finetune_pairs.py '
     f'--config.weights=RUN {SAME} --config.pairs.path=LOG --config.data.path=PHOTOS'),
    ('prepare PHOTOS OUT', '--config=configs/prepare.py --config.data.path=PHOTOS '
     '--config.prepare.output=OUT'),
    ('compare a,b', '--config=configs/compare.py --config.compare.workdirs=a,b'),
])
def test_a_short_command_stands_for_a_long_one(short, long):
  assert verbs.expanded(['byol_jax', *short.split()]) == ['byol_jax', *long.split()]


@pytest.mark.parametrize('name', verbs.VERBS)
def test_each_verb_makes_a_valid_command(name):
  verb = verbs.VERBS[name]
  for count in range(len(verb.needed), len(verb.needed + verb.more) + 1):
    argv = verbs.expanded(['byol_jax', name, *'abcd'[:count]])
    assert command.parse(argv).config.task in (name, 'pretrain')
  assert f'byol_jax {name}' in verbs.help_text()


def test_long_commands_are_let_alone():
  assert verbs.expanded(['byol_jax']) is None
  assert verbs.expanded(['byol_jax', '--config=configs/fashion.py']) is None


@pytest.mark.parametrize('arguments, words', [
    (['pretrian', 'x'], "unknown command 'pretrian' .did you mean pretrain..: --help"),
    ([''], "unknown command ''"), (['pretrain'], 'byol_jax pretrain PHOTOS '),
    (['pretrain', 'a', 'b'], 'other arguments'), (['export'], 'export RUN'),
    (['export', '--config.weights=a'], 'export RUN'),
    (['embed', 'a', 'b', 'c'], re.escape('embed RUN [PHOTOS]')),
])
def test_a_wrong_short_command_is_refused_in_words(arguments, words):
  with pytest.raises(UserError, match=words) as caught:
    verbs.expanded(['byol_jax', *arguments])
  assert len(str(caught.value).splitlines()) <= 2


def test_shells_read_it_back():
  assert verbs.shown(['x', '--config.data.path=my photos']) == (
      "python -m byol_jax.main '--config.data.path=my photos'")
