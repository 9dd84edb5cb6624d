"""The same product in two shops: emoji, each drawn by two vendors.

  python benchmarks/emoji.py [--folder=FOLDER] [--epochs=12] [--seeds=3]

Fetches emoji-datasource-google and emoji-datasource-twitter 16.0.0 by npm (136 MB) into
the folder, unless they are there. Their code is under the MIT licence; the README of
both says that Google's drawings are under Apache 2.0, Twitter's under CC BY 4.0. Some
1,900 emoji are the products, Google's drawings the queries, Twitter's the catalogue. A
quarter of the products tests, and is in no other part: BYOL learns from the drawings of
the others, with all tones of skin, and heads from pairs of the same emoji. Queries are
as drawn, or moved and scaled: 22 to 30 pixels large, anywhere on 32.

Prints recall@1 and @10 in percent, of raw pixels, the untrained encoder and BYOL. On
one core about ten minutes a seed.
"""

import argparse
import io
import json
import os
import subprocess
import tarfile
import tempfile

import numpy as np
from PIL import Image

import byol_jax
from byol_jax.data.sources import table
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation import subject
from byol_jax.retrieval import batches
from byol_jax.retrieval import groups
from byol_jax.retrieval import head as head_lib
from byol_jax.retrieval import learn
from byol_jax.retrieval import neighbours
from byol_jax.retrieval.pairs import Pairs
from byol_jax.weights import load as weights_lib

_VENDORS, _VERSION = ('google', 'twitter'), '16.0.0'
_SIDE, _SMALLEST, _LARGEST = 32, 22, 30
_TESTED, _RECALL_AT = 0.25, (1, 10)
_HOW = learn.Settings(
    dimensions=0, temperatures=(0.1, 0.3, 0.5), learn_temperature=False,
    learning_rates=(0.1, 0.3), epochs=30.0, batch_size=128, popularity=True,
    encoder_rates=(), encoder_rate=0.0, encoder_epochs=0.0, freeze_statistics=True,
    seed=0)


def fetch(folder):
  """Returns {vendor: {name of a file: PNG}}, and {name of a product's: all of its}."""
  pngs = {}
  for vendor in _VENDORS:
    package = f'emoji-datasource-{vendor}'
    path = os.path.join(folder, f'{package}-{_VERSION}.tgz')
    if not os.path.exists(path):
      subprocess.run(['npm', 'pack', '--silent', f'{package}@{_VERSION}'], cwd=folder,
                     check=True)
    with tarfile.open(path) as tar:
      pngs[vendor] = {os.path.basename(file.name): tar.extractfile(file).read()
                      for file in tar if f'/img/{vendor}/64/' in file.name}
      listed = json.load(tar.extractfile('package/emoji.json'))
  tones = {emoji['image']: [emoji['image'], *(
      tone['image'] for tone in emoji.get('skin_variations', {}).values())]
           for emoji in listed}
  return pngs, {name: [file for file in files if all(
      file in of_vendor for of_vendor in pngs.values())]
                for name, files in tones.items() if all(
                    name in of_vendor for of_vendor in pngs.values())}


def drawn(png, rng=None):
  """Returns an emoji on white, uint8 [32, 32, 3]; moved and scaled with `rng`."""
  image = Image.open(io.BytesIO(png)).convert('RGBA')
  side, x, y = _SIDE, 0, 0
  if rng is not None:
    side = int(rng.integers(_SMALLEST, _LARGEST + 1))
    x, y = (int(k) for k in rng.integers(0, _SIDE - side + 1, 2))
  image = image.resize((side, side), Image.Resampling.BOX)
  page = Image.new('RGB', (_SIDE, _SIDE), 'white')
  page.paste(image, (x, y), image)
  return np.asarray(page)


def pretrain(folder, images, epochs, seed):
  """Returns the workdir of BYOL's training; colours stay, they tell emoji apart."""
  path = os.path.join(folder, 'drawings.npz')
  np.savez(path, x_train=images)
  return os.fspath(byol_jax.pretrain(
      config='fashion', out=os.path.join(folder, f'run-{epochs}-{seed}'), seed=seed,
      **{'data.source': 'npz', 'data.path': path, 'data.image_size': 24,
         'data.eval_image_size': _SIDE, 'data.mean': (0.8,) * 3,
         'data.std': (0.3,) * 3, 'train.epochs': float(epochs),
         'train.warmup_epochs': epochs / 10,
         'evaluation.every_epochs': float(epochs), 'log.report': False}))


