"""Certificates of unsat by splitting neurons: every one that a run writes is proved, and none that was tampered with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from checking.small import is_proved, random_question, value_of

from wdaverify import check, cli, load_network, verify
from wdaverify.certify import conjunctions, splits
from wdaverify.certify.certificate import packed, unpacked
from wdaverify.certify.conjunctions import by_box, claim, scaled
from wdaverify.certify.proof import BARE, Tree
from wdaverify.certify.splits import SplitCertificate
from wdaverify.certify.unsat import recheck_unsat
from wdaverify.checking import check as asked
from wdaverify.errors import CertificateError
from wdaverify.specification.model import Specification

Question = tuple[Any, Specification, SplitCertificate]
SEEDS = [seed for seed in range(60) if random_question(seed)[2] < 0]


def made(seed: int) -> Question:
    network, specification, value = random_question(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asked, "_FEW", 0)
        result = check(network, specification, certificate=True)
    assert value < 0
    assert isinstance(result.certificate, SplitCertificate)
    assert result.certificate.upper == result.upper
    return network, specification, result.certificate


@pytest.mark.parametrize("count", [3, pytest.param(len(SEEDS), marks=pytest.mark.full)])
def test_what_a_run_writes_is_proved(count: int, tmp_path: Path) -> None:
    """And what is proven lies above v, by programs over all regions."""
    for seed in SEEDS[:count]:
        is_proved(*made(seed), tmp_path)


def test_the_claim_is_about_v() -> None:
    """The worst case that parts are about is the largest v of several disjuncts in one box, times the factor, whatever its sign."""
    seen = 0
    for seed in range(40):
        network, specification, _ = random_question(seed)
        if len(specification.disjuncts) < 2 or seen == 3:
            continue
        seen += 1
        box = specification.disjuncts[0].box
        disjuncts = tuple(replace(disjunct, box=box) for disjunct in specification.disjuncts)
        multiplied, factor = scaled(replace(specification, disjuncts=disjuncts))
        [(only, numbers)] = by_box(multiplied)
        assert numbers == list(range(len(disjuncts)))
        found = verify(claim(network, multiplied.disjuncts, only))
        value = max(value_of(network.graph, disjunct) for disjunct in disjuncts)
        assert found.lower / factor - 1e-9 <= value <= found.upper / factor + 1e-9
        assert found.gap <= 1e-6 * max(1, abs(found.upper))
    assert seen == 3


@pytest.fixture(scope="module")
def split() -> Question:
    """A proof with trees that split, of several boxes."""
    for seed in range(400):
        _, specification, value = random_question(seed)
        if not -math.inf < value < 0 or len(by_box(specification)) < 2:
            continue
        question = made(seed)
        if question[2].leaves > 2 * len(question[2].parts) and any(tree.nodes.size > 1 for tree in trees(question[2])):
            return question
    raise AssertionError("no seed has such a proof")


def trees(certificate: SplitCertificate) -> list[Tree]:
    return [tree for part in certificate.parts for proof in unpacked(part).proofs for tree in proof.trees]


def with_trees(certificate: SplitCertificate, change: Callable[[Tree], Tree]) -> SplitCertificate:
    parts = []
    for part in certificate.parts:
        bracket = unpacked(part)
        proofs = tuple(replace(proof, trees=tuple(map(change, proof.trees))) for proof in bracket.proofs)
        parts.append(packed(replace(bracket, proofs=proofs)))
    return replace(certificate, parts=tuple(parts))


def cut_short(tree: Tree) -> Tree:
    return replace(tree, nodes=tree.nodes[:-1]) if tree.nodes.size > 1 else tree


def nearer(tree: Tree) -> Tree:
    return replace(tree, far=0.5 * tree.near + 0.5 * tree.far)


MUTATIONS: dict[str, Callable[[SplitCertificate], SplitCertificate]] = {
    "a part too few": lambda c: replace(c, parts=c.parts[:-1]),
    "a part twice": lambda c: replace(c, parts=(*c.parts, c.parts[0])),
    "a part of another box": lambda c: replace(c, parts=c.parts[::-1]),
    "a part that is none": lambda c: replace(c, parts=(b"PK", *c.parts[1:])),
    "proofs left out": lambda c: replace(
        c, parts=tuple(packed(replace(unpacked(part), proofs=unpacked(part).proofs[1:])) for part in c.parts)
    ),
    "a tree cut short": lambda c: with_trees(c, cut_short),
    "shells that end too early": lambda c: with_trees(c, nearer),
    "a lower claim": lambda c: replace(c, upper=c.upper - 1.0),
    "a claim that is not below 0": lambda c: replace(c, upper=0.5),
    "another network": lambda c: replace(c, network_sha256="1" * 64),
    "another specification": lambda c: replace(c, specification_sha256="1" * 64),
    "other inputs": lambda c: replace(c, inputs=c.inputs + 1),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_was_tampered_with_is_not_proved(name: str, split: Question) -> None:
    network, specification, certificate = split
    assert recheck_unsat(certificate, network, specification).proved
    verdict = recheck_unsat(MUTATIONS[name](certificate), network, specification)
    assert not verdict.proved
    assert verdict.reasons
    assert all(len(reason) < 2000 for reason in verdict.reasons)


def test_all_leaves_bare_prove_no_more_than_they_do(split: Question) -> None:
    """Of trees without their splits what bounds show, whatever is claimed; and v is what they are held to."""
    network, specification, certificate = split
    without = with_trees(
        certificate, lambda tree: replace(tree, nodes=np.array([BARE], np.int32), vectors=tree.vectors[:0])
    )
    verdict = recheck_unsat(without, network, specification)
    value = max(value_of(network.graph, disjunct) for disjunct in specification.disjuncts)
    assert not verdict.proved or verdict.upper >= value - 1e-9


@pytest.mark.parametrize("fault", ["row", "disjunct", "side"])
def test_a_fault_in_the_question_is_seen(fault: str, split: Question) -> None:
    """A certificate of another question than the one asked does not pass, where hashes do not tell them apart."""
    network, specification, certificate = split
    box, numbers = by_box(specification)[0]
    d = numbers[0]
    disjunct = specification.disjuncts[d]
    if fault == "row":
        first = disjunct.rows[0]
        other = replace(disjunct, rows=(replace(first, outputs=(), inputs=(), offset=Fraction(1000)),))
        changed = [other if k == d else each for k, each in enumerate(specification.disjuncts)]
    elif fault == "disjunct":
        more = replace(disjunct, rows=(replace(disjunct.rows[0], outputs=(), inputs=(), offset=Fraction(1)),))
        changed = [*specification.disjuncts, more]
    else:
        wide = replace(box, upper=box.upper + 100, most=box.most + 100)
        changed = [replace(each, box=wide) if each.box is box else each for each in specification.disjuncts]
    assert not recheck_unsat(certificate, network, replace(specification, disjuncts=tuple(changed))).proved


def test_a_planted_fault_in_the_claim_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets left out: what is proven is then not above v any more."""
    own = conjunctions.claim

    def faulty(network: Any, disjuncts: Any, box: Any) -> Any:
        less = [
            replace(disjunct, rows=tuple(replace(row, offset=row.offset - 1) for row in disjunct.rows))
            for disjunct in disjuncts
        ]
        return own(network, less, box)

    monkeypatch.setattr(splits, "claim", faulty)
    with pytest.raises(AssertionError):
        test_what_a_run_writes_is_proved(1, tmp_path)


