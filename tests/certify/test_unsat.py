"""Certificates of unsat: every one that a run writes is proved, and none that was tampered with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from checking.small import is_proved, network_of, random_question, value_of
from graph.graphs import steered_graph
from jsonschema import Draft202012Validator

from wdaverify import check, cli, load_network, load_specification
from wdaverify.certify import confined, halvings
from wdaverify.certify.halvings import CLIP, DEEP, DEEP_CLIP, DEEP_MIXED, LEAF, MIXED, SLOPED, Halvings
from wdaverify.certify.rows import Rows
from wdaverify.certify.unsat import UnsatCertificate, read_unsat, recheck_unsat, write_unsat
from wdaverify.errors import CertificateError, OutputError, SpecificationError
from wdaverify.report import as_json
from wdaverify.specification.model import Disjunct, Specification

Question = tuple[object, Specification, UnsatCertificate]
SEEDS = [seed for seed in range(60) if random_question(seed)[2] < 0]


def made(seed: int) -> Question:
    network, specification, value = random_question(seed)
    result = check(network, specification, certificate=True)
    assert value < 0
    assert result.certificate is not None
    assert result.certificate.upper == result.upper
    return network, specification, result.certificate


@pytest.fixture(scope="module")
def deep() -> Question:
    """A proof with all kinds of nodes, of several disjuncts."""
    for seed in SEEDS:
        network, specification, certificate = made(seed)
        nodes = max((tree.nodes for tree in certificate.trees), key=len)
        kinds = np.isin((CLIP, DEEP_CLIP), nodes).any() and (nodes == SLOPED).any()
        if len(certificate.trees) > 1 and (nodes >= 0).any() and kinds:
            return network, specification, certificate
    raise AssertionError("no seed has such a proof")


@pytest.mark.parametrize("count", [8, pytest.param(len(SEEDS), marks=pytest.mark.full)])
def test_what_a_run_writes_is_proved(count: int, tmp_path: Path) -> None:
    """And what is proven lies above v, by programs over all regions."""
    for seed in SEEDS[:count]:
        is_proved(*made(seed), tmp_path)


def changed(certificate: UnsatCertificate, tree: Callable[[Halvings], Halvings]) -> UnsatCertificate:
    """With the largest tree changed."""
    at = max(range(len(certificate.trees)), key=lambda k: certificate.trees[k].nodes.size)
    trees = [tree(old) if k == at else old for k, old in enumerate(certificate.trees)]
    return replace(certificate, trees=tuple(trees))


def _cropped(tree: Halvings) -> Halvings:
    """The first halving is left out, and what lies above it."""
    first = int(np.flatnonzero(tree.nodes >= 0)[0])
    open_, at = 1, first + 1
    while open_:
        open_ += 1 if tree.nodes[at] >= 0 else 0 if tree.nodes[at] in (CLIP, DEEP_CLIP) else -1
        at += 1
    nodes = np.concatenate([tree.nodes[:first], tree.nodes[first + 1 : at]])
    counts = [np.isin(nodes, kinds).sum() for kinds in ((CLIP, DEEP_CLIP), (MIXED, DEEP_MIXED, SLOPED), (SLOPED,))]
    rest = zip((tree.clips, tree.mixtures, tree.slopes), counts, strict=True)
    return Halvings(nodes, *(held[:count] for held, count in rest))


def _pruned(tree: Halvings) -> Halvings:
    """One leaf in the place of everything."""
    return Halvings(np.array([LEAF], np.int8), tree.clips[:0], tree.mixtures[:0], tree.slopes[:0])


MUTATIONS: dict[str, Callable[[UnsatCertificate], UnsatCertificate]] = {
    "a leaf is dropped": lambda c: changed(c, lambda t: replace(t, nodes=t.nodes[:-1])),
    "a leaf too many": lambda c: changed(c, lambda t: replace(t, nodes=np.append(t.nodes, np.int8(LEAF)))),
    "half of the box": lambda c: changed(c, _cropped),
    "no halvings": lambda c: changed(c, _pruned),
    "a disjunct is dropped": lambda c: replace(c, trees=c.trees[:-1]),
    "disjuncts change places": lambda c: replace(c, trees=c.trees[::-1]),
    "no trees": lambda c: replace(c, trees=()),
    "clips cut off more": lambda c: changed(c, lambda t: replace(t, clips=np.full_like(t.clips, 200))),
    "slopes are dropped": lambda c: changed(c, lambda t: replace(t, slopes=t.slopes[1:])),
    "slopes too many": lambda c: changed(c, lambda t: replace(t, slopes=np.repeat(t.slopes, 2, axis=0))),
    "slopes without a mixture": lambda c: changed(c, lambda t: replace(t, mixtures=t.mixtures[1:])),
    "a clip is dropped": lambda c: changed(c, lambda t: replace(t, clips=t.clips[1:])),
    "another input is halved": lambda c: changed(c, lambda t: replace(t, nodes=np.where(t.nodes >= 0, 99, t.nodes))),
    "no such node": lambda c: changed(c, lambda t: replace(t, nodes=np.where(t.nodes < 0, -9, t.nodes))),
    "the claim is too good": lambda c: replace(c, upper=10 * c.upper - 1),
    "the claim is +0": lambda c: replace(c, upper=0.0),
    "the claim is NaN": lambda c: replace(c, upper=np.nan),
    "the level is 0": lambda c: replace(c, level=0.0),
    "the level is NaN": lambda c: replace(c, level=np.nan),
    "the level is -inf": lambda c: replace(c, level=-np.inf),
    "another network": lambda c: replace(c, network_sha256="1" * 64),
    "another specification": lambda c: replace(c, specification_sha256="1" * 64),
    "other sizes": lambda c: replace(c, rows=c.rows + 1),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_was_tampered_with_is_rejected(name: str, deep: Question) -> None:
    network, specification, certificate = deep
    assert recheck_unsat(certificate, network, specification).proved
    try:
        mutant = MUTATIONS[name](certificate)
        verdict = recheck_unsat(mutant, network, specification)
    except CertificateError:
        return
    assert not verdict.proved
    assert verdict.reasons
    assert verdict.upper > -1e-300 or verdict.upper >= certificate.upper - 1e-9


def test_mixtures_claim_nothing() -> None:
    """Whatever numbers a mixture has, what is proven is not below the least row."""
    for seed in (0, 2, 5, 6):
        network, specification, _ = random_question(seed)
        rows, count = Rows.of(network, specification), len(specification.disjuncts)
        low, high = (np.stack([getattr(d.box, side) for d in specification.disjuncts]) for side in ("lower", "upper"))
        values = np.array([value_of(network.graph, disjunct) for disjunct in specification.disjuncts])
        for number in (-1.0, 1.0, 1e38, 1e-45):
            mixture = np.full(rows.which.shape, number, np.float32)
            found = confined.Confining(rows).of(low, high, np.arange(count), -0.1, mixture=mixture)
            assert (found.top >= values - 1e-9).all()


def test_slopes_claim_nothing() -> None:
    """Whatever lines are taken below open neurons, what is proven is not below the least row."""
    rng = np.random.default_rng(0)
    for seed in (0, 2, 5, 6):
        network, specification, _ = random_question(seed)
        rows, count = Rows.of(network, specification), len(specification.disjuncts)
        low, high = (np.stack([getattr(d.box, side) for d in specification.disjuncts]) for side in ("lower", "upper"))
        values = np.array([value_of(network.graph, disjunct) for disjunct in specification.disjuncts])
        confining, at = confined.Confining(rows), np.arange(count)
        found = confining.of(low, high, at, -0.1, deep=True)
        for _ in range(4):
            slopes = rng.choice([0, 1, 128, 255], size=(count, rows.graph.neurons)).astype(np.uint8)
            mixture = rng.uniform(-0.2, 1, size=rows.which.shape).astype(np.float32)
            assert (confining.along(found, at, at, mixture, slopes) >= values - 1e-9).all()


def test_files_of_the_format_before_are_read(tmp_path: Path) -> None:
    """They have no slopes, and are proved as they were."""
    for seed in SEEDS:
        network, specification, certificate = made(seed)
        if not any(len(tree.slopes) for tree in certificate.trees):
            break
    write_unsat(tmp_path / "new.cert", certificate)
    with np.load(tmp_path / "new.cert") as archive:
        arrays = {name: archive[name] for name in archive.files if "slopes" not in name}
    meta = json.loads(arrays["meta"].tobytes())
    del meta["neurons"]
    for form, good in (("wdaverify unsat 1", True), ("wdaverify unsat 2", False), ("wdaverify unsat 3", False)):
        arrays["meta"] = np.frombuffer(json.dumps(meta | {"format": form}).encode(), np.uint8)
        with (tmp_path / "old.cert").open("wb") as stream:
            np.savez(stream, **arrays)
        if good:
            assert recheck_unsat(read_unsat(tmp_path / "old.cert"), network, specification).proved
        else:
            with pytest.raises(CertificateError):
                read_unsat(tmp_path / "old.cert")


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_other_questions_with_the_same_hashes(seed: int) -> None:
    """Were hashes forged: a swapped inequality and a moved threshold that make v positive are not proved."""
    network, specification, certificate = made(seed)
    value = value_of(network.graph, specification.disjuncts[0])
    for rows in (
        [replace(row, offset=row.offset - 2 * type(row.offset)(value)) for row in specification.disjuncts[0].rows],
        [
            replace(row, outputs=tuple((k, -c) for k, c in row.outputs), inputs=tuple((k, -c) for k, c in row.inputs))
            for row in specification.disjuncts[0].rows[:1]
        ],
    ):
        asked = Disjunct(specification.disjuncts[0].box, tuple(rows))
        other = replace(specification, disjuncts=(asked, *specification.disjuncts[1:]))
        if value_of(network.graph, asked) > 0:
            assert not recheck_unsat(certificate, network, other).proved


FAULTS = ("clips are believed", "one half is enough", "bounds too low")


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_of_the_checker_are_seen(fault: str, deep: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "clips are believed":
        monkeypatch.setattr(confined.Confined, "shows", lambda found, codes: np.ones(len(codes), bool))
        name = "clips cut off more"
    elif fault == "one half is enough":
        monkeypatch.setattr(halvings, "halfway", lambda low, high: low)
        name = ""
    else:
        plain = confined.Confining.of
        monkeypatch.setattr(
            confined.Confining, "of", lambda *a, **k: replace(plain(*a, **k), top=np.full(len(a[1]), -1e3))
        )
        name = "no halvings"
    if name:
        with pytest.raises(AssertionError):
            test_what_was_tampered_with_is_rejected(name, deep)
    else:
        network, specification, certificate = deep
        assert not recheck_unsat(certificate, network, specification).proved


def test_the_time_ends_a_replay(deep: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    from wdaverify.certify import unsat

    monkeypatch.setattr(unsat, "_BATCH", 1)
    verdict = recheck_unsat(deep[2], deep[0], deep[1], deadline=-np.inf)
    assert (verdict.proved, verdict.upper, verdict.reasons) == (False, np.inf, ())
    assert "time limit" in verdict.unproven[0]


def test_of_another_network(deep: Question) -> None:
    other = network_of(steered_graph(3))
    wide = Specification(other.n_inputs + 1, other.n_outputs, (), "s", "")
    with pytest.raises(SpecificationError, match="inputs"):
        recheck_unsat(deep[2], other, wide)


def test_what_is_handed_in_is_looked_at(deep: Question, tmp_path: Path) -> None:
    network, specification, certificate = deep
    odd: tuple[Any, ...] = (None, 3, "x", object(), [1])
    for value in odd:
        for call in (
            lambda v: recheck_unsat(v, network, specification),
            lambda v: recheck_unsat(certificate, v, specification),
            lambda v: recheck_unsat(certificate, network, v),
            lambda v: write_unsat(tmp_path / "no.cert", v),
            lambda v: replace(certificate, trees=v),
            lambda v: replace(certificate, upper=v if not isinstance(v, int) else "1"),
            lambda v: replace(certificate.trees[0], nodes=v),
            lambda v: replace(certificate.trees[0], slopes=v),
        ):
            with pytest.raises(CertificateError):
                call(value)
    for path in (None, 3, tmp_path, tmp_path / "none.cert"):
        with pytest.raises(CertificateError):
            read_unsat(path)
    for name in ("clips", "mixtures", "slopes"):
        other = changed(certificate, lambda t, name=name: replace(t, **{name: np.repeat(getattr(t, name), 2, axis=-1)}))
        assert not recheck_unsat(other, network, specification).proved
    with pytest.raises(OutputError):
        write_unsat(tmp_path, certificate)


# The command


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as status:
        cli.main(list(arguments))
    return int(status.value.code or 0)


HEAD = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1"))
SPEC = HEAD + "(assert (<= -1 X_0 1))(assert (<= -1 X_1 1))(assert (<= Y_0 -0.1))"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """``Y_0 = |X_0| + |X_1|``, and that it is at most -0.1."""
    first, second = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([[1.0, 1, 1, 1], [1, -1, 0, 0]])
    net = write_mlp(tmp_path / "abs.onnx", [(first, np.zeros(4)), (second, np.zeros(2))])
    (tmp_path / "s.vnnlib").write_text(SPEC)
    return str(net), str(tmp_path / "s.vnnlib"), str(tmp_path / "c.cert")


def test_the_command(files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, specification, cert = files
    assert run("check", network, specification, "--certificate", cert) == 0
    said = " ".join(capsys.readouterr().out.replace("\\", "").split())
    assert f"certificate {cert}: " in said
    assert f"wdaverify recheck {network} {specification} {cert}" in said
    out = str(tmp_path / "v.json")
    assert run("recheck", network, specification, cert, "--output", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "proved" in said
    assert "no x in the boxes of s.vnnlib makes all rows of a disjunct hold" in said
    assert load_specification(specification).sha256 in said
    schema = json.loads((Path(as_json.__file__).with_name("unsat_verdict.schema.json")).read_text())
    Draft202012Validator(schema).validate(json.loads(Path(out).read_text()))
    Path(specification).write_text(SPEC.replace("-0.1", "-0.05"))
    assert run("recheck", network, specification, cert, "--quiet") == 2
    assert "it is about the specification of sha256" in capsys.readouterr().err
    assert run("recheck", network, specification, network) == 2
    assert run("recheck", network, specification, cert, "--samples", "3") == 2
    assert "--samples is about samples" in capsys.readouterr().err


def test_the_checker_is_alone(files: tuple[str, str, str]) -> None:
    """No solver, no torch, and nothing of the search is loaded where unsat is rechecked."""
    network, specification, cert = files
    assert run("check", network, specification, "--certificate", cert, "--quiet") == 0
    code = (
        "import sys; from wdaverify.cli import _run; "
        f"assert _run(['recheck', {network!r}, {specification!r}, {cert!r}]) == 0; "
        "heavy = {'torch', 'highspy', 'gurobipy', 'cvxpy', 'scipy', 'onnxruntime'} & set(sys.modules); assert not heavy, heavy; "
        "own = [m for m in sys.modules if m.startswith(('wdaverify.checking', 'wdaverify.engines', 'wdaverify.solvers', "
        "'wdaverify.encoding', 'wdaverify.attacks'))]; assert not own, own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_proof_where_there_is_none(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written of sat; and many inputs are refused before any work."""
    network, specification, cert = files
    Path(specification).write_text(SPEC.replace("<= Y_0 -0.1", ">= Y_0 0.1"))
    assert run("check", network, specification, "--certificate", cert, "--quiet") in (0, 5)
    assert not Path(cert).exists()
    assert check(load_network(network), specification, certificate=True).certificate is None


