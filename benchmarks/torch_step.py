"""The steps of benchmarks/step.py in PyTorch, to compare with.

  pip install torch lightly
  python benchmarks/torch_step.py --method=byol

Times networks, loss, gradient, optimizer and moving average of one device on views
that are there already: without augmentation, so compare with step.py's
`seconds_per_step_without_augmentation`. Prints the figures and, as its last line, one
JSON object; without PyTorch one line, "not measured".

PyTorch gets what it is best at: bfloat16 autocast, channels last, networks compiled by
torch.compile, one kernel for many parameters in the optimizer and in the moving
average. Heads and losses are lightly's where lightly can be imported, otherwise plain
ones of the same sizes; `modules` says which. The ResNet is torchvision's in structure.
LARS is written here: lightly's waits for the device at each parameter. As in step.py a
linear probe learns beside.

What is not the same: MoCo's statistics are of the whole batch, and keys are not
shuffled (lightly leaves both to the number of devices; step.py does both on one).
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time

try:
  import torch
  from torch import nn
  from torch.nn import functional as F
except (ImportError, OSError) as error:  # OSError: a library of CUDA is missing
  print(f'not measured: PyTorch cannot be imported ({str(error)[:200]}): '
        'pip install torch lightly')
  sys.exit(0)

from byol_jax.networks import architectures

METHODS = ('byol', 'simclr', 'moco', 'simsiam')
_WARM_UP_STEPS = 3
_CLASSES = 1000
_MOMENTUM, _TRUST = 0.9, 1e-3


class Block(nn.Module):
  """A residual block, basic or bottleneck; the stride is on the 3x3 convolution."""

  def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool):
    super().__init__()
    inner = outputs // 4 if bottleneck else outputs
    shapes = (((inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1))
              if bottleneck else
              ((inputs, inner, 3, stride), (inner, outputs, 3, 1)))
    layers = []
    for shape in shapes:
      layers += [*_convolution(*shape), nn.ReLU(inplace=True)]
    self.layers = nn.Sequential(*layers[:-1])
    self.shortcut = nn.Sequential()
    if stride > 1 or inputs != outputs:
      self.shortcut = nn.Sequential(*_convolution(inputs, outputs, 1, stride))

  def forward(self, x):
    return F.relu(self.layers(x) + self.shortcut(x), inplace=True)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int):
  """Makes a convolution and its normalization."""
  return (nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
          nn.BatchNorm2d(outputs))


def make_encoder(name: str) -> nn.Sequential:
  """Makes a ResNet for large images, without classifier: [n, 3, H, W] -> [n, D]."""
  architecture = architectures.ARCHITECTURES[name]
  channels = architecture.stem_channels
  layers = [*_convolution(3, channels, 7, 2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1)]
  for group, (outputs, blocks) in enumerate(
      zip(architecture.channels, architecture.blocks)):
    for block in range(blocks):
      layers.append(Block(channels, outputs, 2 if group and not block else 1,
                          architecture.bottleneck))
      channels = outputs
  return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _perceptron(*sizes: int, norm: bool = True, hidden_bias: bool = True,
                output_bias: bool = False, output_norm: nn.Module | None = None):
  """Makes a perceptron; normalization and ReLU follow all layers but the last."""
  layers = []
  for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
    layers += [nn.Linear(inputs, outputs, bias=hidden_bias),
               *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU(inplace=True)]
  layers.append(nn.Linear(*sizes[-2:], bias=output_bias))
  return nn.Sequential(*layers, *([output_norm] if output_norm else []))


class Plain:
  """Heads and losses from the papers, in the place of lightly's."""
  name = 'plain torch'

  @staticmethod
  def heads(method: str, features: int):
    """Returns (projector, predictor or None)."""
    if method == 'byol':
      return _perceptron(features, 4096, 256), _perceptron(256, 4096, 256)
    if method == 'simclr':
      return _perceptron(features, 2048, 128, hidden_bias=False,
                         output_norm=nn.BatchNorm1d(128)), None
    if method == 'moco':
      return _perceptron(features, 2048, 128, norm=False, output_bias=True), None
    return (_perceptron(features, 2048, 2048, 2048, hidden_bias=False,
                        output_norm=nn.BatchNorm1d(2048, affine=False)),
            _perceptron(2048, 512, 2048, hidden_bias=False, output_bias=True))

  @staticmethod
  def cosine():
    """Returns the loss of BYOL and SimSiam, of (prediction, projection)."""
    return lambda p, z: -F.cosine_similarity(p, z).mean()

  @staticmethod
  def contrast(temperature: float):
    """Returns SimCLR's loss (Chen et al. 2020, equation 1), of both views."""
    def loss(a, b):
      z = F.normalize(torch.cat([a, b]))
      logits = z @ z.T / temperature
      logits = logits.masked_fill(
          torch.eye(len(z), dtype=torch.bool, device=z.device), -1e9)
      return F.cross_entropy(logits, torch.arange(
          len(z), device=z.device).roll(len(a)))
    return loss

  @staticmethod
  def queue(temperature: float, size: int, width: int, device):
    """Returns MoCo's loss (He et al. 2019, algorithm 1), which keeps its queue."""
    keys = F.normalize(torch.randn(size, width, device=device))
    at = [0]
    def loss(query, key):
      query, key = F.normalize(query), F.normalize(key)
      # a copy: the gradient still needs the keys that are overwritten now
      logits = torch.cat([(query * key).sum(1, keepdim=True),
                          query @ keys.clone().T], 1) / temperature
      keys[at[0]:at[0] + len(key)] = key.detach()
      at[0] = (at[0] + len(key)) % size
      return F.cross_entropy(logits, torch.zeros(
          len(key), dtype=torch.long, device=device))
    return loss


