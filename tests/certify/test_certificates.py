"""Certificates from end to end: what verify writes recheck proves, what is tampered with it does not."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from certify.kinds import dlr
from certify.prover import certify
from jsonschema import Draft202012Validator
from oracles import exact_bracket
from problems import random_problem

from wdaverify import (
    Certificate,
    CertificateError,
    ProblemError,
    VerificationResult,
    WdroProblem,
    cli,
    load_network,
    read_certificate,
    recheck,
    verify,
    write_certificate,
)
from wdaverify.certify.certificate import rounded
from wdaverify.certify.proof import BARE, WRITTEN, MalformedProofError, Proof, Tree
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.report import as_json
from wdaverify.samples import make_samples
from wdaverify.solvers.lp import LpSession

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
SEEDS = [pytest.param(s, marks=[] if s < 16 else [pytest.mark.full]) for s in range(72)]
TOLERANCE = 1e-6
FOLDER = Path()


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    global FOLDER  # noqa: PLW0603 (networks are files, and their problems are cached)
    FOLDER = tmp_path_factory.mktemp("networks")


@cache
def asked(seed: int) -> WdroProblem:
    """The random problem of a seed, through an ONNX file."""
    p = random_problem(seed)
    path = write_mlp(FOLDER / f"network{seed}.onnx", list(p.weights), dtype=np.float64)
    samples, cost = make_samples(p.x, p.y, p.w), GroundCost(norm=Norm(p.norm), order=1)
    return WdroProblem(load_network(path), samples, cost, Support(p.lower, p.upper), Loss(p.loss), p.radius)


@cache
def truth(seed: int) -> tuple[float, float]:
    p = random_problem(seed)
    low, high = exact_bracket(p.weights, p.x, p.y, p.w, p.radius, p.norm, p.loss, p.lower, p.upper)
    return min(low, high), max(low, high)


@cache
def proved(seed: int) -> VerificationResult:
    return verify(asked(seed), certificate=True)


def certificate(seed: int) -> Certificate:
    out = proved(seed).certificate
    assert out is not None
    return out


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_values_are_proved(seed: int, tmp_path: Path) -> None:
    """The oracle's problems: exact, proved, the same after a trip through a file; the bracket holds the truth."""
    result, (low, high) = proved(seed), truth(seed)
    assert (result.status, result.vouched_lower, result.vouched_upper) == ("exact", "proved", "proved")
    assert result.gap <= TOLERANCE
    assert result.lower - 1e-12 <= low
    assert high <= result.upper + 1e-12
    write_certificate(tmp_path / "a.cert", certificate(seed))
    verdict = recheck(read_certificate(tmp_path / "a.cert"), asked(seed))
    assert verdict.proved, verdict.reasons
    assert (verdict.lower, verdict.upper) == (result.lower, result.upper)


@pytest.mark.parametrize("seed", [s for s in range(16) if s not in (7, 8, 10)])  # there neurons are merged: no chain
def test_a_brute_force_prover_proves_the_same(seed: int) -> None:
    """Proofs that share nothing with the engine: every phase split, one linear program a leaf (tests/certify/prover.py)."""
    result, (low, high), problem = proved(seed), truth(seed), asked(seed)
    made = certify(problem, result.multiplier or 0.0, result.atoms, (result.lower, high))
    verdict = recheck(made, problem)
    assert verdict.proved, verdict.reasons
    assert verdict.lower - 1e-12 <= low
    assert high - 1e-12 <= verdict.upper <= high + TOLERANCE


MARGIN = next(s for s in range(16) if random_problem(s).loss == "margin" and random_problem(s).radius > 0.01)
ZERO_ONE = next(s for s in range(72) if random_problem(s).loss == "zero-one" and random_problem(s).radius > 0.01)


