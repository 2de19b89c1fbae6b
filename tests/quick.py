"""Which cases run in ``make test``: of several axes one combination in n, so that each value of each axis meets many of the others; of
the properties named in quick.toml one case in n."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest


def one_in(n: int, *axes: Iterable[Any]) -> list[Any]:
    """All combinations, those whose places add up to no multiple of n marked ``full``; marks of single values stay."""
    out = []
    for chosen in product(*(enumerate(axis) for axis in axes)):
        marks: list[Any] = [] if sum(place for place, _ in chosen) % n == 0 else [pytest.mark.full]
        values = []
        for _, value in chosen:
            marked = isinstance(value, type(pytest.param(0)))
            values += list(value.values) if marked else [value]
            marks += list(value.marks) if marked else []
        out.append(pytest.param(*values, marks=marks, id="-".join(str(value) for value in values)))
    return out


def slow_properties() -> dict[str, int]:
    """Of each property ``folder/file.py::test`` named in quick.toml: one case in how many; 0: none."""
    table = tomllib.loads((Path(__file__).parent / "quick.toml").read_text())
    return {
        f"{folder}/{name}".lstrip("/"): int(n) for folder, properties in table.items() for name, n in properties.items()
    }


def leave_out(items: Iterable[pytest.Item]) -> None:
    """Mark ``full`` the cases of these properties that are not one in n, in the order given."""
    one_in_n, seen = slow_properties(), Counter[str]()
    for item in items:
        name = item.nodeid.split("[")[0].removeprefix("tests/")
        if name in one_in_n and item.get_closest_marker("full") is None:
            if one_in_n[name] == 0 or seen[name] % one_in_n[name]:
                item.add_marker(pytest.mark.full)
            seen[name] += 1
