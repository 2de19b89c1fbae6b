"""A threshold that the bracket decides, and one that lies within a closed bracket: V = 0.5 by hand (all mass moves by 0.5)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wdaverify import (
    GroundCost,
    Loss,
    Norm,
    Support,
    WdroProblem,
    cli,
    load_network,
    load_samples,
    make_samples,
    verify,
)
from wdaverify.certify import checker
from wdaverify.wdro.result import Reason, Status, decided


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """The margin x of the logits (0, x), and one sample at 0."""
    weight = numpy_helper.from_array(np.array([[0.0], [1.0]], np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 1), ("z", 2))]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["z"], transB=1)], "g", ends[:1], ends[1:], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "x.onnx")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 1)), y=np.zeros(1, int))
    return str(tmp_path / "x.onnx"), str(tmp_path / "x.npz")


def asked(files: tuple[str, str]) -> WdroProblem:
    cost, box = GroundCost(Norm.INF, 1), Support.box(0, 1, 1)
    return WdroProblem(load_network(files[0]), load_samples(files[1]), cost, box, Loss.MARGIN, 0.5)


CASES = [("0.4", "no", 0), ("0.5", "undecided", 4), ("0.6", "yes", 0)]


@pytest.mark.parametrize(("threshold", "decision", "status"), CASES)
def test_verify(
    threshold: str, decision: str, status: int, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["verify", *files, "--radius", "0.5", "--threshold", threshold]) == status
    assert f"V <= {threshold}: {decision}" in capsys.readouterr().out


@pytest.mark.parametrize("certificate", [False, True])
def test_a_closed_bracket_around_the_threshold(certificate: bool, files: tuple[str, str]) -> None:
    result = verify(asked(files), threshold=0.5, certificate=certificate)
    assert (result.status, result.reason, result.answered) == (Status.EXACT, Reason.THRESHOLD_UNDECIDED, False)
    assert result.lower <= 0.5 <= result.upper
    assert abs(result.value - 0.5) <= 1e-6


def test_a_proof_that_falls_short_of_the_decision(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search decided and the checker did not confirm is not decided."""
    right = checker.recheck

    def short(*given: object, **named: object) -> object:
        from dataclasses import replace

        return replace(right(*given, **named), upper=7.0)  # type: ignore[arg-type]

    monkeypatch.setattr("wdaverify.wdro.certifying.recheck", short)
    result = verify(asked(files), threshold=0.6, certificate=True)
    assert result.decision == "undecided"
    assert (result.reason, result.answered) == (Reason.STALLED, False)


def test_several_exact_runs(files: tuple[str, str], tmp_path: Path) -> None:
    """A limit outweighs what is undecided, and that what is decided."""
    ask = ["compare", *files, "--rungs", "exact", "--quiet"]
    assert cli._run([*ask, "--radii", "0.2,0.3", "--threshold", "0.5"]) == 0
    assert cli._run([*ask, "--radii", "0.2,0.5", "--threshold", "0.5"]) == 4
    rows = "".join(f"[[job]]\nname = '{t}'\nthreshold = {t}\n" for t in ("0.4", "0.5"))
    head = f"[defaults]\nnetwork = '{files[0]}'\ndata = '{files[1]}'\nradius = 0.5\n"
    (tmp_path / "jobs.toml").write_text(head + rows)
    assert cli._run(["batch", str(tmp_path / "jobs.toml"), "--output", str(tmp_path / "all.json"), "--quiet"]) == 4
    assert cli._run(["report", str(tmp_path / "all.json"), "--output", str(tmp_path / "all.html")]) == 0
    assert "1 undecided" in (tmp_path / "all.html").read_text()


def test_by_a_bracket() -> None:
    assert [decided(1.0, 2.0, t) for t in (0.5, 1.0, 1.5, 2.0, 3.0)] == ["no", "undecided", "undecided", "yes", "yes"]


def test_at_radius_0_the_brackets_of_zero_one_are_of_distances(files: tuple[str, str], tmp_path: Path) -> None:
    """An error as it is (the tie at 0), and a point without one that is any distance away; no end is -0."""
    right = load_network(files[0])
    samples = make_samples([[0.0], [0.5]], [0, 1])
    result = verify(WdroProblem(right, samples, GroundCost("inf", 1), Support.box(0, 1, 1), "zero-one", 0))
    assert [(b.lower, b.upper) for b in result.per_sample] == [(0.0, 0.0), (0.0, math.inf)]
    assert (result.lower, result.upper) == (0.5, 0.5)
    clean = make_samples([[0.5]], [1])
    none = verify(WdroProblem(right, clean, GroundCost("inf", 1), Support.box(0, 1, 1), "zero-one", 0))
    assert (str(none.lower), str(none.upper)) == ("0.0", "0.0")
