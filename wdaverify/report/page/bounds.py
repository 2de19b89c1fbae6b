"""Answers at one radius: the bracket with its reason, what belongs to it, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from wdaverify.digits import places
from wdaverify.losses.registry import Loss
from wdaverify.report.next_steps import AT_RADIUS, held_open, holders, ways_on
from wdaverify.report.page import asked, atoms, beside, ladder, words
from wdaverify.report.page.content import Answer, Block, Cell, Column, Facts, Notes, Part, Table
from wdaverify.report.page.document import Document, number, unbounded
from wdaverify.report.page.words import Json, down, near, plain, small, up
from wdaverify.report.threshold import VERDICTS
from wdaverify.wdro.result import decided

Shape = tuple[int, ...] | None
_MANY = 12


def verification_part(document: Document, compared: Json | None, key: str, shape: Shape) -> Part:
    """What ``verify`` found; the ladder of ``compare`` at the same radius, where there is one, takes the place of its own."""
    data = document.data
    rungs = compared or _own_ladder(data)
    blocks: list[Block] = [*_notices(data), *ladder.ladder_blocks(rungs, key), *atoms.blocks(data, key, shape)]
    blocks += [*_rays(data, key), *_by_sample(data, key), _cost(data), asked.again(document)]
    return Part(key, _at(data), _answer(data), tuple(blocks))


def attack_part(document: Document, key: str, shape: Shape) -> Part:
    """What ``attack`` found: lower bounds only."""
    data = document.data
    lower = number(data["lower"])
    spent = data["statistics"]
    reason = "Attacks find lower bounds only; nothing here says how much worse it can get."
    if not data["finished"]:
        reason += " They were cut short by a limit."
    quantity = f"V({plain(data['radius'])})"
    answer = Answer(
        "bounds", words.STATUS["bounds"], reason, quantity, down(lower), None, "", "checked", "", ends=(lower, None)
    )
    answer = replace(answer, beside=beside.at_radius(data))
    time = Facts(
        "Time",
        (
            ("Wall clock", words.seconds(spent["seconds"]), ""),
            ("Evaluations of the network", str(spent["evaluations"]), ""),
            ("Device", spent["device"], ""),
        ),
    )
    table = _attacks_table(data, math.inf, key)
    blocks = [*_notices(data), table, *atoms.blocks(data, key, shape), time, asked.again(document)]
    return Part(key, f"Attacks at radius {plain(data['radius'])}", answer, tuple(blocks))


def ladder_part(compared: Json, key: str, lines: beside.Lines = ()) -> Part:
    """A rung of ``compare`` at a radius where no exact run was made."""
    answer = bracket(compared, f"V({plain(compared['radius'])})", vouched=_middle(compared))
    answer = replace(answer, beside=lines)
    return Part(key, _at(compared), answer, tuple(ladder.ladder_blocks(compared, key)))


def _middle(compared: Json) -> tuple[str, str]:
    stated = [rung["vouched"] for rung in compared["rungs"] if rung["side"] == "middle"]
    return (stated[0], stated[0]) if stated else ("none", "none")


def bracket(data: Json, quantity: str, vouched: tuple[str, str], remark: str = "") -> Answer:
    """Both ends, rounded outward at digits that show the gap."""
    lower, upper = number(data["lower"]), number(data["upper"])
    digits = places(lower, upper)
    asked_for = f" (asked for: {plain(data['gap_asked'])})" if "gap_asked" in data else ""
    return Answer(
        data["status"],
        "unbounded" if unbounded(data) else words.STATUS[data["status"]],
        words.reason(data["reason"], data["detail"]),
        quantity,
        down(lower, digits),
        up(upper, digits),
        words.gap(data) + asked_for,
        *vouched,
        remark,
        (lower, upper),
    )


def _answer(data: Json) -> Answer:
    vouched = (data["vouched"]["lower"], data["vouched"]["upper"])
    lines = (*beside.at_radius(data), *_next(data))
    answer = replace(bracket(data, f"V({plain(data['radius'])})", vouched), beside=lines)
    name = decision(data)
    if name is None:
        return answer
    at = plain(data["threshold"])
    proven = {
        "verified": f"V ≤ {at} is proven. Nothing in the ball is worse than the threshold, on average.",
        "falsified": f"V > {at} is proven. There are distributions in the ball that are worse than the threshold.",
        "undecided": f"Neither V ≤ {at} nor V > {at} is proven.",
    }
    return replace(answer, status=_STYLES[name], word=name, remark=proven[name])


def _next(data: Json) -> beside.Lines:
    """What to do where there is no answer yet."""
    if unbounded(data) or (data["status"] in words.CLOSED and data["reason"] != "threshold-undecided"):
        return ()
    brackets = ((b["sample"], b["weight"], number(b["lower"]), number(b["upper"])) for b in data["per_sample"])
    ways = ways_on(data["reason"], number(data["lower"]), number(data["upper"]), AT_RADIUS)
    return beside.next_steps(ways, held_open(holders(brackets)))


_STYLES = {"verified": "exact", "falsified": "falsified", "undecided": "bracket"}
"""How a verdict is set."""


def decision(data: Json) -> str | None:
    """What a verification says of its threshold: "verified", "falsified" or "undecided"; None where it has none."""
    if data["threshold"] is None:
        return None
    lower = math.inf if unbounded(data) else number(data["lower"])
    return VERDICTS[decided(lower, number(data["upper"]), number(data["threshold"]))]


def _at(data: Json) -> str:
    return f"At radius {plain(data['radius'])}"


def _notices(data: Json) -> list[Block]:
    return [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []


def _own_ladder(data: Json) -> Json:
    """The attacks and the nominal loss of a verification, in the form of a comparison's ladder."""
    common = {"side": "below", "kind": "bound", "vouched": "checked", "seconds": None, "detail": "", "why": None}
    named = {"nominal": data["nominal"], **data["attacks"]}
    rungs = [{"name": name, "value": value, **common} for name, value in named.items()]
    vouched, seconds = data["vouched"], data["statistics"]["seconds"]
    both = " and ".join(dict.fromkeys((vouched["lower"], vouched["upper"])))
    name = "exact" if data["status"] == "exact" else "bracket"
    rungs.append({"name": name, "side": "middle", "kind": "bracket", "vouched": both, "seconds": seconds})
    return {**{name: data[name] for name in ("lower", "upper", "nominal", "radius", "status")}, "rungs": rungs}


