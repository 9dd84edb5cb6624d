"""The paper's runs: ResNet-50 on ImageNet, batch 4096, a preset for each length.

  python -m byol_jax.main --config=configs/imagenet_r50.py:300 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Needs `imagenet2012` prepared by TFDS, best as array_record files. Argument: 40, 100,
300 or 1000 epochs (default 1000).

  epochs  hardware in the paper      linear evaluation, top-1
  1000    512 TPU v3 cores, 8 h      74.3 (paper, table 1)
  300     64 TPU v3 cores            72.5 (paper, table 16)
  40      -                          about 61.5 (reported for DeepMind's code)

None of these was run with this code yet.
"""

from byol_jax.config import base

# epochs: (base learning rate, weight decay, base tau). Paper, section 3.3 and
# appendix G; 40 and 100 are presets of DeepMind's public code.
PRESETS = {
    40: (0.45, 1e-6, 0.97),
    100: (0.45, 1e-6, 0.99),
    300: (0.3, 1e-6, 0.99),
    1000: (0.2, 1.5e-6, 0.996),
}


def get_config(epochs='1000'):
  if str(epochs) not in map(str, PRESETS):
    raise ValueError(f'there is no preset of {epochs} epochs: use 40, 100, 300 '
                     'or 1000, as in configs/imagenet_r50.py:300')
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  c.train.batch_size = 4096
  c.train.epochs, c.train.warmup_epochs = float(epochs), 10.0
  (c.train.base_learning_rate, c.train.weight_decay,
   c.train.tau_base) = PRESETS[int(epochs)]
  c.evaluation.examples = 4096
  return c
