"""Numbers as they are typed: fractions mean the double nearest to them, wherever an option takes a number."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from wdaverify import cli
from wdaverify.batch_file import read_rows
from wdaverify.cli.compare import _radii
from wdaverify.cli.values import number

RANDOM = random.Random(5)
ASK = ["net.onnx", "data.npz"]


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    return cli.cli.commands[command].make_context(command, list(arguments)).params


def nearest(value: float, exact: Fraction) -> bool:
    """No neighbour is nearer, and of two that are as near it is the one whose last bit is 0."""
    away = abs(Fraction(value) - exact)
    for neighbour in (math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
        other = abs(Fraction(neighbour) - exact)
        if other < away or (other == away and int(math.frexp(value)[0] * 2**53) % 2):
            return False
    return True


def written(digits: int) -> str:
    """A positive decimal of so many digits, with or without a point."""
    text = str(RANDOM.randrange(10 ** (digits - 1), 10**digits))
    at = RANDOM.randrange(digits + 1)
    return text if at == digits else f"{text[:at]}.{text[at:]}"


@pytest.mark.parametrize("digits", [1, 3, 17, 25, 38])
def test_a_fraction_is_rounded_once(digits: int) -> None:
    for _ in range(200):
        top, bottom, sign = written(digits), written(digits), RANDOM.choice(["", "-", "+"])
        value = number()(f"{sign}{top}/{bottom}")
        exact = Fraction(top) / Fraction(bottom) * (-1 if sign == "-" else 1)
        assert nearest(value, exact), (top, bottom)


def test_halfway_between_two_doubles() -> None:
    assert number()(f"{2**53 + 1}/{2**53}") == 1.0
    assert number()(f"{2**53 + 3}/{2**53}") == 1.0 + 2**-51
    assert number()("8/255") == 0.03137254901960784


@pytest.mark.parametrize(
    "text",
    ["1/", "/3", "1/2/3", "1 / 3", "1e5/3", "0x1/2", "1/-3", "a/b", "1_0/3", "./2", "inf/2", "1/inf", "\u0661/2", "/"],
)
def test_what_is_no_fraction(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["verify", *ASK, f"--radius={text}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "is refused: a fraction is two decimal numbers" in err
    assert "8/255" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1/0", "the denominator is 0"),
        ("1/0.000", "the denominator is 0"),
        (f"1/{'9' * 41}", "at most 40 characters"),
        (f"{'9' * 1_000_000}/1", "at most 40 characters"),
        ("-1/3", ">= 0"),
    ],
)
def test_fractions_that_are_refused(text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["verify", *ASK, f"--radius={text}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("wdaverify: error: --radius ")
    assert words in err
    assert len(err) < 250


def test_every_option_that_takes_a_number() -> None:
    options = {
        "--radius": "radius",
        "--label-cost": "label_cost",
        "--time-limit": "time_limit",
        "--gap": "gap",
        "--threshold": "threshold",
        "--memory-limit": "memory_limit",
    }
    line = [word for option in options for word in (option, "1/3")]
    found = parsed("verify", *ASK, *line, "--support", "-1/2", "8/255")
    assert {found[name] for name in options.values()} == {1 / 3}
    assert found["support"] == (-0.5, 8 / 255)
    assert parsed("curve", *ASK, "--max-radius", "1/3")["radius"] == 1 / 3
    assert parsed("compare", *ASK, "--radius", "1/3", "--rung-limit", "1/2")["rung_limit"] == 0.5
    assert parsed("lipschitz", "net.onnx", "--around", "d.npz", "--within", "2/3")["within"] == 2 / 3
    assert parsed("recheck", *ASK, "a.cert", "--radius", "1/3")["radius"] == 1 / 3
    assert _radii(None, "1/3, 8/255,0.5") == [8 / 255, 1 / 3, 0.5]


def test_rows_of_a_batch_hold_fractions_as_texts(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(
        '[[job]]\nnetwork = "n.onnx"\ndata = "d.npz"\nradius = "8/255"\nthreshold = "-1/3"\nsupport = ["-1/2", "1/2"]\n'
    )
    [row] = read_rows(jobs)
    found = parsed("verify", *row.arguments)
    assert (found["radius"], found["threshold"], found["support"]) == (8 / 255, -1 / 3, (-0.5, 0.5))


@pytest.mark.parametrize("command", ["verify", "attack", "curve", "compare", "distance", "lipschitz", "recheck"])
def test_the_help_says_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "8/255 means the double nearest to it, and is shown as 0.03137254901960784" in text
    assert text.index("8/255 means") < text.index("Examples:")


def test_what_is_shown_is_the_double(capsys: pytest.CaptureFixture[str]) -> None:
    models = Path(__file__).parents[2] / "models"
    line = ["attack", str(models / "iris_8x8.onnx"), str(models / "iris_8x8.npz"), "--radius", "8/255"]
    assert cli._run([*line, "--samples", "1", "--device", "cpu"]) == 0
    assert "V(0.03137254901960784) = sup" in capsys.readouterr().out