def tree_with(cert: Certificate, test: Callable[[Tree], bool]) -> tuple[int, int]:
    """The first proof and tree that pass the test."""
    for k, proof in enumerate(cert.proofs):
        for t, tree in enumerate(proof.trees):
            if test(tree):
                return k, t
    raise AssertionError("no tree to tamper with")


def tampered(cert: Certificate, where: tuple[int, int], **changes: Any) -> Certificate:
    """The certificate with one tree changed."""
    k, t = where
    trees = list(cert.proofs[k].trees)
    trees[t] = replace(trees[t], **changes)
    proofs = list(cert.proofs)
    proofs[k] = replace(proofs[k], trees=tuple(trees))
    return replace(cert, proofs=tuple(proofs))


def deep(tree: Tree) -> bool:
    return bool((tree.nodes >= 0).any() and (tree.nodes == WRITTEN).any())


@cache
def deep_seed() -> int:
    """A margin problem whose certificate splits neurons."""
    for seed in range(72):
        p = random_problem(seed)
        if (
            p.loss == "margin"
            and p.radius > 0
            and any(deep(t) for proof in certificate(seed).proofs for t in proof.trees)
        ):
            return seed
    raise AssertionError("no certificate splits a neuron")


def rejected(cert: Certificate, seed: int) -> None:
    """It proves nothing tighter than the truth, and not what was claimed."""
    verdict = recheck(cert, asked(seed))
    low, high = truth(seed)
    assert not verdict.proved
    assert verdict.reasons
    assert verdict.lower - 1e-12 <= low
    assert high <= verdict.upper + 1e-12


def without_a_leaf(cert: Certificate) -> Certificate:
    where = tree_with(cert, deep)
    tree = cert.proofs[where[0]].trees[where[1]]
    return tampered(cert, where, nodes=tree.nodes[:-1])


def another_neuron_split(cert: Certificate) -> Certificate:
    where = tree_with(cert, deep)
    nodes = cert.proofs[where[0]].trees[where[1]].nodes.copy()
    at = int(np.flatnonzero(nodes >= 0)[0])
    nodes[at] = cert.neurons
    return tampered(cert, where, nodes=nodes)


def a_shell_left_out(cert: Certificate) -> Certificate:
    proof = next(p for p in cert.proofs if len(p.trees) > 1)
    spoiled = replace(proof, trees=proof.trees[:1] + proof.trees[2:])
    return replace(cert, proofs=tuple(spoiled if p is proof else p for p in cert.proofs))


def rows_turned(cert: Certificate, factor: float) -> Certificate:
    proofs = tuple(
        replace(
            p,
            trees=tuple(replace(t, vectors=np.hstack([t.vectors[:, :2], t.vectors[:, 2:] * factor])) for t in p.trees),
        )
        for p in cert.proofs
    )
    return replace(cert, proofs=proofs)


def an_atom_moved(cert: Certificate) -> Certificate:
    return replace(cert, atom_point=0.5 * (cert.atom_point + cert.support_lower))


