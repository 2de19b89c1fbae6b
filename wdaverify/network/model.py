"""The network as verified: a graph of affine maps and piecewise-linear functions, as the file has it.

The reference meaning is real arithmetic on the weights as stored (docs/theory.md, section 1); ``forward`` is its float64
evaluation. ``canonical`` is the same function as bounds, encodings and engines go over it: ReLUs alone, consecutive
affine maps fused (what that rounds is kept as an error per entry), no neuron that others make up, hidden numbers near 1.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError, OutputError
from wdaverify.given import instance, listed, path_of, settle, whole, words
from wdaverify.graph.maps import Diagonal, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.graph.rewrite import canonical, layers
from wdaverify.writing import write_bytes

Array = NDArray[np.float64]


def readonly(array: NDArray[np.generic] | Array) -> Array:
    """A read-only, C-contiguous float64 copy."""
    out = np.array(array, dtype=np.float64, order="C", copy=True)
    out.setflags(write=False)
    return out


Head = Literal["softmax", "log-softmax", "sigmoid", "argmax"]


@dataclass(frozen=True)
class Unsafe:
    """Whose scores a network has: of the specification of this sha256 on a support's box (its digest).

    Output 0 is 0, and output k + 1 the least row of disjunct ``disjuncts[k]`` (``specification.unsafe``).
    """

    specification: str
    support: str
    disjuncts: tuple[int, ...]
    at: int = -1
    """The node of the file's own outputs."""