def learned(x, size, pairs, noise, seed, folder):
  """Returns the embedding of a head that `pairs` of the first emoji have taught.

  Args:
    x: float32 [2 P, D], the features of the queries, then of the catalogue.
    size: the training emoji are the first.
    pairs: how many pairs; noise: the share of them with any positive.
    seed: of the choice.
    folder: for the training's checkpoints.
  """
  rng = np.random.default_rng(seed)
  anchor = rng.permutation(size)[:pairs]
  positive = np.where(rng.random(pairs) < noise, rng.integers(size, size=pairs), anchor)
  rows = np.arange(len(x))
  log = Pairs(anchor, positive + len(x) // 2, np.ones(pairs))
  parts = groups.divide(log, rows, 0.2, seed, by_time=False)
  with tempfile.TemporaryDirectory(dir=folder) as place:
    task = learn.Task(log, parts.kept, parts.held_out, batches.Items([], rows[:, None]),
                      rows, stages_lib.Stages(place, place), '')
    return head_lib.finished(learn.learn_head(x, task, _HOW._replace(seed=seed)).head)


def recalls(x, size):
  """Returns recall@1 and @10 of the emoji behind the first `size`, in percent."""
  queries, catalogue = np.split(x, 2)
  products = np.arange(len(queries) - size)
  values = neighbours.measure(catalogue[size:], queries[size:], neighbours.by_label(
      products, products), _RECALL_AT).values
  return (100 * values[:, :len(_RECALL_AT)].mean(axis=0)).tolist()


def measure(folder, epochs, seed):
  """Yields (queries, encoder, pairs, recalls)."""
  (pngs, products), rng = fetch(folder), np.random.default_rng(seed)
  names = rng.permutation(sorted(products)).tolist()
  size = len(names) - round(_TESTED * len(names))
  images = np.stack([drawn(of_vendor[file]) for of_vendor in pngs.values()
                     for name in names[:size] for file in products[name]])
  print(f'{size} products teach, {len(names) - size} test; {len(images)} drawings '
        'pretrain', flush=True)
  weights = weights_lib.load(pretrain(folder, images, epochs, seed), 'online')
  inference = subject.make_inference(weights, image_size=_SIDE, center_share=1.0,
                                     batch_size=256)
  images = table.Images(images, None, None, 'drawings')
  for asked, moved in (('as drawn', None), ('moved and scaled', rng)):
    shops = table.Images(np.stack(
        [drawn(pngs['google'][name], moved) for name in names]
        + [drawn(pngs['twitter'][name]) for name in names]), None, None, 'shops')
    for kind in reversed(figures.kinds('byol')):
      x = subject.make(kind, weights, inference, features_lib.Store(None, 256), images,
                       np.arange(images.size)).features(
                           shops, np.arange(shops.size), is_test=False).x
      yield asked, kind, 'none', recalls(x, size)
      for pairs, noise in ((300, 0), (size, 0), (size, 0.3)):
        head = learned(x, size, pairs, noise, seed, folder)
        yield asked, kind, f'{pairs}, {noise:.0%} noise', recalls(head(x), size)


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--folder', default='runs/emoji', help='of drawings and runs')
  parser.add_argument('--epochs', type=int, default=12)
  parser.add_argument('--seeds', type=int, default=1)
  arguments = parser.parse_args()
  os.makedirs(arguments.folder, exist_ok=True)
  found = {}
  for seed in range(arguments.seeds):
    for *what, said in measure(arguments.folder, arguments.epochs, seed):
      found.setdefault(tuple(what), []).append(said)
      print(seed, *what, said, sep='; ', flush=True)
  lines = []
  for (asked, kind, pairs), each in found.items():
    mean, deviation = np.mean(each, axis=0), np.std(each, axis=0)
    lines.append({'queries': asked, 'encoder': kind, 'pairs': pairs,
                  'recall_at_1_and_10': mean.tolist(), 'deviation': deviation.tolist()})
    print(f'{asked:<18}{kind:<12}{pairs:<18}' + ''.join(
        f'{m:>8.1f} ± {d:<4.1f}' for m, d in zip(mean, deviation)))
  print(json.dumps(lines))


if __name__ == '__main__':
  main()
