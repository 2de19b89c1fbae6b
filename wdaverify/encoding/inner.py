"""The inner problem ``max c . z - lam ||x - x_i||^p`` over a region, for one functional c (docs/theory.md, section 2)."""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, add_functionals, margin_rows
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array


def inner_model(
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    label: int,
    rival: int,
    multiplier: float,
    functional: Array | None = None,
) -> MilpModel:
    """The model whose maximum, plus its slack, is at least the inner value of a functional ``[K]`` on the region.

    Without one it is the margin of the rival over the label. At order 2 the square of the distance is paid.
    """
    builder = ModelBuilder()
    encoded = add_input(builder, region, 2 if region.cost.order == 2 and multiplier > 0 else 1)
    rows = margin_rows(graph.outputs, label, [rival]) if functional is None else functional[None, :]
    (aim,) = add_functionals(builder, graph, bounds, region, encoded, rows)
    return builder.build(
        maximise=True,
        index=np.concatenate([aim.index, encoded.paid]),
        coefficient=np.concatenate([aim.coefficient, -multiplier * encoded.worth]),
        offset=aim.offset,
        slack=aim.slack,
        centre=region.centre,
        inputs=encoded.inputs,
        negative_inputs=encoded.negative_inputs,
        step=encoded.step,
    )
