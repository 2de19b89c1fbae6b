"""What ``distance`` found: a bracket for each sample, and the nearest errors beside their originals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from wdaverify.report.next_steps import BEYOND, OF_SAMPLES, held_open, holders, ways_on
from wdaverify.report.page import asked, atoms, beside, figures, pictures, words
from wdaverify.report.page.bounds import Shape
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
from wdaverify.report.page.words import Json, plain, up


def distances_part(document: Document, key: str, shape: Shape) -> Part:
    """What ``distance`` found: a bracket for each sample, and the nearest errors."""
    data = document.data
    rows = data["distances"]
    status, closed = data["status"], data["status"] in words.CLOSED
    known = [row for row in rows if math.isfinite(number(row["upper"]))]
    nearest = min(known, key=lambda row: number(row["upper"]), default=None)
    word = "violation" if data.get("specification") else "error"
    remark = f"No {word} is known."
    if nearest is not None and number(nearest["upper"]) == 0:
        remark = f"The network gets sample {nearest['sample']} wrong as it is."
        if word == "violation":
            remark = f"Sample {nearest['sample']} violates the specification as it is."
    elif nearest is not None:
        which = f"The nearest {word} of all" if _is_nearest(data, nearest) else f"The nearest {word} found"
        remark = f"{which} lies {up(number(nearest['upper']))} from sample {nearest['sample']}."
    within, inside, of_which = number(data.get("within", "inf")), rows, "every sample"
    if within < math.inf:
        remark += f" Distances of {plain(within)} or more were not asked about."
        inside, of_which = (
            [row for row in rows if number(row["lower"]) < within],
            f"every distance below {plain(within)}",
        )
    answer = Answer(
        status,
        words.STATUS[status] + (f" within {plain(within)}" if closed and within < math.inf else ""),
        words.reason(data["reason"], ""),
        words.count(len(rows), "distance"),
        None,
        None,
        f"at most {words.widest(inside)} for {of_which} (asked for: {plain(data['gap_asked'])})",
        "",
        "",
        remark,
        beside=(*beside.errors(data), *beside.rounding(data), *_next(data)),
    )
    draw = partial(
        figures.side_by_side,
        [(number(r["lower"]), number(r["upper"])) for r in known],
        "samples, nearest first",
        "distance",
    )
    missing = len(rows) - len(known)
    left = f" {words.count(missing, 'sample')} without a known {word} left out." if missing else ""
    caption = (
        f"Each dot is a sample, as high as the nearest {word} found is far; a line reaches down to what is proven."
        + left
    )
    described = (
        f"Distances of {words.count(len(known), 'sample')} to the nearest {word}s found, in ascending order. {remark}"
    )
    table = _distance_table(rows, key, word, within)
    blocks: list[Block] = [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []
    blocks += [Figure(f"{key}-distances", "The distances in order", described, caption, draw), table]
    blocks += _errors(data, known, key, shape, word)
    blocks += [
        Facts(
            "Time and solves", (("Wall clock", words.seconds(data["seconds"]), ""), ("Solves", str(data["solves"]), ""))
        ),
        asked.again(document),
    ]
    return Part(key, "The distances", answer, tuple(blocks))


def _is_nearest(data: Json, nearest: Json) -> bool:
    """Whether no other sample can have a nearer one, nor this one."""
    upper = number(nearest["upper"])
    others = (number(row["lower"]) for row in data["distances"] if row is not nearest)
    return upper - number(nearest["lower"]) <= number(data["gap_asked"]) and min(others, default=math.inf) >= upper


def _next(data: Json) -> beside.Lines:
    """What to do where distances are open, and which."""
    if data["status"] in words.CLOSED:
        return ()
    within = number(data.get("within", "inf"))
    open_ = [r for r in data["distances"] if number(r["lower"]) < within]
    held = holders((r["sample"], 1.0, number(r["lower"]), number(r["upper"])) for r in open_)
    return beside.next_steps(ways_on(data["reason"], 0.0, math.inf, OF_SAMPLES) if held else "", held_open(held))


def _distance_table(rows: Sequence[Json], key: str, word: str, within: float) -> Table:
    labelled = word == "error"
    columns = (
        Column("Sample", True),
        *([Column("Label", True)] if labelled else []),
        Column("Class at the error" if labelled else "Disjunct violated", True),
        Column("In float32"),
        Column("Distance, lower", True),
        Column("Distance, upper", True),
        Column("Vouched by"),
        *([Column("Asked about")] if within < math.inf else []),
    )
    cells = tuple(
        (
            words.whole_cell(row["sample"]),
            *([words.whole_cell(row["label"])] if labelled else []),
            Cell("–", None) if row["class"] is None else words.whole_cell(row["class"]),
            words.float32_cell(row["float32"]),
            words.low_cell(row["lower"], 9),
            words.high_cell(row["upper"], 9),
            Cell(row["vouched"], row["vouched"]),
            *([_asked_cell(number(row["lower"]), within)] if within < math.inf else []),
        )
        for row in rows
    )
    note = (
        f"An infinite lower bound means that the support holds no {word}; an infinite upper bound that none was found. "
    )
    note += words.FLOAT32_NOTE
    return Table(f"{key}-table", "Distances by sample", columns, cells, note)


def _asked_cell(lower: float, within: float) -> Cell:
    text = BEYOND if within <= lower < math.inf else "yes"
    return Cell(text, text)


def _errors(data: Json, known: Sequence[Json], key: str, shape: Shape, word: str) -> list[Block]:
    """The nearest errors (or violations) beside their originals, nearest first."""
    rows = sorted((r for r in known if r["point"] is not None), key=lambda row: number(row["upper"]))
    if not rows:
        return []
    shown, left = rows[: atoms.SHOWN], len(rows) - atoms.SHOWN
    pairs = [({"point": row["original"]}, row) for row in shown]
    scale = pictures.scale(data, pairs) if shape is not None else None
    made = []
    for k, (original, row) in enumerate(pairs):
        title = f"Sample {row['sample']}"
        text = f"distance {up(number(row['upper']))}, "
        text += f"label {row['label']} → class {row['class']}" if word == "error" else f"disjunct {row['class']}"
        if row["float32"] is not None:
            text += f", in float32: {words.IN_FLOAT32[row['float32']]}"
        if scale is not None and shape is not None:
            images = pictures.triptych(original["point"], row["point"], shape, scale, data["network"]["input_shape"])
            named = zip(("original", f"nearest {word}", "difference"), images, strict=True)
            made.append(Picture(title, text, tuple((f"{title}: {name}", image) for name, image in named)))
        else:
            table = atoms.features(f"{key}-error-{k}", row["sample"], original["point"], row["point"])
            made.append(Picture(title, text, table=table))
    note = f"The {len(shown)} nearest; {left} more are left out." if left > 0 else ""
    return [Pictures(f"The nearest {word}s beside their originals", note, tuple(made))]
