"""Attacks on modules: their values against losses, distances and masses computed here, and against exact answers of random graphs."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from torch import nn

import wdaverify as wd
from wdaverify.errors import InputError
from wdaverify.report import as_json
from wdaverify.wdro.module_attack import ModuleAttackResult


def smooth(seed: int = 0, outputs: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.LayerNorm(16), nn.BatchNorm1d(16), nn.Linear(16, outputs)
    ).eval()
    with torch.no_grad():
        net[1].weight.mul_(4.0)
        net[1].bias.sub_(net[1].weight.sum(dim=1) / 2)
    return net


def images(count: int = 9, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(count, 3, 2, 2)).astype(np.float32)
    y = smooth()(torch.tensor(x)).argmax(dim=1).numpy()
    y[0] = (y[0] + 1) % 4
    return x, y


def checked(module: Any, result: ModuleAttackResult, x: Any, y: Any) -> None:
    """Everything that the result says, computed again here."""
    order = {"inf": np.inf, "1": 1, "2": 2}[result.norm]
    moved = result.point.reshape(len(result.point), -1)
    away = np.linalg.norm(moved - x.reshape(len(x), -1).astype(np.float64)[result.sample], ord=order, axis=1)
    assert (moved.astype(np.float32) == moved).all()
    assert (moved >= 0).all()
    assert (moved <= 1).all()
    assert away == pytest.approx(result.distance, abs=1e-12)
    if math.isinf(result.order):
        assert away.max() <= result.radius
    else:
        assert result.weight @ away**result.order <= result.radius**result.order
    assert np.bincount(result.sample, result.weight, minlength=len(x)) == pytest.approx(1 / len(x), abs=1e-12)
    with torch.no_grad():
        z = module(torch.tensor(result.point, dtype=torch.float32)).double().numpy()
    rows, label = np.arange(len(z)), y[result.sample]
    own = z[rows, label].copy()
    z[rows, label] = -np.inf
    margin = z.max(axis=1) - own
    loss = {"margin": margin, "zero-one": (margin >= 0).astype(float)}[result.loss_name]
    assert result.weight @ loss == pytest.approx(result.lower, abs=1e-5)
    assert result.attacks["mixture"] == result.lower == max(result.attacks.values())
    assert result.vouched == "module"


@pytest.mark.parametrize(
    ("norm", "order", "loss"),
    [("inf", 1, "margin"), (2, 2, "zero-one"), (1, "inf", "margin"), ("inf", "inf", "zero-one")],
)
def test_values_are_those_of_the_distribution(norm: Any, order: Any, loss: str) -> None:
    (x, y), module = images(), smooth()
    again = [
        wd.attack(module, x, y, radius=0.3, support=(0, 1), norm=norm, order=order, loss=loss, seed=3, restarts=2)
        for _ in range(2)
    ]
    for result in again:
        assert isinstance(result, ModuleAttackResult)
        checked(module, result, x, y)
        assert any("read as a module" in notice for notice in result.notices)
    assert again[0].lower == again[1].lower > again[0].nominal
    assert (again[0].point == again[1].point).all()


def test_a_graph_is_evaluated_rigorously_and_a_module_of_it_never_above() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    x, y = images(5)
    asked: dict[str, Any] = {"radius": 0.2, "support": (0, 1)}
    exact = wd.worst_case(net, x, y, **asked, jobs=None)
    graph = wd.attack(net, x, y, **asked)
    itself = wd.attack(net, x, y, **asked, vouched="module", attacks=("wda", "wda++", "sweep", "polish"))
    assert isinstance(graph, wd.AttackResult)
    assert isinstance(itself, ModuleAttackResult)
    assert itself.lower <= exact.upper + 1e-6
    assert itself.lower == pytest.approx(graph.attacks["mixture"], abs=0.02 * (exact.upper - exact.nominal))


def test_functions_one_score_and_weights_of_a_batch() -> None:
    slope = torch.tensor([2.0, -1.0])
    x, y = np.array([[0.5, 0.5], [0.6, 0.2]]), np.array([0, 1])
    result = wd.attack(lambda t: torch.tanh(t @ slope), x, y, radius=0.1, order="inf", support="none", batch=1)
    # labels 0 and 1 of the scores 0 and tanh: the worst points go by 0.1 along the signs of the slope
    worst = 0.5 * (math.tanh(0.5 + 0.3) - math.tanh(1.0 - 0.3))
    assert result.lower == pytest.approx(worst, abs=1e-5)


def test_evaluations_stay_within_the_budget_and_progress_is_told() -> None:
    (x, y), told = images(), []
    result = wd.attack(
        smooth(),
        x,
        y,
        radius=0.1,
        support=(0, 1),
        budget=200,
        progress=lambda evaluations, seconds: told.append(evaluations),
    )
    assert not result.finished
    assert told
    assert result.lower >= result.nominal


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"vouched": "checked"}, "LayerNormalization"),
        ({"label_cost": 1.0}, "labels stay"),
        ({"loss": "dlr"}, "accepted are margin"),
        ({"cost_weights": [1.0]}, "cost_weights of a module"),
        ({"batch": 0}, "batch"),
        ({"device": "tpu"}, "device"),
        ({"support": (0, 0.1)}, "outside the support"),
    ],
)
def test_what_is_refused(words: dict[str, Any], said: str) -> None:
    x, y = images()
    with pytest.raises(InputError, match=said):
        wd.attack(smooth(), x, y, **{"radius": 0.1, "support": (0, 1), **words})


def test_a_function_without_gradients_is_refused() -> None:
    x, y = images()
    with pytest.raises(InputError, match="without gradients"):
        wd.attack(lambda t: torch.tensor(np.ones((len(t), 4))), x, y, radius=0.1, support=(0, 1))


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_are_no_classes_are_refused(label: int) -> None:
    x, y = images()
    y[0] = label
    with pytest.raises(InputError, match=f"label {label} of sample 0"):
        wd.attack(smooth(), x, y, radius=0.1, support=(0, 1))


def test_missing_labels_are_refused() -> None:
    with pytest.raises(InputError, match="y is missing"):
        wd.attack(smooth(), images()[0], radius=0.1, support=(0, 1))


def test_scores_that_are_not_finite_never_count() -> None:
    (x, y), module = images(), smooth()
    asked: dict[str, Any] = {"radius": 0.1, "order": "inf", "loss": "zero-one", "support": (0, 1)}

    def broken(t: torch.Tensor) -> torch.Tensor:  # one score is inf wherever a point has moved
        moved = (t.unsqueeze(1) - torch.tensor(x)).flatten(2).abs().amax(dim=2).amin(dim=1) > 0
        return torch.where(moved.unsqueeze(1) & (torch.arange(4) == 3), torch.inf, module(t))

    result = wd.attack(broken, x, y, **asked)
    assert result.lower == result.nominal == pytest.approx(1 / 9)
    with torch.no_grad():
        module[5].weight[2, 0] = torch.nan
    with pytest.raises(InputError, match=r"scores at sample 0 are not finite"):
        wd.attack(module, x, y, **asked)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda z: z + 0.3 * torch.randn_like(z), "at the same rows again"),
        (lambda z: z - z.mean(dim=0), "beside other rows"),
    ],
)
@pytest.mark.parametrize("count", [1, 9])
def test_chance_and_rows_beside_are_refused(wrong: Any, said: str, count: int) -> None:
    (x, y), module = images(), smooth()
    with pytest.raises(InputError, match=said):
        wd.attack(lambda t: wrong(module(t)), x[:count], y[:count], radius=0.1, support=(0, 1))


@pytest.mark.parametrize(
    ("module", "points", "said"),
    [
        (smooth(), torch.rand(9, 13), "fails at the example of shape"),
        (lambda t, u: t, torch.rand(9, 4), "fails at the example of shape"),
        (smooth(), torch.rand(9, 12).to_sparse(), "to_dense"),
    ],
)
def test_what_a_module_cannot_take_is_said_in_one_line(module: Any, points: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        wd.attack(module, points, images()[1], radius=0.1, support=(0, 1), vouched="module")
    assert "\n" not in str(caught.value)


def test_devices() -> None:
    x, y = images(3)
    asked: dict[str, Any] = {"radius": 0.1, "support": (0, 1), "budget": 1}
    assert wd.attack(smooth(), x, y, device=torch.device("cpu"), **asked).device == "cpu"
    assert wd.attack(lambda t: torch.tanh(t.flatten(1)), x, y, device=torch.device("cpu"), **asked).device == "cpu"
    with pytest.raises(InputError, match=r"'gpu': accepted are auto, cpu and cuda"):
        wd.attack(smooth(), x, y, device="gpu", **asked)


def test_half_precision_and_probabilities_are_told_of() -> None:
    x, y = images(3)
    half = wd.attack(smooth().bfloat16(), torch.tensor(x).bfloat16(), y, radius=0.1, support=(0, 1), budget=1)
    assert any("computes in bfloat16" in notice for notice in half.notices)
    soft = wd.attack(nn.Sequential(smooth(), nn.Softmax(1)).eval(), x, y, radius=0.1, support=(0, 1), budget=1)
    assert any("sum to 1" in notice for notice in soft.notices)
    assert not any("sum to 1" in notice for notice in half.notices)


@pytest.mark.parametrize("order", [1, "inf"])
def test_plain_data_meet_their_schema_and_are_json(order: Any) -> None:
    x, y = images(3)
    words = {"radius": 0.1, "order": order, "support": (0, 1), "attacks": "wda", "steps": 2, "budget": 200}
    result = wd.attack(smooth(), x, y, **words)
    checks = Draft202012Validator(as_json.schema("module_attack"))
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    checks.validate(document)
    assert (document["order"], document["lower"]) == (order, result.lower)
    assert not checks.is_valid({**document, "vouched": "checked"})
    assert not checks.is_valid({**document, "upper": 1.0})


def test_an_interrupted_attack_keeps_what_it_found() -> None:
    (x, y), module, asked = images(), smooth(), 0

    def stopped(t: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += 1
        if asked == 40:
            raise KeyboardInterrupt
        return module(t)

    result = wd.attack(stopped, x, y, radius=0.3, support=(0, 1))
    assert isinstance(result, ModuleAttackResult)
    assert not result.finished
    assert any("interrupted" in notice for notice in result.notices)
    assert result.lower > result.nominal
    checked(module, result, x, y)


def test_attacks_are_words_in_any_case_and_powers_are_told_of_at_order_inf() -> None:
    (x, y), module = images(3), smooth()
    asked: dict[str, Any] = {"radius": 0.1, "support": (0, 1), "order": "inf", "steps": 2, "vouched": "module"}
    result = wd.attack(module, x, y, attacks="WDA, wda++", powers=(3,), **asked)
    assert set(result.attacks) == {"WDA(1)", "WDA++", "mixture"}
    assert any("powers 3" in notice for notice in result.notices)
    with pytest.raises(InputError, match="attack '': accepted are wda"):
        wd.attack(module, x, y, attacks="wda,", **asked)


def test_a_graphs_result_says_with_what_effort() -> None:
    x, y = images(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    asked: dict[str, Any] = {"radius": 0.1, "support": (0, 1)}
    result = wd.attack(net, x, y, attacks=("wda",), steps=5, **asked)
    assert "attacked with --attacks wda --steps 5" in result.notices
    assert result.vouched == "checked"
    assert result.lower == max([result.nominal, *result.attacks.values()])
    assert not any("attacked with" in notice for notice in wd.attack(net, x, y, **asked).notices)