class Lightly:
  """Heads and losses of lightly >= 1.5."""

  def __init__(self):
    """Imports them.

    Raises:
      Exception: of many kinds, where lightly or its torchvision cannot be imported.
    """
    import lightly
    from lightly import loss
    from lightly.models.modules import heads
    self.name = f'lightly {lightly.__version__}'
    self._heads, self._losses = heads, loss

  def heads(self, method: str, features: int):
    """Returns (projector, predictor or None)."""
    of = self._heads
    if method == 'byol':
      return of.BYOLProjectionHead(features), of.BYOLPredictionHead()
    if method == 'simclr':
      return of.SimCLRProjectionHead(features), None
    if method == 'moco':
      return of.MoCoProjectionHead(features), None
    return of.SimSiamProjectionHead(features), of.SimSiamPredictionHead()

  def cosine(self):
    """Returns the loss of BYOL and SimSiam, of (prediction, projection)."""
    return self._losses.NegativeCosineSimilarity()

  def contrast(self, temperature: float):
    """Returns SimCLR's loss, of both views."""
    return self._losses.NTXentLoss(temperature)

  def queue(self, temperature: float, size: int, width: int, device):
    """Returns MoCo's loss, which keeps its queue."""
    return self._losses.NTXentLoss(
        temperature, memory_bank_size=(size, width)).to(device)


class Network(nn.Module):
  """Encoder and heads: images -> (features, projection, prediction)."""

  def __init__(self, encoder, projector, predictor):
    super().__init__()
    self.encoder, self.projector, self.predictor = encoder, projector, predictor

  def forward(self, images):
    features = self.encoder(images)
    projection = self.projector(features)
    prediction = self.predictor(projection) if self.predictor else projection
    return features, projection, prediction


class Lars:
  """LARS (You et al. 2017), biases and normalization left as they are, as in BYOL."""

  def __init__(self, parameters, rate: float, decay: float):
    self._matrices = [p for p in parameters if p.ndim > 1]
    self._vectors = [p for p in parameters if p.ndim <= 1]
    self._momenta = [[torch.zeros_like(p) for p in group]
                     for group in (self._matrices, self._vectors)]
    self._rate, self._decay = rate, decay

  @torch.no_grad()
  def step(self):
    """Moves the parameters."""
    for parameters, momenta in zip((self._matrices, self._vectors), self._momenta):
      gradients = [p.grad for p in parameters]
      if parameters is self._matrices:
        gradients = torch._foreach_add(gradients, parameters, alpha=self._decay)
        norms, lengths = (torch.stack(torch._foreach_norm(x))
                          for x in (parameters, gradients))
        trust = torch.where((norms > 0) & (lengths > 0), _TRUST * norms / lengths, 1.0)
        torch._foreach_mul_(gradients, list(trust.unbind()))
      torch._foreach_mul_(momenta, _MOMENTUM)
      torch._foreach_add_(momenta, gradients)
      torch._foreach_add_(parameters, momenta, alpha=-self._rate)


