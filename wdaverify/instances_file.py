"""A list of instances in VNN-COMP's form: lines ``network,specification,seconds``, paths relative to the list (docs/batch.md)."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from wdaverify.errors import InputError
from wdaverify.untrusted import UnreadableError, plain_file, shown

MAX_INSTANCES, MAX_BYTES = 2**14, 2**24
_ACCEPTED = "a .csv of lines network.onnx,specification.vnnlib,seconds"


@dataclass(frozen=True)
class Instance:
    """A network, a specification and a time limit in seconds; as the list names them, and as they were found."""

    name: str
    network: str
    specification: str
    time_limit: float
    network_path: str
    specification_path: str


def read_instances(path: str) -> list[Instance]:
    """The instances of a list, in its order.

    Raises:
        InputError: one line that says what was found and what is accepted.
    """
    try:
        with plain_file(path, MAX_BYTES, _ACCEPTED) as stream:
            text = stream.read(MAX_BYTES + 1).decode("utf-8-sig")
        rows = [
            (k, [cell.strip() for cell in row]) for k, row in enumerate(csv.reader(io.StringIO(text), strict=True), 1)
        ]
        rows = [(k, row) for k, row in rows if any(row)]
        if not 1 <= len(rows) <= MAX_INSTANCES:
            raise UnreadableError(f"{len(rows)} instances; 1 to {MAX_INSTANCES} are accepted")
        return _named([_instance(Path(path).parent, k, row) for k, row in rows])
    except UnicodeDecodeError:
        raise InputError(f"{shown(path, 4096)}: this is no text in UTF-8; {_ACCEPTED} is accepted") from None
    except (UnreadableError, csv.Error) as error:
        raise InputError(f"{shown(path, 4096)}: {error}") from None


def _instance(folder: Path, line: int, row: list[str]) -> Instance:
    if len(row) != 3 or not row[0] or not row[1]:
        raise UnreadableError(
            f"line {line} has {len(row)} entries ({shown(','.join(row), 60)}); {_ACCEPTED} is accepted"
        )
    try:
        limit = float(row[2])
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise UnreadableError(f"line {line}: {shown(row[2], 40)!r} for seconds; a finite number > 0 is accepted")
    if not all(name.isprintable() for name in row):
        raise UnreadableError(f"line {line}: a path that cannot be printed")
    name = " ".join(Path(part.removesuffix(".gz")).stem for part in row[:2])
    return Instance(name, row[0], row[1], limit, _found(folder, row[0]), _found(folder, row[1]))


def _found(folder: Path, name: str) -> str:
    """The file, or the packed one beside it: benchmarks are handed on packed, and lists name what is unpacked."""
    plain = str(folder / name)
    return f"{plain}.gz" if not os.path.exists(plain) and os.path.exists(f"{plain}.gz") else plain


def _named(instances: list[Instance]) -> list[Instance]:
    """With names that differ: those that do not are numbered by their places."""
    counts = Counter(instance.name for instance in instances)
    return [
        one if counts[one.name] == 1 else replace(one, name=f"{one.name} ({k})") for k, one in enumerate(instances, 1)
    ]
