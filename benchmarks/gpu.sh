#!/usr/bin/env bash
# Everything that wants a GPU, in one call of at most 12 minutes:
#
#   bash benchmarks/gpu.sh [CIFAR10.npz] [--minutes=12] [--only=byol,moco]
#
# The step of each method, ResNet-50 at 224 pixels, batch 256, bfloat16: images/s, GFLOP
# an image, share of the roofline. Beside it, where PyTorch is installed, the same step
# with lightly's modules (benchmarks/torch_step.py). Then, where an .npz with x_train,
# y_train, x_test, y_test (uint8) is named, CIFAR-10 with the images on the device for as
# many epochs as fit, and k-NN. Runs without TensorFlow. Results go to OUT
# (./gpu_results) after each part; OUT/summary.md has the tables.
#
#   JAX_PLATFORMS=cpu bash benchmarks/gpu.sh --small     tries it on a CPU
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${BYOL_PYTHON:-python3}" "$root/benchmarks/gpu.py" "$@"
