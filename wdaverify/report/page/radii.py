"""V over the radius: what ``curve`` found, joined by what is known at single radii."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from wdaverify.report.next_steps import AT_RADII, ways_on
from wdaverify.report.page import asked, beside, figures, words
from wdaverify.report.page.content import Answer, Block, Cell, Column, Facts, Figure, Notes, Part, Table
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.figures import Band
from wdaverify.report.page.words import Json, down, plain, up


def curve_part(document: Document, key: str) -> Part:
    """What ``curve`` found; its plot stands with the question, where others may join it."""
    data = document.data
    answer = Answer(
        data["status"],
        words.STATUS[data["status"]],
        words.reason(data["reason"], ""),
        f"V(r) for 0 ≤ r ≤ {plain(data['max_radius'])}",
        None,
        None,
        f"at most {words.widest(data['points'])} at every radius (asked for: {plain(data['gap_asked'])})",
        "",
        "",
        beside=(*beside.at_radii(data), *_next(data)),
    )
    spent = Facts(
        "Time and solves",
        (
            ("Wall clock", words.seconds(data["seconds"]), ""),
            ("Solves", str(data["solves"]), ""),
            ("Radii searched", str(data["radii_searched"]), ""),
        ),
    )
    notes = [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []
    table = _curve_table(data, key)
    blocks: list[Block] = [*notes, table, spent, asked.again(document)]
    return Part(key, f"The curve up to radius {plain(data['max_radius'])}", answer, tuple(blocks))


def _next(data: Json) -> beside.Lines:
    """What to do where the curve is open."""
    if data["status"] in words.CLOSED:
        return ()
    widest = max(number(point["upper"]) - number(point["lower"]) for point in data["points"])
    return beside.next_steps(ways_on(data["reason"], 0.0, widest, AT_RADII))


def _curve_table(data: Json, key: str) -> Table:
    rows = tuple(
        (
            Cell(plain(point["radius"]), point["radius"]),
            words.low_cell(point["lower"], 9),
            words.high_cell(point["upper"], 9),
            Cell(words.gap(point), words.width(point)),
        )
        for point in data["points"]
    )
    columns = tuple(Column(head, True) for head in ("Radius", "Lower", "Upper", "Gap"))
    note = (
        f"Between breakpoints both bounds are {data['between']}."
        if data["between"] != "steps"
        else "Both bounds are steps."
    )
    return Table(f"{key}-curve", "The breakpoints of the curve", columns, rows, note, folded=True)


def over_radii(
    curves: Sequence[Document], verifications: Sequence[Document], ladders: Sequence[Json], key: str
) -> list[Block]:
    """V over the radius, from all documents of one question; nothing where only one radius is known."""
    brackets = {d.data["radius"]: (number(d.data["lower"]), number(d.data["upper"])) for d in verifications}
    for ladder in ladders:
        if ladder["status"] != "not-asked":
            brackets.setdefault(ladder["radius"], (number(ladder["lower"]), number(ladder["upper"])))
    if not curves and len({*brackets, *(ladder["radius"] for ladder in ladders)}) < 2:
        return []
    exact = [_curve_band(document.data) for document in curves]
    below = {d.data["radius"]: [number(v) for v in d.data["attacks"].values()] for d in verifications}
    below |= {ladder["radius"]: _bounds(ladder, "below") for ladder in ladders}
    above = {ladder["radius"]: _bounds(ladder, "above") for ladder in ladders}
    attacks, certificates = _range_band(below), _range_band(above)
    marks = [(radius, *bounds) for radius, bounds in sorted(brackets.items())]
    caption = "The solid line is the bracket" + (" (dots: single radii). " if marks else ". ")
    if attacks is not None:
        caption += "Attacks reach the lower band, from the weakest to the strongest. "
    if certificates is not None:
        caption += (
            "Certificates guarantee the upper band, from the tightest to the loosest, which the picture may cut off."
        )
    described = "V over the radius. " + ". ".join(
        f"At radius {plain(radius)} the bracket is [{down(low)}, {up(high)}]"
        for radius, low, high in _some(marks, exact)
    )
    table = _radii_table(brackets, below, above, key) if below or above else None
    draw = partial(figures.bands, exact, marks, attacks, certificates)
    return [Figure(f"{key}-radii", "The worst case over the radius", described + ".", caption.strip(), draw, table)]


def _some(marks: list[tuple[float, float, float]], exact: list[Band]) -> list[tuple[float, float, float]]:
    """The radii named in a description: the marks, or the ends of the curves."""
    ends = [(band.radius[k], band.lower[k], band.upper[k]) for band in exact for k in (0, -1)]
    return (marks or ends)[:6]


def _curve_band(data: Json) -> Band:
    radius, lower, upper = ([number(point[name]) for point in data["points"]] for name in ("radius", "lower", "upper"))
    order = number(data["order"])
    return Band(radius, lower, upper, order if math.isfinite(order) else 1.0, data["between"] == "steps")


def _bounds(ladder: Json, side: str) -> list[float]:
    rungs = (r for r in ladder["rungs"] if r["side"] == side and r["kind"] == "bound" and r["value"] is not None)
    return [number(rung["value"]) for rung in rungs if rung["name"] != "nominal"]


def _range_band(values: dict[float, list[float]]) -> Band | None:
    known = {radius: [v for v in some if math.isfinite(v)] for radius, some in sorted(values.items())}
    known = {radius: some for radius, some in known.items() if some}
    if not known:
        return None
    return Band(list(known), [min(some) for some in known.values()], [max(some) for some in known.values()])


def _radii_table(
    brackets: dict[float, tuple[float, float]],
    below: dict[float, list[float]],
    above: dict[float, list[float]],
    key: str,
) -> Table:
    rows = []
    for radius in sorted({*brackets, *below, *above}):
        low, high = brackets.get(radius, (math.nan, math.nan))
        ends = [max(below.get(radius, []), default=None), min(above.get(radius, []), default=None)]
        rows.append(
            (
                Cell(plain(radius), radius),
                Cell("–", None) if ends[0] is None else words.low_cell(ends[0]),
                Cell("–", None) if math.isnan(low) else words.low_cell(low, 9),
                Cell("–", None) if math.isnan(high) else words.high_cell(high, 9),
                Cell("–", None) if ends[1] is None else words.high_cell(ends[1]),
            )
        )
    heads = ("Radius", "Strongest attack", "Bracket, lower", "Bracket, upper", "Tightest certificate")
    return Table(f"{key}-radii", "Bounds by radius", tuple(Column(head, True) for head in heads), tuple(rows))
