"""A point as values of all columns of a model: what a MIP solver is given to begin from."""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import MilpModel
from wdaverify.graph.nodes import INPUT, Graph
from wdaverify.network.model import Array


def start_at(model: MilpModel, graph: Graph, region: Region, point: Array) -> dict[int, float]:
    """Column by column the values of a point ``[n]`` of the region; columns of ranks of margins are left to the solver."""
    true = np.full(model.n_columns, np.nan)
    delta = point - region.centre
    if model.step is not None:
        true[model.inputs] = delta / model.step
    elif model.negative_inputs is None:
        true[model.inputs] = point
    else:
        true[model.inputs], true[model.negative_inputs] = np.maximum(delta, 0.0), np.maximum(-delta, 0.0)
    trace, distance = model.trace, float(region.cost.distance(delta))
    if trace.distance >= 0:
        true[trace.distance] = max(distance, region.near) / trace.unit
    if trace.square >= 0:
        true[trace.square] = (max(distance, region.near) / trace.unit) ** 2
    values = graph.values(point)
    for neurons in trace.neurons:
        source = graph.source(neurons.node)
        before, after = point if source == INPUT else values[source], values[neurons.node]
        true[neurons.above] = after[neurons.alive]
        true[neurons.below] = np.maximum(-before[neurons.opened], 0.0)
        true[neurons.phase] = before[neurons.opened] > 0
    for node, columns in trace.own:
        true[columns] = values[node]
    known = np.flatnonzero(np.isfinite(true))
    started = np.clip(true[known] / model.scale[known], model.lower[known], model.upper[known])
    return dict(zip(known.tolist(), started.tolist(), strict=True))
