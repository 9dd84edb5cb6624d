"""Everything that wants a GPU, in one call of at most 12 minutes: see gpu.sh.

  python benchmarks/gpu.py [CIFAR10.npz] [--minutes=12] [--only=byol,moco] [--small]

Each part is a process of its own with a limit. What a part says is written to
OUT/PART.txt, its last line to OUT/PART.json, and the tables of all parts so far to
OUT/summary.md and OUT/summary.json, at once: a call that is cut leaves figures. A part
that fails, or has no time left, says so, and the others go on. --only with other
methods adds theirs to those of an earlier call.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
# method: its config. The step of InfoMin has no counterpart in PyTorch here.
METHODS = {'byol': 'imagenet_r50', 'moco': 'moco_r50', 'simclr': 'simclr_r50',
           'simsiam': 'simsiam_r50', 'infomin': 'infomin_r50'}
_OF_TORCH = ('byol', 'moco', 'simclr', 'simsiam')
_CIFAR_SHARE = 0.3  # of all time, kept for CIFAR-10
_LEAST_SECONDS = 25.0  # a part with less is not begun
_LIMIT = 180.0  # seconds of a part
_GRACE = 20.0  # seconds that a part has to end once it is told to
_KNN_SECONDS = 45.0  # kept for k-NN, compilation included
_START_SECONDS = 40.0  # of the training: imports, compilation
_MOST_EPOCHS = 200


def epochs_that_fit(seconds: float, images_per_second: float, images: int) -> float:
  """Computes for how many epochs there is time.

  Args:
    seconds: that are left, for compilation and k-NN too.
    images_per_second: measured of the step.
    images: of the data set.

  Returns:
    A whole number of epochs, at most 200; 0 where there is no time for one.
  """
  # the training is slower than its step: it logs, evaluates and saves
  spare = 0.85 * (seconds - _START_SECONDS - _KNN_SECONDS)
  return float(min(_MOST_EPOCHS, max(0, int(spare * images_per_second / images))))


class Call:
  """One call: its clock, its results."""

  def __init__(self, out: pathlib.Path, minutes: float):
    """Starts the clock; `out` is made if it is missing."""
    self.out, self._end = out, time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'summary.json'
    # of an earlier call with other methods
    self.parts = json.loads(path.read_text())['parts'] if path.exists() else {}

  def left(self) -> float:
    """Returns the seconds that are left."""
    return self._end - time.monotonic()

  def part(self, name: str, command: list[str], reserve: float = 0.0,
           limit: float = _LIMIT) -> dict[str, Any] | None:
    """Runs one part.

    Args:
      name: of its files.
      command: what Python runs.
      reserve: seconds that must be left for others.
      limit: seconds that it may take at most.

    Returns:
      Its figures: its last line, and 'wall_seconds'. None where it has none: `parts`
      has the reason.
    """
    limit = min(limit, self.left() - reserve - _GRACE)
    if limit < _LEAST_SECONDS:
      return self._said(name, why='no time was left: --minutes, or --only')
    print(f'== {name} (at most {limit:.0f} s)', flush=True)
    start, path = time.monotonic(), self.out / f'{name}.txt'
    with path.open('w') as log:
      code = _run([sys.executable, *command], log, limit)
    lines = path.read_text(errors='replace').splitlines()
    print('\n'.join(lines[-30:]), flush=True)
    wall = time.monotonic() - start
    if code is None:
      return self._said(name, why=f'stopped after {limit:.0f} s', wall_seconds=wall)
    last = lines[-1] if lines else ''
    if code or last.startswith('not measured'):
      return self._said(name, why=last[:300] or f'exit code {code}', wall_seconds=wall)
    try:
      figures = json.loads(last)
    except ValueError:
      figures = {}
    return self._said(name, **figures, wall_seconds=wall)

  def _said(self, name: str, **figures) -> dict[str, Any] | None:
    """Keeps what is known of a part, and writes all results anew."""
    self.parts[name] = figures
    if 'why' in figures:
      print(f'{name}: not measured: {figures["why"]}', flush=True)
    (self.out / f'{name}.json').write_text(json.dumps(figures) + '\n')
    self.write()
    return None if 'why' in figures else figures

  def write(self) -> None:
    """Writes summary.json and summary.md."""
    (self.out / 'summary.json').write_text(
        json.dumps({'rows': rows(self.parts), 'parts': self.parts}, indent=1) + '\n')
    (self.out / 'summary.md').write_text(table(self.parts))


def _run(command: list[str], log, limit: float) -> int | None:
  """Runs a process and its children; returns its exit code, None if it was stopped."""
  child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, start_new_session=True)
  try:
    return child.wait(limit)
  except subprocess.TimeoutExpired:
    return None
  finally:  # also where this process is told to end
    for sign, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
      if child.poll() is None:
        os.killpg(child.pid, sign)
        try:
          child.wait(seconds)
        except subprocess.TimeoutExpired:
          pass


def rows(parts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns a row for each method: our step beside PyTorch's, None for the unknown.

  Args:
    parts: figures by the part's name, METHOD and METHOD_torch.
  """
  said = []
  for method in METHODS:
    if method not in parts:
      continue
    ours, torch = parts[method], parts.get(f'{method}_torch', {})
    batch = (ours['images_per_second'] * ours['seconds_per_step']
             if 'seconds_per_step' in ours else None)
    without = ours.get('seconds_per_step_without_augmentation')
    theirs = torch.get('images_per_second')
    said.append({
        'method': method,
        'images_per_second': ours.get('images_per_second'),
        'milliseconds': batch and 1e3 * ours['seconds_per_step'],
        'gflop_per_image': ours.get('gflop_per_image'),
        'roofline_share': ours.get('roofline_share'),
        'augmentation_share': ours.get('augmentation_share'),
        'without_augmentation': batch and without and batch / without,
        'torch': theirs,
        'ratio': (batch / without / theirs if batch and without and theirs else None),
        'modules': torch.get('modules')})
  return said


