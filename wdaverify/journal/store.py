"""A journal in use: facts in, facts out. What fails its checksum is dropped and told; a write that fails ends the writing.

A journal is trusted like the memory of the program: its bounds were proven by the run that wrote them and are not proven
again (docs/adr/0010). The checksums find accidents, no intent.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from wdaverify.errors import JournalError
from wdaverify.given import path_of
from wdaverify.journal.database import open_database
from wdaverify.journal.facts import (
    Fact,
    Point,
    Scope,
    digest,
    fact_row,
    point_sum,
    scope_key,
    sound_fact,
    sound_point,
)
from wdaverify.journal.lock import FolderLock

_T = TypeVar("_T")


class Journal:
    """One folder, locked; a context manager."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the journal of a folder, or begin one.

        Raises:
            JournalError: the folder is in use, cannot be written, or holds something else.
        """
        named = path_of("a journal's folder", folder, JournalError)
        if not named:
            raise JournalError("no folder is named; give the path of one, which is made where there is none")
        self.folder = Path(named)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{named} cannot be made ({(error.strerror or str(error)).lower()})") from None
        self._lock = FolderLock(self.folder)
        try:
            self._base, mended = open_database(self.folder)
        except BaseException:
            self._lock.release()
            raise
        self._notices = list(mended)
        self._writing = True
        self._samples: dict[bytes, int] = {}
        self._run: int | None = None
        self._command: dict[str, Any] = {}
        self._ended = False
        self.label = ""
        """Which of several questions is being asked, for whoever looks on."""

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give the folder back; twice does no harm."""
        self._base.close()
        self._lock.release()

    @property
    def notices(self) -> tuple[str, ...]:
        """What went wrong with the journal so far; the run itself is none the worse."""
        return tuple(self._notices)

    def scope(self, fields: dict[str, str]) -> Scope:
        """The scope of these fields, entered if it is new; number 0 where nothing can be written."""
        key = scope_key(fields)
        known = self._rows("SELECT id FROM scope WHERE key = ?", key)
        if known:
            return Scope(known[0][0], key, fields)
        text = json.dumps(fields, sort_keys=True)
        row = self._write(lambda: self._base.execute("INSERT INTO scope (key, fields) VALUES (?, ?)", (key, text)))
        return Scope((row and row.lastrowid) or 0, key, fields)

    def scopes(self) -> list[Scope]:
        """Every scope whose fields are those that its key names."""
        out = []
        for number, key, text in self._rows("SELECT id, key, fields FROM scope"):
            try:
                fields = json.loads(text)
            except (TypeError, ValueError):
                continue
            if isinstance(fields, dict) and scope_key(fields) == key:
                out.append(Scope(number, key, fields))
        return out

    def count(self, scope: Scope) -> int:
        """How many facts a scope has."""
        counted = self._rows("SELECT count(*) FROM fact WHERE scope = ?", scope.number)
        return int(counted[0][0]) if counted else 0

    def points(self, scope: Scope) -> list[Point]:
        """The points of a scope, in the order in which they were found."""
        sql = "SELECT point.id, key, point, sum FROM point LEFT JOIN sample ON sample.id = sample WHERE scope = ? ORDER BY point.id"
        read = [(number, sound_point(scope, *values)) for number, *values in self._rows(sql, scope.number)]
        self._drop("point", [number for number, point in read if point is None])
        return [point for _, point in read if point is not None]

    def facts(self, scope: Scope, *, proofs: bool = True) -> list[Fact]:
        """The facts of a scope, in the order in which they were proven; their proofs are not even read where nobody wants them."""
        sql = (
            "SELECT fact.id, key, label, code, multiplier, value, checked, vouched, tries, spent, shown, sum, "
            f"{'proof' if proofs else 'NULL'} FROM fact LEFT JOIN sample ON sample.id = sample WHERE scope = ? ORDER BY fact.id"
        )
        read = [(number, sound_fact(scope, *values)) for number, *values in self._rows(sql, scope.number)]
        self._drop("fact", [number for number, fact in read if fact is None])
        return [fact for _, fact in read if fact is not None]

    def _drop(self, table: str, numbers: Sequence[int]) -> None:
        if numbers:
            self._notices.append(
                f"the journal was damaged: {len(numbers)} {table}(s) fail their checksum and were dropped"
            )
            doomed = [(number,) for number in numbers]
            self._write(lambda: self._base.executemany(f"DELETE FROM {table} WHERE id = ?", doomed))

    def add(self, scope: Scope, *, facts: Sequence[Fact] = (), points: Sequence[Point] = ()) -> None:
        """Append facts and points, all or none."""

        def work() -> None:
            self._base.executemany(
                "INSERT INTO point (scope, sample, point, sum) VALUES (?, ?, ?, ?)",
                [(scope.number, self._sample(p.sample), p.point, point_sum(scope, p)) for p in points],
            )
            self._base.executemany(
                "INSERT INTO fact "
                "(scope, sample, label, code, multiplier, value, checked, vouched, tries, spent, shown, sum, proof) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(scope.number, self._sample(f.sample), *fact_row(scope, f)) for f in facts],
            )

        if facts or points:
            self._write(work)

    def remark(self, scope: Scope) -> Any:
        """What was noted last of a scope, or None."""
        for text, total in self._rows("SELECT text, sum FROM remark WHERE scope = ? ORDER BY id DESC", scope.number):
            if isinstance(text, str) and digest(scope.key, text) == total:
                return json.loads(text)
        return None

    def note(self, scope: Scope, what: Any) -> None:
        """Note something of a scope, as JSON."""
        text = json.dumps(what)
        row = (scope.number, text, digest(scope.key, text))
        self._write(lambda: self._base.execute("INSERT INTO remark (scope, text, sum) VALUES (?, ?, ?)", row))

    def begin(self, command: dict[str, Any]) -> None:
        """Enter a run: what ``tell`` says is said of it."""
        self._command, self._ended = command, False
        row = (time.time(), json.dumps(command), "{}")
        entered = self._write(
            lambda: self._base.execute("INSERT INTO run (begun, command, state) VALUES (?, ?, ?)", row)
        )
        self._run = None if entered is None else entered.lastrowid

    def start(self) -> None:
        """Enter a run of the same command, unless the one that was entered last has not ended."""
        if self._run is None or self._ended:
            self.begin(self._command)

    def tell(self, state: dict[str, Any]) -> None:
        """Say where the run stands; it has ended where ``reason`` is given."""
        self._ended = state.get("reason") is not None
        state = {**state, "label": self.label}
        row = (json.dumps(state), self._run)
        if self._run is not None:
            self._write(lambda: self._base.execute("UPDATE run SET state = ? WHERE id = ?", row))

    def _sample(self, key: bytes) -> int:
        if key not in self._samples:
            self._base.execute("INSERT OR IGNORE INTO sample (key) VALUES (?)", (key,))
            self._samples[key] = self._base.execute("SELECT id FROM sample WHERE key = ?", (key,)).fetchone()[0]
        return self._samples[key]

    def _rows(self, sql: str, *values: object) -> list[Any]:
        """The rows of a query; none where the file cannot be read, which is told."""
        try:
            return self._base.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(f"cannot be read ({error})")
            return []

    def _write(self, work: Callable[[], _T]) -> _T | None:
        """One transaction; the first that fails is the last that is tried."""
        if not self._writing:
            return None
        try:
            self._base.execute("BEGIN IMMEDIATE")
            out = work()
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            self._give_up(f"takes nothing more ({error})")
            return None
        except BaseException:
            self._roll_back()
            raise
        return out

    def _give_up(self, why: str) -> None:
        self._writing = False
        self._notices.append(
            f"the journal {self.folder} {why}; the run goes on without it, and what was kept stays valid"
        )

    def _roll_back(self) -> None:
        self._samples.clear()
        with suppress(sqlite3.Error):
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
