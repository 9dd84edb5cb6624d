"""Writes the model card that lies beside an exported encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from typing import Any, NamedTuple

from byol_jax.methods import names as method_names
from byol_jax.networks import architectures
from byol_jax.storage import files as files_lib
from byol_jax.training import build
from byol_jax.weights import deepmind
from byol_jax.weights import find
from byol_jax.weights import load
from byol_jax.weights import timm_folder

NAME = 'README.md'
_HEAD = """---
library_name: {library}
pipeline_tag: image-feature-extraction
license: {licence}
tags: [self-supervised, byol_jax, {method}]
---
# {architecture}, {trained}

An image encoder: it turns an image into {size} numbers, which a classifier or a search
can use. byol_jax wrote it; it is the {network} network of step {step:,}.

## Load it
```python
"""
_TIMM = """import timm

encoder = timm.create_model('local-dir:DIR', pretrained=True).eval()  # timm >= 1.0.31
features = encoder(images)      # normalized float32 [N, 3, H, W] -> [N, {size}]

from transformers import AutoImageProcessor, {auto}

processor = AutoImageProcessor.from_pretrained('DIR')           # needs timm, too
model = {auto}.from_pretrained('DIR')
features = model(**processor(pil_images, return_tensors='pt')).{output}
"""
_TORCHVISION = """
import safetensors.torch, torch, torchvision

model = torchvision.models.{name}(weights=None)
model.fc = torch.nn.{fc}
model.load_state_dict(safetensors.torch.load_file('DIR/model.safetensors'))
features = model.eval()(images)
"""
_CODE = """import sys; sys.path.insert(0, 'DIR')
import byol_resnet       # DIR/byol_resnet.py; it needs torch and safetensors alone

encoder = byol_resnet.load('DIR')
features = encoder(images)      # normalized float32 [N, 3, H, W] -> [N, {size}]
"""
_REST = """
from byol_jax import encoder

encode = encoder.load('DIR')
features = encode(paths)        # prepares the images itself
```
`DIR` is this folder.{why}

## How images are prepared
The central square of {share:g} of the shorter side, resized to {side} x {side} pixels
(bicubic, a = -0.5, without antialiasing), rounded to whole numbers; then (pixel / 255 -
mean) / std with the mean {mean} and the deviation {std}.
{transform}
## How exact it is
The largest difference of the features from byol_jax's own in float32, over {images}:

| computed by | relative L2 | 1 - cosine |
|---|---|---|
{agreement}

## Figures
{figures}
"""
_TRANSFORM = """
timm's and transformers' own preparation is another one: they resize with antialiasing,
and crop afterwards. The last line below says how far the features are apart. For equal
features prepare images as above, or export the encoder as ONNX, which has
the preparation inside (`configs/export.py:onnx`).
"""


class Figure(NamedTuple):
  """A figure of the encoder: percent, and how it was measured."""
  task: str
  metric: str
  value: float
  protocol: Mapping[str, Any]


def text(weights: load.Weights, checked: Mapping[str, Any], images: str,
         figures: Sequence[Figure],
         licence: str) -> str:
  """Returns the card, in Markdown.

  Args:
    weights: the encoder.
    checked: of `timm_folder.check`.
    images: which images it was checked with.
    figures: what was measured.
    licence: of the weights, '' for the one that is known.
  """
  config = weights.config
  spec, share = build.eval_view(config)
  same = timm_folder.twin(config)
  size = build.make_model(config, 0, None).feature_size
  head = _HEAD.format(
      library='timm' if same else 'pytorch', licence=licence_of(weights, licence),
      method=weights.kind, architecture=weights.describe()['architecture'],
      trained='trained elsewhere' if weights.is_foreign else
      f'pretrained with {method_names.title(weights.kind)}', size=size,
      network=weights.network, step=weights.step)
  auto, output, fc = 'AutoModel', 'pooler_output', 'Identity()'
  if config.network.embedding:  # a head that others take for a classifier
    auto, output = 'AutoModelForImageClassification', 'logits'
    inputs = architectures.ARCHITECTURES[config.network.name].channels[-1]
    fc = f'Linear({inputs}, {size})'  # of torchvision, which has width 1
  code = (_TIMM if same else _CODE).format(size=size, auto=auto, output=output)
  if same and same.torchvision:
    code += _TORCHVISION.format(name=same.torchvision, fc=fc)
  return head + code + _REST.format(
      why='' if same else ' torchvision, timm and transformers have no such network: '
      f'`{timm_folder.CODE}` beside the arrays is one for PyTorch.',
      share=share, side=spec.image_size, mean=tuple(spec.mean), std=tuple(spec.std),
      transform=_TRANSFORM if same else '', images=images,
      agreement='\n'.join(_row(name, found) for name, found in checked.items()),
      figures=_figures(figures))


def licence_of(weights: load.Weights, licence: str) -> str:
  """Returns the licence that a user names, or that is known; else 'unknown'."""
  is_deepmind = weights.is_foreign and find.form(weights.config.weights) == 'deepmind'
  return licence or (deepmind.LICENCE.lower().replace(' ', '-')
                     if is_deepmind else 'unknown')


def _row(name: str, found: Any) -> str:
  if isinstance(found, str):
    return f'| {name} | {found} | |'
  return f'| {name} | {found["relative_l2"]:.1e} | {found["one_minus_cos"]:.1e} |'


def _figures(figures: Sequence[Figure]) -> str:
  """Returns a table, and the protocol of each line."""
  if not figures:
    return 'None was measured when this was written.'
  lines = ['| task | metric | percent |', '|---|---|---|']
  lines += [f'| {x.task} | {x.metric} | {x.value:.2f} |' for x in figures]
  tasks: dict[str, list[str]] = {}  # by their protocol
  for x in figures:
    protocol = json.dumps(files_lib.plain(x.protocol), indent=1)
    tasks.setdefault(protocol, []).append(x.task)
  for protocol, task_names in tasks.items():
    lines += ['', f'The protocol of {", ".join(dict.fromkeys(task_names))}:', '```json',
              protocol, '```']
  return '\n'.join(lines)
