"""The pretraining run, read top to bottom. The maths is in step.py."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
import logging
import math
import os
import threading
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax.config import keys as keys_lib
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.data import fingerprint
from byol_jax.data.feed import batches as batches_lib
from byol_jax.data.images import large
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import encode
from byol_jax.evaluation import final
from byol_jax.evaluation import monitor
from byol_jax.evaluation import splits
from byol_jax.methods import losses
from byol_jax.run import bad_images
from byol_jax.run import checkpoint
from byol_jax.run import console as console_lib
from byol_jax.run import health as health_lib
from byol_jax.run import metrics as metrics_lib
from byol_jax.run import saving
from byol_jax.run import signals
from byol_jax.run import stopwatch
from byol_jax.run import watchdog as watchdog_lib
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import data as data_lib
from byol_jax.training import build
from byol_jax.weights import init_from

_console = logging.getLogger('byol_jax')

# Keys that change what is written or how fast, not what is learned.
_FREE_KEYS = ('log.', 'checkpoint.', 'evaluation.', 'safety.', 'data.threads',
              'data.path', 'data.test_path', 'data.prefetch',
              'data.max_bad_images', 'prepare.', 'preflight.', 'task')
_LEFT = 'saved step %d and left; the same command goes on from here'
_SMALL = 50 << 20  # bytes that any run writes beside its checkpoints


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Pretrains from where the workdir stands until the run is finished.

  Args:
    config: a valid config (`config.validate`).
    workdir: the run's directory; made if it is missing.

  Raises:
    UserError: whatever the user can mend.
    TransientError: a machine or a disk failed.
  """
  with contextlib.ExitStack() as stack:  # let go of, however the run ends
    _run(config, workdir, stack)


