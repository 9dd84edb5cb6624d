"""What is not finite, or not the same everywhere, stops the run with a reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import mapped
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import health as health_lib

GOOD = {'finite': 1.0, 'loss': 2.0, 'gradient_norm': 1.0, 'learning_rate': 0.1}
BAD = GOOD | {'finite': 0.0, 'loss': np.nan}
LAST = 'the last good checkpoint is of step 40'


def _health(policy='stop', most=3):
  return health_lib.Health(policy, most, lambda: LAST)


def test_stop_reports_terms_rate_and_checkpoint():
  health = _health()
  health.check(1, GOOD)
  with pytest.raises(UserError, match='step 2 is not finite: loss nan, '
                     f'gradient_norm 1, learning_rate 0.1\n{LAST}'):
    health.check(2, BAD)


def test_so_many_in_a_row_may_be_skipped(caplog):
  health = _health('skip')
  for step in range(1, 4):
    health.check(step, BAD)
  health.check(4, GOOD)
  for step in range(5, 8):
    health.check(step, BAD)
  assert health.skipped == 6
  assert 'step 7 is not finite' in caplog.text and '3 in a row' in caplog.text
  with pytest.raises(UserError, match='step 8 and 3 before it'):
    health.check(8, BAD)


def test_the_state_is_looked_at():
  state = {'a': jnp.ones((2, 3)), 'step': jnp.int32(3), 'b': {'w': jnp.ones(4)}}
  _health().check_state(5, state)
  state['b']['w'] = state['b']['w'].at[2].set(jnp.inf)
  with pytest.raises(UserError, match='not finite after step 5, .* not saved: b.w\n'):
    _health().check_state(5, state)


def test_replicas_are_compared():
  state = mapped.replicate({'w': np.arange(6, dtype=np.float32)})
  _health().check_replicas(5, state)
  copies = [np.array(s.data) for s in state['w'].addressable_shards]
  copies[-1].view(np.uint32)[3] ^= 1
  state['w'] = jax.make_array_from_single_device_arrays(
      state['w'].shape, state['w'].sharding,
      [jax.device_put(c, s.device)
       for c, s in zip(copies, state['w'].addressable_shards)])
  with pytest.raises(TransientError, match='same state at step 5(.|\n)*' + LAST):
    _health().check_replicas(5, state)
