"""How fast is the train step, and what does the augmentation cost?

  python benchmarks/step.py --config=configs/fake_data.py
  python benchmarks/step.py --config=configs/fake_data.py \\
      --config.network.name=resnet18 --config.data.image_size=96 \\
      --config.train.batch_size=16 --config.network.precision=float32
  python benchmarks/step.py --config=configs/moco_r50.py --config.data.source=fake

Times the very step that the config trains with, on random images: cropped on
the host and sent as uint8 (as ImageNet is), or with --input=resident living on
the device, which adds the random resized crop. Prints a table and, as its last
line, one JSON object. `augmentation_share` is the time of the augmentation
compiled alone over the time of the whole step: the difference of two long steps
is mostly noise. `peak_memory_bytes` is the accelerator's; on a CPU, which does
not count it, the peak resident size of the process.

`gflop_per_image` is XLA's count of the program before it is compiled;
`roofline_share` is the least time that roofline.py computes for the device over
the measured time, null for a device whose peaks it does not know. A run does not
wait for a step before it begins the next: --in_a_row=5 times five at once.
--parts=step leaves out the step without augmentation, and takes half the time.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import jax
import numpy as np
import roofline

from byol_jax.config import command
from byol_jax.config import kinds
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.config.keys import Key
from byol_jax.devices import compiler
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.training import batch as batch_lib
from byol_jax.training import build

_WARM_UP_STEPS = 3
_FLAGS = {
    'steps': Key(10, kinds.whole(above=0), 'steps to time of each kind'),
    'input': Key('streamed', kinds.choice('streamed', 'resident'),
                 'where images come from'),
    'in_a_row': Key(1, kinds.whole(above=0), 'steps to begin before one waits'),
    'parts': Key('all', kinds.choice('all', 'step'), 'what is timed')}


def _batch(config, spec, is_resident: bool, rng: np.random.RandomState):
  """Makes one batch of every device, and what lives there, of random numbers."""
  size, train = spec.image_size, config.train
  grid = grid_lib.local_example_grid(train.batch_size, train.accumulation_steps)
  shapes = (batch_lib.resident(grid.shape) if is_resident else
            batch_lib.streamed(grid.shape, len(spec.recipes), size, True,
                               spec.jigsaw.size if spec.jigsaw else 0))
  of_shared = batch_lib.shared(
      (train.batch_size, size, size, 3) if is_resident else None, True)
  def draw(name, shape):
    high = config.data.fake_classes if name == 'labels' else 256
    return rng.randint(0, high, shape.shape).astype(shape.dtype)
  batch, shared = ({name: draw(name, shape) for name, shape in of.items()}
                   for of in (shapes, of_shared))
  batch |= dict.fromkeys(batch.keys() & {'examples', 'rows'}, grid)
  shared['key'] = jax.random.PRNGKey(config.seed)
  return mapped.shard(batch), mapped.replicate(shared)


def _seconds(run, times: int) -> np.ndarray:
  """Wall time of each call of run(), which blocks."""
  seconds = []
  for _ in range(times):
    start = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - start)
  return np.array(seconds)


def measure(config, is_resident: bool, steps: int, in_a_row: int = 1,
            parts: str = 'all') -> dict:
  """Times the step.

  Args:
    config: resolved.
    is_resident: whether the images live on the device.
    steps: how many times of each kind.
    in_a_row: how many steps are begun before one waits.
    parts: 'all', or 'step' for the whole step alone.

  Returns:
    The figures of the last line.
  """
  program = build.build(config, config.data.fake_images, config.data.fake_classes)
  batch, shared = _batch(config, program.spec, is_resident, np.random.RandomState(0))

  def timed(config):
    built = build.build(config, config.data.fake_images, config.data.fake_classes)
    update = mapped.pmap_update(built.update)
    state = [mapped.replicate(built.init())]
    lowered = update.lower(state[0], shared, batch)
    compiled = lowered.compile()  # which the calls below find again
    def run():
      for _ in range(in_a_row):
        state[0], metrics = update(state[0], shared, batch)
      jax.block_until_ready((state[0], metrics))
    _seconds(run, _WARM_UP_STEPS)
    return run, roofline.counted(
        lowered.cost_analysis(), compiled.cost_analysis(), compiled.as_text())

  device = jax.local_devices()[0]
  full, (flops, moved) = timed(config)
  if config.train.accumulation_steps > 1:  # a loop's body is counted once
    flops = moved = 0
  memory = (device.memory_stats() or {}).get('peak_bytes_in_use') or (
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
  if parts == 'all':
    plain, _ = timed(_without_augmentation(config))
    # alternating: the machine's speed drifts
    seconds, without = np.median([(_seconds(full, 1)[0], _seconds(plain, 1)[0])
                                  for _ in range(steps)], axis=0) / in_a_row
    augmentation = (_augmentation_seconds(program, shared, batch, steps)
                    * config.train.accumulation_steps)
  else:
    seconds = np.median(_seconds(full, steps)) / in_a_row
  seconds = float(seconds)
  least = roofline.seconds(device.device_kind, config.network.precision, flops, moved)
  figures = {
      'method': config.method.name,
      'images_per_second': config.train.batch_size / seconds,
      'seconds_per_step': seconds,
      'gflop_per_image':
          flops * jax.device_count() / config.train.batch_size / 1e9 or None,
      'gigabytes_moved': moved / 1e9 or None,
      'roofline_seconds': least,
      'roofline_share': least and least / seconds,
      'peak_memory_bytes': memory,
      'device': f'{jax.device_count()} x {device.device_kind}',
      'steps_timed': steps * in_a_row,
  }
  return figures | ({} if parts == 'step' else {
      'seconds_per_step_without_augmentation': float(without),
      'augmentation_seconds': augmentation,
      'augmentation_share': augmentation / seconds})


def _without_augmentation(config):
  """Returns a copy of a config whose views are crops, and no more."""
  config = config.copy_and_resolve_references().unlock()
  for view in (config.augment.view1, config.augment.view2):
    for operation in ('flip', 'jitter', 'grayscale', 'blur', 'solarize'):
      view[operation] = 0.0
    view.randaugment = 0
  return config


def _augmentation_seconds(program, shared, batch, times: int) -> float:
  """Times the views of one device's first sub-batch, compiled alone."""
  one_device = jax.tree.map(lambda x: x[0, 0], jax.device_get(batch))
  augment = jax.jit(lambda shared, batch: program.make_views(shared, 0, batch))
  local = jax.device_put((jax.device_get(shared), one_device),
                         jax.local_devices()[0])
  def run():
    jax.block_until_ready(augment(*local))
  _seconds(run, _WARM_UP_STEPS)
  return float(np.median(_seconds(run, times)))


def main(argv) -> int:
  compiler.set_compiler_flags()
  try:
    config, _, values = command.parse(argv, command.FLAGS | _FLAGS)
    config = schedule.resolve(
        config, max(config.data.fake_images, config.train.batch_size),
        jax.default_backend())
    rules.check_devices(config.train.batch_size, config.train.accumulation_steps,
                        jax.device_count(), config.network.bn_groups)
  except UserError as error:
    print(f'benchmarks/step.py: {error}', file=sys.stderr)
    return 2
  figures = measure(config, values['input'] == 'resident', values['steps'],
                    values['in_a_row'], values['parts'])
  network = config.network
  print(f'{config.method.name}, {network.name} x{network.width:g}, '
        f'{config.data.image_size} px, batch {config.train.batch_size}, '
        f'{network.precision}, {values["input"]} input, jax {jax.__version__}')
  for name, value in figures.items():
    if isinstance(value, float):
      value = f'{value:.4g}'
    print(f'  {name:<40}{"-" if value is None else value}')
  print(json.dumps(figures))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv))
