"""A folder of small JPEGs, one sub-folder a class, as CIFAR-10 is often had: both
ways to feed it, streamed and from the device, train on the same images."""

import json

import numpy as np
from PIL import Image
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.feed import order
from byol_jax.data.feed import resident as resident_lib
from byol_jax.data.feed.resident import Resident
from byol_jax.data.feed.streamed import Streamed
from byol_jax.data.images import crops
from byol_jax.data.images import decode
from byol_jax.data.sources import open as open_lib
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.networks import architectures
from byol_jax.tasks import pretrain
from byol_jax.training import batch as batch_lib

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
  fed, ahead, prefetch = [], [], prefetch_lib.prefetch
  for kind in (Resident, Streamed):
    def noting(self, start_step, num_steps, grid, stop=None, batches=kind.batches):
      for batch in batches(self, start_step, num_steps, grid, stop):
        if grid.ndim == 3:  # training: [devices, sub-batches, examples]
          fed[-1].append((self.data, grid.reshape(-1), batch))
        yield batch
    monkeypatch.setattr(kind, 'batches', noting)
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
  source = open_lib.open_part('folder', path=str(folder))
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


@pytest.mark.parametrize('resident', ['yes', 'no'])
@pytest.mark.parametrize('labelled', [True, False])
def test_what_travels_is_what_batch_says(folder, resident, labelled):
  """Preflight and benchmarks compile for these very shapes."""
  data = open_lib.open_part('folder', path=str(folder))
  if not labelled:
    data = data._replace(labels=None, class_names=None)
  data = resident_lib.make_resident(data, resident, 1 << 30, 16)
  third = crops.Jigsaw(size=12) if labelled else None
  crop = crops.CropSpec(16, num_views=3, jigsaw=third)
  feed = feed_lib.make(data, crop, seed=0, batch_size=8)
  grid = grid_lib.example_grid(8, 2, 2)
  batch, = feed.batches(0, 1, grid)
  expected = (batch_lib.resident(grid.shape) if resident == 'yes' else
              batch_lib.streamed(grid.shape, 3, 16, labelled, 12 if labelled else 0))
  shared = batch_lib.shared((30, 32, 32, 3) if resident == 'yes' else None, labelled)
  del shared['key']
  for arrays, shapes in ((batch, expected), (feed.shared(), shared)):
    assert {name: (x.shape, x.dtype) for name, x in arrays.items()} == {
        name: (x.shape, x.dtype) for name, x in shapes.items()}
