"""Certificates of questions about curved functions: proved from a file, with what is printed, and what dense grids say within.

Grids and torch share no code with search or checker (``test_against_grids``). Trees are those of all three searches: boxes that are halved,
cuts of neurons in batches, and cuts with a linear program a leaf.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from certify.kinds import made
from certify.test_mutations import MUTATIONS, in_a_tree, within
from curved.test_against_grids import FUNCTIONS, Grid, Tiny, bracket, nearest, tiny

from wdaverify import (
    Certificate,
    CertificateError,
    WdroProblem,
    cli,
    load_network,
    read_certificate,
    recheck,
    write_certificate,
)
from wdaverify.certify.checker import Verdict
from wdaverify.certify.proof import BARE, FORKED, HALVED, NARROWED, WRITTEN, Tree
from wdaverify.graph.nodes import Elementwise
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm
from wdaverify.samples import make_samples

ORDERS = {"order 1": 1, "order 2": 2, "order inf": math.inf}
SEARCHES = ("boxes", "cuts", "programs")
KINDS = [
    *(("boxes", "verify", loss) for loss in ("margin", "zero-one", "cross-entropy")),
    *(("cuts", "verify", loss) for loss in ("margin", "hinge", "zero-one")),
    ("programs", "verify", "margin"),
    *(("boxes", command, "zero-one") for command in ("curve", "distance")),
    *(("cuts", command, "zero-one") for command in ("curve", "distance")),
    *((search, "curve", "margin") for search in ("boxes", "cuts")),
]
GAP = {"boxes": 1e-3, "cuts": 2e-2, "programs": 5e-2}


def searching(search: str, patch: pytest.MonkeyPatch) -> None:
    """Few inputs are searched as many, or one by one."""
    if search != "boxes":
        patch.setattr("wdaverify.engines.cells.curved.few_inputs", lambda *_, **__: False)
    if search == "programs":
        patch.setattr("wdaverify.engines.cells.curved.CurvedEngine._plain", lambda self, hunt: False)


def asked(seed: int, loss: str, command: str, *, square: bool = True) -> Tiny:
    """A tiny question of one input (of two where seeds are divided by 5); what squares of squares are is closed by nobody."""
    given = tiny(seed if square or seed % 14 != 13 else seed + 1, inputs=2 if seed % 5 == 4 else 1)
    cost = given.problem.cost
    if command == "distance" or (command == "curve" and loss != "zero-one" and not math.isfinite(cost.order)):
        cost = GroundCost(cost.norm, 1)
    return replace(given, problem=replace(given.problem, loss=Loss(loss), cost=cost))


@cache
def honest(search: str, command: str, loss: str, seed: int) -> tuple[Tiny, WdroProblem, Certificate, Verdict]:
    """A question, its certificate and the honest verdict, which is what was printed."""
    given = asked(seed, loss, command, square=search == "boxes")
    with pytest.MonkeyPatch.context() as patch:
        searching(search, patch)
        about, certificate, result = made(command, given.problem, gap=GAP[search])
    verdict = recheck(certificate, about)
    assert verdict.proved, (verdict.reasons, result.notices)
    if command == "verify":
        assert (verdict.lower, verdict.upper) == (result.lower, result.upper)
    return given, about, certificate, verdict


def truths(given: Tiny, about: WdroProblem, command: str, verdict: Verdict) -> None:
    """What grids prove has a point in common with every bracket."""
    if command == "distance":
        low, high = nearest(given, Grid.of(given))
        for (_, least, most), a, b in zip(verdict.claims.tolist(), low, high, strict=True):
            assert least <= b + 1e-9
            assert most >= a - 1e-9
        return
    claims = verdict.claims.tolist() or [(about.radius, verdict.lower, verdict.upper)]
    for radius, least, most in (claims[0], claims[len(claims) // 2], claims[-1]):
        if radius == 0 and about.cost.order == 2:  # where no multiplier attains the dual
            continue
        low, high = bracket(replace(given, problem=replace(about, radius=radius)))
        assert least <= high + 1e-9
        assert most >= low - 1e-9


def cases() -> list[object]:
    """Every kind with every function; quick are a few."""
    out = []
    for at, (search, command, loss) in enumerate(KINDS):
        for seed in range(len(FUNCTIONS)):
            quick = seed == (at * 3) % 13 and at in (0, 10)
            marks = [] if quick else [pytest.mark.full]
            out.append(pytest.param(search, command, loss, seed, id=f"{search}-{command}-{loss}-{seed}", marks=marks))
    return out


@pytest.mark.parametrize(("search", "command", "loss", "seed"), cases())
def test_each_kind_of_each_function_is_proved(search: str, command: str, loss: str, seed: int, tmp_path: Path) -> None:
    given, about, certificate, good = honest(search, command, loss, seed)
    write_certificate(tmp_path / "a.cert", certificate)
    verdict = recheck(read_certificate(tmp_path / "a.cert"), about)
    assert verdict.proved, verdict.reasons
    assert (verdict.lower, verdict.upper) == (good.lower, good.upper)
    np.testing.assert_array_equal(verdict.claims, good.claims)
    truths(given, about, command, verdict)


@pytest.mark.parametrize(
    ("search", "loss", "seed", "gap", "wanted"),
    [
        ("boxes", "zero-one", 2, 1e-4, {(HALVED, "input"), (WRITTEN, "leaf")}),
        ("cuts", "zero-one", 5, 1e-4, {(NARROWED, "neuron"), (NARROWED, "distance"), (WRITTEN, "leaf")}),
        pytest.param("programs", "margin", 3, 2e-3, {(HALVED, "neuron"), (WRITTEN, "leaf")}, marks=pytest.mark.full),
    ],
)
def test_trees_have_what_their_search_cuts(
    search: str, loss: str, seed: int, gap: float, wanted: set[tuple[int, str]]
) -> None:
    """Halved boxes, neurons cut with their bounds made anew or narrowed, distances, and rows at leaves."""
    about = asked(seed, loss, "distance").problem
    with pytest.MonkeyPatch.context() as patch:
        searching(search, patch)
        about, certificate, _ = made("distance" if search == "boxes" else "verify", about, gap=gap)
    seen, n, m = set[tuple[int, str]](), about.network.n_inputs, about.network.form.neurons
    for tree in (tree for proof in certificate.proofs for tree in proof.trees):
        codes = tree.nodes[np.isin(tree.nodes, (HALVED, NARROWED, FORKED))].tolist()
        for code, (at, _, _) in zip(codes, tree.forks.tolist(), strict=True):
            seen.add((code, "input" if at < n else "neuron" if at < n + m else "distance"))
        seen |= {(int(code), "leaf") for code in tree.nodes if code == WRITTEN}
    assert wanted <= seen, seen


# What says something else


def forked(rng: np.random.Generator, tree: Tree) -> Tree:
    """Thresholds moved, one side of them, or what they are of."""
    forks = tree.forks.copy()
    if not len(forks):
        return tree
    k = int(rng.integers(len(forks)))
    match int(rng.integers(4)):
        case 0:
            forks[k, 1:] += float(rng.normal())
        case 1:
            forks[k, 1 + int(rng.integers(2))] += float(rng.choice([1e-9, -1e-9, 0.1, -0.1]))
        case 2:
            forks[k, 0] += float(rng.choice([-1.0, 1.0, 2.0, 0.5]))
        case _:
            forks[k, 1:] = float(rng.choice([0.0, -0.0, 5e-324, 2.0**-1022, 1e308, math.inf, math.nan]))
    return replace(tree, forks=forks)


def levelled(rng: np.random.Generator, tree: Tree) -> Tree:
    """Levels of narrowing rows, or of what the rows of leaves weigh, that were not shown."""
    vectors = tree.vectors.copy()
    if len(vectors):
        some = rng.random(len(vectors)) < 0.5
        change = [vectors[some, 0] + 1.0, vectors[some, 0] - 1.0, math.inf, -math.inf, math.nan, 5e-324, 0.0, 1e308]
        vectors[some, 0] = change[int(rng.integers(len(change)))]
    return replace(tree, vectors=vectors)


MORE: list[Callable[[np.random.Generator, Certificate], Certificate]] = [
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: forked(rng, tree)),
    lambda rng, cert: in_a_tree(rng, cert, lambda tree: levelled(rng, tree)),
]
ROUNDS = [
    pytest.param(
        kind,
        25 * k,
        id="-".join((*kind, str(25 * k))),
        marks=[] if k == 0 and at == 3 else [pytest.mark.full],
    )
    for at, kind in enumerate(KINDS)
    for k in range(20)
]


@pytest.mark.parametrize(("kind", "first"), ROUNDS)
def test_no_mutant_proves_more_than_the_truth(kind: tuple[str, str, str], first: int, tmp_path: Path) -> None:
    """500 of each kind, 25 at a time; files hold them all the same."""
    rng = np.random.default_rng(first + 1000 * KINDS.index(kind))
    for number in range(first, first + 25):
        _, about, cert, good = honest(*kind, (1, 3, 8)[number % 3])
        mutant = cert
        with np.errstate(all="ignore"):
            for _ in range(int(rng.integers(1, 4))):
                some = MORE if rng.random() < 0.4 else MUTATIONS
                mutant = some[int(rng.integers(len(some)))](rng, mutant)
        try:
            write_certificate(tmp_path / "m.cert", mutant)
            verdict = recheck(read_certificate(tmp_path / "m.cert"), about)
        except CertificateError:
            continue
        assert not verdict.proved or mutant.of == cert.of
        within(verdict.lower, verdict.upper, good.lower, good.upper)
        if mutant.of == cert.of:
            held = {at: (low, high) for at, low, high in good.claims.tolist()}
            for at, low, high in verdict.claims.tolist():
                if at in held:
                    within(low, high, *held[at])


def with_function(network: ReluNetwork, name: int, sha256: str | None = None) -> ReluNetwork:
    """The network with another function in the place of its own, and the hash of what it was."""
    function = FUNCTIONS[name][0]()
    nodes = [Elementwise(n.source, function) if isinstance(n, Elementwise) else n for n in network.graph.nodes]
    graph = type(network.graph)(tuple(nodes), network.graph.inputs)
    return replace(network, graph=graph, sha256=sha256 or network.sha256)


@pytest.mark.parametrize("search", ["cuts", pytest.param("boxes", marks=pytest.mark.full)])
@pytest.mark.parametrize("loss", ["margin", pytest.param("zero-one", marks=pytest.mark.full)])
@pytest.mark.parametrize("seed", [1, *(pytest.param(k, marks=pytest.mark.full) for k in (0, 2, 3, 4, 5, 6, 7))])
def test_another_function_is_proved_of_nothing_false(seed: int, loss: str, search: str) -> None:
    """Even where the hash says nothing: the checker's own enclosures are those of the function that is there."""
    given, about, certificate, _ = honest(search, "verify", loss, seed)
    for other in range(len(FUNCTIONS) - 1):
        if other == seed:
            continue
        network = with_function(given.problem.network, other)
        verdict = recheck(certificate, replace(about, network=network))
        layers = [n for n in network.graph.nodes if not isinstance(n, Elementwise)]
        forward = network.graph.forward
        elsewhere = replace(
            given, problem=replace(about, network=network), forward=forward, lipschitz=_steepest(layers)
        )
        low, high = bracket(elsewhere)
        assert verdict.lower <= high + 1e-9
        assert verdict.upper >= low - 1e-9


