"""Members of the family of small problems that did not close, by the kind of what kept them open."""

from __future__ import annotations

import numpy as np
import pytest
from small_problems import run, small_problem

CLOSED = {
    18: "integers, hinge, l2: few points",
    478: "integers, distances, outputs near 1e-6",
    494: "distances, outputs near 1e-6: near a tie in their own unit",
    151: "slopes on one-hot groups, where no drawn point satisfied the equation",
    126: "distances in a box of 1e-9",
    398: "distances in a box of 1e-12",
}


@pytest.mark.parametrize("seed", CLOSED)
def test_kinds_that_close(seed: int) -> None:
    assert run(seed, 60.0)["status"] == "exact"


def test_members_are_small_and_lie_in_their_supports() -> None:
    for seed in range(0, 120, 3):
        problem = small_problem(seed).problem
        assert problem.network.n_inputs <= 4
        assert problem.network.n_relus <= 12
        samples = getattr(problem, "samples", None)
        assert samples is None or problem.support.contains(samples.x).all()
        assert np.isfinite(small_problem(seed).gap)
