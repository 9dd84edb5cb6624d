"""The pretraining run, read top to bottom. The maths is in step.py."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
import json
import os
import signal
import threading
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax import checkpoint
from byol_jax import config as config_lib
from byol_jax import logs
from byol_jax import losses
from byol_jax import parallel
from byol_jax import program as program_lib
from byol_jax.data import pipeline
from byol_jax.data import resident
from byol_jax.data import sources
from byol_jax.data.sources import Images
from byol_jax.errors import UserError
from byol_jax.evaluation import encode
from byol_jax.evaluation import monitor
from byol_jax.evaluation import report

# Keys that change what is written or how fast, not what is learned.
_FREE_KEYS = ('log.', 'checkpoint.', 'evaluation.', 'data.threads',
              'data.prefetch', 'data.max_bad_images', 'prepare.', 'task')


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Pretrains from where the workdir stands until the run is finished.

  Args:
    config: a valid config (`config.validate`).
    workdir: the run's directory; made if it is missing.

  Raises:
    UserError: whatever the user can mend.
  """
  started = time.time()
  console = logs.console

  # ---------------------------------------------------------------- setup
  train_config = config.train
  config_lib.check_devices(train_config.batch_size,
                           train_config.accumulation_steps, jax.device_count())
  console.info(
      'byol_jax %s, jax %s, process %d of %d: %d local of %d %s devices; batch '
      '%d, %d a device', __version__, jax.__version__, jax.process_index(),
      jax.process_count(), jax.local_device_count(), jax.device_count(),
      jax.devices()[0].platform, train_config.batch_size,
      train_config.batch_size // jax.device_count())

  # ----------------------------------------------------------------- data
  train, test = open_data(config)
  num_images = encode.size(train)
  config = config_lib.resolve(config, num_images)
  total_steps = config_lib.total_steps(config, num_images)
  batch_size = config.train.batch_size
  labelled = train.labels is not None
  num_classes = report.num_classes(train)
  console.info(
      '%s: %d training images%s, %s', train.name, num_images,
      f' of {num_classes} classes' if labelled else ', no labels: no probe, no '
      'k-NN', 'on the device' if isinstance(train, Images) else 'streamed')
  console.info(
      'schedule: %g epochs = %d steps, %g of warm-up, base learning rate %g, '
      'weight decay %g, tau from %g', config.train.epochs, total_steps,
      config.train.warmup_epochs, config.train.base_learning_rate,
      config.train.weight_decay, config.train.tau_base)
  _claim_workdir(workdir, config,
                 {'images': num_images, 'classes': num_classes})

  # ---------------------------------------------------------------- state
  program = program_lib.build(config, num_images, num_classes,
                              is_resident=isinstance(train, Images))
  update = parallel.pmap_update(program.update)
  shared = {'key': jax.random.PRNGKey(config.seed)}
  if isinstance(train, Images):
    shared['images'] = train.images
    if labelled:
      shared['labels'] = train.labels
  shared = parallel.replicate(shared)

  # --------------------------------------------------------------- resume
  checkpoints = checkpoint.Checkpoints(
      os.path.join(workdir, 'checkpoints'), config.checkpoint.keep)
  start_step = checkpoints.latest() or 0
  if start_step:
    console.info('resuming %s at step %d', workdir, start_step)
    state = checkpoints.restore(start_step, jax.eval_shape(program.init))
  else:
    state = program.init()
  state = parallel.replicate(state)
  results_path = os.path.join(workdir, 'results.json')
  if start_step == total_steps and (
      os.path.exists(results_path) or not config.evaluation.final):
    console.info('this run is finished: %s', results_path)
    checkpoints.close()
    return

  # ----------------------------------------------------------------- loop
  # Order matters: the state is restored before the feed starts at its step.
  grid = parallel.local_example_grid(batch_size, config.train.accumulation_steps)
  encoder = encode.Encoder(
      program.unmapped_model, program.eval_spec,
      center_share=config.data.center_share,
      batch_size=config.evaluation.batch_size, threads=config.data.threads)
  measure = _make_monitor(config, program, encoder, shared, train, test)
  batches = parallel.prefetch(
      host_batches(config, train, start_step, total_steps - start_step, grid))
  run_log = logs.RunLog(workdir, start_step,
                        tensorboard=config.log.tensorboard)
  evaluate_every = max(1, round(
      config.evaluation.every_epochs * num_images / batch_size))
  watch, metrics, in_flight = None, None, []
  meta = {'config': config.to_dict(), 'version': __version__}
  training_started = time.time()
  console.info('compiling the train step ...')

  with contextlib.ExitStack() as stack:  # closed however the loop ends
    for opened in (checkpoints, run_log, batches):
      stack.callback(opened.close)
    leave = stack.enter_context(_leaving_on_signals())
    for step in range(start_step + 1, total_steps + 1):  # step: updates done
      try:
        if watch is None:
          batch = next(batches)
        else:
          with watch.waiting(lambda: not metrics['loss'].is_ready()):
            batch = next(batches)
      except UserError:  # too many bad images: what was learned is kept
        if metrics is not None:
          _require_finite(metrics, step - 1)
          checkpoints.save(step - 1, state, meta)
        raise
      state, metrics = update(state, shared, batch)
      in_flight.append(metrics['loss'])
      if len(in_flight) > 2:  # bounded: run-ahead would hide a stuck device
        in_flight.pop(0).block_until_ready()
      if watch is None:
        metrics['loss'].block_until_ready()
        console.info('compiled and first step in %.0f s',
                     time.time() - training_started)
        watch = logs.Stopwatch(step)

      last = step == total_steps
      leaving = leave.is_set()
      evaluating = step % evaluate_every == 0 or last
      logging = step % config.log.every_steps == 0 or evaluating or leaving
      saving = step % config.checkpoint.every_steps == 0 or last or leaving
      if logging or saving:
        # ends the step, too, before the watch pauses: its time counts
        _require_finite(metrics, step)
      if logging:
        values = {name: float(value) for name, value in metrics.items()}
        values |= watch.lap(step, batch_size=batch_size, total_steps=total_steps)
        values['epoch'] = step * batch_size / num_images
      if evaluating:
        with watch.paused():
          figures, warning = measure(state)
          values |= figures
          console.info('step %d  %s', step, '  '.join(
              f'{name} {value:.3g}' for name, value in figures.items()))
          if warning:
            console.warning('WARNING: %s', warning)
      if logging:
        run_log.write(step, values)
        console.info(logs.progress_line(
            step=step, total_steps=total_steps, loss=values['loss'],
            loss_range=losses.LOSS_RANGE, learning_rate=values['learning_rate'],
            tau=values['tau'], probe_top1=values.get('probe_top1'),
            images_per_second=values['images_per_second'],
            seconds_left=values['seconds_left'], data_wait=values['data_wait']))
      if saving:
        with watch.paused():
          checkpoints.save(step, state, meta)
      if leaving and not last:
        console.info('saved step %d and left; the same command goes on from here',
                     step)
        return

  # --------------------------------------------------------------- finish
  results = {'run': {
      'steps': total_steps, 'epochs': config.train.epochs,
      'training_seconds_this_session': round(time.time() - training_started, 1),
      'seed': config.seed, 'version': __version__, 'jax': jax.__version__,
      'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}'}}
  console.info('trained in %s, since %s of start-up',
               logs.duration(time.time() - training_started),
               logs.duration(training_started - started))
  if config.evaluation.final and labelled:
    untrained = program.init()
    results |= report.final(
        encoder, (state.online_params, state.online_state),
        parallel.replicate((untrained.online_params, untrained.online_state)),
        report.Split(train, test, most=config.evaluation.final_images,
                     seed=config.seed),
        k=config.evaluation.knn_k, temperature=config.evaluation.knn_temperature,
        image_size=program.eval_spec.image_size, seed=config.seed)
    console.info('\n%s\n(%s)', logs.results_table(results),
                 results['protocol']['images'])
  elif config.evaluation.final:
    results['protocol'] = {'images': 'no labels: nothing to measure accuracy on'}
  left_out = {}
  for part in (train, test):
    if part is not None and part.bad:
      console.warning('WARNING: %s', part.bad.summary())
      left_out |= part.bad.report()
  if left_out:
    results['left_out'] = left_out
  if jax.process_index() == 0:
    logs.write_json(results_path, results)
  console.info('results: %s', results_path)


def open_data(config: ml_collections.ConfigDict):
  """The training part and, if there is one, the test part."""
  data = config.data
  def open_split(split, seed, class_names=None):
    opened = sources.open_source(
        data.source, path=data.path or None, split=split,
        test_path=data.test_path or None, class_names=class_names,
        max_bad=data.max_bad_images, tfds_name=data.tfds_name or None,
        image_size=data.image_size, num_images=data.fake_images,
        num_classes=data.fake_classes, seed=seed)
    if opened is None:
      return None
    return resident.make_resident(
        opened, data.resident, data.resident_limit_mib << 20, data.image_size,
        data.threads)
  train = open_split(data.train_split, config.seed)
  if train is None:
    raise UserError(f'config key data.train_split is {data.train_split!r}: the '
                    'data set has no such part')
  test = None
  if data.test_split and train.labels is not None:
    test = open_split(data.test_split, config.seed + 1, train.class_names)
    if test is not None and test.labels is None:
      test = None
    classes = report.num_classes(train)
    if test is not None and test.labels.max() >= classes:
      raise UserError(
          f'{test.name} has a label {test.labels.max()}, the training part has 0 '
          f"to {classes - 1}: mend the labels or set --config.data.test_split=''")
  return train, test


def host_batches(config: ml_collections.ConfigDict, data: encode.Data,
                 start_step: int, num_steps: int,
                 grid: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
  """This host's batches; leaves lead like the grid of example indices."""
  batch_size = config.train.batch_size
  if isinstance(data, Images):
    yield from resident.train_batches(
        config.seed, start_step, num_steps, len(data.images), batch_size, grid)
    return
  for batch in pipeline.train_batches(
      data, seed=config.seed, start_step=start_step, num_steps=num_steps,
      batch_size=batch_size, rows_of_host=grid.reshape(-1),
      image_size=config.data.image_size, area=tuple(config.data.crop_area),
      aspect=tuple(config.data.crop_aspect), threads=config.data.threads,
      prefetch=config.data.prefetch):
    batch = {name: x.reshape(*grid.shape, *x.shape[1:])
             for name, x in batch.items()}
    yield batch | {'examples': grid}


def _make_monitor(config, program, encoder, shared, train, test):
  """Measures on the first images of epoch 0, in the views of step 0."""
  size = config.evaluation.batch_size
  examples = min(config.evaluation.examples, encode.size(train))
  monitored = config.copy_and_resolve_references().unlock()
  monitored.train.batch_size = examples

  def batches():
    # encoded images are decoded again each time: they would fill the memory
    chunks = np.array_split(np.arange(examples, dtype=np.int32),
                            -(-examples // size))
    return itertools.chain.from_iterable(
        host_batches(monitored, train, 0, 1, chunk) for chunk in chunks)

  split = None
  if train.labels is not None:
    split = report.Split(train, test, most=config.evaluation.examples,
                         seed=config.seed)
  return monitor.Monitor(
      program.unmapped_model, encoder, shared, program.make_views, batches,
      split,
      k=config.evaluation.knn_k, temperature=config.evaluation.knn_temperature,
      seed=config.seed)


def _claim_workdir(workdir: str, config: ml_collections.ConfigDict,
                   found: dict[str, int]) -> None:
  """Makes the workdir, or checks that it holds this very run.

  Args:
    workdir: a local directory.
    config: resolved.
    found: what the data turned out to be; another number of images is another
      order of images, and so another run.
  """
  if '://' in workdir:
    raise UserError(f'--workdir={workdir}: buckets are not supported yet, name '
                    'a local or mounted directory')
  path = os.path.join(workdir, 'config.json')
  whole = config.to_dict() | {'data_found': found}
  new: dict[str, Any] = config_lib.flatten(whole)
  try:
    if os.path.exists(path):
      with open(path, encoding='utf-8') as f:
        old = config_lib.flatten(json.load(f))
      differ = [key for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
                and not key.startswith(_FREE_KEYS)]
      changed = [key for key in differ if key.startswith('data_found.')]
      if changed:
        raise UserError(
            f'the data of workdir {workdir} has changed: ' + ', '.join(
                f'{old.get(key)} {key.split(".")[1]} there, {new.get(key)} now'
                for key in changed)
            + '\nname another --workdir, or restore the data')
      if differ:
        shown = ', '.join(f'{key} ({old.get(key)!r} there, {new.get(key)!r} now)'
                          for key in differ[:4])
        raise UserError(
            f'workdir {workdir} holds a run with another config: {shown}'
            f'{" ..." if len(differ) > 4 else ""}\nname another --workdir, or '
            'use the same values')
    os.makedirs(workdir, exist_ok=True)
    if jax.process_index() == 0:
      logs.write_json(path, whole)
  except OSError as error:
    raise UserError(f'cannot write to workdir {workdir}: '
                    f'{error.strerror or error}; set --workdir') from error
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}): name another --workdir'
                    ) from error


@contextlib.contextmanager
def _leaving_on_signals() -> Iterator[threading.Event]:
  """An event that SIGTERM and SIGINT set; a second signal ends at once."""
  leave = threading.Event()
  before = {}
  def handle(number, frame):
    del frame
    leave.set()
    signal.signal(number, signal.SIG_DFL)
  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGTERM, signal.SIGINT):
      before[number] = signal.signal(number, handle)
  try:
    yield leave
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _require_finite(metrics: Any, step: int) -> None:
  """Stops a run that has diverged; nothing of it is saved."""
  for name in ('loss', 'gradient_norm'):
    value = float(metrics[name])
    if not np.isfinite(value):
      raise UserError(
          f'the {name} is {value} at step {step}: the run has diverged, and '
          'nothing of it was saved since\nlower '
          '--config.train.base_learning_rate or lengthen '
          '--config.train.warmup_epochs, with a new --workdir')
