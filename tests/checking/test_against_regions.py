"""Verdicts and brackets against linear programs over all linear regions."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from checking.small import network_of, random_disjunct, random_question, value_of
from graph.graphs import steered_graph

from wdaverify import check
from wdaverify.certify import confined, rows
from wdaverify.certify.conjunctions import scaled, with_least_rows
from wdaverify.checking import check as asked
from wdaverify.checking import splitting, step
from wdaverify.checking.result import Ended, Outcome
from wdaverify.specification.model import Box, Disjunct, Row, Specification

TOLERANCE = 1e-7
SEEDS = [*range(20), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(20, 300))]


def agrees(seed: int, time_limit: float = 60) -> None:
    network, specification, value = random_question(seed)
    result = check(network, specification, time_limit=time_limit)
    assert result.lower <= value + TOLERANCE
    assert result.upper >= value - TOLERANCE
    assert result.outcome is (Outcome.UNSAT if value < 0 else Outcome.SAT_IN_REALS)
    assert result.ended is Ended.DECIDED
    if value > 0:
        holds(result.counterexample, network, specification)
    else:
        assert result.counterexample is None
        assert result.upper < 0


def holds(found, network, specification) -> None:
    """In the box, and rows in double precision."""
    assert found is not None
    disjunct = specification.disjuncts[found.disjunct]
    assert (found.inputs >= disjunct.box.least).all()
    assert (found.inputs <= disjunct.box.most).all()
    z = network.forward(found.inputs[None])[0]
    assert found.outputs == pytest.approx(z)
    assert min(float(row.value(found.inputs.tolist(), z.tolist())) for row in disjunct.rows) >= -1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_random_specifications(seed: int) -> None:
    agrees(seed)


def test_threads_answer_the_same() -> None:
    for seed in (3, 7, 11):
        network, specification, value = random_question(seed)
        result = check(network, specification, jobs=3, time_limit=60)
        assert result.outcome is (Outcome.UNSAT if value < 0 else Outcome.SAT_IN_REALS)
        assert result.lower <= value + TOLERANCE
        assert result.upper >= value - TOLERANCE


FAULTS = (
    "swapped row",
    "dropped row",
    "lost disjunct",
    "lost box",
    "lost half",
    "clipped the wrong side",
    "a bound too low",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these breaks one of the questions above."""
    plain = rows.Rows.of.__func__

    def changed(cls, network, specification):
        disjuncts = specification.disjuncts
        if fault == "swapped row":
            turned = [
                dataclasses.replace(row, outputs=tuple((k, -c) for k, c in row.outputs)) for row in disjuncts[0].rows
            ]
            disjuncts = (Disjunct(disjuncts[0].box, tuple(turned)), *disjuncts[1:])
        elif fault == "dropped row":
            disjuncts = tuple(Disjunct(d.box, d.rows[:-1] or d.rows) for d in disjuncts)
        return plain(cls, network, dataclasses.replace(specification, disjuncts=disjuncts))

    searched = splitting.Search.of.__func__

    def fewer(cls, *args, **options):
        made = searched(cls, *args, **options)
        keep = slice(0, -1) if fault == "lost disjunct" else slice(1, None)
        made.blocks = [block.take(keep) for block in made.blocks]
        return made

    halve, clip, most = step._halved, confined._clipped, confined.Confining.of
    if fault in ("swapped row", "dropped row"):
        monkeypatch.setattr(rows.Rows, "of", classmethod(changed))
    elif fault in ("lost disjunct", "lost box"):
        monkeypatch.setattr(splitting.Search, "of", classmethod(fewer))
        monkeypatch.setattr(splitting.Points, "attack", lambda *_: None)
    elif fault == "lost half":

        def half(boxes, axis):
            halves = halve(boxes, axis)
            return halves.take(slice(0, len(halves) // 2))

        monkeypatch.setattr(step, "_halved", half)
        monkeypatch.setattr(splitting.Points, "attack", lambda *_: None)
    elif fault == "clipped the wrong side":

        def turned(const, slopes, level):
            low, high, empty = clip(const, slopes, level)
            return -high, -low, empty

        monkeypatch.setattr(confined, "_clipped", turned)
        monkeypatch.setattr(splitting.Points, "attack", lambda *_: None)
    else:

        def low(*args, **options):
            found = most(*args, **options)
            return dataclasses.replace(found, top=found.top - 0.02)

        monkeypatch.setattr(confined.Confining, "of", low)
    with pytest.raises(AssertionError):
        [agrees(seed, time_limit=1) for seed in range(20)]


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(k, marks=pytest.mark.full) for k in range(3, 30))])
def test_many_inputs_are_left_to_the_cells(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same questions, put to the cells."""
    monkeypatch.setattr(asked, "_FEW", 0)
    rng = np.random.default_rng([32, seed])
    graph = steered_graph(seed)
    near = [float(rng.choice([-1e-2, 1e-2, -0.3])) for _ in range(2)]
    found = [random_disjunct(rng, graph, v) for v in near]
    if seed % 2:  # coefficients that are doubles; else tenths, which are times a whole number
        found = [Disjunct(d.box, tuple(_dyadic(row) for row in d.rows)) for d in found]
    value = max(value_of(graph, d) for d in found)
    specification = Specification(graph.inputs, graph.outputs, tuple(found), "made here", "")
    result = check(network_of(graph), specification, time_limit=60)
    assert result.effort.engine == "cells"
    assert result.outcome is (Outcome.UNSAT if value < 0 else Outcome.SAT_IN_REALS)
    assert result.lower <= value + TOLERANCE
    assert result.upper >= value - TOLERANCE
    if value > 0:
        holds(result.counterexample, network_of(graph), specification)


def _dyadic(row: Row) -> Row:
    def of(coefficients):
        return tuple((k, Fraction(float(c))) for k, c in coefficients)

    return Row(of(row.outputs), of(row.inputs), row.offset, row.strict)


def test_rows_times_a_whole_number() -> None:
    """Coefficients become doubles where a factor makes them so, and nothing else changes."""
    graph = steered_graph(1)
    found = random_disjunct(np.random.default_rng(2), graph, -0.1)
    rows_ = tuple(
        Row(((0, Fraction(7, 10)), (1, Fraction(-k, 3))), ((0, Fraction(1, 4)),), Fraction(1, 7)) for k in (1, 2)
    )
    specification = Specification(graph.inputs, graph.outputs, (Disjunct(found.box, rows_),), "s", "")
    times, factor = scaled(specification)
    assert factor == 15
    assert times.disjuncts[0].box is found.box
    for old, new in zip(rows_, times.disjuncts[0].rows, strict=True):
        assert [c * 15 for _, c in old.outputs] == [c for _, c in new.outputs]
        assert ([(0, Fraction(15, 4))], Fraction(15, 7)) == (list(new.inputs), new.offset)
    wild = Row(((0, Fraction(1, 3**40)), (1, Fraction(1))), (), Fraction(0))
    assert scaled(dataclasses.replace(specification, disjuncts=(Disjunct(found.box, (wild,)),))) is None


def test_the_least_row_by_relus() -> None:
    """Of one, two, three and five rows each, at points."""
    graph, rng = steered_graph(1), np.random.default_rng(5)
    box = Box.exact([Fraction(0)] * 2, [Fraction(1)] * 2)
    conjunctions = [random_disjunct(rng, graph, 0.0).rows[:1] * k for k in (1, 2, 3, 5)]
    conjunctions = [
        tuple(_dyadic(dataclasses.replace(row, offset=row.offset + k)) for k, row in enumerate(rows_[::-1]))
        for rows_ in conjunctions
    ]
    made = with_least_rows(graph, conjunctions)
    x = rng.uniform(box.lower, box.upper, size=(50, 2))
    z = graph.forward(x)
    want = [
        [min(float(row.value(a.tolist(), b.tolist())) for row in rows_) for rows_ in conjunctions]
        for a, b in zip(x, z, strict=True)
    ]
    assert made.forward(x) == pytest.approx(np.array(want))
