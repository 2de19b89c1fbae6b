"""Where the runs of a journal stand, read beside one that may be at work."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdaverify.errors import JournalError
from wdaverify.given import path_of
from wdaverify.journal.database import NAME, read_only
from wdaverify.journal.lock import holder

_CHUNK = 1 << 20


@dataclass(frozen=True)
class JournalState:
    """The last run (``command`` and ``state`` as they were written), how much is kept, and the process at work, if any.

    ``spent`` are the seconds of all runs together, ``begun`` is the last one's start (seconds since 1970).
    """

    folder: str
    runs: int
    points: int
    facts: int
    size: int
    spent: float
    begun: float
    command: dict[str, Any]
    state: dict[str, Any]
    process: int | None


def read_state(folder: str | os.PathLike[str]) -> JournalState:
    """Read a folder's journal; nothing is changed.

    Raises:
        JournalError: there is none, or it cannot be read.
    """
    folder = path_of("a journal's folder", folder, JournalError)
    place = Path(folder)
    base = read_only(place)
    try:
        runs = [
            run for row in base.execute("SELECT begun, command, state FROM run") if (run := _sound(*row)) is not None
        ]
        points, facts = (base.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("point", "fact"))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise JournalError(
            f"the journal {place / NAME} cannot be read ({error}); run its command again to carry over what can be"
        ) from None
    finally:
        base.close()
    if not runs:
        raise JournalError(f"the journal {place / NAME} has no run yet; begin one with --run {folder}")
    begun, command, state = runs[-1]
    size = sum(p.stat().st_size for p in place.glob(f"{NAME}*") if p.is_file())
    spent = sum(float(told.get("elapsed", 0.0)) for _, _, told in runs)
    return JournalState(folder, len(runs), points, facts, size, spent, begun, command, state, holder(place))


def _sound(begun: Any, command: Any, state: Any) -> tuple[float, dict[str, Any], dict[str, Any]] | None:
    """A run's row, or None where it is damaged."""
    try:
        read = float(begun), json.loads(command), json.loads(state)
        float(read[2].get("elapsed", 0.0))
    except (ValueError, TypeError, AttributeError):
        return None
    return read if isinstance(read[1], dict) else None


def command_of(arguments: list[str], option: str, folder: str, paths: list[str]) -> dict[str, Any]:
    """What must be known to run a command again: its arguments without the option that names the journal, and its files."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument == option or argument.startswith(f"{option}="):
            skip = not skip and argument == option
            continue
        kept.append(argument)
    return {"arguments": kept, "folder": folder, "files": {path: _sha256(path) for path in paths}}


def unchanged(command: dict[str, Any]) -> list[str]:
    """The arguments of a stored command, once its files are seen to be what they were; to be run in ``command["folder"]``.

    Raises:
        JournalError: no command was stored, or a file has changed or is gone.
    """
    if not command.get("arguments"):
        raise JournalError("the last run was begun from Python and stored no command; run that program again instead")
    for path, known in command["files"].items():
        found = _sha256(str(Path(command["folder"]) / path))
        if found != known:
            what = (
                "is gone or cannot be read" if found is None else f"has changed (sha256 {found[:12]}, was {known[:12]})"
            )
            raise JournalError(f"{path} {what}; restore it, or run the new question with --run and a folder of its own")
    return list(command["arguments"])


def _sha256(path: str) -> str | None:
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                total.update(chunk)
    except OSError:
        return None
    return total.hexdigest()
