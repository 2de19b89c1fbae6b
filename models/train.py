"""Train the bundled networks from scikit-learn's bundled data and write them with held-out samples.

    python models/train.py [--out DIR] [NAME ...]

Three fully connected ReLU classifiers (float32, ONNX operators Gemm and Relu only), each with an ``.npz`` of held-out
real samples, ``x [N, n]`` float32 in [0, 1] and ``y [N]`` int64, two of them with GELU and with SiLU in place of the ReLUs (the samples
are theirs), and ``SHA256SUMS`` over all of them. Everything is
seeded and runs on one CPU thread; another CPU or another torch may still round differently, hence the checksums.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits, load_iris
from torch import Tensor, nn

SPLIT_SEED = 20
Points = NDArray[np.float32]
Labels = NDArray[np.int64]


def digits() -> tuple[Points, Labels]:
    """All 1797 digits: 8x8 grey levels 0..16, divided by 16 (exact in float32)."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


def iris() -> tuple[Points, Labels]:
    """All 150 irises, each feature mapped affinely to [0, 1] by its range over the whole data set."""
    x, y = load_iris(return_X_y=True)
    return ((x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))).astype(np.float32), y.astype(np.int64)


@dataclass(frozen=True)
class Split:
    """Row indices: ``training``, ``test`` (all held out), and ``published``, the part of ``test`` in the .npz."""

    training: NDArray[np.int64]
    test: NDArray[np.int64]
    published: NDArray[np.int64]


def split_indices(x: Points, y: Labels, test_per_class: int, published_per_class: int) -> Split:
    """A balanced split in a seeded order; of rows with equal features only the first takes part at all."""
    _, first = np.unique(x, axis=0, return_index=True)
    order = np.random.RandomState(SPLIT_SEED).permutation(np.sort(first))
    rank = np.zeros(order.size, dtype=np.int64)
    for label in np.unique(y):
        members = y[order] == label
        rank[members] = np.arange(members.sum())
    return Split(order[rank >= test_per_class], order[rank < test_per_class], order[rank < published_per_class])


@dataclass(frozen=True)
class Recipe:
    """How one network is made; ``attack_radius`` > 0 trains on l-inf PGD points within it."""

    data: Callable[[], tuple[Points, Labels]]
    hidden: tuple[int, ...]
    test_per_class: int
    published_per_class: int
    epochs: int
    learning_rate: float
    weight_decay: float
    attack_radius: float
    seed: int
    activation: str = "relu"

    def split(self) -> tuple[Points, Labels, Split]:
        """The data and its split."""
        x, y = self.data()
        return x, y, split_indices(x, y, self.test_per_class, self.published_per_class)


RECIPES = {
    "digits_16x16": Recipe(digits, (16, 16), 36, 10, 60, 5e-3, 1e-3, 0.0, 1),
    "digits_32x32_robust": Recipe(digits, (32, 32), 36, 10, 120, 5e-3, 5e-4, 0.1, 2),
    "iris_8x8": Recipe(iris, (8, 8), 10, 10, 100, 1e-2, 1e-3, 0.0, 3),
}


RECIPES |= {
    f"{name}_{activation}": replace(RECIPES[name], activation=activation)
    for name in ("digits_16x16", "iris_8x8")
    for activation in ("gelu", "silu")
}
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def build(widths: list[int], activation: str = "relu") -> nn.Sequential:
    """Linear maps of the given widths with an activation between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def attacked(model: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Points ``[B, n]`` in [0, 1] after 10 steps of projected gradient ascent on the cross-entropy, random start."""
    points = (x + radius * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(10):
        points.requires_grad_(True)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(points), y), points)
        points = points.detach() + radius / 4 * gradient.sign()
        points = torch.minimum(torch.maximum(points, x - radius), x + radius).clamp(0, 1)
    return points


def train(recipe: Recipe, x: Tensor, y: Tensor) -> nn.Sequential:
    """Adam with L2 decay on the cross-entropy (at attacked points where the recipe says so), batches of 32."""
    torch.manual_seed(recipe.seed)
    model = build([x.shape[1], *recipe.hidden, int(y.max()) + 1], recipe.activation)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(y)).split(32):
            points = attacked(model, x[batch], y[batch], recipe.attack_radius) if recipe.attack_radius else x[batch]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(points), y[batch]).backward()
            optimiser.step()
        schedule.step()
    return model


