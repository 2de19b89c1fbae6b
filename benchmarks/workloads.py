"""Named workloads: a network, samples, a question, and the settings that are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Workload:
    """One question asked under several settings (name -> keyword arguments of ``verify``), paired in one run."""

    name: str
    network: str
    samples: int
    radius: float
    loss: str
    norm: str
    settings: dict[str, dict[str, object]] = field(default_factory=dict)


_CELLS: dict[str, dict[str, object]] = {
    "gurobi": {"solver": "gurobi"},
    "cells": {"solver": "cells"},
    "cells, proved": {"solver": "cells", "certificate": True},
}
_BACKENDS: dict[str, dict[str, object]] = {**_CELLS, "highs": {"solver": "highs"}}


def _starts(solver: str) -> dict[str, dict[str, object]]:
    return {
        f"{solver}, no start": {"solver": solver},
        f"{solver}, MIP start": {"solver": solver, "mip_start": True},
    }


WORKLOADS = (
    Workload("main-job", "digits_16x16", 20, 0.05, "margin", "inf", _BACKENDS),
    Workload("digits-50", "digits_16x16", 50, 0.05, "margin", "inf", _CELLS),
    Workload("digits-50-zero-one", "digits_16x16", 50, 0.05, "zero-one", "inf", _BACKENDS),
    Workload("digits-l1", "digits_16x16", 20, 0.5, "margin", "1", _CELLS),
    Workload("robust-5", "digits_32x32_robust", 5, 0.02, "margin", "inf", _CELLS),
    Workload("iris-30", "iris_8x8", 30, 0.05, "margin", "inf", _BACKENDS),
    Workload("mip-start", "digits_16x16", 10, 0.05, "margin", "inf", {**_starts("gurobi"), **_starts("highs")}),
    Workload(
        "mip-start-zero-one", "digits_16x16", 20, 0.05, "zero-one", "inf", {**_starts("gurobi"), **_starts("highs")}
    ),
)
