"""What ``check`` found of a specification: the verdict, the bracket of v, and the counterexample where there is one."""

from __future__ import annotations

import math

from wdaverify.digits import places
from wdaverify.report.page import asked, pictures, words
from wdaverify.report.page.bounds import Shape
from wdaverify.report.page.content import Answer, Block, Cell, Column, Facts, Notes, Part, Picture, Pictures, Table
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.words import Json

DECIDED = ("unsat", "sat")
_STYLES = {"unsat": "exact", "sat": "falsified", "sat-in-real-arithmetic": "falsified"}
"""How a verdict is set."""
_FOLDED = 40
"""A counterexample of more inputs is folded."""


def check_part(document: Document, key: str, shape: Shape) -> Part:
    """The verdict with its bracket, and the counterexample."""
    data = document.data
    blocks: list[Block] = [Notes("Notices of the run", tuple(data["notices"]))] if data["notices"] else []
    found = data["counterexample"]
    if found is not None:
        blocks += _counterexample(data, found, key, shape)
    spent = data["statistics"]
    halved = "boxes of inputs, halved" if spent["engine"] == "boxes" else "nodes of the cell engine: neurons, halved"
    facts = (
        ("Wall clock", words.seconds(number(spent["seconds"])), ""),
        ("Bounded", f"{spent['boxes']} {halved}", ""),
        ("Points tried", str(spent["points"]), ""),
        ("Jobs", str(spent["jobs"]), ""),
    )
    blocks += [Facts("Time and work", facts), asked.again(document)]
    return Part(key, "The verdict", answer(data), tuple(blocks))


def answer(data: Json) -> Answer:
    """The verdict, with v rounded outward."""
    lower, upper = number(data["lower"]), number(data["upper"])
    digits = places(lower, upper)
    vacuous = data["specification"]["disjuncts"] == 0
    remark = "Below 0 the specification is satisfied nowhere."
    if vacuous:
        remark = "Every disjunct contradicts itself: no input satisfies them, whatever the network. v is the maximum over nothing."
    elif lower == -math.inf:
        remark += " No point was tried: there is no lower end."
    if upper == math.inf:
        remark += " No bound was reached: there is no upper end."
    return Answer(
        _STYLES.get(data["outcome"], "bracket"),
        data["outcome"],
        words.reason("", data["detail"]),
        "v",
        words.down(lower, digits),
        words.up(upper, digits),
        words.gap(data),
        "checked" if lower > -math.inf else "",
        "checked" if upper < math.inf and not vacuous else "",
        remark,
        (lower, upper),
    )


def _counterexample(data: Json, found: Json, key: str, shape: Shape) -> list[Block]:
    runtime = found["runtime"] or "rounding (in real arithmetic all rows hold, proven)"
    said = f"It satisfies disjunct {found['disjunct']}; the outputs are those of {runtime}."
    out: list[Block] = []
    if shape is not None:
        image = pictures.single(found["inputs"], shape, data["network"]["input_shape"])
        facts = f"{words.count(len(found['inputs']), 'input')}, black the least and white the greatest of them"
        out.append(Pictures("The counterexample as an image", said, (Picture("Input", facts, (("input", image),)),)))
    rows = [(f"X_{k}", value) for k, value in enumerate(found["inputs"])]
    rows += [(f"Y_{k}", value) for k, value in enumerate(found["outputs"])]
    cells = tuple((Cell(name, k), Cell(words.plain(value), float(value))) for k, (name, value) in enumerate(rows))
    columns = (Column("Variable"), Column("Value", True))
    out.append(Table(f"{key}-point", "The counterexample", columns, cells, said, folded=len(rows) > _FOLDED))
    return out
