"""Images: from where they come to the batches of one host. Nothing here knows jax.

Read in the way of an image: sources/ finds it, records/ reads it where one file holds
many, images/ decodes it, feed/ says which comes when and makes batches.
"""


def __getattr__(name: str):
  if name == 'decode':  # its place in version 0.1
    from byol_jax.data.images import decode
    return decode
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
