"""The keys of the images and of their views."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config import names
from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import CLASSES
from byol_jax.config.kinds import COUNT
from byol_jax.config.kinds import FACTOR
from byol_jax.config.kinds import number
from byol_jax.config.kinds import numbers
from byol_jax.config.kinds import pair
from byol_jax.config.kinds import PART
from byol_jax.config.kinds import path
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import share
from byol_jax.config.kinds import text
from byol_jax.config.kinds import whole
from byol_jax.data.images import crops
from byol_jax.data.sources import names as source_names
from byol_jax.views import recipes

SECTIONS = key.Sections()
_add = SECTIONS.add
_JIGSAW = crops.Jigsaw()
_SIDE = whole(at_least=0, at_most=4096)
_MEAN = number(at_least=0, at_most=1, words='from 0 to 1, as pixels are')
_STD = number(at_least=1e-3, at_most=1, words='from 0.001 to 1, as pixels are')

_add(
    'data: the images (docs/input.md)', names.TASKS, of_the_data=True,
    source=('fashion_sample', choice(*source_names.SOURCES, 'same'),
            'where they come from; same, in evaluations: from where the weights do'),
    tfds_name=('', text(), 'the data set, with source=tfds'),
    train_split=('train', text(), 'the part to learn from'),
    test_split=('test', text(), 'the part to test with; empty: none'),
    resident=('auto', choice('auto', 'yes', 'no'), 'whether they live on the device'),
    resident_limit_mib=(1024, POSITIVE, 'resident=auto streams what is larger, MiB'),
    fake_images=(1024, POSITIVE, 'number of images, with source=fake'),
    fake_classes=(10, CLASSES, 'number of classes, with source=fake; 0: no labels'))
_add('data', names.TASKS, eval_image_size=(
    0, _SIDE, 'side of an evaluated image, pixels; 0: image_size'))
_add('data', names.TASKS, free=names.TASKS, threads=(
    0, whole(at_least=0, at_most=1024), 'decoding threads; 0: one a core'))
_add('data', names.TASKS, of_the_data=True, max_pixels=(
    80_000_000, whole(above=0, at_most=2**31 - 1), 'larger images are left out'))
_add('data', names.TASKS, free=names.PRETRAIN, of_the_data=True, max_bad_images=(
    None, automatic(COUNT), 'files of no use; None: 100 or 0.1 %, at most a tenth'))
_add(
    # the images found are compared
    'data', names.TASKS, free=names.TASKS, of_the_data=True,
    path=('', path(), "the folder or file; TFDS's data_dir"),
    test_path=('', path(), 'the test part, with source=list, tar, parquet'),
    list_root=('', path(), "where relative paths of a list start; empty: the list's "
               'folder'),
    path_column=('', text(), "title of a list's column of paths; empty: known ones"),
    rules=('0.2', choice(*names.RULES), 'the version by whose rules folders and lists '
           'are read; a run keeps those that it began with', '0.1'))
_add(
    'data', names.TASKS, of_the_data=True,
    image_column=('', text(), 'column of the images, with source=parquet; ending of '
                  'their names, with source=tar; empty: the only one'),
    label_column=('', text(), 'column of the labels in a list or in Parquet files, or '
                  "a field of a tar's .json; empty: known ones; 'none': no labels"),
    class_folders=('top', choice('top', 'leaf', 'none'), 'which sub-folders are '
                   'classes: those of the first level, those with images, or none'))
_add('data', names.EVALUATING, free=names.EVALUATING, own=(
    '', text(), "source=same: keys of this section, joined by commas, that are not the "
    "run's though they have their defaults; flags with a default set it"))
_add('data', names.LEARNING, free=names.LEARNING, prefetch=(
    2, whole(above=0, at_most=1024), 'batches begun ahead on the host, and as many '
    'waiting on the devices: 6 S^2 bytes an image of S pixels'))
_add(
    'data', names.LEARNING, of_the_weights=True,
    image_size=(224, whole(above=0, at_most=4096), 'side S of a view, pixels'),
    crop_area=(crops.AREA, pair('at most the whole image, 1', at_most=1),
               'area of a random crop, share of the image'),
    crop_aspect=(crops.ASPECT, pair(), 'its width / height'),
    crop_sampler=('byol', choice(*crops.SAMPLERS), "how it is drawn: BYOL's rule, or "
                  "TensorFlow's as SimCLR, or torchvision's as MoCo"),
    center_share=(crops.CENTER_SHARE, PART, 'evaluated centre crop / shorter side'),
    mean=((0.485, 0.456, 0.406), numbers(3, _MEAN), 'red, green, blue: subtracted'),
    std=((0.229, 0.224, 0.225), numbers(3, _STD), 'red, green, blue: divided by'))
_add(
    'data', (*names.LEARNING, 'prepare'), of_the_weights=True,
    gray_range=((0.0, 65535.0), numbers(2, number(at_least=-1e9, at_most=1e9)),
                'values of images of more than 8 bits that become black and white; by '
                'default 16 bits become the upper 8'),
    background=('drop', choice('drop', 'white', 'gray', 'black'),
                'the colour behind transparent images; drop: no transparency'))
for _view, _recipe in (("view1: the first view, the paper's T (table 6)", recipes.T),
                       ("view2: the second view, T'", recipes.T_PRIME)):
  _add(
      f'augment.{_view}', names.LEARNING, of_the_weights=True,
      flip=(_recipe.flip, share(), 'probability of a horizontal flip'),
      jitter=(_recipe.jitter, share(), 'probability of the next four, in random order'),
      brightness=(_recipe.brightness, FACTOR, 'how far it goes: brightness_mode'),
      contrast=(_recipe.contrast, FACTOR, 'factor in 1 +- contrast'),
      saturation=(_recipe.saturation, share(), 'factor in 1 +- saturation'),
      hue=(_recipe.hue, share(), 'delta in +-hue of a turn'),
      grayscale=(_recipe.grayscale, share(), 'probability of gray'),
      blur=(_recipe.blur, share(), 'probability of a Gaussian blur'),
      blur_sigma=(_recipe.blur_sigma, pair('at most 1,000 pixels', at_most=1000),
                  'its sigma, pixels'),
      solarize=(_recipe.solarize, share(), 'probability of inverting what is bright'),
      solarize_threshold=(_recipe.solarize_threshold, share(), 'how bright it is'),
      brightness_mode=(_recipe.brightness_mode, choice('add', 'times'), 'a delta in '
                       '+-brightness, or a factor in 1 +- brightness'),
      color=(_recipe.color, choice('tf', 'pil'), "TensorFlow's rules or "
              "torchvision's (brightness: times; contrast, saturation: by gray)"),
      blur_border=(_recipe.blur_border, choice('zero', 'reflect'),
                   'what a blur sees beyond the border'),
      randaugment=(_recipe.randaugment, whole(at_least=0, at_most=10), 'layers, each '
                   'of one of 15 operations, before gray; InfoMin: 2; 0: none'),
      randaugment_magnitude=(_recipe.randaugment_magnitude, number(
          at_least=0, at_most=10), 'how strong they are'))
_add(
    'augment.jigsaw: one more crop, in 3 x 3 tiles, with method.jigsaw', names.LEARNING,
    of_the_weights=True,
    size=(_JIGSAW.size, whole(above=0, at_most=4096), 'side of the crop, pixels'),
    tile=(_JIGSAW.tile, whole(above=0, at_most=4096), 'side of a tile, at random '
          'within a third'),
    area=(_JIGSAW.area, pair('at most the whole image, 1', at_most=1),
          'area of the crop, share of the image'))
