"""Exported programs: read back by other solvers they are worth what the oracle says that the question is worth."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gurobipy
import highspy
import numpy as np
import pytest
from bounds.tiny import network, problem
from family_oracle import Question, distance, exact, random_question
from test_family_against_oracle import put

import wdaverify as wd
from wdaverify import Support, cli, verify
from wdaverify.errors import OutputError, ProblemError
from wdaverify.problem import GroundCost, Loss, Norm
from wdaverify.report.programs import write_programs
from wdaverify.wdro.programs import programs

PIECES = [
    pytest.param({"norm": "inf", "order": 1, "loss": "margin"}, id="margin"),
    pytest.param(
        {"norm": "1", "order": 1, "loss": "hinge", "label_cost": True, "rows": True, "integer": True},
        id="hinge-labels-rows",
    ),
    pytest.param({"norm": "inf", "order": 1, "loss": "linear", "cost_weights": True}, id="linear-weights"),
    pytest.param({"norm": "1", "order": math.inf, "loss": "cw"}, id="cw-order-inf"),
    pytest.param({"norm": "2", "order": 1, "loss": "margin"}, id="l2"),
    pytest.param({"norm": "1", "order": 2, "loss": "margin"}, id="order-2"),
]
SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full], id=f"seed{s}") for s in range(10)]


def by_highs(path: Path) -> float:
    """The optimum, inf of an infeasible minimum; the file has to be read without a warning."""
    solver = highspy.Highs()
    for name, value in (
        ("output_flag", False),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-9),
        ("mip_feasibility_tolerance", 1e-9),
    ):
        solver.setOptionValue(name, value)
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    solver.run()
    if solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return math.inf
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(solver.getInfo().objective_function_value)


def by_gurobi(path: Path) -> float:
    env = gurobipy.Env(empty=True)
    env.setParam("OutputFlag", 0)
    env.start()
    model = gurobipy.read(str(path), env)
    for name in ("MIPGap", "MIPGapAbs", "FeasibilityTol", "IntFeasTol", "OptimalityTol"):
        model.setParam(name, 0.0 if name == "MIPGap" else 1e-9)
    model.setParam("BarQCPConvTol", 1e-10)
    if path.with_suffix(".mst").exists():
        model.read(str(path.with_suffix(".mst")))
    model.optimize()
    if model.Status in (gurobipy.GRB.INFEASIBLE, gurobipy.GRB.INF_OR_UNBD):
        return math.inf
    assert model.Status == gurobipy.GRB.OPTIMAL
    return float(model.ObjVal)


def readers(quadratic: bool) -> list[tuple[Any, str]]:
    out: list[tuple[Any, str]] = [(by_gurobi, "mps"), (by_gurobi, "lp")]
    return out if quadratic else [*out, (by_highs, "mps"), (by_highs, "lp")]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("asked", PIECES)
def test_read_back_the_pieces_are_worth_v(asked: dict[str, Any], seed: int, tmp_path: Path) -> None:
    """What the README in the folder says of the optima, put together, is the oracle's value, at the multiplier that verify ends at."""
    question = random_question(seed, **asked)
    low, high = exact(question)
    problem = put(question, tmp_path)
    finite = math.isfinite(question.order)
    lam = verify(problem).multiplier if finite else None
    made = programs(problem, multiplier=lam, device="cpu")
    write_programs(made, tmp_path / "out")
    known = json.loads((tmp_path / "out" / "programs.json").read_text())
    near = 2e-5 if made.quadratic else 2e-6
    for solve, suffix in readers(made.quadratic):
        best = np.full(len(question.x), -math.inf if known["floor"] is None else known["floor"])
        for name, program in known["programs"].items():
            value = solve(tmp_path / "out" / f"{name}.{suffix}")
            assert value + program["slack"] >= program["lower"] - near
            assert program["upper"] is None or value - program["slack"] <= program["upper"] + near
            whole = value + program["slack"] + program["offset"] - known["multiplier"] * program["charge"]
            best[program["sample"]] = max(best[program["sample"]], whole)
        paid = known["multiplier"] * question.radius**question.order if finite else 0.0
        total = paid + float(np.array(known["weights"]) @ best)
        assert low - near <= total <= high + near * 5, (solve.__name__, suffix)


@pytest.mark.parametrize("seed", SEEDS)
def test_read_back_the_distances_are_the_oracles(seed: int, tmp_path: Path) -> None:
    question = random_question(seed, norm=("inf", "1")[seed % 2], order=1, loss="zero-one", cost_weights=True)
    made = programs(put(question, tmp_path), device="cpu")
    write_programs(made, tmp_path / "out")
    for solve, suffix in readers(quadratic=False):
        nearest = np.full(len(question.x), math.inf)
        for program in made.programs:
            value = solve(tmp_path / "out" / f"{program.name}.{suffix}")
            assert program.lower - 1e-7 <= value <= program.upper + 1e-7
            nearest[program.sample] = min(nearest[program.sample], value)
        truth = [distance(question, i) for i in range(len(question.x))]
        assert nearest == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("asked", PIECES)
