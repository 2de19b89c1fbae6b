"""Certificates with rows that tighten bounds: back as they were written; files of the older format without them; hostile arrays."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from certify.tightenings import same_tight, with_tights
from fuzz.mutations import members, npy, zipped

from wdaverify import Certificate, Loss, WdroProblem, read_certificate, recheck, verify, write_certificate
from wdaverify.certify.certificate import packed_trees, unpacked_trees
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.proof import Tightening, Tree
from wdaverify.engines.cells.tightening import Tightener
from wdaverify.errors import CertificateError, OutputError

LOSSES = [Loss.MARGIN, Loss.ZERO_ONE]
NEW = ("tree_tights", "tight_level", "tight_rows", "tight_beta", "row_at", "row_weight", "row_slopes")
CUTS = ("tree_forks", "forks", "atom_label", "proof_label")
OLDEST, OLDER, NEWER = (f"wdaverify certificate {k}" for k in (1, 2, 3))


@cache
def plain(loss: Loss) -> tuple[WdroProblem, Certificate]:
    """A certificate without rows that tighten bounds."""
    rng = np.random.default_rng(3)
    net = network(*random_layers(rng, 2, 5, 4, 3))
    x = rng.uniform(size=(3, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=loss)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tightener, "rows", lambda self, leaves, level: [None] * leaves.peak.size)
        certificate = verify(asked, certificate=True).certificate
    assert certificate is not None
    assert not any(tree.tights for proof in certificate.proofs for tree in proof.trees)
    return asked, certificate


def with_rows(certificate: Certificate, levels: list[float], seed: int = 0) -> Certificate:
    rng = np.random.default_rng(seed)
    proofs = [
        replace(proof, trees=tuple(with_tights(rng, tree, certificate.neurons, levels) for tree in proof.trees))
        for proof in certificate.proofs
    ]
    return replace(certificate, proofs=tuple(proofs))


def trees_of(certificate: Certificate) -> list[Tree]:
    return [tree for proof in certificate.proofs for tree in proof.trees]


def same(a: Tree, b: Tree) -> None:
    assert (a.near, a.far, len(a.tights)) == (b.near, b.far, len(b.tights))
    np.testing.assert_array_equal(a.nodes, b.nodes)
    np.testing.assert_array_equal(a.vectors, b.vectors)
    assert all(same_tight(x, y) for x, y in zip(a.tights, b.tights, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(4))
def test_rows_come_back_to_the_bit(seed: int, loss: Loss, tmp_path: Path) -> None:
    """Also levels, weights and beta that make no sense, and tightenings without rows."""
    made = with_rows(plain(loss)[1], [0.1, -math.inf, math.nan, math.inf, 5e-324, -0.0, 1e308], seed)
    rng, neurons = np.random.default_rng(seed), made.neurons

    def odd(tight: Tightening) -> Tightening:
        weight, beta = tight.weight.copy(), tight.beta.copy()
        weight[rng.integers(weight.size)] = rng.choice([math.nan, math.inf, -1.0, 0.0, 1e-45])
        beta[rng.integers(beta.size)] = rng.choice([math.nan, -math.inf, 3e38])
        if rng.random() < 0.2:
            return replace(tight, at=tight.at[:0], weight=weight[:0], slopes=tight.slopes[:0], beta=beta)
        return replace(tight, weight=weight, beta=beta)

    proofs = [
        replace(p, trees=tuple(replace(t, tights=tuple(odd(x) for x in t.tights)) for t in p.trees))
        for p in made.proofs
    ]
    made = replace(made, proofs=tuple(proofs))
    write_certificate(tmp_path / "a.cert", made)
    again = read_certificate(tmp_path / "a.cert")
    assert sum(len(tree.tights) for tree in trees_of(again)) > 1
    for a, b in zip(trees_of(made), trees_of(again), strict=True):
        same(a, b)
    alone = unpacked_trees(packed_trees(trees_of(made), Layout(neurons)), Layout(neurons))
    for a, b in zip(trees_of(made), alone, strict=True):
        same(a, b)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_below_the_truth_do_no_harm_and_those_above_prove_themselves(loss: Loss, tmp_path: Path) -> None:
    asked, certificate = plain(loss)
    for levels, seed in (([-1e3, -math.inf], 1), ([-100.0], 2)):
        write_certificate(tmp_path / "a.cert", with_rows(certificate, levels, seed))
        verdict = recheck(read_certificate(tmp_path / "a.cert"), asked)
        assert verdict.proved, verdict.reasons
    for level in (50.0, 1e9):
        write_certificate(tmp_path / "a.cert", with_rows(certificate, [level], 3))
        verdict = recheck(read_certificate(tmp_path / "a.cert"), asked)
        assert verdict.proved == (loss is Loss.ZERO_ONE)
        assert verdict.upper >= certificate.lower
        assert loss is Loss.ZERO_ONE or verdict.upper >= level / 3


def test_levels_that_are_no_numbers_hide_no_other(tmp_path: Path) -> None:
    """Before, between and behind a level that nothing attains, in one tree and in others: no bound below the value."""
    asked, certificate = plain(Loss.MARGIN)
    for seed in range(20):
        made = with_rows(certificate, [math.nan, math.nan, 1e3, math.inf, -1.0], seed)
        write_certificate(tmp_path / "a.cert", made)
        verdict = recheck(read_certificate(tmp_path / "a.cert"), asked)
        assert verdict.upper >= certificate.lower, seed


# Files of the older format


def file_of(certificate: Certificate, folder: Path) -> dict[str, bytes]:
    write_certificate(folder / "whole.cert", certificate)
    return members((folder / "whole.cert").read_bytes())


def named(content: dict[str, bytes], form: object) -> dict[str, bytes]:
    """The file with another format in its meta data, and what they held in that of older ones."""
    meta = json.loads(np.load(io.BytesIO(content["meta.npy"])).tobytes()) | {"format": form}
    if form in (OLDEST, OLDER):
        later = (
            "label_cost",
            "rows",
            "margins",
            "weights_sha256",
            "rows_sha256",
            "integers_sha256",
            "functionals_sha256",
        )
        meta = {name: value for name, value in meta.items() if name not in later} | {"order": 1}
    return {**content, "meta.npy": npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))}


def without(content: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: value for name, value in content.items() if name.removesuffix(".npy") not in names}


def read(content: dict[str, bytes], folder: Path) -> Certificate:
    (folder / "a.cert").write_bytes(zipped(list(content.items())))
    return read_certificate(folder / "a.cert")


def refused(content: dict[str, bytes], folder: Path, words: str) -> None:
    with pytest.raises(CertificateError, match=words) as error:
        read(content, folder)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("loss", LOSSES)
def test_files_of_the_older_format_are_read_and_proved(loss: Loss, tmp_path: Path) -> None:
    asked, certificate = plain(loss)
    content = file_of(certificate, tmp_path)
    assert set(content) > {f"{name}.npy" for name in (*NEW, *CUTS)}
    assert json.loads(np.load(io.BytesIO(content["meta.npy"])).tobytes())["format"] == NEWER
    for missing, form in (((*NEW, *CUTS), OLDEST), (CUTS, OLDER)):
        older = read(named(without(content, *missing), form), tmp_path)
        for a, b in zip(trees_of(certificate), trees_of(older), strict=True):
            same(a, b)
        verdict = recheck(older, asked)
        assert verdict.proved, verdict.reasons
        assert (verdict.lower, verdict.upper) == (recheck(certificate, asked).lower, recheck(certificate, asked).upper)


def test_formats_and_arrays_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    asked, certificate = plain(Loss.MARGIN)
    content = file_of(with_rows(certificate, [0.0], 1), tmp_path)
    for form in (OLDER, OLDEST):
        refused(named(content, form), tmp_path, "too many")
        refused(named(without(content, *NEW), form), tmp_path, "too many")
    for missing in (NEW, CUTS, (*NEW, *CUTS)):
        refused(without(content, *missing), tmp_path, "lacks arrays")
    for name in (*NEW, *CUTS):
        refused(
            without(content, name),
            tmp_path,
            "lacks arrays|no array" if name in (NEW[0], CUTS[0]) else f"no array '{name}'",
        )
    refused(named(without(content, *CUTS), OLDER) | without(content, *CUTS, "x"), tmp_path, "lacks arrays")
    for form in ("wdaverify certificate 4", "", None, 2, ["wdaverify certificate 2"]):
        refused(named(content, form), tmp_path, "its format is not")
    # nodes of the newer format in a file of the older one: read, and no proof
    older = read(named(without(content, *NEW, *CUTS), OLDEST), tmp_path)
    verdict = recheck(older, asked)
    assert not verdict.proved
    assert verdict.upper == math.inf


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tree_tights", lambda a: a + 1),
        ("tree_tights", lambda a: np.concatenate([[-1], [a[0] + a[1] + 1], a[2:]])),
        ("tree_tights", lambda a: np.concatenate([[2**62, 2**62, 2**62, 2**62], a[4:]])),
        ("tree_tights", lambda a: a[1:]),
        ("tree_tights", lambda a: a[None]),
        ("tight_level", lambda a: a[1:]),
        ("tight_level", lambda a: a[:, None]),
        ("tight_rows", lambda a: a * 2**61),
        ("tight_rows", lambda a: a + 2**32),
        ("tight_rows", lambda a: np.concatenate([[-1], [a[0] + a[1] + 1], a[2:]])),
        ("tight_rows", lambda a: a - a[0] - 1),
        ("tight_rows", lambda a: a[None]),
        ("tight_beta", lambda a: a[:, 1:]),
        ("tight_beta", lambda a: a[1:]),
        ("tight_beta", lambda a: a.T.copy()),
        ("tight_beta", lambda a: a.reshape(-1)),
        ("tight_beta", lambda a: a[:0]),
        ("row_at", lambda a: a[1:]),
        ("row_at", lambda a: a[:, None]),
        ("row_at", lambda a: a[:0]),
        ("row_weight", lambda a: np.append(a, a[:1])),
        ("row_weight", lambda a: a[None]),
        ("row_slopes", lambda a: a[:, 1:]),
        ("row_slopes", lambda a: a[1:]),
        ("row_slopes", lambda a: a[None]),
        ("row_slopes", lambda a: a[:0]),
        *((name, lambda a: a.astype(np.int16)) for name in NEW),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(name: str, change: Any, tmp_path: Path) -> None:
    content = file_of(with_rows(plain(Loss.MARGIN)[1], [0.0], 1), tmp_path)
    array = np.load(io.BytesIO(content[f"{name}.npy"]))
    assert array.shape[0] > 4
    spoilt = np.asarray(change(array))
    kind = spoilt.dtype if spoilt.dtype == np.int16 else array.dtype
    refused({**content, f"{name}.npy": npy(spoilt.astype(kind))}, tmp_path, "no certificate|holds")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 0)])
@pytest.mark.parametrize("name", ["row_at", "row_weight", "row_slopes"])
def test_rows_that_are_none_of_another_shape_break_nothing(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Tightenings without rows, whose arrays of rows are empty in their own way: refused, or no proof."""
    asked, certificate = plain(Loss.MARGIN)
    made = with_rows(certificate, [0.0], 1)
    proofs = tuple(
        replace(
            proof,
            trees=tuple(
                replace(
                    tree,
                    tights=tuple(
                        replace(t, at=t.at[:0], weight=t.weight[:0], slopes=t.slopes[:0]) for t in tree.tights
                    ),
                )
                for tree in proof.trees
            ),
        )
        for proof in made.proofs
    )
    content = file_of(replace(made, proofs=proofs), tmp_path)
    array = np.load(io.BytesIO(content[f"{name}.npy"]))
    assert array.shape[0] == 0
    try:
        again = read({**content, f"{name}.npy": npy(np.zeros(shape, array.dtype))}, tmp_path)
    except CertificateError:
        return
    verdict = recheck(again, asked)
    assert not verdict.proved
    assert verdict.upper == math.inf


