"""The file of a journal: SQLite with a write-ahead log, opened whole or mended.

A process that is killed loses nothing that was committed; a machine that loses power may lose the last commits
(``synchronous=NORMAL``) and never the file. What cannot be read is put aside, and what can is carried over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from wdaverify.errors import JournalError

NAME = "journal.sqlite"
_APPLICATION, _VERSION = 0x77646131, 3
_TABLES = {
    "scope": "id INTEGER PRIMARY KEY, key BLOB UNIQUE, fields TEXT",
    "sample": "id INTEGER PRIMARY KEY, key BLOB UNIQUE",
    "point": "id INTEGER PRIMARY KEY, scope INTEGER, sample INTEGER, point BLOB, sum BLOB",
    "fact": "id INTEGER PRIMARY KEY, scope INTEGER, sample INTEGER, label INTEGER, code INTEGER, multiplier REAL, value REAL, "
    "checked INTEGER, vouched TEXT, tries INTEGER, spent BLOB, shown BLOB, sum BLOB, proof BLOB",
    "remark": "id INTEGER PRIMARY KEY, scope INTEGER, text TEXT, sum BLOB",
    "run": "id INTEGER PRIMARY KEY, begun REAL, command TEXT, state TEXT",
}


def open_database(folder: Path) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    """A connection to the folder's journal, begun if there is none, and what had to be mended.

    Raises:
        JournalError: the file is another program's or version's, or cannot be opened or begun.
    """
    path, fresh = folder / NAME, folder / f"{NAME}.new"
    try:
        if fresh.exists() and not path.exists():  # a mending that was cut off between its two renamings
            fresh.rename(path)
        known = path.exists()
        notices = _mended(path, fresh) if known and not _whole(path) else ()
        return _connected(path), notices
    except (sqlite3.Error, OSError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise JournalError(
            f"the journal {path} cannot be {'opened' if path.exists() else 'begun'} ({why.lower()})"
        ) from None


def read_only(folder: Path) -> sqlite3.Connection:
    """A connection that only reads, beside a run that writes.

    Raises:
        JournalError: there is no journal that can be read.
    """
    path = folder / NAME
    if not path.is_file():
        raise JournalError(f"{folder} holds no journal ({NAME}); a folder written by --run is accepted")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        _check_origin(connection, path)
    except sqlite3.Error as error:
        raise JournalError(
            f"the journal {path} cannot be read ({error}); run its command again to carry over what can be"
        ) from None
    return connection


def _whole(path: Path) -> bool:
    """Whether SQLite finds no fault with the file.

    Raises:
        JournalError: it is whole, and not a journal of this version.
    """
    connection = sqlite3.connect(path)
    try:
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return False
        _check_origin(connection, path)
        return True
    except sqlite3.OperationalError as error:
        if "malformed" in str(error) or "no such" in str(error):
            return False
        raise
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()


def _check_origin(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty and (application, version) != (_APPLICATION, _VERSION):
        raise JournalError(
            f"{path} is no journal of version {_VERSION} (application {application}, version {version}); name another folder"
        )


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise sqlite3.OperationalError("the file system admits no write-ahead log")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    for name, columns in _TABLES.items():
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute(f"PRAGMA user_version={_VERSION}")
    connection.execute("COMMIT")
    return connection


def _mended(path: Path, fresh: Path) -> tuple[str, ...]:
    """Put a damaged file aside and carry every row that can still be read over to a new one."""
    fresh.unlink(missing_ok=True)
    new = _connected(fresh)
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA writable_schema=ON")  # else nothing is read of a file that is shorter than its header says
    rows = 0
    try:
        new.execute("BEGIN")
        for name, columns in _TABLES.items():
            names = [column.split()[0] for column in columns.split(", ")]
            marks = ", ".join("?" for _ in names)
            for row in _readable(old, name, names):
                rows += new.execute(f"INSERT OR IGNORE INTO {name} VALUES ({marks})", row).rowcount
        new.execute("COMMIT")
        new.execute("PRAGMA journal_mode=DELETE")  # so that the file can be renamed alone
    finally:
        old.close()
        new.close()
    aside = next(p for k in count(1) if not (p := path.with_name(f"{NAME}.damaged-{k}")).exists())
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        path.with_name(NAME + ending).unlink(missing_ok=True)
    fresh.rename(path)
    return (
        f"the journal was damaged: {rows} rows could be read and were carried over, the old file is kept as {aside.name}",
    )


def _readable(old: sqlite3.Connection, name: str, columns: list[str]) -> Iterator[tuple[object, ...]]:
    """The rows of a table up to the first fault, and from its end back to the last one."""
    for order in ("", " DESC"):
        try:
            yield from old.execute(f"SELECT {', '.join(columns)} FROM {name} NOT INDEXED ORDER BY id{order}")
        except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError):
            continue
        else:
            return
