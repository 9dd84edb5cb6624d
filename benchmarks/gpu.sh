#!/usr/bin/env bash
# Everything that wants a GPU, in one call of about ten minutes:
#
#   bash benchmarks/gpu.sh [CIFAR10.npz]
#
# The step of ResNet-50 at 224 pixels and of ResNet-18 at 96, in bfloat16 and
# float32; then, where an .npz with x_train, y_train, x_test, y_test (uint8) is
# named, CIFAR-10 for EPOCHS epochs (20). Runs without TensorFlow. Results go to
# OUT (./gpu_results).
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
OUT="${OUT:-gpu_results}"
mkdir -p "$OUT"

step() { # step NAME FLAGS...: a line of JSON in $OUT/NAME.json
  local name="$1"; shift
  echo "== $name"
  python3 benchmarks/step.py --config=configs/fake_data.py --steps=20 "$@" \
    | tee "$OUT/$name.txt"
  tail -n 1 "$OUT/$name.txt" > "$OUT/$name.json"
}
for precision in bfloat16 float32; do
  step "resnet50_224_$precision" --config.train.batch_size=256 \
    --config.network.precision="$precision"
  step "resnet18_96_$precision" --config.network.name=resnet18 \
    --config.data.image_size=96 --config.train.batch_size=512 \
    --config.network.precision="$precision"
done
if [ $# -gt 0 ]; then
  python3 -m byol_jax.main --config="configs/cifar10.py:${EPOCHS:-20}" \
    --config.data.source=npz --config.data.path="$1" --workdir="$OUT/cifar10" \
    2>&1 | tee "$OUT/cifar10.txt"
  cp "$OUT/cifar10/results.json" "$OUT/cifar10.json"
fi
