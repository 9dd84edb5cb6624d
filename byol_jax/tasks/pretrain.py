"""Pretraining: a run from its config to its results, read top to bottom.

The mathematics is in training/step.py and methods/; run/session.py keeps the run
alive.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax import wording
from byol_jax.devices import backend
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.evaluation import encode
from byol_jax.evaluation import figures
from byol_jax.evaluation import final
from byol_jax.evaluation import knn
from byol_jax.evaluation import monitor as monitor_lib
from byol_jax.evaluation import splits
from byol_jax.methods import names as method_names
from byol_jax.run import bad_images
from byol_jax.run import checkpoint
from byol_jax.run import console as console_lib
from byol_jax.run import health as health_lib
from byol_jax.run import journal
from byol_jax.run import metrics as metrics_lib
from byol_jax.run import saving
from byol_jax.run import session as session_lib
from byol_jax.run import signals
from byol_jax.run import watchdog as watchdog_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import begin
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import output
from byol_jax.tasks import report
from byol_jax.training.step import TrainState

_console = logging.getLogger('byol_jax')


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Pretrains from where the workdir stands until the run is finished.

  Args:
    config: a valid config (`rules.validate`).
    workdir: the run's directory; made if it is missing.

  Raises:
    UserError: a mistake that the user can mend.
    TransientError: a machine or a disk failed.
  """
  started = time.time()
  with contextlib.ExitStack() as stack:  # released, however the run ends
    leaving = stack.enter_context(signals.on_signals())
    if jax.process_count() > 1:
      leaving.now = signals.Now.AFTER_SAVING  # together, after the first steps
    setup = begin.set_up(begin.as_begun(config, workdir), workdir)

    # The saved config is compared with this run before anything is compiled, and the
    # state is restored before the feed starts at its step.
    folder, checkpoints = begin.open_workdir(setup, stack)
    saved, state = begin.restore(
        checkpoints, jax.eval_shape(setup.program.init), setup.meta, workdir)
    start_step = saved.step if saved else 0
    results_path = os.path.join(folder, 'results.json')
    if hosts.from_first(start_step == setup.total_steps and (
        os.path.exists(results_path) or not setup.config.evaluation.final)):
      _console.info('this run is finished: %s', os.path.join(workdir, 'results.json'))
      return
    state, shared = begin.put_on_devices(setup, folder, saved, state)

    inference = encode.Inference(  # runs over data sets, as in evaluations
        setup.program.unmapped_model, setup.program.eval_spec,
        center_share=setup.config.data.center_share,
        batch_size=setup.config.evaluation.batch_size,
        threads=setup.config.data.threads)
    measure, neighbours = _make_monitor(setup, shared, inference)
    page = report.Page(setup, folder, inference) if setup.config.log.report else None
    journal.begin_session(folder, start_step)
    training_started = time.time()
    state, session = _train(setup, folder, checkpoints, start_step, state, shared,
                            measure, page, leaving)
    if session.left:
      return
    if session.is_leaving():
      _console.info('trained, saved and left; the same command measures the result')
      return

    leaving.now = signals.Now.AT_ONCE  # all is saved
    trained = time.time() - training_started
    _console.info('trained in %s, of which %.1f s (%.1f %%) measuring; start-up %s',
                  console_lib.duration(trained), session.measuring,
                  100 * session.measuring / max(trained, 1e-3),
                  console_lib.duration(training_started - started))
    results = {'run': {
        'steps': setup.total_steps, 'epochs': setup.config.train.epochs,
        'training_seconds_this_session': round(trained, 1),
        'measuring_seconds': round(session.measuring, 1),  # part of the above
        'seed': config.seed, 'version': __version__, 'jax': jax.__version__,
        'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}'}}
    _finish(setup, state, inference, neighbours, results, results_path)
    if page:
      page.write((state.online_params, state.online_state), is_last=True)
      _console.info('report: %s', os.path.join(workdir, output.REPORT))