def test_the_deadline_proves_nothing(split: Question) -> None:
    network, specification, certificate = split
    verdict = recheck_unsat(certificate, network, specification, deadline=-np.inf)
    assert not verdict.proved
    assert verdict.upper == np.inf
    assert verdict.unproven
    assert not verdict.reasons


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    layers = [(rng.normal(size=(6, 12)), rng.normal(size=6)), (rng.normal(size=(2, 6)), np.zeros(2))]
    net = str(write_mlp(tmp_path / "n.onnx", layers))
    top = check_top(load_network(net))
    declared = (
        "".join(f"(declare-const X_{i} Real)" for i in range(12)) + "(declare-const Y_0 Real)(declare-const Y_1 Real)"
    )
    box = "".join(f"(assert (<= 0 X_{i} 0.5))" for i in range(12))
    spec, cert = tmp_path / "s.vnnlib", tmp_path / "c.cert"
    spec.write_text(f"{declared}{box}(assert (or (>= Y_0 {top}) (>= Y_1 {top})))")

    def run(*arguments: str) -> tuple[Any, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return ended.value.code, " ".join(capsys.readouterr().out.split())

    status, said = run("check", net, str(spec), "--certificate", str(cert), "--jobs", "1")
    assert (status, "1 box whose neurons are split" in said) == (0, True)
    status, said = run("recheck", net, str(spec), str(cert))
    assert (status, "1 box whose neurons are split" in said) == (0, True)
    assert run("recheck", net, str(spec), str(cert), "--memory-limit", "0.001")[0] == 2


def check_top(network: Any) -> float:
    """Above all outputs on [0, 0.5]^12, by intervals of the first layer."""
    corners = np.random.default_rng(0).random((4000, 12)) * 0.5
    return float(network.forward(corners).max()) + 3.0


def test_types_are_checked() -> None:
    for fields in ({"upper": "0"}, {"parts": [b""]}, {"parts": ("",)}, {"network_sha256": 1}, {"leaves": 1.5}):
        with pytest.raises(CertificateError):
            replace(SplitCertificate("", "", 1, -1.0, 1, ()), **fields)
