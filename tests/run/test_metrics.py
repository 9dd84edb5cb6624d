"""Logs of a run: one line a step, and none that costs the run anything."""

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

from byol_jax.run import metrics as metrics_lib


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
  log.write(6, {'gradient_norm': 1.25, 'data_wait': 0.5, 'knn_top1': 2,
                'projection_std': 0.25})
  read = list(events(tmp_path))    # before any close
  assert read[0].file_version == 'brain.Event:2'
  assert [(event.step, [(value.tag, value.simple_value)
                        for value in event.summary.value])
          for event in read[2:]] == [
              (5, [('train/loss', 1.5)]),
              (6, [('train/gradient_norm', 1.25), ('perf/data_wait', 0.5),
                   ('eval/knn_top1', 2), ('collapse/projection_std', 0.25)])]
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