def test_a_bracket_is_no_unsat(files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of certificate names the other where it is given in its place."""
    network, specification, cert = files
    data, other = str(tmp_path / "d.npz"), str(tmp_path / "o.cert")
    np.savez(data, x=np.array([[0.5, 0.5]]), y=np.array([0]))
    with Path(other).open("wb") as stream:
        np.savez(stream, support=np.zeros((2, 2)), atom_sample=np.zeros(1, np.int64))
    assert run("check", network, specification, "--certificate", cert, "--quiet") == 0
    assert run("recheck", network, specification, other) == 2
    assert "certificate of a bracket" in capsys.readouterr().err
    assert run("recheck", network, data, cert) == 2
    assert "certificate of unsat" in capsys.readouterr().err


def test_empty_specifications(tmp_path: Path) -> None:
    """Nothing can satisfy a specification without disjuncts."""
    network = network_of(steered_graph(3))
    nothing = Specification(network.n_inputs, network.n_outputs, (), "s", "")
    certificate = check(network, nothing, certificate=True).certificate
    assert certificate is not None
    write_unsat(tmp_path / "c.cert", certificate)
    assert recheck_unsat(read_unsat(tmp_path / "c.cert"), network, nothing).proved
    tree = Halvings(
        np.array([DEEP], np.int8),
        np.zeros((0, 2, 0), np.uint8),
        np.zeros((0, 0), np.float32),
        np.zeros((0, 0), np.uint8),
    )
    assert not recheck_unsat(replace(certificate, trees=(tree,)), network, nothing).proved
