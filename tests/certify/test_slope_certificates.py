"""Certificates of Lipschitz constants: proved after a trip through a file, true by enumeration of cells, and no forgery gets by.

The oracle (``lipschitz.slopes``) enumerates cells with scipy's and cvxpy's solves; degenerate networks of one input are told in rationals.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from builders import write_mlp
from jsonschema import Draft202012Validator
from lipschitz.slopes import steepest
from lipschitz.test_layered import degenerate, in_rationals
from oracles import OracleError

from wdaverify import (
    CertificateError,
    SlopeCertificate,
    cli,
    load_network,
    make_samples,
    read_lipschitz,
    recheck_lipschitz,
    write_lipschitz,
)
from wdaverify.certify import slopes
from wdaverify.certify.checker import Verdict
from wdaverify.certify.slopes import BACKWARD, CONSTANT, EMPTY, FORWARD, SECTORS, SETTLED, SlopeTree
from wdaverify.ground import GroundCost, LinearRows, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.report import as_json
from wdaverify.report.slope_verdict import slope_verdict_summary

MODELS = Path(__file__).parent.parent.parent / "models"
KINDS = ("box", "ball", "rows", "each", "whole")
COMMON = [(norm, kind) for norm in Norm for kind in KINDS]


def seeds(quick: int, complete: int) -> list[Any]:
    return [pytest.param(s, marks=() if s < quick else pytest.mark.full) for s in range(complete)]


def asked(seed: int, norm: Norm, kind: str) -> tuple[LipschitzProblem, dict[str, Any]]:
    """A random question, and its words for the oracle; of the whole space the box that the oracle takes for it."""
    rng = np.random.default_rng(1000 * seed + 10 * list(Norm).index(norm) + KINDS.index(kind))
    n = int(rng.integers(1, 4))
    net = network(*random_layers(rng, n, int(rng.integers(2, 5)), int(rng.integers(2, 4)), 2))
    measure = Measure.operator_norm(net) if rng.random() < 0.5 and kind != "each" else Measure.margins(net, [0])
    if kind == "each":
        measure = Measure.outputs(net, [(0, None), (1, 0)])
    words: dict[str, Any] = {"together": measure.kind == "operator-norm", "weights": raw(net), "rows": measure.rows}
    support, around, within = Support.box(-1.0, 1.5, n), None, math.inf
    if kind == "rows":
        row = rng.normal(size=(1, n)) + 0.1
        support = replace(support, rows=LinearRows(row, np.array([-0.3]), np.array([math.inf])))
        words["cut"] = (-row, np.array([0.3]))
    if kind == "ball":
        centre, within = np.round(rng.uniform(-0.5, 1.0, n), 3), 0.4
        around, words["ball"] = make_samples(centre[None], np.zeros(1, np.int64)), (centre, within)
    if kind == "whole":
        support = Support.whole(n)
    return LipschitzProblem(net, GroundCost(norm, 1), support, measure, around, within), words


def truth(about: LipschitzProblem, words: dict[str, Any]) -> float:
    """By enumeration. All cells of R^n meet a box that is wide enough for networks of such weights."""
    words = dict(words)
    low, high = about.support.lower, about.support.upper
    if not about.support.bounded:
        low, high = np.full(low.size, -1e4), np.full(low.size, 1e4)
    return steepest(words.pop("weights"), words.pop("rows"), about.cost.norm.value, low, high, **words)


def trip(made: SlopeCertificate, about: LipschitzProblem, folder: Path) -> Verdict:
    write_lipschitz(folder / "a.cert", made)
    return recheck_lipschitz(read_lipschitz(folder / "a.cert"), about)


@pytest.mark.parametrize("seed", seeds(1, 30))
@pytest.mark.parametrize(("norm", "kind"), COMMON)
def test_what_is_proved_is_true(norm: Norm, kind: str, seed: int, tmp_path: Path) -> None:
    about, words = asked(seed, norm, kind)
    try:
        value = truth(about, words)
    except OracleError:
        pytest.skip("cells that the oracle does not call")
    found = lipschitz(about, certificate=True, each=kind == "each", time_limit=60)
    assert found.certificate is not None
    verdict = trip(found.certificate, about, tmp_path)
    assert verdict.proved, verdict.reasons
    assert (verdict.lower, verdict.upper) == (found.lower, found.upper)
    assert found.vouched_upper == "proved"
    assert found.status == "exact", found.notices
    assert verdict.lower <= value + 1e-7 * max(1.0, value)
    assert verdict.upper >= value - 1e-7 * max(1.0, value)
    assert verdict.upper - verdict.lower <= 1e-6


@pytest.mark.parametrize("scaled", [0, 20])
@pytest.mark.parametrize("seed", seeds(4, 300))
def test_degenerate_networks_in_rationals(seed: int, scaled: int, tmp_path: Path) -> None:
    """Pairs, duplicates, dead and cancelled neurons: what only rationals tell is told again from the file."""
    layers = degenerate(seed, scaled)
    net = network(*layers)
    for support, ends in (
        (Support.whole(1), (None, None)),
        (Support.box(-1.0, 2.0, 1), (Fraction(-1), Fraction(2))),
    ):
        value = float(in_rationals(layers, *ends))
        for norm in (Norm.TWO, Norm.INF):
            about = LipschitzProblem(net, GroundCost(norm, 1), support, Measure.operator_norm(net))
            found = lipschitz(about, certificate=True, time_limit=30)
            assert found.certificate is not None
            verdict = trip(found.certificate, about, tmp_path)
            assert verdict.proved, verdict.reasons
            assert found.status == "exact", (found.notices, found.lower, found.upper, value)
            assert verdict.lower <= value * (1 + 1e-12) + 1e-12
            assert verdict.upper >= value * (1 - 1e-12) - 1e-12


def test_every_kind_of_leaf_is_met() -> None:
    """What the tests above read back has all of them."""
    met = set[int]()
    for seed in range(3):
        for norm in (Norm.INF, Norm.TWO):
            for kind in ("box", "whole"):
                about, _ = asked(seed, norm, kind)
                made = lipschitz(about, certificate=True).certificate
                assert made is not None
                met |= {int(code) for tree in made.trees for code in np.minimum(tree.nodes, 0)}
    net = network(*degenerate(41))
    about = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support.whole(1), Measure.operator_norm(net))
    made = lipschitz(about, certificate=True).certificate
    assert made is not None
    met |= {int(code) for tree in made.trees for code in np.minimum(tree.nodes, 0)}
    assert {0, FORWARD, SECTORS, EMPTY, SETTLED, CONSTANT} <= met, met


@pytest.mark.parametrize("limit", [0.0, 1e-3])
@pytest.mark.parametrize("kind", ["box", "whole"])
def test_a_time_limit_only_widens(kind: str, limit: float, tmp_path: Path) -> None:
    about, _ = asked(3, Norm.TWO, kind)
    found = lipschitz(about, certificate=True, time_limit=limit)
    assert found.certificate is not None
    verdict = trip(found.certificate, about, tmp_path)
    assert verdict.lower <= verdict.upper
    late = recheck_lipschitz(replace(found.certificate, claims=np.array([[0.0, 1e-3]])), about, deadline=0.0)
    assert not late.proved
    assert not late.reasons
    assert "the time limit ended" in late.unproven[0]


# ---------------------------------------------------------------- forgeries


@pytest.fixture
def step(tmp_path: Path) -> Callable[..., LipschitzProblem]:
    """``z = max(x, 0) + 3 max(x - 2, 0)``: 1 up to 2, and 4 beyond."""
    layers = [(np.array([[1.0], [1.0]]), np.array([0.0, -2.0])), (np.array([[1.0, 3.0]]), np.zeros(1))]
    net = load_network(write_mlp(tmp_path / "step.onnx", layers, dtype=np.float64))

    def about(low: float, high: float, norm: Norm = Norm.INF) -> LipschitzProblem:
        return LipschitzProblem(net, GroundCost(norm, 1), Support.box(low, high, 1), Measure.outputs(net, [(0, None)]))

    return about


def forged(
    about: LipschitzProblem, upper: float, nodes: list[int], sectors: Any = None, empties: Any = None, **more: Any
) -> SlopeCertificate:
    made = lipschitz(about, certificate=True).certificate
    assert made is not None
    none = np.zeros((0, 0))
    tree = SlopeTree(
        np.array(nodes, np.int32),
        none if sectors is None else np.array(sectors, np.float64),
        none if empties is None else np.array(empties, np.float64),
    )
    return replace(made, trees=(tree,), claims=np.array([[0.0, upper]]), **more)


def refused(made: SlopeCertificate, about: LipschitzProblem, folder: Path, least: float) -> Verdict:
    """Nothing below ``least`` is proven, and the claim is not proved."""
    verdict = trip(made, about, folder)
    assert not verdict.proved
    assert verdict.upper >= least
    return verdict


def test_cells_cannot_be_lost(step: Callable[..., LipschitzProblem], tmp_path: Path) -> None:
    """On [-1, 3] the constant is 4; each forgery leaves the cell beyond 2 out in another way."""
    about = step(-1.0, 3.0)
    for nodes in (
        [],
        [1],
        [1, FORWARD],
        [0, FORWARD],
        [FORWARD, FORWARD],
        [SETTLED],
        [2, FORWARD, FORWARD],
        [-7],
        [1, 1, FORWARD],
    ):
        verdict = refused(forged(about, 1.0, nodes), about, tmp_path, math.inf)
        assert verdict.reasons
    refused(forged(about, 1.0, [1, CONSTANT, FORWARD]), about, tmp_path, 4.0)
    refused(forged(about, 1.0, [CONSTANT]), about, tmp_path, 4.0)
    refused(forged(about, 1.0, [1, SETTLED, CONSTANT, FORWARD]), about, tmp_path, 4.0)
    for row in ([0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, -1.0], [0.0, 5e-324], [1e308, 1e308], [5e-324, 1.0]):
        refused(forged(about, 1.0, [1, EMPTY, FORWARD], empties=[row]), about, tmp_path, 4.0)
    for row in ([0.0, math.nan], [0.0, math.inf]):
        refused(forged(about, 1.0, [1, EMPTY, FORWARD], empties=[row]), about, tmp_path, math.inf)
    with pytest.raises(CertificateError, match="multipliers"):
        write_lipschitz(tmp_path / "a.cert", forged(about, 1.0, [1, EMPTY, FORWARD], empties=[[1.0]]))
    assert refused(forged(about, 1.0, [1, EMPTY, FORWARD]), about, tmp_path, math.inf).reasons  # no row for it
    assert refused(forged(about, 1.0, [FORWARD], empties=[[0.0, 1.0]]), about, tmp_path, math.inf).reasons
    both = [0, 1, FORWARD, FORWARD, 1, EMPTY, FORWARD]
    honest = trip(forged(about, 4.0, both, empties=[[1.0, 1.0]]), about, tmp_path)  # x <= 0 and x >= 2: rightly empty
    assert honest.proved
    wrong = [0, 1, EMPTY, FORWARD, 1, FORWARD, FORWARD]  # x >= 0 and x >= 2: not
    refused(forged(about, 1.0, wrong, empties=[[1.0, 1.0]]), about, tmp_path, 4.0)


def test_a_constant_that_is_zero_is_lost_on_one_side_alone(tmp_path: Path) -> None:
    """Below 2 ``relu(relu(x - 2) - 2 relu(x - 3))`` reads 0 alone, on and off alike: only where it is on may it be left out."""
    first = np.array([[1.0], [1.0], [1.0]]), np.array([0.0, -2.0, -3.0])
    second = np.array([[1.0, 0.0, -4.0], [0.0, 1.0, -2.0]]), np.zeros(2)
    net = network(first, second, (np.array([[4.0, -3.0]]), np.zeros(1)))
    about = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support.box(-1, 1.5, 1), Measure.outputs(net, [(0, None)]))
    rows = np.eye(5)[[1, 2]]
    start = [1, EMPTY, 2, EMPTY, 0]
    assert trip(forged(about, 4.0, [*start, *[4, CONSTANT, FORWARD] * 2], empties=rows), about, tmp_path).proved
    for leaves in ([CONSTANT, CONSTANT], [FORWARD, CONSTANT]):
        refused(forged(about, 0.0, [*start, *[4, *leaves] * 2], empties=rows), about, tmp_path, 4.0)


def test_multipliers_that_underflow_show_nothing(tmp_path: Path) -> None:
    """Times the smallest numbers rows of many features vanish and their sides do not: what is left seems to be below 0 everywhere."""
    n = 512
    net = network((np.ones((1, n)), np.array([-0.7 * n])), (np.ones((1, 1)), np.zeros(1)))
    for end, factors, least in ((1.0, range(8, 16), float(n)), (0.6, range(1, 2), 0.0)):  # rightly empty up to 0.7
        region = Support.box(0.0, end, n)
        about = LipschitzProblem(net, GroundCost(Norm.INF, 1), region, Measure.outputs(net, [(0, None)]))
        made = lipschitz(about, certificate=True, time_limit=1e-3).certificate
        assert made is not None
        for k in factors:
            tree = SlopeTree(np.array([0, EMPTY, FORWARD], np.int32), np.zeros((0, 0)), np.array([[k * 5e-324]]))
            verdict = trip(replace(made, trees=(tree,), claims=np.zeros((1, 2))), about, tmp_path)
            assert verdict.proved is (not least)
            assert verdict.upper >= least


def test_a_claim_below_zero_is_proved_by_nothing(tmp_path: Path) -> None:
    """The inequality knows the square of the claim alone: that of -2 holds of a slope of 1."""
    net = network((np.ones((1, 1)), np.zeros(1)), (np.ones((1, 1)), np.zeros(1)))
    about = LipschitzProblem(net, GroundCost(Norm.TWO, 1), Support.box(-1.0, 1.0, 1), Measure.outputs(net, [(0, None)]))
    assert trip(forged(about, 2.0, [SECTORS], sectors=[[2.0]]), about, tmp_path).proved
    assert refused(forged(about, -2.0, [SECTORS], sectors=[[2.0]]), about, tmp_path, 1.0).upper == math.inf


def test_a_feature_that_is_held_at_the_smallest_number(tmp_path: Path) -> None:
    """Half of it is 0, and a neuron that it switches on is not off: the slope in the other feature is 1 beyond a half."""
    first = np.array([[2.0**1000, 0.0], [0.0, 1.0]]), np.array([-(2.0**-75), 1.0])
    net = network(first, (np.array([[2.0**75, 1.0]]), np.array([-2.5])), (np.ones((1, 1)), np.zeros(1)))
    least = 2.0**-1074
    region = Support(np.array([least, 0.0]), np.array([least, 1.0]))
    about = LipschitzProblem(net, GroundCost(Norm.INF, 1), region, Measure.outputs(net, [(0, None)]))
    assert lipschitz(about).upper >= 1.0
    refused(forged(about, 0.0, [0, CONSTANT, 1, SETTLED, FORWARD, SETTLED, FORWARD]), about, tmp_path, 1.0)


def test_few_nodes_wait_however_wide_a_tree_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of a few thousand bytes has as many leaves as it likes; each would hold the phases of all neurons."""
    net = network(*random_layers(np.random.default_rng(0), 2, 12, 1))
    about = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support.box(0, 1, 2), Measure.outputs(net, [(0, None)]))
    nodes = [FORWARD]
    for k in range(net.canonical.neurons):
        nodes = [k, *nodes, *nodes]
    most, taken = [0], slopes._Nodes.last_of

    def counted(waiting: list[slopes._Nodes], step: int) -> slopes._Nodes:
        most.append(sum(part.at.size for part in waiting))
        return taken(waiting, min(step, 64))

    monkeypatch.setattr(slopes._Nodes, "last_of", counted)
    made = forged(about, 1e9, nodes)
    assert trip(made, about, tmp_path).proved
    assert max(most) < 1000 < made.leaves


