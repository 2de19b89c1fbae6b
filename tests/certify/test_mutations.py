"""Certificates with another meaning: whatever is changed, none proves a bracket tighter than the truth.

The truth lies in the honest bracket (held to oracles in ``test_family``), so that a mutant's lower bound never exceeds the honest upper
one, nor its upper bound falls below the honest lower one; and it is proved only where what it claims is true.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certify.kinds import FAMILY, made, problem

from wdaverify import Certificate, CertificateError, WdroProblem, read_certificate, recheck, write_certificate
from wdaverify.certify.checker import Verdict
from wdaverify.certify.proof import BARE, FORKED, HALVED, NARROWED, TIGHTENED, WRITTEN, Proof, Tree

WHOLE = ("whole space, order inf", "whole space, zero-one", "whole space, finite orders")
KINDS = [
    *((kind, "verify") for kind in (*FAMILY, "specification", *WHOLE)),
    *(
        (kind, "curve")
        for kind in ("margin, order 1", "order 2", "zero-one", "zero-one, order inf", "labels at a price")
    ),
    *((kind, "distance") for kind in ("zero-one", "integers", "l2 cost")),
]
ROUNDS = [
    pytest.param(
        25 * k,
        kind,
        command,
        id=f"{kind}-{command}-{25 * k}",
        marks=[] if k == 0 and at % 6 == 0 else [pytest.mark.full],
    )
    for at, (kind, command) in enumerate(KINDS)
    for k in range(20)
]
FOLDER = Path()


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    global FOLDER  # noqa: PLW0603 (networks are files, and their problems are cached)
    FOLDER = tmp_path_factory.mktemp("networks")


@cache
def honest(kind: str, command: str, seed: int) -> tuple[WdroProblem, Certificate, Verdict]:
    asked = problem(kind, seed, FOLDER)
    if command == "distance":
        asked = replace(asked, loss="zero-one", functionals=None)
    about, certificate, _ = made(command, asked)
    verdict = recheck(certificate, about)
    assert verdict.proved
    return about, certificate, verdict


ODD = (0.0, -0.0, 1.0, -1.0, 2.0, 5e-324, -5e-324, 2.0**-1022, 1e308, -1e308, math.inf, -math.inf, math.nan)


def odd(rng: np.random.Generator, values: Any) -> Any:
    """One number replaced, by an odd one or one a little beside it."""
    out = np.array(values)
    if out.size:
        at = int(rng.integers(out.size))
        old = out.reshape(-1)[at]
        new = [*ODD, old * (1 + 2.0**-30), old - 1e-3, old + 1e-3, -old, old * 0.5]
        out.reshape(-1)[at] = new[int(rng.integers(len(new)))] if out.dtype.kind == "f" else old + rng.integers(-2, 3)
    return out


def in_a_tree(rng: np.random.Generator, cert: Certificate, change: Callable[[Tree], Tree]) -> Certificate:
    """One tree changed, mostly one that has something in it."""
    places = [(k, t) for k, proof in enumerate(cert.proofs) for t, tree in enumerate(proof.trees)]
    rich = [(k, t) for k, t in places if cert.proofs[k].trees[t].nodes.size > 1 or len(cert.proofs[k].trees[t].vectors)]
    if not places:
        return cert
    pool = rich if rich and rng.random() < 0.8 else places
    k, t = pool[int(rng.integers(len(pool)))]
    trees, proofs = list(cert.proofs[k].trees), list(cert.proofs)
    trees[t] = change(trees[t])
    proofs[k] = replace(proofs[k], trees=tuple(trees))
    return replace(cert, proofs=tuple(proofs))


def in_a_proof(rng: np.random.Generator, cert: Certificate, change: Callable[[Proof], Proof | None]) -> Certificate:
    if not cert.proofs:
        return cert
    proofs: list[Proof | None] = list(cert.proofs)
    k = int(rng.integers(len(proofs)))
    proofs[k] = change(cert.proofs[k])
    return replace(cert, proofs=tuple(proof for proof in proofs if proof is not None))


def cut_short(rng: np.random.Generator, tree: Tree) -> Tree:
    """A subtree is a bare leaf, a leaf is gone, or a node another one."""
    nodes = tree.nodes.copy()
    if not nodes.size:
        return tree
    at = int(rng.integers(nodes.size))
    match int(rng.integers(4)):
        case 0:
            return replace(tree, nodes=np.delete(nodes, at))
        case 1:
            nodes[at] = rng.choice([BARE, WRITTEN, TIGHTENED, FORKED, HALVED, NARROWED, 0, 1, 99])
        case 2:
            nodes = np.insert(nodes, at, rng.choice([BARE, WRITTEN, TIGHTENED, FORKED, HALVED, NARROWED, 0, 1]))
        case _:
            return replace(
                tree, nodes=np.array([BARE], np.int32), vectors=tree.vectors[:0], tights=(), forks=tree.forks[:0]
            )
    return replace(tree, nodes=nodes.astype(np.int32))


def weighed(rng: np.random.Generator, tree: Tree) -> Tree:
    """Other weights of margin and cost: 0 for both claims that a leaf is empty."""
    vectors = tree.vectors.copy()
    if len(vectors):
        some = rng.random(len(vectors)) < 0.5
        vectors[some, int(rng.integers(2))] = rng.choice([0.0, 1.0, -1.0, 2.0, 1 + 2.0**-52, 5e-324])
    return replace(tree, vectors=vectors)


def claimed(rng: np.random.Generator, cert: Certificate) -> Certificate:
    """Tighter claims."""
    less = float(10.0 ** rng.uniform(-5, 0))
    if not len(cert.claims):
        return replace(cert, upper=cert.upper - less) if rng.random() < 0.5 else replace(cert, lower=cert.lower + less)
    claims, k = cert.claims.copy(), int(rng.integers(len(cert.claims)))
    side = int(rng.integers(1, 3))
    claims[k, side] += less if side == 1 else -less
    return replace(cert, claims=claims)


def stated(rng: np.random.Generator, cert: Certificate) -> Certificate:
    """It is about another question."""
    fields: list[dict[str, Any]] = [
        {"radius": cert.radius * 0.5},
        {"norm": "1" if cert.norm == "inf" else "inf"},
        {"order": 2 if cert.order == 1 else 1},
        {"loss": "cw" if cert.loss == "margin" else "margin"},
        {"label_cost": 0.125},
        {"clip": not cert.clip},
        {"count": cert.count - 1},
        {"multiplier": float(rng.choice([0.0, cert.multiplier * 2 + 1, 5e-324, math.inf, -1.0]))},
        {"support_upper": cert.support_upper - 0.25},
        {"of": str(rng.choice(["value", "curve", "distances"]))},
        *({name: None} for name in ("weights_sha256", "rows_sha256", "integers_sha256", "functionals_sha256")),
    ]
    return replace(cert, **fields[int(rng.integers(len(fields)))])


def atoms(rng: np.random.Generator, cert: Certificate) -> Certificate:
    """Other distributions."""
    name = str(rng.choice(["atom_point", "atom_weight", "atom_sample", "atom_label", "atom_witness", "witness_radius"]))
    held = getattr(cert, name)
    if name == "atom_label":
        return replace(cert, atom_label=rng.integers(-1, 3, cert.atom_sample.size))
    return replace(cert, **{name: odd(rng, held)})


def swapped(rng: np.random.Generator, proof: Proof, cert: Certificate) -> Proof:
    """The trees of another sample, rival, label or multiplier."""
    other = cert.proofs[int(rng.integers(len(cert.proofs)))]
    match int(rng.integers(5)):
        case 0:
            return replace(proof, sample=other.sample)
        case 1:
            return replace(proof, rival=int(rng.integers(-1, 4)))
        case 2:
            return replace(proof, label=int(rng.integers(-2, 4)))
        case 3:
            return replace(proof, multiplier=float(rng.choice([*ODD, other.multiplier, proof.multiplier * 0.5])))
        case _:
            return replace(proof, trees=other.trees)


def covered(rng: np.random.Generator, proof: Proof) -> Proof | None:
    """Shells are gone, in another order, or end elsewhere."""
    trees = list(proof.trees)
    if not trees:
        return None
    k = int(rng.integers(len(trees)))
    match int(rng.integers(5)):
        case 0:
            return None
        case 1:
            return replace(proof, trees=tuple(trees[:k] + trees[k + 1 :]))
        case 2:
            return replace(proof, trees=tuple(trees[::-1]))
        case 3:
            trees[k] = replace(trees[k], far=float(odd(rng, np.array([trees[k].far]))[0]))
        case _:
            trees[k] = replace(trees[k], near=float(odd(rng, np.array([trees[k].near]))[0]))
    return replace(proof, trees=tuple(trees))


def doubled(rng: np.random.Generator, cert: Certificate) -> Certificate:
    """A proof more of what another one is about: without a shell, with one of its trees, or made for another multiplier."""
    if not cert.proofs:
        return cert
    proof = cert.proofs[int(rng.integers(len(cert.proofs)))]
    more = [
        replace(proof, trees=()),
        replace(proof, trees=proof.trees[-1:]),
        replace(proof, multiplier=float(rng.choice([0.0, 5e-324, proof.multiplier + 1, 1e308]))),
    ][int(rng.integers(3))]
    at = int(rng.integers(len(cert.proofs) + 1))
    return replace(cert, proofs=(*cert.proofs[:at], more, *cert.proofs[at:]))


def tightened(rng: np.random.Generator, tree: Tree) -> Tree:
    """Levels, weights and betas of other sizes."""
    if not tree.tights:
        return tree
    tights, k = list(tree.tights), int(rng.integers(len(tree.tights)))
    name = str(rng.choice(["level", "weight", "beta", "slopes", "at"]))
    value = odd(rng, getattr(tights[k], name))
    tights[k] = replace(
        tights[k], **{name: float(value) if name == "level" else value.astype(getattr(tights[k], name).dtype)}
    )
    return replace(tree, tights=tuple(tights))


def far(rng: np.random.Generator, slopes: tuple[Proof, ...]) -> tuple[Proof, ...]:
    """Slopes at infinity of another functional, without a tree, or of other numbers."""
    if not slopes:
        return slopes
    out, k = list(slopes), int(rng.integers(len(slopes)))
    match int(rng.integers(4)):
        case 0:
            del out[k]
        case 1:
            out[k] = replace(out[k], rival=int(rng.integers(-1, 4)))
        case 2:
            out[k] = replace(out[k], trees=tuple(cut_short(rng, tree) for tree in out[k].trees))
        case _:
            out[k] = replace(out[k], trees=tuple(weighed(rng, tree) for tree in out[k].trees))
    return tuple(out)


MUTATIONS: list[Callable[[np.random.Generator, Certificate], Certificate]] = [
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: cut_short(rng, tree)),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: weighed(rng, tree)),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: replace(tree, vectors=odd(rng, tree.vectors))),
    lambda rng, cert: in_a_tree(
        rng, cert, lambda tree: replace(tree, vectors=tree.vectors * rng.choice([0.0, 0.5, -1.0, 1.5, 1e300]))
    ),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: replace(tree, forks=odd(rng, tree.forks))),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: replace(tree, forks=tree.forks + np.array([0.0, -1.0, 1.0]))),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: replace(tree, forks=tree.forks[:, [0, 2, 1]])),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: tightened(rng, tree)),
    lambda rng, cert: in_a_proof(rng, cert, lambda proof: swapped(rng, proof, cert)),
    lambda rng, cert: in_a_proof(rng, cert, lambda proof: covered(rng, proof)),
    lambda rng, cert: replace(
        cert, **{name: odd(rng, getattr(cert, name)) for name in [str(rng.choice(["claims", "lines"]))]}
    ),
    lambda rng, cert: replace(cert, slopes=far(rng, cert.slopes)),
    doubled,
    claimed,
    stated,
    atoms,
]


@pytest.mark.parametrize(("first", "kind", "command"), ROUNDS)
def test_no_mutant_proves_more_than_the_truth(first: int, kind: str, command: str, tmp_path: Path) -> None:
    """500 of each kind, 25 at a time; files hold them all the same."""
    rng = np.random.default_rng(first + 7 * len(kind))
    for number in range(first, first + 25):
        about, cert, good = honest(kind, command, number % 3)
        mutant = cert
        with np.errstate(all="ignore"):
            for _ in range(int(rng.integers(1, 4))):
                mutant = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, mutant)
        try:
            write_certificate(tmp_path / "m.cert", mutant)
            verdict = recheck(read_certificate(tmp_path / "m.cert"), about)
        except CertificateError:
            continue
        assert not verdict.proved or mutant.of == cert.of
        within(verdict.lower, verdict.upper, good.lower, good.upper)
        if verdict.proved and cert.of == "value":
            assert mutant.lower <= good.upper + 2e-6 * max(1.0, abs(good.upper))
            assert mutant.upper >= good.lower - 2e-6 * max(1.0, abs(good.lower))
        if mutant.of == cert.of:
            held = {at: (low, high) for at, low, high in good.claims.tolist()}
            for at, low, high in verdict.claims.tolist():
                if at in held:
                    within(low, high, *held[at])


def within(lower: float, upper: float, least: float, most: float) -> None:
    assert not np.isnan([lower, upper]).any()
    assert lower <= most
    assert upper >= least
