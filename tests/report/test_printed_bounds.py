"""Every number that is printed as a bound is one, and every number that states a question reads back to itself.

Brackets of all sizes and widths go through every command's text, the tables and labels of the page, and messages; each printed
number is read as the decimal that it is, and compared with the exact value of the double it stands for.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import documents
import numpy as np
import pytest
import synthetic
from test_journal_status import FOUND

from wdaverify import digits
from wdaverify.certify.checker import Verdict, _short
from wdaverify.ladder.rung import Comparison, Kind, Ladder, Rung, Side
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import Bound, Cost, LipschitzResult, Part
from wdaverify.problem import GroundCost, Norm, Support
from wdaverify.reading import UNMOVED, Reading
from wdaverify.report.batch import RowResult, batch_summary
from wdaverify.report.compare import compare_summary
from wdaverify.report.curve import curve_summary
from wdaverify.report.distances import distances_summary
from wdaverify.report.journal import status_summary
from wdaverify.report.lipschitz import lipschitz_summary
from wdaverify.report.live import progress_text
from wdaverify.report.page.content import Cell, Figure, Report
from wdaverify.report.page.document import as_document
from wdaverify.report.page.tables import as_text
from wdaverify.report.page.view import build
from wdaverify.report.summary import attack_summary, verification_summary
from wdaverify.report.verdict import verdict_summary
from wdaverify.samples import make_samples
from wdaverify.wdro.curve import CurveResult
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.result import Reason, SampleBracket, SolverUse, Status, Voucher

SEEDS = [pytest.param(s, marks=[] if s < 30 else [pytest.mark.full]) for s in range(300)]
NUMBER = r"[-+]?(?:inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)"


def brackets(seed: int, count: int, *, positive: bool = False) -> list[tuple[float, float]]:
    """Brackets of sizes from 1e-12 to 1e17 and gaps of no ulp, of one, and of every size above."""
    rng = np.random.default_rng([seed, count])
    out = []
    for _ in range(count):
        low = float(rng.normal() * 10.0 ** rng.integers(*((-12, 18) if seed % 3 == 0 else (-2, 3))))
        low = float(rng.choice([low, round(low, 3), 0.1, 2 / 3, 0.0]))
        low = abs(low) if positive else low
        gap = float(rng.choice([0.0, 1e-16, 1e-12, 1e-7, 1e-6, 0.3])) * float(rng.choice([1.0, rng.random()]))
        out.append((low, float(rng.choice([low + gap, math.nextafter(low, math.inf)]))))
    return out


def read(text: str) -> Decimal:
    return Decimal(text.replace("−", "-").replace("∞", "inf"))


def outward(low: str, high: str, bracket: tuple[float, float]) -> None:
    assert read(low) <= Decimal(bracket[0]), (low, bracket)
    assert read(high) >= Decimal(bracket[1]), (high, bracket)


def wide(text: str, bracket: tuple[float, float]) -> None:
    """A gap that is printed is no less than the exact one, and says two digits of it."""
    exact, shown = Fraction(bracket[1]) - Fraction(bracket[0]), Fraction(read(text))
    assert exact <= shown <= exact * Fraction(111, 100), (text, bracket)


def found(pattern: str, text: str) -> list[Any]:
    out = re.findall(pattern.replace("NUMBER", f"({NUMBER})"), text, re.MULTILINE)
    assert out, (pattern, text)
    return out


def question(seed: int) -> dict[str, Any]:
    """Numbers of a question that take all digits."""
    rng = np.random.default_rng(seed)
    radius, gap, threshold, cost, side = (float(v) for v in rng.random(5))
    problem = synthetic.problem(
        radius=radius, cost=GroundCost(Norm.INF, 1, None, cost), support=Support.box(-side, 1 + side, 2)
    )
    return {"problem": problem, "gap_asked": gap, "threshold": threshold, "multiplier": 1 / radius}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_of_verify_attack_and_batch(seed: int) -> None:
    asked, ends = question(seed), brackets(seed, 1)[0]
    below = math.nextafter(ends[1], -math.inf)
    attacks = {"WDA++": below, "mixture": min(ends)}
    nominal = ends[0] - abs(ends[0]) / 3 - 1
    result = synthetic.verification(lower=ends[0], upper=ends[1], nominal=nominal, attacks=attacks, **asked)
    text = verification_summary(result)
    outward(*found(r"^lower +NUMBER ", text), *found(r"^upper +NUMBER ", text), ends)
    outward(*found(r"^nominal +NUMBER$", text), "inf", (nominal, 0))
    [gap] = found(r"^gap +NUMBER   \(asked for: NUMBER\)", text)
    wide(gap[0], ends)
    assert float(gap[1]) == asked["gap_asked"]
    for name, value in attacks.items():
        [(shown, share)] = found(rf"^{re.escape(name)} +NUMBER +NUMBER %$", text)
        assert read(shown) <= Decimal(value)
        assert value == ends[1] or float(share) < 100
    problem = asked["problem"]
    joined = " ".join(text.split())
    assert {float(v) for v in found(r"V\(NUMBER\) = sup", joined) + found(r"W_1\(Q, P\) <= NUMBER", joined)} == {
        problem.radius
    }
    low, high = float(problem.support.lower[0]), float(problem.support.upper[0])
    assert [tuple(map(float, pair)) for pair in found(r"Q on \[NUMBER, NUMBER\]\^2", joined)] == [(low, high)]
    assert [float(v) for v in found(r"labels move at NUMBER;", joined)] == [problem.cost.label_cost]
    assert [float(v) for v in found(r"V <= NUMBER:", joined)] == [asked["threshold"]]
    assert [float(v) for v in found(r"^multiplier +NUMBER$", text)] == [asked["multiplier"]]
    assert max(map(len, text.splitlines())) <= 100
    row = batch_summary([RowResult("a", result)]).splitlines()[1].split()
    outward(row[1], row[2], ends)
    wide(row[3], ends)
    lower = attack_summary(synthetic.attack(nominal=nominal, attacks=attacks))
    outward(*found(r"^lower +NUMBER ", lower), "inf", (max(attacks.values()), 0))
    with pytest.raises(ValueError, match="no value") as refused:
        _ = replace(result, status=Status.BRACKET).value
    outward(*found(r"\[NUMBER, NUMBER\]", str(refused.value))[0], ends)


def a_curve(seed: int) -> CurveResult:
    ends = brackets(seed, 9)
    radius = np.sort(np.random.default_rng(seed).random(9))
    lower, upper = (np.array([pair[k] for pair in ends]) for k in (0, 1))
    asked = question(seed)
    return CurveResult(asked["problem"], Reason.TIME_LIMIT, radius, lower, upper, asked["gap_asked"], 0.5, 7, 3, ())


def some_distances(seed: int) -> DistancesResult:
    ends = [*brackets(seed, 7, positive=True), (0.5, math.inf), (math.inf, math.inf)]
    rows = tuple(SampleBracket(k % 2, 0.5, *pair, Voucher.CHECKED) for k, pair in enumerate(ends))
    nothing, asked = (None,) * len(rows), question(seed)
    samples = make_samples(np.tile(asked["problem"].samples.x[0], (len(rows), 1)), np.zeros(len(rows), np.int64))
    problem = replace(asked["problem"], samples=samples)
    return DistancesResult(problem, Reason.TIME_LIMIT, rows, nothing, nothing, asked["gap_asked"], 0.5, 7, ())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_of_curve_and_distance(seed: int) -> None:
    curve = a_curve(seed)
    _, *rows, last = curve_summary(curve).split("\n\n")[0].splitlines()
    assert len(rows) == curve.radius.size
    for k, row in enumerate(rows):
        radius, *ends = row.split()
        assert float(radius) == curve.radius[k]
        outward(*ends, (float(curve.lower[k]), float(curve.upper[k])))
    [(gap, asked)] = found(r"widest bracket NUMBER \(asked NUMBER\)", last)
    exact = max(Fraction(b) - Fraction(a) for a, b in zip(curve.lower, curve.upper, strict=True))
    assert exact <= Fraction(gap) <= exact * Fraction(111, 100)
    assert float(asked) == curve.gap_asked
    found_ = some_distances(seed)
    _, *rows, last = distances_summary(found_).split("\n\n")[0].splitlines()
    shown = sorted(found_.brackets, key=lambda b: b.upper)
    for row, bracket in zip(rows, shown, strict=True):
        low, high = row.replace(",", "").replace("no error in the support", "").split()[-2:]
        outward(low, high, (bracket.lower, bracket.upper))


def a_constant(seed: int) -> LipschitzResult:
    asked, ends = question(seed), brackets(seed, 3, positive=True)
    made = asked["problem"]
    problem = LipschitzProblem(
        made.network,
        GroundCost(Norm.INF, 1),
        made.support,
        Measure.outputs(made.network, [(1, 0)]),
        made.samples,
        made.radius,
    )
    parts = tuple(Part(k, "z_1 - z_0", *pair, np.array([0.5, 0.25])) for k, pair in enumerate(ends))
    low, high = max(a for a, _ in ends), max(b for _, b in ends)
    bounds = (Bound("z_1 - z_0", 0, high),)
    use, cost = SolverUse("auto", {}, "none", "why"), Cost(0.5, 0.25, 3, 17, 1)
    checked = Voucher.CHECKED
    return LipschitzResult(
        problem,
        Status.BRACKET,
        Reason.TIME_LIMIT,
        "open",
        low,
        high,
        parts,
        bounds,
        checked,
        checked,
        use,
        cost,
        asked["gap_asked"],
        0,
        False,
        (),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_of_lipschitz_recheck_status_and_the_live_line(seed: int) -> None:
    constant, asked, ends = a_constant(seed), question(seed), brackets(seed, 2)
    text = lipschitz_summary(constant)
    outward(*found(r"^lower +NUMBER ", text), *found(r"^upper +NUMBER ", text), (constant.lower, constant.upper))
    [(gap, wanted)] = found(r"^gap +NUMBER   \(asked for: NUMBER", text)
    wide(gap, (constant.lower, constant.upper))
    assert float(wanted) == asked["gap_asked"]
    for k, part in enumerate(constant.parts):
        outward(*found(rf"^ +{k}  +NUMBER +NUMBER  z_1", text)[0], (part.lower, part.upper))
    joined = " ".join(text.split())
    assert [float(v) for v in found(r"balls of radius NUMBER around", joined)] == [asked["problem"].radius]
    one, other = ends
    side = np.zeros(2)
    certificate: Any = SimpleNamespace(
        proofs=(),
        lower=one[0],
        upper=one[1],
        support_lower=side,
        support_upper=side,
        norm="inf",
        loss="margin",
        order=1,
        radius=asked["problem"].radius,
        count=2,
        clip=False,
        label_column=None,
        of="value",
        content="0 proofs, 0 leaves",
    )
    reading = Reading(2, None, UNMOVED)
    said = verdict_summary(certificate, Verdict(True, *other, *one, ()), asked["problem"], reading, 10**6, 0.5)
    outward(*found(r"^lower +NUMBER   proven", said), *found(r"^upper +NUMBER   proven", said), other)
    assert [tuple(map(float, pair)) for pair in found(r"^claimed +\[NUMBER, NUMBER\]", said)] == [one]
    for name, at in (("lower", 0), ("upper", 1)):
        [(claimed, proven)] = found(r"NUMBER is claimed, NUMBER is proven", _short(name, one[at], other[at], ""))
        assert float(claimed) == one[at]
        outward(*(("-inf", proven) if at else (proven, "inf")), other)
    told = {**FOUND.state, "lower": one[0], "upper": one[1], "gap": asked["gap_asked"], "widest": [[4, 1e9, *other]]}
    status = status_summary(replace(FOUND, state=told))
    [(low, high, gap, wanted)] = found(r"^bracket +\[NUMBER, NUMBER\]   gap NUMBER \(asked for: NUMBER\)", status)
    outward(low, high, one)
    wide(gap, one)
    assert float(wanted) == asked["gap_asked"]
    for shown in re.findall(rf"sample 4: \[({NUMBER}), ({NUMBER})\]", status):
        outward(*shown, other)
    line = progress_text(Progress("solve", *one, 1, 2, 3, 0.5))
    outward(*found(r"\[NUMBER, NUMBER\]", line)[0], one)
    wide(found(r"gap NUMBER", line)[0], one)


def a_ladder(seed: int) -> list[tuple[str, str, float]]:
    rng = np.random.default_rng(seed)
    return [
        *((f"above {k}", "above", float(10.0 ** rng.integers(-3, 9) * rng.random() + 2e6)) for k in range(4)),
        *((f"below {k}", "below", float(-(10.0 ** rng.integers(-3, 9)) * rng.random() - 2e6)) for k in range(4)),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_of_compare(seed: int) -> None:
    asked, ends = question(seed), brackets(3 * seed + 1, 1)[0]
    result = synthetic.verification(lower=ends[0], upper=ends[1], **asked)
    middle = Rung("exact", Side.MIDDLE, Kind.BRACKET, None, Voucher.CHECKED, 1.0, lower=ends[0], upper=ends[1])
    made = [Rung(name, Side(side), Kind.BOUND, value, Voucher.CHECKED, 0.5) for name, side, value in a_ladder(seed)]
    ladder = Ladder(asked["problem"], -1.0, (*made, middle), result)
    text = compare_summary(Comparison(asked["problem"], (ladder,), 1.0, 0, (), False))
    shown = {
        line[:24].strip(): line[24:44].strip() for line in text.splitlines() if line[24:44].strip() and len(line) > 44
    }
    outward(shown["exact, lower end"], shown["exact, upper end"], ends)
    for rung in made:
        assert rung.value is not None
        outward(
            *((shown[rung.name], "inf") if rung.side is Side.BELOW else ("-inf", shown[rung.name])),
            (rung.value, rung.value),
        )
    assert [float(v) for v in found(r"^radius NUMBER:", text)] == [asked["problem"].radius]


LOWER = ("Lower", "Lower bound", "Distance, lower", "Bracket, lower", "Strongest attack", "Worth of a unit of budget")
UPPER = ("Upper", "Distance, upper", "Bracket, upper", "Tightest certificate", "Gap", "Largest")


def pages(seed: int) -> Report:
    """Every kind of document with random brackets."""
    asked, ends = question(seed), brackets(3 * seed + 1, 4)
    rows = tuple(SampleBracket(k % 2, 0.5, *pair, Voucher.CHECKED) for k, pair in enumerate(ends))
    verified = documents.verification(lower=ends[0][0], upper=ends[0][1], per_sample=rows, **asked)
    compared = documents.compare()
    base = compared["ladders"][0]
    rungs = [documents.rung(name, side, value) for name, side, value in a_ladder(seed)]
    compared["verifications"] = []
    compared["ladders"] = []
    for radius, (low, high) in zip(compared["radii"], ends, strict=False):
        middle = documents.rung("exact", "middle", None, kind="bracket", lower=low, upper=high, why=None)
        compared["ladders"].append({**base, "radius": radius, "lower": low, "upper": high, "rungs": [*rungs, middle]})
    curve, found_, constant = (
        copy.deepcopy(made) for made in (documents.curve(), documents.distances(), documents.lipschitz())
    )
    made = a_curve(seed)
    points = zip(made.radius.tolist(), made.lower.tolist(), made.upper.tolist(), strict=True)
    curve["points"] = [{"radius": r, "lower": a, "upper": b} for r, a, b in points]
    one = found_["distances"][0]
    found_["distances"] = [{**one, "lower": a, "upper": b} for a, b in brackets(seed, 5, positive=True)]
    constant["lower"], constant["upper"] = a_constant(seed).lower, a_constant(seed).upper
    for part, (a, b) in zip(constant["parts"], brackets(seed, 2, positive=True), strict=True):
        part["lower"], part["upper"] = a, b
    made_of = [verified, documents.attack(), compared, curve, found_, constant, documents.batch()]
    return build([as_document(document) for document in made_of])


def holds(cell: Cell, head: str) -> bool:
    """Whether a cell of a column of bounds was one, on its side."""
    if not isinstance(cell.value, float | int) or cell.text in ("–", "n/a"):
        return False
    if cell.text.startswith("≈"):
        return False
    assert read(cell.text) >= Decimal(cell.value) if head in UPPER else read(cell.text) <= Decimal(cell.value), (
        cell,
        head,
    )
    return True


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[] if s < 6 else [pytest.mark.full]) for s in range(60)])
def test_the_page_its_tables_and_its_labels(seed: int) -> None:
    report, seen = pages(seed), set[str]()
    for table in report.tables():
        for row in table.rows:
            side = row[1].text if table.columns[1].head == "Side" else ""
            for column, cell in zip(table.columns, row, strict=True):
                if column.head in LOWER + UPPER and holds(cell, column.head):
                    seen.add(column.head)
                if column.head == "Value" and side in ("above", "below"):
                    seen |= {side} if holds(cell, "Upper" if side == "above" else "Lower") else set()
                if column.head == "Radius":
                    assert float(read(cell.text)) == cell.value
    assert seen >= {*LOWER[:-1], *UPPER, "above", "below"} - {"Lower bound"}
    for question_ in report.questions:
        for part in question_.parts:
            answer = part.answer
            if answer is not None and answer.lower is not None and answer.upper is not None:
                low, high = answer.ends
                assert low is not None
                assert high is not None
                outward(answer.lower, answer.upper, (low, high))
                wide(answer.gap.split(" (")[0], (low, high))
    labels = 0
    for figure in report.figures():
        labels += check_labels(figure)
    assert labels
    written = as_text(report, "markdown")
    answers = next(table for table in report.tables() if table.key == "answers")
    for row in answers.rows:
        assert all(cell.text in written.replace("\\", "") for cell in row[2:4])


def check_labels(figure: Figure) -> int:
    """The texts beside the rungs of a ladder's picture."""
    args = getattr(figure.draw, "args", ())
    if not figure.key.endswith("-ladder"):
        return 0
    rungs, low, high, (_, text) = args
    outward(*text.split(" … "), (low, high))
    for rung in rungs:
        pair = (rung.text, "inf") if rung.side == "below" else ("-inf", rung.text)
        if not rung.estimate:
            outward(*pair, (rung.value, rung.value))
    return len(rungs)


@pytest.mark.parametrize(
    "value", [0.05, 1e-6, 1 / 3, 5.0, 0.0, -0.0, 1e22, 5e-324, math.nextafter(0.1, 1), math.inf, 123456789.0]
)
def test_what_states_a_question_reads_back_to_itself(value: float) -> None:
    assert float(digits.stated(value)) == value
    assert len(digits.stated(value)) <= 24


def test_numbers_people_type_stay_as_they_are() -> None:
    assert [digits.stated(v) for v in (0.05, 1e-6, 5.0, -0.0, 0.1, 2)] == ["0.05", "1e-06", "5", "0", "0.1", "2"]


def test_percent_arrives_only_at_the_end() -> None:
    assert digits.percent(math.nextafter(1, 0), 0.0, 1.0) == "99.9 %"
    assert digits.percent(1.0, 0.0, 1.0) == "100.0 %"
    assert digits.percent(-0.25, 0.0, 1.0) == "-25.0 %"


def test_costs_are_stated_or_rounded_up() -> None:
    assert digits.at_most(0.05, 9) == "0.05"
    assert digits.at_most(0.0, 9) == "0"
    assert digits.at_most(math.inf, 2) == "inf"
    assert digits.at_most(2 / 3, 4) == "0.6667"
