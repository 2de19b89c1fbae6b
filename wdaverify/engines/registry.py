"""Which engine answers which name of a solver."""

from __future__ import annotations

from wdaverify.engines.base import Engine
from wdaverify.network.model import ReluNetwork


def make_engine(network: ReluNetwork, solver: str) -> Engine:
    """The cell engine for ``auto`` and ``cells``, else the MIP engine on the back-end of that name.

    Raises:
        NetworkError: a MIP engine, and a network that is not piecewise linear.
    """
    if solver in ("auto", "cells") and network.curved:
        from wdaverify.engines.cells.curved import CurvedEngine

        return CurvedEngine(network)
    if solver in ("auto", "cells"):
        from wdaverify.engines.cells.engine import CellEngine

        return CellEngine(network)
    from wdaverify.engines.mip import MipEngine

    return MipEngine(network, solver)
