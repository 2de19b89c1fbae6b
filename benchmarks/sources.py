"""Where networks and samples come from: models/, and two folders outside that the environment names."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from wdaverify import ReluNetwork, Support, load_network, load_samples, make_samples
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import chain
from wdaverify.network.model import Array, readonly
from wdaverify.problem import Samples

MODELS = Path(__file__).resolve().parent.parent / "models"
PROPERTIES = 15
"""MNIST images that have a spec ``prop_K_0.03``."""
_ASSERTION = re.compile(r"\((<=|>=) X_(\d+) ([-+.\deE]+)\)")


class MissingFolderError(Exception):
    """An environment variable that names a folder of files is unset, or names none."""


def folder(variable: str) -> Path:
    """The folder that an environment variable names.

    Raises:
        MissingFolderError: it names none.
    """
    value = os.environ.get(variable, "")
    if not value or not Path(value).is_dir():
        raise MissingFolderError(f"{variable} is not set" if not value else f"{variable}={value} is not a folder")
    return Path(value)


Data = tuple[ReluNetwork, Samples, Support]
"""A network, samples, and the box that holds every input."""


def _on_unit_box(network: ReluNetwork, samples: Samples) -> Data:
    return network, samples, Support.box(0.0, 1.0, network.n_inputs)


def model(name: str) -> Callable[[int], Data]:
    """A network of ``models/`` on its own samples."""

    def load(count: int) -> Data:
        return _on_unit_box(load_network(MODELS / f"{name}.onnx"), load_samples(MODELS / f"{name}.npz", limit=count))

    return load


def instance(name: str) -> Callable[[int], Data]:
    """A network of WDAVERIFY_INSTANCES on the digits beside it."""

    def load(count: int) -> Data:
        where = folder("WDAVERIFY_INSTANCES")
        return _on_unit_box(load_network(where / f"{name}.onnx"), load_samples(where / "digits_100.npz", limit=count))

    return load


def mnist(name: str) -> Callable[[int], Data]:
    """A network of WDAVERIFY_REALWORLD on the first MNIST test images, pixels in 0..1."""

    def load(count: int) -> Data:
        where = folder("WDAVERIFY_REALWORLD")
        images = gzip.decompress((where / "data" / "t10k-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((where / "data" / "t10k-labels-idx1-ubyte.gz").read_bytes())
        x = np.frombuffer(images, np.uint8, count * 784, 16).reshape(count, 784) / 255.0
        y = np.frombuffer(labels, np.uint8, count, 8).astype(np.int64)
        return _on_unit_box(load_network(where / "networks" / f"{name}.onnx"), make_samples(x, y, source="mnist"))

    return load


def properties(count: int) -> Data:
    """``mnist-net_256x2`` on the images in the middle of the boxes of the VNN-COMP specs ``prop_K_0.03``."""
    where = folder("WDAVERIFY_REALWORLD")
    rows, labels = [], []
    for k in range(count):
        text = gzip.decompress((where / "specs" / f"prop_{k}_0.03.vnnlib.gz").read_bytes()).decode()
        low, high = box_of(text)
        # a side at 0 or 1 may be cut off there: the other one is 0.03 from the pixel
        rows.append(np.clip(np.where(low > 0, low + 0.03, high - 0.03), 0.0, 1.0))
        labels.append(int(re.search(r"label: (\d+)", text)[1]))
    network = load_network(where / "networks" / "mnist-net_256x2.onnx")
    return _on_unit_box(network, make_samples(np.array(rows), np.array(labels), source="prop_*_0.03"))


def cartpole(count: int) -> Data:
    """The cart-pole controller; on the hull of its specs' boxes, samples drawn from it with a fixed seed, labels given by itself."""
    where = folder("WDAVERIFY_REALWORLD")
    network = load_network(where / "networks" / "cartpole.onnx")
    boxes = [box_of(path.read_text()) for path in sorted((where / "specs").glob("cartpole_*.vnnlib"))]
    low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
    x = np.random.default_rng(0).uniform(low, high, size=(count, low.size))
    samples = make_samples(x, network.forward(x).argmax(axis=1), source="cartpole specs")
    return network, samples, Support(readonly(low), readonly(high))


def box_of(text: str) -> tuple[Array, Array]:
    """The box of the inputs that a VNN-LIB text asserts, one bound a line."""
    found: dict[str, dict[int, float]] = {"<=": {}, ">=": {}}
    for side, index, value in _ASSERTION.findall(text):
        found[side][int(index)] = float(value)
    low, high = (np.array([found[side][k] for k in range(len(found[side]))]) for side in (">=", "<="))
    return low, high


def noisy_iris(count: int) -> Data:
    """iris_8x8 on its 30 samples with noise (a fixed seed), under their own labels: any number of different samples."""
    network, samples = load_network(MODELS / "iris_8x8.onnx"), load_samples(MODELS / "iris_8x8.npz")
    pick = np.arange(count) % len(samples)
    noise = np.random.default_rng(0).normal(scale=0.03, size=(count, samples.x.shape[1]))
    x = np.clip(samples.x[pick] + noise, 0, 1)
    return _on_unit_box(network, make_samples(x, samples.y[pick], source="noisy iris"))


def random_network(widths: list[int], seed: int = 0) -> Callable[[int], Data]:
    """He-initialised weights, uniform samples on the unit box under the labels that the network gives them."""

    def load(count: int) -> Data:
        rng = np.random.default_rng(seed)
        layers = []
        for n, m in pairwise(widths):
            weight, bias = rng.normal(size=(m, n)) * np.sqrt(2 / n), rng.normal(size=m) * 0.1
            layers.append((Dense(weight), bias))
        name = "random " + "-".join(map(str, widths))
        network = ReluNetwork(chain(layers, relu()), (widths[0],), (widths[-1],), "", name, ())
        x = rng.uniform(size=(count, widths[0]))
        return _on_unit_box(network, make_samples(x, network.forward(x).argmax(axis=1), source=name))

    return load
