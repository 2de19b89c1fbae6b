"""Certificates: what finding an answer takes, with and without a proof, how large the proof is, and what replaying it takes.

    python benchmarks/certificates.py [NAME ...]

Processor seconds of one process; sizes of the file, with its trees as the search left them and minimised (``wdro.minimal``).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sources import mnist
from threadpoolctl import threadpool_limits

from wdaverify import (
    GroundCost,
    WdroProblem,
    load_network,
    load_samples,
    read_certificate,
    read_lipschitz,
    recheck,
    recheck_lipschitz,
    verify,
    write_certificate,
    write_lipschitz,
)
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.problem import Loss, Norm, Support
from wdaverify.wdro import certifying
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances

MODELS = Path(__file__).parents[1] / "models"


def asked(
    model: str, count: int, radius: float, loss: str = "margin", norm: str = "inf", order: float = 1
) -> WdroProblem:
    """A question about the first samples of a bundled model."""
    network, samples = (
        load_network(str(MODELS / f"{model}.onnx")),
        load_samples(str(MODELS / f"{model}.npz"), limit=count),
    )
    return WdroProblem(
        network, samples, GroundCost(Norm(norm), order), Support.box(0, 1, network.n_inputs), Loss(loss), radius
    )


def wong(count: int, radius: float) -> WdroProblem:
    """WK17a, the convolutional MNIST network of Wong and Kolter, every image by itself."""
    network, samples, support = mnist("wk17a_conv")(count)
    return WdroProblem(network, samples, GroundCost(Norm.INF, np.inf), support, Loss.ZERO_ONE, radius)


WORKLOADS: dict[str, Callable[[], tuple[str, WdroProblem]]] = {
    "digits_16x16, 20 samples, margin": lambda: ("verify", asked("digits_16x16", 20, 0.05)),
    "digits_16x16, 100 samples, margin": lambda: ("verify", asked("digits_16x16", 100, 0.05)),
    "digits_16x16, 100 samples, zero-one": lambda: ("verify", asked("digits_16x16", 100, 0.05, "zero-one")),
    "digits_16x16, 20 samples, hinge, l1, order 2": lambda: ("verify", asked("digits_16x16", 20, 0.2, "hinge", "1", 2)),
    "digits_16x16, 100 samples, zero-one, order inf": lambda: (
        "verify",
        asked("digits_16x16", 100, 0.05, "zero-one", "inf", np.inf),
    ),
    "iris_8x8, 30 samples, cross-entropy": lambda: ("verify", asked("iris_8x8", 30, 0.05, "cross-entropy")),
    "iris_8x8, 30 samples, margin, curve to 0.1": lambda: ("curve", asked("iris_8x8", 30, 0.1)),
    "digits_16x16, 20 samples, distances": lambda: ("distance", asked("digits_16x16", 20, 0.05, "zero-one")),
    "WK17a, 25 images, zero-one, order inf, 0.1": lambda: ("verify", wong(25, 0.1)),
    "WK17a, 150 images, zero-one, order inf, 0.1": lambda: ("verify", wong(150, 0.1)),
    "WK17a, 500 images, zero-one, order inf, 0.1": lambda: ("verify", wong(500, 0.1)),
}


SLOPES: dict[str, tuple[str, str, tuple[float, float] | None]] = {
    "iris_8x8, l2 on the box": ("iris_8x8", "2", (0, 1)),
    "iris_8x8, l2 on R^4": ("iris_8x8", "2", None),
    "iris_8x8, l-inf on R^4": ("iris_8x8", "inf", None),
    "digits_16x16, z_0 - z_1, l2 on the box, 60 s": ("digits_16x16", "2", (0, 1)),
    "digits_16x16, z_0 - z_1, l-inf on the box, 60 s": ("digits_16x16", "inf", (0, 1)),
}
"""Lipschitz constants: model, norm, and sides of the box, or the whole space."""


def slope(model: str, norm: str, sides: tuple[float, float] | None) -> LipschitzProblem:
    """The operator norm of a bundled model; of many outputs one margin."""
    network = load_network(str(MODELS / f"{model}.onnx"))
    n = network.n_inputs
    support = Support.whole(n) if sides is None else Support.box(*sides, n)
    many = network.n_outputs > 3
    measure = Measure.outputs(network, [(0, 1)]) if many else Measure.operator_norm(network)
    return LipschitzProblem(network, GroundCost(Norm(norm), 1), support, measure)


def main(names: list[str]) -> None:
    """Measure those whose names begin so; all but those of MNIST without any."""
    every = [*(name for name in WORKLOADS if not name.startswith("WK17a")), *SLOPES]
    chosen = [w for w in (*WORKLOADS, *SLOPES) if any(w.startswith(name) for name in names)] or every
    print("| question | solve, without | with a proof | of it minimising and replay | file | minimised | recheck |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        if name in SLOPES:
            print("|", " | ".join([name, *measured_slope(slope(*SLOPES[name]))]), "|", flush=True)
            continue
        command, problem = WORKLOADS[name]()
        print("|", " | ".join([name, *measured(command, problem)]), "|", flush=True)


def measured(command: str, problem: WdroProblem) -> list[str]:
    """The cells of a row."""
    run: dict[str, Callable[..., Any]] = {"verify": verify, "curve": curve, "distance": distances}
    gap = 1e-4 if problem.loss is Loss.CROSS_ENTROPY else 1e-6 if command == "verify" else 1e-5
    _, plain = timed(lambda: run[command](problem, gap=gap))
    spent, raw = [0.0], list[Any]()
    proven, minimal = certifying.proven, certifying.minimal

    def whole(*args: Any) -> Any:
        out, seconds = timed(lambda: proven(*args))
        spent[0] += seconds
        return out

    def smaller(certificate: Any, *args: Any) -> Any:
        raw.append(certificate)
        return minimal(certificate, *args)

    vars(sys.modules["wdaverify.wdro.verify"])["proven"] = whole
    vars(certifying)["minimal"] = smaller
    result, total = timed(lambda: run[command](problem, gap=gap, certificate=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.cert"
        before = write_certificate(path, raw[-1]) if raw else 0
        after = write_certificate(path, result.certificate)
        about = result.problem if command == "distance" else problem
        with threadpool_limits(1, user_api="blas"):  # as on the command line
            verdict, seconds = timed(lambda: recheck(read_certificate(path), replace(about)))
    assert verdict.proved, verdict.reasons
    sizes = [f"{before / 1e6:.3f} MB" if before else "", f"{after / 1e6:.3f} MB"]
    return [f"{plain:.1f} s", f"{total:.1f} s", f"{spent[0]:.1f} s", *sizes, f"{seconds:.2f} s"]


def measured_slope(problem: LipschitzProblem) -> list[str]:
    """The cells of a row about a Lipschitz constant."""
    plain, alone = timed(lambda: lipschitz(problem, time_limit=60))
    spent, made = [0.0], vars(sys.modules["wdaverify.lipschitz.exact"])
    proven = made["proven"]

    def whole(*args: Any) -> Any:
        out, spent[0] = timed(lambda: proven(*args))
        return out

    made["proven"] = whole
    found, total = timed(lambda: lipschitz(problem, certificate=True, time_limit=60))
    made["proven"] = proven
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.cert"
        size = write_lipschitz(path, found.certificate)
        verdict, seconds = timed(lambda: recheck_lipschitz(read_lipschitz(path), problem))
    assert verdict.proved, verdict.reasons
    brackets = "; ".join(f"[{r.lower:.6g}, {r.upper:.6g}]" for r in (plain, found))
    return [
        f"{alone:.1f} s",
        f"{total:.1f} s",
        f"{spent[0]:.1f} s",
        brackets,
        f"{size / 1e6:.3f} MB",
        f"{seconds:.2f} s",
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the processor seconds that it took."""
    begun = time.process_time()
    return work(), time.process_time() - begun


if __name__ == "__main__":
    main(sys.argv[1:])
