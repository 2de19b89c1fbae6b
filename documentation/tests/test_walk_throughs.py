"""The walk-throughs of examples/: the scripts run, and what their text shows is what they print, seconds aside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = (
    "certify-digits",
    pytest.param("standard-and-robust", marks=pytest.mark.full),
    "tabular-iris",
)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TIMED = re.compile(
    r"^(time|work|solver|nodes|certificate|recheck|attained|gap|exact:|attack) |^ .*(processes|recomputed|take \d+ solves|\.cert)"
)
"""Lines that tell of seconds, of how the work went, of the point at which a maximum was found, or of the folder that was written to."""
NEAR = 2e-6
"""Printed bounds are within the gap of 1e-6 of the value; another machine may end elsewhere in it."""


@cache
def printed(name: str) -> tuple[str, Path]:
    """What the script prints, and where it wrote."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    ran = subprocess.run(
        [str(ROOT / "examples" / name / "run.sh"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, folder


def shown(name: str) -> str:
    """The console block of the walk-through."""
    [block] = re.findall(r"```console\n(.*?)```", (ROOT / "examples" / name / "README.md").read_text(), re.DOTALL)
    return str(block)


def values(line: str, ladder: bool) -> list[float]:
    """The numbers of a line that do not depend on the machine."""
    if ladder:
        return [float(line[24:44])]
    return [float(text) for text in NUMBER.findall(line)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_shown_is_what_is_printed(name: str) -> None:
    out, _ = printed(name)
    real, text = out.splitlines(), shown(name).splitlines()
    keep = [[line for line in lines if line.strip() and not TIMED.match(line)] for lines in (real, text)]
    assert len(keep[0]) == len(keep[1])
    for now, then in zip(*keep, strict=True):
        ladder = name == "standard-and-robust" and ("checked" in now or "estimate" in now)
        found, told = values(now, ladder), values(then, ladder)
        heads = [
            NUMBER.sub("#", line.split()[0]) for line in (now, then)
        ]  # radii are stated to the last digit, which rounding moves
        assert heads[0] == heads[1]
        loose = ("CROWN", "LP dual", "WDA", "mixture", "multiplier", "radius ", "error rate", "    ")
        near = 2e-3 if now.startswith(loose) or "%" in now else NEAR
        assert found == pytest.approx(told, rel=near, abs=near), (now, then)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_text_says_stands_in_the_block(name: str) -> None:
    """Every number with three decimals or more in the prose is a number of the output, rounded."""
    text = (ROOT / "examples" / name / "README.md").read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    have = [float(number) for number in NUMBER.findall(shown(name))]
    for number in re.findall(r"-?\d+\.\d{3,}", prose):
        digits = len(number.split(".")[1])
        assert any(abs(value - float(number)) <= 0.6 * 10.0**-digits for value in have), number


def test_the_proof_is_proved_and_the_page_shows_images() -> None:
    _, folder = printed("certify-digits")
    assert json.loads((folder / "verdict.json").read_text())["proved"] is True
    page = (folder / "digits.html").read_text()
    assert "<svg" in page or "<img" in page


@pytest.mark.full
def test_which_rungs_mislead() -> None:
    """The claims of the text: constants and sensitivity rank or size wrongly what the exact value tells."""
    _, folder = printed("standard-and-robust")
    ladder = {}
    for net in ("digits_16x16", "digits_32x32_robust"):
        [found] = json.loads((folder / f"{net}.json").read_text())["ladders"]
        ladder[net] = {rung["name"]: rung["value"] for rung in found["rungs"]} | {"exact": found["upper"]}
    for name in ("product of layer norms", "interval Jacobian"):
        rise = [values[name] - values["nominal"] for values in ladder.values()]
        assert rise[1] > rise[0]  # by constants, the robust network is the worse one
    truth = [values["exact"] - values["nominal"] for values in ladder.values()]
    assert truth[1] < truth[0]


def test_all_distances_are_exact() -> None:
    _, folder = printed("tabular-iris")
    found = json.loads((folder / "distances.json").read_text())
    assert found["exact"] is True
    assert len(found["distances"]) == 30
