"""All keys of a config, each once: default, kind, help, and the tasks that read it.

A config file starts from `base()` and states what differs.
"""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import ml_collections

from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import Kind
from byol_jax.config.kinds import list_of
from byol_jax.config.kinds import number
from byol_jax.config.kinds import numbers
from byol_jax.config.kinds import pair
from byol_jax.config.kinds import share
from byol_jax.config.kinds import text
from byol_jax.config.kinds import whole
from byol_jax.data.images import crops
from byol_jax.data.sources import names as names_lib
from byol_jax.methods import names as method_names
from byol_jax.networks import architectures
from byol_jax.views import recipes

PRETRAIN = ('pretrain',)
LEARNING = ('pretrain', 'preflight', 'preview')  # they build the train step
CHOOSING = ('linear_eval', 'logistic', 'finetune')  # on held-out training images
MEASURING = ('knn',) + CHOOSING
# they take `weights`
EVALUATING = MEASURING + (
    'finetune_pairs', 'retrieve', 'embed', 'index', 'export', 'report')
TASKS = ('pretrain', 'preview', 'prepare', 'preflight') + EVALUATING + (
    'search', 'compare', 'study')
RULES = ('0.1', '0.2')  # of reading folders and lists, by version
STUDIES = ('batch_size', 'augmentation', 'target', 'predictor', 'methods')


class Key(NamedTuple):
  """One key of the config, or a flag.

  Attributes:
    default: its value in `base()`.
    kind: what is allowed.
    help: what it is for.
    was: its value for a config of an older version that lacks it, where that is not
      the default of today.
    tasks: the tasks that read the key.
    free: the tasks that learn or measure the same with any value, so that it may differ
      when they go on. Such a key says where files are, how fast to go, what to write.
    of_the_weights: whether the key describes the encoder or how its images are
      prepared. Tasks that take `weights` take its value from them.
  """
  default: Any
  kind: Kind
  help: str
  was: Any = None
  tasks: tuple[str, ...] = TASKS
  free: tuple[str, ...] = ()
  of_the_weights: bool = False

  def described(self, name: str) -> str:
    """Returns the lines of --help for the key."""
    return '\n'.join([f'  --{name}={self.default}', *textwrap.wrap(
        f'{self.help} [{self.kind.words}]', 88, initial_indent=' ' * 6,
        subsequent_indent=' ' * 6)])


KEYS: dict[str, Key] = {}
_ABOUT: dict[str, str] = {}  # section: its title


def _add(section: str, tasks: tuple[str, ...], *, free: tuple[str, ...] = (),
         of_the_weights: bool = False, **keys: tuple[Any, ...]) -> None:
  """Adds keys to a section, each as a tuple of Key's first fields.

  Args:
    section: its name and, once, its title behind a colon.
    tasks, free, of_the_weights: the same for all the keys; see `Key`.
    **keys: (default, kind, help) or (default, kind, help, was).
  """
  section, _, title = section.partition(': ')
  _ABOUT.setdefault(section, title)
  for name, key in keys.items():
    KEYS[f'{section}.{name}'.removeprefix('.')] = Key(
        *key, tasks=tasks, free=free, of_the_weights=of_the_weights)


_POSITIVE, _COUNT = whole(above=0), whole(at_least=0)
_JIGSAW = crops.Jigsaw()
_SIDE = whole(at_least=0, at_most=4096)
_WIDTH, _BATCH = whole(above=0, at_most=2**20), whole(at_least=0, at_most=2**20)
_FEW, _CLASSES = whole(above=0, at_most=1000), whole(at_least=0, at_most=100_000)
_PART, _FACTOR = number(above=0, at_most=1), number(at_least=0, at_most=10)
_RATE = number(at_least=0, at_most=1000)
_SECONDS = whole(above=0, at_most=1_000_000)
_MEAN = number(at_least=0, at_most=1, words='from 0 to 1, as pixels are')
_STD = number(at_least=1e-3, at_most=1, words='from 0.001 to 1, as pixels are')

