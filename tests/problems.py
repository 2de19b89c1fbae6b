"""Small problems for the tests: random ones that cover the cases by seed, and ones solved by hand.

Every weight, sample, bound and mass is representable in float32 (the masses are multiples of 1/16), so that a float32
ONNX file holds the network exactly and normalising the masses changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from oracles import Array, Labels, LossName, NormName, forward

SEEDS = 72
DEFAULT_SEEDS = 16
"""The first 16 seeds hold each (norm, loss, size of radius) once and every special case."""


@dataclass(frozen=True, eq=False)
class OracleProblem:
    """One question: raw ``(W, b)`` pairs, a ReLU between each two; points ``x [N, n]``, labels ``y``, masses ``w``."""

    weights: tuple[tuple[Array, Array], ...]
    x: Array
    y: Labels
    w: Array
    radius: float
    norm: NormName
    loss: LossName
    lower: Array
    upper: Array
    tags: frozenset[str]

    @property
    def n_relus(self) -> int:
        return sum(weight.shape[0] for weight, _ in self.weights[:-1])


@dataclass(frozen=True, eq=False)
class HandSolved:
    """A problem with its answer, derived in the comment beside it."""

    name: str
    problem: OracleProblem
    value: float


# Random problems

NORMS: tuple[NormName, ...] = ("inf", "1")
LOSSES: tuple[LossName, ...] = ("margin", "zero-one")
RADII = ("moderate", "tiny", "large", "zero")
HIDDEN = ((4,), (6,), (3, 3), (8,), (4, 4))
SPECIALS = (
    "duplicate-samples",
    "misclassified",
    "tie",
    "dead",
    "active",
    "zero-mass",
    "box",
    "duplicate-neurons",
    "flat-box",
)


def _float32(array: Array | NDArray[np.generic]) -> Array:
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def _box(rng: np.random.Generator, width: int, specials: frozenset[str]) -> tuple[Array, Array]:
    lower, upper = np.zeros(width), np.ones(width)
    if "box" in specials:
        lower = _float32(rng.uniform(-2.0, 0.5, width))
        upper = _float32(lower + rng.uniform(0.5, 2.5, width))
    if "flat-box" in specials and width > 1:
        lower[-1] = upper[-1] = 0.25
    return lower, upper


def _layers(
    rng: np.random.Generator, sizes: tuple[int, ...], specials: frozenset[str], lower: Array, upper: Array
) -> list[tuple[Array, Array]]:
    """Weights whose kinks lie inside the box and whose logits are centred on it."""
    coarse = "tie" in specials
    probe = rng.uniform(lower, upper, (200, lower.size))
    layers: list[tuple[Array, Array]] = []
    for depth, (n, m) in enumerate(pairwise(sizes)):
        weight = rng.normal(size=(m, n)) * 2.0 / np.sqrt(n)
        last = depth == len(sizes) - 2
        inputs = np.maximum(forward(layers, probe), 0.0) if depth else probe
        centre = np.median(inputs @ weight.T, axis=0)
        bias = -centre + rng.normal(size=m) * (0.2 if last else 0.4)
        if not last:
            size = np.abs(inputs).max(axis=0) * 2 + 1
            if "dead" in specials:
                weight[0], bias[0] = -np.abs(weight[0]), -np.abs(weight[0]) @ size - 0.5
            if "active" in specials:
                bias[-1] = np.abs(weight[-1]) @ size + 0.5
            if "duplicate-neurons" in specials:
                weight[-1], bias[-1] = weight[0], bias[0]  # the same neuron twice
                weight[1], bias[1] = -2 * weight[0], -2 * bias[0]  # and its mirror image
                weight[2], bias[2] = 0.0, 0.75 * depth  # a constant, 0 in the first layer
        # Multiples of 1/16 have so few bits that float64 evaluates them without rounding at coarse points.
        weight, bias = (np.round(a * 16) / 16 if coarse else _float32(a) for a in (weight, bias))
        layers.append((weight, bias))
    return layers


def _samples(
    rng: np.random.Generator,
    layers: list[tuple[Array, Array]],
    specials: frozenset[str],
    lower: Array,
    upper: Array,
) -> tuple[Array, Labels, Array]:
    count = int(rng.integers(2, 5))
    x = np.clip(_float32(rng.uniform(lower, upper, (count, lower.size))), lower, upper)
    if rng.random() < 0.3:
        x[0] = np.where(rng.random(lower.size) < 0.5, lower, upper)  # a corner
    if "tie" in specials:
        x[-1] = np.clip(np.round(x[-1] * 8) / 8, np.ceil(lower * 8) / 8, np.floor(upper * 8) / 8)
        logits = forward(layers, x[-1:])[0]
        order = np.argsort(logits)
        layers[-1][1][order[-2]] += logits[order[-1]] - logits[order[-2]]  # exact: few bits
    logits = forward(layers, x)
    y = logits.argmax(axis=1).astype(np.int64)
    if "misclassified" in specials:
        y[0] = int(logits[0].argmin())
    if "duplicate-samples" in specials:
        x, y = np.vstack([x, x[:1], x[:1]]), np.append(y, [y[0], (y[0] + 1) % logits.shape[1]])
    parts = rng.multinomial(16 - len(y), np.full(len(y), 1 / len(y))) + 1
    if "zero-mass" in specials:
        parts[1] += parts[0]
        parts[0] = 0
    return x, y, parts / 16.0


def random_problem(seed: int) -> OracleProblem:
    """Seed by seed through norms, losses and radii (period 16), widths (3), depths (5) and special cases (9)."""
    rng = np.random.default_rng(seed)
    norm, loss, radius_kind = NORMS[seed % 2], LOSSES[seed // 2 % 2], RADII[seed // 4 % 4]
    width, hidden = 1 + (seed + seed // 48) % 3, HIDDEN[seed % 5]
    classes = 2 + (seed // 3 + seed // 16) % 2
    chosen = {SPECIALS[(seed + seed // 16) % 9], SPECIALS[(4 * seed + 2 + seed // 9) % 9]}
    if width == 1:
        chosen.discard("flat-box")
    specials = frozenset(chosen)
    lower, upper = _box(rng, width, specials)
    layers = _layers(rng, (width, *hidden, classes), specials, lower, upper)
    x, y, w = _samples(rng, layers, specials, lower, upper)
    span = upper - lower
    diameter = float(span.max() if norm == "inf" else span.sum())
    radius = {
        "zero": 0.0,
        "tiny": 1e-4,
        "moderate": float(rng.uniform(0.02, 0.2)) * diameter * (1.0 if loss == "margin" else 0.4),
        "large": 1.5 * diameter,
    }[radius_kind]
    tags = specials | {radius_kind, f"d{width}", f"K{classes}", f"hidden{len(hidden)}"}
    return OracleProblem(tuple(layers), x, y, w, radius, norm, loss, lower, upper, frozenset(tags))


# Problems solved by hand


def _mlp(*layers: tuple[list[list[float]], list[float]]) -> tuple[tuple[Array, Array], ...]:
    return tuple((np.array(weight, dtype=np.float64), np.array(bias, dtype=np.float64)) for weight, bias in layers)


def _problem(
    weights: tuple[tuple[Array, Array], ...],
    x: list[list[float]],
    radius: float,
    loss: LossName = "margin",
    w: list[float] | None = None,
    tags: tuple[str, ...] = (),
) -> OracleProblem:
    """Label 0 for every sample, norm "inf", support [0, 1]^n, equal masses."""
    points = np.array(x, dtype=np.float64)
    count, n = points.shape
    mass = np.full(count, 1 / count) if w is None else np.array(w, dtype=np.float64)
    labels = np.zeros(count, dtype=np.int64)
    return OracleProblem(weights, points, labels, mass, radius, "inf", loss, np.zeros(n), np.ones(n), frozenset(tags))


def hand_solved() -> list[HandSolved]:
    """Problems whose answers need no computer. Mostly z_0 = 0 and y = 0: the margin is the largest other logit."""
    table: list[HandSolved] = []

    def add(name: str, problem: OracleProblem, value: float) -> None:
        table.append(HandSolved(name, problem, value))

    # margin = x1 + 2 x2 at (1/4, 1/4): nominal 3/4. Under l-inf a unit of cost moves both coordinates: slope 1 + 2 = 3.
    plane = _mlp(([[0.0, 0.0], [1.0, 2.0]], [0.0, 0.0]))
    add("linear-inf", _problem(plane, [[0.25, 0.25]], 0.125), 0.75 + 3 * 0.125)
    # Beyond a cost of 3/4 both coordinates are at 1 and the value stays 3.
    add("linear-inf-saturated", _problem(plane, [[0.25, 0.25]], 2.0), 3.0)
    # Under l1 the steepest coordinate has slope 2 = ||(1, 2)||_inf ...
    add("linear-one", replace(_problem(plane, [[0.25, 0.25]], 0.125), norm="1"), 0.75 + 2 * 0.125)
    # ... until x2 = 1 at cost 3/4; the remaining 1/8 moves x1 at slope 1.
    add("linear-one-bend", replace(_problem(plane, [[0.25, 0.25]], 0.875), norm="1"), 0.75 + 2 * 0.75 + 0.125)
    # The other label has the opposite margin -(x1 + 2 x2): nominal -3/4, slope 3 downhill to the corner (0, 0).
    flipped = replace(_problem(plane, [[0.25, 0.25]], 0.125), y=np.array([1], dtype=np.int64))
    add("linear-other-label", flipped, -0.75 + 3 * 0.125)
    # On [-2, 3]^2, masses 1/4 and 3/4 on (0, 0) and (1, -1): nominal 3/4 * (-1); slope 3, far from the faces.
    wide = _problem(plane, [[0.0, 0.0], [1.0, -1.0]], 0.5, w=[0.25, 0.75])
    add("linear-wide-box", replace(wide, lower=np.full(2, -2.0), upper=np.full(2, 3.0)), -0.75 + 1.5)
    # The masses bound what can be spent at slope 3: both samples reach (1, 1) at cost 1/2 * 3/4 + 1/2 * 1/4 = 1/2.
    pair = _problem(plane, [[0.25, 0.25], [0.75, 0.75]], 0.25)
    add("linear-two-samples", pair, 0.5 * 0.75 + 0.5 * 2.25 + 3 * 0.25)

    # margin = relu(4x - 3): 0 up to 3/4, then up to 1 at x = 1. Its concave envelope to the right of x = 1/4 is the
    # chord from (1/4, 0) to (1, 1), slope 4/3, so at radius 3/8 half of the mass goes to x = 1: V = 1/2. Moving all of
    # it by 3/8 would gain nothing.
    hinge = _mlp(([[4.0]], [-3.0]), ([[0.0], [1.0]], [0.0, 0.0]))
    add("one-relu-chord", _problem(hinge, [[0.25]], 0.375), 0.5)
    add("one-relu-saturated", _problem(hinge, [[0.25]], 0.75), 1.0)

    # margin = x - 2 relu(x - 1/2) for x >= 0: a roof with its top 1/2 at x = 1/2. From 1/4 slope 1 for a cost of 1/4,
    # then nothing more.
    roof = _mlp(([[1.0], [1.0]], [0.0, -0.5]), ([[0.0, 0.0], [1.0, -2.0]], [0.0, 0.0]))
    add("roof-climb", _problem(roof, [[0.25]], 0.125), 0.375)
    add("roof-top", _problem(roof, [[0.25]], 5.0), 0.5)

    # margin = |x - 1/2| at 3/8, value 1/8: to the left the slope is 1 up to 1/2 at x = 0; to the right the best chord,
    # to (1, 1/2), has slope (3/8) / (5/8) = 3/5. So V = 1/8 + radius, up to 1/2.
    valley = _mlp(([[1.0], [-1.0]], [-0.5, 0.5]), ([[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0]))
    add("valley", _problem(valley, [[0.375]], 0.25), 0.375)

    # Rivals z_1 = x - 1/2 and z_2 = 3/4 - 3x at x = 1/2, margin max(0, -3/4) = 0. z_1 climbs with slope 1 to 1/2 at
    # x = 1; z_2 is 3/4 at x = 0, so the chord to the left has slope 3/2: V = 3/2 radius until 3/4.
    rivals = _mlp(([[0.0], [1.0], [-3.0]], [0.0, -0.5, 0.75]))
    add("two-rivals", _problem(rivals, [[0.5]], 0.25), 0.375)

    # Zero-one with margin x - 3/4: an error iff x >= 3/4. Distances 0 (a tie) with mass 1/4, 1/4 with mass 1/2, 1/2
    # with mass 1/4. Budget 5/32: the tie is free (1/4), the middle one costs 1/8 (1/2), and of the 1/8 that the last
    # would cost 1/32 is left: a quarter of its 1/4.
    line = _mlp(([[0.0], [1.0]], [0.0, -0.75]))
    shop = _problem(line, [[0.75], [0.5], [0.25]], 0.15625, "zero-one", [0.25, 0.5, 0.25])
    add("knapsack", shop, 0.25 + 0.5 + 0.0625)
    add("knapsack-radius-zero", replace(shop, radius=0.0), 0.25)
    add("knapsack-all", replace(shop, radius=1.0), 1.0)
    # A sample with no mass is no part of P, however near it is: V = radius / (1/4).
    add("knapsack-zero-mass", _problem(line, [[0.5], [0.6875]], 0.125, "zero-one", [1.0, 0.0]), 0.5)

    # margin = -relu(x - 1/4) is never positive, and 0, an error, for all x <= 1/4: distance 1/2 from x = 3/4.
    plateau = _mlp(([[1.0]], [-0.25]), ([[0.0], [-1.0]], [0.0, 0.0]))
    add("tie-plateau", _problem(plateau, [[0.75]], 0.125, "zero-one"), 0.25)
    # margin = -|x - 1/4| is 0 at x = 1/4 alone: the same distance, to an error set without interior.
    thin = _mlp(([[1.0], [-1.0]], [-0.25, 0.25]), ([[0.0, 0.0], [-1.0, -1.0]], [0.0, 0.0]))
    add("tie-thin", _problem(thin, [[0.75]], 0.125, "zero-one", tags=("thin",)), 0.25)
    # margin = -1 - relu(x): no error anywhere, at any radius.
    never = _mlp(([[1.0]], [0.0]), ([[0.0], [-1.0]], [0.0, -1.0]))
    add("no-error", _problem(never, [[0.5]], 3.0, "zero-one"), 0.0)
    # Both logits are relu(x): a tie everywhere. Margin 0 and zero-one 1, at any radius.
    same = _mlp(([[1.0]], [0.0]), ([[1.0], [1.0]], [0.0, 0.0]))
    add("tie-everywhere-margin", _problem(same, [[0.5]], 0.5), 0.0)
    add("tie-everywhere-zero-one", _problem(same, [[0.5]], 0.0, "zero-one"), 1.0)
    return table
