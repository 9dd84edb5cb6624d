"""The keys of what an encoder is worth."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config import names
from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import FEW
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import list_of
from byol_jax.config.kinds import number
from byol_jax.config.kinds import pair
from byol_jax.config.kinds import PART
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import share
from byol_jax.config.kinds import whole

SECTIONS = key.Sections()
_add = SECTIONS.add
_BATCH = whole(at_least=0, at_most=2**20)

_add(
    'evaluation: what an encoder is worth', names.PRETRAIN, free=names.PRETRAIN,
    every_epochs=(None, automatic(number(above=0)),
                  'epochs between two; None: a tenth of the run'),
    examples=(2048, whole(above=1), 'training images that are measured then'),
    final=(True, flag(), 'k-NN and linear probe when the run ends'),
    final_images=(50_000, POSITIVE, 'at most so many for these, on either side'))
_add('evaluation', names.PRETRAIN + names.EVALUATING, free=names.PRETRAIN,
     batch_size=(128, whole(above=0, at_most=2**16), 'images a device'))
_add(
    'evaluation', names.PRETRAIN + ('knn',), free=names.PRETRAIN,
    knn_k=(20, POSITIVE, 'neighbours that vote'),
    knn_temperature=(0.07, number(above=0), 'T of a vote, exp(cosine / T)'))
_add(
    'evaluation', names.EVALUATING,
    network=('online', choice('online', 'target'), 'which one is evaluated'),
    center_share=(0.0, share(), 'centre crop / shorter side; 0: as in pretraining'))
_add('evaluation', names.EVALUATING, free=names.EVALUATING,
     cache=(True, flag(), 'whether features are kept beside the weights'))
_add('evaluation', names.MEASURING + ('finetune_pairs', 'retrieve'), baselines=(
    False, flag(), 'also an untrained encoder and raw pixels'))
_add(
    'evaluation', names.MEASURING,
    seeds=(1, FEW, 'repeats with seed, seed + 1, ...: mean and deviation'),
    metric=('auto', choice('auto', 'top1', 'mean_per_class'),
            "what choices are made by; auto: the data set's own"))
_add('evaluation', names.ON_CROPS, crop_area=(
    (), list_of(empty=True),
    "area of a random crop, smallest and largest share of the image; (): the run's"))
_add('evaluation', names.CHOOSING, holdout=(
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
    l2_values=(45, FEW, 'number of penalties, even in the logarithm'),
    l2=((), list_of(zero=True, empty=True), 'penalties in place of these'),
    standardize=(False, flag(), 'whether features get mean 0 and deviation 1'),
    max_iterations=(200, POSITIVE, 'steps of L-BFGS, for each penalty'))
_add(
    'finetune: paper, appendix C.2', ('finetune',),
    labels=(0.01, PART, 'share of the labels that is used'),
    learning_rates=((0.1, 0.05, 0.02, 0.01, 0.005), list_of(), 'rates to choose from'),
    epochs=((30.0, 50.0), list_of(), 'lengths to choose from'),
    weight_decays=((0.0,), list_of(zero=True), 'decays to choose from'),
    encoder_rate=(1.0, number(at_least=0), "the encoder's rate / the classifier's"),
    batch_size=(0, _BATCH, '0: 1024, or less that makes 12 steps an epoch'))