_add(': the run', TASKS, free=PRETRAIN, task=('pretrain', choice(*TASKS), 'what to do'))
_add('', TASKS, seed=(
    0, whole(at_least=0, below=2**31), 'what all random numbers follow from'))
_add('', PRETRAIN, init_from=(
    '', text(), 'weights to start from: a run, or an encoder as for weights'))
_add('', EVALUATING, free=EVALUATING, weights=(
    '', text(), 'what is evaluated: WORKDIR, WORKDIR/checkpoints/STEP, an export, or '
    'what others wrote (docs/weights.md)'))

_add(
    'data: the images (docs/input.md)', TASKS,
    source=('fashion_sample', choice(*names_lib.SOURCES, 'same'),
            'where they come from; same, in evaluations: from where the weights do'),
    tfds_name=('', text(), 'the data set, with source=tfds'),
    train_split=('train', text(), 'the part to learn from'),
    test_split=('test', text(), 'the part to test with; empty: none'),
    eval_image_size=(0, _SIDE, 'side of an evaluated image, pixels; 0: image_size'),
    resident=('auto', choice('auto', 'yes', 'no'), 'whether they live on the device'),
    resident_limit_mib=(1024, _POSITIVE, 'resident=auto streams what is larger, MiB'),
    fake_images=(1024, _POSITIVE, 'number of images, with source=fake'),
    fake_classes=(10, _CLASSES, 'number of classes, with source=fake; 0: no labels'))
_add(
    'data', TASKS, free=TASKS,
    path=('', text(), "the folder or file; TFDS's data_dir"),
    test_path=('', text(), 'the test part, with source=list, tar, parquet'),
    threads=(0, whole(at_least=0, at_most=1024), 'decoding threads; 0: one a core'))
_add('data', TASKS, max_pixels=(
    80_000_000, whole(above=0, at_most=2**31 - 1), 'larger images are left out'))
_add('data', TASKS, free=PRETRAIN, max_bad_images=(
    None, automatic(_COUNT), 'files of no use; None: 100 or 0.1 %, at most a tenth'))
_add(
    'data', TASKS, free=TASKS,  # the images found are compared
    list_root=('', text(), "where relative paths of a list start; empty: the list's "
               'folder'),
    path_column=('', text(), "title of a list's column of paths; empty: known ones"),
    rules=('0.2', choice(*RULES), 'the version by whose rules folders and lists '
           'are read; a run keeps those that it began with', '0.1'))
_add(
    'data', TASKS,
    image_column=('', text(), 'column of the images, with source=parquet; ending of '
                  'their names, with source=tar; empty: the only one'),
    label_column=('', text(), 'column of the labels in a list or in Parquet files, or '
                  "a field of a tar's .json; empty: known ones; 'none': no labels"),
    class_folders=('top', choice('top', 'leaf', 'none'), 'which sub-folders are '
                   'classes: those of the first level, those with images, or none'))
_add('data', LEARNING, free=LEARNING, prefetch=(
    2, whole(above=0, at_most=1024), 'batches begun ahead on the host, and as many '
    'waiting on the devices: 6 S^2 bytes an image of S pixels'))
_add(
    'data', LEARNING, of_the_weights=True,
    image_size=(224, whole(above=0, at_most=4096), 'side S of a view, pixels'),
    crop_area=(crops.AREA, pair('at most the whole image, 1', at_most=1),
               'area of a random crop, share of the image'),
    crop_aspect=(crops.ASPECT, pair(), 'its width / height'),
    crop_sampler=('byol', choice(*crops.SAMPLERS), "how it is drawn: BYOL's rule, or "
                  "TensorFlow's as SimCLR, or torchvision's as MoCo"),
    center_share=(crops.CENTER_SHARE, _PART, 'evaluated centre crop / shorter side'),
    mean=((0.485, 0.456, 0.406), numbers(3, _MEAN), 'red, green, blue: subtracted'),
    std=((0.229, 0.224, 0.225), numbers(3, _STD), 'red, green, blue: divided by'))
