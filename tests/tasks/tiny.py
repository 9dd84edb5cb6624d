"""A tiny run, and the tasks as a user calls them on it."""

import json
import os

import numpy as np

from byol_jax import main as main_lib
from byol_jax.networks import architectures

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY = [
    '--config.network.width=0.25', '--config.data.image_size=8',
    '--config.data.eval_image_size=8', '--config.train.batch_size=32',
    '--config.network.projector_hidden_size=16',
    '--config.network.predictor_hidden_size=16',
    '--config.network.projection_size=8', '--config.train.epochs=4',
    '--config.checkpoint.every_steps=10', '--config.evaluation.examples=64',
    '--config.evaluation.batch_size=16', '--config.log.tensorboard=False']
FEW = ['--config.evaluation.batch_size=16', '--config.linear_eval.epochs=4',
       '--config.linear_eval.batch_size=48', '--config.logistic.l2_values=5',
       '--config.finetune.labels=0.5', '--config.finetune.batch_size=32',
       '--config.finetune.epochs=(2,)', '--config.finetune.learning_rates=(.1,.01)']

# One block instead of three: the compiler takes most of the time.
RESNET8 = architectures.Architecture((1,), False, (16,), 16)
SMALLEST = f"""
from byol_jax.networks import architectures
architectures.ARCHITECTURES['resnet8'] = architectures.{RESNET8}
"""


def call(task, *arguments):
  """Exit code of a task, in this process, on eight devices."""
  file, _, argument = task.partition(':')
  path = f'{ROOT}/configs/{file}.py' + (f':{argument}' if argument else '')
  return main_lib.main(['byol_jax.main', f'--config={path}', '--distributed=off',
                        *arguments])


def on_one_device():
  """The environment of a program that has one device, compiled as the tests are."""
  return dict(os.environ, JAX_PLATFORMS='cpu', XLA_FLAGS=(  # the last one counts
      os.environ['XLA_FLAGS'] + ' --xla_force_host_platform_device_count=1'))


def results(folder):
  """results.json."""
  with open(f'{folder}/results.json', encoding='utf-8') as f:
    return json.load(f)


def figures(said):
  """The numbers of results.json, without the protocol."""
  return {kind: said[kind] for kind in ('byol', 'untrained', 'raw_pixels')
          if kind in said}


def images(root):
  """Arguments that name 160 + 90 noisy images of four classes, in `root`."""
  rng = np.random.RandomState(0)
  arrays = {}
  for split, n in (('train', 160), ('test', 90)):
    labels = np.arange(n) % 4
    pixels = rng.randint(0, 150, (n, 12, 12, 3)) + 15 * labels[:, None, None, None]
    arrays |= {f'x_{split}': pixels.astype(np.uint8), f'y_{split}': labels}
  np.savez(root / 'tiny.npz', **arrays)
  return '--config.data.source=npz', f'--config.data.path={root / "tiny.npz"}'


def pretrained(root):
  """A pretraining's workdir: 20 steps of a tiny network on `images`."""
  workdir = str(root / 'run')
  assert call('fashion', *TINY, *images(root), f'--workdir={workdir}') == 0
  return workdir
