"""The other kinds of answer: curves and comparisons over the radius, distances by sample, Lipschitz constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from wdaverify.report.page import asked, atoms, figures, pictures, words
from wdaverify.report.page.bounds import Shape, bracket
from wdaverify.report.page.content import (
    Answer,
    Block,
    Cell,
    Column,
    Facts,
    Figure,
    Notes,
    Part,
    Picture,
    Pictures,
    Table,
)
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.figures import Band
from wdaverify.report.page.words import Json, down, near, plain, small, up

_TICKS = 25


def curve_part(document: Document, key: str) -> Part:
    """What ``curve`` found; its plot stands with the question, where others may join it."""
    data = document.data
    widest = max(_width(point) for point in data["points"])
    answer = Answer(
        "exact" if data["exact"] else "bracket",
        words.STATUS["exact" if data["exact"] else "bracket"],
        words.reason(data["reason"], ""),
        f"V(r) for 0 ≤ r ≤ {plain(data['max_radius'])}",
        None,
        None,
        f"at most {small(widest)} at every radius (asked for: {plain(data['gap_asked'])})",
        "",
        "",
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


def _width(point: Json) -> float:
    width = number(point["upper"]) - number(point["lower"])
    return 0.0 if math.isnan(width) else width


def _curve_table(data: Json, key: str) -> Table:
    rows = tuple(
        (
            Cell(near(point["radius"], 8), point["radius"]),
            words.low_cell(point["lower"], 9),
            words.high_cell(point["upper"], 9),
            Cell(small(_width(point)), _width(point)),
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
    caption = "The dark band is the exact bracket" + (" (dots: single radii). " if marks else ". ")
    if attacks is not None:
        caption += "Attacks reach the lower band, from the weakest to the strongest. "
    if certificates is not None:
        caption += (
            "Certificates guarantee the upper band, from the tightest to the loosest, which the picture may cut off."
        )
    described = "V over the radius. " + ". ".join(
        f"At radius {near(radius)} the bracket is [{down(low)}, {up(high)}]"
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
    heads = ("Radius", "Strongest attack", "Exact, lower", "Exact, upper", "Tightest certificate")
    return Table(f"{key}-radii", "Bounds by radius", tuple(Column(head, True) for head in heads), tuple(rows))


def distances_part(document: Document, key: str, shape: Shape) -> Part:
    """What ``distance`` found: a bracket for each sample, and the nearest errors."""
    data = document.data
    rows = data["distances"]
    status = "exact" if data["exact"] else "bracket"
    known = [row for row in rows if math.isfinite(number(row["upper"]))]
    nearest = min(known, key=lambda row: number(row["upper"]), default=None)
    remark = "No error is known."
    if nearest is not None and number(nearest["upper"]) == 0:
        remark = f"The network gets sample {nearest['sample']} wrong as it is."
    elif nearest is not None:
        remark = f"The nearest error of all lies {up(number(nearest['upper']))} from sample {nearest['sample']}."
    widest = max((_width(row) for row in rows if number(row["lower"]) != math.inf), default=0.0)
    answer = Answer(
        status,
        words.STATUS[status],
        words.reason(data["reason"], ""),
        words.count(len(rows), "distance"),
        None,
        None,
        f"at most {small(widest)} for every sample (asked for: {plain(data['gap_asked'])})",
        "",
        "",
        remark,
    )
    draw = partial(
        figures.side_by_side,
        [(number(r["lower"]), number(r["upper"])) for r in known],
        "samples, nearest first",
        "distance",
    )
    caption = f"Each dot is a sample, as high as its nearest error is far; {len(rows) - len(known)} without a known error are left out."
    described = (
        f"Distances of {words.count(len(known), 'sample')} to their nearest errors, in ascending order. {remark}"
    )
    table = _distance_table(rows, key)
    blocks: list[Block] = [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []
    blocks += [Figure(f"{key}-distances", "The distances in order", described, caption, draw), table]
    blocks += _errors(data, known, key, shape)
    blocks += [
        Facts(
            "Time and solves", (("Wall clock", words.seconds(data["seconds"]), ""), ("Solves", str(data["solves"]), ""))
        ),
        asked.again(document),
    ]
    return Part(key, "The distances", answer, tuple(blocks))


def _distance_table(rows: Sequence[Json], key: str) -> Table:
    columns = (
        Column("Sample", True),
        Column("Label", True),
        Column("Class at the error", True),
        Column("Distance, lower", True),
        Column("Distance, upper", True),
        Column("Vouched by"),
    )
    cells = tuple(
        (
            words.whole_cell(row["sample"]),
            words.whole_cell(row["label"]),
            Cell("–", None) if row["class"] is None else words.whole_cell(row["class"]),
            words.low_cell(row["lower"], 9),
            words.high_cell(row["upper"], 9),
            Cell(row["vouched"], row["vouched"]),
        )
        for row in rows
    )
    note = "An infinite lower bound means that the support holds no error; an infinite upper bound that none was found."
    return Table(f"{key}-table", "Distances by sample", columns, cells, note)


def _errors(data: Json, known: Sequence[Json], key: str, shape: Shape) -> list[Block]:
    """The nearest errors beside their originals, nearest first."""
    rows = sorted((r for r in known if r["point"] is not None), key=lambda row: number(row["upper"]))
    if not rows:
        return []
    shown, left = rows[: atoms.SHOWN], len(rows) - atoms.SHOWN
    pairs = [({"point": row["original"]}, row) for row in shown]
    scale = pictures.scale(data, pairs) if shape is not None else None
    made = []
    for k, (original, row) in enumerate(pairs):
        title = f"Sample {row['sample']}"
        text = f"distance {small(number(row['upper']), 4)}, label {row['label']} → class {row['class']}"
        if scale is not None and shape is not None:
            images = pictures.triptych(original["point"], row["point"], shape, scale, data["network"]["input_shape"])
            named = zip(("original", "nearest error", "difference"), images, strict=True)
            made.append(Picture(title, text, tuple((f"{title}: {name}", image) for name, image in named)))
        else:
            table = atoms.features(f"{key}-error-{k}", row["sample"], original["point"], row["point"])
            made.append(Picture(title, text, table=table))
    note = f"The {len(shown)} nearest; {left} more are left out." if left > 0 else ""
    return [Pictures("The nearest errors beside their originals", note, tuple(made))]


def lipschitz_part(document: Document, key: str) -> Part:
    """What ``lipschitz`` found: the bracket, and the parts that it is the largest of."""
    data = document.data
    answer = bracket(data, "L", (data["vouched"]["lower"], data["vouched"]["upper"]))
    columns = (
        Column("Sample", True),
        Column("Functional"),
        Column("Lower", True),
        Column("Upper", True),
        Column("Attained at"),
    )
    cells = tuple(
        (
            Cell("–", None) if part["sample"] is None else words.whole_cell(part["sample"]),
            Cell(part["functional"] or "–", part["functional"] or ""),
            words.low_cell(part["lower"]),
            words.high_cell(part["upper"]),
            Cell(_point(part["point"]), None),
        )
        for part in data["parts"]
    )
    blocks: list[Block] = [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []
    if len(data["parts"]) > 1:
        brackets = [(number(part["lower"]), number(part["upper"])) for part in data["parts"]]
        draw = partial(figures.side_by_side, brackets, "parts, smallest first", "Lipschitz constant")
        described = f"Lipschitz constants of {words.count(len(brackets), 'part')}, in ascending order."
        caption = "Each dot is a part: a functional of the outputs, and a sample where the region is made of balls."
        blocks.append(Figure(f"{key}-parts", "The parts in order", described, caption, draw))
    blocks.append(Table(f"{key}-parts", "The parts", columns, cells))
    spent = [(name, _scalar(value), "") for name, value in (*data["solver"].items(), *data["statistics"].items())]
    blocks += [Facts("Time and solves", tuple(spent)), asked.again(document)]
    return Part(key, "The constant", answer, tuple(blocks))


def _point(point: Sequence[float] | None) -> str:
    if point is None:
        return "–"
    head = ", ".join(near(value) for value in point[:6])
    return f"({head}{', …' if len(point) > 6 else ''})"


def _scalar(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_scalar(inner)}" for name, inner in list(value.items())[:_TICKS])
    if isinstance(value, float):
        return near(value)
    return str(value)[:200]
