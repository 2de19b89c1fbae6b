#!/bin/bash
# VNN-COMP: answer one instance. Usage: run_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib RESULT SECONDS
# RESULT gets one line (unsat, sat, timeout, unknown or error), after sat the counterexample. Status 0 unless it is an error.
set -uo pipefail
begun=$(date +%s.%N)
if [ $# -ne 6 ] || [ "$1" != v1 ]; then
    echo "usage: run_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib RESULT SECONDS" >&2
    exit 1
fi
here=$(cd "$(dirname "$0")" && pwd)
echo timeout > "$5"    # what stands there if the guard has to end the run
# the guard: whatever hangs is ended, with all its processes, three quarters of a second after the limit
timeout --signal=KILL "$(awk "BEGIN {print $6 + 0.75}")" \
    "${WDAVERIFY_PYTHON:-$here/../../.venv/bin/python}" "$here/answer.py" "$3" "$4" "$5" "$6" "$begun"
status=$?
[ $status -eq 137 ] && exit 0
exit $status
