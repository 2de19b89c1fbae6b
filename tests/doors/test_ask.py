"""One call: the command line's own answers, whatever types a person passes, and typical mistakes with the line that each gets."""

from __future__ import annotations

import inspect
import json
import math
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from journal.killed import MODELS
from torch import nn

import wdaverify as wd
from wdaverify import cli
from wdaverify.wdro.progress import Progress

NET, DATA = MODELS / "iris_8x8.onnx", MODELS / "iris_8x8.npz"
X, Y = np.load(DATA)["x"][:12].astype(np.float64), np.load(DATA)["y"][:12]
BOX = (0, 1)


def by_command(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    target = tmp_path / "out.json"
    assert cli._run([*arguments, "--samples", "12", "--clip", "--quiet", "--output", str(target)]) == 0
    return json.loads(target.read_text())  # type: ignore[no-any-return]


WORDS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("worst_case", {"radius": 0.05}, ["verify", "--radius", "0.05"]),
    (
        "worst_case",
        {"radius": np.float32(0.25), "loss": "01", "norm": 2, "order": "inf"},
        ["verify", "--radius", "0.25", "--loss", "zero-one", "--norm", "2", "--order", "inf"],
    ),
    (
        "worst_case",
        {"radius": torch.tensor(0.5), "loss": "hinge", "norm": "l1", "label_cost": 2},
        ["verify", "--radius", "0.5", "--loss", "hinge", "--norm", "1", "--label-cost", "2"],
    ),
    ("distances", {"norm": np.inf}, ["distance", "--norm", "inf"]),
    ("curve", {"max_radius": 0.1, "loss": "zero_one"}, ["curve", "--max-radius", "0.1", "--loss", "zero-one"]),
    ("attack", {"radius": 0.05, "norm": "Linf"}, ["attack", "--radius", "0.05"]),
]
SAME = {
    "worst_case": ("lower", "upper", "loss", "norm", "order", "nominal"),
    "distances": ("distances",),
    "curve": ("radius", "lower", "upper"),
    "attack": ("attacks", "nominal"),
}


@pytest.mark.parametrize("place", range(len(WORDS)))
def test_a_call_gives_what_the_command_gives(place: int, tmp_path: Path) -> None:
    name, words, (command, *options) = WORDS[place]
    result = getattr(wd, name)(NET, X, Y, support=BOX, clip=True, **words)
    there = by_command(tmp_path, command, str(NET), str(DATA), *options)
    here = json.loads(result.to_json())
    assert set(here) | {"files"} == set(there) | {"files"}
    for field in SAME[name]:
        if field in there:
            assert _close(here[field], there[field]), field


def _close(one: Any, other: Any) -> bool:
    """Equal, numbers to the gap asked for."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 2e-6
    return bool(one == other)


def test_robust_accuracy_is_what_is_left_of_the_worst_error_rate() -> None:
    found = wd.robust_accuracy(NET, X, Y, eps=0.1, support=BOX, clip=True)
    worst = wd.worst_case(NET, X, Y, radius=0.1, support=BOX, clip=True, loss="zero-one", order=math.inf)
    assert found.exact
    assert found.eps == 0.1
    assert found.certified <= 1 - worst.lower
    assert found.attacked >= 1 - worst.upper
    assert found.attacked - found.certified < 1e-9
    assert found.clean >= found.certified
    broken = found.broken
    assert broken is not None
    assert broken[0] == broken[1] == round(12 * worst.value)
    assert 0 < broken[0] < 12
    assert f"{broken[0]} of 12 have an error within eps" in str(found)
    assert "robust accuracy in [" in repr(found)
    cut = wd.robust_accuracy(NET, X, Y, eps=0.1, support=BOX, clip=True, time_limit=0)
    assert not cut.exact
    assert cut.certified <= found.attacked
    assert found.certified <= cut.attacked
    assert cut.broken is not None
    assert cut.broken[0] <= broken[0] <= cut.broken[1]
    weighted = wd.robust_accuracy(NET, X, Y, eps=0.1, support=BOX, clip=True, weights=np.arange(1, 13), jobs=None)
    assert weighted.broken is None
    assert "samples have" not in str(weighted)


def test_a_module_goes_in_as_it_is() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    labels = module(torch.tensor(X, dtype=torch.float32)).argmax(1)
    found = wd.worst_case(module, torch.tensor(X), labels, radius=0.05, support=BOX, clip=True, jobs=None)
    assert found.status == "exact"
    network = wd.from_torch(module, X)
    again = wd.worst_case(network, X.tolist(), labels.tolist(), radius=0.05, support=BOX, clip=True, jobs=None)
    assert again.value == pytest.approx(found.value, abs=2e-6)


def test_an_estimator_goes_in_with_its_own_labels() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    names = np.array(["c", "a", "b"])[Y]
    estimator = linear_model.LogisticRegression(max_iter=200).fit(X, names)
    found = wd.distances(estimator, X, names, support="none")
    network = wd.from_sklearn(estimator)
    numbers = [network.classes.index(name) for name in names]  # type: ignore[union-attr]
    rows = estimator.coef_
    for bracket, x, k in zip(found.brackets, X, numbers, strict=True):
        others = [j for j in range(3) if j != k]
        margins = [(estimator.decision_function(x[None])[0] @ (np.eye(3)[k] - np.eye(3)[j])) for j in others]
        slopes = [np.abs(rows[k] - rows[j]).sum() for j in others]
        true = max(0.0, min(m / s for m, s in zip(margins, slopes, strict=True)))
        assert bracket.lower - 1e-9 <= true <= bracket.upper + 1e-9
        assert bracket.upper - bracket.lower <= 1e-6
    with pytest.raises(wd.SamplesError, match="'d' is none of the model's classes; 'a', 'b', 'c' are accepted"):
        wd.distances(estimator, X, ["d", *names[1:]], support="none")
    shifted = linear_model.LogisticRegression(max_iter=200).fit(X, Y + 1)  # classes 1, 2, 3: number 1 is not class 1
    one = wd.worst_case(shifted, X, Y + 1, radius=0.1, support=BOX, clip=True, loss="zero-one", jobs=None)
    other = wd.worst_case(estimator, X, names, radius=0.1, support=BOX, clip=True, loss="zero-one", jobs=None)
    assert one.nominal == other.nominal


class Table:
    """Columns with names, as a data frame has them."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(X, dtype)


