"""A folder of small JPEGs, one sub-folder a class, as CIFAR-10 is often had: both
ways to feed it, streamed and from the device, train on the same images."""

import json

import numpy as np
from PIL import Image
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.data.feed import batches as batches_lib
from byol_jax.data.feed import order
from byol_jax.data.images import decode
from byol_jax.data.sources import open as open_lib
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.networks import architectures
from byol_jax.tasks import pretrain

_CLASSES, _EACH, _BATCH = ('airplane', 'bird', 'cat'), 10, 8


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """30 images of 32 x 32, each of one colour: any crop of it is the same."""
  for label, name in enumerate(_CLASSES):
    (tmp_path / 'data' / 'train' / name).mkdir(parents=True)
    for k in range(_EACH):
      colour = (25 * k, 250 - 25 * k, 100 * label)
      Image.new('RGB', (32, 32), colour).save(
          tmp_path / 'data' / 'train' / name / f'{k:04d}.jpg', quality=95)
  return tmp_path / 'data'


def _config(folder, resident):
  c = keys_lib.base()
  with c.unlocked():
    c.data.update(source='folder', path=str(folder), resident=resident,
                  image_size=16, test_split='', prefetch=3)
    c.network.update(
        name='resnet18', stem='small', precision='float32',
        projector_hidden_size=8, predictor_hidden_size=8, projection_size=4)
    c.train.update(batch_size=_BATCH, epochs=2.0, warmup_epochs=0.5,
                   base_learning_rate=0.1)
    c.log.update(every_steps=1, tensorboard=False)
    c.evaluation.update(examples=8, batch_size=8, every_epochs=100.0, final=False)
  return c


def test_streamed_and_resident_runs_see_the_same(folder, tmp_path, monkeypatch):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet18',
                      architectures.Architecture((1,), False, (8,), 8))
  fed, host_batches, prefetch, ahead = [], batches_lib.host_batches, prefetch_lib.prefetch, []
  def noting(data, grid, **how):
    for batch in host_batches(data, grid, **how):
      if grid.ndim == 3:  # training: [devices, sub-batches, examples]
        fed[-1].append((data, grid.reshape(-1), batch))
      yield batch
  monkeypatch.setattr(batches, 'host_batches', noting)
  def prefetching(batches, size, *arguments):
    ahead.append(size)
    return prefetch(batches, size, *arguments)
  monkeypatch.setattr(prefetch_lib, 'prefetch', prefetching)
  losses = {}
  for resident in ('no', 'yes'):
    fed.append([])
    pretrain.run(_config(folder, resident), str(tmp_path / resident))
    lines = (tmp_path / resident / 'metrics.jsonl').read_text().splitlines()
    losses[resident] = [json.loads(line)['loss'] for line in lines]

  assert ahead == [3, 3]  # on the devices, as on the host
  source = open_lib.folder(str(folder), 'train')
  colours = np.stack([decode.decode(source.read(k))[0, 0] for k in range(30)])
  assert len(np.unique(colours, axis=0)) == 30
  streamed, resident = fed
  assert len(streamed) == len(resident) == 7  # the second epoch begins in the 4th
  for step, ((_, grid, one), (data, _, two)) in enumerate(zip(streamed, resident)):
    rows = order.rows(0, step, _BATCH, 30)[grid]
    views = one['views'].reshape(_BATCH, 2, 16, 16, 3)
    images = data.images[two['rows'].reshape(-1)]
    assert (views == colours[rows][:, None, None, None]).all()
    assert (images == colours[rows][:, None, None]).all()
    assert one['labels'].reshape(-1).tolist() == (rows // _EACH).tolist()
    assert data.labels[two['rows'].reshape(-1)].tolist() == (rows // _EACH).tolist()
  # crops are drawn elsewhere, but here all are alike; all else is the same
  np.testing.assert_allclose(losses['no'], losses['yes'], rtol=1e-4)
