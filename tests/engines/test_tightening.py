"""Bounds tightened below nodes of grown trees: what rows promise is what they prove, and no answer passes the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from builders import write_mlp
from certify.tightenings import same_tight, some_tree, with_tights
from engines.cellwise import ACCURATE, cells_of, true_value
from engines.test_cell_engine import truths
from engines.test_growth import FEW, LAM, NORMS, PROVEN, SEEDS, Counts, asked, exact, grown, shown, valid, weighted
from engines.test_take_over import elsewhere, hostile
from oracles import Array, enumerate_cells

import wdaverify.engines.cells.hunt as hunt_module
import wdaverify.engines.cells.tightening as tightening
from wdaverify import cli, read_certificate, recheck, verify
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.proof import Proof, Tightening, Tree
from wdaverify.certify.upper import distance_bounds, margin_bounds
from wdaverify.engines.base import Distance, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.ledger import root_of, tree_of
from wdaverify.engines.cells.narrowing import Narrowing
from wdaverify.engines.cells.tree import Node
from wdaverify.engines.screening import Screen
from wdaverify.journal.store import Journal
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Loss, Norm
from wdaverify.wdro import workers
from wdaverify.wdro.parts import divided, joined
from wdaverify.wdro.trees import Trees

__all__ = ["grown"]  # the fixture: every question is grown


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are kept whatever they gain, so that nearly every node is tightened."""
    monkeypatch.setattr(tightening, "_GAIN", -1e9)


def rows_of(proof: Proof | None) -> int:
    assert proof is not None
    return sum(tight.at.size for tree in proof.trees for tight in tree.tights)


