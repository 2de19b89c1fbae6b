"""The bundled networks and samples are what models/README.md says they are."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

from wdaverify.network.onnx_reader import load_network

MODELS = Path(__file__).parent.parent / "models"
WIDTHS = {"digits_16x16": [64, 16, 16, 10], "digits_32x32_robust": [64, 32, 32, 10], "iris_8x8": [4, 8, 8, 3]}
SAMPLES = {"digits_16x16": 100, "digits_32x32_robust": 100, "iris_8x8": 30}
NAMES = sorted(WIDTHS)
CURVED = {f"{name}_{kind}": name for name in ("digits_16x16", "iris_8x8") for kind in ("gelu", "silu")}
"""Networks with another activation, on the samples of the one with ReLUs."""


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("models_train", MODELS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def samples(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(MODELS / f"{name}.npz") as data:
        assert set(data.files) == {"x", "y"}
        return data["x"], data["y"]


def readme_row(name: str) -> list[str]:
    """The cells of the row of the first table that starts with the network's name."""
    rows = [line for line in (MODELS / "README.md").read_text().splitlines() if line.startswith(f"| `{name}`")]
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_checksums() -> None:
    lines = (MODELS / "SHA256SUMS").read_text().splitlines()
    stated = {file: digest for digest, file in (line.split("  ") for line in lines)}
    curved = {f"{name}.onnx" for name in CURVED}
    assert set(stated) == {f"{name}{suffix}" for name in NAMES for suffix in (".onnx", ".npz")} | curved
    readme = (MODELS / "README.md").read_text()
    in_readme = dict(re.findall(r"^\| `(\S+\.(?:onnx|npz))` \| `([0-9a-f]{64})` \|$", readme, re.MULTILINE))
    assert in_readme == stated
    for file, digest in stated.items():
        assert hashlib.sha256((MODELS / file).read_bytes()).hexdigest() == digest, file


@pytest.mark.parametrize("name", NAMES)
def test_network_shape(name: str) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    widths = WIDTHS[name]
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert [shapes[f"W{k}"] for k in (1, 2, 3)] == [[widths[k], widths[k - 1]] for k in (1, 2, 3)]
    assert [shapes[f"b{k}"] for k in (1, 2, 3)] == [[widths[k]] for k in (1, 2, 3)]
    assert all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer)
    (entry,) = model.graph.input
    assert [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] == ["batch", widths[0]]


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_labelled_points_of_the_unit_box(name: str) -> None:
    x, y = samples(name)
    assert x.shape == (SAMPLES[name], WIDTHS[name][0])
    assert x.dtype == np.float32
    assert y.shape == (SAMPLES[name],)
    assert y.dtype == np.int64
    assert ((x >= 0) & (x <= 1)).all()
    assert set(y) == set(range(WIDTHS[name][-1]))


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_the_stated_one(name: str) -> None:
    x, y = samples(name)
    session = onnxruntime.InferenceSession(MODELS / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": x})
    own = logits[np.arange(len(y)), y]
    logits[np.arange(len(y)), y] = -np.inf
    margin = logits.max(axis=1) - own
    stated_accuracy, stated_margin = (float(cell) for cell in readme_row(name)[4:6])
    assert (margin < 0).mean() >= stated_accuracy - 0.01
    assert margin.mean() == pytest.approx(stated_margin, abs=0.01)


@pytest.mark.parametrize("name", CURVED)
def test_networks_of_other_activations_are_as_stated(name: str) -> None:
    net = load_network(MODELS / f"{name}.onnx")
    x, y = samples(CURVED[name])
    assert net.curved == ({"gelu": "Gelu", "silu": "Silu"}[name.rsplit("_")[-1]],)
    margin = -np.sort(-net.forward(x.astype(np.float64)), axis=1)
    right = net.forward(x.astype(np.float64)).argmax(axis=1) == y
    stated_accuracy = float(readme_row(name)[4])
    assert right.mean() >= stated_accuracy - 0.01
    assert (margin[right, 0] > margin[right, 1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_held_out(name: str, train: ModuleType) -> None:
    x, y = samples(name)
    points, labels, split = train.RECIPES[name].split()
    assert not set(split.training) & set(split.test)
    assert set(split.published) <= set(split.test)
    np.testing.assert_array_equal(points[split.published], x)
    np.testing.assert_array_equal(labels[split.published], y)
    seen = {row.tobytes() for row in points[split.training]}
    assert not any(row.tobytes() in seen for row in x)
    assert len({row.tobytes() for row in x}) == len(x)


@pytest.mark.parametrize("name", NAMES)
def test_the_split_covers_every_distinct_row_once(name: str, train: ModuleType) -> None:
    points, labels, split = train.RECIPES[name].split()
    used = np.concatenate([split.training, split.test])
    assert len(set(used)) == len(used) == len(np.unique(points, axis=0))
    counts = np.bincount(labels[split.published])
    assert (counts == SAMPLES[name] // WIDTHS[name][-1]).all()
