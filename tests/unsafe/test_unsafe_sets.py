"""What a specification becomes: rows met exactly, sides of boxes where the support reaches beyond, disjuncts left out, refusals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from checking.small import random_disjunct
from graph.graphs import steered_graph

from wdaverify import GroundCost, Norm, ProblemError, SamplesError, Support, make_samples
from wdaverify.errors import NetworkError, SpecificationError
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import WdroProblem
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.specification.scaled import Scaled
from wdaverify.specification.unsafe import box_of, with_unsafe_scores
from wdaverify.witness.decide import errors

F = Fraction


def identity(n: int) -> ReluNetwork:
    graph = Graph((Affine((INPUT,), (Dense(np.eye(n)),), np.zeros(n)),), n)
    return ReluNetwork(graph, (n,), (n,), "0" * 64, "identity", ())


def box(low: str, high: str, n: int = 2) -> Box:
    return Box.exact([F(low)] * n, [F(high)] * n)


def specification(*disjuncts: Disjunct, n: int = 2) -> Specification:
    return Specification(n, n, disjuncts, "made here", "1" * 64)


def unsafe_at(network: ReluNetwork, points: list[list[float]]) -> list[bool]:
    """Decided in rationals."""
    return errors(network, np.array(points), np.zeros(len(points), np.int64)).tolist()


def row(outputs: dict[int, str], inputs: dict[int, str], offset: str, strict: bool = False) -> Row:
    def of(coefficients):
        return tuple((k, F(c)) for k, c in sorted(coefficients.items()))

    return Row(of(outputs), of(inputs), F(offset), strict)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_least_rows(seed: int) -> None:
    """At points, up to the positive factor of each row: the signs of least rows of one to three rows, on a support within the boxes."""
    graph, rng = steered_graph(seed), np.random.default_rng(seed)
    wide = Box.exact([F(-4)] * graph.inputs, [F(4)] * graph.inputs)
    disjuncts = tuple(replace(random_disjunct(rng, graph, 0.5), box=wide) for _ in range(3))
    network = ReluNetwork(graph, (graph.inputs,), (graph.outputs,), "0" * 64, "made here", ())
    made = with_unsafe_scores(
        network, Specification(graph.inputs, graph.outputs, disjuncts, "", ""), Support.box(-3, 3, graph.inputs)
    )
    x = rng.uniform(-3, 3, size=(200, graph.inputs))
    z, scores = graph.forward(x), made.forward(x)
    assert (scores[:, 0] == 0).all()
    for d, disjunct in enumerate(disjuncts):
        for point, outputs, score in zip(x, z, scores[:, d + 1], strict=True):
            value = min(float(r.value(point.tolist(), outputs.tolist())) for r in disjunct.rows)
            assert abs(value) < 1e-9 or (value >= 0) == (score >= 0)


def test_decimals_are_met_exactly() -> None:
    """0.1 Y_0 + 0.2 Y_1 >= 0.3 through (1, 1): a sum of the nearest doubles would miss it."""
    assert 0.1 + 0.2 != 0.3
    asked = specification(Disjunct(box("-4", "4"), (row({0: "0.1", 1: "0.2"}, {}, "-0.3"),)))
    made = with_unsafe_scores(identity(2), asked, Support.box(-4, 4, 2))
    beyond = float(np.nextafter(1.0, 0.0))
    assert unsafe_at(made, [[1.0, 1.0], [beyond, 1.0], [1.0, beyond]]) == [True, False, False]
    assert not [notice for notice in made.notices if "rounded" in notice]


@pytest.mark.parametrize("digits", [17, 33, 55])
def test_long_decimals_are_met_exactly(digits: int) -> None:
    """Coefficients and an offset that no factor makes doubles of, through a point and past it by the last digit."""
    long = "0." + ("12345678901234567" * 4)[:digits]
    last = F(1, 10**digits)
    for off, expected in ((F(0), True), (-last, False), (last, True)):
        offset = str(-2 * F(long) - F("0.98765432109876543") + off)
        asked = specification(Disjunct(box("-4", "4"), (row({0: long, 1: "0.98765432109876543"}, {0: long}, offset),)))
        made = with_unsafe_scores(identity(2), asked, Support.box(-4, 4, 2))
        assert unsafe_at(made, [[1.0, 1.0]]) == [expected]
        assert not [notice for notice in made.notices if "rounded" in notice]


def test_an_offset_without_a_double_is_rounded_up() -> None:
    third = Disjunct(box("-4", "4"), (Row(((0, F(1)),), (), -F(1, 3) - F(1, 10**100)),))
    made = with_unsafe_scores(identity(2), specification(third), Support.box(-4, 4, 2))
    assert any("rounded up" in notice for notice in made.notices)
    [least] = [x for x in (1 / 3, np.nextafter(1 / 3, 1)) if unsafe_at(made, [[x, 0.0]])][:1]
    assert least >= 1 / 3 - 2**-54
    assert not unsafe_at(made, [[np.nextafter(1 / 3, 0) - 2**-54, 0.0]])[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_constant_that_no_double_holds_beside_its_coefficients_is_refused(sign: int) -> None:
    """Rounded, it would be an infinite bias, or far more than one unit off."""
    factors = Fraction(1, 10**20), Fraction(4, 3 * 10**21)
    with pytest.raises(SpecificationError, match=r"constant -?1e\+290 .* ratio is beyond double precision"):
        Scaled.of(Row(tuple(enumerate(factors)), (), sign * Fraction(10**290)))


def test_coefficients_beyond_doubles_are_refused_in_words() -> None:
    with pytest.raises(SpecificationError, match=r"coefficients 1e\+320, .* common factor"):
        Scaled.of(Row(((0, Fraction(10**320)), (1, Fraction(4, 3))), (), Fraction(10**12, 7)))


def test_sides_are_rows_where_the_support_reaches_beyond() -> None:
    inside = Disjunct(box("0", "1"), (row({0: "1"}, {}, "-0.5"),))
    points = [[0.75, 0.5], [2.0, 0.5], [0.75, -0.25], [0.75, 1.0], [0.5, 0.0]]
    on_its_box = with_unsafe_scores(identity(2), specification(inside), Support.box(0, 1, 2))
    assert on_its_box.n_relus == 0
    for support in (Support.box(-1, 3, 2), Support.whole(2)):
        made = with_unsafe_scores(identity(2), specification(inside), support)
        assert unsafe_at(made, points) == [True, False, False, True, True]
        assert made.n_relus == 4  # five rows
        assert any("reaches beyond" in notice for notice in made.notices)
    one_sided = with_unsafe_scores(
        identity(2), specification(inside), Support(np.array([0.0, 0.0]), np.array([1.0, 2.0]))
    )
    assert one_sided.n_relus == 1


def test_every_row_and_every_disjunct_counts() -> None:
    first = Disjunct(box("0", "1"), (row({0: "1"}, {}, "-0.8"), row({}, {1: "-1"}, "0.3")))
    second = Disjunct(box("0", "1"), (row({0: "-1"}, {}, "0.1"),))
    made = with_unsafe_scores(identity(2), specification(first, second), Support.box(0, 1, 2))
    points = [[0.9, 0.2], [0.9, 0.4], [0.7, 0.2], [0.05, 0.9], [0.5, 0.5]]
    assert unsafe_at(made, points) == [True, False, False, True, False]


def test_rows_of_inputs_alone_on_the_support() -> None:
    """Implied ones are no rows, impossible ones leave their disjunct out; none left: nothing is unsafe; no rows left: everything is."""
    holds = Disjunct(box("0", "1"), (row({}, {0: "1", 1: "1"}, "0.5"), row({0: "1"}, {}, "-0.5")))
    never = Disjunct(box("0", "1"), (row({}, {0: "1", 1: "1"}, "-2.5"), row({0: "1"}, {}, "-0.5")))
    support = Support.box(0, 1, 2)
    made = with_unsafe_scores(identity(2), specification(holds, never), support)
    assert made.unsafe.disjuncts == (0,)
    assert made.n_relus == 0
    nothing = with_unsafe_scores(identity(2), specification(never), support)
    assert unsafe_at(nothing, [[0.9, 0.9]]) == [False]
    assert any("nothing there violates it" in notice for notice in nothing.notices)
    everywhere = with_unsafe_scores(identity(2), specification(Disjunct(box("0", "1"), holds.rows[:1])), support)
    assert unsafe_at(everywhere, [[0.9, 0.9]]) == [True]
    apart = Disjunct(box("2", "3"), (row({0: "1"}, {}, "0"),))
    assert with_unsafe_scores(identity(2), specification(apart, holds), support).unsafe.disjuncts == (1,)


def test_strict_rows_count_as_closed() -> None:
    strict = Disjunct(box("0", "1"), (row({0: "1"}, {}, "-0.5", strict=True),))
    made = with_unsafe_scores(identity(2), specification(strict), Support.box(0, 1, 2))
    assert unsafe_at(made, [[0.5, 0.0]]) == [True]
    assert any("strict" in notice for notice in made.notices)


def problem(**changed: object) -> WdroProblem:
    one = Disjunct(box("0", "1"), (row({0: "1"}, {}, "-0.5"),))
    words: dict[str, object] = {
        "network": identity(2),
        "samples": make_samples([[0.25, 0.5]]),
        "cost": GroundCost(Norm.INF, 1),
        "support": Support.box(0, 1, 2),
        "loss": "specification",
        "radius": 0.1,
        "specification": specification(one),
        **changed,
    }
    return WdroProblem(**words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"specification": None}, ProblemError, "needs a specification"),
        ({"loss": "zero-one", "samples": make_samples([[0.25, 0.5]], [0])}, ProblemError, "no other loss takes one"),
        ({"samples": make_samples([[0.25, 0.5]], [0])}, SamplesError, "samples with labels"),
        (
            {"loss": "margin", "specification": None},
            SamplesError,
            "samples without labels, which the margin loss needs",
        ),
        ({"cost": GroundCost(Norm.INF, 1, None, 0.5)}, ProblemError, "knows no labels"),
        ({"network": identity(3)}, SpecificationError, "is about 2 inputs and 2 outputs, identity has 3 and 3"),
        ({"network": replace(identity(2), head="softmax")}, SpecificationError, "--logits"),
        ({"samples": make_samples([[2.0, 0.5]])}, SamplesError, "--support none"),
        (
            {
                "specification": specification(
                    Disjunct(box("0", "1"), (Row(((0, F(1, 3) + F(1, 10**90)), (1, F(1))), (), F(0)),))
                )
            },
            SpecificationError,
            "at most 60 digits",
        ),
    ],
)
def test_refusals(changed: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        problem(**changed)


def test_scores_are_made_once() -> None:
    asked = problem()
    again = replace(asked, radius=0.2)
    assert again.network is asked.network
    with pytest.raises(SpecificationError, match="give the network as it was read"):
        replace(asked, support=Support.box(0, 2, 2))
    with pytest.raises(NetworkError, match="give the network as it was read"):
        problem(network=asked.network, specification=None, loss="margin", samples=make_samples([[0.25, 0.5]], [0]))


def test_the_box_of_a_specification() -> None:
    one, other = box("0", "1"), box("-0.1", "0.5")
    found = box_of(specification(*(Disjunct(b, (row({0: "1"}, {}, "0"),)) for b in (one, other))))
    assert (found.lower == np.nextafter(-0.1, -1)).all() or (found.lower == -0.1).all()
    assert (found.upper == 1).all()
    with pytest.raises(SpecificationError, match="no box"):
        box_of(specification())


def test_the_whole_space_is_cut_to_what_can_count() -> None:
    """To the box of the specification and the samples, which lie anywhere; other supports are taken as they are."""
    asked = problem(support=Support.whole(2), samples=make_samples([[2.0, 0.5], [0.5, -3.0]]))
    assert asked.support.lower.tolist() == [0.0, -3.0]
    assert asked.support.upper.tolist() == [2.0, 1.0]
    again = replace(asked, radius=0.2)
    assert again.network is asked.network
    assert problem(support=Support.box(-9, 9, 2)).support.upper.tolist() == [9.0, 9.0]
    none = problem(support=Support.whole(2), specification=specification(), samples=make_samples([[2.0, 0.5]]))
    assert not none.support.bounded
