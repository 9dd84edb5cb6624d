"""The source 'list': names of image files in plain text, or in CSV with labels."""

from __future__ import annotations

import logging
import os
import re

from byol_jax import wording
from byol_jax.data.sources import columns
from byol_jax.data.sources import folder
from byol_jax.data.sources import labels as labels_lib
from byol_jax.data.sources import missing
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens the list `path`, or `test_path` for 'test': see `read_list`."""
  table.check_train_or_test(split, 'list')
  path = request.path if split == 'train' else request.test_path
  if not path:
    return None
  listing = read_list(
      path, split, request.class_names, rules=request.rules, root=request.list_root,
      path_column=request.path_column, label_column=request.label_column)
  if request.rules != '0.1':
    missing.check(path, listing.root, listing.files)
  return folder.encoded(listing, path, request.max_bad)


def read_list(path: str, split: str = 'train',
              class_names: tuple[str, ...] | None = None, *, rules: str = '0.2',
              root: str | None = None, path_column: str | None = None,
              label_column: str | None = None) -> folder.Listing:
  """Reads a list of image files.

  `.csv` and `.tsv` files have one image a row, the path first and then, if
  there are labels, the label; a first row of titles (path, label, ...) may put
  the columns in another order and add others. Any other file is plain text, one
  path a line, where empty lines and comments are skipped: those that are `#` alone or
  start with `# `, as names of files may start with `#`. Comments are counted on the
  console. Relative paths start at the list's folder.

  Labels are whole numbers (`labels.number`), or names, which are numbered in
  alphabetical order. An empty one, and -1 and nan among numbers, stand for no label. A
  test list has labels of the training list's kind.

  Args:
    path: the list.
    split: 'train' or 'test'.
    class_names: the classes of the training list, for the test list; None where
      labels are numbers.
    rules: the version by whose rules to read: '0.1' takes all lines with `#` for
      comments, and numbers for classes as they are.
    root: where relative paths start; None for the list's folder.
    path_column: the title of the paths; None for a known one.
    label_column: the title of the labels; None for a known one, 'none' for no labels.

  Returns:
    The files in the list's order, unchecked; `root` is where relative paths start.

  Raises:
    UserError: names the list and the line that is wrong.
    TransientError: the storage fails for a minute.
  """
  try:
    files, texts, comments = retry.insist(
        lambda: _read(path, rules, path_column, label_column), repr(path))
  except OSError as error:
    key = {'train': 'path', 'test': 'test_path'}[split]
    raise UserError(f'cannot read the list of images {path!r}: '
                    f'{error.strerror}: check config.data.{key}') from error
  except UnicodeDecodeError as error:
    raise UserError(f'{path!r} is not a list of images in UTF-8 text ({error}): save '
                    'it as UTF-8, uncompressed') from error
  _check_first(path, files, is_plain=texts is None)
  if comments:
    _console.info('%s: passed over %s with comments, the first is %r', path,
                  wording.count(len(comments), 'line'), comments[0])
  labels, names = None, None
  if texts is not None:
    labels, names = labels_lib.of_texts(repr(path), texts, split, class_names, rules)
    if (labels == labels_lib.NONE).all():
      labels, names = None, None
  root = root or os.path.dirname(os.path.abspath(path))
  return folder.Listing(root, files, labels, names)


def _read(path: str, rules: str, path_column: str | None, label_column: str | None,
          ) -> tuple[list[str], labels_lib.Texts | None, list[str]]:
  """Returns the paths, the labels of a list with columns, and the comments."""
  separator, files, comments = columns.separator(path), [], []
  with open(path, encoding='utf-8-sig', newline='') as f:
    lines = columns.without_nul(path, f)
    if separator is not None:
      skipped = None if rules == '0.1' else comments
      return *columns.read_table(path, lines, separator, path_column, label_column,
                                 skipped), comments
    for written in filter(str.strip, lines):
      line = written.strip()
      is_comment = (written.startswith('#') if rules == '0.1'
                    else columns.is_comment(line))
      (comments if is_comment else files).append(line)
  return files, None, comments


def _check_first(path: str, files: list[str], is_plain: bool) -> None:
  """Raises UserError if the first path shows that these are no paths."""
  if not files:
    raise UserError(f'the list of images {path!r} is empty')
  line = files[0]
  if line.startswith('file:'):
    raise UserError(f'{path!r} lists {line!r}: write paths as they are, without '
                    'file://')
  if paths_lib.in_bucket(line):
    raise UserError(f'{path!r} lists {line!r}, but only local files are read: '
                    'mount the bucket or download them, and list the paths there')
  # 'a.jpg 1' and 'a.jpg|1' would be names of files
  found = re.match(r'(.+)[\s|;,:](\S*)$', line)
  if (is_plain and found and found[1].rstrip().lower().endswith(folder.EXTENSIONS)
      and not line.lower().endswith(folder.EXTENSIONS)):
    raise UserError(f'{path!r} is read as one path a line, but {line!r} looks like a '
                    'path and a label: lists with labels are .csv (commas) or .tsv')
