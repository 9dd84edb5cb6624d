"""Checks whether a run fits a TPU pod: compiles its train step, without the pod.

  pip install 'byol_jax[tpu]'      # on any machine
  python -m byol_jax.main --config=configs/imagenet_r50.py \\
      --config.task=preflight --config.preflight.topology=v3-512

The TPU compiler gives the memory that the step takes of a core, and the least time of
the step. It counts neither input nor traffic between cores; the memory of the batches
that wait for their step is added here.
"""

from __future__ import annotations

from concurrent import futures
import hashlib
import json
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from typing import Any, NamedTuple

from etils import epath
import jax
import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.devices import topology as topology_lib
from byol_jax.errors import UserError
from byol_jax.run import console as console_lib
from byol_jax.storage import files as files_lib
from byol_jax.training import batch as batch_lib
from byol_jax.training import build

_console = logging.getLogger('byol_jax')


class Compiled(NamedTuple):
  """The compiler's figures for a step, all per core."""
  argument_bytes: int
  temporary_bytes: int
  peak_bytes: int
  waiting_bytes: int  # the batches that wait for their step, in addition
  flops: float
  bytes_accessed: float
  seconds: float  # a lower bound; of no use if negative: `topology.lower_bound`


class TooLarge(NamedTuple):
  """The memory that a step needs which does not fit a core."""
  needed_bytes: int
  available_bytes: int
  prefetch: int = 0  # data.prefetch with which the step fits; 0 for none


def run(config: ml_collections.ConfigDict, workdir: str) -> bool:
  """Prints the report, and writes it to preflight.json in the workdir.

  Args:
    config: a valid config (`rules.validate`).
    workdir: a directory or bucket, made if it is missing.

  Returns:
    True if the step fits.

  Raises:
    UserError: there is no such topology, the batch cannot be divided by its
      devices, the TPU compiler is not installed, or it crashes.
  """
  # this program runs on the CPU, whatever else the machine has
  jax.config.update('jax_platforms', 'cpu')
  config = config.copy_and_resolve_references()
  config.network.precision = schedule.precision(config.network.precision, 'tpu')
  topology = config.preflight.topology
  devices = topology_lib.describe(topology)
  batch_size, steps = config.train.batch_size, config.train.accumulation_steps
  rules.check_devices(batch_size, steps, len(devices), config.network.bn_groups)
  report_path = epath.Path(workdir) / 'preflight.json'
  key = _key(config)
  cached = files_lib.read_json(report_path) or {}
  if cached.get('key') == key:
    _console.info('%s: the same config and versions were compiled before',
                  report_path)
    report = cached
  else:
    _console.info(
        'compiling the train step for %s: %d devices of %s; this takes minutes ...',
        topology, len(devices), wording.count(topology_lib.num_hosts(devices), 'host'))
    report = _in_child(config) | {'key': key}
    files_lib.write_for_user(
        report_path, json.dumps(files_lib.plain(report), indent=2).encode())
  _console.info('\n%s', _table(report))
  return report['fits']


