"""Every loss of the registry is held to its own pieces, and everybody who asks about losses to the registry."""

from __future__ import annotations

import json
from fractions import Fraction
from importlib import resources
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from layers import Affine, network_of
from numpy.typing import NDArray

import wdaverify.losses
from wdaverify import cli
from wdaverify.attacks.ascent import Arena, Clock
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.losses.registry import Loss, in_words, those
from wdaverify.losses.rule import Reads
from wdaverify.network.model import Array, readonly
from wdaverify.pieces import Pieces
from wdaverify.problem import Functionals, WdroProblem
from wdaverify.report import as_json
from wdaverify.report.page import words
from wdaverify.samples import make_samples
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.witness.losses import float32_losses, loss_bounds

LOSSES, K, COUNT = list(Loss), 4, 60
MATRIX, OFFSETS = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [0.25, 0.0, 0.0, 1.0]]), np.arange(12.0)


def question(loss: Loss, seed: int = 0) -> WdroProblem:
    """Points that are their own logits, some with two alike, under labels at random."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(COUNT, K)) * 2
    x[::7, 1] = x[::7, 0]
    network = network_of((Affine(readonly(np.eye(K)), readonly(np.zeros(K))),), (K,), (K,), "", "identity", ())
    functionals = Functionals(MATRIX, OFFSETS.reshape(4, 3) / 10) if loss.rule.takes_functionals else None
    samples = make_samples(x, None if loss.rule.takes_specification else rng.integers(0, K, COUNT))
    cost, support = GroundCost(Norm.INF, 1), Support.box(-20, 20, K)
    unsafe = specification() if loss.rule.takes_specification else None
    return WdroProblem(network, samples, cost, support, loss, 0.1, functionals, unsafe)


def specification() -> Specification:
    """Either of the first two outputs leads all later ones by 1."""
    box = Box.exact([Fraction(-20)] * K, [Fraction(20)] * K)
    rows = [tuple(Row(((k, 1), (j, -1)), (), Fraction(-1)) for j in range(k + 1, K)) for k in (0, 1)]
    return Specification(K, K, tuple(Disjunct(box, some) for some in rows), "made here", "")


def read(problem: WdroProblem, z: Array, y: NDArray[np.int64]) -> Array:
    """What the loss reads beside labels: logits, or the functionals' values."""
    f = problem.functionals
    return (
        z
        if f is None
        else np.stack([[a @ row + b[r] for r, row in enumerate(f.matrix)] for a, b in zip(z, f.offset[y], strict=True)])
    )


def scores(problem: WdroProblem) -> Array:
    """What the network, which is the identity but for a specification's scores, says of the samples."""
    x = problem.samples.x
    return problem.network.forward(x) if problem.loss.rule.takes_specification else x


def values(problem: WdroProblem, z: Array, y: NDArray[np.int64]) -> Array:
    return problem.loss.rule.single(read(problem, z, y), y)


