"""The encoder of a run for use in other programs.

  python -m byol_jax.main --config=configs/export.py --config.weights=RUN \\
      --workdir=OUT

Writes OUT/encoder.safetensors, which other tasks take as --config.weights. An argument
names another format:

  --config=configs/export.py:timm   OUT/timm, a folder for timm, Hugging Face's
                                    transformers and torchvision
  --config=configs/export.py:onnx   OUT/encoder.onnx, for onnxruntime (extra [onnx])
  --config=configs/export.py:all    all three

Each is checked after it was written: OUT/export.json says how far the features of
others are from ours. Without --workdir OUT is RUN/evaluations/export-STEP, or
export_timm-STEP with that argument. See docs/weights.md.
"""

from byol_jax.config import base


def get_config(export_format: str = 'safetensors'):
  c = base()
  c.task = 'export'
  c.data.source = 'same'
  c.export.format = export_format
  return c