def _steepest(layers: list[object]) -> float:
    """A constant of every margin, whatever function of those here stands between layers."""
    reach = np.abs(layers[0].maps[0].weight)  # type: ignore[attr-defined]
    for layer in layers[1:]:
        weight = np.abs(layer.maps[0].weight)  # type: ignore[attr-defined]
        reach = 1.76 * weight @ reach
    return float(2 * reach.sum(axis=1).max())


def test_another_network_and_other_samples_are_refused() -> None:
    given, about, certificate, _ = honest("boxes", "verify", "margin", 1)
    assert not recheck(certificate, replace(about, network=with_function(given.problem.network, 2, "b" * 64))).proved
    moved = make_samples(about.samples.x * 0.5, about.samples.y, about.samples.w)
    verdict = recheck(certificate, replace(about, samples=moved))
    assert any("samples differs" in reason for reason in verdict.reasons)
    assert verdict.upper == math.inf


def test_a_fault_in_the_enclosure_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that forgets what narrowing rests on proves what grids refute."""
    given, about, certificate, _ = honest("cuts", "verify", "margin", 1)

    def raised(tree: Tree) -> Tree:
        """One cut, on both sides of which nothing reaches so high a level."""
        n, rows = about.network.n_inputs, np.zeros((2, certificate.layout.width))
        rows[0, 0] = 1e6
        nodes = np.array([NARROWED, BARE, BARE], np.int32)
        return Tree(tree.near, tree.far, nodes, rows, forks=np.array([[n, 0.0, 0.0]]))

    def forged(*highest: int) -> float:
        """What is proven where of every sample one rival's proof says that, the highest ones among them."""
        proofs = [
            replace(p, trees=tuple(map(raised, p.trees))) if p.rival == highest[p.sample] else p
            for p in certificate.proofs
        ]
        return recheck(replace(certificate, proofs=tuple(proofs)), about).upper

    low, _ = bracket(replace(given, problem=about))
    rivals = [sorted({p.rival for p in certificate.proofs if p.sample == i}) for i in range(2)]
    pairs = [(a, b) for a in rivals[0] for b in rivals[1]]
    assert all(forged(*pair) >= low for pair in pairs)
    monkeypatch.setattr(Tree, "level", property(lambda self: -math.inf))
    assert min(forged(*pair) for pair in pairs) < low


