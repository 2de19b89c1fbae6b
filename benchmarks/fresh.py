"""Figures of fresh processes: start-up times, and the peak memory of a whole run with its workers.

python benchmarks/fresh.py NAME JOBS LIMIT runs a workload once and prints its peaks as JSON; the runner calls it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import psutil
from sources import MODELS

_IMPORT = "import sys, time; t = time.perf_counter(); import wdaverify; print(time.perf_counter() - t, 'torch' in sys.modules)"
_TICK = 0.05
RUNS = 5


def import_times() -> dict[str, Any]:
    """``import wdaverify`` in fresh interpreters, and whether it loads torch."""
    said = [
        subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True) for _ in range(RUNS)
    ]
    words = [one.stdout.split() for one in said]
    loaded = any(torch == "True" for _, torch in words)
    return {"seconds": [float(t) for t, _ in words], "note": "loaded" if loaded else "not loaded"}


def info_times() -> dict[str, Any]:
    """``wdaverify info NET``, from the start of the process to its end."""
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "wdaverify", "info", str(MODELS / "digits_16x16.onnx")]
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds, "note": "-"}


def peak(name: str, jobs: int, limit: float) -> dict[str, Any]:
    """Peaks in GB: ``own`` and ``child`` (the largest worker) as the kernel counts them, ``sum`` of all at once as sampled."""
    command = [sys.executable, __file__, name, str(jobs), str(limit)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    together = 0
    try:
        while process.poll() is None:
            together = max(together, _resident(process.pid))
            time.sleep(_TICK)
    finally:
        if process.poll() is None:
            process.terminate()
    said = json.loads(process.stdout.read())
    return {**said, "sum": together / 1e9, "note": f"{jobs} processes; all at once sampled every {1000 * _TICK:.0f} ms"}


def _resident(pid: int) -> int:
    """Bytes of a process and all below it."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        pass
    return total


def main() -> None:
    """Run a workload once; a worker's peak counts from the start of its own process, which its parent's size may exceed."""
    import ours
    from workloads import WORKLOADS

    name, jobs, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    workload = WORKLOADS[name]
    outcome, _ = ours.run(workload, workload.problem(), {}, jobs=jobs, limit=limit)
    own, child = (
        resource.getrusage(who).ru_maxrss * 1024 / 1e9 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"own": own, "child": child, "state": outcome.state, "seconds": outcome.seconds}))


if __name__ == "__main__":
    main()
