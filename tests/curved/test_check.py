"""``check`` of networks with curved functions: v against dense grids, counterexamples through onnxruntime, and what stays refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from curved.test_against_grids import COUNT, SIDE, tiny

from wdaverify.checking.check import check
from wdaverify.checking.result import Outcome
from wdaverify.errors import SpecificationError
from wdaverify.network.onnx_reader import load_network
from wdaverify.samples import load_samples
from wdaverify.specification.model import Box, Disjunct, Row, Specification

MODELS = Path(__file__).parents[2] / "models"


def row(factors: list[int], offset: Fraction, *, inputs: tuple[tuple[int, Fraction], ...] = ()) -> Row:
    """``sum factors_k z_k + inputs . x + offset >= 0``."""
    return Row(tuple((k, Fraction(f)) for k, f in enumerate(factors) if f), inputs, offset, False)


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[] if k in (0, 3) else pytest.mark.full) for k in range(28)])
@pytest.mark.parametrize("near", [-0.05, 0.05])
def test_answers_are_those_of_grids(seed: int, near: float) -> None:
    """Two disjuncts of one and two rows on one box, moved so that v on a grid is ``near``."""
    given = tiny(seed)
    network = given.problem.network
    n, rng = network.n_inputs, np.random.default_rng([7, seed])
    axis = np.linspace(-SIDE, SIDE, COUNT[n])
    points = np.stack([a.ravel() for a in np.meshgrid(*(axis,) * n, indexing="ij")], axis=1)
    z, half = given.forward(points), 0.5 * (axis[1] - axis[0])
    factors = [[1, -1, 0], [0, 1, -1], [1, 1, -2]]
    slopes = [Fraction(int(rng.integers(-3, 4)), 4) for _ in factors]
    values = np.stack([z @ np.array(f) + float(s) * points[:, 0] for f, s in zip(factors, slopes, strict=True)], axis=1)
    top = float(np.maximum(values[:, 0], values[:, 1:].min(axis=1)).max())
    off = Fraction(near - top)
    rows = [row(f, off, inputs=((0, s),) if s else ()) for f, s in zip(factors, slopes, strict=True)]
    box = Box.exact([Fraction(-1)] * n, [Fraction(1)] * n)
    asked = Specification(n, 3, (Disjunct(box, (rows[0],)), Disjunct(box, tuple(rows[1:]))), "made here", "")
    found = check(network, asked, time_limit=20)
    room = (2 * given.lipschitz + 1) * half
    assert found.lower <= near + room + 1e-9
    assert found.upper >= near - 1e-9
    if near < -room:
        assert found.outcome is Outcome.UNSAT
    elif near > 0:
        assert found.outcome is Outcome.SAT_IN_REALS
        assert found.counterexample is not None
        held = given.forward(found.counterexample.inputs[None])[0]
        x = found.counterexample.inputs
        least = [
            float(
                sum(float(f) * held[k] for k, f in r.outputs)
                + sum(float(f) * x[k] for k, f in r.inputs)
                + float(r.offset)
            )
            for r in rows
        ]
        assert max(least[0], min(least[1:])) >= -1e-9


def test_many_inputs_are_decided_and_counterexamples_replayed() -> None:
    """An image's neighbourhood: unsat nearby, and farther away a point that onnxruntime takes for another class too."""
    pytest.importorskip("onnxruntime")
    path = MODELS / "digits_16x16_silu.onnx"
    network, samples = load_network(path), load_samples(MODELS / "digits_16x16.npz", limit=1)
    x, label = samples.x[0], int(samples.y[0])
    rivals = [k for k in range(10) if k != label]
    rows = [Row(tuple(sorted(((k, Fraction(1)), (label, Fraction(-1))))), (), Fraction(0), False) for k in rivals]
    for room, outcome in ((Fraction(1, 32), Outcome.UNSAT), (Fraction(1, 4), Outcome.SAT)):
        low, high = [max(Fraction(v) - room, Fraction(0)) for v in x], [min(Fraction(v) + room, Fraction(1)) for v in x]
        box = Box.exact(low, high)
        asked = Specification(64, 10, tuple(Disjunct(box, (r,)) for r in rows), "made here", "")
        found = check(network, asked, onnx_file=path, time_limit=30)
        assert found.outcome is outcome
        if found.counterexample is not None:
            at = found.counterexample
            assert at.runtime is not None
            assert int(network.forward(at.inputs[None])[0].argmax()) != label


def test_what_is_not_answered_is_refused() -> None:
    network = load_network(MODELS / "iris_8x8_gelu.onnx")
    box = Box.exact([Fraction(0)] * 4, [Fraction(1)] * 4)
    asked = Specification(4, 3, (Disjunct(box, (row([1, -1, 0], Fraction(0)),)),), "made here", "")
    small = Fraction(1, 3**700)
    odd = replace(asked, disjuncts=(Disjunct(box, (Row(((0, Fraction(1)), (1, small)), (), Fraction(0), False),)),))
    with pytest.raises(SpecificationError, match="shorter coefficients"):
        check(network, odd)
