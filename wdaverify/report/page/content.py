"""What a report consists of, as plain data: text, facts, tables, figures and pictures; nothing here knows HTML or a plot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from wdaverify.report.page.ink import Palette

Draw = Callable[["Palette"], "Drawing"]


@dataclass(frozen=True)
class Cell:
    """One entry of a table: the text shown, what it is sorted by (None: after all others), and the section it leads to."""

    text: str
    value: float | str | None = None
    link: str = ""


@dataclass(frozen=True)
class Column:
    """The head of a column; numbers are set flush right."""

    head: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns; ``key`` names it within a report."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Facts:
    """Labels and texts; a text of the kind "code" is set in a fixed width."""

    title: str
    rows: tuple[tuple[str, str, str], ...]
    folded: bool = False
    kind: str = "facts"


@dataclass(frozen=True)
class Figure:
    """A plot: what it shows in words, how it is drawn, and the numbers drawn."""

    key: str
    title: str
    description: str
    caption: str
    draw: Draw
    table: Table | None = None
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """One atom beside its original, as images (PNG data URIs) or as a table of its features."""

    title: str
    facts: str
    images: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Pictures:
    """Several atoms, and a sentence about those left out."""

    title: str
    note: str
    pictures: tuple[Picture, ...]
    kind: str = "pictures"


@dataclass(frozen=True)
class Command:
    """Commands to type, with what they do."""

    title: str
    text: str
    lines: tuple[str, ...]
    facts: tuple[tuple[str, str, str], ...] = ()
    kind: str = "command"


@dataclass(frozen=True)
class Notes:
    """Sentences, one a line."""

    title: str
    lines: tuple[str, ...]
    kind: str = "notes"


Block = Table | Facts | Figure | Pictures | Command | Notes


@dataclass(frozen=True)
class Answer:
    """A bracket with its reason: its ends as shown and as they are, None where the document has no such bound."""

    status: str
    word: str
    reason: str
    quantity: str
    lower: str | None
    upper: str | None
    gap: str
    vouched_lower: str
    vouched_upper: str
    remark: str = ""
    ends: tuple[float | None, float | None] = (None, None)
    beside: tuple[tuple[str, str], ...] = ()
    """What is to be read with it: labels and texts."""


@dataclass(frozen=True)
class Part:
    """One answer and what belongs to it."""

    key: str
    heading: str
    answer: Answer | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Question:
    """One question: what it asks and what is guaranteed, its formula (tokens of the kinds text, sub, sup), and its answers."""

    key: str
    heading: str
    opening: tuple[str, ...]
    formula: tuple[tuple[str, str], ...]
    meaning: str
    asked: Facts
    blocks: tuple[Block, ...]
    parts: tuple[Part, ...]
    closing: tuple[Block, ...] = ()
    row: str = ""
    """Of a batch, whose table leads here."""

    def all_blocks(self) -> list[Block]:
        """Its own blocks and those of its parts, in the order of the page."""
        return [*self.blocks, *(block for part in self.parts for block in part.blocks), *self.closing]


@dataclass(frozen=True)
class Overview:
    """A batch as a whole: its rows in one table, and what they come to."""

    key: str
    heading: str
    answer: Answer
    table: Table
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    summary: Table
    questions: tuple[Question, ...]
    trust: tuple[tuple[str, str, str], ...]
    sources: Table
    version: str
    byline: str = ""
    """When the answers were made, and who hands them over."""
    overviews: tuple[Overview, ...] = ()

    def blocks(self) -> list[Block]:
        """Every block, in the order of the page."""
        return [block for question in self.questions for block in question.all_blocks()]

    def figures(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [block for block in self.blocks() if isinstance(block, Figure)]

    def tables(self) -> list[Table]:
        """Every table that stands for itself or under a figure, in the order of the page; a row's tables say whose they are."""
        out = [overview.table for overview in self.overviews]
        out += [self.summary] if self.summary.rows or not out else []
        for question in self.questions:
            for block in question.all_blocks():
                table = block.table if isinstance(block, Figure) else block
                if isinstance(table, Table):
                    out.append(replace(table, title=f"{question.row}: {table.title}") if question.row else table)
        return out
