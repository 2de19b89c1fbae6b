"""What quick.toml leaves out of ``make test``: properties that are there, and never all of a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from quick import leave_out, slow_properties

HERE = Path(__file__).parent


def test_every_property_named_is_there() -> None:
    for name, n in slow_properties().items():
        file, _, test = name.partition("::")
        assert n == 0 or n >= 2, name
        assert re.search(rf"^def {test}\(", (HERE / file).read_text(), re.MULTILINE), name


def test_a_file_with_properties_left_out_keeps_others() -> None:
    files = {name.partition("::")[0] for name, n in slow_properties().items() if n == 0}
    for file in files:
        tests = set(re.findall(r"^def (test_\w+)\(", (HERE / file).read_text(), re.MULTILINE))
        assert tests - {name.partition("::")[2] for name, n in slow_properties().items() if n == 0}, file


class Case:
    """As much of a collected test as the hook looks at."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid, self.marks = nodeid, list[str]()

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)


def test_one_case_in_n_stays_quick() -> None:
    for name, n in slow_properties().items():
        cases = [Case(f"tests/{name}[{k}]") for k in range(30)]
        leave_out(cases)  # type: ignore[arg-type]
        quick = [k for k, case in enumerate(cases) if not case.marks]
        assert quick == ([] if n == 0 else list(range(0, 30, n)))
    others = [Case("tests/test_quick.py::test_another[0]"), Case("tests/test_quick.py::test_another")]
    leave_out(others)  # type: ignore[arg-type]
    assert not any(case.marks for case in others)
