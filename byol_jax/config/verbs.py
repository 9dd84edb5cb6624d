"""Short commands: `byol_jax pretrain PHOTOS` stands for a config and some keys."""

from __future__ import annotations

from collections.abc import Sequence
import shlex
from typing import NamedTuple

from byol_jax.config import kinds
from byol_jax.errors import UserError

SOURCE = 'auto'  # of images that are named by a path alone


class Verb(NamedTuple):
  """A short command.

  Attributes:
    help: what it does.
    needed: the names and keys of the arguments that it needs, in order; one word for
      both where they are separated by a space.
    more: likewise, of those that may follow.
  """
  help: str
  needed: tuple[str, ...]
  more: tuple[str, ...] = ()

  def usage(self, name: str) -> str:
    """Returns a line about it."""
    words = [name, *(word.split()[0] for word in self.needed),
             *(f'[{word.split()[0]}]' for word in self.more)]
    return f'  byol_jax {" ".join(words):<38}{self.help}'


_RUN, _IMAGES = 'RUN config.weights', 'PHOTOS config.data.path'
VERBS = {
    'preview': Verb('look at your images before you train', (_IMAGES,)),
    'pretrain': Verb('train an encoder on your images', (_IMAGES,)),
    'report': Verb('write the page of a run', (_RUN,)),
    'knn': Verb('how good is it? nearest neighbours vote', (_RUN,), (_IMAGES,)),
    'linear_eval': Verb('how good is it? a linear classifier', (_RUN,), (_IMAGES,)),
    'logistic': Verb('how good is it? logistic regression', (_RUN,), (_IMAGES,)),
    'finetune': Verb('how good is it? all is trained', (_RUN,), (_IMAGES,)),
    'embed': Verb('write features of images', (_RUN,), (_IMAGES,)),
    'index': Verb('make a catalogue to search in', (_RUN, _IMAGES, 'INDEX workdir')),
    'search': Verb('what looks like this picture?', (
        'INDEX config.search.index', 'QUERY config.search.query')),
    'retrieve': Verb('how good is such a search?', (_RUN,), (_IMAGES,)),
    'finetune_pairs': Verb('learn from what people click', (_RUN,), (
        'CLICKS config.pairs.path', _IMAGES)),
    'export': Verb('write the encoder for other programs', (_RUN,)),
    'compare': Verb('a table of runs: runs/a,runs/b', (
        'RUNS config.compare.workdirs',)),
    'prepare': Verb('make records that read fast', (
        _IMAGES, 'OUT config.prepare.output')),
}
_CONFIGS = {'pretrain': 'folder'}  # where they are not called as the verb


def help_text() -> str:
  """Returns the lines of --help about short commands."""
  return '\n'.join([
      'Short commands; each prints the long one that it stands for:',
      *(verb.usage(name) for name, verb in VERBS.items()),
      '  A short command takes all flags of the long one, behind it.'])


def expanded(argv: Sequence[str]) -> list[str] | None:
  """Returns the long command line of a short one; None for one that is long already.

  Args:
    argv: the program's name and its arguments.

  Raises:
    UserError: there is no such verb, or it has too few or too many arguments.
  """
  if len(argv) < 2 or argv[1].startswith('-'):
    return None
  name, rest = argv[1], list(argv[2:])
  name, colon, argument = name.partition(':')
  if name not in VERBS:
    raise UserError(f'unknown command {kinds.shown(name)}'
                    f'{kinds.nearest(name, list(VERBS))}: --help lists all')
  verb = VERBS[name]
  given = []
  while rest and not rest[0].startswith('-'):
    given.append(rest.pop(0))
  if not len(verb.needed) <= len(given) <= len(verb.needed + verb.more):
    raise UserError(f'{name} takes other arguments than the {len(given)} given here '
                    f'(a path that begins with - as ./-name):\n{verb.usage(name)}')
  keys = [word.split()[1] for word in verb.needed + verb.more]
  flags = [f'--{key}={value}' for key, value in zip(keys, given)]
  if _RUN in verb.needed and _IMAGES in (verb.needed + verb.more)[:len(given)]:
    # images, which are not the run's
    flags.insert(1, f'--config.data.source={SOURCE}')
  config = f'configs/{_CONFIGS.get(name, name)}.py{colon}{argument}'
  return [argv[0], f'--config={config}', *flags, *rest]


def shown(argv: Sequence[str]) -> str:
  """Returns the long command as a shell takes it."""
  return shlex.join(['python', '-m', 'byol_jax.main', *argv[1:]])