PLANTED: dict[str, Callable[[Certificate], Certificate]] = {
    "a leaf removed": without_a_leaf,
    "a neuron split that is none": another_neuron_split,
    "a shell left out": a_shell_left_out,
    "signs of multipliers": lambda cert: rows_turned(cert, -1.0),
    "values of multipliers": lambda cert: rows_turned(cert, 1.5),
    "a multiplier that is no number": lambda cert: rows_turned(cert, math.nan),
    "an upper bound tightened by 1e-3": lambda cert: replace(cert, upper=cert.upper - 1e-3),
    "a lower bound tightened by 1e-3": lambda cert: replace(cert, lower=cert.lower + 1e-3),
    "the proofs of a rival left out": lambda cert: replace(
        cert,
        proofs=tuple(p for p in cert.proofs if (p.sample, p.rival) != (cert.proofs[0].sample, cert.proofs[0].rival)),
    ),
    "a proof for the label itself": lambda cert: replace(
        cert, proofs=(replace(cert.proofs[0], sample=len(cert.atom_sample) + 99), *cert.proofs[1:])
    ),
    "masses changed": lambda cert: replace(cert, atom_weight=cert.atom_weight * 0.5),
    "another multiplier": lambda cert: replace(cert, multiplier=cert.multiplier * 4 + 1),
    "no multiplier": lambda cert: replace(cert, multiplier=-1.0),
    "another radius": lambda cert: replace(cert, radius=cert.radius / 2),
    "another network": lambda cert: replace(cert, network_sha256=cert.network_sha256[:-1] + "x"),
    "other samples": lambda cert: replace(cert, samples_sha256=cert.samples_sha256[:-1] + "x"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_rejected(fault: str) -> None:
    seed = deep_seed()
    assert recheck(certificate(seed), asked(seed)).proved
    rejected(PLANTED[fault](certificate(seed)), seed)


def test_a_moved_atom_proves_its_own_value_or_nothing() -> None:
    seed = deep_seed()
    verdict = recheck(an_atom_moved(certificate(seed)), asked(seed))
    assert verdict.lower <= truth(seed)[0] + 1e-12
    assert verdict.lower != certificate(seed).lower


def test_a_swapped_phase_is_rejected() -> None:
    """The two sides of a split exchanged, rows and all; where it is no row of theirs that binds it may do no harm."""
    caught = 0
    for seed in range(16):
        cert = certificate(seed)
        spoiled = []
        for proof in cert.proofs:
            trees = []
            for tree in proof.trees:
                leaves = int((tree.nodes >= 0).sum()) + 1
                if deep(tree) and (leaves == 2 or leaves == tree.vectors.shape[0]):
                    tree = replace(tree, vectors=tree.vectors[::-1])
                trees.append(tree)
            spoiled.append(replace(proof, trees=tuple(trees)))
        verdict, (low, high) = recheck(replace(cert, proofs=tuple(spoiled)), asked(seed)), truth(seed)
        caught += not verdict.proved
        assert verdict.lower - 1e-12 <= low
        assert high <= verdict.upper + 1e-12
    assert caught


MUTATIONS = [pytest.param(s, marks=[] if s < 40 else [pytest.mark.full]) for s in range(300)]


@pytest.mark.parametrize("number", MUTATIONS)
def test_no_mutation_proves_more_than_the_truth(number: int, tmp_path: Path) -> None:
    """Random changes of the decoded content, written anew with valid checksums."""
    rng = np.random.default_rng(number)
    seed = [deep_seed(), MARGIN, ZERO_ONE][number % 3]
    cert = certificate(seed)
    for _ in range(int(rng.integers(1, 4))):
        cert = mutated(cert, rng)
    try:
        write_certificate(tmp_path / "m.cert", cert)
        verdict = recheck(read_certificate(tmp_path / "m.cert"), asked(seed))
    except CertificateError:
        return
    low, high = truth(seed)
    assert verdict.lower - 1e-12 <= low
    assert high <= verdict.upper + 1e-12
    if verdict.proved:
        assert cert.lower <= high + 2e-6
        assert cert.upper >= low - 2e-6


def mutated(cert: Certificate, rng: np.random.Generator) -> Certificate:
    """One random change."""
    match int(rng.integers(8)):
        case 0:
            return replace(cert, upper=cert.upper - 10.0 ** rng.uniform(-5, 0))
        case 1:
            return replace(cert, lower=cert.lower + 10.0 ** rng.uniform(-5, 0))
        case 2:
            weight = cert.atom_weight.copy()
            weight[int(rng.integers(weight.size))] *= rng.choice([0.5, 2.0, -1.0, 1 + 2**-50])
            return replace(cert, atom_weight=weight)
        case 3:
            point = (
                cert.atom_point
                + (rng.random(cert.atom_point.shape) < 0.1) * rng.normal(size=cert.atom_point.shape) * 0.2
            )
            return replace(cert, atom_point=point)
        case 4:
            return replace(cert, multiplier=float(cert.multiplier * 10.0 ** rng.normal()))
    if not cert.proofs:
        return cert
    k = int(rng.integers(len(cert.proofs)))
    if not cert.proofs[k].trees:
        return cert
    t = int(rng.integers(len(cert.proofs[k].trees)))
    tree = cert.proofs[k].trees[t]
    match int(rng.integers(5)):
        case 0:
            vectors = tree.vectors + (rng.random(tree.vectors.shape) < 0.3) * rng.normal(size=tree.vectors.shape)
            return tampered(cert, (k, t), vectors=vectors)
        case 1:
            nodes = tree.nodes.copy()
            nodes[int(rng.integers(nodes.size))] = int(rng.integers(-3, cert.neurons + 1))
            return tampered(cert, (k, t), nodes=nodes)
        case 2:
            return tampered(cert, (k, t), near=tree.near + rng.choice([-1, 1]) * 0.01, far=tree.far)
        case 3:
            proofs = list(cert.proofs)
            other = int(rng.integers(len(proofs)))
            proofs[k] = Proof(proofs[other].sample, proofs[other].rival, proofs[k].multiplier, proofs[k].trees)
            return replace(cert, proofs=tuple(proofs))
        case _:
            vectors = tree.vectors.copy()
            vectors[:, int(rng.integers(2))] = rng.choice([0.0, 1.0, 2.0, -1.0])
            return tampered(cert, (k, t), vectors=vectors)


def test_a_file_cut_short_or_spoiled_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, certificate(MARGIN))
    content = path.read_bytes()
    for size in np.linspace(0, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:size])
        with pytest.raises(CertificateError):
            read_certificate(path)
    rng = np.random.default_rng(0)
    for _ in range(40):
        spoiled = bytearray(content)
        spoiled[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        try:
            verdict = recheck(read_certificate(path), asked(MARGIN))
        except CertificateError:
            continue
        assert verdict.upper >= truth(MARGIN)[1] - 1e-12


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("nodes", np.zeros(3)),
        ("proof_trees", np.array([10**6])),
        ("tree_nodes", np.array([-1])),
        ("meta", np.frombuffer(b"{}", np.uint8)),
        ("atom_point", np.zeros((1, 1))),
        ("vectors", np.zeros((8, 1), np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_are_unreadable(name: str, values: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, certificate(MARGIN))
    with np.load(path) as archive:
        arrays = dict(archive)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **{**arrays, name: values})
    with pytest.raises(CertificateError, match="no certificate"):
        read_certificate(path)


@pytest.mark.parametrize(
    ("nodes", "rows"),
    [
        ([0], 0),
        ([0, BARE, BARE, BARE], 0),
        ([0, 0, BARE, BARE, BARE], 0),
        ([9, BARE, BARE], 0),
        ([-7], 0),
        ([WRITTEN], 0),
        ([BARE], 1),
    ],
)
def test_a_malformed_tree_is_none(nodes: list[int], rows: int) -> None:
    with pytest.raises(MalformedProofError):
        list(Tree(0.0, 1.0, np.array(nodes, np.int32), np.zeros((rows, 6))).walk(4))


def test_rounding_keeps_what_it_says() -> None:
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-500, 500).astype(float).clip(-300, 300)
    assert (np.abs(rounded(values) - values) <= 2.0**-40 * np.abs(values)).all()
    assert (rounded(np.zeros(3)) == 0).all()


@pytest.mark.parametrize("seed", [MARGIN, ZERO_ONE])
def test_sloppy_solvers_cost_width_and_never_validity(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feasibility tolerances of 1e-3: the bracket holds the truth, and what is proved is true."""
    genuine = LpSession.__init__

    def sloppy(self: LpSession, *arguments: Any, curved: bool = False) -> None:
        genuine(self, *arguments)
        for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._solver.setOptionValue(option, 1e-3)

    monkeypatch.setattr(LpSession, "__init__", sloppy)
    result, (low, high) = verify(asked(seed), certificate=True), truth(seed)
    assert result.lower - 1e-12 <= low
    assert high <= result.upper + 1e-12
    assert result.certificate is not None
    assert recheck(result.certificate, asked(seed)).upper >= high - 1e-12


@pytest.mark.parametrize("loss", ["margin", "zero-one"])
@pytest.mark.parametrize("limit", [0.0, 0.1, 1.0])
def test_a_run_cut_short_proves_its_wide_bracket(limit: float, loss: str, tmp_path: Path) -> None:
    seed = MARGIN if loss == "margin" else ZERO_ONE
    result, (low, high) = verify(asked(seed), certificate=True, time_limit=limit), truth(seed)
    assert result.lower - 1e-12 <= low
    assert high <= result.upper + 1e-12
    assert result.certificate is not None
    assert recheck(result.certificate, asked(seed)).proved


def test_a_mip_solver_gives_no_certificate() -> None:
    with pytest.raises(ProblemError, match="--solver cells"):
        verify(asked(MARGIN), solver="highs", certificate=True)


def run(*arguments: object) -> int:
    return cli._run([str(argument) for argument in arguments])


def test_the_command_line_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, verdict = tmp_path / "a.cert", tmp_path / "verdict.json"
    ask = ["verify", NET, DATA, "--radius", "0.05", "--samples", "12", "--jobs", "1"]
    assert run(*ask, "--certificate", path) == 0
    assert "proof" in capsys.readouterr().out
    assert run("recheck", NET, DATA, path, "--samples", "12", "--output", verdict) == 0
    out = capsys.readouterr().out
    assert "proved" in out
    assert "theorem" in out
    told = json.loads(verdict.read_text())
    Draft202012Validator(as_json.schema("verdict")).validate(told)
    assert told["proved"] is True
    assert told["reasons"] == []
    other = str(MODELS / "digits_16x16.onnx")
    assert run("recheck", other, DATA, path) in (1, 2)
    with np.load(DATA) as data:
        arrays = dict(data)
    swapped = tmp_path / "swapped.npz"
    np.savez(swapped, **{**arrays, "x": arrays["x"][::-1]})
    assert run("recheck", NET, swapped, path, "--samples", "12") == 1
    assert "samples differs" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-7])
    assert run("recheck", NET, DATA, path) == 2
    assert run("recheck", NET, DATA, tmp_path / "none.cert") == 2
    assert run(*ask, "--certificate", DATA) == 2
    assert run(*ask, "--certificate", tmp_path / "no" / "folder.cert") == 2
    assert run(*ask, "--certificate", path, "--solver", "highs") == 2


def test_what_is_printed_rechecks_odd_names_and_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that begin as options do, classes with commas and quotes, another arithmetic: pasted as they stand."""
    monkeypatch.chdir(tmp_path)
    write_mlp(Path("-a 'b'.onnx"), [(np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2))])
    Path("-d.csv").write_text('x,y,-of\n0.25,0.75,"big, cat"\n0.5,0.25,"o""wl"\n')
    named = ["--label-column", "-of", "--classes", '"big, cat","o""wl"', "--arithmetic", "float32"]
    line = ["--radius", "0", *named, "--certificate", "-c.cert", "--", "-a 'b'.onnx", "-d.csv"]
    assert run("verify", *line) == 0
    said = capsys.readouterr().out
    assert run(*shlex.split(said[said.index("wdaverify recheck") :].replace("\\\n", " "))[1:]) == 0
    assert run("lipschitz", "--certificate", "-l.cert", "--", "-a 'b'.onnx") == 0
    said = capsys.readouterr().out
    assert run(*shlex.split(said[said.index("wdaverify recheck") :].replace("\\\n", " "))[1:]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--radius", "0", "--support", "-1", "2", "--norm", "1"],
        ["curve", "--max-radius", "0.001", "--loss", "zero-one"],
        pytest.param(["distance", "--support", "0", "1"], marks=pytest.mark.full),
        pytest.param(["verify", "--eps", "0.001", "--loss", "hinge", "--label-cost", "0.5"], marks=pytest.mark.full),
    ],
    ids=lambda words: words[0],
)
def test_what_is_printed_rechecks(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the certificate is, how large, and a line that proves it as it stands."""
    path = tmp_path / "a file.cert"
    assert run(words[0], NET, DATA, *words[1:], "--samples", 3, "--certificate", path, "--solver", "cells") == 0
    said = capsys.readouterr().out
    assert f"{path}: {path.stat().st_size / 1e6:.3g} MB" in " ".join(said.split())
    spelled = said[said.index("wdaverify recheck") :].replace("\\\n", " ")
    assert run(*shlex.split(spelled)[1:]) == 0
    assert "proved" in capsys.readouterr().out


def test_recheck_needs_no_solver_and_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    assert (
        run("verify", NET, DATA, "--radius", "0.05", "--samples", "3", "--jobs", "1", "--certificate", path, "--quiet")
        == 0
    )
    code = (
        "import sys; from wdaverify.cli import _run; "
        f"assert _run(['recheck', {NET!r}, {DATA!r}, {str(path)!r}, '--samples', '3']) == 0; "
        "heavy = {'torch', 'highspy', 'gurobipy', 'cvxpy', 'scipy'} & set(sys.modules); assert not heavy, heavy; "
        "own = [m for m in sys.modules if m.startswith(('wdaverify.engines', 'wdaverify.solvers', 'wdaverify.encoding', "
        "'wdaverify.attacks'))]; assert not own, own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("lower", "upper"), [(math.inf, -math.inf), (math.inf, math.inf), (-math.inf, -math.inf), (1.0, 0.0)]
)
def test_a_claim_that_is_no_bracket_is_unreadable(lower: float, upper: float, tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, replace(certificate(0), lower=lower, upper=upper))
    with pytest.raises(CertificateError, match="which is none"):
        read_certificate(path)
    assert not recheck(replace(certificate(0), lower=lower, upper=upper), asked(0)).proved


@pytest.mark.parametrize("field", [{"loss": "dlr"}, {"norm": "3"}, {"order": 3}])
def test_a_certificate_of_no_question_of_the_family_is_refused(field: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, replace(certificate(0), **field))
    assert cli._run(["recheck", NET, DATA, str(path)]) == 2


def test_a_question_beyond_the_checker_is_said_to_be(tmp_path: Path) -> None:
    """The DLR loss is answered on a MIP solver's word."""
    problem = dlr(0, tmp_path)
    samples, sha256, count = problem.samples, problem.network.sha256, problem.network.canonical.neurons
    cert = replace(
        certificate(MARGIN),
        network_sha256=sha256,
        samples_sha256=samples.sha256,
        count=len(samples),
        radius=problem.radius,
        norm=problem.cost.norm.value,
        loss="dlr",
        neurons=count,
        support_lower=problem.support.lower,
        support_upper=problem.support.upper,
        atom_sample=np.zeros(0, np.int64),
        atom_weight=np.zeros(0),
        atom_point=np.zeros((0, problem.support.lower.size)),
        proofs=(),
    )
    verdict = recheck(cert, problem)
    assert (verdict.proved, verdict.lower, verdict.upper) == (False, -math.inf, math.inf)
    assert len(verdict.reasons) == 1
    assert "on the word of MIP solvers" in verdict.reasons[0]
    with pytest.raises(ProblemError, match="without certificate"):
        verify(problem, certificate=True)


@pytest.mark.parametrize("header", [b"{'descr': (", b"'''", b"(((", b"  x\n y\n"])
def test_a_spoiled_array_header_is_unreadable(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, certificate(0))
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    padded = header.ljust(118) + b"\n"
    entries["meta.npy"] = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(CertificateError):
        read_certificate(path)