def _run(config: ml_collections.ConfigDict, workdir: str,
         stack: contextlib.ExitStack) -> None:
  """The run; what it opens goes onto the stack."""
  # ---------------------------------------------------------------- setup
  leaving = stack.enter_context(signals.on_signals())
  alone = jax.process_count() == 1
  if not alone:
    leaving.now = None  # together, after the first steps
  started = time.time()
  console = _console
  is_first = jax.process_index() == 0
  batch_size = config.train.batch_size
  rules.check_devices(batch_size, config.train.accumulation_steps,
                      jax.device_count())
  each = batch_size // jax.device_count()
  console.log(
      console_lib.EVERY_PROCESS,
      'byol_jax %s, jax %s, process %d of %d: %d local of %d %s devices; batch '
      '%d, %d a process, %d a device', __version__, jax.__version__,
      jax.process_index(), jax.process_count(), jax.local_device_count(),
      jax.device_count(), jax.devices()[0].platform, batch_size,
      each * jax.local_device_count(), each)

  # ----------------------------------------------------------------- data
  with hosts.together('data'):
    train, test = data_lib.open_data(config)
    num_images = table.size(train)
    config = schedule.resolve(config, num_images)
  total_steps = schedule.total_steps(config, num_images)
  labelled = train.labels is not None
  num_classes = table.num_classes(train)
  found = {'images': num_images, 'classes': num_classes,
           'fingerprint': fingerprint.fingerprint(train)}
  hosts.agree({'code': hosts.code_digest(), 'jax': jax.__version__,
               'config': config.to_dict(), 'data': found})
  console.info(
      '%s: %d training images%s, %s%s', train.name, num_images,
      f' of {table.described_classes(train)}' if labelled else ', no labels: no '
      'probe, no k-NN', 'on the device' if isinstance(train, Images) else 'streamed',
      f'; {table.size(test)} to test' if test is not None else
      '; no test part' if labelled else '')
  console.info(
      'schedule: %g epochs = %d steps, %g of warm-up, base learning rate %g, '
      'weight decay %g, tau from %g', config.train.epochs, total_steps,
      config.train.warmup_epochs, config.train.base_learning_rate,
      config.train.weight_decay,
      config.train.tau_base ** schedule.tau_power(config))

  # ---------------------------------------------------------------- state
  program = build.build(config, num_images, num_classes,
                        is_resident=isinstance(train, Images))
  state_spec = jax.eval_shape(program.init)
  with hosts.together('workdir'):
    folder = stack.enter_context(
        workdir_lib.opened(workdir, is_first=is_first))
    if is_first:
      workdir_lib.compare(folder, workdir, config.to_dict(), found, _FREE_KEYS,
                          files_lib.flatten(keys_lib.base()))

  # --------------------------------------------------------------- resume
  # Order matters: what is saved is compared with this run before anything is
  # compiled, and the state is restored before the feed starts at its step.
  directory = os.path.join(workdir, 'checkpoints')
  meta = {'config': config.to_dict(), 'data_found': found,
          'version': __version__, 'jax': jax.__version__}
  for turn in (True, False):  # process 0 sets aside what cannot be opened
    with hosts.together('checkpoints'):
      if is_first == turn:
        checkpoints = checkpoint.Checkpoints(
            directory, config.checkpoint.keep,
            keep_every=config.checkpoint.keep_every)
        stack.callback(checkpoints.close)
  start_step, state = _restore(checkpoints, state_spec, meta, workdir)
  results_path = os.path.join(folder, 'results.json')
  if hosts.from_first(start_step == total_steps and (
      os.path.exists(results_path) or not config.evaluation.final)):
    console.info('this run is finished: %s', os.path.join(workdir, 'results.json'))
    return
  with hosts.together('workdir'):
    if is_first:
      size = sum(math.prod(x.shape) * x.dtype.itemsize
                 for x in jax.tree.leaves(state_spec))
      # one is written before the one that it replaces is removed
      workdir_lib.check_space(workdir, _SMALL + (1 if start_step else 2) * size)
      workdir_lib.record(folder, config.to_dict(), found)
  if start_step:
    console.info('resuming %s at step %d', workdir, start_step)
  else:
    state = program.init()
    if config.init_from:
      with hosts.together('init_from'):
        state = init_from.initialize(state, config.init_from)
  if isinstance(train, Encoded) and start_step:
    with hosts.together('bad images'):  # those of earlier sessions count, too
      train.bad.learn(checkpoints.meta(start_step).get('bad_images', {}))
  state = mapped.replicate(state)
  shared = {'key': jax.random.PRNGKey(config.seed)}
  if isinstance(train, Images):
    shared['images'] = train.images
    if labelled:
      shared['labels'] = train.labels
  shared = mapped.replicate(shared)

  # ----------------------------------------------------------------- loop
  grid = grid_lib.local_example_grid(batch_size, config.train.accumulation_steps)
  encoder = encode.Encoder(
      program.unmapped_model, program.eval_spec,
      center_share=config.data.center_share,
      batch_size=config.evaluation.batch_size, threads=config.data.threads)
  evaluate_every = max(1, round(
      config.evaluation.every_epochs * num_images / batch_size))
  neighbours = _make_neighbours(config, encoder, train)
  if neighbours:
    console.info('k-NN every %d steps: %s', evaluate_every, neighbours.description)
  measure = _make_monitor(config, program, shared, train, neighbours)
  update = mapped.pmap_update(program.update)
  asks = [mapped.shard(np.full(jax.local_device_count(), asked, np.float32))
          for asked in (False, True)]
  saver = saving.Saver(checkpoints, directory)
  health = health_lib.Health(config.safety.on_nonfinite,
                             config.safety.max_skipped, saver.last_good)
  in_flight: list[tuple[int, Any]] = []  # steps whose metrics nobody looked at
  watch, metrics = None, None
  streamed = isinstance(train, Encoded)
  if streamed:
    train.bad.together = not alone
    train = train._replace(read=large.watched(train.read, config.data.image_size))
  known_bad = 0
  leave_at = math.inf  # the same step on every process
  measuring = 0.0      # seconds

  def look(most_in_flight: int) -> None:
    """Looks at finished steps."""
    nonlocal leave_at
    while len(in_flight) > most_in_flight:
      step, metrics = in_flight.pop(0)
      if bool(metrics['leaving']):
        # every process has looked at a step when it is two steps on
        leave_at = min(leave_at, step + 2)
      health.check(step, metrics)

  def meta_now() -> dict[str, Any]:
    if not streamed:
      return meta
    return meta | {'bad_images': {
        str(index): why for index, why in train.bad.reasons().items()}}

  def save_now(step: int) -> None:
    """Keeps what was learned until `step`, the last one that was begun."""
    look(0)
    health.check_state(step, state)
    saver.save_last(step, state, meta_now())

  @contextlib.contextmanager
  def kept(step: int) -> Iterator[None]:
    """Lets bad images or storage end the run with what was learned until `step`."""
    try:
      yield
    except (UserError, TransientError):
      if watch is not None:  # there is something to keep
        save_now(step)
      raise

  def meanwhile() -> bool:
    """While input is waited for: whether to leave without it.

    One of several processes cannot: the others are at its step. Where its storage
    hangs for good, the watchdogs end them all, and the last checkpoint counts.
    """
    if watch is not None:
      watch.look()
    return alone and leaving.is_asked()

  stop = threading.Event()
  batches = prefetch_lib.prefetch(
      _host_batches(config, train, start_step, total_steps - start_step, grid,
                    stop), config.data.prefetch, meanwhile, stop)
  run_log = metrics_lib.RunLog(folder, start_step, tensorboard=config.log.tensorboard)
  training_started = time.time()
  console.info('compiling the train step ...')

  with contextlib.ExitStack() as loop:
    loop.callback(run_log.close)
    loop.callback(batches.close)
    watchdog = loop.enter_context(watchdog_lib.Watchdog(
        config.safety.step_timeout, os.path.join(
            folder, f'stacks-{jax.process_index()}.txt')))
    for step in range(start_step + 1, total_steps + 1):  # step: updates done
      with kept(step - 1):
        if watch is None:
          batch = next(batches)
        else:
          with watch.waiting(lambda: not metrics['loss'].is_ready()):
            batch = next(batches)
      if batch is None:
        save_now(step - 1)
        console.info(_LEFT, step - 1)
        return
      state, metrics = update(
          state, shared, batch | {'asked_to_leave': asks[leaving.is_asked()]})
      in_flight.append((step, metrics))
      look(2)  # bounded: run-ahead would hide a stuck device
      leave = leaving.is_asked() if alone else step >= leave_at
      if watch is None:
        metrics['loss'].block_until_ready()
        console.info('compiled and first step in %.0f s',
                     time.time() - training_started)
        watch = stopwatch.Stopwatch(step)
        leaving.now = None  # from here on there is something to save
      watchdog.beat(f'the step after {step}')

      last = step == total_steps
      evaluating = (step % evaluate_every == 0 and not leave) or last
      logging = step % config.log.every_steps == 0 or evaluating or leave
      saving_now = step % config.checkpoint.every_steps == 0 or last or leave
      retrying = not saving_now and saver.wants_retry()
      if logging or saving_now or retrying:
        # ends the step, too, before the watch pauses: its time counts
        look(0)
        health.check_state(step, state)  # the loss may not show it
      if (logging or saving_now) and streamed and not alone:
        with kept(step):
          known_bad = _share_bad(train, known_bad)
      if logging:
        values = {name: float(value) for name, value in metrics.items()
                  if name not in ('finite', 'leaving')}
        values |= watch.lap(step, batch_size=batch_size, total_steps=total_steps)
        values['epoch'] = step * batch_size / num_images
        values['skipped_steps'] = health.skipped
      if evaluating:
        before = time.time()
        with kept(step), watch.paused(), watchdog.paused():
          figures, warning = measure(state)
        measuring += time.time() - before
        values |= figures
        console.info('step %d  %s', step, '  '.join(
            f'{name} {value:.3g}' for name, value in figures.items()))
        if warning:
          console.warning('WARNING: %s', warning)
      if logging:
        run_log.write(step, values)
        console.info(console_lib.progress_line(
            step=step, total_steps=total_steps, loss=values['loss'],
            loss_range=losses.LOSS_RANGE, learning_rate=values['learning_rate'],
            tau=values['tau'], probe_top1=values.get('probe_top1'),
            images_per_second=values['images_per_second'],
            seconds_left=values['seconds_left'], data_wait=values['data_wait']))
      if saving_now or retrying:
        with watch.paused():
          if saving_now:
            health.check_replicas(step, state)
          save = saver.save_last if last or leave else saver.save
          save(step, state, meta_now())
      if leave and not last:
        console.info(_LEFT, step)
        return

  # --------------------------------------------------------------- finish
  if leaving.is_asked() if alone else leave_at < math.inf:
    console.info('trained, saved and left; the same command measures the result')
    return
  leaving.now = signals.leave  # all is saved
  trained = time.time() - training_started
  results = {'run': {
      'steps': total_steps, 'epochs': config.train.epochs,
      'training_seconds_this_session': round(trained, 1),
      'measuring_seconds': round(measuring, 1),  # of those
      'seed': config.seed, 'version': __version__, 'jax': jax.__version__,
      'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}'}}
  console.info('trained in %s, of which %.1f s (%.1f %%) measuring; start-up %s',
               console_lib.duration(trained), measuring, 100 * measuring / max(trained, 1e-3),
               console_lib.duration(training_started - started))
  if config.evaluation.final and labelled:
    untrained = program.init()
    results |= final.final(
        encoder, (state.online_params, state.online_state),
        mapped.replicate((untrained.online_params, untrained.online_state)),
        splits.Split(train, test, most=config.evaluation.final_images,
                     seed=config.seed),
        k=config.evaluation.knn_k, temperature=config.evaluation.knn_temperature,
        image_size=program.eval_spec.image_size, seed=config.seed)
    if neighbours:
      results['protocol']['during_training'] = (
          f'knn_top1 of metrics.jsonl: {neighbours.description}')
    console.info('\n%s\n(%s)', figures.results_table(results),
                 results['protocol']['images'])
  elif config.evaluation.final:
    results['protocol'] = {'images': 'no labels: nothing to measure accuracy on'}
  left_out = {}
  for name, part in (('train', train), ('test', test)):
    if part is not None:
      bad_images.share_bad(part)  # also those met since the last log line
    if part is not None and part.bad:
      console.warning('WARNING: %s', part.bad.summary())
      left_out[name] = part.bad.report()
  if left_out:
    results['left_out'] = left_out
  if is_first:
    try:
      files_lib.write_json(results_path, results)
    except OSError as error:
      raise TransientError(f'cannot write {results_path} ({error}): make room, '
                           'and the same command measures again') from error
  console.info('results: %s', os.path.join(workdir, 'results.json'))