# ------------------------------------------------------------------------ loop
def _train(setup: begin.Setup, folder: str, checkpoints: checkpoint.Checkpoints,
           start_step: int, state: TrainState, shared: Any,
           measure: monitor_lib.Monitor, page: report.Page | None,
           leaving: signals.Leaving,
           ) -> tuple[TrainState, session_lib.Session]:
  """Trains to the last step, or until a signal; everything is saved then."""
  config, program, total = setup.config, setup.program, setup.total_steps
  batch_size = config.train.batch_size
  num_images = setup.train.size
  update = mapped.pmap_step(program.update)
  saver = saving.Saver(checkpoints, os.path.join(setup.workdir, 'checkpoints'))
  with contextlib.ExitStack() as stack:
    run_log = metrics_lib.RunLog(folder, start_step,
                                 tensorboard=config.log.tensorboard)
    stack.callback(run_log.close)
    stack.callback(console_lib.keep)
    watchdog = stack.enter_context(watchdog_lib.Watchdog(
        config.safety.step_timeout,
        os.path.join(folder, f'stacks-{jax.process_index()}.txt')))
    session = session_lib.Session(
        start_step, total, session_lib.Cadence(
            config.log.every_steps, _measure_every(config, num_images),
            config.checkpoint.every_steps),
        leaving=leaving, saver=saver, watchdog=watchdog, meta=lambda: setup.meta,
        health=health_lib.Health(config.safety.on_nonfinite,
                                 config.safety.max_skipped, saver.last_good),
        share=bad_images.sharing(setup.feed.bad()))
    stop = threading.Event()
    batches = prefetch_lib.prefetch(
        setup.feed.batches(
            start_step, total - start_step, grid_lib.local_example_grid(
                batch_size, config.train.accumulation_steps), stop),
        config.data.prefetch, session.meanwhile, stop)
    stack.callback(batches.close)

    stack.enter_context(backend.explained(
        'the train step: lower config key train.batch_size or data.image_size, or set '
        'train.accumulation_steps (--config.task=preflight tells what fits)',
        lambda: session.has_stepped))
    _console.info('compiling the train step ...')
    for step in session.steps():
      batch = session.next(batches)
      if batch is None:
        break
      state, metrics, asked = update(state, shared, batch, session.asked())
      session.note(step, state, metrics, asked)
      due = session.due()
      session.settle(due)
      values = {}
      if due.log:
        values = {name: float(value) for name, value in metrics.items()
                  if name != 'finite'}
        values |= session.lap(batch_size) | {'epoch': step * batch_size / num_images}
      if due.measure:
        found, warning = session.pausing(measure, state)
        _console.info('step %d  %s', step, '  '.join(
            f'{name} {value:.3g}' for name, value in found.items()))
        if warning:
          _console.warning('%s', warning)
        values |= found
      if due.log:
        run_log.write(step, values)
        console_lib.show(console_lib.progress_line(
            step, total, str(program.method.meaning), values), step / total)
      # the last page is written with the results
      if due.measure and page and not (due.last and config.evaluation.final):
        session.pausing(page.write, (state.online_params, state.online_state))
      if due.saves:
        session.save(due)
  return state, session


def _measure_every(config: ml_collections.ConfigDict, num_images: int) -> int:
  """Returns the number of steps between two measurements."""
  return max(1, round(
      config.evaluation.every_epochs * num_images / config.train.batch_size))


def _make_monitor(setup: begin.Setup, shared: Any, inference: encode.Inference,
                  ) -> tuple[monitor_lib.Monitor, monitor_lib.Neighbours | None]:
  """Makes the monitor: it measures the first images of epoch 0 in step 0's views."""
  config, program, train = setup.config, setup.program, setup.train
  size, options = train.size, config.evaluation
  neighbours = None
  if train.labels is not None and size > 1:
    neighbours = monitor_lib.Neighbours(
        inference, train, examples=options.examples,
        voting=knn.Voting(options.knn_k, options.knn_temperature), seed=config.seed)
    every = wording.count(_measure_every(config, size), 'step')
    _console.info('k-NN every %s: %s', every, neighbours.description)
  examples = min(options.examples, size)
  first = setup.feed._replace(batch_size=examples)

  def batches(rows):
    # encoded images are decoded again each time: they would fill the memory
    chunks = np.array_split(rows, -(-len(rows) // options.batch_size))
    return itertools.chain.from_iterable(
        first.batches(0, 1, chunk) for chunk in chunks)

  return monitor_lib.Monitor(program.unmapped_model, program.method, shared,
                             program.make_views, batches, neighbours,
                             examples=examples), neighbours


# ---------------------------------------------------------------------- finish
def _finish(setup: begin.Setup, state: TrainState, inference: encode.Inference,
            neighbours: monitor_lib.Neighbours | None, results: dict[str, Any],
            results_path: str) -> None:
  """Measures the trained encoder beside its baselines, and writes results.json."""
  config, options = setup.config, setup.config.evaluation
  if options.final and setup.train.labels is not None:
    untrained = setup.program.init()
    results |= final.final(
        inference, (state.online_params, state.online_state),
        mapped.replicate((untrained.online_params, untrained.online_state)),
        splits.Split(setup.train, setup.test, most=options.final_images,
                     seed=config.seed),
        method=method_names.result_name(config.method),
        voting=knn.Voting(options.knn_k, options.knn_temperature),
        image_size=setup.program.eval_spec.image_size, seed=config.seed)
    if neighbours:
      results['protocol']['during_training'] = (
          f'knn_top1 of metrics.jsonl: {neighbours.description}')
    _console.info('\n%s\n(%s)', figures.results_table(results),
                  results['protocol']['images'])
  elif options.final:
    results['protocol'] = {'images': 'no labels: nothing to measure accuracy on'}
  for part in (setup.train, setup.test):
    if part is not None:
      bad_images.share_bad(part)  # also the ones met since the last log line
  data_lib.tell_bad(setup.train, setup.test)
  if left_out := data_lib.left_out(train=setup.train, test=setup.test):
    results['left_out'] = left_out
  if jax.process_index() == 0:
    with files_lib.writing(results_path):
      files_lib.write_json(results_path, results)
  _console.info('results: %s', os.path.join(setup.workdir, 'results.json'))
