"""What a run keeps of its proofs when it comes back to a multiplier."""

from __future__ import annotations

import numpy as np

from wdaverify.certify.proof import Proof, Tree
from wdaverify.wdro.proofs import MarginProofs


def _proof(near: float, far: float) -> Proof:
    return Proof(0, 1, 2.0, (Tree.bare(near, far, 3),))


def _edges(proofs: MarginProofs) -> list[tuple[float, float]]:
    (only,) = proofs.of(0, 0, 1, [2.0], 1.0)
    return [(tree.near, tree.far) for tree in only.trees]


def test_trees_outlive_a_second_screening_at_their_multiplier() -> None:
    proofs = MarginProofs(3)
    proofs.screened(0, 2.0, [0.0, 0.2], [0.2, 0.8], [0.8, 1.0])
    proofs.answered(0, 2.0, 5.0, _proof(0.2, 0.8))
    proofs.screened(0, 2.0, [0.0, 0.3], [0.3, 0.7], [0.7, 1.0])
    assert _edges(proofs) == [(0.0, 0.2), (0.2, 0.8), (0.8, 1.0)]
    proofs.answered(0, 2.0, 6.0, _proof(0.3, 0.7))  # proves less: the old trees stay, with their own shells
    assert _edges(proofs) == [(0.0, 0.2), (0.2, 0.8), (0.8, 1.0)]
    proofs.answered(0, 2.0, 4.0, _proof(0.3, 0.7))
    assert _edges(proofs) == [(0.0, 0.3), (0.3, 0.7), (0.7, 1.0)]
    assert np.isfinite(_edges(proofs)).all()
