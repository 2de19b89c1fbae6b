"""A batch as one JSON document and one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wdaverify.digits import down, places, up, width
from wdaverify.report.as_json import Json, verification_json
from wdaverify.report.threshold import VERDICTS
from wdaverify.wdro.result import Reason, Status, VerificationResult

BATCH_SCHEMA = "wdaverify/batch/1"


@dataclass(frozen=True, eq=False)
class RowResult:
    """What became of a row: its result, or why it was refused, or neither where the batch ended before it.

    ``files`` names what the row was read from (``as_json.files_json``); ``fault`` says why its certificate was not written.
    """

    name: str
    result: VerificationResult | None
    refused: str | None = None
    files: Json | None = None
    fault: str = ""

    @property
    def done(self) -> bool:
        """Whether the row's threshold is decided, or where it has none its bracket closed or its value +inf."""
        return self.result is not None and self.result.answered


def batch_json(rows: Sequence[RowResult]) -> Json:
    """The fields of ``batch.schema.json``: every row with its ``result`` (as ``verify --output`` writes it), or ``refused``."""
    return {
        "schema": BATCH_SCHEMA,
        "done": all(row.done for row in rows),
        "rows": [
            {
                "name": row.name,
                "done": row.done,
                "refused": row.refused,
                "result": None if row.result is None else verification_json(row.result, row.files),
            }
            for row in rows
        ],
    }


def batch_summary(rows: Sequence[RowResult]) -> str:
    """A line a row."""
    head = ("row", "lower", "upper", "gap", "solves", "seconds", "answer")
    table = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(len(head))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(line[k].rjust(widths[k]) for k in range(1, 6)), line[6]])
        for line in table
    ]
    done = sum(row.done for row in rows)
    closed = (
        "closed" if any(row.result is not None and row.result.status is Status.TO_THE_GAP for row in rows) else "exact"
    )
    return "\n".join([*lines, "", f"{done} of {len(rows)} rows are {closed} or decided"])


def _answer(result: VerificationResult) -> str:
    if result.decision is not None:
        return f"{VERDICTS[result.decision]} ({result.reason.value})"
    return (
        result.status.words if result.reason is Reason.GAP_CLOSED else f"{result.status.words} ({result.reason.value})"
    )


def _cells(row: RowResult) -> tuple[str, ...]:
    result = row.result
    if result is None:
        return (row.name, "", "", "", "", "", f"refused: {row.refused}" if row.refused else "not begun")
    digits = places(result.lower, result.upper)
    return (
        row.name,
        down(result.lower, digits),
        up(result.upper, digits),
        width(result.lower, result.upper),
        str(result.statistics.solves),
        f"{result.statistics.seconds:.1f}",
        _answer(result),
    )