_add(
    'data', (*LEARNING, 'prepare'), of_the_weights=True,
    gray_range=((0.0, 65535.0), numbers(2, number(at_least=-1e9, at_most=1e9)),
                'values of images of more than 8 bits that become black and white; by '
                'default 16 bits become the upper 8'),
    background=('drop', choice('drop', 'white', 'gray', 'black'),
                'the colour behind transparent images; drop: no transparency'))

for _view, _recipe in (("view1: the first view, the paper's T (table 6)", recipes.T),
                       ("view2: the second view, T'", recipes.T_PRIME)):
  _add(
      f'augment.{_view}', LEARNING, of_the_weights=True,
      flip=(_recipe.flip, share(), 'probability of a horizontal flip'),
      jitter=(_recipe.jitter, share(), 'probability of the next four, in random order'),
      brightness=(_recipe.brightness, _FACTOR, 'how far it goes: brightness_mode'),
      contrast=(_recipe.contrast, _FACTOR, 'factor in 1 +- contrast'),
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
    'augment.jigsaw: one more crop, in 3 x 3 tiles, with method.jigsaw', LEARNING,
    of_the_weights=True,
    size=(_JIGSAW.size, whole(above=0, at_most=4096), 'side of the crop, pixels'),
    tile=(_JIGSAW.tile, whole(above=0, at_most=4096), 'side of a tile, at random '
          'within a third'),
    area=(_JIGSAW.area, pair('at most the whole image, 1', at_most=1),
          'area of the crop, share of the image'))
_add(
    'method: what is learned (docs/methods.md)', LEARNING, of_the_weights=True,
    name=('byol', choice(*method_names.METHODS), 'the method'),
    target=('auto', choice('auto', 'ema', 'online', 'stopped'), 'byol: what a '
            'prediction is compared with; ema: the moving average; online, stopped: '
            'the same network, with or without gradient'),
    beta=(0.0, share(), 'byol: weight of negatives (paper, section 5)'),
    temperature=(None, automatic(number(at_least=0.001, at_most=1000)),
                 "byol, simclr, moco: of similarities; None: 0.1, moco's 0.2", 0.1),
    queue=(65_536, whole(above=0, at_most=2**24), 'moco: keys of earlier batches'),
    symmetric=(False, flag(), 'moco: whether each view is a query once'),
    jigsaw=(0.0, share(), "moco: weight of the jigsaw's loss; InfoMin's 0.5"),
    shuffle=(True, flag(), 'moco: whether keys are normalized beside other images than '
             'their queries; with network.bn_groups > 1'))
_add(
    'network: the networks', LEARNING, of_the_weights=True,
    name=('resnet50', choice(*architectures.ARCHITECTURES), 'the encoder'),
    width=(1.0, number(above=0, at_most=32), 'factor of the channels'),
    stem=('imagenet', choice(*architectures.STEMS), 'the first convolution; small: '
          '3x3, for images of up to 64 pixels; half: 3x3 with stride 2'),
    padding=('torch', choice('torch', 'same'), "as torchvision's, or as DeepMind's"),
    last_gamma=(1.0, number(at_least=0, at_most=100),
                "scale at the end of a new block; 0: as in DeepMind's code"),
    embedding=(0, whole(at_least=0, at_most=2**20), 'outputs of a linear layer behind '
               'the encoder, as task=finetune_pairs makes one; 0: none'),
    heads=('auto', choice('auto', *architectures.HEADS),
           "form of projector and predictor; auto: the method's own"),
    projector_layers=(None, automatic(whole(above=0, at_most=10)),
                      "None: the heads' own, byol and moco 2, simclr and simsiam 3",
                      2),
    projector_hidden_size=(4096, _WIDTH, 'units of the hidden layer'),
    projection_size=(256, _WIDTH, 'units of the last layer'),
    predictor_hidden_size=(4096, _WIDTH, 'units of the hidden layer'),
    predictor=(True, flag(), 'byol: False is an ablation that collapses'),
    bn_decay_rate=(0.9, number(at_least=0, below=1), 'memory of running statistics'),
    bn_eps=(1e-5, number(above=0, at_most=1), 'what is added to variances'),
    bn_groups=(1, _FEW, 'groups of a sub-batch with statistics of their own; 8: as on '
               '8 GPUs that do not synchronize'),
    precision=('auto', choice('auto', 'bfloat16', 'float32'),
               'arithmetic; auto: float32 on a CPU, bfloat16 elsewhere',
               'bfloat16'))

