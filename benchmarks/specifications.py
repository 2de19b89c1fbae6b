"""VNN-LIB instances answered by ``check`` and by Marabou (``pip install maraboupy``), each in a process of its own with one thread.

    python benchmarks/specifications.py FOLDER --benchmark acasxu --every 12 --limit 60 --output table.json

FOLDER has ``instances.csv`` (benchmark,network,spec,timeout_s,verdict,...) and a folder for each benchmark. Seconds are the processor's,
of the whole process: loading libraries and reading the files count. Exit status 1: two verdicts contradict each other.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = """
import sys
from wdaverify import check
print(check(sys.argv[1], sys.argv[2], time_limit=float(sys.argv[3]), jobs=1).outcome.value)
"""
MARABOU = """
import sys, warnings
warnings.simplefilter("ignore")
from maraboupy import Marabou
options = Marabou.createOptions(verbosity=0, timeoutInSeconds=int(float(sys.argv[3])), numWorkers=1)
network = Marabou.read_onnx(sys.argv[1])
print(network.solve(propertyFilename=sys.argv[2], verbose=False, options=options)[0])
"""
WORDS = {"sat": "sat", "unsat": "unsat", "TIMEOUT": "timeout", "timeout": "timeout"}


def unpacked(path: Path, folder: Path) -> str:
    """The file itself, or a copy without ``.gz``."""
    if path.suffix != ".gz":
        return str(path)
    target = folder / path.stem
    if not target.exists():
        target.write_bytes(gzip.decompress(path.read_bytes()))
    return str(target)


def answered(code: str, network: str, specification: str, limit: float) -> tuple[str, float]:
    """A verdict (``error`` where there is none) and the seconds of processor that it took."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = os.times()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, network, specification, str(limit)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=4 * limit + 60,
            check=False,
        )
        lines = done.stdout.split()
        word = WORDS.get(lines[-1] if lines else "", "error" if done.returncode else "unknown")
    except subprocess.TimeoutExpired:
        word = "timeout"
    after = os.times()
    return word, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--benchmark", action="append", required=True, help="may be given more than once")
    parser.add_argument("--every", type=int, default=1, help="take every so many instances of each")
    parser.add_argument("--limit", type=float, default=60, help="seconds for an instance")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    with (asked.folder / "instances.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    table, contradicted = [], 0
    print(f"{'instance':<44} {'check':>8} {'s':>7} {'Marabou':>8} {'s':>7}")
    with tempfile.TemporaryDirectory() as name:
        for benchmark in asked.benchmark:
            for row in [row for row in rows if row["benchmark"] == benchmark][:: asked.every]:
                files = [unpacked(asked.folder / benchmark / row[part], Path(name)) for part in ("network", "spec")]
                ours, theirs = (answered(code, *files, asked.limit) for code in (OURS, MARABOU))
                contradicted += {ours[0], theirs[0]} == {"sat", "unsat"}
                title = f"{Path(files[0]).stem} {Path(files[1]).stem}"[-44:]
                print(f"{title:<44} {ours[0]:>8} {ours[1]:>7.2f} {theirs[0]:>8} {theirs[1]:>7.2f}", flush=True)
                table.append({"benchmark": benchmark, **row, "check": ours, "marabou": theirs})
    for benchmark in asked.benchmark:
        own = [row for row in table if row["benchmark"] == benchmark]
        both = [row for row in own if row["check"][0] in ("sat", "unsat") and row["marabou"][0] in ("sat", "unsat")]
        sums = [sum(row[who][1] for row in both) for who in ("check", "marabou")]
        decided = [sum(row[who][0] in ("sat", "unsat") for row in own) for who in ("check", "marabou")]
        print(
            f"{benchmark}: of {len(own)}, check decides {decided[0]} and Marabou {decided[1]}; {len(both)} that both decide take "
            f"{sums[0]:.1f} s and {sums[1]:.1f} s of processor"
        )
    print(f"contradictions: {contradicted}")
    if asked.output is not None:
        asked.output.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return 1 if contradicted else 0


if __name__ == "__main__":
    sys.exit(main())
