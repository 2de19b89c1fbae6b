"""The affine layers of a network of one path, for baselines that write them down themselves."""

from __future__ import annotations

from wdaverify import ReluNetwork
from wdaverify.graph.maps import rows
from wdaverify.graph.nodes import Affine
from wdaverify.network.model import Array


def weights(network: ReluNetwork) -> list[tuple[Array, Array]]:
    """``(W [m, n], b [m])`` with a ReLU between each two.

    Raises:
        ValueError: the network has branches.
    """
    out = []
    for k, node in enumerate(network.canonical.nodes):
        if (node.sources if isinstance(node, Affine) else (node.source,)) != (k - 1,):
            raise ValueError(f"{network.name} has branches; baselines are written for networks of one path")
        if isinstance(node, Affine):
            out.append((rows(node.maps[0]), node.bias))
    return out