def test_rows_of_neurons_that_are_not_there_are_rejected(tmp_path: Path) -> None:
    asked, certificate = plain(Loss.MARGIN)
    content = file_of(with_rows(certificate, [-100.0], 1), tmp_path)
    assert recheck(read(content, tmp_path), asked).proved
    at = np.load(io.BytesIO(content["row_at.npy"]))
    for wrong in (-1, 2 * certificate.neurons, -(2**31), 2**31 - 1):
        spoilt = at.copy()
        spoilt[at.size // 2] = wrong
        verdict = recheck(read({**content, "row_at.npy": npy(spoilt)}, tmp_path), asked)
        assert not verdict.proved
        assert verdict.upper == math.inf
        assert any("neuron that is not there" in reason for reason in verdict.reasons)


def test_tightenings_count_against_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an object with arrays of its own: many of no rows would take a multiple of the file."""
    certificate = plain(Loss.MARGIN)[1]
    none, neurons = np.zeros(0, np.int32), certificate.neurons
    empty = Tightening(
        0.0, none, none.astype(np.float32), np.zeros((0, neurons), np.uint8), np.zeros(neurons, np.float32)
    )
    proof = certificate.proofs[0]
    tree = replace(proof.trees[0], tights=(empty,) * 20_000)
    made = replace(certificate, proofs=(replace(proof, trees=(tree,)),))
    write_certificate(tmp_path / "a.cert", made)
    assert len(trees_of(read_certificate(tmp_path / "a.cert", 2**25))[0].tights) == 20_000
    with pytest.raises(CertificateError, match=r"20000 nodes at which bounds are tightened.*--memory-limit"):
        read_certificate(tmp_path / "a.cert", 2**24)
    monkeypatch.setattr("wdaverify.certify.certificate.MAX_TIGHTS", 19_999)
    with pytest.raises(CertificateError, match="20000 tightenings, more than 19999"):
        read_certificate(tmp_path / "a.cert")
    with pytest.raises(OutputError, match="20000 tightenings"):
        write_certificate(tmp_path / "b.cert", made)
    assert not (tmp_path / "b.cert").exists()
