"""CROWN dual and attacks on more samples than neurons: bounds in order, limits kept."""

from __future__ import annotations

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify.ladder.compare import Settings, compare


@pytest.mark.full
def test_300_samples_on_64_inputs() -> None:
    rng = np.random.default_rng(0)
    net = network(*random_layers(rng, 64, 64, 10))
    x = rng.uniform(size=(300, 64))
    question = problem(net, x, net.forward(x).argmax(axis=1), 0.01)
    [ladder] = compare(question, [0.01], Settings(rungs=("norms", "crown", "attacks"), rung_limit=None)).ladders
    value = {rung.name: rung.value for rung in ladder.rungs}
    assert ladder.nominal < value["mixture"] < value["CROWN dual"] < value["product of layer norms"]
