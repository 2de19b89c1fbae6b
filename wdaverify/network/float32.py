"""What of a network no error bound in float32 is known of (``certify.forward_error``): refused by name, with the way out."""

from __future__ import annotations

from wdaverify.network.model import ReluNetwork


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