def test_a_region_without_interior_is_told(tmp_path: Path) -> None:
    """``relu(x + y)`` does not change where ``x + y = 1``: its slope there is no least constant, and the theorem says so."""
    net = network((np.ones((1, 2)), np.zeros(1)), (np.ones((1, 1)), np.zeros(1)))
    row = LinearRows(np.ones((1, 2)), np.ones(1), np.ones(1))
    region = Support(np.zeros(2), np.ones(2), row, np.ones(2, np.bool_))
    about = LipschitzProblem(net, GroundCost(Norm.INF, 1), region, Measure.outputs(net, [(0, None)]))
    made = lipschitz(about, certificate=True).certificate
    assert made is not None
    said = slope_verdict_summary(made, trip(made, about, tmp_path), about, 1, 0.0)
    assert "may be more than the least" in " ".join(said.split())


def test_multipliers_are_of_l2_alone(tmp_path: Path) -> None:
    """Two features: the l2 constant of ``x_0 + x_1`` is the root of 2, that against l-inf is 2."""
    net = network((np.array([[1.0, 1.0]]), np.zeros(1)), (np.ones((1, 1)), np.zeros(1)))
    two, most = (
        LipschitzProblem(net, GroundCost(norm, 1), Support.box(-1, 1, 2), Measure.outputs(net, [(0, None)]))
        for norm in (Norm.TWO, Norm.INF)
    )
    row = [[1.0]]
    assert trip(forged(two, 1.4143, [SECTORS], sectors=row), two, tmp_path).proved
    refused(forged(two, 1.4142, [SECTORS], sectors=row), two, tmp_path, 1.4143)
    refused(forged(most, 1.4143, [SECTORS], sectors=row), most, tmp_path, 2.0)
    for odd in (-1.0, 0.0, 5e-324, 1e308, math.nan, math.inf):
        refused(forged(two, 1.4143, [SECTORS], sectors=[[odd]]), two, tmp_path, 1.4143)
    swapped = replace(forged(two, 1.4143, [SECTORS], sectors=row), norm="inf")
    assert "the norm differs" in refused(swapped, two, tmp_path, math.inf).reasons[0]


