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
    """Peaks in GB: ``own`` as the kernel counts it, ``child`` (the largest worker) and ``sum`` of all at once as sampled."""
    command = [sys.executable, __file__, name, str(jobs), str(limit)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    together = largest = 0
    try:
        while process.poll() is None:
            sizes = _resident(process.pid)
            together, largest = max(together, sum(sizes)), max(largest, *sizes[1:], 0)
            time.sleep(_TICK)
    finally:
        if process.poll() is None:
            process.terminate()
    said = json.loads(process.stdout.read())
    sampled = f"{jobs} processes; workers and all at once sampled every {1000 * _TICK:.0f} ms"
    return {**said, "child": largest / 1e9, "sum": together / 1e9, "note": sampled}


def _resident(pid: int) -> list[int]:
    """Bytes of a process and of each below it."""
    out = [0]
    try:
        parent = psutil.Process(pid)
        out[0] = parent.memory_info().rss
        out += [one.memory_info().rss for one in parent.children(recursive=True)]
    except psutil.Error:
        pass
    return out


def main() -> None:
    """Run a workload once."""
    import ours
    from workloads import WORKLOADS

    name, jobs, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    workload = WORKLOADS[name]
    outcome, _ = ours.run(workload, workload.problem(), {}, jobs=jobs, limit=limit)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"own": own, "state": outcome.state, "seconds": outcome.seconds}))


if __name__ == "__main__":
    main()
