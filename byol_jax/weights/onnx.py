"""Writes encoders as ONNX files, which onnxruntime computes without JAX and byol_jax.

The graph is made of the arrays alone: a convolution takes the batch normalization that
follows it into its weights. The preparation of images is a part of the graph, because
other programs resize otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
import importlib
import json
from typing import Any

from etils import epath
import numpy as np

from byol_jax import __version__
from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.networks import resnet
from byol_jax.storage import files as files_lib
from byol_jax.training import build
from byol_jax.views import make as views_lib
from byol_jax.weights import agreement
from byol_jax.weights import load as weights_lib

INPUT, OUTPUT = 'images', 'features'

_OPSET, _IR = 17, 8       # of 2022: older runtimes read them, too
_MOST_BYTES = 2 ** 31 - 1  # of a file, by protobuf
_CUBIC = {'mode': 'cubic', 'cubic_coeff_a': -0.5, 'exclude_outside': 1,
          'coordinate_transformation_mode': 'half_pixel'}  # as data/images/resize.py


def write(weights: weights_lib.Weights, path: str, *, preparation: bool = True,
          half: bool = False) -> None:
  """Writes an encoder as an ONNX file of opset 17.

  Its output is 'features', float32 [N, D]. Its metadata say which encoder it is, and
  how images are prepared.

  Args:
    weights: the encoder, with running statistics.
    path: the file, whole or not at all.
    preparation: whether the input 'images' is uint8 [N, H, W, 3] of any size, and the
      graph cuts the centre, resizes, rounds and normalizes as `encoder.load` does with
      files. Otherwise it is float32 [N, 3, H, W], normalized.
    half: whether convolutions have float16 weights and arithmetic: half the size.

  Raises:
    UserError: onnx is not installed, the encoder cannot be said in ONNX, or the file
      cannot be written.
  """
  files_lib.write_for_user(path, graph(weights, preparation=preparation, half=half))


def graph(weights: weights_lib.Weights, *, preparation: bool = True,
          half: bool = False) -> bytes:
  """Returns the content of the file that `write` writes."""
  library = _library('onnx')
  made = _Graph(library, np.float16 if half else np.float32)
  if preparation:
    spec, share = build.eval_view(weights.config)
    start, elements, shape = _prepare(made, spec, share), library.TensorProto.UINT8, (
        'N', 'H', 'W', 3)
  else:
    start, elements, shape = INPUT, library.TensorProto.FLOAT, ('N', 3, 'H', 'W')
  size = _encode(made, start, weights)
  info = library.helper.make_tensor_value_info
  model = library.helper.make_model(
      library.helper.make_graph(
          made.nodes, 'encoder', [info(INPUT, elements, shape)],
          [info(OUTPUT, library.TensorProto.FLOAT, ('N', size))], made.arrays),
      producer_name='byol_jax', producer_version=__version__, ir_version=_IR,
      opset_imports=[library.helper.make_opsetid('', _OPSET)])
  library.helper.set_model_props(model, _describe(weights, preparation, half))
  # before protobuf fails at it
  if sum(array.ByteSize() for array in made.arrays) > _MOST_BYTES - (1 << 20):
    raise UserError('an ONNX file holds at most 2 GiB, and this encoder is larger: '
                    'set export.half=True, or export another format')
  library.checker.check_model(model, full_check=True)
  return model.SerializeToString()


def open_session(data: bytes, threads: int = 0) -> Any:
  """Opens the content of a file in onnxruntime, on the processor.

  Args:
    data: what `graph` returns.
    threads: 0 for one a core.

  Raises:
    UserError: onnxruntime is not installed.
  """
  runtime = _library('onnxruntime')
  options = runtime.SessionOptions()
  options.intra_op_num_threads = threads
  return runtime.InferenceSession(data, options, providers=['CPUExecutionProvider'])


def features(weights: weights_lib.Weights) -> Callable[[np.ndarray], np.ndarray]:
  """Returns what onnxruntime computes in our place, on the processor.

  Returns:
    A function of normalized float32 [n, 3, S, S] -> float32 [n, D].

  Raises:
    UserError: onnx or onnxruntime is not installed, or the encoder cannot be said in
      ONNX.
  """
  session = open_session(graph(weights, preparation=False))
  return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def check(path: str, sample: agreement.Sample) -> dict[str, float]:
  """Compares a file that `write` wrote, run by onnxruntime, with our features.

  Args:
    path: the file.
    sample: the images.

  Returns:
    Their `agreement.difference`.

  Raises:
    UserError: onnxruntime is not installed.
  """
  session = open_session(epath.Path(path).read_bytes())
  if session.get_inputs()[0].type == 'tensor(uint8)':
    theirs = np.concatenate([session.run([OUTPUT], {INPUT: image[None]})[0]
                             for image in sample.whole])
  else:
    theirs, = session.run([OUTPUT], {INPUT: sample.prepared})
  return agreement.difference(sample.features, theirs)


class _Graph:
  """A graph in the making: its nodes and its arrays, with made-up names."""

  def __init__(self, onnx: Any, dtype: type):
    self.nodes, self.arrays = [], []
    self.dtype = dtype  # of the network's weights
    self._onnx = onnx

  def add(self, op: str, *inputs: str, output: str = '', **attributes: Any) -> str:
    """Adds an operation; returns the name of its output, by default a made-up one."""
    output = output or f'{op.lower()}_{len(self.nodes)}'
    self.nodes.append(self._onnx.helper.make_node(op, inputs, [output], **attributes))
    return output

  def cast(self, name: str, dtype: type) -> str:
    """Adds a conversion to another type."""
    to = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return self.add('Cast', name, to=to)

  def constant(self, value: Any, dtype: type) -> str:
    """Adds an array; returns its name."""
    name = f'array_{len(self.arrays)}'
    self.arrays.append(self._onnx.numpy_helper.from_array(
        np.asarray(value, dtype, order='C'), name))
    return name


def _prepare(made: _Graph, spec: views_lib.ViewSpec, share: float) -> str:
  """Adds what `decode_eval` and `for_evaluation` do; returns float32 [N, 3, S, S].

  The centre box is that of `crops.center_box`, in the same arithmetic.
  """
  def whole(*values):
    return made.constant(values, np.int64)
  shape = made.add('Shape', INPUT)
  sides = made.add('Slice', shape, whole(1), whole(3))
  shorter = made.cast(made.add('ReduceMin', sides), np.float32)
  side = made.cast(made.add('Floor', made.add(
      'Mul', shorter, made.constant(share, np.float32))), np.int64)
  side = made.add('Max', side, whole(1))
  start = made.add('Div', made.add('Add', made.add('Sub', sides, side), whole(1)),
                   whole(2))
  x = made.add('Slice', INPUT, start, made.add('Add', start, side), whole(1, 2))
  x = made.add('Transpose', made.cast(x, np.float32), perm=[0, 3, 1, 2])
  sizes = made.add('Concat', made.add('Slice', shape, whole(0), whole(1)),
                   whole(3, spec.image_size, spec.image_size), axis=0)
  x = made.add('Resize', x, '', '', sizes, **_CUBIC)
  # to whole numbers, as the host keeps them
  x = made.add('Floor', made.add('Add', x, made.constant(0.5, np.float32)))
  x = made.add('Clip', x, made.constant(0, np.float32), made.constant(255, np.float32))
  mean, std = (255.0 * np.array(values).reshape(1, 3, 1, 1)
               for values in (spec.mean, spec.std))
  return made.add('Div', made.add('Sub', x, made.constant(mean, np.float32)),
                  made.constant(std, np.float32))


def _encode(made: _Graph, x: str, weights: weights_lib.Weights) -> int:
  """Adds the network of `networks/resnet.py`, from x to OUTPUT; returns D."""
  n = weights.config.network
  stem = architectures.STEMS[n.stem]
  network = architectures.ARCHITECTURES[n.name]

  def conv(x: str, conv: str, norm: str, stride: int) -> str:
    weight, bias = _folded(weights, f'encoder/~/{conv}', f'encoder/~/{norm}', n.bn_eps)
    if np.abs(weight).max() > np.finfo(made.dtype).max:
      raise UserError(f'the weights of {conv} are too large for {made.dtype.__name__}: '
                      'set export.half=False')
    kernel = weight.shape[2]
    return made.add('Conv', x, made.constant(weight, made.dtype),
                    made.constant(bias, made.dtype), kernel_shape=[kernel] * 2,
                    strides=[stride] * 2, **_padding(n.padding, kernel))

  if made.dtype is not np.float32:
    x = made.cast(x, made.dtype)
  x = made.add('Relu', conv(x, 'initial_conv', 'initial_batchnorm', stem.stride))
  if stem.max_pool:
    x = made.add('MaxPool', x, kernel_shape=[3, 3], strides=[2, 2],
                 **_padding(n.padding, 3))
  for group, blocks in enumerate(network.blocks):
    for block in range(blocks):
      name = f'block_group_{group}/~/block_{block}/~/'
      stride = 2 if group and not block else 1
      shortcut = x
      if f'encoder/~/{name}shortcut_conv' in weights.params:
        shortcut = conv(x, f'{name}shortcut_conv', f'{name}shortcut_batchnorm', stride)
      strides = (1, stride, 1) if network.bottleneck else (stride, 1)
      for i, one in enumerate(strides):
        x = conv(x, f'{name}conv_{i}', f'{name}batchnorm_{i}', one)
        if i < len(strides) - 1:
          x = made.add('Relu', x)
      x = made.add('Relu', made.add('Add', x, shortcut))
  if made.dtype is not np.float32:
    x = made.cast(x, np.float32)
  x = made.add('GlobalAveragePool', x)
  if not n.embedding:
    made.add('Flatten', x, output=OUTPUT)
    return round(network.channels[-1] * n.width)
  head = weights.params[resnet.EMBEDDING]
  made.add('Gemm', made.add('Flatten', x), made.constant(head['w'], np.float32),
           made.constant(head['b'], np.float32), output=OUTPUT)
  return n.embedding


def _padding(padding: str, kernel: int) -> dict[str, Any]:
  """Returns the attributes of a convolution's or a pooling's padding."""
  if padding == 'same':
    return {'auto_pad': 'SAME_UPPER'}
  return {'pads': [kernel // 2] * 4}


def _folded(weights: weights_lib.Weights, conv: str, norm: str,
            eps: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns weight [O, I, h, w] and bias [O] of a convolution with its normalization.

  float64: w scale / sqrt(var + eps) and offset - mean scale / sqrt(var + eps).
  """
  def flat(array):
    return np.asarray(array, np.float64).reshape(-1)
  scale, offset = (flat(weights.params[norm][name]) for name in ('scale', 'offset'))
  mean, var = (flat(weights.state[f'{norm}/~/{name}']['average'])
               for name in ('mean_ema', 'var_ema'))
  factor = scale / np.sqrt(var + eps)
  kernel = np.asarray(weights.params[conv]['w'], np.float64)  # [h, w, I, O]
  return (kernel * factor).transpose(3, 2, 0, 1), offset - mean * factor


def _describe(weights: weights_lib.Weights, preparation: bool,
              half: bool) -> dict[str, str]:
  """Returns the metadata: the encoder, and how its images are prepared."""
  spec, share = build.eval_view(weights.config)
  return {name: value if isinstance(value, str) else json.dumps(value)
          for name, value in {
              **weights.describe(), 'preparation': preparation, 'half': half,
              'image_size': spec.image_size, 'center_share': share,
              'mean': spec.mean, 'std': spec.std}.items()}


def _library(name: str) -> Any:
  """Imports onnx or onnxruntime."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(f"{name} is not installed: pip install 'byol_jax[onnx]'") from error