def _restore(checkpoints: checkpoint.Checkpoints, like: Any,
             meta: dict[str, Any], workdir: str) -> tuple[int, Any]:
  """(step, state) of the checkpoint that all processes take; (0, None) for none.

  Process 0 chooses; the others must be able to read the same.
  """
  step, state = 0, None
  with hosts.together('checkpoints'):
    if jax.process_index() == 0:
      step, state = checkpoints.restore_latest(like) or (0, None)
      if step:
        saved = checkpoints.meta(step)
        workdir_lib.require_same(
            *({key: m[key] for key in ('data_found',)} | m['config']
              for m in (saved, meta)),
            f'the checkpoint of step {step} in workdir {workdir}', _FREE_KEYS,
            files_lib.flatten(keys_lib.base()))
  step = hosts.from_first(step)
  digest = ''
  with hosts.together('checkpoints'):
    if step:
      try:
        if jax.process_index():
          state = checkpoints.restore(step, like)
        digest = checkpoints.digest(step)
      except checkpoint.DamagedError as error:
        raise UserError(f'cannot read checkpoint {step} of workdir {workdir} as '
                        f'process 0 can ({error})') from error
  hosts.agree({f'checkpoint {step}': digest})
  return step, state


def _host_batches(config: ml_collections.ConfigDict, data: Images | Encoded,
                  start_step: int, num_steps: int, grid: np.ndarray,
                  stop: threading.Event | None = None,
                  ) -> Iterator[dict[str, np.ndarray]]:
  """This host's batches of a run; fewer, once `stop` is set."""
  return batches_lib.host_batches(
      data, grid, seed=config.seed, start_step=start_step, num_steps=num_steps,
      batch_size=config.train.batch_size, image_size=config.data.image_size,
      area=tuple(config.data.crop_area), aspect=tuple(config.data.crop_aspect),
      threads=config.data.threads, prefetch=config.data.prefetch, stop=stop)


