"""Run named workloads, every setting in turn and the whole turn repeated, and print a Markdown table of medians.

python benchmarks/run.py [--repeats 3] [--jobs 2] [NAME ...]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
from importlib.metadata import version

from workloads import MODELS, WORKLOADS, Workload

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, load_network, load_samples, verify


def problem_of(workload: Workload) -> WdroProblem:
    network = load_network(MODELS / f"{workload.network}.onnx")
    samples = load_samples(MODELS / f"{workload.network}.npz", limit=workload.samples)
    support = Support.box(0.0, 1.0, network.n_inputs)
    cost = GroundCost(Norm(workload.norm), 1)
    return WdroProblem(network, samples, cost, support, Loss(workload.loss), workload.radius)


def rows(workload: Workload, repeats: int, jobs: int) -> list[str]:
    """One row a setting; the settings alternate, so that they share what the machine was doing."""
    problem = problem_of(workload)
    results = {name: [] for name in workload.settings}
    for _ in range(repeats):
        for name, settings in workload.settings.items():
            results[name].append(verify(problem, jobs=jobs, **settings))
    out = []
    for name, runs in results.items():
        seconds = [run.statistics.seconds for run in runs]
        last = runs[-1]
        cells = (
            workload.name,
            name,
            last.status.value,
            f"{last.lower:.6f}",
            f"{max(run.gap for run in runs):.1e}",
            f"{statistics.median(seconds):.2f}",
            f"{min(seconds):.2f} to {max(seconds):.2f}",
            str(last.statistics.solves),
            str(last.statistics.nodes),
            str(last.statistics.naive_solves),
        )
        out.append("| " + " | ".join(cells) + " |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(w.name for w in WORKLOADS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    known = {workload.name: workload for workload in WORKLOADS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no workload {unknown[0]}: {', '.join(known)} exist")
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    packages = ", ".join(f"{name} {version(name)}" for name in ("highspy", "gurobipy", "numpy", "torch"))
    print(f"revision {revision.stdout.strip() or 'unknown'}; Python {platform.python_version()}; {packages}")
    print(f"{platform.machine()}, {options.jobs} processes, {options.repeats} repeats, seconds of wall clock\n")
    print("| workload | setting | status | lower | widest gap | median s | spread | solves | nodes | naive solves |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.names or known:
        for row in rows(known[name], options.repeats, options.jobs):
            print(row, flush=True)


if __name__ == "__main__":
    main()
