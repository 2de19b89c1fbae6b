"""What quick.toml leaves out of ``make test``: properties that are there, and never all of a file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from quick import slow_properties

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


def test_one_case_in_n_is_collected() -> None:
    name = "wdro/test_breakpoints.py::test_a_steep_line_at_every_double_around_its_zero"
    counts = []
    for more in ([], ["-m", "not full"]):
        ask = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--collect-only", "-q", *more, f"tests/{name}"]
        found = subprocess.run(ask, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
        counts.append(int(found.strip().rsplit(": ", 1)[1]) if ": " in found else found.count("::"))
    every, some = counts
    n = slow_properties()[name]
    assert some == -(-every // n)
    assert some < every