def _attacks_table(data: Json, upper: float, key: str) -> Table:
    rows = [(name, number(value)) for name, value in {"nominal": data["nominal"], **data["attacks"]}.items()]
    rows.sort(key=lambda row: -row[1])
    cells = tuple((Cell(name, name), words.low_cell(value)) for name, value in rows)
    return Table(f"{key}-attacks", "Lower bounds", (Column("Attack"), Column("Lower bound", True)), cells)


def _by_sample(data: Json, key: str) -> list[Block]:
    """The brackets by sample, folded: what the upper bound is made of."""
    rows: Sequence[Json] = data["per_sample"]
    if not rows:
        return []
    zero_one = Loss(data["loss"]).rule.by_distances
    nearest = "violation" if Loss(data["loss"]).rule.takes_specification else "error"
    quantity = f"distance to the nearest {nearest}" if zero_one else "dual function φ at the multiplier"
    heads = ("Sample", "Weight", "Lower", "Upper", "Vouched by")
    columns = tuple(Column(head, head != "Vouched by") for head in heads)
    cells = tuple(
        (
            words.whole_cell(row["sample"]),
            words.near_cell(row["weight"]),
            words.low_cell(row["lower"]),
            words.high_cell(row["upper"]),
            Cell(row["vouched"], row["vouched"]),
        )
        for row in rows
    )
    multiplier = "" if data["multiplier"] is None else f" The multiplier is {plain(number(data['multiplier']))}."
    note = f"For every sample a bracket of the {quantity}.{multiplier}"
    return [Table(f"{key}-brackets", "What the upper bound is made of", columns, cells, note, folded=True)]


def _rays(data: Json, key: str) -> list[Block]:
    if not data["rays"]:
        return []
    rows = []
    for k, ray in enumerate(data["rays"]):
        largest = sorted(enumerate(number(v) for v in ray["direction"]), key=lambda entry: -abs(entry[1]))[:_MANY]
        text = ", ".join(f"{index}: {near(value)}" for index, value in largest if value)
        rows.append(
            (words.whole_cell(k), words.whole_cell(ray["label"]), words.low_cell(ray["value"]), Cell(text, text))
        )
    columns = (
        Column("Ray", True),
        Column("Label", True),
        Column("Worth of a unit of budget", True),
        Column("Direction"),
    )
    note = "Directions to infinity along which mass is worth moving; the supremum need not be attained by any distribution."
    return [
        Table(f"{key}-rays", "Rays", columns, tuple(rows), note + f" The {_MANY} largest entries of each are shown.")
    ]


def _cost(data: Json) -> Facts:
    """Solvers, solves and time."""
    spent, solver = data["statistics"], data["solver"]
    used = [f"{name} ({words.count(n, 'solve')})" for name, n in solver["solves"].items() if n]
    times = f"attacks {words.seconds(spent['attack_seconds'])}, screening {words.seconds(spent['screen_seconds'])}"
    times += f", solvers {words.seconds(spent['solve_seconds'])} added over processes"
    work = f"{words.count(spent['rounds'], 'round')}, {words.count(spent['solves'], 'solve')}, {words.count(spent['nodes'], 'node')}"
    radius, cost = data["radius"], data["transport_cost"]
    rows = (
        ("Solver", words.listed(used) if used else "none was needed", ""),
        ("Asked for", f"{solver['asked']}; {solver['why']}", ""),
        ("Work", work, ""),
        ("By bisection", f"{words.count(spent['naive_solves'], 'solve')} (samples × rivals × 40 steps)", ""),
        ("Wall clock", f"{words.seconds(spent['seconds'])} with {words.count(spent['jobs'], 'process', 'es')}", ""),
        ("Of which", times, ""),
        ("Device of the attacks", spent["device"], ""),
        ("Budget used", f"{small(cost)} of the radius {plain(radius)}", ""),
        ("Nominal loss", down(number(data["nominal"])), ""),
    )
    return Facts("Time and solves", rows)
