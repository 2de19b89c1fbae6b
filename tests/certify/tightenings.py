"""Rows that tighten bounds, drawn at random, and what they speak of: points of a shell with the values of a question there.

Nothing here but the drawing of shells shares code with the checker: pre-activations, distances and values are computed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from bounds.tiny import exact_distance, exact_values, network, on_grid, random_layers, raw
from oracles import Array

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.proof import BARE, TIGHTENED, WRITTEN, Phases, Tightening, Tree
from wdaverify.certify.tightened import Asked, Nodes
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Norm


@dataclass(frozen=True, eq=False)
class Setting:
    """A question about one shell of a tiny network, and points of it: pre-activations ``z [P, M]``, values ``[P]``.

    ``multiplier`` is None for a distance, whose value is the functional itself.
    """

    net: ReluNetwork
    backward: Backward
    norm: Norm
    shells: Shells
    bounds: HiddenBounds
    asked: Asked
    points: Array
    z: Array
    values: Array

    @property
    def multiplier(self) -> float | None:
        return None if self.asked.multiplier is None else float(self.asked.multiplier[0])

    def loose(self) -> Setting:
        """The same with wider bounds of neurons, from which most rows gain."""
        return replace(self, bounds=[(low - 1.0, high + 1.0) for low, high in self.bounds])

    def nodes(self, phases: Array) -> Nodes:
        return Nodes(self.shells, self.bounds, phases[None].astype(np.int8))

    def inside(self, phases: Array, level: float) -> Array:
        """Which points surely lie on the sides of the phases and have a value of at least the level, ``[P]``."""
        sides = (phases[None] * self.z >= 1e-12).all(axis=1, where=phases != 0)
        return sides & (self.values >= level + 1e-10 * (1 + abs(level) if np.isfinite(level) else 0.0))

    def exact(self, at: int) -> tuple[list[Fraction], Fraction]:
        """The pre-activations and the value of a point in rationals; l-inf and l1 alone."""
        before, logits = exact_values(self.net, self.points[at])
        pairs = zip(self.asked.functional[0].tolist(), logits, strict=True)
        value = sum((Fraction(c) * v for c, v in pairs), Fraction(0))
        if self.multiplier is not None:
            far = exact_distance(self.norm, self.points[at] - self.shells.centre[0])
            value -= Fraction(self.multiplier) * far**self.asked.power
        return [v for layer in before for v in layer], value


def length(norm: Norm, delta: Array) -> Array:
    if norm is Norm.INF:
        return np.abs(delta).max(axis=-1)
    return np.abs(delta).sum(axis=-1) if norm is Norm.ONE else np.sqrt((delta * delta).sum(axis=-1))


def setting(seed: int, norm: Norm, power: int = 1, *, distance: bool = False, whole: bool = False) -> Setting:
    """One of a seed; ``whole``: the shell begins at 0."""
    rng = np.random.default_rng([seed, power])
    n = int(rng.integers(2, 4))
    net = network(*random_layers(rng, n, *[int(v) for v in rng.integers(3, 6, int(rng.integers(1, 4)))], 3))
    backward = Backward(net.canonical)
    centre = on_grid(rng.uniform(size=n))
    points = on_grid(
        np.clip(centre + (rng.uniform(size=(1500, n)) - 0.5) * rng.choice([0.1, 0.5, 2.0], (1500, 1)), 0, 1)
    )
    far_off = length(norm, points - centre)
    near, far = sorted(rng.choice(far_off, 2))
    near, far = (0.0 if whole else near * (1 - 1e-12)), far * (1 + 1e-12)
    points = points[(far_off >= near) & (far_off <= far)]
    order = GroundCost(norm, 1)
    shells = Shells.around(order, centre[None], np.zeros(n), np.ones(n), np.array([near]), np.array([far]))
    functional = np.zeros(3)
    functional[rng.choice(3, 2, replace=False)] = 1.0, -1.0
    multiplier = None if distance else np.array([float(rng.choice([0.0, 0.3, 2.0, 10.0]))])
    parts, h = list[Array](), points
    for weight, bias in raw(net)[:-1]:
        parts.append(h @ weight.T + bias)
        h = np.maximum(parts[-1], 0)
    weight, bias = raw(net)[-1]
    values = (h @ weight.T + bias) @ functional
    if multiplier is not None:
        values = values - multiplier[0] * length(norm, points - centre) ** power
    asked = Asked(functional[None], multiplier, power)
    bounds = backward.pre_activations(shells)
    return Setting(net, backward, norm, shells, bounds, asked, points, np.concatenate(parts, axis=1), values)


def some_phases(rng: np.random.Generator, z: Array, share: float = 0.3) -> Phases:
    """Phases of some neurons on whose sides one of the points lies, now and then none does."""
    chosen = rng.random(z.shape[1]) < share
    own = np.sign(z[int(rng.integers(len(z)))]) if len(z) and rng.random() < 0.9 else rng.choice([-1, 1], z.shape[1])
    return np.where(chosen, own, 0).astype(np.int8)


def drawn(rng: np.random.Generator, neurons: int, level: float, count: int | None = None) -> Tightening:
    """Rows of any neurons, some of them twice, with any slopes, weights and beta; half of them without beta, which gain more."""
    rows = int(rng.integers(1, 8)) if count is None else count
    slopes = rng.choice([0, 255], (rows, neurons)) if rng.random() < 0.5 else rng.integers(0, 256, (rows, neurons))
    beta = rng.normal(size=neurons) * 10.0 ** rng.integers(-3, 3) * (rng.random(neurons) < 0.3)
    return Tightening(
        level,
        rng.integers(0, 2 * neurons, rows).astype(np.int32),
        (10.0 ** rng.uniform(-2, 3, rows)).astype(np.float32),
        slopes.astype(np.uint8),
        (beta * (rng.random() < 0.5)).astype(np.float32),
    )


def some_level(rng: np.random.Generator, values: Array) -> float:
    """None (-inf), one that points attain, or one that few or none do."""
    match int(rng.integers(4)):
        case 0:
            return -np.inf
        case 1:
            return float(np.quantile(values, rng.random())) if values.size else 0.0
        case 2:
            return float(np.sort(values)[-3:][0]) if values.size else 0.0
        case _:
            return float(values.max(initial=0.0) + rng.choice([0.01, 1.0, 100.0]))


def grown(
    rng: np.random.Generator, neurons: int, levels: Sequence[float], depth: int = 3, written: float = 0.0
) -> tuple[list[int], list[Tightening], list[Array]]:
    """A tree's nodes, tightenings (none, one or several at a node) and rows of written leaves, random."""
    nodes, tights, rows = list[int](), list[Tightening](), list[Array]()

    def grow(free: list[int], left: int) -> None:
        for _ in range(int(rng.choice([0, 0, 1, 1, 2, 4]))):
            nodes.append(TIGHTENED)
            tights.append(drawn(rng, neurons, float(rng.choice(levels))))
        if left and free and rng.random() < 0.8:
            neuron = int(rng.choice(free))
            nodes.append(neuron)
            for _ in range(2):
                grow([k for k in free if k != neuron], left - 1)
        elif rng.random() < written:
            nodes.append(WRITTEN)
            row = rng.normal(size=2 + neurons) * 10.0 ** rng.integers(-3, 3)
            row[:2] = rng.integers(0, 2, 2)
            rows.append(row)
        else:
            nodes.append(BARE)

    grow(list(range(neurons)), depth)
    return nodes, tights, rows


