"""Finding what looks alike: figures, indexes, and what people click."""

from typing import Any


def __getattr__(name: str) -> Any:
  if name == 'Index':  # imported when it is first used: jax takes seconds
    from byol_jax.retrieval.index import Index
    return Index
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