def test_the_question_is_the_readers(step: Callable[..., LipschitzProblem], tmp_path: Path) -> None:
    """A region that is smaller, another row, another sign, other weights, another number of anything: refused, each by its name."""
    about, small = step(-1.0, 3.0), step(-1.0, 1.0)
    made = lipschitz(small, certificate=True).certificate
    assert made is not None
    assert made.claims[0, 1] == pytest.approx(1.0)
    assert "the support differs" in refused(made, about, tmp_path, math.inf).reasons
    hidden = replace(made, support_lower=about.support.lower, support_upper=about.support.upper)
    assert refused(hidden, about, tmp_path, 4.0).reasons
    whole = lipschitz(about, certificate=True).certificate
    assert whole is not None
    for name, value, said in (
        ("norm", "1", "the norm differs"),
        ("together", True, "the kind of question"),
        ("each", True, ""),
        ("network_sha256", "0" * 64, "the network differs"),
        ("neurons", 3, "the number of neurons differs"),
        ("cuts", 2, "the number of sides"),
        ("count", 1, "the number of samples differs"),
        ("points_sha256", "0" * 64, "the hash of the samples' points differs"),
        ("rows_sha256", "0" * 64, "the hash of the support's rows differs"),
        ("weights_sha256", "0" * 64, "the hash of the feature weights differs"),
        ("within", 0.5, "the radius of the balls differs"),
        ("rows", -whole.rows, "the functionals differ"),
        ("rows", 0.5 * whole.rows, "the functionals differ"),
        ("rows", np.concatenate([whole.rows, whole.rows]), "the functionals differ"),
        ("claims", np.zeros((0, 2)), "claims of shape"),
        ("trees", (), "0 trees"),
        ("trees", whole.trees * 2, "2 trees"),
    ):
        verdict = recheck_lipschitz(replace(whole, **{name: value}), about)
        if said:
            assert not verdict.proved
            assert said in verdict.reasons[0], (name, verdict.reasons)
        assert verdict.upper >= 4.0