@pytest.mark.full
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE, Norm.TWO])
def test_every_norm_narrows(norm: Norm) -> None:
    given = asked(1, "margin", "verify")
    about = replace(given.problem, cost=GroundCost(norm, 1))
    with pytest.MonkeyPatch.context() as patch:
        searching("cuts", patch)
        _, certificate, _ = made("verify", about, gap=1e-2)
    verdict = recheck(certificate, about)
    assert verdict.proved
    truths(given, about, "verify", verdict)


# From files, in a fresh process

MODELS = Path(__file__).parents[2] / "models"


IRIS, DIGITS = (
    [str(MODELS / f"{name}_{function}.onnx"), str(MODELS / f"{name}.npz"), "--samples", "2", "--norm", "inf"]
    for name, function in (("iris_8x8", "gelu"), ("digits_16x16", "silu"))
)
BY_COMMAND = [
    ("verify", IRIS, ["--order", "1", "--radius", "0.05", "--gap", "5e-2", "--loss", "margin"]),
    ("verify", DIGITS, ["--order", "inf", "--radius", "0.05", "--gap", "1e-2", "--loss", "margin"]),
    ("curve", IRIS, ["--order", "1", "--max-radius", "0.1", "--gap", "1e-2", "--loss", "zero-one"]),
    ("distance", IRIS, ["--gap", "1e-3"]),
]


