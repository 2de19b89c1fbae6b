"""The distance problem ``min ||x - x_i|| s.t. z_j >= z_y`` over a region, for one rival j (docs/theory.md, section 4)."""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, add_network
from wdaverify.graph.nodes import Graph


def distance_model(
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    label: int,
    rival: int,
    *,
    least: float = 0.0,
) -> MilpModel:
    """The model whose minimum is at most the distance to the nearest point of the region where the rival ties or wins.

    The margin asked for is ``least``; only 0 bounds the distance.
    """
    builder = ModelBuilder()
    encoded = add_input(builder, region)
    margin = add_network(builder, graph, bounds, region, encoded, label, rival)
    builder.row(margin.index, margin.coefficient, least - margin.offset - margin.slack, np.inf)
    return builder.build(
        maximise=False,
        index=encoded.cost,
        coefficient=encoded.price,
        offset=0.0,
        slack=0.0,
        centre=region.centre,
        inputs=encoded.inputs,
        negative_inputs=encoded.negative_inputs,
        step=encoded.step,
    )
