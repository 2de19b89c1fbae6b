"""The table of docs/certificate.md: every kind of question by every command, proved from a file or refused by name."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from certify.kinds import FAMILY, dlr, made, problem, question
from family_oracle import OracleError, distance, exact
from jsonschema import Draft202012Validator
from quick import one_in
from test_family_against_oracle import tolerance

from wdaverify import WdroProblem, cli, read_certificate, recheck, write_certificate
from wdaverify.errors import ProblemError
from wdaverify.report.as_json import schema

PAGE = Path(__file__).parents[2] / "docs" / "certificate.md"
COMMANDS = ("verify", "curve", "distance")
KINDS = (
    *FAMILY,
    "specification",
    "whole space, order inf",
    "whole space, zero-one",
    "whole space, finite orders",
    "dlr",
)
SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full], id=f"seed{s}") for s in range(10)]


def table() -> dict[str, list[str]]:
    lines = PAGE.read_text(encoding="utf-8").split("## What has a certificate")[1].splitlines()
    lines = list(takewhile(lambda line: line, dropwhile(lambda line: not line.startswith("| "), lines)))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["question", *(f"`{name}`" for name in COMMANDS)]
    return {row[0]: [re.sub("`", "", cell) for cell in row[1:]] for row in rows[2:]}


def test_the_table_has_every_kind() -> None:
    known = table()
    assert list(known) == list(KINDS)
    assert {word for row in known.values() for word in row} == {"proved", "-", "no such question"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "command"), one_in(5, KINDS, COMMANDS))
def test_each_cell_of_the_table(kind: str, command: str, seed: int, tmp_path: Path) -> None:
    """Proved after a trip through a file, the truth within; what has none says why, and what to do."""
    said = table()[kind][COMMANDS.index(command)]
    asked = dlr(seed, tmp_path) if kind == "dlr" else problem(kind, seed, tmp_path)
    if command == "distance" and not asked.loss.rule.by_distances:
        asked = replace(asked, loss="zero-one", functionals=None)
    if said != "proved":
        words = "leave --certificate out|use --solver|use verify|no curve|without certificate"
        with pytest.raises(ProblemError, match=words):
            made(command, asked)
        return
    about, certificate, result = made(command, asked)
    assert result.exact if command != "verify" else result.status == "exact", result.reason
    write_certificate(tmp_path / "a.cert", certificate)
    verdict = recheck(read_certificate(tmp_path / "a.cert"), about)
    assert verdict.proved, (verdict.reasons, result.notices)
    if command == "verify":
        assert (verdict.lower, verdict.upper) == (result.lower, result.upper)
        assert (result.vouched_lower, result.vouched_upper) == ("proved", "proved")
    if kind in FAMILY:
        claims = verdict.claims.tolist() or [(about.radius, verdict.lower, verdict.upper)]
        if command == "curve":  # the oracle takes its time
            claims = [claims[k] for k in sorted({0, len(claims) // 2, len(claims) - 1})]
        for at, low, high in claims:
            least, most = truth(kind, seed, command, at)
            near = max(
                tolerance(question(kind, seed)), 3e-4 if command == "distance" and about.cost.norm == "2" else 0.0
            )
            assert low <= most + near
            assert high >= least - near


def truth(kind: str, seed: int, command: str, at: float) -> tuple[float, float]:
    asked = question(kind, seed)
    if command == "distance":
        return (distance(replace(asked, loss="zero-one", functionals=None), int(at)),) * 2
    try:
        return exact(replace(asked, radius=at))
    except OracleError:  # too close to a step to say on which side it is
        return -math.inf, math.inf


# From files, in a fresh process


def options(asked: WdroProblem, folder: Path, name: str) -> list[str]:
    """The options that state a question, its parts in files."""
    support, cost = asked.support, asked.cost
    out = ["--loss", asked.loss.value, "--norm", cost.norm.value, "--order", str(cost.order)]
    if cost.weights is not None:
        np.savez(folder / f"{name}-w.npz", weights=cost.weights)
        out += ["--cost-weights", str(folder / f"{name}-w.npz")]
    if cost.moves_labels:
        out += ["--label-cost", repr(cost.label_cost)]
    if asked.functionals is not None:
        np.savez(folder / f"{name}-f.npz", matrix=asked.functionals.matrix, offset=asked.functionals.offset)
        out += ["--functionals", str(folder / f"{name}-f.npz")]
    parts: dict[str, Any] = {"lower": support.lower, "upper": support.upper}
    if support.rows is not None:
        parts |= {"rows": support.rows.matrix, "row_lower": support.rows.lower, "row_upper": support.rows.upper}
    if support.integer is not None:
        parts["integer"] = np.flatnonzero(support.integer)
    np.savez(folder / f"{name}-s.npz", **parts)
    return [*out, "--support-file", str(folder / f"{name}-s.npz")]


def asked_by_files(kind: str, seed: int, folder: Path) -> tuple[list[str], list[str]]:
    """Network and samples, and the options of the question."""
    name, q = f"{kind.replace(' ', '')}{seed}", question(kind, seed)
    net, data = folder / f"{name}.onnx", folder / f"{name}.npz"
    write_mlp(net, list(q.weights), dtype=np.float64)
    np.savez(data, x=q.x, y=q.y, w=q.w)
    return [str(net), str(data)], options(problem(kind, seed, folder), folder, name)


FROM_FILES = [
    ("linear loss", 0),
    ("cross-entropy", 0),
    ("l2 cost", 1),
    ("feature weights", 1),
    ("all of these at once", 0),
]


@pytest.mark.parametrize("kinds", [FROM_FILES[-1:], pytest.param(FROM_FILES[:-1], marks=pytest.mark.full)])
def test_a_fresh_process_proves_every_kind_without_solver_or_torch(
    kinds: list[tuple[str, int]], tmp_path: Path
) -> None:
    """From the user's own files; the text of the theorem states what the JSON holds, which reads back to the question."""
    lines = []
    for k, (kind, seed) in enumerate(kinds):
        files, stated = asked_by_files(kind, seed, tmp_path)
        proof = str(tmp_path / f"{k}.cert")
        line = [
            "verify",
            *files,
            *stated,
            "--radius",
            repr(question(kind, seed).radius),
            "--gap",
            "1e-4",
            "--jobs",
            "1",
        ]
        assert cli._run([*line, "--certificate", proof, "--quiet"]) == 0
        lines.append(["recheck", *files, proof, *stated, "--output", str(tmp_path / f"{k}.json")])
    files, stated = asked_by_files("zero-one", 1, tmp_path)
    for k, (command, more) in enumerate((("curve", ["--max-radius", "0.1"]), ("distance", [])), len(lines)):
        said = stated if command == "curve" else stated[2:4] + stated[6:]
        proof = str(tmp_path / f"{k}.cert")
        assert cli._run([command, *files, *said, *more, "--jobs", "1", "--certificate", proof, "--quiet"]) == 0
        said = said if command == "curve" else ["--loss", "zero-one", *said]
        lines.append(["recheck", *files, proof, *said, "--output", str(tmp_path / f"{k}.json")])
    code = (
        "import sys; from wdaverify.cli import _run; "
        f"assert [_run(line) for line in {lines!r}] == [0] * {len(lines)}; "
        "heavy = {'torch', 'highspy', 'gurobipy', 'cvxpy', 'scipy', 'pyscipopt', 'clarabel'} & set(sys.modules); assert not heavy, heavy; "
        "own = [m for m in sys.modules if m.startswith(('wdaverify.engines', 'wdaverify.solvers', 'wdaverify.encoding', "
        "'wdaverify.attacks'))]; assert not own, own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for k, (kind, seed) in enumerate(kinds):
        told = json.loads((tmp_path / f"{k}.json").read_text())
        Draft202012Validator(schema("verdict")).validate(told)
        reads_back(told, problem(kind, seed, tmp_path))
    for k, of in ((len(kinds), "curve"), (len(kinds) + 1, "distances")):
        told = json.loads((tmp_path / f"{k}.json").read_text())
        Draft202012Validator(schema("verdict")).validate(told)
        assert (told["of"], bool(told["claims"])) == (of, True)


def reads_back(told: dict[str, Any], asked: WdroProblem) -> None:
    """Every number of the question is in the verdict, to the bit."""
    cost, support = asked.cost, asked.support

    def vector(values: Any) -> Any:
        return None if values is None else np.array([float(v) for v in values])

    assert (float(told["radius"]), float(told["order"])) == (asked.radius, cost.order)
    assert (told["norm"], told["loss"], float(told["label_cost"])) == (cost.norm, asked.loss, cost.label_cost)
    np.testing.assert_array_equal(vector(told["cost_weights"]), cost.weights)
    for side in ("lower", "upper"):
        held = told["support"][side]
        np.testing.assert_array_equal(np.broadcast_to(held, support.lower.shape), getattr(support, side))
    assert told["support"]["integer"] == ([] if support.integer is None else np.flatnonzero(support.integer).tolist())
    rows = told["support"]["rows"]
    assert len(rows) == (0 if support.rows is None else support.rows.lower.size)
    for k, row in enumerate(rows):
        assert support.rows is not None
        np.testing.assert_array_equal(vector(row["coefficients"]), support.rows.matrix[k])
        assert (float(row["lower"]), float(row["upper"])) == (support.rows.lower[k], support.rows.upper[k])
    if asked.functionals is not None:
        np.testing.assert_array_equal(told["functionals"]["matrix"], asked.functionals.matrix)
        np.testing.assert_array_equal(told["functionals"]["offset"], asked.functionals.offset)


@pytest.mark.parametrize(
    ("kind", "seed", "dropped", "words"),
    [
        ("linear loss", 0, "--functionals", "it is about functionals of sha256"),
        ("labels at a price", 0, "--label-cost", "ask for it with --label-cost"),
        *(
            pytest.param(kind, seed, option, f"it is about {what} of sha256", marks=pytest.mark.full)
            for kind, seed, option, what in (
                ("feature weights", 1, "--cost-weights", "feature weights"),
                ("linear rows", 0, "--support-file", "linear rows of the support"),
                ("integers", 0, "--support-file", "integer features of the support"),
            )
        ),
    ],
)
def test_what_is_not_given_is_asked_for(
    kind: str, seed: int, dropped: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, stated = asked_by_files(kind, seed, tmp_path)
    proof = str(tmp_path / "a.cert")
    radius = repr(question(kind, seed).radius)
    assert (
        cli._run(["verify", *files, *stated, "--radius", radius, "--jobs", "1", "--certificate", proof, "--quiet"]) == 0
    )
    at = stated.index(dropped)
    capsys.readouterr()
    assert cli._run(["recheck", *files, proof, *stated[:at], *stated[at + 2 :]]) == 2
    assert words in capsys.readouterr().err
