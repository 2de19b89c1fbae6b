"""What of a network no error bound in float32 is known of (``certify.forward_error``): refused by name, with the way out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wdaverify.network.model import ReluNetwork
from wdaverify.network.onnx_tensors import Tensor

_SUMS = "Add", "Sub", "Sum"
_TESTS = "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"
_PRODUCTS = "Mul", "Div", "Sqrt"


def unsettled(op: str, constants: Sequence[Tensor | None]) -> bool:
    """Whether what a node computes of constants, exact as they stand, may be far off once they are rounded to float32 and flushed.

    Sums of doubles may cancel, tests of doubles turn out otherwise, and products make large numbers of subnormal ones.
    """
    floats = [part for part in constants if part is not None and part.dtype.kind == "f"]
    if op in (*_SUMS, *_TESTS) and any(part.dtype == np.float64 for part in floats):
        return True
    sizes = [np.abs(part.astype(np.float64)) for part in floats] if op in (*_PRODUCTS, *_TESTS) else []
    return any(((size > 0) & (size < 2.0**-126)).any() for size in sizes)


def refused(network: ReluNetwork) -> str:
    """Why nothing is said of the network in float32; empty where it is."""
    if network.curved:
        return (
            f"{network.name} has {', '.join(network.curved)}, which runtimes compute by libraries of their own, whose errors in float32 "
            "nobody states: arithmetic float32 is for networks of Relu, LeakyRelu, Abs, Clip and pooling; ask in real arithmetic "
            "(--arithmetic real)"
        )
    if network.head is not None and network.head != "argmax":
        return (
            f"{network.name} ends in a {network.head}, whose rounding in float32 may make ties of scores that differ: say --logits (in "
            "Python load_network(path, logits=True)) if the scores in front of it are what is deployed, or ask in real arithmetic"
        )
    if network.not_float32:
        more = "" if len(network.not_float32) == 1 else f" (and {len(network.not_float32) - 1} more)"
        return f"{network.name}: {network.not_float32[0]}{more}; ask in real arithmetic (--arithmetic real)"
    return ""