_add(
    'train: the optimization', LEARNING, of_the_weights=True,
    batch_size=(4096, _POSITIVE, 'images a step, of all devices together'),
    accumulation_steps=(1, _POSITIVE, 'sub-batches, each with its own statistics'),
    epochs=(1000.0, automatic(number(above=0)), 'None: by the number of images'),
    warmup_epochs=(10.0, automatic(number(at_least=0)), 'None: 10, at most a tenth'),
    base_learning_rate=(0.2, automatic(_RATE), 'x batch_size / 256; None: by epochs'),
    rate_scaling=('linear', choice('linear', 'sqrt'),
                  'sqrt: base_learning_rate x the root of batch_size'),
    rate_per=('step', choice('step', 'epoch'), 'how often the rate goes down'),
    rate_end=(0.0, share(), 'rate at the end / peak'),
    weight_decay=(1.5e-6, automatic(_RATE), 'None: 1e-6, from 1000 epochs on 1.5e-6'),
    tau_base=(0.996, automatic(share()),
              "the target's memory at first; None: by the number of steps"),
    tau_batch_size=(0, _COUNT, 'the batch that tau_base is meant for; 0: this one'),
    target_init=('own_key', choice('own_key', 'copy'), 'its own weights, or a copy'),
    tau_end=(1.0, share(), 'that at the last step; equal to tau_base: it is constant'),
    optimizer=('lars', choice('lars', 'sgd'), 'the optimizer'),
    momentum=(0.9, share(), "the optimizer's"),
    trust_coefficient=(1e-3, number(above=0, at_most=1000), "LARS's"),
    rate_in_momentum=(False, flag(), "LARS: whether the rate multiplies the gradient "
                      "before the momentum, as in SimCLR's code"),
    decay_all=(False, flag(), 'whether biases and norms decay, too (MoCo, SimSiam)'),
    projector_rate=(1.0, _FACTOR, "factor of the projector's rate (paper, table 22)"),
    predictor_rate=(1.0, number(at_least=0, at_most=1000),
                    "factor of the predictor's rate (paper, table 21)"),
    predictor_schedule=('cosine', choice('cosine', 'constant'),
                        "constant: the predictor's rate stays (SimSiam)"))

_add(
    'prepare: shards of images', ('prepare',),
    output=('', text(), 'the folder to write'),
    short_side=(0, _COUNT, 'pixels; 0: images stay as they are'),
    quality=(95, whole(above=0, at_most=100), 'quality of JPEGs that become smaller'),
    images_per_shard=(1024, _POSITIVE, 'images a file'))

_add(
    'log: what a run tells', PRETRAIN, free=PRETRAIN,
    every_steps=(50, _POSITIVE, 'steps between two lines'),
    tensorboard=(True, flag(), 'whether TensorBoard events are written, too'),
    report=(True, flag(), 'whether report.html is written, at each measuring and '
            'at the end (docs/report.md)'))
_add(
    'checkpoint: what a run keeps', PRETRAIN, free=PRETRAIN,
    every_steps=(None, automatic(_POSITIVE),
                 'steps between two; None: a twentieth of the run, at most 1000'),
    keep=(3, _POSITIVE, 'how many of the newest'),
    keep_every=(0, _COUNT, 'and those of multiples of this step; 0: none'))
_add('safety: what a run does when something fails', LEARNING, free=LEARNING,
     on_nonfinite=('stop', choice('stop', 'skip'), 'stop, or skip the update, where '
                   'the loss or the gradient is not finite'))
_add(
    'safety', PRETRAIN, free=PRETRAIN,
    max_skipped=(10, _COUNT, 'steps in a row that may be skipped'),
    step_timeout=(900.0, number(at_least=0), 'seconds a step; 0: for ever'))
_add(
    'safety', TASKS, free=TASKS,
    heartbeat=(100, _SECONDS, 'seconds after which a silent process ends all'),
    startup_timeout=(300, _SECONDS, 'seconds to wait for the other processes'))

