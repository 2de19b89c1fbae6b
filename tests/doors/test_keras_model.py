"""Models of Keras 3 on torch: read as they predict, and refused where that cannot be had."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import wdaverify as wd
from wdaverify import NetworkError, from_keras

pytestmark = pytest.mark.skipif(
    find_spec("keras") is None, reason="keras is not installed: pip install 'wdaverify[keras]'"
)


class _Later:
    """A module of Keras, imported (on torch) when a test needs it: that takes seconds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-"))
        os.environ["KERAS_BACKEND"] = "torch"
        return getattr(import_module(self._name), name)


keras, L = _Later("keras"), _Later("keras.layers")


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((5, *shape)).astype(np.float32)


def functional() -> Any:
    start = keras.Input((4,))
    inner = L.Add()([L.Dense(6, activation="relu")(start), L.Dense(6)(start)])
    return keras.Model(start, L.Dense(3)(inner))


def strided() -> Any:
    front = [L.Conv2D(4, 3, strides=2, padding="same"), L.LeakyReLU(), L.AveragePooling2D(2)]
    return keras.Sequential([*front, L.GlobalAveragePooling2D(), L.Dense(3)])


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "dense": (lambda: keras.Sequential([L.Dense(8, activation="relu"), L.Dropout(0.5), L.Dense(3)]), (4,)),
    "convolution": (
        lambda: keras.Sequential(
            [L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
        ),
        (8, 8, 2),
    ),
    "strides": (strided, (8, 8, 1)),
    "scaled": (lambda: keras.Sequential([L.Rescaling(1 / 255), L.Flatten(), L.ReLU(max_value=6), L.Dense(2)]), (2, 3)),
    "functional": (functional, (4,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_predicts_as_its_model(name: str) -> None:
    """Batch normalisation with moments of its own; what the model was, training flags too, it still is."""
    make, shape = MODELS[name]
    keras.utils.set_random_seed(1)
    model, x = make(), rows(*shape)
    model(x)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.moving_mean.assign(0.1 * np.arange(4))
            layer.moving_variance.assign(0.5 + np.arange(4))
    modes = [part.training for part in model.modules()]
    network = from_keras(model, x, name="mine")
    assert [part.training for part in model.modules()] == modes
    other = np.random.default_rng(1).random((7, *shape))
    assert np.abs(network.forward(other.reshape(7, -1)) - model.predict(other, verbose=0)).max() < 1e-5
    assert network.name == "mine"
    assert "mine and the network read from it differ by at most" in network.notices[-1]


def test_a_dense_model_is_its_weights() -> None:
    """Against the weights themselves, multiplied here."""
    model = keras.Sequential([L.Dense(8, activation="relu"), L.Dense(3)])
    x = rows(4)
    model(x)
    one, shift, two, end = (np.asarray(w, np.float64) for w in model.get_weights())
    wanted = np.maximum(x.astype(np.float64) @ one + shift, 0.0) @ two + end
    assert from_keras(model, x).forward(x.astype(np.float64)) == pytest.approx(wanted, abs=1e-12)


def test_one_call() -> None:
    model = keras.Sequential([L.Dense(4, activation="relu"), L.Dense(3, activation="softmax")])
    x = rows(4)
    y = model.predict(x, verbose=0).argmax(axis=1)
    result = wd.worst_case(model, x, y, radius=0.01, support=(0, 1), jobs=None)
    assert result.lower <= result.upper < 0
    assert any("Softmax" in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: keras.Sequential([L.Dense(3)]), "is not built; call model"),
        (lambda: "net.keras", "a keras.Model is accepted"),
        (lambda: keras.Model(a := keras.Input((4,)), [L.Dense(2)(a), L.Dense(2)(a)]), "2 outputs: one of each"),
        (lambda: keras.Sequential([keras.Input((4,)), L.Dense(3, activation=keras.ops.cos)]), "Cos"),
    ],
)
def test_what_is_no_such_model_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words) as refusal:
        from_keras(make(), rows(4))
    assert "\n" not in str(refusal.value)


def test_another_backend_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        NetworkError, match=r"on jax: models of Keras 3 on torch are accepted; set KERAS_BACKEND=torch.*export"
    ):
        wd.distances(model, rows(4), [0] * 5, support="none")
