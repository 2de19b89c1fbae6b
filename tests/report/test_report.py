"""What is written meets the published schemas and reads back exactly; what is printed is rounded outward."""

from __future__ import annotations

import json
import math
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from wdaverify import digits
from wdaverify.errors import OutputError
from wdaverify.network.model import readonly
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.report import as_json, summary
from wdaverify.wdro.result import Reason, SampleBracket, Status, VerificationResult, Voucher

OPEN = {"status": Status.BRACKET, "reason": Reason.TIME_LIMIT}
VERIFICATIONS: dict[str, VerificationResult] = {
    "exact": synthetic.verification(),
    "nothing known": synthetic.verification(**OPEN, lower=-math.inf, upper=math.inf, multiplier=math.inf, attacks={}),
    "radius 0": synthetic.verification(
        problem=synthetic.problem(radius=0.0), multiplier=None, transport_cost=0.0, per_sample=()
    ),
    "zero-one, l1": synthetic.verification(
        problem=synthetic.problem(loss=Loss.ZERO_ONE, cost=GroundCost(Norm.ONE, 1)),
        per_sample=(SampleBracket(0, 1.0, 0.1, math.inf, Voucher.PROVED),),
    ),
    "uneven support": synthetic.verification(
        problem=synthetic.problem(support=Support(readonly(np.array([0.0, -1.0])), readonly(np.array([1.0, 1.0]))))
    ),
    "threshold": synthetic.verification(
        status=Status.BRACKET, reason=Reason.THRESHOLD_DECIDED, threshold=1.0, detail="after the attacks"
    ),
    "interrupted": synthetic.verification(status=Status.BRACKET, reason=Reason.INTERRUPTED, atoms=()),
    "numpy numbers": synthetic.verification(lower=np.float64(-0.5), upper=np.float64(0.5), seed=np.int64(3)),
}
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _validate(document: dict[str, Any], name: str) -> None:
    Draft202012Validator(as_json.schema(name)).validate(document)


LATER = {"error_rate", "made", "classes", "specification", "within", "pyscipopt", "onnxruntime", "loops", "curved"}
LATER |= {"arithmetic", "float32", "raised"}
"""Fields that documents of older versions lack; they still meet their schema."""


@pytest.mark.parametrize("name", ["verification", "attack", "curve", "distances", "compare", "lipschitz"])
def test_schemas_are_schemas_and_strict(name: str) -> None:
    schema = as_json.schema(name)
    Draft202012Validator.check_schema(schema)
    parts = [schema]
    while parts:
        part = parts.pop()
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert part["required"] == [
                name for name in part["properties"] if name not in LATER or name in part["required"]
            ]
        parts += [value for value in part.values() if isinstance(value, dict)]


def test_unknown_schema() -> None:
    with pytest.raises(KeyError, match="verification"):
        as_json.schema("page")


@pytest.mark.parametrize("name", VERIFICATIONS)
def test_verification_validates(name: str) -> None:
    document = as_json.verification_json(VERIFICATIONS[name])
    _validate(document, "verification")
    assert json.loads(as_json.dumps(document), parse_constant=pytest.fail) == document


@pytest.mark.parametrize("changes", [{}, {"finished": False, "atoms": (), "attacks": {}}])
def test_attack_validates(changes: dict[str, Any]) -> None:
    document = as_json.attack_json(synthetic.attack(**changes))
    _validate(document, "attack")
    assert json.loads(as_json.dumps(document)) == document
    assert document["lower"] == (-0.375 if changes else -0.13)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("vouched"),
        lambda d: d.update(extra=1),
        lambda d: d.update(lower="infinity"),
        lambda d: d.update(network_sha256="short"),
        lambda d: d["atoms"][0].pop("loss_float32"),
        lambda d: d["support"].update(kind="ball"),
    ],
)
def test_schema_catches_faults(spoil: Any) -> None:
    document = as_json.verification_json(synthetic.verification())
    spoil(document)
    with pytest.raises(ValidationError):
        _validate(document, "verification")


def test_meanings() -> None:
    document = as_json.verification_json(VERIFICATIONS["nothing known"])
    assert (document["lower"], document["upper"], document["gap"]) == ("-inf", "inf", "inf")
    assert document["order"] == 1
    assert as_json.verification_json(VERIFICATIONS["radius 0"])["multiplier"] is None
    assert document["support"] == {"kind": "box", "lower": 0.0, "upper": 1.0, "rows": [], "integer": []}
    assert as_json.verification_json(VERIFICATIONS["uneven support"])["support"]["lower"] == [0.0, -1.0]
    assert document["notices"] == ["a final Softmax was dropped", "the solver's upper bound was raised"]
    with pytest.raises(ValueError, match="NaN"):
        as_json.number(math.nan)


@given(FINITE)
def test_doubles_are_exact(value: float) -> None:
    back = json.loads(as_json.dumps({"value": as_json.number(value)}))["value"]
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)


