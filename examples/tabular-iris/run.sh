#!/bin/sh
# Tabular data on the whole space: distances, V at every radius, the constant. From the checkout, after make setup: examples/tabular-iris/run.sh [FOLDER]
set -eu
cd "$(dirname "$0")/../.."
out=${1:-$(mktemp -d)}
mkdir -p "$out"
net=models/iris_8x8.onnx
data=models/iris_8x8.npz

.venv/bin/wdaverify distance $net $data --support none --output "$out/distances.json"
echo
.venv/bin/wdaverify curve $net $data --support none --loss zero-one --max-radius 0.1 --output "$out/curve.json" --csv "$out/curve.csv"
echo
.venv/bin/wdaverify lipschitz $net --support none --margins all --output "$out/constant.json"