def test_starts_satisfy_their_programs(asked: dict[str, Any], tmp_path: Path) -> None:
    """Every column has a value, every row holds, and the objective is what is said to be attained."""
    for program in programs(put(random_question(1, **asked), tmp_path), device="cpu").programs:
        model, v = program.model, np.array([program.start[k] for k in range(program.model.n_columns)])
        assert (v >= model.lower).all()
        assert (v <= model.upper).all()
        for r in range(model.n_rows):
            piece = slice(model.start[r], model.start[r + 1])
            value = float(model.coefficient[piece] @ v[model.index[piece]])
            assert model.row_lower[r] - 1e-9 <= value <= model.row_upper[r] + 1e-9
        for q in model.quadratic:
            assert q.square @ v[q.index] ** 2 + q.line @ v[q.linear] <= q.side + 1e-9
        assert model.objective @ v + model.offset == pytest.approx(program.lower, abs=1e-9)


def _problem(tmp_path: Path, **asked: Any) -> wd.WdroProblem:
    question: Question = random_question(0, **{"norm": "inf", "order": 1, "loss": "margin", **asked})
    return put(question, tmp_path)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="not piecewise linear"):
        programs(_problem(tmp_path, loss="cross-entropy"))
    asked = _problem(tmp_path)
    with pytest.raises(ProblemError, match="give a box"):
        programs(replace(asked, support=Support.whole(asked.network.n_inputs)))
    with pytest.raises(ProblemError, match="levels are asked for one after the other"):
        programs(
            replace(_problem(tmp_path), network=_three(), loss="dlr", support=Support.box(-9, 9, 1), samples=_one())
        )
    with pytest.raises(ProblemError, match="at order inf there is none"):
        programs(_problem(tmp_path, order=math.inf), multiplier=1.0)
    with pytest.raises(ProblemError, match="distances have none"):
        programs(_problem(tmp_path, loss="zero-one"), multiplier=1.0)
    with pytest.raises(ProblemError, match="multiplier"):
        programs(_problem(tmp_path), multiplier=-1.0)


def _three() -> wd.ReluNetwork:
    from bounds.tiny import network

    return network((np.array([[1.0], [-1.0], [0.5]]), np.zeros(3)))


def _one() -> wd.Samples:
    return wd.make_samples([[0.5]], [0])


def test_the_commands_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = Path(__file__).parents[2] / "models"
    new = tmp_path / "deep" / "new"
    refused = [
        "export",
        str(models / "iris_8x8.onnx"),
        str(models / "iris_8x8.npz"),
        "--radius",
        "0.05",
        "--to",
        str(new),
    ]
    assert cli._run([*refused, "--support", "none"]) == 2
    assert not new.parent.exists()
    ask = ["export", str(models / "iris_8x8.onnx"), str(models / "iris_8x8.npz"), "--radius", "0.05", "--samples", "2"]
    folder = tmp_path / "new" / "programs"
    assert cli._run([*ask, "--to", str(folder), "--multiplier", "50"]) == 0
    assert "4 programs" in capsys.readouterr().out
    known = json.loads((folder / "programs.json").read_text())
    assert known["multiplier"] == 50.0
    assert sorted(path.suffix for path in folder.iterdir()) == sorted([*([".lp", ".mps", ".mst"] * 4), ".json", ".md"])
    readme = (folder / "README.md").read_text()
    assert "lam = 50.0" in readme
    assert max(map(len, readme.splitlines())) <= 140
    assert cli._run([*ask, "--to", str(folder)]) == 2
    assert "empty" in capsys.readouterr().err


def test_the_python_door(tmp_path: Path) -> None:
    network, x, y = _three(), np.array([[0.25], [-0.5]]), [0, 1]
    made = wd.export_programs(network, x, y, radius=0.1, support=(-1, 1), to=tmp_path / "out", multiplier=2.0)
    assert len(made.programs) == 4
    assert (tmp_path / "out" / "README.md").exists()
    with pytest.raises(OutputError, match="empty"):
        wd.export_programs(network, x, y, radius=0.1, support=(-1, 1), to=tmp_path / "out")
    with pytest.raises(ProblemError, match="the path of a folder"):
        wd.export_programs(network, x, y, radius=0.1, support=(-1, 1), to=3)


def test_rows_without_terms_are_read_as_they_are_meant(tmp_path: Path) -> None:
    """Where all neurons are settled the margin's row has no column: ``0 >= 1`` has no point, though ``0`` might name a column."""
    net = network((np.array([[-1.0], [0.0]]), np.array([0.0, -1.0])), (np.eye(2), np.array([1.0, 0.0])))
    asked = problem(net, np.array([[0.5]]), [0], 0.1, loss=Loss.ZERO_ONE, lower=0.1, upper=1.0)
    asked = replace(asked, cost=GroundCost(Norm.INF, math.inf))
    write_programs(programs(asked), tmp_path / "d")
    [lp] = (tmp_path / "d").rglob("*.lp")
    assert by_gurobi(lp) == by_highs(lp) == by_gurobi(lp.with_suffix(".mps")) == math.inf
    assert verify(asked).upper < 1e-9


@pytest.mark.parametrize("norm", [Norm.ONE, Norm.TWO])
def test_scip_reads_quadratic_rows(norm: Norm, tmp_path: Path) -> None:
    pyscipopt = pytest.importorskip("pyscipopt")
    net = network((np.array([[1.0, -1.0], [0.5, 1.0]]), np.zeros(2)), (np.eye(2), np.array([0.25, 0.0])))
    asked = replace(problem(net, np.array([[0.25, 0.75]]), [0], 0.2, norm=norm), cost=GroundCost(norm, 2))
    write_programs(programs(asked), tmp_path / "d")
    for path in (tmp_path / "d").rglob("*.lp"):
        model = pyscipopt.Model()
        model.hideOutput()
        model.readProblem(str(path))
        model.optimize()
        assert model.getObjVal() == pytest.approx(by_gurobi(path), abs=1e-4)