def spelled(activation: str, k: int, weights: list[TensorProto]) -> list[NodeProto]:
    """The nodes of layer k's activation from ``z{k}`` to ``h{k}``, as exporters spell them."""
    z, h = f"z{k}", f"h{k}"
    if activation == "relu":
        return [helper.make_node("Relu", [z], [h], name=f"relu{k}")]
    if activation == "silu":
        return [helper.make_node("Sigmoid", [z], [f"s{k}"]), helper.make_node("Mul", [z, f"s{k}"], [h])]
    if k == 1:
        numbers = {"root": np.sqrt(2.0), "one": 1.0, "half": 0.5}
        weights += [numpy_helper.from_array(np.float32(value), name) for name, value in numbers.items()]
    return [
        helper.make_node("Div", [z, "root"], [f"d{k}"]),
        helper.make_node("Erf", [f"d{k}"], [f"e{k}"]),
        helper.make_node("Add", [f"e{k}", "one"], [f"a{k}"]),
        helper.make_node("Mul", [z, f"a{k}"], [f"m{k}"]),
        helper.make_node("Mul", [f"m{k}", "half"], [h]),
    ]


def write_onnx(model: nn.Sequential, name: str, path: Path, activation: str = "relu") -> None:
    """The network as Gemm nodes and its activation's, input ``[batch, n]``, output ``[batch, K]``, opset 13."""
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    nodes, weights, current = [], [], "x"
    for k, layer in enumerate(linear, start=1):
        last = k == len(linear)
        weights.append(numpy_helper.from_array(layer.weight.detach().numpy(), f"W{k}"))
        weights.append(numpy_helper.from_array(layer.bias.detach().numpy(), f"b{k}"))
        affine = "logits" if last else f"z{k}"
        nodes.append(helper.make_node("Gemm", [current, f"W{k}", f"b{k}"], [affine], name=f"gemm{k}", transB=1))
        if not last:
            current = f"h{k}"
            nodes += spelled(activation, k, weights)
    sides = [("x", linear[0].in_features), ("logits", linear[-1].out_features)]
    ends = [helper.make_tensor_value_info(side, TensorProto.FLOAT, ["batch", width]) for side, width in sides]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="models/train.py")
    made.ir_version = 8
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString(deterministic=True))


def summary(model: nn.Module, x: Tensor, y: Tensor) -> str:
    """Accuracy and mean margin ``max_{j != y} z_j - z_y``."""
    with torch.no_grad():
        logits = model(x)
    own = logits.gather(1, y[:, None])[:, 0]
    margin = logits.scatter(1, y[:, None], -torch.inf).max(dim=1).values - own
    return f"accuracy {float((margin < 0).double().mean()):.4f}, mean margin {float(margin.mean()):.2f}"


def make(name: str, out: Path) -> None:
    """Train, write and describe one network."""
    recipe = RECIPES[name]
    points, labels, split = recipe.split()
    x, y = torch.from_numpy(points), torch.from_numpy(labels)
    model = train(recipe, x[split.training], y[split.training])
    write_onnx(model, name, out / f"{name}.onnx", recipe.activation)
    if recipe.activation == "relu":
        np.savez(out / f"{name}.npz", x=points[split.published], y=labels[split.published])
    print(f"{name}: {len(split.training)} training, {len(split.test)} test, {len(split.published)} published samples")
    parts = {"training": split.training, "test": split.test, "published": split.published}
    for part, rows in parts.items():
        print(f"  {part}: {summary(model, x[rows], y[rows])}")
    if recipe.attack_radius:
        rows = split.test
        moved = attacked(model, x[rows], y[rows], recipe.attack_radius)
        print(f"  test under PGD {recipe.attack_radius}: {summary(model, moved, y[rows])}")


def write_checksums(out: Path) -> None:
    """``SHA256SUMS`` over every network and sample file, in the format of ``sha256sum -c``."""
    files = [out / f"{name}{suffix}" for name in RECIPES for suffix in (".onnx", ".npz")]
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files if file.exists()]
    (out / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    """Train the networks named (default all)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)} (default all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder (default: models/)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(RECIPES))
    if unknown:
        parser.error(f"unknown network {unknown[0]}; accepted: {', '.join(RECIPES)}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or RECIPES:
        make(name, arguments.out)
    write_checksums(arguments.out)


if __name__ == "__main__":
    main()
