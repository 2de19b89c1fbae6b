"""A model and the network that was read from it, side by side at points: what is verified is what was meant."""

from __future__ import annotations

import numpy as np

from wdaverify.digits import at_most
from wdaverify.errors import NetworkError
from wdaverify.network.model import Array, ReluNetwork

_SPREAD, _SIZE, _LEAST = 1e-3, 1e-4, 1e-9
"""A difference beyond these shares of the outputs' spread and size is no rounding of single precision."""


def difference(network: ReluNetwork, x: Array, outputs: Array, what: str, where: str = "the rows given") -> str:
    """A notice of how far the model's ``outputs [B, K]`` at ``x [B, n]`` are from the network's own there (``where``).

    Where the network leaves a final Softmax, LogSoftmax or Sigmoid out, it is put behind its logits first.

    Raises:
        NetworkError: the shapes differ, or the outputs by more than rounding explains; ``what`` names the model.
    """
    own = _with_head(network, network.forward(x))
    if own.shape != outputs.shape:
        raise NetworkError(
            f"{what} gives outputs of shape {list(outputs.shape)} at {len(x)} rows, the network read from it {list(own.shape)}: "
            "one row of scores for each row of the input is accepted"
        )
    if not np.isfinite(outputs).all():
        raise NetworkError(
            f"{what} gives outputs that are not finite at the rows given; rescale its weights or the rows"
        )
    size, spread = float(np.abs(outputs).max(initial=0.0)), float(np.ptp(outputs)) if outputs.size else 0.0
    apart = float(np.abs(own - outputs).max(initial=0.0))
    if not apart <= _SPREAD * spread + _SIZE * size + _LEAST:
        raise NetworkError(
            f"{what} and the network read from it differ by {at_most(apart)} at {where}, whose outputs are up to "
            f"{at_most(size)} in size: what it computes there is not what was exported (does it depend on chance, on how many rows there "
            "are or on the other rows, or take numbers out of tensors?)"
        )
    rows = "the row given" if len(x) == 1 else f"the {len(x)} rows given"
    return f"{what} and the network read from it differ by at most {at_most(apart)} at {rows}"


def _with_head(network: ReluNetwork, logits: Array) -> Array:
    """What the model makes of the logits ``[B, K]``."""
    with np.errstate(over="ignore", under="ignore"):
        if network.head == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)))
        if network.head in ("softmax", "log-softmax"):
            shifted = logits - logits.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            return np.asarray(logs if network.head == "log-softmax" else np.exp(logs))
    return logits