@pytest.mark.parametrize("some", [BY_COMMAND[:1], pytest.param(BY_COMMAND[1:], marks=pytest.mark.full)])
def test_a_fresh_process_proves_what_was_printed_without_solver_or_torch(
    some: list[tuple[str, list[str], list[str]]], tmp_path: Path
) -> None:
    """Iris and digits, all commands that have a certificate, unsat too; both documents have one bracket."""
    lines = []
    for k, (command, files, more) in enumerate(some):
        cert, out = str(tmp_path / f"{k}.cert"), ["--output", str(tmp_path / f"{k}.json"), "--quiet"]
        assert cli._run([command, *files, *more, "--jobs", "1", "--certificate", cert, *out]) == 0
        again = ["--output", str(tmp_path / f"{k}-again.json")]
        lines.append(["recheck", *files[:2], cert, "--samples", "2", *again])
        if command == "distance":
            lines[-1] += ["--loss", "zero-one"]
    spec = specification(tmp_path / "s.vnnlib")
    net = IRIS[0]
    assert cli._run(["check", net, str(spec), "--certificate", str(tmp_path / "u.cert"), "--quiet"]) == 0
    lines.append(["recheck", net, str(spec), str(tmp_path / "u.cert"), "--output", str(tmp_path / "u.json")])
    code = (
        "import sys; from wdaverify.cli import _run; "
        f"found = [_run(line) for line in {lines!r}]; assert found == [0] * {len(lines)}, found; "
        "heavy = {'torch', 'highspy', 'gurobipy', 'cvxpy', 'scipy', 'pyscipopt', 'clarabel'} & set(sys.modules); assert not heavy, heavy; "
        "own = [m for m in sys.modules if m.startswith(('wdaverify.engines', 'wdaverify.solvers', 'wdaverify.encoding', "
        "'wdaverify.attacks'))]; assert not own, own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for k, (command, _, _) in enumerate(some):
        told, again = (json.loads((tmp_path / f"{k}{end}.json").read_text()) for end in ("", "-again"))
        assert again["proved"]
        if command == "verify":
            assert (again["lower"], again["upper"]) == (told["lower"], told["upper"])
    other = lines[0].copy()
    other[1] = other[1].replace("_gelu", "_none").replace("_silu", "_gelu").replace("_none", "_silu")
    assert cli._run(other) == 1
    upper = float(json.loads((tmp_path / "u.json").read_text())["upper"])
    rng = np.random.default_rng(0)
    points = rng.uniform(0.45, 0.5, size=(2000, 4))
    z = load_network(net).forward(points)
    assert (z[:, 1] - z[:, 0] - 40.0).max() <= upper < 0


def specification(path: Path) -> Path:
    """No input of a box has a second score 40 above the first."""
    inputs = "".join(
        f"(declare-const X_{k} Real)\n(assert (>= X_{k} 0.45))\n(assert (<= X_{k} 0.5))\n" for k in range(4)
    )
    outputs = "".join(f"(declare-const Y_{k} Real)\n" for k in range(3))
    path.write_text(f"{inputs}{outputs}(assert (>= Y_1 (+ Y_0 40.0)))\n")
    return path