def table(parts: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns summary.md: the steps, CIFAR-10, and what was not measured."""
  devices = {part['device'] for part in parts.values() if 'device' in part}
  def cell(value, form):
    return '-' if value is None else format(value, form)
  lines = [
      '# The step on a GPU', '',
      f'Device: {", ".join(sorted(devices)) or "-"}. Images a second; PyTorch has no '
      'augmentation in its', 'step, so the ratio is that of both without.', '',
      '| method | images/s | ms a step | GFLOP an image | of the roofline '
      '| augmentation | without it | PyTorch | ratio | with |',
      '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |']
  for row in rows(parts):
    cells = [cell(row[key], form) for key, form in (
        ('images_per_second', '.0f'), ('milliseconds', '.1f'),
        ('gflop_per_image', '.1f'), ('roofline_share', '.0%'),
        ('augmentation_share', '.1%'), ('without_augmentation', '.0f'),
        ('torch', '.0f'), ('ratio', '.2f'), ('modules', ''))]
    lines.append(f'| {row["method"]} | {" | ".join(cells)} |')
  step, cifar, knn = (parts.get(f'cifar10{name}', {}) for name in ('_step', '', '_knn'))
  if 'images_per_second' in step:
    lines += ['', '## CIFAR-10, images on the device', '',
              f'Epochs: {cell(cifar.get("epochs"), "g")}, in '
              f'{cell(cifar.get("wall_seconds"), ".0f")} s with compilation. Step: '
              f'{cell(step.get("images_per_second"), ".0f")} images/s. k-NN: '
              f'{cell(knn.get("knn_top1"), ".1f")} %.']
  without = {name: part['why'] for name, part in parts.items() if 'why' in part}
  if without:
    lines += ['', '## Not measured', '',
              *(f'- {name}: {" ".join(why.split())}' for name, why in without.items())]
  return '\n'.join(lines) + '\n'


def _steps(call: Call, methods: list[str], reserve: float, is_small: bool) -> None:
  """Times the steps, PyTorch's after ours."""
  for method in methods:
    batch = 16 if is_small else 256
    command = [
        'benchmarks/step.py', f'--config=configs/{METHODS[method]}.py',
        '--config.data.source=fake', f'--config.train.batch_size={batch}',
        '--config.data.fake_classes=1000',
        '--config.network.precision=' + ('float32' if is_small else 'bfloat16'),
        '--steps=' + ('1' if is_small else '6'),
        '--in_a_row=' + ('1' if is_small else '5')]
    torch = ['benchmarks/torch_step.py', f'--method={method}',
             f'--batch-size={batch}', '--steps=6', '--in-a-row=5']
    if is_small:
      command += ['--config.network.name=resnet8', '--config.data.image_size=32',
                  '--config.network.projector_hidden_size=32']
      torch += ['--network=resnet8', '--image-size=32', '--queue=64', '--eager',
                '--steps=1', '--in-a-row=1']
      if method == 'infomin':
        command += [f'--config.augment.jigsaw.{key}={size}'
                    for key, size in (('size', 96), ('tile', 32))]
    call.part(method, command, reserve)
    if method in _OF_TORCH:
      call.part(f'{method}_torch', torch, reserve)


def _cifar10(call: Call, path: pathlib.Path, is_small: bool) -> None:
  """Trains on CIFAR-10 for as long as there is time, then measures k-NN."""
  shape = (['--config.network.name=resnet8', '--config.train.batch_size=16',
            '--config.network.projector_hidden_size=32'] if is_small else [])
  step = call.part('cifar10_step', [
      'benchmarks/step.py', '--config=configs/cifar10.py', '--config.data.source=fake',
      *shape, '--input=resident', '--parts=step', '--steps=6', '--in_a_row=5'],
      reserve=_START_SECONDS + _KNN_SECONDS)
  if step is None:
    return
  with np.load(path) as archive:
    images = len(archive['x_train'])
  epochs = epochs_that_fit(call.left(), step['images_per_second'], images)
  if is_small:
    epochs = min(epochs, 1.0)
  workdir = call.out / 'cifar10'
  for folder in (workdir, call.out / 'cifar10_knn'):  # of an earlier call
    shutil.rmtree(folder, ignore_errors=True)
  warmup = min(10.0, epochs / 10)
  command = [
      '-m', 'byol_jax.main', f'--config=configs/cifar10.py:{epochs:g}', *shape,
      '--config.data.source=npz', f'--config.data.path={path}',
      '--config.data.resident=yes', f'--config.train.warmup_epochs={warmup}',
      '--config.evaluation.final=False', f'--workdir={workdir}']
  if not epochs:
    call.parts['cifar10'] = {'why': 'no time was left for one epoch: --minutes'}
    call.write()
    return
  if call.part('cifar10', command, reserve=_KNN_SECONDS, limit=call.left()) is not None:
    call.parts['cifar10'] |= {'epochs': epochs, 'images': images}
    call.write()
  # where the training was stopped, of its last checkpoint
  if call.part('cifar10_knn', [
      '-m', 'byol_jax.main', '--config=configs/knn.py', f'--config.weights={workdir}',
      f'--workdir={workdir}_knn'], limit=call.left()) is not None:
    said = json.loads((call.out / 'cifar10_knn' / 'results.json').read_text())
    call.parts['cifar10_knn']['knn_top1'] = said[said['method']]['knn_top1']
    call.write()


def main() -> None:
  """Runs all parts."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('npz', nargs='?', type=pathlib.Path,
                      help='with x_train, y_train, x_test, y_test (uint8)')
  parser.add_argument('--minutes', type=float, default=12.0)
  parser.add_argument('--only', default=','.join(METHODS), help='these methods')
  parser.add_argument('--small', action='store_true',
                      help='tiny networks, to try the program: no figures')
  args = parser.parse_args()
  methods = [name for name in args.only.split(',') if name]
  if set(methods) - METHODS.keys():
    parser.error(f'--only={args.only}: choose among {", ".join(METHODS)}')
  if args.npz and not args.npz.is_file():
    parser.error(f'there is no file {args.npz}')
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  call = Call(pathlib.Path(os.environ.get('OUT', 'gpu_results')).resolve(),
              args.minutes)
  _steps(call, methods, 60 * args.minutes * _CIFAR_SHARE if args.npz else 0.0,
         args.small)
  if args.npz:
    _cifar10(call, args.npz.resolve(), args.small)
  print((call.out / 'summary.md').read_text())


if __name__ == '__main__':
  main()
