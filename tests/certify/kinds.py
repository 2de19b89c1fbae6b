"""The kinds of questions that the table of docs/certificate.md has rows for, and what each command makes of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from family_oracle import Question, random_question
from test_family_against_oracle import put

from wdaverify import Certificate, Support, WdroProblem, load_specification, verify
from wdaverify.problem import Loss, Samples
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances

SPEC = (
    "(declare-const X_0 Real)\n{inputs}(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n{box}(assert (>= Y_1 Y_0))\n"
)
GAPS = {"cross-entropy": 1e-4}


def two(seed: int) -> str:
    """l-inf and l1 take turns."""
    return ("inf", "1")[seed % 2]


def some(norm: str, orders: tuple[float, ...], losses: tuple[str, ...], **extras: bool) -> Callable[[int], Question]:
    """One of the family oracle's questions a seed; orders, losses and (where none is given) norms take turns."""

    def drawn(seed: int) -> Question:
        order, loss = orders[seed % len(orders)], losses[seed % len(losses)]
        return random_question(seed, norm=norm or two(seed), order=order, loss=loss, **extras)

    return drawn


EVERY = dict.fromkeys(("label_cost", "cost_weights", "rows", "integer"), True)
FAMILY: dict[str, Callable[[int], Question]] = {
    "margin, order 1": some("", (1,), ("margin",)),
    "hinge, cw": some("", (1, 2), ("hinge", "cw")),
    "linear loss": some("", (1, 2), ("linear",)),
    "cross-entropy": some("", (1,), ("cross-entropy",)),
    "zero-one": some("", (1, 2), ("zero-one",)),
    "order 2": some("", (2,), ("margin", "zero-one", "linear")),
    "order inf": some("", (math.inf,), ("margin", "hinge", "linear", "cross-entropy")),
    "zero-one, order inf": some("", (math.inf,), ("zero-one",)),
    "l2 cost": some("2", (1, 2), ("margin", "zero-one", "hinge")),
    "feature weights": some("", (1, 2), ("margin", "zero-one", "cw"), cost_weights=True),
    "linear rows": some("", (1,), ("margin", "zero-one", "cross-entropy"), rows=True),
    "integers": some("", (1,), ("margin", "zero-one", "linear"), integer=True),
    "labels at a price": some("", (1, 2), ("margin", "zero-one", "cross-entropy"), label_cost=True),
    "all of these at once": some("", (1,), ("margin",), **EVERY),
}
"""Rows of questions that the family's oracle answers."""


@cache
def question(kind: str, seed: int) -> Question:
    """The question of a seed."""
    return FAMILY[kind](seed)


def problem(kind: str, seed: int, folder: Path) -> WdroProblem:
    """The question of a kind and a seed as a user asks it, through files in the folder."""
    if kind in FAMILY:
        return put(question(kind, seed), folder)
    if kind == "specification":
        base = put(random_question(seed, norm=two(seed), order=1, loss="zero-one"), folder)
        names = [f"(declare-const X_{k} Real)\n" for k in range(1, base.network.n_inputs)]
        box = [f"(assert (>= X_{k} -9))\n(assert (<= X_{k} 9))\n" for k in range(base.network.n_inputs)]
        outputs = [f"(declare-const Y_{k} Real)\n" for k in range(2, base.network.n_outputs)]
        path = folder / "s.vnnlib"
        path.write_text(SPEC.format(inputs="".join(names), box="".join((*outputs, *box))))
        samples = replace(base.samples, y=np.zeros(len(base.samples), np.int64), labelled=False)
        return replace(
            base, samples=unlabelled(samples), loss=Loss.SPECIFICATION, specification=load_specification(path)
        )
    order, loss = {"order inf": (math.inf, "margin"), "zero-one": (1, "zero-one"), "finite orders": (1, "margin")}[
        kind.removeprefix("whole space, ")
    ]
    inner = put(random_question(seed, norm=two(seed), order=order, loss=loss), folder)
    return replace(inner, support=Support.whole(inner.support.lower.size))


def unlabelled(samples: Samples) -> Samples:
    """Samples without labels, under the hash that their content has."""
    from wdaverify.samples import make_samples

    return make_samples(samples.x, None, samples.w)


def dlr(seed: int, folder: Path) -> WdroProblem:
    """A question of the DLR loss."""
    k = next(
        k
        for k in range(seed, seed + 50)
        if random_question(k, norm="inf", order=1, loss="margin").weights[-1][1].size == 3
    )
    return replace(put(random_question(k, norm="inf", order=1, loss="margin"), folder), loss=Loss.DLR)


def made(command: str, asked: WdroProblem, gap: float | None = None) -> tuple[WdroProblem, Certificate, Any]:
    """The problem that a command's certificate is about, the certificate, and the command's result."""
    gap = GAPS.get(asked.loss.value, 1e-6) if gap is None else gap
    result: Any
    if command == "verify":
        result = verify(asked, certificate=True, gap=gap)
    elif command == "curve":
        result = curve(asked, certificate=True, gap=max(gap, 1e-3 if asked.cost.order == 2 else 1e-5))
    else:
        result = distances(asked, certificate=True, gap=gap)
    assert result.certificate is not None
    return result.problem, result.certificate, result
