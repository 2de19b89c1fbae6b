#!/bin/sh
# The ladder of a standard and of a robust network, side by side. From the checkout, after make setup: examples/standard-and-robust/run.sh [FOLDER]
set -eu
cd "$(dirname "$0")/../.."
out=${1:-$(mktemp -d)}
mkdir -p "$out"

for net in digits_16x16 digits_32x32_robust; do
    .venv/bin/wdaverify compare models/$net.onnx models/$net.npz --radius 0.01 --samples 3 \
        --rungs norms,jacobian,crown,lp,attacks,first-order,exact --output "$out/$net.json"
    echo
done
