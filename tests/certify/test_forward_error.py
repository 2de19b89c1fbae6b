"""Error bounds in float32 against machines that add in any order, flush and fuse, onnxruntime and torch; and faults planted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import machines
import numpy as np
import onnxruntime
import pytest
import torch
from builders import build_model, write_model
from machines import Dense, Leaky, Machine, Pairs, Relu, Step, drawn, exactly, write_steps
from numpy.typing import NDArray
from onnx import helper

from wdaverify import load_network
from wdaverify.certify import forward_error
from wdaverify.certify.forward_error import ForwardError
from wdaverify.errors import NetworkError
from wdaverify.ground import Support

Array = NDArray[np.float64]


def worst(tmp: Path, steps: list[Step], inputs: int, points: Array, seed: int, machines_: int = 6) -> float:
    """The largest ratio of what machines err to what is claimed, at the points and on their box; 0/0 is 0."""
    bounds = ForwardError(load_network(write_steps(tmp / "net.onnx", steps, inputs)))
    here = bounds.at(points)
    box = bounds.on(Support.box(points.min(axis=0), points.max(axis=0), inputs))
    ratio = 0.0
    for k, x in enumerate(points):
        exact = exactly(steps, x)
        for m in range(machines_):
            got = Machine(seed + 97 * k + m).run(steps, x)
            for j, (value, want) in enumerate(zip(got.tolist(), exact, strict=True)):
                off = abs(Fraction(value) - want) if np.isfinite(value) else None
                for claim in (here[k, j], box[j]):
                    if np.isinf(claim):
                        continue
                    if off is None:
                        return float("inf")
                    ratio = max(ratio, float(off / Fraction(claim)) if claim else float("inf") * bool(off))
    return ratio


@pytest.mark.parametrize("seed", [*range(40), *(pytest.param(k, marks=pytest.mark.full) for k in range(40, 2000))])
def test_no_machine_is_outside(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    steps, inputs = drawn(rng)
    points = rng.normal(size=(4, inputs)) * 2.0 ** rng.integers(-20, 10)
    assert worst(tmp_path, steps, inputs, points, seed) <= 1


LONG: list[Step] = [Dense(np.full((1, 2000), 1.0, np.float32))]
"""Of 1 and numbers that a sum beginning with it loses, one by one."""
LOST = np.array([[1.0, *[2.0**-24 * (1 - 2.0**-10)] * 1999]])


class InOrder(Machine):
    """Adds from left to right, products first."""

    def __init__(self, flush: bool = False) -> None:
        super().__init__(0, flush=flush, fused=False)

    def _dense(self, step: Dense, h: NDArray[np.float32]) -> NDArray[np.float32]:
        total = self._kept(step.weight[:, 0] * h[0])
        for k in range(1, h.size):
            total = self._kept(total + self._kept(step.weight[:, k] * h[k]))
        return total if step.bias is None else self._kept(total + step.bias)


DETECTORS: dict[str, tuple[list[Step], Array, Machine]] = {
    "half the unit": (LONG, LOST, InOrder()),
    "the bias": (
        [Dense(np.array([[1.0]], np.float32), np.array([2.0**20], np.float32))],
        np.array([[2.0**-4]]),
        InOrder(),
    ),
    "the input": ([Relu()], np.array([[1 + 2.0**-24 * (1 - 2.0**-20)]]), InOrder()),
    "underflow": ([Dense(np.array([[2.0**-100]], np.float32))], np.array([[2.0**-40]]), InOrder(flush=True)),
}


def _claim(tmp: Path, name: str) -> tuple[Fraction, Fraction]:
    """What a machine errs, and what is claimed."""
    steps, x, machine = DETECTORS[name]
    claim = ForwardError(load_network(write_steps(tmp / "net.onnx", steps, x.shape[1]))).at(x)[0, 0]
    got = float(machine.run(steps, x[0])[0])
    return abs(Fraction(got) - exactly(steps, x[0])[0]), Fraction(claim)


@pytest.mark.parametrize("name", DETECTORS)
def test_planted_faults_are_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    off, claim = _claim(tmp_path, name)
    assert 0 < off <= claim
    match name:
        case "half the unit":
            monkeypatch.setattr(forward_error, "UNIT", 2.0**-25)
        case "the bias":  # its size left out of what is rounded

            def without(self: object, k: int, node: object, states: object) -> object:
                bare = forward_error.Affine(node.sources, node.maps, 0 * node.bias)  # type: ignore[attr-defined]
                return added(self, k, bare, states)  # type: ignore[arg-type]

            added = ForwardError._added
            monkeypatch.setattr(ForwardError, "_added", without)
        case "the input":
            start = forward_error._start
            monkeypatch.setattr(forward_error, "_start", lambda off, size: start(0 * off, size))
        case _:
            monkeypatch.setattr(forward_error, "FLUSHED", 0.0)
    off, claim = _claim(tmp_path, name)
    assert off > claim


def _program(
    rng: np.random.Generator,
) -> tuple[list[object], dict[str, NDArray[np.generic]], torch.nn.Module, int, int]:
    """A convolutional network as nodes of a file, and as torch computes the same nodes one by one."""
    c, side = int(rng.integers(1, 4)), 6
    f = {
        "k": rng.normal(size=(4, c, 3, 3)).astype(np.float32),
        "kb": rng.normal(size=4).astype(np.float32),
        "scale": rng.uniform(0.5, 2, 4).astype(np.float32),
        "shift": rng.normal(size=4).astype(np.float32),
        "mean": (10 * rng.normal(size=4)).astype(np.float32),
        "var": rng.uniform(0.1, 3, 4).astype(np.float32),
        "k2": rng.normal(size=(4, 4, 1, 1)).astype(np.float32),
        "w": rng.normal(size=(5, 16)).astype(np.float32),
        "b": rng.normal(size=5).astype(np.float32),
    }
    pool, relu = ("MaxPool", "AveragePool")[rng.integers(2)], ("Relu", "LeakyRelu")[rng.integers(2)]
    nodes = [
        helper.make_node("Conv", ["x", "k", "kb"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node(relu, ["n"], ["r"]),
        helper.make_node("Conv", ["r", "k2"], ["s"]),
        helper.make_node("Add", ["s", "r"], ["a"]),
        helper.make_node("Clip", ["a", "low", "high"], ["t"]),
        helper.make_node(pool, ["t"], ["p"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "w", "b"], ["y"], transB=1, alpha=0.5),
    ]
    constants = {**f, "low": np.array(-3, np.float32), "high": np.array(7, np.float32)}
    t = {name: torch.from_numpy(v) for name, v in f.items()}
    functional = torch.nn.functional

    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = functional.conv2d(x, t["k"], t["kb"], padding=1)
            h = functional.batch_norm(h, t["mean"], t["var"], t["scale"], t["shift"])
            r = functional.relu(h) if relu == "Relu" else functional.leaky_relu(h, 0.01)
            h = torch.clamp(functional.conv2d(r, t["k2"]) + r, -3, 7)
            h = functional.max_pool2d(h, 3) if pool == "MaxPool" else functional.avg_pool2d(h, 3)
            return 0.5 * (h.flatten(1) @ t["w"].T) + t["b"]

    return nodes, constants, Module(), c, side


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(k, marks=pytest.mark.full) for k in range(2, 30))])
def test_no_runtime_is_outside(seed: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """20,000 evaluations: onnxruntime as it rewrites a graph and as it does not, and torch, on 1, 2 and 4 threads."""
    rng = np.random.default_rng(seed)
    nodes, constants, module, c, side = _program(rng)
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, ["N", c, side, side], opset=15))  # type: ignore[arg-type]
    network, points = load_network(path), 1667 if seed < 2 else 6000
    x = rng.uniform(-1, 2, (points, network.n_inputs))
    bounds = ForwardError(network)
    here, box = bounds.at(x[:200]), bounds.on(Support.box(-1.0, 2.0, network.n_inputs))
    real, single = network.forward(x), x.astype(np.float32).reshape(-1, c, side, side)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 4):
            outputs = []
            for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = count
                options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
                session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                outputs.append(session.run(None, {"x": single})[0])
            torch.set_num_threads(count)
            outputs.append(module(torch.from_numpy(single)).numpy())
            for out in outputs:
                off = np.abs(out.astype(np.float64) - real)
                assert off.max() > 0
                assert (off <= box + 1e-12).all()
                assert (off[:200] <= here + 1e-12).all()
    finally:
        torch.set_num_threads(threads)


def test_what_one_point_overflows_at_is_no_other_points_matter(tmp_path: Path) -> None:
    steps: list[Step] = [Dense(np.array([[2.0**60]], np.float32)), Relu(), Dense(np.array([[1.0]], np.float32))]
    bounds = ForwardError(load_network(write_steps(tmp_path / "net.onnx", steps, 1)))
    small, large = np.array([[2.0**-60]]), np.array([[2.0**50]])
    assert np.isinf(bounds.at(large)).all()
    assert bounds.at(np.concatenate([small, large]))[0] == bounds.at(small)[0] < 1e-6


def test_a_maximum_is_told_from_what_spells_it(tmp_path: Path) -> None:
    """max(a, b) as the file has it rounds nothing; b + relu(a - b) as a file spells it does."""
    pair = [Dense(np.array([[1.0], [-1.0]], np.float32)), Pairs()]
    exact = ForwardError(load_network(write_steps(tmp_path / "max.onnx", pair, 1))).at(np.array([[2.0**60]]))[0, 0]
    two = np.array([[1.0], [-1.0]], np.float32)
    spelt: list[Step] = [
        Dense(two),
        Dense(np.array([[1.0, -1.0], [0.0, 1.0], [0.0, -1.0]], np.float32)),
        Relu(),
        Dense(np.array([[1.0, 1.0, -1.0]], np.float32)),
    ]
    loose = ForwardError(load_network(write_steps(tmp_path / "spelt.onnx", spelt, 1))).at(np.array([[2.0**60]]))[0, 0]
    assert exact < 6 * 2.0**36 < loose


@pytest.mark.parametrize("op", ["Max", "Min", "MaxPool"])
def test_a_shift_behind_a_maximum_is_a_step_of_its_own(op: str, tmp_path: Path) -> None:
    """It was read as the bias of what stands for the maximum, of which nothing is known with one."""
    shift = np.array([2.0**10], np.float32)
    pooled = helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[2], strides=[1])
    made = (
        [pooled]
        if op == "MaxPool"
        else [helper.make_node("Neg", ["x"], ["n"]), helper.make_node(op, ["x", "n"], ["m"])]
    )
    nodes = [*made, helper.make_node("Add", ["m", "shift"], ["y"])]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"shift": shift}, [1, 1, 2]))
    points = np.random.default_rng(0).normal(size=(50, 2))
    network = load_network(path)
    single = points.astype(np.float32)
    pick = {"Max": np.abs(single), "Min": -np.abs(single), "MaxPool": single.max(axis=1, keepdims=True)}[op]
    off, claim = np.abs((pick + shift).astype(np.float64) - network.forward(points)), ForwardError(network).at(points)
    assert off.max() > 0
    assert (off <= claim).all()
    assert claim.max() < 2.0**-9


def test_variances_that_float32_cancels_are_not_bounded(tmp_path: Path) -> None:
    """Of doubles: -1 + 2^-30 and 1 sum to 2^-30, and to 0 in float32."""
    numbers = {name: np.array([v]) for name, v in (("s", 1.0), ("b", 0.0), ("m", 0.0), ("v", -1 + 2.0**-30))}
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1.0)
    path = write_model(tmp_path / "net.onnx", build_model([node], numbers, [1, 1], dtype=np.float64))
    with pytest.raises(NetworkError, match="variance far from 1 or below 0"):
        ForwardError(load_network(path))


def test_what_overflows_is_not_bounded(tmp_path: Path) -> None:
    steps: list[Step] = [
        Dense(np.array([[2.0**100]], np.float32)),
        Leaky(0.1),
        Dense(np.array([[2.0**-100]], np.float32)),
    ]
    bounds = ForwardError(load_network(write_steps(tmp_path / "net.onnx", steps, 1)))
    assert np.isinf(bounds.at(np.array([[2.0**40]]))).all()
    assert machines.Machine(0).run(steps, np.array([2.0**40]))[0] == np.inf
    with pytest.raises(NetworkError, match="whose errors in float32"):
        ForwardError(load_network(Path(__file__).parents[2] / "models" / "digits_16x16_gelu.onnx"))