def test_points_prove_what_they_are(step: Callable[..., LipschitzProblem], tmp_path: Path) -> None:
    about = step(-1.0, 3.0)
    made = lipschitz(about, certificate=True).certificate
    assert made is not None
    for point, least in ((2.5, 4.0), (1.0, 1.0), (-0.5, 0.0), (2.0, 0.0), (0.0, 0.0)):
        lower = trip(replace(made, witnesses=np.array([[point]])), about, tmp_path).lower
        assert lower <= least
        assert lower >= least - 1e-12
    for point in (3.0 + 2.0**-50, 4.0, math.inf, math.nan):
        try:
            assert trip(replace(made, witnesses=np.array([[point]])), about, tmp_path).reasons
        except CertificateError:
            continue
    for claim in (1, -1):
        assert trip(replace(made, witness_claim=np.array([claim])), about, tmp_path).reasons
    assert not trip(replace(made, claims=np.array([[4.1, 4.1]])), about, tmp_path).proved


def test_points_stay_in_their_balls(tmp_path: Path) -> None:
    net = network((np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, -2.0])), (np.array([[1.0, 3.0]]), np.zeros(1)))
    about = LipschitzProblem(
        net,
        GroundCost(Norm.TWO, 1),
        Support.whole(2),
        Measure.outputs(net, [(0, None)]),
        make_samples(np.array([[1.5, 0.0], [3.0, 0.0]]), np.zeros(2, np.int64)),
        0.25,
    )
    made = lipschitz(about, certificate=True).certificate
    assert made is not None
    assert made.claims[:, 1] == pytest.approx([1.0, 4.0])
    swapped = trip(replace(made, witness_claim=made.witness_claim[::-1].copy()), about, tmp_path)
    assert "lies outside its region" in swapped.reasons[0]
    assert trip(replace(made, trees=made.trees[::-1], claims=made.claims[::-1].copy()), about, tmp_path).reasons
    far = made.witnesses.copy()
    far[0] = [1.5 + 0.2, 0.2]
    assert "lies outside its region" in trip(replace(made, witnesses=far), about, tmp_path).reasons[0]