@pytest.mark.parametrize("loss", those(lambda rule: rule.by_pieces))
def test_a_loss_is_the_maximum_of_its_pieces(loss: Loss) -> None:
    problem = question(loss)
    pieces, z, y = Pieces.of(problem), problem.samples.x, problem.samples.y
    for i, value in enumerate(values(problem, z, y)):
        items = pieces.of_samples(np.array([i]))[0]
        parts = pieces.rows(items) @ z[i]
        each = parts[:, 0] + pieces.offset[items]
        if pieces.entropy:  # every piece is the loss where its class is the largest, and so is the formula elsewhere
            behind, lead = pieces.behind(items) @ z[i], pieces.lead(items) @ z[i]
            assert [bool((row <= 0).all()) for row in behind] == (z[i] == z[i].max()).tolist()
            each = lead + np.logaddexp.reduce(np.append(behind, np.zeros((len(items), 1)), axis=1), axis=1)
            assert np.ptp(each) < 1e-12
            assert each[0] == pytest.approx(np.logaddexp.reduce([0.0, *parts[0]]), abs=1e-12)
        assert value == pytest.approx(max(pieces.floor, np.max(each)), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_enclosures_hold_every_value_between(loss: Loss) -> None:
    """The bounds of a point are tight, and those of a box of margins hold the values of points inside."""
    problem = question(loss)
    rule, z, y = loss.rule, scores(problem), problem.samples.y
    lower, upper = loss_bounds(problem, problem.samples.x, y)
    there = values(problem, z, y)
    assert (lower <= there + 1e-12).all()
    assert (there <= upper + 1e-12).all()
    assert (upper - lower <= 1e-9 * (1 + np.abs(there))).all()
    if rule.reads in (Reads.ERROR, Reads.FUNCTIONALS):
        return
    rng, rows = np.random.default_rng(1), np.arange(COUNT)
    margins = z - z[rows, y][:, None]
    low, high = margins - rng.uniform(0, 0.3, margins.shape), margins + rng.uniform(0, 0.3, margins.shape)
    low[rows, y] = high[rows, y] = 0.0
    if rule.reads is Reads.RIVAL:
        others = np.arange(K) != y[:, None]
        bounds = rule.enclosed(*(side[others].reshape(COUNT, -1).max(axis=1) for side in (low, high)), y)
    else:
        bounds = rule.enclosed(low, high, y)
    for share in rng.uniform(size=(200, COUNT, K)):
        inside = rule.single(low + share * (high - low), y)
        assert (bounds[0] <= inside + 1e-9 * np.abs(inside)).all()
        assert (inside <= bounds[1] + 1e-9 * np.abs(inside)).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision_is_near(loss: Loss) -> None:
    problem = question(loss, 1)
    x, y = problem.samples.x, problem.samples.y
    assert float32_losses(problem, x, y) == pytest.approx(values(problem, scores(problem), y), rel=1e-4, abs=1e-4)
    assert float32_losses(problem, x, y).dtype == np.float64


@pytest.mark.parametrize("loss", those(lambda rule: not rule.no_gradient))
def test_derivatives_are_finite_differences(loss: Loss) -> None:
    """Away from kinks, which random points do not meet."""
    problem, step = question(loss, 2), 1e-6
    z, y = np.random.default_rng(3).normal(size=(COUNT, K)), problem.samples.y
    seen, rule = read(problem, z, y), loss.rule
    found = rule.derivative(seen, y)
    for k, e in enumerate(step * np.eye(seen.shape[1])):
        slope = (rule.single(seen + e, y) - rule.single(seen - e, y)) / (2 * step)
        assert found[:, k] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("loss", those(lambda rule: not rule.attacked_as))
def test_the_attacks_climb_the_loss(loss: Loss) -> None:
    problem = question(loss)
    with torch.inference_mode():
        arena = Arena.build(problem, torch.device("cpu"), Clock(None))
        climbed = arena.loss(arena.margins(arena.centre, torch.arange(COUNT))).numpy()
        alone = arena.worth(arena.clean).amax(dim=1).numpy()
    assert climbed == pytest.approx(values(problem, scores(problem), problem.samples.y), abs=1e-12)
    if loss.rule.by_pieces and not loss.rule.entropy:
        assert alone == pytest.approx(climbed, abs=1e-12)


def test_what_is_attacked_in_a_losses_place_is_a_loss() -> None:
    for loss in those(lambda rule: bool(rule.attacked_as)):
        assert not Loss(loss.rule.attacked_as).rule.attacked_as


def test_every_file_is_a_loss() -> None:
    files = {path.stem for path in Path(wdaverify.losses.__path__[0]).glob("*.py")} - {"__init__", "registry", "rule"}
    assert files == {loss.value.replace("-", "_") for loss in Loss}


def test_words() -> None:
    for field in ("formula", "noun", "reading"):
        said = [getattr(loss.rule, field) for loss in Loss]
        assert all(said)
        assert len(set(said)) == len(said)
    names = [name for loss in Loss for name in (loss.value, *loss.rule.aliases)]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and "_" not in name for name in names)
    assert all(Loss.of(name).value == loss.value for loss in Loss for name in loss.rule.aliases)
    assert set(words.LOSSES) == set(words.READINGS) == set(Loss)
    assert in_words([Loss.MARGIN, Loss.HINGE, Loss.DLR]) == "margin, hinge and dlr"
    assert in_words([Loss.MARGIN, Loss.DLR], "or") == "margin or dlr"
    assert in_words([Loss.LINEAR]) == "linear"


def test_the_command_line_takes_them_all() -> None:
    for command in ("verify", "curve", "compare", "attack", "recheck"):
        [option] = [p for p in cli.cli.commands[command].params if p.name == "loss"]
        assert isinstance(option.type, click.Choice)
        assert list(option.type.choices) == [loss.value for loss in Loss]


def test_schemas_list_them_all() -> None:
    """And the files beside the reports list none, so that there is one list."""
    proved = list(those(lambda rule: rule.certified))
    wanted = {"verdict": proved} | {kind: list(Loss) for kind in ("verification", "attack", "curve", "compare")}
    for kind, losses in wanted.items():
        assert as_json.schema(kind)["properties"]["loss"] == {"enum": losses}
        raw = json.loads(resources.files("wdaverify.report").joinpath(f"{kind}.schema.json").read_text())
        assert raw["properties"]["loss"]["type"] == "string"
        assert "enum" not in raw["properties"]["loss"]


def test_what_is_answered_follows_from_the_pieces() -> None:
    """A floor or an offset is no margin, and a log-sum-exp is in no integer model."""
    assert set(Loss) - set(those(lambda rule: rule.certified)) == {"dlr"}
    for loss in Loss:
        rule = loss.rule
        assert rule.certified == (rule.by_pieces or rule.by_distances)
        assert not rule.mip or not (rule.entropy or rule.by_levels)
        assert rule.grows == rule.by_pieces


def test_names_of_norms() -> None:
    said = {"inf": ("l-inf", "l1 norm"), "1": ("l1", "largest entry"), "2": ("l2", "l2 norm")}
    assert {norm.value: (norm.short, norm.dual) for norm in Norm} == said
    assert all(norm.short in norm.meaning for norm in Norm)