@dataclass(frozen=True, eq=False, repr=False)
class ReluNetwork:
    """A network ``f: R^n -> R^K`` of affine maps and piecewise-linear functions.

    ``input_shape`` and ``output_shape`` are those of the file with the batch axis left out, so that
    ``prod(input_shape) == n_inputs``; points are flattened row-major. ``head`` is what the file ends in and the graph leaves out:
    f is what stands in front of it. Questions about the network's own outputs are refused where there is one.

    ``classes`` are the labels of the outputs where the model that the network was made from has names of its own (scikit-learn's
    ``classes_``; of a regressor none, ``()``), else None; ``features`` likewise the names of its inputs.
    ``onnx`` is the file of a network that was made in memory, which ``save`` writes. ``unsafe`` says whose scores the outputs are where
    they are not the file's own but those of a specification; sha256, name and notices stay those of the file. ``not_float32`` says of
    what in the file no error bound in float32 is known (``network.float32``). ``file`` is where it was read from (None: memory) and which
    tensor of it was asked for.
    """

    graph: Graph
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    sha256: str
    name: str
    notices: tuple[str, ...]
    head: Head | None = None
    classes: tuple[object, ...] | None = None
    features: tuple[str, ...] | None = None
    onnx: bytes | None = None
    unsafe: Unsafe | None = None
    not_float32: tuple[str, ...] = ()
    file: tuple[str | None, str | None] | None = None

    def __post_init__(self) -> None:
        way_out = "load_network(path) reads one, graph.nodes.chain makes one"
        graph = instance("graph of a network", self.graph, Graph, way_out, NetworkError)
        if not graph.exact:
            raise NetworkError(
                "a graph whose numbers are known up to an error, or are no doubles; one of exact doubles is accepted"
            )
        for text in ("sha256", "name"):
            instance(f"{text} of a network", getattr(self, text), str, "load_network(path) gives it", NetworkError)
        settle(
            self,
            input_shape=_shape("input_shape", self.input_shape),
            output_shape=_shape("output_shape", self.output_shape),
            notices=words("notices", self.notices, NetworkError),
            not_float32=words("not_float32", self.not_float32, NetworkError),
        )
        for what, shape, have in (
            ("input", self.input_shape, self.graph.inputs),
            ("output", self.output_shape, self.graph.outputs),
        ):
            if math.prod(shape) != have:
                raise NetworkError(f"the graph of {self.name} has {have} {what}s, its {what} shape is {list(shape)}")

    def __repr__(self) -> str:
        shapes = f"{list(self.input_shape)} -> {list(self.output_shape)}"
        kind = "neurons" if self.curved else "ReLUs"
        return f"<ReluNetwork {self.name}: {shapes}, {self.n_relus} {kind}, {self.n_parameters} parameters>"

    def __copy__(self) -> ReluNetwork:
        return self

    def __deepcopy__(self, memo: object) -> ReluNetwork:
        """Nothing of it changes."""
        return self

    def __getstate__(self) -> dict[str, object]:
        """What other processes are handed; the file stays here."""
        return {**self.__dict__, "onnx": None}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file of a network that was made in memory: ``load_network`` and ``recheck`` read it, with this ``sha256``.

        Raises:
            NetworkError: the network was read from a file, which is there already, or built in Python.
            OutputError: the file cannot be written.
        """
        if self.onnx is None:
            raise NetworkError(
                f"{self.name} was read from a file or comes from another process, and there is no file to write: copy the one that it was "
                "read from; what from_torch, from_sklearn and from_onnx make keeps its own in the process that made it"
            )
        write_bytes(path_of("the network's file", path, OutputError), self.onnx)

    @property
    def n_inputs(self) -> int:
        """The width n of the input."""
        return self.graph.inputs

    @property
    def n_outputs(self) -> int:
        """The width K of the output."""
        return self.graph.outputs

    @property
    def n_relus(self) -> int:
        """The number of neurons where every piecewise-linear function is written as ReLUs (a ReLU of a ReLU counts once).

        The canonical form may have fewer: neurons that others make up are left out there.
        """
        return layers(self.graph).neurons if self.curved else self.layers.neurons

    @property
    def curved(self) -> tuple[str, ...]:
        """The names of the functions that are not piecewise linear, each once: answers are then brackets to a gap."""
        return self.graph.curved

    @property
    def n_parameters(self) -> int:
        """The number of stored weights, biases, factors, divisors and shifts."""
        count = 0
        for node in self.graph.nodes:
            if isinstance(node, Affine):
                diagonal = all(isinstance(m, Diagonal) or not m.numbers for m in node.maps)
                count += 0 if diagonal and not node.bias.any() else node.bias.size
                count += sum(
                    part.size
                    for m in node.maps
                    for part in m.numbers
                    if not isinstance(m, Diagonal) or (part != 1).any()
                )
        return count

    def forward(self, x: Array) -> Array:
        """Logits ``[B, K]`` of points ``[B, n]`` in float64; not finite where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.graph.forward(np.asarray(x, dtype=np.float64))

    def forward_float32(self, x: Array) -> NDArray[np.float32]:
        """Logits ``[B, K]`` of points ``[B, n]`` in plain float32, as a runtime outside would give them."""
        return np.asarray(self.single.forward(np.asarray(x, dtype=np.float32)), np.float32)

    def gradient(self, x: Array, functional: Array) -> Array:
        """Gradients ``[B, n]`` of ``functional[b] . f`` (``[B, K]``) at ``x [B, n]``, with relu'(0) = 0; not finite where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.graph.values(np.asarray(x, dtype=np.float64))
            waiting = {len(values) - 1: np.asarray(functional, dtype=np.float64)}
            for k in range(len(values) - 1, INPUT, -1):
                g, node = waiting.pop(k, None), self.graph.nodes[k]
                if g is None:
                    continue
                if isinstance(node, Elementwise):
                    parts = [(node.source, g * node.function.derivative(values[node.source]))]
                else:
                    parts = [(s, m.back(g)) for s, m in zip(node.sources, node.maps, strict=True)]
                for source, part in parts:
                    waiting[source] = waiting[source] + part if source in waiting else part
            return waiting.get(INPUT, np.zeros_like(np.asarray(x, np.float64)))

    def two_classes(self) -> ReluNetwork:
        """Of a network with one output z, the logit of class 1: the one with the scores 0 and z."""
        last = len(self.graph.nodes) - 1
        pair = Affine((last,), (Select(np.array([-1, 0]), 1),), np.zeros(2))
        graph = Graph((*self.graph.nodes, pair), self.n_inputs)
        said = (
            f"the one output z of {self.name} is taken for the logit of class 1: two classes with the scores 0 and z, where a tie "
            "is an error"
        )
        return replace(self, graph=graph, output_shape=(2,), notices=(*self.notices, said))

    @property
    def single_output(self) -> bool:
        """Whether the file has one output, of which two scores were made."""
        last = self.graph.nodes[-1]
        return isinstance(last, Affine) and isinstance(last.maps[0], Select) and last.maps[0].index.tolist() == [-1, 0]

    @cached_property
    def single(self) -> Graph:
        """The graph with its numbers in float32."""
        return self.graph.like(lambda numbers: numbers.astype(np.float32))

    @cached_property
    def form(self) -> Graph:
        """What bounds go over (``graph.rewrite``): ReLUs, and the functions that are not piecewise linear as they are.

        Raises:
            NetworkError: composing consecutive affine maps overflows.
        """
        return canonical(self.graph) if self.curved else self.canonical

    @cached_property
    def canonical(self) -> Graph:
        """The form, where it has ReLUs alone: for whatever rests on that.

        Raises:
            NetworkError: as ``form``; or there are other functions.
        """
        self.refuse_curved("this")
        return canonical(self.graph)

    def refuse_curved(self, what: str, way_out: str = "replace them by Relu, LeakyRelu, Clip or HardSigmoid") -> None:
        """Refuse what rests on a network that is piecewise linear.

        Raises:
            NetworkError: it is not; ``what`` is said of it.
        """
        if self.curved:
            raise NetworkError(
                f"{self.name} has {', '.join(self.curved)}, which are not piecewise linear: {what} is for networks that are; {way_out}"
            )

    @cached_property
    def layers(self) -> Graph:
        """The canonical form with every neuron, also those that others make up.

        Raises:
            NetworkError: as ``canonical``.
        """
        self.refuse_curved("this")
        return layers(self.graph)


def _shape(name: str, given: object) -> tuple[int, ...]:
    """A shape as a tuple of ints."""
    sizes = listed(name, given, "a list of sizes, as (n,) or (channels, height, width),", NetworkError)
    return tuple(whole(name, size, "a size from 1 to 2^31", lambda n: 1 <= n <= 2**31, NetworkError) for size in sizes)