# ---------------------------------------------------------------- mutations

ODD = (0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 2.0**-1022, 1e308, math.inf, math.nan)


@cache
def honest(norm: Norm, kind: str, seed: int) -> tuple[LipschitzProblem, SlopeCertificate, float]:
    for k in range(seed, seed + 1000, 5):
        about, words = asked(k, norm, kind)
        try:
            value = truth(about, words)
        except OracleError:
            continue
        made = lipschitz(about, certificate=True, each=kind == "each").certificate
        assert made is not None
        return about, made, value
    raise AssertionError


def mutant(rng: np.random.Generator, cert: SlopeCertificate) -> SlopeCertificate:
    """One thing changed."""
    trees, k = list(cert.trees), int(rng.integers(len(cert.trees)))
    tree, other = trees[k], trees[int(rng.integers(len(trees)))]
    if not tree.nodes.size:
        return cert
    nodes, at = tree.nodes.copy(), int(rng.integers(tree.nodes.size))
    match int(rng.integers(13)):
        case 0:
            nodes[at] = rng.choice([FORWARD, SECTORS, BACKWARD, EMPTY, CONSTANT, SETTLED, 0, 1, 2, 99, -7])
            trees[k] = replace(tree, nodes=nodes)
        case 1:
            trees[k] = replace(tree, nodes=np.delete(nodes, at))
        case 2:
            trees[k] = replace(tree, nodes=np.insert(nodes, at, rng.choice([FORWARD, EMPTY, CONSTANT, SETTLED, 0])))
        case 3:  # a leaf that claims to be empty or constant, with whatever row there is
            leaves = np.flatnonzero((nodes == FORWARD) | (nodes == SECTORS))
            if leaves.size:
                nodes[leaves[int(rng.integers(leaves.size))]] = rng.choice([EMPTY, CONSTANT])
            some = int((nodes == EMPTY).sum())
            width = cert.neurons + cert.cuts
            rows = np.abs(rng.normal(size=(some, width))) * (rng.random((some, width)) < 0.5)
            trees[k] = replace(tree, nodes=nodes, empties=rows, sectors=tree.sectors[: int((nodes == SECTORS).sum())])
        case 4:
            splits = np.flatnonzero(nodes >= 0)
            if splits.size:
                nodes[splits] = rng.permutation(nodes[splits])
            trees[k] = replace(tree, nodes=nodes)
        case 5:
            trees[k] = replace(tree, sectors=_odd(rng, tree.sectors), empties=_odd(rng, tree.empties))
        case 6:
            scale = float(rng.choice([0.0, 0.5, -1.0, 1.5, 1e300, 5e-324]))
            with np.errstate(all="ignore"):
                trees[k] = replace(tree, sectors=tree.sectors * scale, empties=tree.empties * scale)
        case 7:
            trees[k] = replace(other)
        case 8:
            trees[k] = replace(tree, empties=tree.empties[::-1].copy(), sectors=tree.sectors[::-1].copy())
        case 9:
            claims = cert.claims * (1 - 10.0 ** rng.uniform(-5, 0)) if rng.random() < 0.5 else cert.claims * 1.1
            return replace(cert, claims=claims)
        case 10:
            return replace(cert, claims=_odd(rng, cert.claims), witnesses=_odd(rng, cert.witnesses))
        case 11:
            return replace(
                cert, witness_claim=rng.permutation(cert.witness_claim), witnesses=cert.witnesses + rng.normal()
            )
        case _:
            fields: list[dict[str, Any]] = [
                {"norm": str(rng.choice(["1", "2", "inf"]))},
                {"together": not cert.together},
                {"each": not cert.each},
                {"rows": _odd(rng, cert.rows)},
                {"within": cert.within * 0.5},
                {"support_upper": cert.support_upper - 0.5},
            ]
            return replace(cert, **fields[int(rng.integers(len(fields)))])
    return replace(cert, trees=tuple(trees))


