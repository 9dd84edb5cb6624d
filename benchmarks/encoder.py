"""How fast an encoder computes features: byol_jax, onnxruntime, PyTorch.

  python benchmarks/encoder.py [--network=resnet18] [--size=224] [--weights=RUN]
      [--batches=1,8]

Random weights, unless some are named; normalized pixels, float32, on this machine's
processor. The programs take turns at each batch; what counts is the median. PyTorch
takes part where it and timm are installed, and the network is one of theirs. Its last
line is one JSON object with images a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
import statistics
import tempfile
import time

import jax
import numpy as np

from byol_jax.config import keys as keys_lib
from byol_jax.training import build
from byol_jax.weights import load as weights_lib
from byol_jax.weights import onnx
from byol_jax.weights import timm_folder

_SECONDS = 1.0  # that a turn lasts, about


def _weights(network: str, size: int) -> weights_lib.Weights:
  """Returns an encoder with random arrays."""
  config = keys_lib.base().unlock()
  config.network.update(name=network, precision='float32')
  config.data.image_size = size
  rng = np.random.default_rng(0)
  params, state = jax.tree.map(
      lambda x: np.asarray(rng.uniform(0.5, 1, x.shape) / max(np.prod(x.shape[:-1]), 1)
                           if x.ndim == 4 and x.shape[0] > 1 else np.ones(x.shape),
                           x.dtype), build.encoder_shapes(config))
  return weights_lib.Weights(config.lock(), params, state, 'online', 0, network, '')


def _programs(weights: weights_lib.Weights) -> dict[str, Callable]:
  """Returns images [N, 3, S, S] -> features of each program, by its name."""
  encoder = build.make_model(weights.config, 0, None).encoder
  networks = jax.device_put((weights.params, weights.state))
  apply = jax.jit(lambda networks, images: encoder.apply(*networks, images, False)[0])
  session = onnx.open_session(onnx.graph(weights, preparation=False))
  programs = {
      'byol_jax': lambda images: np.asarray(apply(
          networks, images.transpose(0, 2, 3, 1))),
      'onnxruntime': lambda images: session.run(None, {onnx.INPUT: images})[0]}
  try:
    import timm
    import torch
  except ImportError:
    return programs
  if timm_folder.twin(weights.config) is not None:
    with tempfile.TemporaryDirectory() as folder:
      timm_folder.write(weights, folder)
      model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    def compute(images):
      with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()
    programs['torch'] = compute
  return programs


def main():
  """Times each program in turn."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--network', default='resnet18')
  parser.add_argument('--size', type=int, default=224)
  parser.add_argument('--weights', help='as for config.weights')
  parser.add_argument('--batches', default='1,8', help='images in a call')
  parser.add_argument('--turns', type=int, default=7)
  args = parser.parse_args()
  weights = (weights_lib.load(args.weights, None) if args.weights
             else _weights(args.network, args.size))
  programs = _programs(weights)
  rng = np.random.default_rng(0)
  rates, size = {}, build.eval_view(weights.config)[0].image_size
  batches = [int(batch) for batch in args.batches.split(',')]
  print(f'{"images/s":12}' + ''.join(f'{f"batch {x}":>10}' for x in batches))
  for batch in batches:
    images = rng.normal(size=(batch, 3, size, size)).astype(np.float32)
    took = {name: [] for name in programs}
    for compute in programs.values():
      compute(images)  # compiles
    for _ in range(args.turns):
      for name, compute in programs.items():
        start, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - start < _SECONDS / args.turns:
          compute(images)
          calls += 1
        took[name].append((time.perf_counter() - start) / calls)
    for name, seconds in took.items():
      rates[f'{name}_{batch}'] = round(batch / statistics.median(seconds), 2)
  for name in programs:
    print(f'{name:12}' + ''.join(f'{rates[f"{name}_{x}"]:10.1f}' for x in batches))
  print(json.dumps(rates | {
      'network': weights.describe()['architecture'], 'size': size,
      **{f'ratio_{x}': round(rates[f'onnxruntime_{x}'] / rates[f'byol_jax_{x}'], 2)
         for x in batches}, 'cores': os.cpu_count(), 'jax': jax.__version__}))


if __name__ == '__main__':
  main()
