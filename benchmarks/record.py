"""What was measured, kept in benchmarks/results.json: a partial run replaces its own rows and leaves the others as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from outcome import Outcome

HERE = Path(__file__).resolve().parent
_PARTS = ("rows", "skipped", "series", "memory", "startup")

Row = dict[str, Any]
"""``state, seconds [runs], startup, samples, asked, lower, upper, gap, note, facts`` and the ``stamp`` it was made under."""


class Record:
    """The JSON file and the stamps of whoever writes into it."""

    def __init__(self, path: Path, stamp: dict[str, object]) -> None:
        self.path, self._stamp = path, stamp
        self.data: dict[str, Any] = {"schema": 1, "stamps": {}, **{part: {} for part in _PARTS}}
        if path.exists():
            self.data |= json.loads(path.read_text())

    def _stamped(self) -> str:
        """The name of the stamp of this run."""
        stamps = self.data["stamps"]
        for name, known in stamps.items():
            if known == self._stamp:
                return str(name)
        name = str(1 + max((int(k) for k in stamps), default=0))
        stamps[name] = self._stamp
        return name

    def row(self, workload: str, who: str, runs: list[Outcome], asked: int) -> None:
        """One contender's runs so far; the worst state counts, the widest bracket, the last note."""
        order = ("wrong", "failed", "absent", "refused", "limit", "open", "done")
        last = min(reversed(runs), key=lambda run: order.index(run.state))
        lower = [run.lower for run in runs if run.lower is not None]
        upper = [run.upper for run in runs if run.upper is not None]
        row = {
            "stamp": self._stamped(),
            "state": last.state,
            "seconds": [run.seconds for run in runs],
            "startup": last.startup,
            "samples": last.samples,
            "asked": asked,
            "lower": min(lower) if lower else None,
            "upper": max(upper) if upper else None,
            "note": last.note,
            "facts": runs[-1].facts,
        }
        self.data["rows"].setdefault(workload, {})[who] = row
        self.ran(workload)
        self.save()

    def keep(self, **parts: Container[str]) -> None:
        """Forget what has no name any more, in the parts that are given."""
        for part, names in parts.items():
            self.data[part] = {name: entry for name, entry in self.data[part].items() if name in names}

    def skip(self, workload: str, reason: str) -> None:
        """Note that something was skipped, or failed, and why."""
        self.data["skipped"][workload] = {"stamp": self._stamped(), "reason": reason}
        self.save()

    def ran(self, name: str) -> None:
        """Forget that something was skipped; what is put next is saved with it."""
        self.data["skipped"].pop(name, None)

    def series(self, name: str, entry: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
        """Keep a point of a series in the place of an older one (the same label and group); the series as it is now."""
        old = [p for p in self.data["series"].get(name, {}).get("points", []) if _which(p) != _which(point)]
        kept = {**entry, "points": sorted([*old, {**point, "stamp": self._stamped()}], key=lambda p: p["x"])}
        self.data["series"][name] = kept
        self.save()
        return kept

    def put(self, part: str, name: str, what: dict[str, Any]) -> None:
        """Keep a peak of memory, or the start-up figures."""
        self.data[part][name] = {**what, "stamp": self._stamped()}
        self.save()

    def save(self) -> None:
        """Write the file whole or not at all, without the stamps that nothing bears any more."""
        used = {e["stamp"] for rows in self.data["rows"].values() for e in rows.values()}
        used |= {entry["stamp"] for part in ("skipped", "memory", "startup") for entry in self.data[part].values()}
        used |= {point["stamp"] for entry in self.data["series"].values() for point in entry["points"]}
        self.data["stamps"] = {name: one for name, one in self.data["stamps"].items() if name in used}
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(_plain(self.data), indent=1, sort_keys=True) + "\n")
        os.replace(beside, self.path)


def _which(point: dict[str, Any]) -> tuple[str, str]:
    return point["label"], point["group"]


def _plain(value: Any) -> Any:
    """JSON has no infinities: they become words."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value
