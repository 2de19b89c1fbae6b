"""The file of a batch: rows of (network, samples, question) as the arguments that ``verify`` would take (docs/batch.md)."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdaverify.errors import InputError

_FILES = ("network", "data", "cost-weights", "functionals", "support-file")
_OTHERS = ("output", "quiet", "run", "scheduler", "certificate", "report", "image-shape")
"""What is the batch's own to say, or not offered in one."""


@dataclass(frozen=True)
class Row:
    """One row: its name, the arguments of ``verify``, and the files among them."""

    name: str
    arguments: tuple[str, ...]
    files: tuple[str, ...]


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a TOML file: tables ``[[job]]``, each over what ``[defaults]`` says; paths are relative to the file.

    Raises:
        InputError: one line that says what was found and what is accepted.
    """
    try:
        with open(path, "rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({(error.strerror or str(error)).lower()})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no TOML ({' '.join(str(error).split())})") from None
    if unknown := set(table) - {"defaults", "job"}:
        raise InputError(f"{path}: {sorted(unknown)[0]} is no part of a batch; [defaults] and [[job]] are accepted")
    defaults, jobs = table.get("defaults", {}), table.get("job", [])
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in (defaults, *jobs)):
        raise InputError(f"{path}: no rows; a table [[job]] for each (and at most one [defaults]) is accepted")
    rows = [_row(path, k, {**defaults, **job}) for k, job in enumerate(jobs, 1)]
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: {names.count(name)} rows are named {name}; give each a name of its own")
    return rows


def _row(path: str | Path, number: int, job: dict[str, Any]) -> Row:
    name = str(job.get("name", number))
    where = f"{path}, row {name}"
    for needed in ("network", "data"):
        if not isinstance(job.get(needed), str):
            raise InputError(f"{where}: there is no {needed}; the path of a file is needed")
    for option in _OTHERS:
        if option in job:
            raise InputError(
                f"{where}: {option} is not a row's to say; leave it out, or give it to the batch where it takes it"
            )
    folder = Path(path).parent
    files = {option: str(folder / str(job[option])) for option in _FILES if option in job}
    arguments = [files["network"], files["data"]]
    for option, value in job.items():
        if option not in ("name", "network", "data"):
            arguments += _argument(where, option, files.get(option, value))
    return Row(name, tuple(arguments), tuple(files.values()))


def _argument(where: str, option: str, value: Any) -> list[str]:
    """One entry as an option of the command line."""
    if isinstance(value, bool):
        return [f"--{option}"] if value else []
    if option == "support":
        sides = ["none", "none"] if value == "none" else value
        if not isinstance(sides, list) or len(sides) != 2:
            raise InputError(f'{where}: support {value!r}: [LO, HI] or "none" is accepted')
        return ["--support", *map(_text, sides)]
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}: {option} is {type(value).__name__}; a number, a text, true or false is accepted")
    return [f"--{option}={_text(value)}"]


def _text(value: Any) -> str:
    """A value as the command line has it; infinity is ``inf`` there too."""
    return "inf" if isinstance(value, float) and math.isinf(value) and value > 0 else str(value)
