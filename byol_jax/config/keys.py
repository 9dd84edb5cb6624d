"""Every key of a run with its default.

A config file starts from `base()` and states what differs.
"""

from __future__ import annotations


import ml_collections

from byol_jax.views import recipes

MEASURING = ('knn', 'linear_eval', 'logistic', 'finetune')
EVALUATING = MEASURING + ('embed', 'export')  # what is done with `weights`
TASKS = ('pretrain', 'prepare', 'preflight') + EVALUATING + ('compare',)


def base() -> ml_collections.ConfigDict:
  """The paper's 1000-epoch run of ResNet-50 (section 3.3), on no data yet."""
  # a new object each: keys that shared one would share their value
  automatic = ml_collections.config_dict.placeholder
  c = ml_collections.ConfigDict()
  c.task = 'pretrain'
  c.seed = 0
  c.init_from = ''              # weights to start from: a workdir, or one of its
                                # checkpoints; see init_from.py
  c.weights = ''                # what evaluations measure: likewise, or an
                                # exported file; see weights.py

  c.data = ml_collections.ConfigDict(dict(
      source='fashion_sample',    # see data/sources.py; 'same', in evaluations:
                                  # what the weights were trained on
      path='',                    # of the folder or file, TFDS's data_dir
      test_path='',               # the list of the test part, source='list'
      tfds_name='',               # for source='tfds'
      train_split='train',
      test_split='test',          # '' for none
      image_size=224,             # of a view, pixels
      eval_image_size=0,          # of an evaluated image; 0: image_size
      crop_area=(0.08, 1.0),      # share of the image
      crop_aspect=(3 / 4, 4 / 3),
      center_share=0.875,         # evaluation: centre crop / shorter side
      mean=(0.485, 0.456, 0.406),
      std=(0.229, 0.224, 0.225),
      resident='auto',            # 'auto', 'yes', 'no': images on the device
      resident_limit_mib=1024,    # 'auto' streams what is larger
      threads=0,                  # that decode; 0: one a core
      prefetch=2,                 # batches begun ahead on the host, and as many
                                  # waiting on the devices: 6 S^2 bytes an image
      fake_images=1024,           # for source='fake'
      fake_classes=10,
  ))
  # how many files may be of no use; None: see data/bad.py
  c.data.max_bad_images = automatic(int)
  c.augment = ml_collections.ConfigDict(dict(
      view1=recipes.T._asdict(), view2=recipes.T_PRIME._asdict()))
  c.method = ml_collections.ConfigDict(dict(name='byol'))  # methods/names.py
  c.network = ml_collections.ConfigDict(dict(
      name='resnet50',
      width=1.0,
      stem='imagenet',            # or 'small', 'half': see networks/resnet.py
      padding='torch',            # or 'same', DeepMind's
      last_gamma=1.0,             # paper; 0: DeepMind's public code
      projector_hidden_size=4096,
      projection_size=256,
      predictor_hidden_size=4096,
      predictor=True,             # False: an ablation that collapses
      bn_decay_rate=0.9,
      bn_eps=1e-5,
      precision='bfloat16',       # or 'float32': arithmetic, not parameters
  ))
  c.train = ml_collections.ConfigDict(dict(
      batch_size=4096,            # global
      accumulation_steps=1,       # sub-batches, each with its own statistics
      target_init='own_key',      # or 'copy'
      tau_batch_size=0,           # that tau_base is meant for; at another one tau
                                  # is scaled: `optim.ema_rate`. 0: it is not
      momentum=0.9,
      trust_coefficient=1e-3,
  ))
  # None is automatic, from the number of images and the batch: see `resolve`.
  for key, value in dict(
      epochs=1000.0, warmup_epochs=10.0,
      base_learning_rate=0.2,     # x batch_size / 256
      weight_decay=1.5e-6, tau_base=0.996).items():
    c.train[key] = automatic(float)
    c.train[key] = value

  c.prepare = ml_collections.ConfigDict(dict(   # task='prepare'
      output='',                  # the folder to write
      short_side=0,               # pixels; 0: images stay as they are
      quality=95,                 # of the JPEGs, where images become smaller
      images_per_shard=1024,
  ))
  c.log = ml_collections.ConfigDict(dict(every_steps=50, tensorboard=True))
  c.checkpoint = ml_collections.ConfigDict(dict(
      keep=3,                     # the newest ones
      keep_every=0))              # and those of multiples of this step; 0: none
  c.checkpoint.every_steps = automatic(int)     # None: 20 a run, at most 1000
  c.safety = ml_collections.ConfigDict(dict(
      on_nonfinite='stop',        # or 'skip' the update, where the loss or the
                                  # gradient is not finite
      max_skipped=10,             # so many steps in a row
      step_timeout=900.0,         # seconds; 0: for ever. See watchdog.py
      heartbeat=100,              # seconds after which a silent process ends all
      startup_timeout=300,        # seconds to wait for the other processes
  ))
  c.evaluation = ml_collections.ConfigDict(dict(
      examples=2048,              # for the collapse measures and periodic k-NN,
                                  # all of the training part
      batch_size=128,             # a device
      knn_k=20,
      knn_temperature=0.07,
      final=True,                 # k-NN and linear probe when the run ends
      final_images=50_000,        # at most so many, on either side
      # of the tasks that evaluate `weights`:
      network='online',           # or 'target'
      baselines=False,            # also an untrained encoder and raw pixels
      seeds=1,                    # seed, seed + 1, ...: mean and deviation
      metric='auto',              # that choices are made by: 'top1',
                                  # 'mean_per_class'; auto: the data set's own
      holdout=0.1,                # share of the training images that chooses
      center_share=0.0,           # 0: as in pretraining
      cache=True,                 # features are kept beside the weights
  ))
  c.evaluation.every_epochs = automatic(float)  # None: ten times a run
  c.linear_eval = ml_collections.ConfigDict(dict(   # paper, appendix C.1
      features='auto',            # 'crops' at random, and flips; 'cached': centred,
                                  # computed once; auto: cached below 100,000 images
      epochs=80.0,
      batch_size=0,               # 0: 1024, or 256 for fewer than 100,000 images
      learning_rates=(0.4, 0.3, 0.2, 0.1, 0.05),
      refit=True,                 # with the chosen rate on all training images
  ))
  c.logistic = ml_collections.ConfigDict(dict(      # paper, appendix D.2
      l2_range=(1e-6, 1e5),
      l2_values=45,               # spaced evenly in the logarithm
      l2=(),                      # or these
      standardize=False,
      max_iterations=200,
  ))
  c.finetune = ml_collections.ConfigDict(dict(      # paper, appendix C.2
      labels=0.01,                # share of the labels that is used
      learning_rates=(0.1, 0.05, 0.02, 0.01, 0.005),
      epochs=(30.0, 50.0),
      weight_decays=(0.0,),
      encoder_rate=1.0,           # the encoder's rate / the classifier's
      batch_size=0,               # 0: 1024, or less that makes 12 steps an epoch
  ))
  c.embed = ml_collections.ConfigDict(dict(
      split='train',
      formats='npz,parquet',
  ))
  c.compare = ml_collections.ConfigDict(dict(
      workdirs='',                # separated by commas; * stands for many
  ))
  c.preflight = ml_collections.ConfigDict(dict(
      topology='v3-512',          # see preflight.py
      images=1_281_167,           # of the training part, which is not opened
      classes=1000,               # 0: no labels
  ))
  return c.lock()
