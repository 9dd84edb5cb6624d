"""Random images on the device: how fast is the step, without any input?

  python -m byol_jax.main --config=configs/fake_data.py
  python benchmarks/step.py --config=configs/fake_data.py

ResNet-50 at 224 pixels, the paper's step; nothing can be learned from it.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.data.source = 'fake'
  c.data.fake_images = 1024
  c.data.fake_classes = 1000
  c.train.batch_size = 256
  c.train.epochs, c.train.warmup_epochs = 25.0, 1.0
  c.log.every_steps = 10
  c.evaluation.final = False
  c.evaluation.every_epochs = 25.0
  return c