def test_names_of_a_models_own_count_everywhere() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression(max_iter=200).fit(X, Y + 1)
    network = wd.from_sklearn(model)
    words: dict[str, Any] = {"support": BOX, "jobs": None}
    by_label = wd.lipschitz_constant(network, margins=[1], **words)
    assert by_label.upper == pytest.approx(
        wd.lipschitz_constant(network, outputs=[(1, 0), (2, 0)], **words).upper, abs=1e-5
    )
    with pytest.raises(wd.SamplesError, match="label 0 is none of the model's classes"):
        wd.lipschitz_constant(network, margins=[0], **words)
    named = replace(network, features=("a", "b", "c", "d"))
    wd.question(named, Table(["a", "b", "c", "d"]), Y + 1, radius=0.1, support="none")
    with pytest.raises(wd.SamplesError, match=r"columns b, a, c, d, and .* was fitted to a, b, c, d"):
        wd.question(named, Table(["b", "a", "c", "d"]), Y + 1, radius=0.1, support="none")
    with pytest.raises(wd.SamplesError, match="none of them masked"):
        wd.question(network, X, np.ma.array(Y + 1, mask=True), radius=0.1, support="none")

    class Later(linear_model.LogisticRegression):  # type: ignore[misc]
        def predict(self, x: Any) -> Any:
            return np.where(self.decision_function(x)[:, 0] > 2, 1, 2)

    with pytest.raises(wd.NetworkError, match="has not the largest score"):
        wd.from_sklearn(Later(max_iter=200).fit(X, Y + 1), X)


def test_what_was_taken_otherwise_is_said() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).eval()
    result = wd.worst_case(module, X[:2], Y[:2], radius=0.0, support=BOX, clip=True, jobs=None)
    assert "note: node '/1/Softmax' (Softmax) at the end" in str(result)
    assert "note: node" in result._repr_html_()
    assert "no exact run" in repr(wd.compare(NET, X, Y, radii=0.1, support=BOX, clip=True, rungs=["norms"]))


def test_a_regressor_has_no_classes() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    regressor = linear_model.LinearRegression().fit(X, X @ [1.0, -2.0, 0.5, 0.0])
    words: dict[str, Any] = {"radius": 0.1, "support": "none", "jobs": None}
    with pytest.raises(wd.ProblemError, match="is a regressor"):
        wd.worst_case(regressor, X, np.zeros(12, int), **words)
    found = wd.worst_case(regressor, X, np.zeros(12, int), loss="linear", functionals=([[1.0]], [0.0]), **words)
    assert found.value == pytest.approx((X @ [1.0, -2.0, 0.5, 0.0]).mean() + 0.1 * 3.5, abs=1e-5)


