"""Packed texts come back, one by one and joined."""

from byol_jax.data.records import texts

_SOME = ['a', '', 'ö/日本.jpg', 'x' * 300]


def test_texts_come_back():
  packer = texts.Packer()
  for text in _SOME:
    packer.add(text.encode())
  packer.add(b'\xff.jpg')  # a name that is not UTF-8 keeps its bytes
  found = texts.of(packer.arrays('name'), 'name')
  assert list(found) == [*_SOME, b'\xff.jpg'.decode(errors='surrogateescape')]
  assert found[-2] == _SOME[-1] and len(found) == 5
  none = texts.of(texts.Packer().arrays('name'), 'name')
  assert list(none) == []
  assert list(texts.joined([none, found, found])) == [*found, *found]
