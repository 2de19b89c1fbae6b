"""What ``lipschitz`` found: the bracket, and the parts that it is the largest of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wdaverify.report.page import asked, figures, words
from wdaverify.report.page.bounds import bracket
from wdaverify.report.page.content import Block, Cell, Column, Facts, Figure, Notes, Part, Table
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.words import near

_ENTRIES = 25


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
    spent = [
        (_label(name), _scalar(value), "") for name, value in (*data["solver"].items(), *data["statistics"].items())
    ]
    blocks += [Facts("Time and solves", tuple(spent)), asked.again(document)]
    return Part(key, "The constant", answer, tuple(blocks))


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _point(point: Sequence[float] | None) -> str:
    if point is None:
        return "–"
    head = ", ".join(near(value) for value in point[:6])
    return f"({head}{', …' if len(point) > 6 else ''})"


def _scalar(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_scalar(inner)}" for name, inner in list(value.items())[:_ENTRIES])
    if isinstance(value, float):
        return near(value)
    return str(value)[:200]
