"""Made-up results on a tiny network, for tests of what is written and printed; no engine has run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from layers import Affine, Relu, network_of

from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem
from wdaverify.wdro.result import (
    Atom,
    AttackResult,
    Reason,
    SampleBracket,
    SolverUse,
    Statistics,
    Status,
    VerificationResult,
    Voucher,
)


def network() -> ReluNetwork:
    """2-3-2 with a notice."""
    first = Affine(readonly(np.arange(6.0).reshape(3, 2)), readonly(np.zeros(3)))
    last = Affine(readonly(np.ones((2, 3))), readonly(np.array([0.0, 1.0])))
    return network_of((first, Relu(), last), (1, 2), (2,), "a" * 64, "tiny", ("a final Softmax was dropped",))


def problem(**changes: Any) -> WdroProblem:
    x, y, w = readonly(np.array([[0.1, 0.2], [0.3, 0.4]])), np.array([0, 1]), readonly(np.array([0.5, 0.5]))
    question = WdroProblem(
        network(),
        Samples(x, y, w, "b" * 64, "tiny.npz"),
        GroundCost(Norm.INF, 1),
        Support.box(0.0, 1.0, 2),
        Loss.MARGIN,
        0.05,
    )
    return replace(question, **changes)


def atoms() -> tuple[Atom, ...]:
    return (
        Atom(0, 0.5, 0.05, -1.25, -1.2500001, readonly(np.array([0.1, 1 / 3])), 0),
        Atom(1, 0.5, 0.0, 0.5, 0.5, readonly(np.array([0.3, 0.4])), 1),
    )


def verification(**changes: Any) -> VerificationResult:
    """Exact, by the margin loss, unless changed."""
    result = VerificationResult(
        problem=problem(),
        status=Status.EXACT,
        reason=Reason.GAP_CLOSED,
        detail="",
        lower=-0.1234567891234,
        upper=-0.1234562,
        nominal=-0.375,
        multiplier=2.5,
        transport_cost=0.05,
        attacks={"WDA(1)": -0.2, "WDA++": -0.15, "mixture": -0.13},
        atoms=atoms(),
        per_sample=(
            SampleBracket(0, 0.5, -1.5, -1.25, Voucher.SOLVER),
            SampleBracket(1, 0.5, 0.25, 0.5, Voucher.CHECKED),
        ),
        vouched_lower=Voucher.CHECKED,
        vouched_upper=Voucher.SOLVER,
        solver=SolverUse("auto", {"highs": 3, "gurobi": 0}, "none", "no Gurobi licence was found"),
        statistics=Statistics(1.5, 0.5, 0.25, 0.75, 2, 3, 17, 1, 0, 80, 2, "cpu"),
        gap_asked=1e-6,
        threshold=None,
        seed=0,
        notices=("the solver's upper bound was raised",),
    )
    return replace(result, **changes)


def attack(**changes: Any) -> AttackResult:
    result = AttackResult(
        problem=problem(),
        nominal=-0.375,
        attacks={"WDA(1)": -0.2, "mixture": -0.13},
        transport_cost=0.05,
        atoms=atoms(),
        seconds=0.5,
        spent={"WDA(1)": 0.1, "mixture": 0.5},
        evaluations=1000,
        device="cpu",
        seed=0,
        finished=True,
        notices=(),
    )
    return replace(result, **changes)