def _share_bad(data: Encoded, known: int) -> int:
  """Tells all processes of the bad images that any has met since the last time.

  Every process must call this at the same step.

  Args:
    data: the training images.
    known: what this returned the last time; 0 at first.

  Returns:
    How many this process had met or heard of before.

  Raises:
    UserError: on every process: there are too many.
  """
  count = len(data.bad)  # those met from here on are for the next time
  if hosts.gather(np.array([count > known])).any():
    bad_images.share_bad(data)
  return count


def _make_neighbours(config, encoder, train):
  """The k-NN during the run; None where there is nothing to measure it on."""
  if train.labels is None or table.size(train) < 2:
    return None
  return monitor.Neighbours(
      encoder, train, examples=config.evaluation.examples,
      k=config.evaluation.knn_k, temperature=config.evaluation.knn_temperature,
      seed=config.seed)


def _make_monitor(config, program, shared, train, neighbours):
  """Measures on the first images of epoch 0, in the views of step 0."""
  size = config.evaluation.batch_size
  examples = min(config.evaluation.examples, table.size(train))
  monitored = config.copy_and_resolve_references().unlock()
  monitored.train.batch_size = examples

  def batches(rows):
    # encoded images are decoded again each time: they would fill the memory
    chunks = np.array_split(rows, -(-len(rows) // size))
    return itertools.chain.from_iterable(
        _host_batches(monitored, train, 0, 1, chunk) for chunk in chunks)

  return monitor.Monitor(
      program.unmapped_model, shared, program.make_views, batches, neighbours,
      examples=examples)
