"""The ladder of bounds around a bracket: a picture, and a table of every rung."""

from __future__ import annotations

import math
from functools import partial

from wdaverify.digits import places
from wdaverify.report.page import figures, words
from wdaverify.report.page.content import Block, Cell, Column, Figure, Table
from wdaverify.report.page.document import number
from wdaverify.report.page.figures import Rung
from wdaverify.report.page.words import Json, down, near, plain, up

_RUNGS = 40


def ladder_blocks(ladder: Json, key: str) -> list[Block]:
    """The ladder as a picture with its table; the table alone where the bracket has no finite end."""
    lower, upper = number(ladder["lower"]), number(ladder["upper"])
    table = _ladder_table(ladder, key)
    if not (math.isfinite(lower) or math.isfinite(upper)):
        return [table]
    digits = places(lower, upper)
    shown = min(digits, 6)
    listed = [rung for rung in ladder["rungs"] if rung["side"] != "middle"]
    listed.sort(key=lambda rung: _away(rung, lower, upper))
    rungs = [_rung(rung, shown) for rung in listed[:_RUNGS]]
    text = f"{_label(lower, 4, upper=False)} … {_label(upper, 4, upper=True)}"
    sides = [words.count(sum(rung.side == side for rung in rungs), name) for side, name in _SIDES]
    name = {"exact": "exact", "not-asked": "best known"}.get(ladder["status"], "bracket")
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
    text = _label(value, digits, upper=rung["side"] == "above")
    return Rung(rung["name"], rung["side"], value, text, rung["kind"] == "estimate")


def _label(value: float, places: int, *, upper: bool) -> str:
    """A bound as a picture has room for it."""
    if abs(value) >= 1e5:
        return words.brief(value, upper=upper)
    return up(value, places) if upper else down(value, places)


def _ladder_table(ladder: Json, key: str) -> Table:
    """Every rung with its distance to the bracket, who vouches for it, and its time; the bracket in the middle."""
    lower, upper = number(ladder["lower"]), number(ladder["upper"])
    digits = min(places(lower, upper), 9)
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
