"""The PyTorch code that lies beside encoders which no library has."""

import importlib.util

import numpy as np
import pytest

from byol_jax.weights import agreement
from byol_jax.weights import timm_folder

torch = pytest.importorskip('torch', reason="large: pip install 'byol_jax[torch]'")


@pytest.mark.parametrize('bottleneck, stem, padding, width, embedding', [
    (False, 'small', 'torch', 1, 0), (True, 'half', 'same', 2, 5),
    (False, 'imagenet', 'same', 0.5, 0), (True, 'imagenet', 'torch', 1.5, 0)])
def test_features_are_ours(made, tmp_path, bottleneck, stem, padding, width, embedding):
  weights = made(bottleneck, stem, padding, width, embedding=embedding)
  draw = np.random.default_rng(1).integers
  sample = agreement.sample(
      weights, [draw(0, 256, (40, 33, 3), np.uint8) for _ in range(3)], 'noise')
  timm_folder.write(weights, str(tmp_path))
  spec = importlib.util.spec_from_file_location('code', tmp_path / timm_folder.CODE)
  code = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(code)  # as a user, without byol_jax
  with torch.inference_mode():
    theirs = code.load(tmp_path)(torch.tensor(sample.prepared)).numpy()
  found = agreement.difference(sample.features, theirs)
  assert found['relative_l2'] < 1e-4 and found['one_minus_cos'] < 1e-6
