"""Images: sources, decoding, their order."""


def __getattr__(name: str):
  if name == 'decode':  # its place in version 0.1
    from byol_jax.data.images import decode
    return decode
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
