"""Lists of words that come with data sets."""

import pytest

from byol_jax.data.sources import words
from byol_jax.errors import UserError


def test_titles_are_skipped_and_the_last_word_may_hold_spaces(tmp_path):
  (tmp_path / 'a').write_text('n path\n1 a b.jpg\n\n2  c.jpg \n')
  assert words.read(str(tmp_path / 'a'), 2, skip=1) == [['1', 'a b.jpg'], ['2', 'c.jpg']]


@pytest.mark.parametrize('text,message', [
    ('1 2\n3\n', 'line 2, has 1 words, not 2'), ('', 'lists no images')])
def test_mistakes(tmp_path, text, message):
  (tmp_path / 'a').write_text(text)
  with pytest.raises(UserError, match=message):
    words.read(str(tmp_path / 'a'), 2)
  with pytest.raises(UserError, match='as the data set comes'):
    words.read(str(tmp_path / 'b'), 2)


def test_numbers():
  assert words.number('a', '12') == 12
  with pytest.raises(UserError, match="'a' has 'x' in the place of a whole number"):
    words.number('a', 'x')
