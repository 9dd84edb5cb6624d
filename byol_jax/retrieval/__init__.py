"""Finding what looks alike: figures, indexes, and what people click.

neighbours.py searches, metrics.py says how good a ranking is. index.py is a catalogue
that can be asked, kept by store.py. learn.py learns from pairs.py, by a head on frozen
features (head.py) or the encoder with it; batches.py draws the pairs.
"""

from typing import Any


def __getattr__(name: str) -> Any:
  if name == 'Index':  # imported when it is first used: jax takes seconds
    from byol_jax.retrieval.index import Index
    return Index
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
