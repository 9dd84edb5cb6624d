"""A run for the fault matrix: fake images, 60 steps of the smallest network."""

from byol_jax import config
from byol_jax.networks import architectures

# One block instead of eight: the matrix starts hundreds of runs, and the compiler
# takes most of their time.
architectures.ARCHITECTURES['resnet18'] = architectures.Architecture((1,), False, (8,), 8)


def get_config():
  c = config.base()
  with c.unlocked():
    c.data.update(source='fake', fake_images=64, fake_classes=4, image_size=8,
                  test_split='')
    c.network.update(
        name='resnet18', stem='small', precision='float32',
        projector_hidden_size=8, predictor_hidden_size=8, projection_size=4)
    c.train.update(batch_size=8, epochs=7.5, warmup_epochs=1.0,
                   base_learning_rate=0.5)
    c.log.update(every_steps=5, tensorboard=False)
    c.checkpoint.update(every_steps=5, keep=2)
    c.evaluation.update(examples=8, batch_size=8, every_epochs=100.0, final=False)
  return c
