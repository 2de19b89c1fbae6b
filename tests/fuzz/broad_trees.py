"""A certificate whose hashes are the user's own and whose trees branch on every neuron, checked with little memory to spare.

Run as a program: the folder to write to, and how many trees.
"""

from __future__ import annotations

import math
import resource
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, load_network, load_samples
from wdaverify.certify.certificate import Certificate, read_certificate, write_certificate
from wdaverify.certify.checker import recheck
from wdaverify.certify.proof import BARE, Proof, Tree

MODELS = Path(__file__).parents[2] / "models"
SPARE = 128 * 2**20
"""Bytes of address space beyond what the imports take."""


def full(depth: int) -> list[int]:
    """A tree that splits neurons 0 .. depth - 1 on every path, in preorder."""
    nodes = [BARE]
    for neuron in range(depth - 1, -1, -1):
        nodes = [neuron, *nodes, *nodes]
    return nodes


def question() -> WdroProblem:
    network = load_network(MODELS / "iris_8x8.onnx")
    samples = load_samples(MODELS / "iris_8x8.npz", limit=1)
    return WdroProblem(network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 4), Loss.MARGIN, 0.05)


def broad(problem: WdroProblem, trees: int) -> Certificate:
    """Every rival's reach in so many shells, each with a full tree: 2^16 leaves."""
    samples, neurons = problem.samples, problem.network.canonical.neurons
    nodes = np.array(full(neurons), np.int32)
    edges = [0.0, *np.linspace(0.5, 1.0, trees)]
    shells = tuple(Tree(a, b, nodes, np.zeros((0, 2 + neurons))) for a, b in pairwise(edges))
    rivals = [j for j in range(problem.network.n_outputs) if j != samples.y[0]]
    whole = (Tree.bare(0.0, 1.0, neurons),)
    return Certificate(
        network_sha256=problem.network.sha256,
        samples_sha256=samples.sha256,
        count=1,
        clip=False,
        label_column=None,
        radius=problem.radius,
        order=1,
        norm="inf",
        loss="margin",
        support_lower=problem.support.lower,
        support_upper=problem.support.upper,
        lower=-math.inf,
        upper=math.inf,
        multiplier=100.0,
        atom_sample=np.zeros(1, np.int64),
        atom_weight=samples.w,
        atom_point=samples.x,
        proofs=tuple(Proof(0, j, 100.0, shells if j == rivals[0] else whole) for j in rivals),
        neurons=neurons,
    )


def main(folder: Path, trees: int) -> None:
    problem, path = question(), folder / "broad.cert"
    sys.stdout.write(f"{write_certificate(path, broad(problem, trees))} bytes\n")
    recheck(broad(problem, 1), problem)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPARE, taken + SPARE))
    verdict = recheck(read_certificate(path), problem)
    sys.stdout.write(f"{verdict.proved} {verdict.upper!r}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