def _odd(rng: np.random.Generator, values: Any) -> Any:
    out = np.array(values)
    if out.size:
        at = int(rng.integers(out.size))
        old = float(out.reshape(-1)[at])
        out.reshape(-1)[at] = rng.choice([*ODD, old * 0.5, -old, old + 1e-3, old * (1 + 2.0**-30)])
    return out


@pytest.mark.parametrize(
    ("first", "norm", "kind"),
    [
        pytest.param(50 * k, norm, kind, marks=[] if k == 0 and number % 4 == 0 else [pytest.mark.full])
        for number, (norm, kind) in enumerate(COMMON)
        for k in range(10)
    ],
)
def test_no_mutant_proves_more_than_the_truth(first: int, norm: Norm, kind: str, tmp_path: Path) -> None:
    """500 of each kind, 50 at a time; the truth is the oracle's."""
    rng = np.random.default_rng(first + 7 * KINDS.index(kind) + 100 * list(Norm).index(norm))
    for number in range(first, first + 50):
        about, cert, value = honest(norm, kind, number % 5)
        slack = 1e-7 * max(1.0, value)
        made = cert
        try:
            for _ in range(int(rng.integers(1, 4))):
                made = mutant(rng, made)
            verdict = trip(made, about, tmp_path)
        except CertificateError:
            continue
        assert verdict.lower <= value + slack
        assert verdict.upper >= value - slack
        if verdict.proved:
            assert made.claims[:, 0].max() <= value + 2e-6 * max(1.0, value)
            assert made.claims[:, 1].max() >= value - 2e-6 * max(1.0, value)


