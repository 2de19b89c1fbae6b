"""A batch of specifications: its instances in one table, what they come to, and each one's answer as a document of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from wdaverify.report.page import words
from wdaverify.report.page.content import Answer, Cell, Column, Facts, Notes, Overview, Question, Table
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.words import Json

_COLUMNS = (
    Column("Instance"),
    Column("Verdict"),
    Column("v at least", True),
    Column("v at most", True),
    Column("Seconds", True),
    Column("Limit", True),
    Column("Boxes or nodes", True),
)
_STATES = ("unsat", "sat", "sat-in-real-arithmetic", "unknown", "timeout", "refused", "not begun")


def overview(document: Document, questions: Mapping[int, Question], key: str) -> Overview:
    """The instances in one table, each linked to its own section, and what they come to."""
    rows = document.data["rows"]
    states = [_state(row) for row in rows]
    done = sum(row["done"] for row in rows)
    cells = tuple(_cells(row, states[k], questions.get(k)) for k, row in enumerate(rows))
    counts = Counter(states)
    answer = Answer(
        "exact" if done == len(rows) else "bracket",
        "all decided" if done == len(rows) else "not all are decided",
        ", ".join(f"{counts[name]} {name}" for name in _STATES if counts[name]) + ".",
        f"{done} of {words.count(len(rows), 'instance')}",
        None,
        None,
        "",
        "",
        "",
    )
    without = [f"{row['name']}: {_why(row)}" for row in rows if row["result"] is None]
    notes = (Notes("Instances without an answer", tuple(without)),) if without else ()
    table = Table(f"{key}-rows", "The instances of the batch", _COLUMNS, cells)
    return Overview(key, "The batch", answer, table, (*notes, _totals(rows)))


def _state(row: Json) -> str:
    result = row["result"]
    if result is None:
        return "not begun" if row["refused"] is None else "refused"
    return str(result["outcome"])


def _why(row: Json) -> str:
    return "not begun when the batch ended" if row["refused"] is None else f"refused: {row['refused']}"


def _cells(row: Json, state: str, question: Question | None) -> tuple[Cell, ...]:
    result, limit = row["result"], number(row["time_limit"])
    nothing, last = Cell("–"), Cell(words.near(limit), limit)
    if result is None or question is None:
        return (Cell(row["name"], row["name"]), Cell(state, state), nothing, nothing, nothing, last, nothing)
    answer = question.parts[0].answer
    assert answer is not None
    seconds = number(result["statistics"]["seconds"])
    ends = [Cell(text or "–", end) for text, end in zip((answer.lower, answer.upper), answer.ends, strict=True)]
    return (
        Cell(row["name"], row["name"], question.key),
        Cell(state, state),
        *ends,
        Cell(f"{seconds:.1f}", seconds),
        last,
        words.whole_cell(result["statistics"]["boxes"]),
    )


def _totals(rows: list[Json]) -> Facts:
    results = [row["result"] for row in rows if row["result"] is not None]
    spent = sum(number(result["statistics"]["seconds"]) for result in results)
    facts = [("Time", words.seconds(spent), "")]
    proofs = sum(bool((result["files"] or {}).get("certificate")) for result in results)
    if proofs:
        facts.append(("Certificates", str(proofs), ""))
    return Facts("Totals", tuple(facts))