_add(
    'evaluation: what an encoder is worth', PRETRAIN, free=PRETRAIN,
    every_epochs=(None, automatic(number(above=0)),
                  'epochs between two; None: a tenth of the run'),
    examples=(2048, whole(above=1), 'training images that are measured then'),
    final=(True, flag(), 'k-NN and linear probe when the run ends'),
    final_images=(50_000, _POSITIVE, 'at most so many for these, on either side'))
_add('evaluation', PRETRAIN + EVALUATING, free=PRETRAIN,
     batch_size=(128, whole(above=0, at_most=2**16), 'images a device'))
_add(
    'evaluation', PRETRAIN + ('knn',), free=PRETRAIN,
    knn_k=(20, _POSITIVE, 'neighbours that vote'),
    knn_temperature=(0.07, number(above=0), 'T of a vote, exp(cosine / T)'))
_add(
    'evaluation', EVALUATING,
    network=('online', choice('online', 'target'), 'which one is evaluated'),
    center_share=(0.0, share(), 'centre crop / shorter side; 0: as in pretraining'))
_add('evaluation', EVALUATING, free=EVALUATING,
     cache=(True, flag(), 'whether features are kept beside the weights'))
_add('evaluation', MEASURING + ('finetune_pairs', 'retrieve'), baselines=(
    False, flag(), 'also an untrained encoder and raw pixels'))
_add(
    'evaluation', MEASURING,
    seeds=(1, _FEW, 'repeats with seed, seed + 1, ...: mean and deviation'),
    metric=('auto', choice('auto', 'top1', 'mean_per_class'),
            "what choices are made by; auto: the data set's own"))
_add('evaluation', ('linear_eval', 'finetune', 'finetune_pairs'), crop_area=(
    (), list_of(empty=True),
    "area of a random crop, smallest and largest share of the image; (): the run's"))
_add('evaluation', CHOOSING, holdout=(
    0.1, number(above=0, below=1), 'share of the training images that chooses'))

_add(
    'linear_eval: paper, appendix C.1', ('linear_eval',),
    features=('auto', choice('auto', 'crops', 'cached'), 'random crops and '
              'flips; cached: centred images; auto: cached below 100,000 images'),
    epochs=(80.0, number(above=0), 'length of the training'),
    batch_size=(0, _BATCH, '0: 1024, or 256 for fewer than 100,000 images'),
    learning_rates=((0.4, 0.3, 0.2, 0.1, 0.05), list_of(), 'rates to choose from'),
    refit=(True, flag(), 'with the chosen rate on all training images'))
_add(
    'logistic: paper, appendix D.2', ('logistic',),
    l2_range=((1e-6, 1e5), pair(), 'smallest and largest penalty'),
    l2_values=(45, _FEW, 'number of penalties, even in the logarithm'),
    l2=((), list_of(zero=True, empty=True), 'penalties in place of these'),
    standardize=(False, flag(), 'whether features get mean 0 and deviation 1'),
    max_iterations=(200, _POSITIVE, 'steps of L-BFGS, for each penalty'))
_add(
    'finetune: paper, appendix C.2', ('finetune',),
    labels=(0.01, _PART, 'share of the labels that is used'),
    learning_rates=((0.1, 0.05, 0.02, 0.01, 0.005), list_of(), 'rates to choose from'),
    epochs=((30.0, 50.0), list_of(), 'lengths to choose from'),
    weight_decays=((0.0,), list_of(zero=True), 'decays to choose from'),
    encoder_rate=(1.0, number(at_least=0), "the encoder's rate / the classifier's"),
    batch_size=(0, _BATCH, '0: 1024, or less that makes 12 steps an epoch'))
_PAIRS = ('finetune_pairs',)
_add(
    'pairs: learning from what people click (docs/pairs.md)', _PAIRS, free=_PAIRS,
    path=('', text(), 'pairs, or an event log: .csv, .tsv, .parquet; empty: made ones'),
    items=('', text(), 'the images of each item, a table of item and image; empty: '
           'images are items'))