def test_the_ladder_and_the_constant() -> None:
    ladder = wd.compare(NET, X, Y, radii=[0.02, 0.05], support=BOX, clip=True, rungs=("norms", "exact"))
    assert [rung.problem.radius for rung in ladder.ladders] == [0.02, 0.05]
    assert ladder.exact
    one = wd.compare(str(NET), X, Y, radii=0.05, support=BOX, clip=True, rungs=("exact",), jobs=None)
    assert one.ladders[0].upper == pytest.approx(ladder.ladders[1].upper, abs=2e-6)
    constant = wd.lipschitz_constant(NET, support=BOX, margins="all")
    pairs = wd.lipschitz_constant(wd.load_network(NET), support=BOX, outputs=[(1, 0), (2, 0), (2, 1)], jobs=None)
    assert constant.upper == pytest.approx(pairs.upper, abs=1e-5)
    around = wd.lipschitz_constant(NET, support="none", margins=[0], around=X[:2], within=0.01)
    assert around.upper <= constant.upper + 1e-6
    assert len({part.sample for part in around.parts}) == 2


def test_what_is_asked_of_a_problem_is_asked_as_ever() -> None:
    problem = wd.question(NET, X, Y, radius=0.05, support=BOX, clip=True, loss="zero-one")
    assert wd.curve(problem).exact
    assert wd.distances(problem, gap=1e-4).exact
    assert wd.attack(problem, time_limit=10).nominal == wd.verify(problem).nominal
    for call in (wd.curve, wd.distances, wd.attack):
        with pytest.raises(wd.ProblemError, match="X and y beside a WdroProblem"):
            call(problem, X, Y)
        with pytest.raises(wd.ProblemError, match="support beside a WdroProblem"):
            call(problem, support=BOX)


def test_progress_is_told_as_asked(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []
    words: dict[str, Any] = {"radius": 0.05, "support": BOX, "clip": True, "jobs": None}
    wd.worst_case(NET, X, Y, progress=told.append, **words)
    assert told
    assert capfd.readouterr().err == ""
    wd.worst_case(NET, X, Y, progress=True, **words)
    assert "wdaverify" not in capfd.readouterr().out
    with pytest.raises(wd.ProblemError, match="progress 'yes': True, False or a function is accepted"):
        wd.worst_case(NET, X, Y, progress="yes", **words)


def test_signatures_say_what_is_taken() -> None:
    for name in ("worst_case", "distances", "curve", "compare", "attack", "robust_accuracy"):
        parameters = inspect.signature(getattr(wd, name)).parameters
        assert parameters["support"].default is inspect.Parameter.empty
        assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    assert inspect.signature(wd.worst_case).parameters["jobs"].default == "cores"


def _asked_in_a_daemon(answers: Any) -> None:
    answers.put(wd.worst_case(NET, X, Y, radius=0.05, support=BOX, clip=True).statistics.jobs)


def test_a_process_that_may_start_none_answers_by_itself() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_asked_in_a_daemon, args=(answers,), daemon=True)
    process.start()
    assert answers.get(timeout=120) == 1
    process.join(60)


HWC = np.zeros((2, 8, 8, 3))
CHW = HWC.transpose(0, 3, 1, 2)


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten(), nn.Linear(2, 3)).eval()


def ask(*args: Any, **words: Any) -> Callable[[], object]:
    given = {"radius": 0.05, "support": BOX, "clip": True, **words}
    return lambda: wd.worst_case(*args, **{name: value for name, value in given.items() if value is not ...})


