"""What a run says, and that a log that cannot be written costs nothing else."""

import functools
import json
import logging
import math
import os
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.evaluation import figures
from byol_jax.run import console as console_lib
from byol_jax.run import metrics as metrics_lib
from byol_jax.run import stopwatch


def lines(path):
  with open(path, encoding='utf-8') as f:
    return [json.loads(line) for line in f]


def events(workdir):
  """All events of a directory, oldest file first, CRCs checked by nobody."""
  event_pb2 = pytest.importorskip('tensorboardX.proto.event_pb2')
  for name in sorted(os.listdir(workdir)):
    if 'tfevents' in name:
      with open(os.path.join(workdir, name), 'rb') as f:
        while header := f.read(12):
          size = int.from_bytes(header[:8], 'little')
          yield event_pb2.Event.FromString(f.read(size))
          f.read(4)


def test_progress_line():
  figures = dict(loss=1.2341, learning_rate=.42, tau=.99712, seconds_left=451,
                 images_per_second=812.4, data_wait=.012)
  line = functools.partial(console_lib.progress_line, 1250, 24_000, '0..8')
  assert line(figures | {'probe_top1': 81.24}) == (
      'step 1,250/24,000  5.2%  812 img/s  ETA 0:07:31  loss 1.234 (0..8)  '
      'lr 0.42  tau 0.9971  wait 1%  probe 81.2%')
  slow = figures | dict(images_per_second=1.26, seconds_left=math.inf)
  assert '1.3 img/s  ETA ?' in line(slow)
  assert 'probe' not in line(slow)


def test_duration():
  assert console_lib.duration(0) == '0:00:00'
  assert console_lib.duration(59.7) == '0:01:00'
  assert console_lib.duration(360_000) == '100:00:00'
  assert console_lib.duration(math.nan) == '?'


def test_stopwatch():
  now = [100.]
  watch = stopwatch.Stopwatch(10, clock=lambda: now[0])
  def spend(seconds):
    now[0] += seconds
  spend(3)
  with watch.waiting():
    spend(1)
  with watch.paused():
    spend(50)
  assert watch.lap(30, batch_size=8, total_steps=50) == {
      'images_per_second': 40., 'data_wait': .25, 'seconds_left': 4.}
  spend(10)   # the next window knows nothing of the last
  assert watch.lap(40, batch_size=8, total_steps=50) == {
      'images_per_second': 8., 'data_wait': 0., 'seconds_left': 10.}
  assert watch.lap(40, batch_size=8, total_steps=50)['seconds_left'] == math.inf


def test_stopwatch_counts_from_when_the_devices_are_idle():
  now, ends = [0.], [3.]  # the last step computes until then
  watch = stopwatch.Stopwatch(0, clock=lambda: now[0])
  def wait(*seconds):
    with watch.waiting(lambda: now[0] < ends[0]):
      for part in seconds:
        now[0] += part
        watch.look()
  wait(1, 1)        # the batch is there first
  wait(1.5, .5, 1)  # seen idle after 1.5
  wait(.5)          # idle all the time
  assert watch.lap(1, batch_size=1, total_steps=1)['data_wait'] == 2 / 5.5


def test_metrics_are_json_lines(tmp_path):
  log = metrics_lib.RunLog(tmp_path, 0)
  log.write(5, {'loss': jnp.float32(1.5), 'rank': np.float64(2), 'n': 3})
  assert lines(tmp_path / 'metrics.jsonl') == [   # before any close
      {'step': 5, 'loss': 1.5, 'rank': 2., 'n': 3}]
  log.write(np.int32(10), {'loss': math.nan, 'tau': -math.inf, 'why': 'x'})
  log.close()
  assert lines(tmp_path / 'metrics.jsonl')[1] == {
      'step': 10, 'loss': None, 'tau': None, 'why': 'x'}


def test_every_step_stands_once_after_resume(tmp_path):
  log = metrics_lib.RunLog(tmp_path, 0)
  for step in (10, 20, 30):
    log.write(step, {'loss': step})
  log.close()
  with open(tmp_path / 'metrics.jsonl', 'a', encoding='utf-8') as f:
    f.write('{"step": 15, "lo')   # killed here
  log = metrics_lib.RunLog(tmp_path, 20)
  assert [line['step'] for line in lines(tmp_path / 'metrics.jsonl')] == [10, 20]
  log.write(30, {'loss': -1})
  log.close()
  assert [(line['step'], line['loss']) for line
          in lines(tmp_path / 'metrics.jsonl')] == [(10, 10), (20, 20), (30, -1)]
  starts = [event.step for event in events(tmp_path)
            if event.HasField('session_log')]
  assert starts == [1, 21]    # TensorBoard drops what an older file says of 21+
  metrics_lib.RunLog(tmp_path, 0)
  assert lines(tmp_path / 'metrics.jsonl') == []


