"""What saving costs the training.

  python benchmarks/checkpoint.py [--config=configs/imagenet_r50.py] [--folder=DIR]

Makes the state of the config's network, saves it as a run does (with the checks
before it), restores it, and compares the time for which the steps wait with a
step of `--step-ms`: 92 ms is the paper's, ResNet-50 at batch 4096 on 512 TPU v3
cores (8 hours for 312,784 steps), the shortest that a save has to stand against.
"""

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time

import jax
import numpy as np

from byol_jax.config import schedule
from byol_jax.devices import mapped
from byol_jax.run import checkpoint
from byol_jax.run import health as health_lib
from byol_jax.training import build


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--config', default='configs/imagenet_r50.py')
  parser.add_argument('--folder', help='where to save; a temporary one')
  parser.add_argument('--saves', type=int, default=5)
  parser.add_argument('--step-ms', type=float, default=92.0)
  arguments = parser.parse_args()

  spec = importlib.util.spec_from_file_location('config', arguments.config)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = schedule.resolve(module.get_config(), 1281167, jax.default_backend())
  program = build.build(config, 1281167, 1000)
  rng = np.random.default_rng(0)
  # random numbers, as weights are: zeros would be compressed away
  state = jax.tree.map(
      lambda x: (rng.standard_normal(x.shape, np.float32)
                 if x.dtype == np.float32 else np.zeros(x.shape, x.dtype)),
      jax.eval_shape(program.init))
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  state = mapped.replicate(state)
  health = health_lib.Health('stop', 0, lambda: '')
  health.check_state(0, state)  # compiles
  health.check_replicas(0, state)

  with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
    checkpoints = checkpoint.Checkpoints(os.path.join(folder, 'c'), 2)
    checks, blocked, background = [], [], []
    for step in range(1, arguments.saves + 1):
      start = time.perf_counter()
      health.check_state(step, state)
      health.check_replicas(step, state)
      checked = time.perf_counter()
      checkpoints.save(step, state, {'config': config.to_dict()})
      saved = time.perf_counter()
      checkpoints.wait()
      checks.append(checked - start)
      blocked.append(saved - start)
      background.append(time.perf_counter() - saved)
    start = time.perf_counter()
    _, restored = checkpoints.restore_latest(state)
    restoring = time.perf_counter() - start
    same = all(np.asarray(a).tobytes() == b.tobytes() for a, b in zip(
        jax.tree.leaves(state), jax.tree.leaves(restored)))
    checkpoints.close()
  assert same
  waits = statistics.median(blocked)
  every = config.checkpoint.every_steps
  result = {
      'state_mib': round(size / 2**20, 1),
      'steps_wait_s': round(waits, 3),
      'of_it_checks_s': round(statistics.median(checks), 3),
      'background_s': round(statistics.median(background), 2),
      'restore_and_verify_s': round(restoring, 2),
      'every_steps': every, 'step_ms': arguments.step_ms,
      'cost_percent': round(100 * waits / (every * arguments.step_ms / 1e3), 2),
  }
  for name, value in result.items():
    print(f'{name:<22}{value}')
  print(json.dumps(result))


if __name__ == '__main__':
  main()