@cache
def larger(seed: int, norm: Norm) -> tuple[ReluNetwork, Inner, float]:
    """A question whose trees are not closed at their roots, with its enumerated truth."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 8, 7, 3))
    x = rng.uniform(size=2)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    inner = Inner(0, label, (label + 1) % 3, screen.shell(0, 0.0, float(screen.reach[0])), (), LAM)
    return net, inner, truths(net, inner)[0]


# Rows


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_rows_keep_what_they_promise(seed: int, norm: Norm, distance: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluated in double precision: within what single precision and slopes in 255ths may move, and most are tighter than before."""
    monkeypatch.setattr(tightening, "_GAIN", 0.03)
    promised: list[tuple[Array, Array, Array]] = []
    made_of, tighten = tightening._by_node, Narrowing.tighten
    short, gained = list[float](), 0

    def noted(made: Sequence[tightening._Made], leaves: tightening.Leaves) -> list[Tightening | None]:
        promised.clear()
        promised.extend((part.node, part.at, part.top) for part in made)
        return made_of(made, leaves)

    def compared(self: Narrowing, trees: Array, nodes: Sequence[Node], tights: Sequence[Tightening]) -> None:
        nonlocal gained
        before = self.at(trees, nodes)
        node, at, top = (np.concatenate([part[k] for part in promised]) for k in range(3))
        own = np.unique(node)
        tighten(self, trees, nodes, tights)
        for number, one, had in zip(own.tolist(), nodes, before, strict=True):
            assert one.bounds is not None
            if (one.bounds[0] > one.bounds[1]).any():
                continue
            for k, value in zip(at[node == number].tolist(), top[node == number].tolist(), strict=True):
                width = had[1, k // 2] - had[0, k // 2]
                now = one.bounds[1, k // 2] if k % 2 == 0 else -one.bounds[0, k // 2]
                was = had[1, k // 2] if k % 2 == 0 else -had[0, k // 2]
                short.append(float(now - min(value, was)) / float(width))
                gained += now < was
                assert now <= was

    monkeypatch.setattr(tightening, "_by_node", noted)
    monkeypatch.setattr(Narrowing, "tighten", compared)
    for k in range(20):
        if len(short) > 60:
            break
        net, inner, _ = larger(seed + 40 * k, norm)
        far = Distance(0, inner.label, inner.rival, inner.region, ())
        CellEngine(net).answer(far if distance else inner, replace(PROVEN, gap=1e-3))
    assert len(short) > 20
    assert gained >= 0.9 * len(short)
    assert np.quantile(short, 0.75) < 0.02


# Answers


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_true_with_every_node_tightened(seed: int, norm: Norm, cut: bool, grown: Counts) -> None:
    """Also beside an incumbent that is given: the answer is then the larger of it and the truth."""
    net, inner, distance, value, nearest = asked(seed, norm)
    again, rows = problem(net, inner.region.centre, [inner.label], norm=norm), 0
    for question, truth in ((inner, value), (distance, nearest)):
        cutoff = None
        if cut:
            cutoff = truth + 0.3 if question is inner else 0.9 * min(truth, distance.region.far)
        answer = CellEngine(net).answer(question, replace(PROVEN, cutoff=cutoff))
        assert valid(answer, truth, question)
        if not cut:
            assert exact(answer, truth, question)
        elif question is inner:
            assert answer.bound <= truth + 0.3 + 1e-6
        else:
            assert cutoff is not None
            assert answer.bound >= cutoff - 1e-6
        assert answer.proof is not None
        assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-9)
        checker = margin_bounds if question is inner else distance_bounds
        told = checker(again, [answer.proof], *([np.array([LAM])] if question is inner else []))[0]
        assert float(told[0]) == pytest.approx(answer.bound, abs=1e-9)
        rows += rows_of(answer.proof)
        if question is inner:
            for lam in (0.0, 0.7, 3.0):
                elsewhere_truth = truths_at(seed, norm, lam)
                assert float(margin_bounds(again, [answer.proof], np.array([lam]))[0][0]) >= elsewhere_truth - 1e-12
    assert grown.runs >= 2
    assert rows or grown.nodes < 30


def truths_at(seed: int, norm: Norm, lam: float) -> float:
    """``phi_ij`` at another multiplier."""
    net, inner, _, _, _ = asked(seed, norm)
    functional = np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    box = np.zeros(2), np.ones(2)
    cells = enumerate_cells(raw(net), *box)
    return best_in_cells(cells, functional, lam, norm, inner.region.centre, 0.0, inner.region.far, *box)[0]


def test_a_leaf_searched_alone_is_searched_on_with_its_own_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it proves less than promised; the program of its tree knows neurons that its own does not."""
    monkeypatch.setattr(tightening, "_GAIN", 0.03)
    net, _, distance, _, nearest = asked(43, Norm.INF)
    answer = CellEngine(net).answer(distance, replace(PROVEN, gap=1e-3))
    assert exact(answer, nearest, distance, near=2e-3)


def test_every_node_is_tightened_here() -> None:
    rows = [
        rows_of(CellEngine(asked(s, Norm.INF)[0]).answer(asked(s, Norm.INF)[k], PROVEN).proof)
        for s in range(6)
        for k in (1, 2)
    ]
    assert sum(rows) > 300
    assert sum(count > 0 for count in rows) > 6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_squares_are_true_with_every_node_tightened(seed: int, norm: Norm) -> None:
    net, inner, _ = weighted(3 * seed + 1, norm, 2)
    cells, functional = cells_of(raw(net), inner.region), np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    value = true_value(cells, inner.region, functional, LAM, 2)
    answer = CellEngine(net).answer(inner, PROVEN)
    assert exact(answer, value, inner, noise=ACCURATE)
    assert answer.proof is not None
    assert shown(net, inner, answer.proof, 2) == pytest.approx(answer.bound, abs=1e-9)


# Trees that are taken over


@pytest.mark.parametrize("worth", [1.0, math.inf])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_trees_with_rows_are_taken_over_by_any_question(
    seed: int, norm: Norm, worth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another multiplier, incumbent, rival, place and kind, and from noise; grown, or searched by linear programs alone."""
    net, inner, distance, value, nearest = asked(seed, norm)
    rng = np.random.default_rng(seed)
    other, far_off = elsewhere(net, inner, seed)
    third = ({0, 1, 2} - {inner.label, inner.rival}).pop()
    donors: list[tuple[Tree, ...]] = []
    for question, cutoff in (
        (replace(inner, multiplier=0.2), None),
        (replace(inner, multiplier=9.0), None),
        (inner, value + 1.0),
        (replace(inner, rival=third), None),
        (other, None),
        (distance, None),
        (far_off, 0.3 * far_off.region.far),
    ):
        proof = CellEngine(net).answer(question, replace(PROVEN, cutoff=cutoff, gap=0.01)).proof
        assert proof is not None
        donors.append(proof.trees)
    levels = [value + 100.0, value, -math.inf, math.nan, math.inf]
    donors.append(
        tuple(with_tights(rng, tree, net.canonical.neurons, levels) for tree in hostile(net.canonical.neurons, seed))
    )
    donors.append((some_tree(rng, net.canonical.neurons, levels, 0.05, 0.4, written=0.5),))
    assert sum(tree.level > -math.inf for known in donors for tree in known) > 0
    monkeypatch.setattr(hunt_module, "_WORTH_A_TRY", worth)
    cost, functional = inner.region.cost, np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    cut = replace(inner, region=replace(inner.region, near=0.1 * inner.region.far, far=0.37 * inner.region.far))
    shell_value = true_value(cells_of(raw(net), cut.region), cut.region, functional, LAM, 1)
    points = rng.uniform(size=(20000, inner.region.centre.size))
    far = cost.distance(points - inner.region.centre)
    within = (far >= cut.region.near) & (far <= cut.region.far)
    points, far = points[within], far[within]
    seen = float(
        (net.forward(points) @ functional - LAM * far).max()
    )  # the best point may be nearer than near, as in test_growth
    for known in donors:
        for question, truth in ((inner, value), (distance, nearest)):
            answer = CellEngine(net).answer(question, replace(PROVEN, known=known))
            assert exact(answer, truth, question)
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-9)
        beside = CellEngine(net).answer(inner, replace(PROVEN, known=known, cutoff=value + 0.2))
        assert value - 1e-12 <= beside.bound <= value + 0.2 + 1e-6
        answer = CellEngine(net).answer(cut, replace(PROVEN, known=known))
        reached = net.forward(answer.points) @ functional - LAM * cost.distance(answer.points - inner.region.centre)
        assert seen - 1e-12 <= answer.bound <= max(shell_value, float(reached.max(initial=-math.inf))) + 1e-6
        late = CellEngine(net).answer(inner, replace(PROVEN, known=known, seconds=0.0))
        assert late.bound >= value - 1e-12
        assert late.proof is not None
        again = problem(net, inner.region.centre, [inner.label], norm=norm)
        assert float(margin_bounds(again, [late.proof], np.array([LAM]))[0][0]) >= value - 1e-12


def test_levels_of_other_questions_are_not_kept() -> None:
    """A tree from a question with a high level, taken over where nothing is known: its rows rest on what is known here."""
    net, inner, _, value, _ = asked(0, Norm.INF)
    rng = np.random.default_rng(0)
    proof = CellEngine(net).answer(inner, PROVEN).proof
    assert proof is not None
    known = tuple(with_tights(rng, tree, net.canonical.neurons, [value + 50.0], 1.0) for tree in proof.trees)
    for seconds in (0.0, math.inf):
        answer = CellEngine(net).answer(inner, replace(PROVEN, known=known, seconds=seconds))
        assert answer.proof is not None
        assert value - 1e-12 <= answer.bound
        assert max(tree.level for tree in answer.proof.trees) <= answer.bound < value + 50.0
        own = [tight.level for tree in answer.proof.trees for tight in tree.tights]
        assert value + 50.0 not in own


@pytest.mark.parametrize("seed", range(20))
def test_trees_with_rows_are_nodes_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = some_tree(rng, 6, [0.0, 1.0, -math.inf], 0.1, 0.4, depth=4, written=0.5)
    root, tightened = root_of(tree, 6)
    again = tree_of(root, 0.1, 0.4, Layout(6))
    np.testing.assert_array_equal(again.nodes, tree.nodes)
    np.testing.assert_array_equal(again.vectors, tree.vectors)
    assert len(again.tights) == len(tree.tights)
    assert all(same_tight(a, b) for a, b in zip(again.tights, tree.tights, strict=True))
    walked = [(phases.tolist(), place) for phases, _, place in tree.walk(6) if place is not None]
    assert [node.phases.tolist() for node, _ in tightened] == [phases for phases, _ in walked]
    for (_, mine), (_, place) in zip(tightened, walked, strict=True):
        a, b = mine, place
        while a is not None and b is not None:
            assert a.tight is b.tight
            assert a.phases.tolist() == b.phases.tolist()
            a, b = a.above, b.above
        assert a is b is None


# Parts, room, journals, files


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_parts_with_rows_are_the_whole(seed: int, norm: Norm) -> None:
    net, inner, value = larger(seed, norm)
    whole = joined([CellEngine(net).answer(part, PROVEN) for part in divided(inner, 3)])
    assert exact(whole, value, inner)
    assert whole.proof is not None
    assert rows_of(whole.proof) or max(tree.nodes.size for tree in whole.proof.trees) <= 3  # closed by one branching
    assert shown(net, inner, whole.proof) == pytest.approx(whole.bound, abs=1e-9)
    beside = joined(
        [
            CellEngine(net).answer(p, replace(PROVEN, cutoff=value + c))
            for p, c in zip(divided(inner, 3), (0.5, 0.1, 0.2), strict=True)
        ]
    )
    assert beside.proof is not None
    assert value - 1e-12 <= beside.bound <= value + 0.5 + 1e-6
    assert shown(net, inner, beside.proof) == pytest.approx(beside.bound, abs=1e-9)


def test_rows_take_room() -> None:
    net, inner, _ = larger(0, Norm.INF)
    proof = CellEngine(net).answer(inner, PROVEN).proof
    assert proof is not None
    assert rows_of(proof)
    bare = sum(tree.vectors.nbytes + tree.nodes.nbytes for tree in proof.trees)
    rows = sum(
        t.at.nbytes + t.weight.nbytes + t.slopes.nbytes + t.beta.nbytes for tree in proof.trees for t in tree.tights
    )
    assert sum(tree.nbytes for tree in proof.trees) == bare + rows > 1.1 * bare
    for room, kept in ((2.1 * bare, 0), (2.1 * (bare + rows), len(proof.trees))):
        trees = Trees(room=room)
        trees.keep(0, None, proof)
        assert len(trees.of(0, None)) == kept


def small(loss: str) -> tuple[list[tuple[Array, Array]], Array, Array]:
    rng = np.random.default_rng(3)
    layers = random_layers(rng, 3, 10, 8, 3)
    x = rng.uniform(size=(2, 3))
    return layers, x, network(*layers).forward(x).argmax(axis=1)


@pytest.mark.parametrize("loss", ["margin", "zero-one"])
def test_journals_keep_rows(loss: str, tmp_path: Path) -> None:
    layers, x, y = small(loss)
    question = problem(network(*layers), x, y, 0.1, loss=Loss(loss))
    with Journal(tmp_path) as journal:
        first = verify(question, solver="cells", journal=journal, certificate=True)
    with Journal(tmp_path) as journal:
        again = verify(question, solver="cells", journal=journal, certificate=True)
    assert (first.status, again.status) == ("exact", "exact")
    assert again.statistics.solves == 0
    for result in (first, again):
        assert result.certificate is not None
        assert result.vouched_upper == "proved"
        assert sum(rows_of(proof) for proof in result.certificate.proofs)
        assert recheck(result.certificate, question).proved


@pytest.mark.parametrize("loss", ["margin", "zero-one"])
def test_files_with_rows_are_confirmed_from_the_command_line(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers, x, y = small(loss)
    net, data, cert = (
        write_mlp(tmp_path / "net.onnx", layers, dtype=np.float64),
        tmp_path / "data.npz",
        tmp_path / "a.cert",
    )
    np.savez(data, x=x, y=y)
    here = workers.Workers.__init__
    monkeypatch.setattr(  # in this process, where every question is grown
        workers.Workers,
        "__init__",
        lambda self, network, solver, jobs=None, *a, **k: here(self, network, solver, None, *a, **k),
    )
    asked_for = ["--radius", "0.1", "--loss", loss, "--norm", "inf", "--support", "0", "1"]
    status = cli._run(["verify", str(net), str(data), *asked_for, "--solver", "cells", "--certificate", str(cert)])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert sum(rows_of(proof) for proof in read_certificate(cert).proofs)
    assert cli._run(["recheck", str(net), str(data), str(cert)]) == 0, capsys.readouterr().err