# ---------------------------------------------------------------- the command


def run(*words: str) -> int:
    return int(cli._run(list(words)))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, data = (str(MODELS / f"iris_8x8.{suffix}") for suffix in ("onnx", "npz"))
    box, balls, out = (str(tmp_path / name) for name in ("box.cert", "balls.cert", "v.json"))
    assert run("lipschitz", net, "--norm", "2", "--certificate", box) == 0
    said = capsys.readouterr().out
    assert f"{box}: " in " ".join(said.split())
    assert f"wdaverify recheck {net} {box}" in " ".join(said.replace("\\", "").split())
    assert "accepted by the checker" in said
    assert run("recheck", net, box, "--output", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "f the vector of all 3 outputs, in l2, for x and x' that segments within [0, 1]^4 join" in said
    schema = json.loads(Path(as_json.__file__).with_name("slope_verdict.schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(Path(out).read_text()))
    words = ["--around", data, "--within", "0.1", "--samples", "2", "--outputs", "0,2-1", "--norm", "1", "--each"]
    assert run("lipschitz", net, *words, "--certificate", balls, "--quiet") == 0
    assert run("recheck", net, data, balls, "--samples", "2", "--output", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the largest of the constants of 2 functions f, each by itself: z_0, z_2 - z_1" in said
    assert "any of the balls of radius 0.1 (l1) around the samples below" in said
    found = json.loads(Path(out).read_text())
    Draft202012Validator(schema).validate(found)
    assert [(part["sample"], part["functional"]) for part in found["claims"]][1] == (0, "z_2 - z_1")
    for refusal, *more in (
        ("balls around 2 samples; give DATA before it", balls),
        ("the support and no balls; leave DATA out", data, box),
        ("the first 2 samples instead of 30", data, balls),
        ("norm 1 instead of 2", data, balls, "--samples", "2", "--norm", "2"),
        ("within 0.1 instead of 0.2", data, balls, "--samples", "2", "--within", "0.2"),
        ("other functionals", data, balls, "--samples", "2", "--outputs", "0"),
        ("[0, 1]^4 instead of [0, 2]^4", box, "--support", "0", "2"),
        ("--radius is about a worst case", box, "--radius", "1"),
    ):
        assert run("recheck", net, *more) == 2
        assert refusal in capsys.readouterr().err
    bracket = str(tmp_path / "b.cert")
    assert run("verify", net, data, "--radius", "0", "--samples", "2", "--certificate", bracket, "--quiet") == 0
    assert run("recheck", net, bracket) == 2
    assert "give DATA before it" in capsys.readouterr().err
    assert run("recheck", net, data, bracket, "--within", "1") == 2
    assert "--within is about Lipschitz constants" in capsys.readouterr().err
    assert run("lipschitz", net, "--solver", "highs", "--certificate", box) == 2
    assert "highs gives its word alone" in capsys.readouterr().err


def test_the_checker_needs_neither_solver_nor_torch(tmp_path: Path) -> None:
    net = str(MODELS / "iris_8x8.onnx")
    cert = str(tmp_path / "a.cert")
    assert run("lipschitz", net, "--norm", "2", "--certificate", cert, "--quiet") == 0
    code = (
        f"from wdaverify.cli import _run; assert _run(['recheck', {net!r}, {cert!r}]) == 0; import sys; "
        "heavy = {'torch', 'highspy', 'gurobipy', 'cvxpy', 'scipy', 'onnxruntime'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
