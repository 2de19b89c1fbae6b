"""A program that runs a question with a journal and kills itself (SIGKILL) at the n-th SQL statement; 0: never.

Arguments: folder, loss, n. Single points are not counted: the attacks write hundreds in one transaction.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from wdaverify import (
    GroundCost,
    Loss,
    Norm,
    Support,
    VerificationResult,
    WdroProblem,
    load_network,
    load_samples,
    verify,
)
from wdaverify.journal.store import Journal

MODELS = Path(__file__).parents[2] / "models"
GAP = 1e-6


def question(loss: str, radius: float = 0.05, norm: Norm = Norm.INF) -> WdroProblem:
    network, samples = load_network(MODELS / "iris_8x8.onnx"), load_samples(MODELS / "iris_8x8.npz")
    return WdroProblem(network, samples, GroundCost(norm, 1), Support.box(0.0, 1.0, 4), Loss(loss), radius)


def run(folder: str | Path, loss: str, stop: int = 0) -> tuple[VerificationResult, int]:
    """The result and the number of statements; before its end it says how many answers it had committed."""
    count, written, committed = 0, 0, 0

    def trace(statement: str) -> None:
        nonlocal count, written, committed
        written += statement.startswith("INSERT INTO fact") and "'cells'" in statement
        count += not statement.startswith(
            ("INSERT INTO point", "INSERT OR IGNORE INTO sample", "SELECT id FROM sample")
        )
        if count == stop:
            os.write(1, f"{committed}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        committed = written if statement == "COMMIT" else committed

    with Journal(folder) as journal:
        journal._base.set_trace_callback(trace)
        return verify(question(loss), gap=GAP, journal=journal), count


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
