"""The file of a batch: rows of (network, samples, question) as the arguments that ``verify`` would take (docs/batch.md)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdaverify.errors import InputError
from wdaverify.toml_file import read_toml
from wdaverify.untrusted import UnreadableError, shown

MAX_ROWS, MAX_NAME = 2**14, 200
"""The most rows, and characters of a name."""
_LARGEST_INTEGER = 2**53
_FILES = ("network", "data", "cost-weights", "functionals", "spec", "support-file")
_OTHERS = ("output", "quiet", "run", "scheduler", "report", "title", "author", "image-shape", "help")
"""What is the batch's own to say, or not offered in one."""


@dataclass(frozen=True)
class Row:
    """One row: its name, the arguments of ``verify``, and the files among them.

    ``certificate`` is the file of its proof; "" where the row wants none, None where it leaves that to the batch.
    """

    name: str
    arguments: tuple[str, ...]
    files: tuple[str, ...]
    certificate: str | None = None


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a TOML file: tables ``[[job]]``, each over what ``[defaults]`` says; paths are relative to the file.

    Raises:
        InputError: one line that says what was found and what is accepted.
    """
    try:
        table = read_toml(path, "a .toml file of rows")
        if unknown := sorted(set(table) - {"defaults", "job"}):
            raise UnreadableError(
                f"{shown(repr(unknown[0]), 60)} is no part of a batch; [defaults] and [[job]] are accepted"
            )
        return _rows(path, table)
    except ValueError as error:  # an UnreadableError, or an integer too long to be shown
        raise InputError(f"{shown(path, 4096)}: {error}") from None


def _rows(path: str | Path, table: dict[str, Any]) -> list[Row]:
    defaults, jobs = table.get("defaults", {}), table.get("job", [])
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in (defaults, *jobs)):
        raise UnreadableError("no rows; a table [[job]] for each (and at most one [defaults]) is accepted")
    if len(jobs) > MAX_ROWS:
        raise UnreadableError(f"{len(jobs)} rows; at most {MAX_ROWS} are accepted")
    rows = [_row(path, k, _over(defaults, job)) for k, job in enumerate(jobs, 1)]
    for name, count in Counter(row.name for row in rows).items():
        if count > 1:
            raise UnreadableError(f"{count} rows are named {name}; give each a name of its own")
    return rows


def _over(defaults: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """A row over the defaults: its own radius takes the place of their ``eps``, its own ``eps`` that of their radius and order."""
    less = {"eps"} if "radius" in job else {"radius", "order"} if "eps" in job else set[str]()
    return {**{name: value for name, value in defaults.items() if name not in less}, **job}


def _row(path: str | Path, number: int, job: dict[str, Any]) -> Row:
    name = _text(job.get("name", number))
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME):
        raise UnreadableError(
            f"row {number} is named {shown(repr(name), 60)}; up to {MAX_NAME} characters are accepted"
        )
    where = f"row {name}"
    for needed in ("network", "data"):
        if not isinstance(job.get(needed), str):
            raise UnreadableError(f"{where}: there is no {needed}; the path of a file is needed")
    for option in _OTHERS:
        if option in job:
            raise UnreadableError(
                f"{where}: {option} is not a row's to say; leave it out, or give it to the batch where it takes it"
            )
    folder = Path(path).parent
    files = {option: str(folder / str(job[option])) for option in _FILES if option in job}
    arguments = [files["network"], files["data"]]
    for option, value in job.items():
        if option not in ("name", "network", "data", "certificate"):
            arguments += _argument(where, option, files.get(option, value))
    return Row(name, tuple(arguments), tuple(files.values()), _certificate(where, folder, job.get("certificate")))


def _certificate(where: str, folder: Path, value: Any) -> str | None:
    """``certificate = "FILE"``, or ``false`` where a row needs none."""
    if value is None or value is False:
        return None if value is None else ""
    if not isinstance(value, str) or not value:
        raise UnreadableError(
            f"{where}: certificate {shown(repr(value), 60)}: the path of a file is accepted, or false"
        )
    return str(folder / value)


def _argument(where: str, option: str, value: Any) -> list[str]:
    """One entry as an option of the command line."""
    if isinstance(value, bool):
        return [f"--{option}"] if value else []
    if option == "support":
        sides = [value, value] if value in ("none", "specification") else value
        if not isinstance(sides, list) or len(sides) != 2:
            raise UnreadableError(
                f'{where}: support {shown(repr(value), 60)}: [LO, HI], "none" or "specification" is accepted'
            )
        return ["--support", *map(_text, sides)]
    if not isinstance(value, str | int | float):
        raise UnreadableError(
            f"{where}: {shown(option, 60)} is {type(value).__name__}; a number, a text, true or false is accepted"
        )
    return [f"--{option}={_text(value)}"]


def _text(value: Any) -> str:
    """A value as the command line has it; infinity is ``inf`` there too."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise UnreadableError("an integer is beyond 2^53, the largest that is accepted")
    return "inf" if isinstance(value, float) and math.isinf(value) and value > 0 else str(value)
