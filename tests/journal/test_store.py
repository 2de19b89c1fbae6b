"""Facts come back as they went in; what was damaged is dropped, carried over or refused, and always told."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wdaverify.errors import JournalError
from wdaverify.journal.database import NAME
from wdaverify.journal.facts import Fact, Point, digest
from wdaverify.journal.lock import holder
from wdaverify.journal.store import Journal

FIELDS = {"kind": "bounds", "network": "a", "norm": "inf"}
FACTS = [
    Fact(digest(str(k)), k % 3, k % 2, 0.1 * k, value, k % 2 == 0, "cells", k, b"spent" * (k % 2), bytes(range(k % 7)))
    for k, value in enumerate([1.5, -math.inf, math.inf, -0.0, 5e-324, 1 / 3] * 40)
]
POINTS = [Point(digest(str(k)), bytes([k % 256]) * 64) for k in range(300)]


def filled(folder: Path) -> Path:
    with Journal(folder) as journal:
        scope = journal.scope(FIELDS)
        for k in range(0, len(FACTS), 10):
            journal.add(scope, facts=FACTS[k : k + 10], points=POINTS[k : k + 10])
        journal.note(scope, {"done": [1, 2.5]})
        assert not journal.notices
    return folder / NAME


def test_facts_come_back_as_they_went_in(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        scope = journal.scope(FIELDS)
        assert journal.facts(scope) == FACTS
        assert journal.points(scope) == POINTS[: len(FACTS)]
        assert journal.count(scope) == len(FACTS)
        assert journal.remark(scope) == {"done": [1, 2.5]}
        other = journal.scope({**FIELDS, "norm": "1"})
        assert journal.facts(other) == []
        assert journal.remark(other) is None
        assert {s.key for s in journal.scopes()} == {scope.key, other.key}
        assert not journal.notices


@pytest.mark.parametrize(
    "column", ["label", "code", "multiplier", "value", "checked", "vouched", "tries", "spent", "shown", "sum", "proof"]
)
def test_a_changed_column_is_found(column: str, tmp_path: Path) -> None:
    """Whatever column of a fact changes, the fact is dropped for good, and the others stay."""
    path = filled(tmp_path)
    with sqlite3.connect(path) as base:
        changed = (
            "1 - checked"
            if column == "checked"
            else "'other'"
            if column in ("vouched", "spent", "shown", "sum", "proof")
            else f"{column} + 1"
        )
        base.execute(f"UPDATE fact SET {column} = {changed} WHERE id = 7")
    base.close()
    with Journal(tmp_path) as journal:
        assert journal.facts(journal.scope(FIELDS)) == FACTS[:6] + FACTS[7:]
        assert [n for n in journal.notices if "1 fact(s) fail their checksum" in n]
    with Journal(tmp_path) as journal:
        assert len(journal.facts(journal.scope(FIELDS))) == len(FACTS) - 1
        assert not journal.notices


def test_a_damaged_proof_harms_nobody_who_does_not_read_it(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with sqlite3.connect(path) as base:
        base.execute("UPDATE fact SET proof = x'00' WHERE id = 7")
    base.close()
    with Journal(tmp_path) as journal:
        known = journal.facts(journal.scope(FIELDS), proofs=False)
        assert known == [replace(fact, proof=b"") for fact in FACTS]
        assert not journal.notices
        assert len(journal.facts(journal.scope(FIELDS))) == len(FACTS) - 1


@pytest.mark.parametrize(
    "change", ["UPDATE fact SET sample = 3 WHERE id = 7", "UPDATE sample SET key = x'00' WHERE id = 7"]
)
def test_a_fact_of_another_sample_is_found(change: str, tmp_path: Path) -> None:
    path = filled(tmp_path)
    with sqlite3.connect(path) as base:
        base.execute(change)
    base.close()
    with Journal(tmp_path) as journal:
        found = journal.facts(journal.scope(FIELDS))
        assert all(fact in FACTS for fact in found)
        assert len(found) < len(FACTS)
        assert journal.notices


def test_a_changed_scope_is_another_scope(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with sqlite3.connect(path) as base:
        base.execute("UPDATE scope SET fields = '{}'")
        base.execute("UPDATE fact SET scope = 99 WHERE id = 5")
    base.close()
    with Journal(tmp_path) as journal:
        assert journal.scopes() == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_mended(share: float, tmp_path: Path) -> None:
    """What can still be read is carried over, nothing that comes back was not there, and the old file is kept."""
    path = filled(tmp_path)
    os.truncate(path, int(share * path.stat().st_size))
    with Journal(tmp_path) as journal:
        scope = journal.scope(FIELDS)
        found = journal.facts(scope)
        assert all(fact in FACTS for fact in found)
        assert all(point in POINTS for point in journal.points(scope))
        if share:
            assert any("damaged" in notice for notice in journal.notices)
            assert list(tmp_path.glob(f"{NAME}.damaged-1"))
        journal.add(scope, facts=FACTS[:1])
        assert FACTS[0] in journal.facts(scope)
    with Journal(tmp_path) as journal:
        assert not any("old file" in notice for notice in journal.notices)


@pytest.mark.parametrize("seed", range(12))
def test_overwritten_bytes_are_found(seed: int, tmp_path: Path) -> None:
    """Sixty-four random bytes somewhere in the file: no fact comes back that was not there."""
    import numpy as np

    path = filled(tmp_path)
    rng = np.random.default_rng(seed)
    with path.open("r+b") as stream:
        stream.seek(int(rng.integers(path.stat().st_size - 64)))
        stream.write(rng.bytes(64))
    with Journal(tmp_path) as journal:
        scope = journal.scope(FIELDS)
        found, points = journal.facts(scope), journal.points(scope)
        assert all(fact in FACTS for fact in found)
        assert all(point in POINTS for point in points)
        assert journal.notices or (len(found), len(points)) in ((len(FACTS), len(FACTS)), (0, 0))
        assert not journal.facts(journal.scope({**FIELDS, "norm": "1"}))


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as base:
        base.execute("CREATE TABLE diary (day TEXT)")
    base.close()
    with pytest.raises(JournalError, match="no journal of version 3"):
        Journal(tmp_path)
    assert holder(tmp_path) is None


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"dear diary, " * 1000)
    with Journal(tmp_path) as journal:
        assert journal.facts(journal.scope(FIELDS)) == []
        assert any("damaged" in notice and "0 rows" in notice for notice in journal.notices)
    assert (tmp_path / f"{NAME}.damaged-1").read_bytes().startswith(b"dear diary")


_HOLD = """
import sys, time
from wdaverify.journal.store import Journal
journal = Journal(sys.argv[1])
print("in", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    try:
        assert holder(tmp_path) == other.pid
        with pytest.raises(JournalError, match=rf"in use by another run \(process {other.pid}\)"):
            Journal(tmp_path)
    finally:
        other.kill()
        other.wait()
    assert holder(tmp_path) is None
    Journal(tmp_path).close()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be made"):
        Journal(tmp_path / "file" / "below")


def test_a_full_file_ends_the_writing_and_nothing_else(tmp_path: Path) -> None:
    """SQLite's own "database or disk is full": the facts before it stay, later ones are not tried, one notice says so."""
    with Journal(tmp_path) as journal:
        scope = journal.scope(FIELDS)
        journal.add(scope, facts=FACTS[:10])
        journal._base.execute("PRAGMA max_page_count = 20")
        for k in range(1000):
            journal.add(scope, points=[Point(digest(str(k)), bytes(3000))])
        assert len(journal.notices) == 1
        assert "database or disk is full" in journal.notices[0]
        assert journal.facts(scope) == FACTS[:10]
    with Journal(tmp_path) as journal:
        assert journal.facts(journal.scope(FIELDS)) == FACTS[:10]
        assert not journal.notices


def test_what_lies_before_the_cut_comes_back(tmp_path: Path) -> None:
    """Facts are appended, so that a file that lost its end has lost the last ones."""
    many = [replace(FACTS[0], code=k) for k in range(3000)]
    with Journal(tmp_path) as journal:
        journal.add(journal.scope(FIELDS), facts=many)
    path = tmp_path / NAME
    os.truncate(path, int(0.8 * path.stat().st_size) + 77)
    with Journal(tmp_path) as journal:
        found = journal.facts(journal.scope(FIELDS))
        assert len(found) > 1000
        assert found == many[: len(found)]
        assert any("damaged" in notice for notice in journal.notices)
