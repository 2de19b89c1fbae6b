"""The nodes of a network as a person reads them: one line a node, in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Graph


@dataclass(frozen=True)
class Layer:
    """What a node is, how many numbers it takes and gives, and the places (from 1; 0: the input) of the layers that it reads."""

    kind: str
    inputs: int
    outputs: int
    sources: tuple[int, ...]


def layers(graph: Graph) -> list[Layer]:
    """The layers; a node that passes on what it reads is none."""
    place, out = {INPUT: 0}, list[Layer]()
    for k, node in enumerate(graph.nodes):
        sources = node.sources if isinstance(node, Affine) else (node.source,)
        if isinstance(node, Affine):
            if len(sources) == 1 and isinstance(node.maps[0], Same) and not node.bias.any():
                place[k] = place[sources[0]]
                continue
            kind = "sum" if len(sources) > 1 else _kind(node.maps[0])
        else:
            kind = node.function.name.lower()
        width = sum(graph.width(s) for s in sources)
        out.append(Layer(kind, width, graph.width(k), tuple(place[s] for s in sources)))
        place[k] = len(out)
    return out


def _kind(map_: LinearMap) -> str:
    match map_:
        case Dense():
            return "affine"
        case Diagonal() | Same():
            return "diagonal"
        case Convolution():
            return "convolution"
        case Select():
            return "selection"
        case _:
            return type(map_).__name__.lower()