_add(
    'pairs', _PAIRS,
    made=(8000, _POSITIVE, 'pairs that are made of the labels, without pairs.path'),
    noise=(0.3, share(), 'share of the made pairs whose positive is of any class'),
    window_minutes=(30.0, number(above=0), 'longest time between two events of a pair'),
    window_events=(5, _FEW, 'how many events later the second one may be'),
    click_weight=(1.0, _FACTOR, 'weight of a pair of clicks or views'),
    cart_weight=(2.0, number(at_least=0, at_most=1000), 'of one put into the cart'),
    purchase_weight=(4.0, number(at_least=0, at_most=1000), 'of one that was bought'),
    most_events=(50, _POSITIVE, "a session with more is a program's: dropped"),
    least_count=(1, _POSITIVE, 'times that a pair must have been seen'),
    most_of_item=(200, _COUNT, 'most pairs of an item, the heaviest first; 0: all'),
    duplicates=(0.98, number(above=0, at_most=1), 'cosine from which two images are '
                'one product, features standardized; 1: equal bytes only'),
    test=(0.2, number(at_least=0, at_most=0.9), 'share of the items, and of the time, '
          'whose pairs test'),
    holdout=(0.2, number(above=0, below=1), 'of the other items, whose pairs choose'),
    popularity=(True, flag(), 'whether popular items count less as negatives'),
    train=('head', choice('head', 'encoder', 'scratch'), 'what learns: a linear head, '
           'the encoder behind one, or both from random weights'),
    dimensions=(0, whole(at_least=0, at_most=2**16), "outputs of the head; 0: the "
                "encoder's, at most 512"),
    temperatures=((0.1, 0.3, 0.5), list_of(), 'of similarities, to choose from'),
    learn_temperature=(False, flag(), 'whether it learns on, from these'),
    learning_rates=((0.1, 0.3), list_of(), "the head's, to choose from"),
    epochs=(30.0, number(above=0), "passes of the head's training over the pairs"),
    batch_size=(128, whole(above=1, at_most=2**16), 'pairs a step, of all devices; '
                'fewer where there are fewer'),
    encoder_rates=((0.1, 0.03), list_of(), "the encoder's rates, to choose from"),
    encoder_rate=(0.1, number(above=0, at_most=1000), "each of them / the head's"),
    encoder_epochs=(6.0, number(above=0), "passes of the encoder's training"),
    byol_weight=(0.0, number(at_least=0, at_most=1000), "of BYOL's loss on the same "
                 "images beside that of the pairs, with pairs.train=encoder"),
    statistics=('auto', choice('auto', 'frozen', 'batch'), 'what batch normalization '
                'uses meanwhile; auto: frozen, from scratch batch'))
_add(
    'embed: features for use elsewhere', ('embed',),
    split=('train', text(), 'the part to encode'),
    formats=('npz,parquet', choice('npz', 'parquet', 'npz,parquet', 'parquet,npz'),
             'files to write'))
_add(
    'export: the encoder for other programs (docs/weights.md)', ('export',),
    format=('safetensors', choice('safetensors', 'timm', 'onnx', 'all'),
            'what is written: our own file; a folder for timm, transformers and '
            'torchvision; an ONNX graph'),
    preparation=(True, flag(), 'onnx: whether the graph prepares the images'),
    half=(False, flag(), 'onnx: whether it has float16 weights, of half the size'),
    licence=('', text(), "of the weights, for the model card, as in apache-2.0"))
_add(
    'retrieve: how good is a search for what looks alike? (docs/retrieval.md)',
    ('retrieve',),
    gallery=('test', text(), 'the part that is searched'),
    queries=('', text(), 'the part that is asked about; empty: each image of the '
             'gallery against all others'),
    queries_path=('', text(), 'data.path of the queries, where it is another one'),
    product=('', text(), 'with source=list: the column whose value is the same for '
             'relevant images; empty: the label'),
    pairs=('', text(), 'a CSV or Parquet file of query,item[,weight] that says what is '
           'relevant, in place of labels'),
    recall_at=((1, 5, 10, 100), list_of(), 'numbers K of Recall@K'),
    duplicate=(0.98, number(at_least=-1, at_most=1), 'cosine from which a query counts '
               'as a near-duplicate of an image'))