def compile_step(config: ml_collections.ConfigDict,
                 devices: list[jax.Device]) -> Compiled | TooLarge:
  """Compiles a config's train step, augmentation included, for some devices.

  Args:
    config: a valid config. The data is not opened: its size is `preflight.images`.
    devices: the result of `topology.describe`.

  Returns:
    The compiler's figures.
  """
  num_images, classes = config.preflight.images, config.preflight.classes
  config = schedule.resolve(config, num_images, 'tpu')
  program = build.build(config, num_images, classes)
  state = jax.eval_shape(program.init)
  grid = grid_lib.example_grid(config.train.batch_size,
                               config.train.accumulation_steps, len(devices))
  batch = batch_lib.streamed(grid.shape, len(program.spec.recipes),
                             program.spec.image_size, classes > 0,
                             program.spec.jigsaw.size if program.spec.jigsaw else 0)
  lowered = mapped.pmap_step(program.update, devices).lower(
      state, batch_lib.shared(None, classes > 0), batch,
      jax.ShapeDtypeStruct((len(devices),), np.float32))
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found = re.search(r'\(?([\d.]+)([KMGT])\)? exceeds available HBM \(([\d.]+)G',
                      str(error))
    if found is None:
      raise
    gib = topology_lib.GIB
    unit = gib / 1024 ** 'GMK'.index(found[2]) if found[2] != 'T' else gib * 1024
    return TooLarge(int(float(found[1]) * unit), int(float(found[3]) * gib))
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  # data.prefetch batches, one on its way, and two that were already sent
  each = sum(x.size * x.dtype.itemsize for x in batch.values()) // len(devices)
  waiting = (config.data.prefetch + 3) * each
  available = topology_lib.available_bytes(devices)
  left = available - memory.peak_memory_in_bytes
  if waiting > left:
    return TooLarge(memory.peak_memory_in_bytes + waiting, available,
                    max(left // each - 3, 0))
  return Compiled(
      memory.argument_size_in_bytes, memory.temp_size_in_bytes,
      memory.peak_memory_in_bytes, waiting, cost['flops'], cost['bytes accessed'],
      cost['optimal_seconds'])


def _in_child(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Runs `_report` in another process, since the compiler may crash it."""
  context = multiprocessing.get_context('spawn')
  with futures.ProcessPoolExecutor(1, context, _begin_child) as pool:
    try:
      return pool.submit(_report, config).result()
    except futures.process.BrokenProcessPool as error:
      raise UserError(
          'the TPU compiler crashed (its own words are above; on some steps for '
          f'a v6e it does), which says nothing of {config.preflight.topology}: '
          'try another config key preflight.topology of that generation, another '
          'train.batch_size, or another version of libtpu') from error


def _begin_child() -> None:
  console_lib.setup_console()
  signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the compiler, too
  parent = multiprocessing.parent_process()
  def end_with_parent():
    parent.join()
    os._exit(1)
  threading.Thread(target=end_with_parent, daemon=True).start()


def _report(config: ml_collections.ConfigDict) -> dict[str, Any]:
  started = time.monotonic()
  jax.config.update('jax_platforms', 'cpu')
  devices = topology_lib.describe(config.preflight.topology)
  batch_size = config.train.batch_size
  num_hosts = topology_lib.num_hosts(devices)
  report = {
      'topology': config.preflight.topology,
      'device_kind': devices[0].device_kind,
      'devices': len(devices), 'hosts': num_hosts,
      'network': f'{config.network.name} x{config.network.width:g}',
      'precision': config.network.precision,
      'image_size': config.data.image_size, 'batch_size': batch_size,
      'accumulation_steps': config.train.accumulation_steps,
      'batch_size_per_device': batch_size // len(devices)}
  found = compile_step(config, devices)
  if isinstance(found, TooLarge):
    report |= {'fits': False, 'peak_hbm_bytes': found.needed_bytes,
               'available_hbm_bytes': found.available_bytes}
    report |= _advice(config, devices, found)
  else:
    total = schedule.total_steps(
        schedule.resolve(config, config.preflight.images),
        config.preflight.images)
    seconds, said_by = topology_lib.lower_bound(
        found.seconds, found.flops, devices[0].device_kind)
    speed = batch_size / seconds
    report |= {
        'fits': True, 'peak_hbm_bytes': found.peak_bytes,
        'waiting_bytes': found.waiting_bytes,
        'argument_bytes': found.argument_bytes,
        'temporary_bytes': found.temporary_bytes,
        'available_hbm_bytes': topology_lib.available_bytes(devices),
        'flops': found.flops, 'bytes_accessed': found.bytes_accessed,
        'lower_bound_ms': 1e3 * seconds, 'lower_bound_by': said_by,
        'images_per_second_bound': speed, 'steps': total,
        'hours_bound': total * seconds / 3600,
        'images_per_second_per_host': speed / num_hosts}
  return report | {'compile_seconds': round(time.monotonic() - started, 1)}


def _advice(config: ml_collections.ConfigDict, devices: list[jax.Device],
            found: TooLarge) -> dict[str, Any]:
  """Returns the fewest accumulation steps that fit, compiled; {} if none does.

  If only the batches that wait are too many, it returns how many fit.
  """
  if found.prefetch:
    return {'fitting_prefetch': found.prefetch}
  each = config.train.batch_size // len(devices)
  now = config.train.accumulation_steps
  share = found.needed_bytes / found.available_bytes
  for steps in range(now + 1, each + 1):
    if each % steps or steps < now * share * 0.9:  # memory grows with the images
      continue
    other = config.copy_and_resolve_references().unlock()
    other.train.accumulation_steps = steps
    _console.info('does not fit; compiling with accumulation_steps=%d ...',
                  steps)
    if isinstance(compile_step(other, devices), Compiled):
      return {'fitting_accumulation_steps': steps,
              'fitting_batch_size': config.train.batch_size // steps * now}
  return {}


def _table(report: dict[str, Any]) -> str:
  peak, available = report['peak_hbm_bytes'], report['available_hbm_bytes']
  waiting = report.get('waiting_bytes', 0)
  rows = [
      ('topology', f'{report["topology"]}: {report["devices"]} x '
       f'{report["device_kind"]}, {wording.count(report["hosts"], "host")}'),
      ('step', f'{report["network"]}, {report["precision"]}, '
       f'{report["image_size"]} px, batch {report["batch_size"]}, '
       f'{report["batch_size_per_device"]} a device'
       + (f' in {report["accumulation_steps"]} parts'
          if report['accumulation_steps'] > 1 else '')),
      ('memory', f'{_size(peak)} of {_size(available)} a device: '
       + (f'FITS, {_size(available - peak - waiting)} are left' if report['fits'] else
          f'DOES NOT FIT, {_size(peak - available)} are missing'))]
  if report['fits']:
    rows += [
        ('', f'{_size(report["argument_bytes"])} arguments, '
         f'{_size(report["temporary_bytes"])} temporaries; beside them '
         f'{_size(waiting)} of batches that wait'),
        ('work', f'{report["flops"] / 1e9:,.3g} GFLOP, '
         f'{report["bytes_accessed"] / 1e9:.3g} GB moved, a device and step'),
        ('lower bound', f'{report["lower_bound_ms"]:.1f} ms a step = '
         f'{report["images_per_second_bound"]:,.0f} images/s; '
         f'{report["steps"]:,} steps = {report["hours_bound"]:.1f} hours'),
        ('', ('by the compiler' if report['lower_bound_by'] == 'compiler' else
              'by arithmetic at the peak of the chip, as the compiler says less')
         + '; it contains neither input nor traffic between devices'),
        ('input', f'{report["images_per_second_per_host"]:,.0f} images/s a host '
         'to keep up with that bound')]
  elif 'fitting_prefetch' in report:
    rows.append(('fits with', f'--config.data.prefetch={report["fitting_prefetch"]}'))
  elif 'fitting_accumulation_steps' in report:
    steps = report['fitting_accumulation_steps']
    rows.append(('fits with', f'--config.train.accumulation_steps={steps} '
                 '(batch statistics are then of parts of the batch), or '
                 f'--config.train.batch_size={report["fitting_batch_size"]}'))
  else:
    rows.append(('', 'not with one image a device either: choose a smaller '
                 'network or image, or devices with more memory'))
  return '\n'.join(f'{name:<13}{text}' for name, text in rows)


def _size(number: int) -> str:
  return (f'{number / topology_lib.GIB:.2f} GiB' if number >= topology_lib.GIB / 10 else
          f'{number / 2**20:.1f} MiB')


def _key(config: ml_collections.ConfigDict) -> str:
  """Returns a digest of all that could change the report."""
  import libtpu
  return hashlib.sha256(json.dumps(
      [config.to_dict(), jax.__version__, libtpu.__version__, hosts.code_digest()],
      sort_keys=True).encode()).hexdigest()