def test_write_replaces_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("before")
    target.chmod(0o640)
    as_json.check_writable(target)
    assert target.read_text() == "before"
    as_json.write(target, {"a": 1})
    assert json.loads(target.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["out.json"]


def test_write_follows_a_link_and_heeds_the_umask(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    before = os.umask(0o027)
    try:
        as_json.write(tmp_path / "link.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "link.json").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.json").stat().st_mode) == 0o640


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        as_json.write(target, {"a": 1})
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/out.json", "folder does not exist"),
        (".", "it is a folder"),
        ("x" * 300, "too long"),
        ("file/o", "not a directory"),
    ],
)
def test_unwritable(path: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=why):
        as_json.check_writable(tmp_path / path)
    with pytest.raises(OutputError):
        as_json.write(tmp_path / path, {})
    assert os.listdir(tmp_path) == ["file"]


def test_devices_are_refused() -> None:
    with pytest.raises(OutputError, match="not a plain file"):
        as_json.check_writable("/dev/null")


@given(FINITE, st.integers(6, 15))
def test_printed_bounds_are_outward(value: float, places: int) -> None:
    down, up = digits.down(value, places), digits.up(value, places)
    assert Decimal(down) <= Decimal(value) <= Decimal(up)
    width = max(abs(Decimal(value)) * Decimal("1e-14"), Decimal(2).scaleb(-places))
    assert Decimal(up) - Decimal(down) <= width
    assert not down.strip("0.").startswith("-") or float(down) < 0


@given(st.floats(1e-14, 1e6))
def test_digits_show_the_gap(gap: float) -> None:
    places = digits.places(0.0, gap)
    lower, upper = digits.down(0.0, places), digits.up(gap, places)
    assert gap <= float(upper) - float(lower) <= 1.2 * gap + 1e-15


@pytest.mark.parametrize("name", VERIFICATIONS)
def test_summary_fits(name: str) -> None:
    text = summary.verification_summary(VERIFICATIONS[name])
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= summary.WIDTH
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_summary_says_it_all() -> None:
    text = summary.verification_summary(synthetic.verification(threshold=-0.12))
    for words in (
        "V(0.05) = sup { E_Q[margin loss] : Q on [0, 1]^2, W_1(Q, P) <= 0.05 }",
        "ground cost l-inf",
        "tiny: 2-3-2, 3 ReLUs",
        "2 from tiny.npz",
        "verified: V <= -0.12 is proven; the gap asked for is closed",
        "-0.12345679   re-evaluated here with outward rounding",
        "-0.12345620   on the solver's word for 1 of 2 samples",
        "5.9e-7   (asked for: 1e-06)",
        "-0.37500000",
        "2.5",
        "0.05 of the radius 0.05 (100.0 %)",
        "V <= -0.12: yes",
        "highs (3 solves); asked for: auto; no Gurobi licence was found",
        "2 rounds, 3 solves, 17 nodes",
        "80 solves",
        "1.5 s (attack 0.5, screening 0.2, solvers 0.8 added over processes) with 2 processes, device cpu",
    ):
        assert " ".join(words.split()) in " ".join(text.split()), f"{words!r} is not in\n{text}"
    assert "gurobi (0" not in text


@pytest.mark.parametrize(
    ("threshold", "decision"),
    [(-0.1234562, "yes"), (-0.12345621, "undecided"), (-0.2, "no"), (-0.1234567891234, "undecided")],
)
def test_threshold(threshold: float, decision: str) -> None:
    assert synthetic.verification(threshold=threshold).decision == decision


def test_attack_table() -> None:
    table = summary.verification_summary(synthetic.verification(nominal=-1.0, upper=0.0, lower=-0.1)).split("\n\n")[2]
    header, *rows = table.splitlines()
    assert header.split() == ["attack", "lower", "bound", "of", "the", "way", "from", "nominal", "to", "upper"]
    assert [row.split() for row in rows] == [
        ["WDA(1)", "-0.200001", "79.9", "%"],
        ["WDA++", "-0.150000", "85.0", "%"],
        ["mixture", "-0.130001", "86.9", "%"],
    ]
    assert len({len(row) for row in rows}) == 1


def test_attack_summary() -> None:
    text = summary.attack_summary(synthetic.attack(finished=False))
    assert "cut short by a limit" in text
    assert "mixture" in text
    assert "way from nominal" not in text


def test_network_summary() -> None:
    text = summary.network_summary(synthetic.network())
    for words in ("affine 2 -> 3, ReLU, affine 3 -> 2", "a" * 64, "[1, 2]", "a final Softmax was dropped"):
        assert words in text
    document = as_json.network_json(synthetic.network())
    assert [layer["outputs"] for layer in document["layers"]] == [3, 3, 2]
    assert (document["relus"], document["parameters"]) == (3, 17)


def test_a_cost_within_the_radius_is_not_printed_beyond_it() -> None:
    """Nine digits rounded up would be more than the radius: the cost is then stated to its last digit."""
    radius = 7.62939453125e-06
    result = synthetic.verification(problem=synthetic.problem(radius=radius), transport_cost=math.nextafter(radius, 0))
    text = summary.verification_summary(result)
    [line] = [line for line in text.splitlines() if line.startswith("transport cost")]
    assert float(line.split()[2]) == math.nextafter(radius, 0)
