"""Exact Lipschitz constants: single margins on [0, 1]^64 by the cell engine and by MIP solvers, alternating, one thread each.

python benchmarks/slopes.py [--seconds 60]
"""

from __future__ import annotations

import argparse

from sources import MODELS

from wdaverify import GroundCost, Norm, Support, load_network
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure

PAIRS = ((1, 0), (3, 8), (5, 2))
SETTINGS = (
    ("digits_16x16", "inf", ("cells", "gurobi", "highs")),
    ("digits_16x16", "1", ("cells", "gurobi", "highs")),
    ("digits_16x16", "2", ("cells",)),
    ("digits_32x32_robust", "1", ("cells", "gurobi", "highs")),
    ("digits_32x32_robust", "inf", ("cells", "gurobi")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of each question")
    limit = parser.parse_args().seconds
    print("| network | cost | margin | engine | lower | upper | nodes | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, norm, engines in SETTINGS:
        network = load_network(MODELS / f"{name}.onnx")
        for pair in PAIRS:
            measure = Measure.outputs(network, [pair])
            problem = LipschitzProblem(network, GroundCost(Norm(norm), 1), Support.box(0.0, 1.0, 64), measure)
            for engine in engines:
                found = lipschitz(problem, solver=engine, time_limit=limit)
                cells = (
                    name,
                    f"l{norm}",
                    measure.names[0],
                    engine,
                    f"{found.lower:.6f}",
                    f"{found.upper:.6f}",
                    str(found.statistics.nodes),
                    f"{found.statistics.seconds:.1f}",
                )
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
