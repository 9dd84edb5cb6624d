"""The keys of what is learned: method, networks, optimization."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config import names
from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import COUNT
from byol_jax.config.kinds import FACTOR
from byol_jax.config.kinds import FEW
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import number
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import share
from byol_jax.config.kinds import whole
from byol_jax.methods import names as method_names
from byol_jax.networks import architectures

SECTIONS = key.Sections()
_add = SECTIONS.add
_WIDTH = whole(above=0, at_most=2**20)
_RATE = number(at_least=0, at_most=1000)

_add(
    'method: what is learned (docs/methods.md)', names.LEARNING, of_the_weights=True,
    name=('byol', choice(*method_names.METHODS, infomin='moco, with '
                         'method.jigsaw=0.5 (configs/infomin_r50.py)'), 'the method'),
    target=('auto', choice('auto', 'ema', 'online', 'stopped'), 'byol: what a '
            'prediction is compared with; ema: the moving average; online, stopped: '
            'the same network, with or without gradient'),
    beta=(0.0, share(), 'byol: weight of negatives (paper, section 5)'),
    optimal_predictor=(False, flag(), 'byol: predicts by the best linear map of the '
                       'batch (paper, appendix I); without network.predictor'),
    temperature=(None, automatic(number(at_least=0.001, at_most=1000)),
                 "byol, simclr, moco: of similarities; None: 0.1, moco's 0.2", 0.1),
    queue=(65_536, whole(above=0, at_most=2**24), 'moco: keys of earlier batches'),
    symmetric=(False, flag(), 'moco: whether each view is a query once'),
    jigsaw=(0.0, share(), "moco: weight of the jigsaw's loss; InfoMin's 0.5"),
    shuffle=(True, flag(), 'moco: whether keys are normalized beside other images than '
             'their queries; with network.bn_groups > 1'))
_add(
    'network: the networks', names.LEARNING, of_the_weights=True,
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
    predictor=(True, flag(), 'byol: False is an ablation, which collapses with '
               'method.beta=0'),
    bn_decay_rate=(0.9, number(at_least=0, below=1), 'memory of running statistics'),
    bn_eps=(1e-5, number(above=0, at_most=1), 'what is added to variances'),
    bn_groups=(1, FEW, 'groups of a sub-batch with statistics of their own; 8: as on '
               '8 GPUs that do not synchronize'),
    precision=('auto', choice('auto', 'bfloat16', 'float32'),
               'arithmetic; auto: float32 on a CPU, bfloat16 elsewhere',
               'bfloat16'))
_add(
    'train: the optimization', names.LEARNING, of_the_weights=True,
    batch_size=(4096, POSITIVE, 'images a step, of all devices together'),
    accumulation_steps=(1, POSITIVE, 'sub-batches, each with its own statistics'),
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
    tau_batch_size=(0, COUNT, 'the batch that tau_base is meant for; 0: this one'),
    target_init=('own_key', choice('own_key', 'copy'), 'its own weights, or a copy'),
    tau_end=(1.0, share(), 'that at the last step; equal to tau_base: it is constant'),
    optimizer=('lars', choice('lars', 'sgd'), 'the optimizer'),
    momentum=(0.9, share(), "the optimizer's"),
    trust_coefficient=(1e-3, number(above=0, at_most=1000), "LARS's"),
    trust_clip=(False, flag(), 'LARS: whether a weight takes at most the plain '
                "gradient's step, as in solo-learn's recipes"),
    rate_in_momentum=(False, flag(), "LARS: whether the rate multiplies the gradient "
                      "before the momentum, as in SimCLR's code"),
    decay_all=(False, flag(), 'whether biases and norms decay, too (MoCo, SimSiam)'),
    projector_rate=(1.0, FACTOR, "factor of the projector's rate (paper, table 22)"),
    predictor_rate=(1.0, number(at_least=0, at_most=1000),
                    "factor of the predictor's rate (paper, table 21)"),
    predictor_schedule=('cosine', choice('cosine', 'constant'),
                        "constant: the predictor's rate stays (SimSiam)"))
_add('train', names.LEARNING, free=names.PRETRAIN, of_the_weights=True, unroll=(
    True, flag(), 'on a CPU: whether sub-batches, up to 16, are compiled without a '
    'loop; a run keeps what it began with', False))
