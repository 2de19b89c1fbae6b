"""The whole space and other cases solved by hand (docs/theory.md, section 6)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from numpy.typing import NDArray

from wdaverify import WdroProblem, load_network, verify
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.samples import make_samples
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.result import Reason

GAP = 1e-6
Layers = list[tuple[list[list[float]], list[float]]]

LINEAR: Layers = [([[1.0, -2.0], [0.0, 0.0]], [0.5, 0.0])]
LATE: Layers = [([[1.0]], [-10.0]), ([[0.0], [1.0]], [0.0, 0.0])]
"""Logits (0, relu(x - 10))."""
KNEE: Layers = [([[1.0], [1.0]], [0.0, -1.0]), ([[0.0, 0.0], [3.0, -2.0]], [0.0, 0.0])]
"""Logits (0, 3 relu(x) - 2 relu(x - 1)): slope 3 on [0, 1], slope 1 from there on."""
STEP: Layers = [([[1.0]], [0.0]), ([[0.0], [1.0]], [0.0, -1.0])]
"""Logits (0, relu(x) - 1)."""


def ask(
    folder: Path,
    layers: Layers,
    x: list[list[float]],
    y: list[int],
    radius: float,
    support: Support | None = None,
    **k: Any,
) -> WdroProblem:
    path = folder / "network.onnx"
    write_mlp(path, [(np.array(w), np.array(b)) for w, b in layers], dtype=np.float64)
    points: NDArray[np.float64] = np.array(x)
    cost = GroundCost(
        Norm(k.pop("norm", "inf")), k.pop("order", 1), k.pop("weights", None), k.pop("label_cost", math.inf)
    )
    loss = Loss(k.pop("loss", "margin"))
    whole = Support.whole(points.shape[1]) if support is None else support
    return WdroProblem(load_network(path), make_samples(points, y), cost, whole, loss, radius)


def exactly(problem: WdroProblem, value: float, gap: float = GAP) -> None:
    result = verify(problem, gap=gap)
    assert result.status == "exact"
    assert result.lower <= value + 1e-9
    assert result.upper >= value - 1e-9


@pytest.mark.parametrize(("norm", "dual"), [("inf", 3.0), ("1", 2.0), ("2", math.sqrt(5.0))])
@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_a_linear_network_is_its_dual_norm(norm: str, dual: float, order: float, tmp_path: Path) -> None:
    """V = nominal + radius * ||c||_*, on a box that is wide enough, and on the whole space."""
    x, radius = [[0.3, 0.2], [1.0, -1.0]], 0.25
    value = 0.5 * (0.4 + 3.5) + radius * dual
    exactly(ask(tmp_path, LINEAR, x, [1, 1], radius, Support.box(-50.0, 50.0, 2), norm=norm, order=order), value)
    exactly(ask(tmp_path, LINEAR, x, [1, 1], radius, norm=norm, order=order), value, 1e-5)


def test_a_linear_network_until_the_support_binds(tmp_path: Path) -> None:
    """One sample at 0.5 in [0, 1], slope 1: all of it moved costs 0.5, and no radius buys more."""
    line: Layers = [([[1.0], [0.0]], [0.0, 0.0])]
    for radius, value in ((0.25, 0.75), (0.5, 1.0), (3.0, 1.0)):
        exactly(ask(tmp_path, line, [[0.5]], [1], radius, Support.box(0.0, 1.0, 1)), value)


def test_weights_of_the_cost_scale_the_dual_norm(tmp_path: Path) -> None:
    """l1 with weights (2, 8): max(1/2, 2/8) a unit; a fixed feature leaves the other."""
    wide = Support.box(-50.0, 50.0, 2)
    for weights, slope in (([2.0, 8.0], 0.5), ([math.inf, 8.0], 0.25)):
        problem = ask(tmp_path, LINEAR, [[0.3, 0.2]], [1], 0.5, wide, norm="1", weights=np.array(weights))
        exactly(problem, 0.4 + 0.5 * slope)


def test_one_relu_by_its_concave_envelope(tmp_path: Path) -> None:
    """relu(x - 10) on [0, 20] from 0: the envelope in cost is the chord to (20, 10) for p = 1, to (400, 10) for p = 2."""
    box = Support.box(0.0, 20.0, 1)
    for order, radius, value in (
        (1, 4.0, 4.0 * 10 / 20),
        (2, 4.0, 16.0 * 10 / 400),
        (1, 30.0, 10.0),
        (math.inf, 12.0, 2.0),
    ):
        exactly(ask(tmp_path, LATE, [[0.0]], [0], radius, box, order=order), value)


def test_a_supremum_that_is_not_attained_has_a_ray(tmp_path: Path) -> None:
    """relu(x - 10) on R from 0, p = 1: V = radius, approached by mass that goes to infinity; p = 2: radius^2 / 40."""
    problem = ask(tmp_path, LATE, [[0.0]], [0], 0.5)
    exactly(problem, 0.5)
    [ray] = verify(problem, gap=GAP).rays
    assert (ray.label, ray.direction.tolist()) == (0, [1.0])
    assert ray.value == pytest.approx(1.0, abs=1e-9)
    exactly(ask(tmp_path, LATE, [[0.0]], [0], 0.5, order=2), 0.25 / 40)


def test_a_slope_at_infinity_below_the_largest_slope(tmp_path: Path) -> None:
    """The knee from 0: 3 radius up to 1, then 2 + radius: strictly between E + s radius and E + S radius beyond."""
    for radius, value in ((0.5, 1.5), (1.0, 3.0), (3.0, 5.0)):
        exactly(ask(tmp_path, KNEE, [[0.0]], [0], radius), value)
    result = verify(ask(tmp_path, KNEE, [[0.0]], [0], 3.0), gap=GAP)
    assert result.lower > 0.0 + 1.0 * 3.0
    assert result.upper < 0.0 + 3.0 * 3.0


def test_zero_one_on_the_whole_space(tmp_path: Path) -> None:
    """The error of (0, relu(x) - 1) from 0 is at 1: V = min(1, radius), or radius^2 for p = 2, or a step for p = inf."""
    for order, radius, value in ((1, 0.25, 0.25), (2, 0.5, 0.25), (math.inf, 0.999, 0.0), (math.inf, 1.001, 1.0)):
        exactly(ask(tmp_path, STEP, [[0.0]], [0], radius, loss="zero-one", order=order), value)


def test_hinge_and_labels(tmp_path: Path) -> None:
    """On the step hinge is linear from -1 on, cw 3 at the far end, 4 off; a label moved at 0.5 makes the margin 1 at 0, where it was -1."""
    box = Support.box(0.0, 4.0, 1)
    exactly(ask(tmp_path, STEP, [[0.0]], [0], 0.5, box, loss="hinge"), 0.5)
    for radius in (0.5, 3.0):
        exactly(ask(tmp_path, STEP, [[0.0]], [0], radius, box, loss="cw"), 0.75 * radius)
    exactly(ask(tmp_path, STEP, [[0.0]], [0], 0.25, box, label_cost=0.5), -1.0 + 2.0 * 0.25 / 0.5)
    exactly(ask(tmp_path, STEP, [[0.0]], [0], 0.25, box, loss="zero-one", label_cost=0.5), 0.5)
    exactly(ask(tmp_path, STEP, [[0.0]], [0], 0.25, box, loss="zero-one", label_cost=0.5, order=math.inf), 0.0)
    exactly(ask(tmp_path, STEP, [[0.0]], [0], 0.5, box, loss="zero-one", label_cost=0.5, order=math.inf), 1.0)


def test_cross_entropy_of_a_line(tmp_path: Path) -> None:
    """log(1 + exp(x)) is convex, so all mass of one sample on [-1, 1] goes to an end: the chord, for p = 1."""
    line: Layers = [([[1.0], [0.0]], [0.0, 0.0])]
    nominal, end = math.log(2.0), math.log1p(math.e)
    result = verify(ask(tmp_path, line, [[0.0]], [1], 0.5, Support.box(-1.0, 1.0, 1), loss="cross-entropy"), gap=1e-6)
    assert result.lower <= 0.5 * (nominal + end) + 1e-9 <= result.upper + 2e-9
    assert result.status == "exact"


def test_slopes_that_the_time_leaves_over_are_unknown_and_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question costs more than its time: none is begun when the limit is over, and the bracket is open above."""
    asked: list[float] = []
    slope = Horizon._slope

    def noted(horizon: Horizon, row: Any, label: int, run: Any) -> Any:
        asked.append(run.remaining())
        return slope(horizon, row, label, run)

    monkeypatch.setattr(Horizon, "_slope", noted)
    problem = ask(tmp_path, KNEE, [[0.25], [3.0]], [0, 1], 0.5)
    assert verify(problem).status == "exact"
    assert len(asked) == 2
    asked.clear()
    result = verify(problem, time_limit=0.0)
    assert asked == []
    assert (result.reason, result.upper) == (Reason.TIME_LIMIT, math.inf)
    assert result.lower == pytest.approx(result.nominal)