def test_foreign_lines_do_not_stop_a_run(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(b'[1]\n{"step": "x"}\n\x00\x00\n{"step": 1}\n{}\n')
  metrics_lib.RunLog(tmp_path, 5)
  assert lines(path) == [{'step': 1}]


def test_tensorboard_events(tmp_path):
  log = metrics_lib.RunLog(tmp_path, 0)
  log.write(5, {'loss': 1.5, 'why': 'x', 'rank': math.nan})
  log.write(6, {'loss': 1.25})
  read = list(events(tmp_path))    # before any close
  assert read[0].file_version == 'brain.Event:2'
  assert [(event.step, [(value.tag, value.simple_value)
                        for value in event.summary.value])
          for event in read[2:]] == [(5, [('loss', 1.5)]), (6, [('loss', 1.25)])]
  log.close()

  path, = tmp_path.glob('*tfevents*')
  other = tmp_path / 'other'
  other.mkdir()
  metrics_lib.RunLog(other, 0, tensorboard=False).write(1, {'loss': 1})
  assert os.listdir(other) == ['metrics.jsonl']
  tf = pytest.importorskip('tensorflow')    # checks the CRCs
  assert len(list(tf.data.TFRecordDataset(str(path)))) == 4


def test_without_tensorflow(tmp_path):
  code = textwrap.dedent(f'''
      import sys
      sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None
      from byol_jax.run import metrics
      log = metrics.RunLog({str(tmp_path)!r}, 0)
      log.write(1, {{'loss': 1.}})
      log.close()
  ''')
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120)
  assert len(list(events(tmp_path))) == 3


def test_full_disk_costs_lines_only(tmp_path):
  """A file size limit stands in for the disk: writes past it fail."""
  code = textwrap.dedent(f'''
      import resource
      from byol_jax.run import console, metrics
      console.setup_console()
      log = metrics.RunLog({str(tmp_path)!r}, 0)
      def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
      log.write(1, {{'loss': 1.}})
      limit(150)
      for step in range(2, 60):
        log.write(step, {{'loss': 1.5, 'a longer name': 'x' * 10}})
      limit(resource.RLIM_INFINITY)
      log.write(100, {{'loss': 2.}})
      log.close()
      print('done')
  ''')
  done = subprocess.run([sys.executable, '-c', code], check=True, timeout=120,
                        capture_output=True, text=True)
  assert done.stderr == ''
  warning, last = done.stdout.splitlines()
  assert 'cannot write the log' in warning and str(tmp_path) in warning
  assert last == 'done'
  steps = [line['step'] for line in lines(tmp_path / 'metrics.jsonl')]
  assert steps[0] == 1 and steps[-1] == 100 and 2 < len(steps) < 10
  # the torn file's readers stop at the tear; the lines after are in another
  logged = []
  for path in sorted(tmp_path.glob('*tfevents*'), key=os.path.getmtime):
    folder = tmp_path / path.name.rpartition('.')[2]
    folder.mkdir()
    path.rename(folder / path.name)
    try:
      for event in events(folder):
        logged.append(event.step)
    except Exception:
      pass
  assert 1 in logged and 100 in logged


def test_missing_workdir_is_a_warning(tmp_path, caplog):
  with caplog.at_level(logging.WARNING, 'byol_jax'):
    log = metrics_lib.RunLog(tmp_path / 'gone', 0)
    log.write(1, {'loss': 1})
    log.write(2, {'loss': 1})
  assert len(caplog.records) == 1


def test_results_table():
  table = figures.results_table({
      'raw_pixels': {'knn_top1': 79.61, 'linear_top1': 83.},
      'untrained': {'knn_top1': 59.02},
      'byol': {'knn_top1': 86.9, 'linear_top1': 88.04}})
  assert table.splitlines() == [
      '                          k-NN    linear',
      'raw pixels               79.6%     83.0%',
      'untrained encoder        59.0%         -',
      'BYOL                     86.9%     88.0%']


def test_console_prints_plain_lines(capsys):
  console_lib.setup_console()
  console = console_lib.setup_console()
  console.info('step %d', 3)
  console.warning('cannot write %s', 'x')
  assert capsys.readouterr().out == 'step 3\nwarning: cannot write x\n'
