"""Attacks on any torch module or callable: lower bounds that the module itself evaluates, in floating point.

A bound here is ``sum w loss`` of a distribution whose points the module takes exactly as they are stored, with costs summed in doubles
and masses scaled until ``sum w d^p <= radius^p (1 - 2^-40)``. It is no statement about real arithmetic: ``vouched`` is ``module``, and
nothing here goes into a bracket.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.attacks.ascent import Arena, Clock
from wdaverify.attacks.effort import Effort
from wdaverify.attacks.geometry import Geometry
from wdaverify.attacks.module_network import ModuleNetwork
from wdaverify.attacks.run import explored, named_attacks, ranked
from wdaverify.digits import down, stated
from wdaverify.errors import ProblemError, SamplesError
from wdaverify.ground import GroundCost, Support
from wdaverify.losses.registry import Loss
from wdaverify.network.model import Array
from wdaverify.problem import Samples
from wdaverify.transport.distribution import Distribution
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool

POOL_NUMBERS = 2**27
"""Numbers that the pool of a module's points may take in all (1 GiB); the number of rivals follows where they would be more."""
_VERTICES = 5
_ROUNDED = 1 - 2.0**-40
_WITHIN = 1 - 2.0**-20
_PORTION = 2048


@dataclass(frozen=True, eq=False)
class ModuleQuestion:
    """``sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius }`` for a module: samples ``x [N, n]`` of points of ``shape``."""

    module: Callable[[Tensor], Tensor]
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    samples: Samples
    cost: GroundCost
    support: Support
    loss: Loss
    radius: float


