"""Certificates written by hand of what is false, about one input whose answer anybody sees.

The network says 1 where ``x >= 0.5``, and ``z_1 - z_0 = max(x, 0) - 0.5``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp

from wdaverify import Certificate, WdroProblem, cli, load_network, read_certificate, recheck, write_certificate
from wdaverify.certify.certificate import CURVE, DISTANCES
from wdaverify.certify.checker import Verdict
from wdaverify.certify.proof import BARE, HALVED, WRITTEN, MalformedProofError, Proof, Tree, sides_of
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.problem import Loss
from wdaverify.samples import make_samples
from wdaverify.wdro.certifying import bare_certificate
from wdaverify.wdro.distances import distances

FIXED = np.array([math.inf])


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., WdroProblem]:
    step = [(np.array([[1.0]]), np.zeros(1)), (np.array([[0.0], [1.0]]), np.array([0.0, -0.5]))]
    network = load_network(write_mlp(tmp_path / "step.onnx", step, dtype=np.float64))

    def asked(
        loss: str, x: float, radius: float = 0.1, order: float = 1, side: float = 1.0, **cost: Any
    ) -> WdroProblem:
        samples, support = make_samples(np.array([[x]]), np.array([0])), Support(np.array([-side]), np.array([side]))
        return WdroProblem(network, samples, GroundCost(Norm.INF, order, **cost), support, Loss.of(loss), radius)

    return asked


def bare(*ends: float) -> Proof:
    """Bare shells that end there; none at all is a proof too."""
    return Proof(0, 1, 0.0, tuple(Tree.bare(a, b, 1) for a, b in zip((0.0, *ends), ends, strict=False)))


def of_distance(asked: WdroProblem, proofs: Sequence[Proof], lower: float, upper: float, *atoms: float) -> Certificate:
    made = replace(bare_certificate(asked, tuple(proofs), ()), of=DISTANCES, claims=np.array([[0.0, lower, upper]]))
    count = len(atoms)
    points = np.array(atoms, np.float64).reshape(count, 1)
    return replace(made, atom_sample=np.zeros(count, np.int64), atom_weight=np.ones(count), atom_point=points)


def checked(made: Certificate, asked: WdroProblem, folder: Path) -> Verdict:
    write_certificate(folder / "a.cert", made)
    return recheck(read_certificate(folder / "a.cert"), asked)


def test_no_shell_covers_not_even_the_sample(ask: Callable[..., WdroProblem], tmp_path: Path) -> None:
    """Where nothing can move a proof reaches as far as there is anything without a shell, and the sample itself may be an error."""
    proofs = bare(), bare(2.0)
    asked = ask("zero-one", 0.75, weights=FIXED)
    verdict = checked(of_distance(asked, proofs, math.inf, math.inf), asked, tmp_path)
    assert not verdict.proved
    assert verdict.claims[0, 1] == 0
    for loss in ("zero-one", "hinge"):
        asked = ask(loss, 0.75, weights=FIXED)
        assert checked(replace(bare_certificate(asked, proofs, ()), upper=0.0), asked, tmp_path).upper >= 1
    asked = ask("zero-one", 0.75, radius=0.0, order=math.inf)
    curve = replace(bare_certificate(asked, proofs, ()), of=CURVE, claims=np.array([[0.0, 0.0, 0.0]]))
    verdict = checked(curve, asked, tmp_path)
    assert not verdict.proved
    assert verdict.claims[0, 2] == 1


def test_distances_are_asked_of_errors_at_order_1(ask: Callable[..., WdroProblem], tmp_path: Path) -> None:
    """At order inf a proof need not reach beyond the radius, at order 2 leaves bound squares, and of a margin every atom has one."""
    asked = ask("zero-one", 0.25, order=math.inf)  # the distance is 0.25
    assert not checked(of_distance(asked, [bare(0.1)], math.inf, math.inf), asked, tmp_path).proved
    asked = ask("margin", -5.0, order=2, side=9.0)  # 5.5
    row = np.array([[20.0, 1.0, 20.0]])
    split = Tree(0.0, 14.1, np.array([0, WRITTEN, BARE], np.int32), row)
    assert not checked(of_distance(asked, [Proof(0, 1, 0.0, (split,))], 6.0, math.inf), asked, tmp_path).proved
    asked = ask("margin", 0.25)
    assert not checked(of_distance(asked, [], 0.0, 0.0, 0.25), asked, tmp_path).proved
    asked = ask("zero-one", 0.25, label_cost=0.1)
    assert not checked(of_distance(asked, [], 0.0, math.inf), asked, tmp_path).proved
    asked = ask("zero-one", 0.25)
    assert checked(of_distance(asked, [bare(1.3)], 0.0, 0.25, 0.5), asked, tmp_path).proved


def test_the_bracket_of_the_meta_data_is_a_claim_too(ask: Callable[..., WdroProblem], tmp_path: Path) -> None:
    """The JSON of a verdict has it beside ``proved``."""
    asked = ask("zero-one", 0.25)
    made = of_distance(asked, [], 0.0, math.inf)
    assert not checked(replace(made, lower=0.5, upper=0.75), asked, tmp_path).proved
    table = np.array([[0.0, 0.0, 1.0], [0.1, 0.0, 1.0]])
    curve = replace(bare_certificate(asked, (), ()), of=CURVE, claims=table)
    assert checked(replace(curve, lower=0.0, upper=1.0), asked, tmp_path).proved
    for side in ({"lower": 0.5}, {"upper": 0.5}):
        assert not checked(replace(curve, **side), asked, tmp_path).proved


def test_a_certificate_that_claims_nothing_says_so(
    ask: Callable[..., WdroProblem], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is proved, and the exit status is 0: the text does not leave it at that."""
    asked = ask("zero-one", 0.25)
    np.savez(tmp_path / "x.npz", x=asked.samples.x, y=asked.samples.y)
    made = bare_certificate(asked, (bare(1.3),), ())
    one = {"atom_sample": np.zeros(1, np.int64), "atom_weight": np.ones(1), "atom_point": asked.samples.x}
    made = replace(made, **one)
    for changed, words in (({}, "below or above"), ({"upper": 1.0}, "below")):
        write_certificate(tmp_path / "a.cert", replace(made, **changed))
        files = [str(tmp_path / name) for name in ("step.onnx", "x.npz", "a.cert")]
        assert cli._run(["recheck", *files, "--support", "-1", "1"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert f"verdict proved; nothing is claimed from {words} theorem" in text


def test_what_a_time_limit_leaves_of_distances_and_curves_is_proven(
    ask: Callable[..., WdroProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that were looked at stay when the proofs are not reached, and a distance is 0 at least."""
    asked = ask("zero-one", 0.25)
    made = of_distance(asked, [bare(1.3)], 0.0, 0.25, 0.5)
    verdict = recheck(made, asked, -math.inf)
    assert verdict.unproven
    assert not verdict.reasons
    assert verdict.claims.tolist() == [[0.0, 0.0, math.inf]]
    looks = iter((0.0, 2.0, 2.0, 2.0))  # one for the atom, others for proofs
    monkeypatch.setattr("wdaverify.certify.upper.time.monotonic", lambda: next(looks))
    assert recheck(made, asked, 1.0).claims.tolist() == [[0.0, 0.0, 0.25]]


def test_forks_of_integers_beyond_doubles_are_none() -> None:
    """From 2^53 on there are whole numbers between neighbouring doubles, and ``low + 1`` rounds over one."""
    low = 2.0**53 + 2
    assert low + 1.0 == low + 2
    with pytest.raises(MalformedProofError):
        sides_of(np.array([0.0, low, low + 2]))
    assert sides_of(np.array([0.0, 3.0, 4.0])) == ((0, True, 3.0), (0, False, 4.0))


def halved(asked: WdroProblem, nodes: Sequence[int], *forks: Sequence[float], upper: float = -0.15) -> Certificate:
    """A certificate of ``V <= upper``, whose only tree has bare leaves alone."""
    cuts = np.array(forks, np.float64).reshape(-1, 3)
    tree = Tree(0.0, 1.5, np.array(nodes, np.int32), np.zeros((0, 3)), (), cuts)
    made = bare_certificate(asked, (Proof(0, 1, 1.0, (tree,)),), ())
    atom = {"atom_sample": np.zeros(1, np.int64), "atom_weight": np.ones(1), "atom_point": np.array([[0.25]])}
    return replace(made, **atom, upper=upper, lower=-0.25, multiplier=1.0)


def test_halves_have_bounds_of_their_own_and_cover(ask: Callable[..., WdroProblem], tmp_path: Path) -> None:
    """``max(x, 0) - 0.5 - |x - 0.25|`` is at most -0.25 where the neuron is decided, and by its chord over [-1, 1] at most 0.125."""
    asked = ask("margin", 0.25)
    assert not checked(halved(asked, [BARE]), asked, tmp_path).proved
    told = checked(halved(asked, [BARE], upper=1.0), asked, tmp_path)
    assert told.upper == pytest.approx(0.125 + 0.1, abs=1e-9)
    for nodes, forks in (
        ([HALVED, BARE, BARE], [[0, 0.0, 0.0]]),
        ([HALVED, BARE, HALVED, BARE, BARE], [[0, 0.0, 0.0], [0, 0.5, 0.25]]),
        ([HALVED, HALVED, BARE, BARE, BARE], [[0, 0.0, 0.0], [0, 7.0, 7.0]]),
    ):
        verdict = checked(halved(asked, nodes, *forks), asked, tmp_path)
        assert verdict.proved
        assert verdict.upper == pytest.approx(-0.15, abs=1e-12)
    assert not checked(halved(asked, [HALVED, BARE, BARE], [0, 0.0, 0.0], upper=-0.1501), asked, tmp_path).proved


@pytest.mark.parametrize(
    ("nodes", "forks"),
    [
        ([HALVED, BARE], [[0, 0.0, 0.0]]),
        ([HALVED, BARE, BARE, BARE], [[0, 0.0, 0.0]]),
        ([HALVED, BARE, BARE], []),
        ([HALVED, BARE, BARE], [[0, 0.0, 0.0], [0, 0.0, 0.0]]),
        ([HALVED, BARE, BARE], [[0, 0.0, 0.5]]),
        ([HALVED, BARE, BARE], [[0, 0.0, math.nextafter(0.0, 1.0)]]),
        ([HALVED, BARE, BARE], [[0, 0.0, 1.0]]),  # neighbours among integers
        ([HALVED, BARE, BARE], [[99, 0.0, 0.0]]),  # beyond the input, the neurons and the distance
        ([HALVED, BARE, BARE], [[-1, 0.0, 0.0]]),
        ([HALVED, BARE, BARE], [[0.5, 0.0, 0.0]]),
        ([HALVED, BARE, BARE], [[0, math.inf, math.inf]]),
        ([HALVED, BARE, BARE], [[0, math.nan, math.nan]]),
    ],
)
def test_halves_that_leave_something_out_prove_nothing(
    nodes: list[int], forks: list[list[float]], ask: Callable[..., WdroProblem], tmp_path: Path
) -> None:
    asked = ask("margin", 0.25)
    verdict = checked(halved(asked, nodes, *forks), asked, tmp_path)
    assert (verdict.proved, verdict.upper) == (False, math.inf)


def test_distances_without_any_error_have_a_certificate(ask: Callable[..., WdroProblem], tmp_path: Path) -> None:
    found = distances(ask("zero-one", 0.25, weights=FIXED), certificate=True)
    assert found.certificate is not None
    verdict = checked(found.certificate, found.problem, tmp_path)
    assert verdict.proved
    assert (verdict.claims == [0.0, math.inf, math.inf]).all()
