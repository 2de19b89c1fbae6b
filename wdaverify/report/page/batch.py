"""A batch: its rows in one table, what they come to, and each row's answer as a document of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from wdaverify.report.page import asked, bounds, words
from wdaverify.report.page.content import Answer, Cell, Column, Facts, Notes, Overview, Question, Table
from wdaverify.report.page.document import Document, number, unbounded
from wdaverify.report.page.words import Json, plain

_COLUMNS = (
    Column("Row"),
    Column("Lower", True),
    Column("Upper", True),
    Column("Answer"),
    Column("Vouched"),
    Column("Seconds", True),
    Column("Network"),
    Column("Samples"),
    Column("Question"),
)
_INSIDE = {"batch": "verification", "instances": "check"}
"""Of a kind of batch the kind of its rows' results."""
_TO_THE_GAP = "to the gap"
_STATES = ("exact", _TO_THE_GAP, "unbounded", "verified", "falsified", "undecided", "open", "refused", "not begun")


def answers(document: Document) -> dict[int, Document]:
    """The rows that have a result, by their places."""
    return {
        k: Document(_INSIDE[document.kind], document.name, document.sha256, row["result"])
        for k, row in enumerate(document.data["rows"])
        if row["result"] is not None
    }


def overview(document: Document, questions: Mapping[int, Question], key: str) -> Overview:
    """The rows in one table, each linked to its own section, and what they come to."""
    rows = document.data["rows"]
    states = [_state(row) for row in rows]
    done = sum(row["done"] for row in rows)
    table = Table(
        f"{key}-rows",
        "The rows of the batch",
        _COLUMNS,
        tuple(_cells(row, states[k], questions.get(k)) for k, row in enumerate(rows)),
    )
    counts = Counter(states)
    closed = "closed" if counts[_TO_THE_GAP] else "exact"
    status = "bracket" if done < len(rows) else "to-the-gap" if counts[_TO_THE_GAP] else "exact"
    answer = Answer(
        status,
        f"all {closed} or decided" if done == len(rows) else f"not all are {closed}",
        ", ".join(f"{counts[name]} {name}" for name in _STATES if counts[name]) + ".",
        f"{done} of {words.count(len(rows), 'row')}",
        None,
        None,
        "",
        "",
        "",
    )
    without = [f"{row['name']}: {_why(row)}" for row in rows if row["result"] is None]
    notes = (Notes("Rows without an answer", tuple(without)),) if without else ()
    return Overview(key, "The batch", answer, table, (*notes, _totals(rows)))


def _state(row: Json) -> str:
    result = row["result"]
    if result is None:
        return "not begun" if row["refused"] is None else "refused"
    verdict = bounds.decision(result)
    if verdict is not None and (row["done"] or result["reason"] == "threshold-undecided"):
        return verdict
    if result["status"] in words.CLOSED:
        return str(result["status"]).replace("-", " ")
    return "unbounded" if unbounded(result) else "open"


def _why(row: Json) -> str:
    return "not begun when the batch ended" if row["refused"] is None else f"refused: {row['refused']}"


def _cells(row: Json, state: str, question: Question | None) -> tuple[Cell, ...]:
    name, result = row["name"], row["result"]
    if result is None or question is None:
        nothing = Cell("–")
        return (Cell(name, name), nothing, nothing, Cell(state, state), *[nothing] * 5)
    answer = question.parts[0].answer
    assert answer is not None
    network, samples = (
        result["network"]["name"],
        f"{result['samples']['count']} from {_base(result['samples']['source'])}",
    )
    what, seconds = _asked(result), number(result["statistics"]["seconds"])
    ends = [Cell(text or "–", end) for text, end in zip((answer.lower, answer.upper), answer.ends, strict=True)]
    shown = state if state != "open" else f"open: {result['reason']}"
    vouched = ", ".join(dict.fromkeys((answer.vouched_lower, answer.vouched_upper)))
    return (
        Cell(name, name, question.key),
        *ends,
        Cell(shown, shown),
        Cell(vouched, vouched),
        Cell(f"{seconds:.1f}", seconds),
        Cell(network, network),
        Cell(samples, samples),
        Cell(what, what),
    )


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1] or path


def _asked(result: Json) -> str:
    """The question in a line."""
    order = plain(number(result["order"]))
    norm = words.norm_name(result["norm"])
    return f"{words.LOSSES[result['loss']]}, radius {plain(result['radius'])}, order {order}, {norm}"


def _totals(rows: list[Json]) -> Facts:
    results = [row["result"] for row in rows if row["result"] is not None]
    facts = list[tuple[str, str, str]]()
    for side in ("lower", "upper"):
        vouched = Counter(result["vouched"][side] for result in results)
        if vouched:
            text = ", ".join(f"{name} {count}" for name, count in sorted(vouched.items()))
            facts.append((f"{side.capitalize()} ends by", text, ""))
    facts.append(("Solves", str(sum(result["statistics"]["solves"] for result in results)), ""))
    facts.append(("Time", words.seconds(sum(number(r["statistics"]["seconds"]) for r in results)), ""))
    proofs = sum(bool((result["files"] or {}).get("certificate")) for result in results)
    if proofs:
        facts.append(("Certificates", str(proofs), ""))
    return Facts("Totals", tuple(facts))


def heading(name: str, document: Document) -> str:
    """Of a row's own section; the name of an instance says what it is about."""
    if document.kind == "check":
        return name
    return f"{name}: {asked.heading(document)} of {document.data['network']['name']}"