@dataclass(frozen=True, eq=False, repr=False)
class ModuleAttackResult:
    """Lower bounds by floating-point evaluation of the module itself (``vouched`` is ``module``): no part of any bracket.

    ``attacks`` maps each attack's name to its value; ``lower`` is the best. Its distribution: ``weight [M]`` of ``sample [M]`` at
    ``point [M, ...]``, ``distance [M]`` away, with ``loss [M]``; each sample's weights sum to its own up to rounding.
    """

    name: str
    radius: float
    order: float
    norm: str
    loss_name: str
    nominal: float
    attacks: dict[str, float]
    transport_cost: float
    sample: NDArray[np.int64]
    weight: Array
    distance: Array
    loss: Array
    point: NDArray[Any]
    seconds: float
    evaluations: int
    device: str
    dtype: str
    seed: int
    finished: bool
    notices: tuple[str, ...]
    vouched: str = field(default="module", init=False)

    @property
    def lower(self) -> float:
        """The best value found."""
        return max([self.nominal, *self.attacks.values()])

    def __repr__(self) -> str:
        return (
            f"<attack >= {down(self.lower)} by the module in {self.dtype}: nominal {down(self.nominal)}, {self.loss_name}, "
            f"W_{stated(self.order)} radius {stated(self.radius)} in l-{self.norm}>"
        )

    def __str__(self) -> str:
        rows = [
            ("module", self.name),
            ("lower", f"{down(self.lower)}   as the module computes it in {self.dtype}; not proven in real arithmetic"),
            ("vouched", "module: no bracket of a network is made with it"),
            ("nominal", down(self.nominal)),
            ("transport cost", f"{self.transport_cost:.9g} of the radius {stated(self.radius)}"),
            *((name, down(value)) for name, value in self.attacks.items()),
            ("time", f"{self.seconds:.1f} s, {self.evaluations} evaluations, device {self.device}"),
            *(("note", notice) for notice in self.notices),
        ]
        return "\n".join(f"{name:<16}{text}" for name, text in rows)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data, without the points: what ``report/module_attack.schema.json`` describes."""
        hidden = ("point", "sample", "weight", "distance", "loss")
        plain = {name: value for name, value in vars(self).items() if name not in hidden}
        order = "inf" if math.isinf(self.order) else int(self.order)
        document = {**plain, "order": order, "attacks": dict(self.attacks), "notices": list(self.notices)}
        return {"schema": "wdaverify/module_attack/1", "lower": self.lower, "vouched": self.vouched, **document}


def module_attack(
    question: ModuleQuestion,
    *,
    device: torch.device,
    seed: int,
    time_limit: float | None,
    effort: Effort,
    batch: int,
    progress: Callable[[int, float], None] | None = None,
    notices: tuple[str, ...] = (),
) -> ModuleAttackResult:
    """Attack a module on ``device``, at most ``batch`` points at a time; ``progress`` hears of evaluations and seconds.

    ``KeyboardInterrupt`` ends the attacks, and the mixture of what they found is given.

    Raises:
        NetworkError: what the module gives is no scores, or has no gradient.
        ProblemError, SamplesError: a question that cannot be asked of it.
    """
    begun = time.monotonic()
    network = ModuleNetwork(question.module, question.shape, question.dtype, device, batch)
    clock = Clock(None if time_limit is None else begun + 0.8 * time_limit, effort.budget)
    clock.tell = None if progress is None else lambda evaluations: progress(evaluations, time.monotonic() - begun)
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        valuing = _Valuing(question, network, device)
        arena, said = _arena(question, network, device, clock, effort)
        named = named_attacks(question, effort)
        interrupted, found = False, dict[str, Distribution]()
        try:
            found = explored(arena, named, seed)[0] if question.radius > 0 else {}
        except KeyboardInterrupt:  # the pool keeps every point that was visited, and each is valued again
            interrupted = True
        sample, point = ranked(arena) if question.radius > 0 else valuing.nobody
        samples, points = [sample, *(d.sample for d in found.values())], [point, *(d.point for d in found.values())]
        for some, where in zip(samples, points, strict=True):
            valuing.take(some, where)
        values = {name: valuing.worth(d) for name, d in found.items()}
        values["mixture"], atoms = valuing.mixture()
        best = max(values, key=lambda name: values[name])
        if best != "mixture":  # rounding alone
            values["mixture"], atoms = values[best], valuing.atoms(found[best])
    cut = ("a limit cut the attacks short",) if clock.cut else ()
    cut = ("interrupted: the mixture of what was found until then",) if interrupted else cut
    return ModuleAttackResult(
        name=question.name,
        radius=question.radius,
        order=question.cost.order,
        norm=question.cost.norm.value,
        loss_name=question.loss.value,
        nominal=valuing.nominal,
        attacks=values,
        transport_cost=atoms.transport(question),
        sample=atoms.sample,
        weight=atoms.weight,
        distance=atoms.distance,
        loss=atoms.loss,
        point=atoms.point.reshape(-1, *question.shape),
        seconds=time.monotonic() - begun,
        evaluations=network.evaluations,
        device=device.type,
        dtype=str(question.dtype).removeprefix("torch."),
        seed=seed,
        finished=not (clock.cut or interrupted),
        notices=(*notices, *said, *cut),
    )


def _arena(
    question: ModuleQuestion, network: ModuleNetwork, device: torch.device, clock: Clock, effort: Effort
) -> tuple[Arena, tuple[str, ...]]:
    """The attacks' arena, with as many rivals as the pool has room for."""
    samples, notices = question.samples, tuple[str, ...]()
    most = max(1, POOL_NUMBERS // (_VERTICES * samples.x.size))
    rivals = min(network.outputs - 1, effort.rivals or network.outputs)
    if most < rivals:
        notices = (f"the pool has room for {most} of {rivals} rivals of each sample: those of the largest margins",)
        rivals = most
    y = torch.tensor(np.array(samples.y), device=device)
    slots = torch.arange(network.outputs - 1, device=device)
    rival = slots + (slots >= y.unsqueeze(1)).long()
    lower, upper, centre = (
        torch.tensor(np.array(v), dtype=torch.float64, device=device)
        for v in (question.support.lower, question.support.upper, samples.x)
    )
    arena = Arena.opened(
        question,
        network,
        Geometry(question.cost.norm, lower, upper),
        (centre, y, rival),
        clock,
        replace(effort, rivals=max(1, rivals)),
        radius=question.radius * (_WITHIN if math.isinf(question.cost.order) else 1.0),
    )
    return arena, notices


@dataclass(frozen=True, eq=False)
class _Atoms:
    """A distribution: ``weight [M]`` of ``sample [M]`` at ``point [M, n]``, ``distance [M]`` away at ``loss [M]``."""

    sample: NDArray[np.int64]
    weight: Array
    distance: Array
    loss: Array
    point: Array

    def transport(self, question: ModuleQuestion) -> float:
        """``(sum w d^p)^(1/p)``; order inf: the largest distance."""
        if math.isinf(question.cost.order):
            return float(self.distance.max(initial=0.0))
        p = question.cost.power
        return float((self.weight @ self.distance**p) ** (1 / p))


class _Valuing:
    """Points as the module takes them, their distances and losses, and the master on them."""

    def __init__(self, question: ModuleQuestion, network: ModuleNetwork, device: torch.device) -> None:
        self._question, self._network, self._device = question, network, device
        x, y = question.samples.x, question.samples.y
        network.scores(torch.tensor(np.array(x[:1]), device=device))  # how many there are
        wrong = np.flatnonzero((y < 0) | (y >= network.outputs))
        if wrong.size:
            raise SamplesError(
                f"label {int(y[wrong[0]])} of sample {int(wrong[0])} for a module of {network.outputs} scores: "
                "labels are class numbers from 0"
            )
        self._clean = np.concatenate(
            [self._scored(x[a : a + _PORTION], y[a : a + _PORTION]) for a in range(0, len(y), _PORTION)]
        )
        if not np.isfinite(self._clean).all():
            bad = int(np.flatnonzero(~np.isfinite(self._clean))[0])
            raise ProblemError(
                f"the module's scores at sample {bad} are not finite: finite scores are needed at the samples"
            )
        self._pool = AtomPool(self._clean, x.shape[1])
        self.nominal = float(question.samples.w @ self._clean)
        self.nobody = np.zeros(0, np.int64), np.zeros((0, x.shape[1]))

    def _scored(self, x: Array, y: NDArray[np.int64]) -> Array:
        """Losses ``[B]`` of points as they are; nan where a score is not finite."""
        z = self._network.scores(torch.tensor(np.array(x), device=self._device)).cpu().numpy()
        return np.where(np.isfinite(z).all(axis=1), self._question.loss.rule.single(z, y), np.nan)

    def _as_taken(self, x: Array) -> Array:
        """Points ``[B, n]`` rounded to the module's type and still in the support."""
        support, dtype = self._question.support, self._question.dtype
        rounded = torch.tensor(np.array(x)).to(dtype)
        low, high = (torch.tensor(np.array(v)) for v in (support.lower, support.upper))
        out = rounded.double()
        for beyond, towards in ((out > high, -torch.inf), (out < low, torch.inf)):
            inner = torch.nextafter(rounded, torch.full_like(rounded, towards)).double()
            out = torch.where(beyond, inner, out)
        return out.numpy()

    def _placed(self, sample: NDArray[np.int64], point: Array) -> tuple[Array, Array, Array]:
        """Points as taken, distances and losses; what is out of reach or not finite costs inf."""
        question = self._question
        centre, taken = question.samples.x[sample], self._as_taken(point)
        distance = question.cost.distance(taken - centre) * (1 + 2.0**-45)
        if math.isinf(question.cost.order):
            far = distance > question.radius
            taken[far] = self._as_taken(centre[far] + _WITHIN**2 * (point[far] - centre[far]))
            distance = question.cost.distance(taken - centre) * (1 + 2.0**-45)
            distance = np.where(distance > question.radius, np.inf, distance)
        loss = self._scored(taken, question.samples.y[sample])
        return taken, np.where(np.isfinite(loss), distance, np.inf), np.where(np.isfinite(loss), loss, -np.inf)

    def take(self, sample: NDArray[np.int64], point: Array) -> None:
        """Offer points to the master."""
        for a in range(0, sample.size, _PORTION):
            some = sample[a : a + _PORTION]
            taken, distance, loss = self._placed(some, point[a : a + _PORTION])
            capped = math.isinf(self._question.cost.order)
            kept = np.isfinite(distance) & (distance > 0)
            cost = np.zeros_like(distance) if capped else distance**self._question.cost.power
            self._pool.add_many(some[kept], cost[kept], loss[kept], taken[kept])

    def mixture(self) -> tuple[float, _Atoms]:
        """The best distribution on all points taken."""
        question = self._question
        budget = 0.0 if math.isinf(question.cost.order) else question.radius**question.cost.power
        plan = solve_master(self._pool, question.samples.w, budget).plan.distribution(question.samples.y)
        atoms = self.atoms(plan)
        return float(atoms.weight @ atoms.loss), atoms

    def worth(self, found: Distribution) -> float:
        """What a named distribution is worth."""
        atoms = self.atoms(found)
        return float(atoms.weight @ atoms.loss)

    def atoms(self, found: Distribution) -> _Atoms:
        """A proposal with its points as taken, its masses scaled into the ball and what stays beside them; moves that lose are dropped."""
        question, w = self._question, self._question.samples.w
        point, distance, loss = self._placed(found.sample, found.point)
        good = np.isfinite(distance) & (loss > self._clean[found.sample]) & (found.mass > 0)
        sample, mass = found.sample[good], found.mass[good]
        point, distance, loss = point[good], distance[good], loss[good]
        if not math.isinf(question.cost.order):
            spent = float(mass @ distance**question.cost.power)
            budget = question.radius**question.cost.power * _ROUNDED
            mass = mass * min(1.0, budget / spent) if spent > 0 else mass
        stays = np.maximum(w - np.bincount(sample, mass, minlength=w.size), 0.0)
        at = np.flatnonzero(stays > 0)
        owner = np.concatenate([at, sample])
        order = np.argsort(owner, kind="stable")
        weight, away = np.concatenate([stays[at], mass]), np.concatenate([np.zeros(at.size), distance])
        value, points = np.concatenate([self._clean[at], loss]), np.concatenate([question.samples.x[at], point])
        return _Atoms(owner[order], weight[order], away[order], value[order], points[order])


def told_on_stderr() -> Callable[[int, float], None]:
    """A line of progress that follows, in a terminal or a log."""

    def tell(evaluations: int, seconds: float) -> None:
        pace = evaluations / max(seconds, 1e-9)
        sys.stderr.write(f"\r{evaluations:>12,} evaluations, {seconds:8.1f} s, {pace:,.0f} a second ")
        sys.stderr.flush()

    return tell