MISTAKES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (ask(NET, X, Y, support=None), wd.ProblemError, "support None: (lo, hi) is accepted, as (0, 1) for pixels"),
    (ask(NET, X, Y, support=...), TypeError, "worst_case(): missing a required argument: 'support'"),
    (ask(NET, X, Y, radius=...), TypeError, "worst_case(): missing a required argument: 'radius'"),
    (ask(NET, X, Y, radus=0.1), TypeError, "got an unexpected keyword argument 'radus'; it takes model, X, y, radius,"),
    (ask(NET, X), wd.SamplesError, "y is missing, which the margin loss needs"),
    (ask(NET, X, Y, loss="specification"), wd.SamplesError, "y beside a specification"),
    (ask(NET, X, loss="specification"), wd.ProblemError, "the specification loss needs a specification"),
    (ask(NET, X, loss="specification", specification=3), wd.SpecificationError, "specification 3: the path"),
    (ask(NET, X, loss="specification", support="specification"), wd.ProblemError, "specification=... does"),
    (ask(NET, X, Y, support=(1, 0)), wd.ProblemError, "the support is empty"),
    (ask(NET, X, Y, support=(0, 1, 2)), wd.ProblemError, "support of type tuple"),
    (ask(NET, X, Y, support="box"), wd.ProblemError, "support 'box': (lo, hi) is accepted"),
    (ask(NET, X, Y, support=(0, [1, 2])), wd.ProblemError, "the upper bound has shape [2]"),
    (ask(NET, X, Y, radius="0.05"), wd.ProblemError, "radius '0.05': a finite number >= 0 is accepted"),
    (ask(NET, X, Y, radius=-1), wd.ProblemError, "radius -1: a finite number >= 0 is accepted"),
    (ask(NET, X, Y, radius=True), wd.ProblemError, "radius True"),
    (ask(NET, X, Y, norm="l3"), wd.ProblemError, "norm 'l3': accepted are inf, 1 and 2"),
    (ask(NET, X, Y, norm=3), wd.ProblemError, "norm 3: accepted are inf, 1 and 2"),
    (ask(NET, X, Y, order=3), wd.ProblemError, "order 3 is not supported: accepted are 1, 2 and inf"),
    (ask(NET, X, Y, loss="accuracy"), wd.ProblemError, "loss 'accuracy': accepted are margin, zero-one"),
    (ask(NET, X, Y, loss="linear"), wd.ProblemError, "the linear loss needs functionals"),
    (ask(NET, X, Y, functionals=([[1.0, 0, 0]], [0.0])), wd.ProblemError, "no other loss takes them"),
    (ask("nowhere.onnx", X, Y), wd.NetworkError, "nowhere.onnx: "),
    (ask(MODELS, X, Y), wd.NetworkError, "models"),
    (ask(b"not onnx", X, Y), wd.NetworkError, "onnx model: "),
    (ask(lambda x: x, X, Y), wd.NetworkError, "model of type function: a ReluNetwork, the path of an ONNX file"),
    (ask(None, X, Y), wd.NetworkError, "model None: a ReluNetwork"),
    (ask(nn.Linear(4, 3), X, Y), wd.NetworkError, "Linear is in training mode (the module itself)"),
    (ask(NET, X[0], Y[:1]), wd.SamplesError, "X of shape [4]: points [N, ...] are accepted"),
    (ask(NET, X[:, :3], Y, clip=False), wd.SamplesError, "points have 3 features, iris_8x8.onnx takes 4"),
    (ask(NET, X, Y[:5]), wd.SamplesError, "5"),
    (ask(NET, X, Y + 0.5), wd.SamplesError, "is not an integer"),
    (ask(NET, X, Y + 7), wd.SamplesError, "label"),
    (ask(NET, X, ["setosa"] * 12), wd.SamplesError, "y has type"),
    (ask(NET, X + np.nan, Y), wd.SamplesError, "finite"),
    (ask(NET, X * 9, Y, clip=False), wd.InputError, "outside"),
    (ask(NET, X, Y, support="none"), wd.ProblemError, "clip=True moves points onto a box"),
    (ask(NET, X, Y, weights=np.ones(3)), wd.SamplesError, "3"),
    (ask(NET, X, Y, cost_weights=[1.0, 2.0]), wd.ProblemError, "2 cost weights for a network of 4 features"),
    (ask(NET, X, Y, jobs=0), wd.ProblemError, "jobs 0"),
    (ask(NET, X, Y, jobs="all"), wd.ProblemError, "jobs 'all'"),
    (ask(NET, X, Y, solver="cplex"), wd.ProblemError, "solver 'cplex': accepted are"),
    (ask(NET, X, Y, gap=0), wd.ProblemError, "gap 0"),
    (ask(NET, X, Y, time_limit="60"), wd.ProblemError, "time limit '60'"),
    (ask(NET, X, Y, logits=True), wd.NetworkError, "does not end in a Softmax"),
    (ask(NET, X, Y, clip="yes"), wd.ProblemError, "clip 'yes': True or False is accepted"),
    (ask(conv(), CHW[:, :, :, :7], [0, 1]), wd.NetworkError, "fails at the example"),
    (ask(wd.from_torch(conv(), CHW), HWC, [0, 1]), wd.SamplesError, "points of shape [8, 8, 3], and Sequential takes [3, 8, 8]"),
    (lambda: wd.robust_accuracy(NET, X, Y, eps=0.1, support=BOX, loss="margin"), TypeError, "unexpected keyword argument 'loss'"),
    (lambda: wd.robust_accuracy(NET, X, Y, radius=0.1, support=BOX), TypeError, "missing a required argument: 'eps'"),
    (lambda: wd.distances(NET, X, Y), TypeError, "missing a required argument: 'support'"),
    (lambda: wd.distances(NET, support=BOX), wd.ProblemError, "a WdroProblem is accepted; question(model, X, y, ...) makes one"),
    (lambda: wd.curve(NET, X, Y, radius=0.1, support=BOX), TypeError, "missing a required argument: 'max_radius'"),
    (lambda: wd.compare(NET, X, Y, radii=[], support=BOX), wd.ProblemError, "radii: at least one radius"),
    (lambda: wd.lipschitz_constant(NET), TypeError, "missing a required argument: 'support'"),
    (lambda: wd.lipschitz_constant(NET, support=BOX, outputs=[7]), wd.ProblemError, "7"),
    (lambda: wd.lipschitz_constant(NET, support=BOX, within=0.1), wd.ProblemError, "around (points) and within"),
    (lambda: wd.lipschitz_constant(nn.Linear(4, 3).eval(), support=BOX), wd.NetworkError, "from_torch(module, example)"),
    (lambda: wd.robust_accuracy(NET, X, Y, eps=0.1, support=BOX, label_cost=1.0), TypeError, "unexpected keyword argument 'label_cost'"),
    (ask(NET, X, Y, support={0: 5, 1: 6}), wd.ProblemError, "support of type dict"),
    (ask(NET, X, Y, support=np.array(3.0)), wd.ProblemError, "support of type ndarray"),
    (ask(NET, X, Y, cost_weights=np.ones((2, 2))), wd.ProblemError, "cost weights of shape [2, 2], and iris_8x8.onnx takes [4]"),
    (ask(wd.from_torch(conv(), CHW), CHW, [0, 1], support=(np.zeros((8, 8, 3)), 1.0)), wd.ProblemError, "support of shape [8, 8, 3]"),
    (lambda: wd.compare(NET, X, Y, radii=0.1, support=BOX, rungs=["norms"], threshold=1), wd.ProblemError, "threshold: about the exact"),
    (lambda: wd.compare(NET, X, Y, radii=[0.1, None], support=BOX), wd.ProblemError, "radius None"),
    (lambda: wd.compare(NET, X, Y, radii="0.05", support=BOX), wd.ProblemError, "radii '0.05'"),
    (lambda: wd.save_report([], "x.html"), wd.ProblemError, "at least one result"),
    (lambda: wd.save_report([3], "x.html"), wd.ProblemError, "result 3: what worst_case"),
    (lambda: wd.load_network(NET).save("copy.onnx"), wd.NetworkError, "copy the one that it was read from"),
    (lambda: wd.from_onnx(3), wd.NetworkError, "model 3: the path of an ONNX file"),
    (lambda: wd.from_onnx(NET, name="mine"), wd.NetworkError, "name is what a model in memory is called"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(MISTAKES)))
