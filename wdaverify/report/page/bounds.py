"""Answers at one radius: the bracket with its reason, the ladder of bounds around it, where it came from and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from wdaverify.report.page import asked, atoms, figures, words
from wdaverify.report.page.content import Answer, Block, Cell, Column, Facts, Figure, Notes, Part, Table
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.figures import Rung
from wdaverify.report.page.words import Json, down, near, plain, small, up
from wdaverify.report.summary import decided

Shape = tuple[int, ...] | None
_MANY, _RUNGS = 12, 40


def verification_part(document: Document, ladder: Json | None, key: str, shape: Shape) -> Part:
    """What ``verify`` found; the ladder of ``compare`` at the same radius, where there is one, takes the place of its own."""
    data = document.data
    rungs = ladder or _own_ladder(data)
    blocks: list[Block] = [*_notices(data), *ladder_blocks(rungs, key), *atoms.blocks(data, key, shape)]
    blocks += [*_rays(data, key), *_by_sample(data, key), _cost(data), asked.again(document)]
    return Part(key, _at(data), _answer(data), tuple(blocks))


def attack_part(document: Document, key: str, shape: Shape) -> Part:
    """What ``attack`` found: lower bounds only."""
    data = document.data
    lower = number(data["lower"])
    spent = data["statistics"]
    reason = "Attacks find lower bounds only; nothing here says how much worse it can get."
    if not data["finished"]:
        reason += " They were cut short by the time limit."
    quantity = f"V({plain(data['radius'])})"
    answer = Answer(
        "bounds", words.STATUS["bounds"], reason, quantity, down(lower), None, "", "checked", "", ends=(lower, None)
    )
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


def ladder_part(ladder: Json, key: str) -> Part:
    """A rung of ``compare`` at a radius where no exact run was made."""
    answer = bracket(ladder, f"V({plain(ladder['radius'])})", vouched=_middle(ladder))
    return Part(key, _at(ladder), answer, tuple(ladder_blocks(ladder, key)))


def _middle(ladder: Json) -> tuple[str, str]:
    stated = [rung["vouched"] for rung in ladder["rungs"] if rung["side"] == "middle"]
    return (stated[0], stated[0]) if stated else ("none", "none")


def bracket(data: Json, quantity: str, vouched: tuple[str, str], remark: str = "") -> Answer:
    """Both ends, rounded outward at digits that show the gap."""
    lower, upper = number(data["lower"]), number(data["upper"])
    digits = words.places(lower, upper)
    gap = upper - lower
    known = small(gap) if not math.isnan(gap) else "–"
    asked_for = f" (asked for: {plain(data['gap_asked'])})" if "gap_asked" in data else ""
    return Answer(
        data["status"],
        words.STATUS[data["status"]],
        words.reason(data["reason"], data["detail"]),
        quantity,
        down(lower, digits),
        up(upper, digits),
        known + asked_for,
        *vouched,
        remark,
        (lower, upper),
    )


def _answer(data: Json) -> Answer:
    threshold, remark = data["threshold"], ""
    if threshold is not None:
        decision = decided(number(data["lower"]), number(data["upper"]), threshold)
        remark = f"Is V at most the threshold {plain(threshold)}? {decision.capitalize()}."
    vouched = (data["vouched"]["lower"], data["vouched"]["upper"])
    return bracket(data, f"V({plain(data['radius'])})", vouched, remark)


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
    rungs.append({"name": "exact", "side": "middle", "kind": "bracket", "vouched": both, "seconds": seconds})
    return {**{name: data[name] for name in ("lower", "upper", "nominal", "radius", "status")}, "rungs": rungs}


def ladder_blocks(ladder: Json, key: str) -> list[Block]:
    """The ladder as a picture with its table; the table alone where the bracket has no finite end."""
    lower, upper = number(ladder["lower"]), number(ladder["upper"])
    table = _ladder_table(ladder, key)
    if not (math.isfinite(lower) or math.isfinite(upper)):
        return [table]
    digits = words.places(lower, upper)
    shown = min(digits, 6)
    listed = [rung for rung in ladder["rungs"] if rung["side"] != "middle"]
    listed.sort(key=lambda rung: _away(rung, lower, upper))
    rungs = [_rung(rung, shown) for rung in listed[:_RUNGS]]
    text = f"{down(lower, shown)}" if upper - lower < 10.0**-shown else f"{down(lower, 4)} … {up(upper, 4)}"
    sides = [words.count(sum(rung.side == side for rung in rungs), name) for side, name in _SIDES]
    name = {"bracket": "open bracket", "not-asked": "best known"}.get(ladder["status"], "exact")
    description = (
        f"The bracket [{down(lower, digits)}, {up(upper, digits)}] in the middle, {sides[0]} above it and {sides[1]} "
        "below it. The numbers are in the table that follows."
    )
    above = any(rung.side == "above" for rung in rungs)
    caption = "Attacks stand below the bracket, by how much they miss"
    caption += "; certificates stand above it, by how much they exceed. " if above else ". "
    caption += "The scale of the distances is logarithmic" + (
        "; open circles are estimates, which may err to either side." if any(r.estimate for r in rungs) else "."
    )
    absent = [f"{r['name']} ({r['why'] or 'no reason given'})" for r in ladder["rungs"] if _absent(r)]
    caption += f" Not available: {', '.join(absent)}." if absent else ""
    left = len(listed) - len(rungs)
    caption += (
        f" The {words.count(left, 'rung')} farthest from the bracket stand in the table only." if left > 0 else ""
    )
    draw = partial(figures.ladder, rungs, lower, upper, (name, text))
    return [Figure(f"{key}-ladder", "The ladder of bounds", description, caption, draw, table)]


def _absent(rung: Json) -> bool:
    return rung["side"] != "middle" and rung["value"] is None


def _away(rung: Json, lower: float, upper: float) -> float:
    """The distance to the bracket; infinite without a value."""
    value = math.inf if rung["value"] is None else number(rung["value"])
    return max(value - upper, lower - value) if math.isfinite(value) else math.inf


_SIDES = (("above", "certificate"), ("below", "lower bound or estimate"))


def _rung(rung: Json, digits: int) -> Rung:
    if rung["value"] is None:
        return Rung(rung["name"], rung["side"], None, "n/a")
    value = number(rung["value"])
    text = up(value, digits) if rung["side"] == "above" else down(value, digits)
    if abs(value) >= 1e5:
        text = near(value)
    return Rung(rung["name"], rung["side"], value, text, rung["kind"] == "estimate")


def _ladder_table(ladder: Json, key: str) -> Table:
    """Every rung with its distance to the bracket, who vouches for it, and its time; the bracket in the middle."""
    lower, upper = number(ladder["lower"]), number(ladder["upper"])
    digits = min(words.places(lower, upper), 9)
    columns = (
        Column("Bound"),
        Column("Side"),
        Column("Value", True),
        Column("Distance to the bracket", True),
        Column("Vouched by"),
        Column("Time", True),
        Column("Remark"),
    )
    order = {"above": 0, "middle": 1, "below": 2}
    rungs = sorted(ladder["rungs"], key=lambda rung: (order[rung["side"]], *_falling(rung)))
    rows = tuple(_ladder_row(end, lower, upper, digits) for rung in rungs for end in _ends(rung, lower, upper))
    return Table(f"{key}-ladder", f"The ladder at radius {plain(ladder['radius'])}", columns, rows)


def _falling(rung: Json) -> tuple[int, float]:
    value = rung.get("value")
    if value is None:
        return (0, 0.0) if rung["side"] == "above" else (1, math.inf)
    return (1, -number(value)) if rung["side"] == "above" else (0, -number(value))


def _ends(rung: Json, lower: float, upper: float) -> list[Json]:
    """A rung as it is; the bracket as its two ends."""
    if rung["kind"] != "bracket":
        return [rung]
    ends = (("upper end", upper), ("lower end", lower))
    return [{**rung, "name": f"{rung['name']}, {name}", "end": name, "value": value} for name, value in ends]


def _ladder_row(rung: Json, lower: float, upper: float, digits: int) -> tuple[Cell, ...]:
    vouched = rung.get("vouched") or ""
    time = rung.get("seconds")
    remark = " ".join(text for text in (rung.get("detail"), rung.get("why")) if text)
    if rung["kind"] == "bracket":
        shown = (words.high_cell if rung["end"] == "upper end" else words.low_cell)(rung["value"], digits)
        distance = Cell("0", 0.0)
    elif rung.get("value") is None:
        shown, distance = Cell("n/a", None), Cell("–", None)
    else:
        value = number(rung["value"])
        shown = words.high_cell(value, digits) if rung["side"] == "above" else words.low_cell(value, digits)
        if rung["kind"] == "estimate":
            shown = Cell(f"≈ {near(value, 6)}", value)
        away = value - upper if rung["side"] == "above" else lower - value
        distance = words.near_cell(away if math.isfinite(away) else None)
    return (
        Cell(rung["name"], rung["name"]),
        Cell({"above": "above", "middle": "the bracket", "below": "below"}[rung["side"]], rung["side"]),
        shown,
        distance,
        Cell(vouched, vouched),
        Cell("–", None) if time is None else Cell(words.seconds(time), float(time)),
        Cell(remark, remark),
    )


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
    zero_one = data["loss"] == "zero-one"
    quantity = "distance to the nearest error" if zero_one else "dual function φ at the multiplier"
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
    multiplier = "" if data["multiplier"] is None else f" The multiplier is {near(number(data['multiplier']), 9)}."
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
        ("A naive loop", f"{words.count(spent['naive_solves'], 'solve')} (samples × rivals × 40 bisection steps)", ""),
        ("Wall clock", f"{words.seconds(spent['seconds'])} with {words.count(spent['jobs'], 'process', 'es')}", ""),
        ("Of which", times, ""),
        ("Device of the attacks", spent["device"], ""),
        ("Budget used", f"{small(cost)} of the radius {plain(radius)}", ""),
        ("Nominal loss", down(number(data["nominal"])), ""),
    )
    return Facts("Time and solves", rows)
