"""Reads the lists that come with data sets: words between spaces, one image a line."""

from __future__ import annotations

from byol_jax.errors import UserError


def read(path: str, count: int, skip: int = 0) -> list[list[str]]:
  """Returns the words of each line.

  Args:
    path: the file; `data.path` is the folder that it lies in, or one above.
    count: words in a line; the last one may hold spaces.
    skip: lines of titles.

  Raises:
    UserError: names the file, and the line that has less words.
  """
  try:
    with open(path, encoding='utf-8') as f:
      lines = f.read().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'cannot read {path!r} ({error}): config key data.path must be the '
                    'folder as the data set comes') from error
  rows = []
  for number, line in enumerate(lines[skip:], skip + 1):
    words = line.split(None, count - 1)
    if len(words) == count:
      rows.append([word.strip() for word in words])
    elif words:
      raise UserError(f'{path!r}, line {number}, has {len(words)} words, not {count}: '
                      'take the file as the data set comes')
  if not rows:
    raise UserError(f'{path!r} lists no images: take the file as the data set comes')
  return rows


def number(path: str, text: str) -> int:
  """Returns a whole number of a list; raises UserError if it is none."""
  try:
    return int(text)
  except ValueError:
    raise UserError(f'{path!r} has {text[:40]!r} in the place of a whole number: take '
                    'the file as the data set comes') from None