def some_tree(
    rng: np.random.Generator,
    neurons: int,
    levels: Sequence[float],
    near: float,
    far: float,
    depth: int = 3,
    written: float = 0.0,
) -> Tree:
    nodes, tights, rows = grown(rng, neurons, levels, depth, written)
    vectors = np.array(rows) if rows else np.zeros((0, 2 + neurons))
    return Tree(near, far, np.array(nodes, np.int32), vectors, tuple(tights))


def with_tights(
    rng: np.random.Generator, tree: Tree, neurons: int, levels: Sequence[float], share: float = 0.5
) -> Tree:
    """The tree with tightenings before some of its nodes."""
    nodes, tights, old = list[int](), list[Tightening](), iter(tree.tights)
    for node in tree.nodes.tolist():
        if rng.random() < share:
            nodes.append(TIGHTENED)
            tights.append(drawn(rng, neurons, float(rng.choice(levels))))
        nodes.append(node)
        if node == TIGHTENED:
            tights.append(next(old))
    return replace(tree, nodes=np.array(nodes, np.int32), tights=tuple(tights))


def same_tight(a: Tightening, b: Tightening) -> bool:
    """Whether they are the same to the bit."""
    names = ("at", "weight", "slopes", "beta")
    level = np.array([a.level, b.level])
    return level[:1].tobytes() == level[1:].tobytes() and all(
        getattr(a, name).dtype == getattr(b, name).dtype and getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for name in names
    )


