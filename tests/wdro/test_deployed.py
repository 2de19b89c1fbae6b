"""Questions in float32 against machines that round as they like: upper ends hold for all of them, lower ends are reached by each."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_model, write_model
from machines import Dense, Leaky, Machine, Pairs, Relu, Step, write_steps
from numpy.typing import NDArray
from onnx import helper
from quick import one_in

import wdaverify as wd
from wdaverify.certify import forward_error
from wdaverify.certify.certificate import read_certificate
from wdaverify.certify.checker import recheck
from wdaverify.cli.line import run as main
from wdaverify.errors import InputError
from wdaverify.journal.store import Journal
from wdaverify.report.as_json import schema
from wdaverify.wdro.deployed import in_reals

Array = NDArray[np.float64]
MODELS = Path(__file__).parents[2] / "models"


def network(seed: int) -> list[Step]:
    """Two inputs, three classes, weights large beside the margins they make."""
    rng = np.random.default_rng(seed)
    scale = float(2.0 ** rng.integers(0, 7))
    middle: Step = [Relu(), Leaky(0.3), Pairs()][seed % 3]
    width = 2 if isinstance(middle, Pairs) else 4
    first = (scale * rng.normal(size=(4, 2))).astype(np.float32), (scale * rng.normal(size=4)).astype(np.float32)
    last = (scale * rng.normal(size=(3, width))).astype(np.float32), rng.normal(size=3).astype(np.float32)
    return [Dense(*first), middle, Dense(*last)]


def losses(steps: list[Step], x: Array, y: int, loss: str, seed: int, machines: int = 8) -> Array:
    """What machines make of the loss at a point, in real arithmetic on their outputs."""
    out = []
    for m in range(machines):
        z = Machine(seed + m).run(steps, x).astype(np.float64)
        margin = float(np.delete(z, y).max() - z[y])
        entropy = float(np.logaddexp.reduce(z - z[y]))
        out.append(
            {"margin": margin, "hinge": max(0.0, 1 + margin), "zero-one": float(margin >= 0), "cross-entropy": entropy}[
                loss
            ]
        )
    return np.array(out)


CASES = [(loss, order) for loss in ("margin", "hinge", "zero-one", "cross-entropy") for order in (1, "inf")]


SEEDS = range(60)


@pytest.mark.parametrize(("case", "seed"), one_in(60, CASES, SEEDS))
def test_machines_lie_within_the_bracket(case: tuple[str, Any], seed: int, tmp_path: Path) -> None:
    loss, order = case
    steps, rng = network(seed), np.random.default_rng(seed + 1000)
    path, x, radius = write_steps(tmp_path / "net.onnx", steps, 2), rng.uniform(0.2, 0.8, (3, 2)), 0.1
    y = wd.load_network(path).forward(x).argmax(axis=1)
    words = {"radius": radius, "support": (0, 1), "order": order, "loss": loss, "jobs": None, "gap": 1e-3}
    got = wd.worst_case(path, x, y, arithmetic="float32", time_limit=3, **words)
    real = wd.worst_case(path, x, y, time_limit=3, **words)
    assert got.lower <= real.upper + 1e-12
    assert real.lower <= got.upper + 1e-12
    for _ in range(20):  # distributions in the ball, each sample moved by its radius or, at order 1, one by all of them
        moved = np.full(3, radius) if order == "inf" else np.array([3 * radius, 0, 0])
        points = np.clip(x + moved[:, None] * rng.choice([-1, 1], (3, 2)) * rng.uniform(0.5, 1, (3, 2)), 0, 1)
        values = [
            losses(steps, p, int(k), loss, int(rng.integers(2**31))).max() for p, k in zip(points, y, strict=True)
        ]
        assert np.mean(values) <= got.upper + 1e-12
    found = sum(a.weight * losses(steps, a.point, a.label, loss, 7).min() for a in got.atoms)
    assert found >= got.lower - 1e-12
    assert got.deployed is not None
    assert got.deployed.replay is not None
    assert got.deployed.replay.atoms == got.deployed.replay.within > 0


BIG = np.float32(2.0**24)
PRECISE = np.float32(1 + 2.0**-12)


def detector(weight: Any, bias: Any, turn: Any, high: float) -> list[Step]:
    """Scores t and 1/2 of one input x in [1, 2], where a hidden layer makes t of it: at least 1 in real arithmetic, 0 by some rounding."""
    first = Dense(np.array(weight, np.float32), np.array(bias, np.float32))
    second = Dense(np.array(turn, np.float32))
    last = Dense(np.array([[high], [0]], np.float32), np.array([0, 0.5], np.float32))
    return [first, Relu(), second, Relu(), last]


DETECTORS: dict[str, tuple[list[Step], float]] = {
    "order of summation": (detector([[0], [1], [0]], [BIG, 0, BIG], [[1, 1, -1]], 1.0), 1.0 + 2.0**-20),
    "precision": (
        [
            Dense(np.array([[1], [1]], np.float32), np.array([2.0**20, 0], np.float32)),
            Relu(),
            Dense(np.array([[-(2.0**10), 2.0**10]], np.float32), np.array([2.0**30], np.float32)),
            Relu(),
            Dense(np.array([[-1], [0]], np.float32), np.array([1, 0.5], np.float32)),
        ],
        1.03,
    ),
    "fused products": (
        [
            Dense(np.array([[PRECISE]], np.float32)),
            Relu(),
            Dense(np.array([[-PRECISE]], np.float32), np.array([PRECISE * PRECISE], np.float32)),
            Dense(np.array([[2.0**30], [0]], np.float32), np.array([0.0, 0.5], np.float32)),
        ],
        1.0,
    ),
    "subnormal numbers": (
        [
            Dense(np.array([[2.0**-70]], np.float32)),
            Relu(),
            Dense(np.array([[2.0**-70]], np.float32)),
            Relu(),
            Dense(np.array([[2.0**80]], np.float32)),
            Relu(),
            Dense(np.array([[2.0**60], [0]], np.float32), np.array([0, 0.5], np.float32)),
        ],
        1.0,
    ),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_break_real_claims_and_none_in_float32(name: str, tmp_path: Path) -> None:
    """Networks that show how a machine rounds (the idea of Szasz et al., arXiv 2506.01054): what is proven in reals is not so there."""
    steps, at = DETECTORS[name]
    path, x = write_steps(tmp_path / "net.onnx", steps, 1), np.array([[at]])
    y = wd.load_network(path).forward(x).argmax(axis=1)
    words = {"radius": 0.0, "support": (1, 2), "order": "inf", "jobs": None}
    seen = np.concatenate([losses(steps, x[0], int(y[0]), "margin", seed, 1) for seed in range(60)])
    real, single = (wd.worst_case(path, x, y, arithmetic=a, **words) for a in ("real", "float32"))
    far = 1e-3  # more than rounding at the last layer
    assert ((seen < real.lower - far) | (seen > real.upper + far)).any()
    assert ((single.lower <= seen) & (seen <= single.upper)).all()
    wrong = wd.worst_case(path, x, y, arithmetic="float32", loss="zero-one", **words)
    assert ((wrong.lower <= (seen >= 0)) & ((seen >= 0) <= wrong.upper)).all()


def test_a_fault_in_the_error_bound_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the additions of a sum the detector of its order breaks the claim."""
    monkeypatch.setattr(forward_error, "gamma", lambda roundings: 0.0)
    steps = DETECTORS["order of summation"][0]
    path, x = write_steps(tmp_path / "net.onnx", steps, 1), np.array([[1.0]])
    got = wd.worst_case(path, x, [0], radius=0.0, support=(1, 2), order="inf", jobs=None, arithmetic="float32")
    seen = np.concatenate([losses(steps, x[0], 0, "margin", seed, 1) for seed in range(60)])
    assert (seen > got.upper).any()


