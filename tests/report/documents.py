"""Made-up result documents of every kind that a report takes; no engine has run."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import synthetic

from wdaverify.ground import LinearRows, Support
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import Bound, Cost, LipschitzResult, Part
from wdaverify.network.model import readonly
from wdaverify.report import as_json
from wdaverify.report.as_json import provenance_json, question_json
from wdaverify.report.curve import curve_json
from wdaverify.report.distances import distances_json
from wdaverify.report.lipschitz import lipschitz_json
from wdaverify.wdro.curve import CurveResult
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.result import Reason, SampleBracket, SolverUse, Status, Voucher

Json = dict[str, Any]

FILES = as_json.files_json("models/tiny.onnx", "tiny.npz")
NASTY = "<script>alert(1)</script></style>\"'&{{7*7}}|=1+1 \\input{x}$_%^~`\u202e\x1b[31m"
"""Breaks out of HTML, attributes, a style sheet, a template, Markdown, CSV, LaTeX, the direction of writing, a terminal."""


def verification(**changes: Any) -> Json:
    files = changes.pop("files", FILES)
    return as_json.verification_json(synthetic.verification(**changes), files)


def attack() -> Json:
    return as_json.attack_json(synthetic.attack(), FILES)


def curve(**changes: Any) -> Json:
    result = CurveResult(
        problem=synthetic.problem(),
        reason=Reason.GAP_CLOSED,
        radius=np.array([0.0, 0.02, 0.05]),
        lower=np.array([-0.375, -0.2, -0.1234567891234]),
        upper=np.array([-0.375, -0.2, -0.1234562]),
        gap_asked=1e-6,
        seconds=0.5,
        solves=7,
        searched=3,
        notices=(),
    )
    return {**curve_json(result, FILES), **changes}


def distances() -> Json:
    result = DistancesResult(
        problem=synthetic.problem(),
        reason=Reason.GAP_CLOSED,
        brackets=(
            SampleBracket(0, 0.5, 0.1, 0.1000001, Voucher.CHECKED),
            SampleBracket(1, 0.5, math.inf, math.inf, Voucher.CHECKED),
        ),
        points=(readonly(np.array([0.2, 0.25])), None),
        classes=(1, None),
        gap_asked=1e-6,
        seconds=0.25,
        solves=4,
        notices=(),
    )
    return distances_json(result, FILES)


def rung(name: str, side: str, value: float | str | None, **changes: Any) -> Json:
    out = {
        "name": name,
        "side": side,
        "kind": "bound",
        "value": value,
        "lower": None,
        "upper": None,
        "vouched": "checked",
        "seconds": 0.5,
        "distance": None,
        "detail": "",
        "why": None if value is not None else "needs a bounded support",
    }
    return {**out, **changes}


def ladder(radius: float, lower: float, upper: float) -> Json:
    scale = radius * 20
    return {
        "radius": radius,
        "nominal": -0.375,
        "lower": lower,
        "upper": upper,
        "status": "exact",
        "reason": "gap-closed",
        "detail": "",
        "rungs": [
            rung("product of layer norms", "above", upper + 80 * scale),
            rung("LipSDP", "above", None),
            rung("interval Jacobian", "above", upper + 9 * scale),
            rung("exact Lipschitz", "above", upper + 2.5 * scale, vouched="solver"),
            rung("CROWN dual", "above", upper + 0.2 * scale),
            rung("LP dual", "above", upper + 0.003 * scale),
            rung("exact", "middle", None, kind="bracket", lower=lower, upper=upper, why=None),
            rung("nominal", "below", -0.375),
            rung("asymptotic", "below", None, why="needs the whole space"),
            rung("first-order sensitivity", "below", upper + 0.05 * scale, kind="estimate", vouched="none"),
            rung("WDA(1)", "below", lower - 0.08),
            rung("WDA(4)", "below", lower - 0.05),
            rung("WDA++", "below", lower - 0.03),
            rung("mixture", "below", lower - 0.0005),
        ],
    }


def compare() -> Json:
    problem = synthetic.problem()
    asked = question_json(problem)
    brackets = {0.02: (-0.2, -0.1999995), 0.035: (-0.16, -0.1599995), 0.05: (-0.1234567891234, -0.1234562)}
    return {
        "schema": "wdaverify/compare/1",
        **asked,
        "radii": list(brackets),
        "ladders": [ladder(radius, *ends) for radius, ends in brackets.items()],
        "verifications": [verification(files=None)],
        "seed": 0,
        **provenance_json(problem, ()),
        "files": FILES,
    }


def lipschitz() -> Json:
    """Balls around two samples within a box cut by a row; one closed, nothing found near the other."""
    made = synthetic.problem()
    rows = LinearRows(readonly(np.array([[1.0, 2.0]])), readonly(np.array([-math.inf])), readonly(np.array([9.0])))
    support = Support(made.support.lower, made.support.upper, rows)
    measure = Measure.outputs(made.network, [(1, 0), (0, None)])
    problem = LipschitzProblem(made.network, made.cost, support, measure, made.samples, 0.5)
    parts = (
        Part(0, "z_1 - z_0", 3.25, 3.5, readonly(np.array([0.5, 0.25]))),
        *(Part(i, None, 0.0, 1.0, None) for i in range(1, len(made.samples))),
    )
    result = LipschitzResult(
        problem=problem,
        status=Status.BRACKET,
        reason=Reason.TIME_LIMIT,
        detail="",
        lower=3.25,
        upper=3.5,
        parts=parts,
        functionals=tuple(Bound(name, 0, upper) for name, upper in (("z_1 - z_0", 3.5), ("z_0", math.inf))),
        vouched_lower=Voucher.CHECKED,
        vouched_upper=Voucher.SOLVER,
        solver=SolverUse("auto", {"cells": 3}, "none", "why"),
        statistics=Cost(0.5, 0.25, 3, 17, 1),
        gap_asked=1e-6,
        seed=0,
        each=False,
        notices=(),
    )
    return lipschitz_json(
        result,
        {
            "network": "tiny.onnx",
            "samples": "tiny.npz",
            "label_column": None,
            "support": None,
            "logits": False,
            "output_name": None,
            "external_data": False,
        },
    )


def batch() -> Json:
    """Two rows that are done, one that is open, one that was refused and one that was not begun."""
    decided = verification(status=Status.BRACKET, reason=Reason.THRESHOLD_DECIDED, threshold=1.0, upper=0.5)
    open_ = verification(status=Status.BRACKET, reason=Reason.TIME_LIMIT, upper=0.25)
    rows = [
        ("margin", verification(), None),
        ("decided", decided, None),
        ("open", open_, None),
        ("no data", None, "'nowhere.npz': no such file"),
        ("late", None, None),
    ]
    return {
        "schema": "wdaverify/batch/1",
        "done": False,
        "rows": [
            {"name": name, "done": k < 2, "refused": refused, "result": result}
            for k, (name, result, refused) in enumerate(rows)
        ],
    }


ALL = {
    "verification": verification,
    "attack": attack,
    "curve": curve,
    "distances": distances,
    "compare": compare,
    "lipschitz": lipschitz,
    "batch": batch,
}


def nasty(document: Json) -> Json:
    """The document with every free text, names of attacks and functionals included, made as nasty as can be."""
    out = copy.deepcopy(document)
    _spoil(out)
    return out


_FREE = (
    "name",
    "source",
    "detail",
    "why",
    "reason",
    "system",
    "architecture",
    "device",
    "functional",
    "gurobi_licence",
)
_PATHS = ("network", "samples", "label_column", "support", "certificate")


def _spoil(node: Any) -> None:
    if isinstance(node, list):
        for entry in node:
            _spoil(entry)
        return
    if not isinstance(node, dict):
        return
    for name, value in list(node.items()):
        closed = (
            name == "reason" and ("status" in node or "exact" in node) and "measure" not in node and "rungs" not in node
        )
        if isinstance(value, str) and not closed and (name in _FREE or (name in _PATHS and "clip" in node)):
            node[name] = NASTY
        elif name == "notices":
            node[name] = [NASTY]
        elif name == "rows" and value and "result" in value[0]:
            for k, row in enumerate(value):  # names stay apart
                row["name"], row["refused"] = f"{NASTY}{k}", row["refused"] and NASTY
                _spoil(row["result"])
        elif name == "attacks":
            node[name] = {NASTY + str(k): bound for k, bound in enumerate(value.values())}
        else:
            _spoil(value)


def many(count: int, width: int = 2) -> Json:
    """A verification of so many samples, each with two atoms."""
    document = verification()
    document["network"]["inputs"] = width
    document["samples"]["count"] = count
    rng = np.random.default_rng(0)
    document["originals"] = [
        {"sample": i, "weight": 1 / count, "label": i % 2, "predicted": i % 2, "point": rng.random(width).tolist()}
        for i in range(count)
    ]
    document["atoms"] = [
        {
            **document["atoms"][0],
            "sample": i,
            "weight": 0.5 / count,
            "distance": 0.1 * k,
            "label": i % 2,
            "predicted": (i + k) % 2,
            "point": document["originals"][i]["point"] if k == 0 else rng.random(width).tolist(),
        }
        for i in range(count)
        for k in range(2)
    ]
    document["per_sample"] = [{**document["per_sample"][0], "sample": i} for i in range(count)]
    return document