def make_step(method: str, network: str, modules, batch_size: int, image_size: int,
              queue: int, device, autocast: bool, is_compiled: bool):
  """Makes one step of training, which returns its loss.

  Args:
    method: one of `METHODS`.
    network: a key of `architectures.ARCHITECTURES`.
    modules: `Plain` or a `Lightly`.
    batch_size: images, of two views each.
    image_size: pixels.
    queue: of MoCo, keys.
    device: where.
    autocast: whether networks compute in bfloat16.
    is_compiled: whether they go through torch.compile.
  """
  encoder = make_encoder(network)
  size = architectures.ARCHITECTURES[network].channels[-1]
  online = Network(encoder, *modules.heads(method, size)).to(
      device, memory_format=torch.channels_last)
  target = None
  if method in ('byol', 'moco'):
    target = copy.deepcopy(online).requires_grad_(False)
    target.predictor = None
    followed = [(t, o) for part in ('encoder', 'projector') for t, o in zip(
        getattr(target, part).parameters(), getattr(online, part).parameters())]
    targets, onlines = (list(group) for group in zip(*followed))
  probe = nn.Linear(size, _CLASSES).to(device)
  trained = [*online.parameters(), *probe.parameters()]
  optimizer = (Lars(trained, 0.3 * batch_size / 256, 1e-6)
               if method in ('byol', 'simclr') else
               torch.optim.SGD(trained, 0.03, _MOMENTUM, weight_decay=1e-4,
                               foreach=True))
  run = torch.compile(online) if is_compiled else online
  run_target = torch.compile(target) if is_compiled and target is not None else target
  views = [torch.randn(batch_size, 3, image_size, image_size, device=device).to(
      memory_format=torch.channels_last) for _ in range(2)]
  labels = torch.randint(_CLASSES, (batch_size,), device=device)
  cosine, contrast = modules.cosine(), modules.contrast(0.1)
  enqueue = modules.queue(0.2, queue, 128, device) if method == 'moco' else None

  def networks():
    """Returns the features of the first view, and what the loss is of."""
    if method == 'simclr':  # statistics of both views together
      features, z, _ = run(torch.cat(views))
      return features[:batch_size], z.float().chunk(2)
    if method == 'moco':
      features, _, query = run(views[0])
      with torch.no_grad():
        key = run_target(views[1])[1]
      return features, (query.float(), key.float())
    outputs = [run(view) for view in views]
    if method == 'byol':
      with torch.no_grad():
        goals = [run_target(view)[1].float() for view in views]
    else:
      goals = [z.detach().float() for _, z, _ in outputs]
    return outputs[0][0], ([p.float() for _, _, p in outputs], goals)

  def step():
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
      features, (first, second) = networks()
      probe_loss = F.cross_entropy(probe(features.detach()).float(), labels)
    if method == 'simclr':
      loss = contrast(first, second)
    elif method == 'moco':
      loss = enqueue(first, second)
    else:
      loss = cosine(first[0], second[1]) + cosine(first[1], second[0])
    for parameter in trained:
      parameter.grad = None
    (loss + probe_loss).backward()
    optimizer.step()
    if target is not None:
      torch._foreach_lerp_(targets, onlines, 0.004)
    return loss.detach()

  return step


def _seconds(step, times: int, in_a_row: int, device) -> list[float]:
  """Returns the seconds a step of each time; raises ValueError if it diverged."""
  seconds = []
  for _ in range(times):
    start = time.perf_counter()
    for _ in range(in_a_row):
      loss = step()
    if device.type == 'cuda':
      torch.cuda.synchronize()
    seconds.append((time.perf_counter() - start) / in_a_row)
  if not torch.isfinite(loss):
    raise ValueError(f'the loss is {float(loss)}: such a step proves nothing')
  return sorted(seconds)


def main() -> None:
  """Times one method."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--method', choices=METHODS, default='byol')
  parser.add_argument('--network', default='resnet50')
  parser.add_argument('--image-size', type=int, default=224)
  parser.add_argument('--batch-size', type=int, default=256)
  parser.add_argument('--queue', type=int, default=65_536, help="MoCo's keys")
  parser.add_argument('--precision', choices=('bfloat16', 'float32'),
                      default='bfloat16')
  parser.add_argument('--modules', choices=('auto', 'lightly', 'plain'),
                      default='auto', help='whose heads and losses')
  parser.add_argument('--eager', action='store_true', help='without torch.compile')
  parser.add_argument('--steps', type=int, default=10, help='how many times')
  parser.add_argument('--in-a-row', type=int, default=1,
                      help='steps to begin before one waits')
  args = parser.parse_args()
  modules = Plain
  if args.modules != 'plain':
    try:
      modules = Lightly()
    except Exception as error:  # whatever torchvision raises beside another torch
      if args.modules == 'lightly':
        raise
      print(f'lightly cannot be imported ({error}): plain heads and losses instead')
  device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
  torch.backends.cudnn.benchmark = True
  torch.set_float32_matmul_precision('high')
  torch.manual_seed(0)
  step = make_step(args.method, args.network, modules, args.batch_size,
                   args.image_size, args.queue, device,
                   args.precision == 'bfloat16', not args.eager)
  start = time.perf_counter()
  _seconds(step, 1, _WARM_UP_STEPS, device)
  first = time.perf_counter() - start
  times = _seconds(step, args.steps, args.in_a_row, device)
  seconds = times[len(times) // 2]
  is_cuda = device.type == 'cuda'
  figures = {
      'method': args.method,
      'images_per_second': args.batch_size / seconds,
      'seconds_per_step_without_augmentation': seconds,
      'warm_up_seconds': first,
      'peak_memory_bytes': torch.cuda.max_memory_allocated() if is_cuda else None,
      'device': torch.cuda.get_device_name() if is_cuda else 'cpu',
      'modules': modules.name,
      'compiled': not args.eager,
      'torch': torch.__version__,
      'steps_timed': args.steps * args.in_a_row,
  }
  print(f'{args.method}, {args.network}, {args.image_size} px, batch '
        f'{args.batch_size}, {args.precision}')
  for name, value in figures.items():
    if isinstance(value, float):
      value = f'{value:.4g}'
    print(f'  {name:<40}{"-" if value is None else value}')
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
