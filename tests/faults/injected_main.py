"""byol_jax.main with a fault put into it, for the matrix; from $FAULT:

  grads:STEP  loss:STEP  views:STEP     not finite in that step, on $FAULT_DEVICE
  params:STEP ema:STEP momentum:STEP statistics:STEP     the same in the state
  replica:STEP       one device's parameters get one bit flipped
  sleep:STEP         the process sleeps for good, its heart goes on beating

$FAULT_VALUE is what is put in: nan (default) or inf. $FAULT_COUNT steps in a
row, 1 by default.
"""

import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax import main
from byol_jax.devices import mapped
from byol_jax.run import signals
from byol_jax.training import step as step_lib

KIND, AT = os.environ['FAULT'].split(':')
AT, COUNT = int(AT), int(os.environ.get('FAULT_COUNT', '1'))
VALUE = float(os.environ.get('FAULT_VALUE', 'nan'))
DEVICE = int(os.environ.get('FAULT_DEVICE', '0'))


def is_now(step):
  """Whether this is one of the steps, and the device."""
  return (step >= AT) & (step < AT + COUNT) & (
      jax.lax.axis_index(mapped.AXIS) == DEVICE)


def poison(tree, step):
  """Adds the value to one element of the first array."""
  leaves, structure = jax.tree.flatten(tree)
  first = leaves[0]
  leaves[0] = first.at[(0,) * first.ndim].add(
      jnp.where(is_now(step), VALUE, 0.0))
  return jax.tree.unflatten(structure, leaves)


if KIND == 'grads':
  whole = step_lib._gradients
  def _gradients(state, *arguments):
    new, (grads, metrics) = whole(state, *arguments)
    return new, (poison(grads, state.step), metrics)
  step_lib._gradients = _gradients
elif KIND == 'loss':
  whole_loss = step_lib._loss
  def _loss(trained, state, *arguments):
    total, said = whole_loss(trained, state, *arguments)
    factor = jnp.where(is_now(state.step), VALUE, 1.0)
    return total * factor, said._replace(
        metrics=said.metrics | {'loss': said.metrics['loss'] * factor})
  step_lib._loss = _loss
elif KIND == 'views':
  whole_update = step_lib.update
  def update(state, batch, *, make_views, **options):
    return whole_update(
        state, batch, make_views=lambda step, b: poison(make_views(step, b), step),
        **options)
  step_lib.update = update
else:
  pmap_step = mapped.pmap_step
  FIELDS = {'params': 'online_params', 'ema': 'target_params',
            'momentum': 'opt_state', 'statistics': 'online_state',
            'replica': 'online_params'}

  def damage(state):
    field = FIELDS[KIND]
    leaves, structure = jax.tree.flatten(getattr(state, field))
    names = [jax.tree_util.keystr(path) for path, _ in
             jax.tree_util.tree_flatten_with_path(getattr(state, field))[0]]
    # of the statistics the others are computed from 'hidden' anew
    first = next(k for k, x in enumerate(leaves) if x.dtype == jnp.float32
                 and (KIND != 'statistics' or 'hidden' in names[k]))
    copies = [np.array(s.data) for s in leaves[first].addressable_shards]
    for k, copy in enumerate(copies):
      flat = copy.reshape(-1)
      if KIND != 'replica':
        flat[0] = VALUE
      elif k == len(copies) - 1:
        flat.view(np.uint32)[0] ^= 1
    leaves[first] = jax.make_array_from_single_device_arrays(
        leaves[first].shape, leaves[first].sharding,
        [jax.device_put(copy, s.device) for copy, s in zip(
            copies, leaves[first].addressable_shards)])
    return state._replace(**{field: jax.tree.unflatten(structure, leaves)})

  def damaging(*arguments, **options):
    whole_step = pmap_step(*arguments, **options)
    def call(state, shared, batch, asked):
      step = int(state.step)
      if step == AT:
        if KIND == 'sleep':
          time.sleep(10**6)
        state = damage(state)
      return whole_step(state, shared, batch, asked)
    return call
  mapped.pmap_step = damaging

if __name__ == '__main__':
  signals.for_good()
  main._exit(main.main(sys.argv))