def test_what_rounding_alone_keeps_open_is_said(tmp_path: Path) -> None:
    """Status, reason, exit status and document of a bracket that is as wide as the error bound."""
    arguments = [str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz"), "--radius", "0.1", "--samples", "5"]
    options = ["--support", "0", "10", "--jobs", "1", "--arithmetic", "float32", "--output", str(tmp_path / "a.json")]
    assert main(["verify", *arguments, *options, "--report", str(tmp_path / "a.html")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["status"], found["reason"], found["arithmetic"]) == ("bracket", "rounding", "float32")
    real = found["float32"]["real"]
    assert found["upper"] == pytest.approx(real["upper"] + found["float32"]["above"], abs=1e-12)
    assert found["lower"] == pytest.approx(real["lower"] - found["float32"]["below"], abs=1e-9)
    assert found["lower"] < real["lower"] <= real["upper"] < found["upper"]
    assert "IEEE single precision" in (tmp_path / "a.html").read_text()
    undecided = str((real["upper"] + found["upper"]) / 2)
    assert main(["verify", *arguments, *options, "--threshold", undecided, "--quiet"]) == 4
    assert main(["verify", *arguments, *options, "--threshold", str(found["upper"] + 1e-5), "--quiet"]) == 0
    assert "arithmetic" in schema("verification")["properties"]
    near = [
        *arguments[:2],
        "--samples",
        "5",
        "--jobs",
        "1",
        "--arithmetic",
        "float32",
        "--output",
        str(tmp_path / "d.json"),
    ]
    assert main(["distance", *near, "--quiet"]) == 0
    assert json.loads((tmp_path / "d.json").read_text())["reason"] == "rounding"


def test_no_journal_of_reals_is_taken_for_one_of_float32(tmp_path: Path) -> None:
    """Facts are about real arithmetic in both; the bracket of float32 is widened whatever the journal holds."""
    data = np.load(MODELS / "iris_8x8.npz")
    for loss in ("margin", "zero-one"):
        problem = wd.question(
            MODELS / "iris_8x8.onnx",
            data["x"][:5],
            data["y"][:5],
            radius=0.1,
            support=(0, 10),
            loss=loss,
            arithmetic="float32",
        )
        fresh = wd.verify(problem)
        with Journal(tmp_path / loss) as journal:
            real = wd.verify(in_reals(problem), journal=journal)
        with Journal(tmp_path / loss) as journal:
            again = wd.verify(problem, journal=journal)
        assert real.upper <= again.upper + 1e-6
        assert (again.lower, again.upper) == pytest.approx((fresh.lower, fresh.upper), abs=2e-6)
        assert again.upper - again.lower > real.upper - real.lower


CERTIFIED = [("margin", "1", "0.1"), ("hinge", "inf", "0.1"), ("margin", "1", "0")]


@pytest.mark.parametrize(("loss", "order", "radius"), CERTIFIED)
def test_a_certificate_is_of_float32_and_the_checker_adds_the_errors(
    loss: str, order: str, radius: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proved of what it states, refused of reals; one of reals that says float32 is rejected, and so is one whose errors grew."""
    files = [str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")]
    asked = ["--radius", radius, "--order", order, "--loss", loss, "--support", "0", "10", "--samples", "3"]
    single, real = str(tmp_path / "s.cert"), str(tmp_path / "r.cert")
    assert main(["verify", *files, *asked, "--arithmetic", "float32", "--certificate", single, "--jobs", "1"]) == 0
    assert main(["verify", *files, *asked, "--certificate", real, "--jobs", "1", "--quiet"]) == 0
    capsys.readouterr()
    stated = ["--support", "0", "10", "--samples", "3"]
    assert main(["recheck", *files, single, *stated, "--arithmetic", "float32"]) == 0
    assert "as any runtime of IEEE float32 computes it" in " ".join(capsys.readouterr().out.split())
    assert main(["recheck", *files, single, *stated]) == 2
    assert main(["recheck", *files, real, *stated, "--arithmetic", "float32"]) == 2
    held, narrow = read_certificate(single), read_certificate(real)
    data = np.load(MODELS / "iris_8x8.npz")
    words: dict[str, Any] = {"radius": float(radius), "order": order, "loss": loss, "support": (0, 10)}
    problem = wd.question(files[0], data["x"][:3], data["y"][:3], arithmetic="float32", **words)
    samples = replace(problem.samples, sha256=held.samples_sha256)
    problem = replace(problem, samples=samples)
    verdict = recheck(held, problem)
    assert verdict.proved
    assert verdict.upper - verdict.lower > 1e-5
    forged = recheck(replace(narrow, arithmetic="float32"), problem)
    assert not forged.proved
    assert forged.upper > narrow.upper + 1e-5
    assert not recheck(narrow, problem).proved
    monkeypatch.setattr(forward_error, "UNIT", 2.0**-22)
    assert not recheck(held, problem).proved


def test_curves_distances_and_attacks_hold_their_errors() -> None:
    data = np.load(MODELS / "iris_8x8.npz")
    path, x, y = MODELS / "iris_8x8.onnx", data["x"][:3], data["y"][:3]
    words: dict[str, Any] = {"support": (0, 10)}
    for loss in ("margin", "zero-one"):
        real, single = (
            wd.curve(path, x, y, max_radius=0.2, loss=loss, jobs=None, arithmetic=a, **words)
            for a in ("real", "float32")
        )
        assert single.upper[-1] > real.lower[-1]
        assert single.lower[-1] < real.upper[-1]
        assert (single.reason, single.closed) == ("rounding", False)
        best, deployed = (
            wd.attack(path, x, y, radius=0.2, loss=loss, arithmetic=a, **words) for a in ("real", "float32")
        )
        assert deployed.lower <= best.lower
    real, single = (wd.distances(path, x, y, jobs=None, arithmetic=a, **words) for a in ("real", "float32"))
    for a, b, point, flip in zip(real.brackets, single.brackets, single.points, single.float32, strict=True):
        assert b.lower <= a.upper
        assert a.lower <= b.upper
        if math.isfinite(b.upper):
            assert point is not None
            assert flip == "any-order"


def test_a_specification_is_widened_by_its_rows_errors(tmp_path: Path) -> None:
    """A row that holds nowhere in reals and may in float32."""
    steps = DETECTORS["order of summation"][0]
    path, spec = write_steps(tmp_path / "net.onnx", steps, 1), tmp_path / "a.vnnlib"
    spec.write_text(
        "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        "(assert (>= X_0 1.0))(assert (<= X_0 2.0))(assert (<= Y_0 Y_1))"
    )
    words: dict[str, Any] = {"radius": 0.1, "support": "specification", "loss": "specification", "specification": spec}
    real, single = (wd.worst_case(path, [[1.5]], arithmetic=a, jobs=None, **words) for a in ("real", "float32"))
    assert real.upper == 0
    assert (single.lower, single.upper) == (0, 1)


def _softmax(path: Path) -> Path:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1)]
    return write_model(path, build_model(nodes, {"w": np.eye(2, dtype=np.float32)}, ["N", 2]))


def _cast(path: Path) -> Path:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"]),
        helper.make_node("Cast", ["z"], ["h"], to=10),
        helper.make_node("Cast", ["h"], ["y"], to=1),
    ]
    return write_model(path, build_model(nodes, {"w": np.eye(2, dtype=np.float32)}, ["N", 2]))


def _constants(path: Path) -> Path:
    nodes = [helper.make_node("Mul", ["w", "f"], ["v"]), helper.make_node("Gemm", ["x", "v"], ["y"])]
    return write_model(
        path, build_model(nodes, {"w": np.eye(2, dtype=np.float32) / 3, "f": np.float32([1 / 3])}, ["N", 2])
    )


def _doubles(path: Path) -> Path:
    """The difference of 1 + 2^-40 and 1 is 2^-40, and 0 of numbers rounded to float32."""
    nodes = [helper.make_node("Sub", ["w", "v"], ["u"]), helper.make_node("Gemm", ["x", "u"], ["y"])]
    ones = np.ones((2, 2))
    return write_model(path, build_model(nodes, {"w": ones + 2.0**-40, "v": ones}, ["N", 2], dtype=np.float64))


def _flushed(path: Path) -> Path:
    """2^-10 is 2^-130 times 2^120, and 0 where subnormal numbers are flushed."""
    nodes = [helper.make_node("Mul", ["w", "v"], ["u"]), helper.make_node("Gemm", ["x", "u"], ["y"])]
    ones = np.ones((2, 2), np.float32)
    parts = {"w": ones * np.float32(2.0**-130), "v": ones * np.float32(2.0**120)}
    return write_model(path, build_model(nodes, parts, ["N", 2]))


def _tested(path: Path) -> Path:
    """1 + 2^-40 is more than 1, and is not of numbers rounded to float32."""
    nodes = [
        helper.make_node("Greater", ["a", "b"], ["c"]),
        helper.make_node("Where", ["c", "w", "v"], ["u"]),
        helper.make_node("Gemm", ["x", "u"], ["y"]),
    ]
    parts = {"a": np.array(1 + 2.0**-40), "b": np.array(1.0), "w": np.eye(2), "v": -np.eye(2)}
    return write_model(path, build_model(nodes, parts, ["N", 2], dtype=np.float64))


def _power(path: Path) -> Path:
    nodes = [helper.make_node("Pow", ["x", "one"], ["y"])]
    return write_model(path, build_model(nodes, {"one": np.array(1, np.float32)}, ["N", 2]))


def _alpha(path: Path) -> Path:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], alpha=1e20)]
    return write_model(path, build_model(nodes, {"w": np.eye(2, dtype=np.float32)}, ["N", 2]))


def _variance(path: Path) -> Path:
    parts = {name: np.ones(2, np.float32) for name in ("s", "b", "m")} | {"v": np.float32([1, 0])}
    nodes = [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-20)]
    return write_model(path, build_model(nodes, parts, ["N", 2], opset=15))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_softmax, "--logits"),
        (_cast, "whose rounding is not bounded"),
        (_constants, "computes constants"),
        (_doubles, "computes constants"),
        (_flushed, "computes constants"),
        (_tested, "computes constants"),
        (_power, "a library of the runtime's"),
        (_alpha, "alpha or beta"),
        (_variance, "variance far from 1 or below 0"),
        (lambda _: MODELS / "digits_16x16_gelu.onnx", "libraries of their own"),
    ],
)
def test_networks_without_an_error_bound_are_refused_by_name(make: Any, said: str, tmp_path: Path) -> None:
    path = make(tmp_path / "net.onnx")
    n = wd.load_network(path).n_inputs
    with pytest.raises(InputError, match=said):
        wd.worst_case(path, np.full((1, n), 0.5), [0], radius=0.1, support=(0, 1), arithmetic="float32")


IRIS = [str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz"), "--arithmetic", "float32"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["verify", *IRIS, "--radius", "0.1", "--support", "none"], "float32 on the whole space"),
        (["verify", *IRIS, "--radius", "0.1", "--support", "0", "10", "--loss", "dlr"], "float32 and the DLR loss"),
        (
            [
                "verify",
                *IRIS,
                "--radius",
                "0.1",
                "--support",
                "0",
                "10",
                "--loss",
                "zero-one",
                "--certificate",
                "a.cert",
            ],
            "about real arithmetic",
        ),
        (["curve", *IRIS, "--max-radius", "0.1", "--support", "0", "10", "--certificate", "a.cert"], "real arithmetic"),
        (["distance", *IRIS, "--support", "0", "10", "--certificate", "a.cert"], "real arithmetic"),
        (["compare", *IRIS, "--radii", "0.1", "--support", "0", "10"], "rungs of the ladder"),
        (["export", *IRIS, "--radius", "0.1", "--support", "0", "10", "--to", "programs"], "real arithmetic"),
        (["lipschitz", IRIS[0], "--arithmetic", "float32"], "no Lipschitz constant bounds its jumps"),
    ],
)
def test_commands_without_float32_refuse_it(
    line: list[str], said: str, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_what_may_overflow_is_refused(tmp_path: Path) -> None:
    """Of such outputs nothing is known in float32, however small the question."""
    path = write_steps(tmp_path / "net.onnx", [Dense(np.array([[2.0**100], [1]], np.float32))], 1)
    words: dict[str, Any] = {"support": (0, 1), "arithmetic": "float32", "jobs": None}
    for ask, more in ((wd.worst_case, {"radius": 0.1}), (wd.distances, {}), (wd.curve, {"max_radius": 0.1})):
        with pytest.raises(InputError, match="may overflow float32"):
            ask(path, [[0.5]], [0], **words, **more)


def test_what_the_search_by_distances_does_not_take_is_refused() -> None:
    data = np.load(MODELS / "iris_8x8.npz")
    words: dict[str, Any] = {"radius": 0.1, "support": (0, 10), "loss": "zero-one", "arithmetic": "float32"}
    for given in ({"memory_limit": 1e9}, {"mip_start": True, "solver": "highs"}):
        with pytest.raises(InputError, match="answered by distances"):
            wd.worst_case(MODELS / "iris_8x8.onnx", data["x"][:2], data["y"][:2], **words, **given)


def test_the_doors_refuse_it_too() -> None:
    data = np.load(MODELS / "iris_8x8.npz")
    path, x, y = MODELS / "iris_8x8.onnx", data["x"][:2], data["y"][:2]
    with pytest.raises(InputError, match="no Lipschitz constant"):
        wd.lipschitz_constant(path, support=(0, 10), arithmetic="float32")
    with pytest.raises(InputError, match="rungs of the ladder"):
        wd.compare(path, x, y, radii=0.1, support=(0, 10), arithmetic="float32")
    with pytest.raises(InputError, match="about real arithmetic"):
        wd.distances(path, x, y, support=(0, 10), arithmetic="float32", certificate=True)
    with pytest.raises(InputError, match="evaluates itself"):
        wd.attack(lambda t: t, x, y, radius=0.1, support=(0, 10), arithmetic="float32")
    with pytest.raises(InputError, match="real and float32"):
        wd.question(path, x, y, radius=0.1, support=(0, 10), arithmetic="bfloat16")


@pytest.mark.parametrize("radius", [0.0, 1e-3])
def test_what_overflows_at_a_sample_without_weight_does_not_matter(radius: float, tmp_path: Path) -> None:
    """Its error has no bound, with which no network's outputs can be moved."""
    steps: list[Step] = [
        Dense(np.array([[2.0**60], [0]], np.float32)),
        Relu(),
        Dense(np.array([[2.0**-60, 0], [0, 0]], np.float32), np.array([0, 0.5], np.float32)),
    ]
    path, words = write_steps(tmp_path / "net.onnx", steps, 1), {"order": "inf", "loss": "zero-one", "jobs": None}
    given: dict[str, Any] = {**words, "radius": radius, "support": (0, 2.0**50), "arithmetic": "float32"}
    got = wd.worst_case(path, [[0.4], [0.6], [2.0**49]], [1, 1, 1], weights=[0.5, 0.5, 0.0], **given)
    assert (got.lower, got.upper) == (0.5, 0.5)
    assert got.deployed is not None
    assert got.deployed.above < 1e-3
    with pytest.raises(InputError, match="where sample 2 can reach"):
        wd.worst_case(path, [[0.4], [0.6], [2.0**49]], [1, 1, 1], **given)


@pytest.mark.parametrize("order", [1, "inf"])
def test_an_error_that_is_one_in_reals_alone_moves(order: Any, tmp_path: Path) -> None:
    """The sample is an error by less than rounding; the distribution shown is worth the lower end on every machine."""
    steps: list[Step] = [
        Dense(np.array([[1], [0]], np.float32), np.array([2.0**10, 2.0**10 + 0.5], np.float32)),
        Relu(),
        Dense(np.eye(2, dtype=np.float32), np.full(2, -(2.0**10), np.float32)),
        Relu(),
        Dense(np.eye(2, dtype=np.float32), np.array([0, 2.0**-15], np.float32)),
    ]
    path, x = write_steps(tmp_path / "net.onnx", steps, 1), np.array([[0.5 + 2.0**-14 * 0.9]])
    words: dict[str, Any] = {"radius": 0.1, "support": (0, 1), "order": order, "loss": "zero-one", "jobs": None}
    got = wd.worst_case(path, x, [1], arithmetic="float32", **words)
    assert got.lower == 1.0
    assert sum(a.weight * losses(steps, a.point, a.label, "zero-one", 0).min() for a in got.atoms) == 1.0
