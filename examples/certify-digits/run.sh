#!/bin/sh
# Certify a digits classifier and hand over the proof and the page. From the checkout, after make setup: examples/certify-digits/run.sh [FOLDER]
set -eu
cd "$(dirname "$0")/../.."
out=${1:-$(mktemp -d)}
mkdir -p "$out"
net=models/digits_16x16.onnx
data=models/digits_16x16.npz

.venv/bin/wdaverify verify $net $data --radius 0.02 --samples 10 \
    --certificate "$out/digits.cert" --output "$out/digits.json"
.venv/bin/wdaverify recheck $net $data "$out/digits.cert" --radius 0.02 --samples 10 --output "$out/verdict.json"
.venv/bin/wdaverify report "$out/digits.json" --output "$out/digits.html" --image-shape 8 8
echo "written: $(cd "$out" && echo digits.*)"
