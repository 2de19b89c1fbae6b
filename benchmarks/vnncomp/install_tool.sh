#!/bin/bash
# VNN-COMP: install wdaverify for the scripts beside this one. Usage: install_tool.sh v1
# Needs make, Python 3.11 or newer with venv (PYTHON names another one) and an index of packages.
set -euo pipefail
if [ "${1:-}" != v1 ]; then
    echo "usage: install_tool.sh v1 (version 1 of the interface is what is spoken here)" >&2
    exit 1
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
make -C "$root" setup PYTHON="${PYTHON:-python3}"
"$root/.venv/bin/python" -c "import onnxruntime, wdaverify"
