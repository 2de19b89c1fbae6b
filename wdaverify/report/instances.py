"""A batch of specifications as one JSON document and one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from wdaverify.checking.result import CheckResult
from wdaverify.digits import down, places, up
from wdaverify.report.as_json import Json
from wdaverify.report.check import check_json

INSTANCES_SCHEMA = "wdaverify/instances/1"


@dataclass(frozen=True, eq=False)
class InstanceResult:
    """What became of an instance: its answer, or why it was refused, or neither where the batch ended before it.

    ``files`` names what it was read from (``check.check_json``); ``fault`` says why its certificate was not written.
    """

    name: str
    network: str
    specification: str
    time_limit: float
    result: CheckResult | None = None
    refused: str | None = None
    files: Json | None = None
    fault: str = ""

    @property
    def done(self) -> bool:
        """Whether it is unsat, or sat as onnxruntime replays it."""
        return self.result is not None and self.result.decided

    @property
    def word(self) -> str:
        """The verdict, or what stands in its place."""
        if self.result is not None:
            return self.result.outcome.value
        return "not begun" if self.refused is None else "refused"


def instances_json(rows: Sequence[InstanceResult]) -> Json:
    """The fields of ``instances.schema.json``: every instance with its ``result`` (as ``check --output`` writes it), or ``refused``."""
    return {
        "schema": INSTANCES_SCHEMA,
        "done": all(row.done for row in rows),
        "rows": [
            {
                "name": row.name,
                "network": row.network,
                "specification": row.specification,
                "time_limit": row.time_limit,
                "done": row.done,
                "refused": row.refused,
                "result": None if row.result is None else check_json(row.result, row.files),
            }
            for row in rows
        ],
    }


def instance_line(row: InstanceResult, width: int) -> str:
    """An instance in a line, as it ends; names are cut from the left to ``width``, which keeps what differs."""
    name = row.name if len(row.name) <= width else f"..{row.name[2 - width :]}"
    if row.result is None:
        return f"{name:<{width}}  {row.word}"
    found = row.result
    digits = min(places(found.lower, found.upper), 6)
    word = "sat-real" if found.outcome.value.startswith("sat-") else found.outcome.value
    return f"{name:<{width}}  {word:<8} {found.effort.seconds:>6.1f} s  [{down(found.lower, digits)}, {up(found.upper, digits)}]"


def instances_summary(rows: Sequence[InstanceResult], width: int) -> str:
    """A line an instance, then how many have each verdict; ends without a newline."""
    words = sorted(row.word for row in rows)
    counts = ", ".join(f"{len(list(group))} {word}" for word, group in groupby(words))
    seconds = sum(row.result.effort.seconds for row in rows if row.result is not None)
    done = sum(row.done for row in rows)
    head = f"{'instance':<{width}}  {'verdict':<8} {'time':>8}  v in"
    total = f"{done} of {len(rows)} are decided, in {seconds:.1f} s: {counts}"
    return "\n".join([head, *(instance_line(row, width) for row in rows), "", total])