# A row evaluated by hand


def by_hand(s: Setting, low: Array, high: Array, phases: Array, tight: Tightening, row: int) -> float:
    """What a row says that ``s z_k`` is at most, by loops over the formula of docs/theory.md, section 9; near = 0."""
    low, high = np.where(phases > 0, np.maximum(low, 0), low), np.where(phases < 0, np.minimum(high, 0), high)
    at, weight = int(tight.at[row]), float(tight.weight[row])
    leveled = tight.level > -np.inf
    level = tight.level if leveled and s.multiplier is not None else 0.0
    nu = s.asked.functional[0] * (1.0 if leveled else 0.0)
    total, end = 0.0, low.size
    pairs = raw(s.net)
    for w, b in reversed(pairs[1:]):
        total += float(nu @ b)
        q = nu @ w
        begin = end - q.size
        fresh = np.zeros(q.size)
        for i in range(q.size):
            k = begin + i
            lift = (weight if at % 2 == 0 else -weight) if k == at // 2 else 0.0
            if low[k] >= 0:
                line = 1.0
            elif high[k] <= 0:
                line = 0.0
            else:
                line = high[k] / (high[k] - low[k]) if q[i] > 0 else int(tight.slopes[row, k]) / 255
            fresh[i] = q[i] * line + float(tight.beta[k]) + lift
            ends = [low[k], high[k], *([0.0] if low[k] < 0 < high[k] else [])]
            total += max(q[i] * max(z, 0.0) + lift * z - fresh[i] * z for z in ends)
        nu, end = fresh, begin
    w, b = pairs[0]
    total += float(nu @ b)
    pull, centre, far = nu @ w, s.shells.centre[0], float(s.shells.far[0])
    room = np.where(pull > 0, 1 - centre, centre)
    tau = (s.multiplier or 0.0) if leveled else 0.0
    best = float(pull @ centre) + _best_move(np.abs(pull), np.minimum(room, far), far, tau, s.norm, s.asked.power)
    return (total + best - (level if leveled else 0.0)) / weight


def _best_move(pull: Array, room: Array, far: float, tau: float, norm: Norm, power: int) -> float:
    """``max pull . d - tau ||d||^power`` over ``0 <= d <= room, ||d|| <= far``, over a million lengths of d where it is curved."""
    order = np.argsort(-pull)

    def gain(t: Array) -> Array:
        if norm is Norm.INF:
            return (pull * np.minimum(t[:, None], room)).sum(axis=1)
        filled = np.concatenate([[0.0], np.cumsum(room[order])])
        steps = np.clip(t[:, None] - filled[None, :-1], 0, room[order])
        return (steps * pull[order]).sum(axis=1)

    bends = np.concatenate([[0.0, far], room, np.cumsum(room[order])])
    t = np.concatenate([bends, np.linspace(0, far, 100_001 if power > 1 and tau else 2)])
    t = t[t <= far]
    return float((gain(t) - tau * t**power).max())
