"""The pages of several runs: of a study, and of task=compare."""

from __future__ import annotations

from collections.abc import Sequence
import os

from byol_jax.config import keys as keys_lib
from byol_jax.config import names as task_names
from byol_jax.errors import UserError
from byol_jax.evaluation import tally
from byol_jax.pages import drawing
from byol_jax.pages import several
from byol_jax.run import journal as journal_lib
from byol_jax.storage import files as files_lib


def of_study(root: str, made: str) -> str:
  """Returns the page of a study, as far as its runs are.

  Args:
    root: the study's folder.
    made: when and by what the page is made.

  Raises:
    UserError: study.json is damaged.
  """
  file = os.path.join(root, 'study.json')
  try:
    found = files_lib.read_json(file)
    head, *lines = tally.columns(found['cells'])
    picture = drawing.svg(
        found['cells'], figure=found['figure'], title=found['title'],
        subtitle=f'change of {tally.FIGURES[found["figure"]]} top-1')
    # the first run of each cell: seeds of one cell look alike
    folders = {str(cell['name']): os.path.join(root, cell['runs'][0]['workdir'])
               for cell in found['cells'] if cell['runs']}
    settings = list(found['settings'].items())
    published, title = found['published'], found['title']
  except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
    raise UserError(f'{file} is damaged: the command of the study writes it again'
                    ) from error
  runs = [(name, journal_lib.read(folder)) for name, folder in folders.items()]
  return several.page(
      f'Study: {title}', [several.Table('', head, lines)], runs, drawing=picture,
      made=f'{root} · {made}', settings=settings, about=[
          'Top-1 in percent, mean and deviation over seeds; change: points, seed by '
          f'seed, to the reference. Published figures: {published}.',
          'The charts show the first run of each cell.'])


def of_runs(folders: Sequence[str], tables: Sequence[several.Table],
            differences: Sequence[str], made: str) -> str:
  """Returns the page of task=compare.

  Args:
    folders: the workdirs.
    tables: the figures, one table a metric.
    differences: what makes figures of one column not alike.
    made: when and by what the page is made.
  """
  runs = [(folder, journal_lib.read(folder)) for folder in folders]
  runs = [(name, journal) for name, journal in runs
          if journal.config.get('task') not in task_names.EVALUATING]
  shared = os.path.dirname(os.path.commonprefix([f'{name}/' for name, _ in runs]))
  runs = [(name[len(shared):].strip('/') or name, journal) for name, journal in runs]
  changed = several.Table('keys that differ between the runs', *_changed(runs))
  return several.page('Runs side by side', [
      *tables, *([changed] if changed.lines else [])], runs, about=differences,
      made=made)


def _changed(runs: Sequence[tuple[str, journal_lib.Journal]],
             ) -> tuple[list[str], list[list[str]]]:
  """Returns the head and lines of a table of the keys that are not alike."""
  configs = [keys_lib.was() | journal.config for _, journal in runs]
  names = dict.fromkeys(key for config in configs for key in config)
  lines = [[key, *(str(config.get(key, '-')) for config in configs)] for key in names
           if len({str(config.get(key, '')) for config in configs}) > 1]
  return ['key', *(name for name, _ in runs)], lines
