"""The inner problem ``max z_j - z_y - lam ||x - x_i||`` over a region, for one rival j (docs/theory.md, section 2)."""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, add_network
from wdaverify.graph.nodes import Graph


def inner_model(
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    label: int,
    rival: int,
    multiplier: float,
) -> MilpModel:
    """The model whose maximum, plus its slack, is at least the inner value of the rival on the region."""
    builder = ModelBuilder()
    encoded = add_input(builder, region)
    margin = add_network(builder, graph, bounds, region, encoded, label, rival)
    return builder.build(
        maximise=True,
        index=np.concatenate([margin.index, encoded.cost]),
        coefficient=np.concatenate([margin.coefficient, np.full(encoded.cost.size, -multiplier)]),
        offset=margin.offset,
        slack=margin.slack,
        centre=region.centre,
        inputs=encoded.inputs,
        negative_inputs=encoded.negative_inputs,
    )