def test_a_typical_mistake_gets_its_line(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, kind, words = MISTAKES[place]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as refused:
        call()
    said = str(refused.value)
    assert words in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


_MANY = 3
ODD = [
    None,
    True,
    -1,
    0,
    _MANY,
    2.5,
    math.nan,
    math.inf,
    "inf",
    "0.1",
    "",
    b"1",
    [],
    [1],
    (0, 1),
    {},
    {"x": 1},
    np.zeros(4),
    np.eye(3),
    object(),
    print,
]


@pytest.mark.parametrize("word", [*inspect.signature(wd.worst_case).parameters, "eps"])
def test_nothing_odd_ends_in_a_traceback(word: str) -> None:
    """Whatever stands for one argument: an answer, or one line of ours."""
    usual: dict[str, Any] = {
        "model": wd.load_network(NET),
        "X": X[:2],
        "y": Y[:2],
        "support": BOX,
        "clip": True,
        "time_limit": 0.05,
    }
    call = wd.robust_accuracy if word == "eps" else wd.worst_case
    usual |= {"jobs": None} | ({"eps": 0.1} if word == "eps" else {"radius": 0.05})
    for odd in ODD:
        if (word == "progress" and callable(odd)) or (word == "jobs" and odd is _MANY):
            continue
        assert "\n" not in _said(call, usual | {word: odd})


def _said(call: Callable[..., object], words: dict[str, Any]) -> str:
    """The line of a refusal, or nothing."""
    try:
        call(**words)
    except wd.WdaverifyError as error:
        return str(error)
    return ""