_add(
    'index: a catalogue to search in (docs/retrieval.md)', ('index',),
    split=('train', text(), 'the part to put into it'),
    dtype=('float32', choice('float32', 'float16'), 'of the vectors'),
    thumbnail=(128, whole(at_least=16, at_most=1024), 'longer side, pixels'),
    approximate_from=(50_000, _POSITIVE, 'images from which a search is approximate'))
_add(
    'search: what looks like this? (docs/retrieval.md)', ('search',),
    index=('', text(), 'the workdir of task=index, or that of task=embed'),
    query=('', text(), 'a picture, a folder of pictures, or the name of an image in '
           'the index'),
    k=(10, whole(above=0, at_most=1000), 'images to find for each'),
    where=('', text(), 'a condition on columns of the index, as in "price < 50"'))
_add('report: the page of a run (docs/report.md)', ('report',), images=(
    2000, _POSITIVE, 'training images whose features are looked at'))
_add('preview: what a run would learn from', ('preview',), looked_at=(
    1000, _POSITIVE, 'training images whose formats and oddities are looked for'))
_add('compare: a table over runs', ('compare',),
     workdirs=('', text(), 'separated by commas; * stands for many'))
_add(
    'study: a grid of pretrainings (docs/studies.md)', ('study',),
    axis=('methods', choice(*STUDIES), "what is varied, as in the paper's tables"),
    grid=('', text(), "cells in place of the axis's: 'NAME: KEY=VALUE KEY=VALUE; "
          "NAME: KEY=VALUE'"),
    by_method=('', text(), "what all cells of a method change, likewise: 'simclr: "
               "KEY=VALUE'"),
    seeds=(3, _FEW, 'runs of each cell, the first with seed, the next with seed + 1'),
    reference=('', text(), "the cell that others are compared with; empty: the axis's "
               "own, or the grid's first"),
    figure=('linear', choice('linear', 'knn'), 'what study.svg shows'))
_add(
    'preflight: does the step fit a pod?', ('preflight',),
    topology=('v3-512', text(), 'the devices to compile for; or as in v3:16x16'),
    images=(1_281_167, _POSITIVE, 'number of training images; none is opened'),
    classes=(1000, _CLASSES, 'number of classes; 0: no labels'))


def base() -> ml_collections.ConfigDict:
  """Returns the paper's 1000-epoch run of ResNet-50 (section 3.3), without data."""
  c = ml_collections.ConfigDict()
  for name, key in KEYS.items():
    *sections, last = name.split('.')
    section = c
    for part in sections:
      if part not in section:
        section[part] = ml_collections.ConfigDict()
      section = section[part]
    if key.kind.refusal(None):
      section[last] = key.default
    else:  # a new object each: keys that shared one would share their value
      section[last] = ml_collections.config_dict.placeholder(key.kind.type)
      section[last] = key.default
  return c.lock()


def free(task: str) -> tuple[str, ...]:
  """Returns the keys that may differ when a task goes on: they do not change it."""
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks or task in key.free)


def unused(task: str) -> tuple[str, ...]:
  """Returns the keys that a task does not read, except those `of_the_weights`."""
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks and not key.of_the_weights)


def of_the_weights() -> tuple[str, ...]:
  """Returns the keys that evaluations take from the weights."""
  return tuple(name for name, key in KEYS.items() if key.of_the_weights)


def was() -> dict[str, Any]:
  """Returns each key's value for a config that is older than the key."""
  return {name: list(value) if isinstance(value, tuple) else value
          for name, key in KEYS.items()
          for value in [key.default if key.was is None else key.was]}


def described() -> str:
  """Returns the lines of --help, section by section."""
  return '\n'.join(
      f'\n{section}{": " * bool(section)}{title}\n' + '\n'.join(
          key.described(f'config.{name}') for name, key in KEYS.items()
          if name.rpartition('.')[0] == section)
      for section, title in _ABOUT.items())
