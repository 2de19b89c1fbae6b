"""The nodes of a network as a person reads them: one line a node, in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.network.model import ReluNetwork


@dataclass(frozen=True)
class Layer:
    """What a node is, how many numbers it takes and gives, and the places (from 1; 0: the input) of the layers that it reads.

    ``shape`` is that of a convolution's results: channels, height, width.
    """

    kind: str
    inputs: int
    outputs: int
    sources: tuple[int, ...]
    shape: tuple[int, int, int] | None = None

    @property
    def gives(self) -> str:
        """``10``, or of a convolution ``16@14x14``."""
        return str(self.outputs) if self.shape is None else "{}@{}x{}".format(*self.shape)


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
        shape = _shape(node.maps[0]) if isinstance(node, Affine) and len(sources) == 1 else None
        out.append(Layer(kind, width, graph.width(k), tuple(place[s] for s in sources), shape))
        place[k] = len(out)
    return out


def counted(network: ReluNetwork) -> str:
    """``32 ReLUs``, or of a network that has other functions ``32 neurons``."""
    kind = "neuron" if network.curved else "ReLU"
    return f"{network.n_relus} {kind}{'' if network.n_relus == 1 else 's'}"


def decided_how(network: ReluNetwork) -> str:
    """How it was decided that points are errors."""
    return "by an enclosure" if network.curved else "in exact arithmetic"


def widths(graph: Graph) -> str:
    """``784-16@14x14-100-10``: the input, and what affine layers and convolutions give."""
    found = [layer.gives for layer in layers(graph) if layer.kind in ("affine", "convolution")]
    return "-".join([str(graph.inputs), *found])


def _shape(map_: LinearMap) -> tuple[int, int, int] | None:
    return (int(map_.kernel.shape[0]), *map_.out) if isinstance(map_, Convolution) else None


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
