#!/bin/bash
# VNN-COMP: what may be done before the clock runs. Usage: prepare_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib
# Reads both files and says whether they are accepted: status 0, or another one with the reason on stderr. Nothing is kept.
set -uo pipefail
if [ $# -ne 4 ] || [ "$1" != v1 ]; then
    echo "usage: prepare_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib" >&2
    exit 1
fi
here=$(cd "$(dirname "$0")" && pwd)
exec "${WDAVERIFY_PYTHON:-$here/../../.venv/bin/python}" "$here/answer.py" "$3" "$4"
