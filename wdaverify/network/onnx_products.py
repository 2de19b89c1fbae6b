"""Products with a constant: Gemm, MatMul and Einsum, as a matrix on all features, or one on each row of them.

    y[b, m, r] = sum_k W[b, m, k] h[b, k, r]

is a matrix where there is one b and one r, else a convolution of size 1: k channels of r places, in b groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import leaky_relu, relu
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read
from wdaverify.network.onnx_tensors import Tensor, quoted


def _contracted(path: Path, layout: NDArray[np.int64], weight: Tensor) -> None:
    """``W [B, m, K]`` times features at ``[B, K, R]``: the results stand in ``[B, m, R]``."""
    (groups, _, places), m = layout.shape, weight.shape[1]
    path.layout = layout
    if groups == places == 1:
        path.at_hand(path.place)
        path.matrix(weight[0], path.order, None, (1, m, 1))
        return
    path.ordered()
    path.allowance.take(weight.size + groups * m * places)
    path.affine(Convolution(weight.reshape(groups * m, -1, 1, 1), 1, places, groups=groups))
    path.layout = np.arange(groups * m * places).reshape(groups, m, places)


def _gemm(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``alpha A' B' + beta C`` with one of A', B' the activation, row by row (A') or column by column (B')."""
    if len(given) > 1:
        raise node.refused(f"it reads {len(given)} computed tensors; accepted is one, with constants beside it")
    if node.active == 2:
        raise node.refused("the activation is its input C; accepted are inputs A and B")
    path.take(given[0])
    left = node.active == 1
    moving, constant = path.layout, path.weight(node, 0 if left else 1)
    if moving.ndim != 2 or constant.ndim != 2:
        raise node.refused(f"shapes {list(moving.shape)} and {list(constant.shape)}; two axes each are accepted")
    if node.flag("transB" if left else "transA"):
        moving = moving.T
    matrix = constant.T if node.flag("transA" if left else "transB") else constant
    matrix, columns = (matrix, moving) if left else (matrix.T, moving.T)
    if len(columns) != matrix.shape[1]:
        raise _unfit(node, path.layout.shape, matrix.shape[1])
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if any(part and not 2.0**-20 <= abs(part) <= 2.0**20 for part in (alpha, beta)):
        path.not_float32.append(
            f"{node.label} has alpha or beta far from 1, of whose roundings nothing is known; multiply the weights by them when exporting"
        )
    exact = path.dtype == np.float32  # the product of two numbers of single precision is a double
    if exact or alpha == 1.0:
        matrix, alpha = matrix.astype(np.float64) * alpha, 1.0
    _contracted(path, columns[None], matrix[None])
    path.layout = path.layout[0] if left else path.layout[0].T
    bias = path.weight(node, 2).astype(np.float64) if node.operand(2) is not None and beta != 0.0 else None
    if bias is not None:
        if len(bias.shape) > 2 or any(
            have not in (1, want) for have, want in zip(bias.shape[::-1], path.layout.shape[::-1], strict=False)
        ):
            raise node.refused(f"C of shape {list(bias.shape)} does not broadcast to {list(path.layout.shape)}")
        bias, beta = (bias * beta, 1.0) if exact else (bias, beta)
        bias = path.scattered(node, bias)
    if beta == 1.0 or bias is None:
        if alpha != 1.0:
            path.diagonal(factor=np.full(path.width, alpha), shift=bias)
        elif bias is not None:
            path.diagonal(shift=bias)
        return
    path.diagonal(factor=np.full(path.width, alpha), divisor=np.full(path.width, beta), shift=bias)
    path.diagonal(factor=np.full(path.width, beta))


def _fused_gemm(path: Path, node: Node, given: Sequence[Place]) -> None:
    """onnxruntime's Gemm with a function behind it."""
    kind = node.text("activation", "", ("Relu", "LeakyRelu"))
    _gemm(path, node, given)
    path.at_hand(path.place)
    path.function(relu() if kind == "Relu" else leaky_relu(node.number("activation_alpha", float(np.float32(0.01)))))


def _matmul(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``W @ h`` or ``h @ W`` by numpy's rules, row by row; several matrices belong to as many in the activation."""
    if len(given) > 1:
        raise node.refused(f"it reads {len(given)} computed tensors; accepted is one, with a constant beside it")
    path.take(given[0])
    left = node.active == 1
    constant, layout = path.weight(node, 0 if left else 1), path.layout
    if not layout.ndim or not constant.ndim:
        raise node.refused(
            f"shapes {list(layout.shape)} and {list(constant.shape)}; a matrix or a vector each are accepted"
        )
    moving = layout if layout.ndim > 1 else layout[:, None] if left else layout[None]
    matrix = constant if constant.ndim > 1 else constant[None] if left else constant[:, None]
    moving, matrix = (moving, matrix) if left else (moving.swapaxes(-1, -2), matrix.swapaxes(-1, -2))
    if matrix.shape[-1] != moving.shape[-2]:
        raise _unfit(node, layout.shape, matrix.shape[-1])
    rank = max(moving.ndim, matrix.ndim)
    moving, matrix = (part.reshape(*(1,) * (rank - part.ndim), *part.shape) for part in (moving, matrix))
    lead, m = moving.shape[:-2], matrix.shape[-2]
    if math.prod(matrix.shape[:-2]) == 1:
        columns = np.moveaxis(moving, -2, 0).reshape(1, moving.shape[-2], -1)
        _contracted(path, columns, matrix.reshape(1, m, -1))
        out = np.moveaxis(path.layout.reshape(m, *lead, -1), 0, -2)
    elif matrix.shape[:-2] == lead:
        _contracted(path, moving.reshape(-1, *moving.shape[-2:]), matrix.reshape(-1, m, matrix.shape[-1]))
        out = path.layout.reshape(*lead, m, -1)
    else:
        raise node.refused(
            f"{list(matrix.shape[:-2])} matrices for an activation of shape {list(layout.shape)}; one, or as many are accepted"
        )
    out = out if left else out.swapaxes(-1, -2)
    if layout.ndim == 1:
        out = out[..., 0] if left else out[..., 0, :]
    if constant.ndim == 1:
        out = out[..., 0, :] if left and layout.ndim > 1 else out[..., 0]
    path.layout = out


def _einsum(path: Path, node: Node, given: Sequence[Place]) -> None:
    """A sum of products of the activation and a constant over indices that both have, or the activation alone."""
    if len(given) > 1 or len(node.constants) != 2:
        raise node.refused(f"{len(given)} computed of {len(node.constants)} tensors; one of two is accepted")
    path.take(given[0])
    at, equation = node.active or 0, node.text("equation", "", (str(node.attributes.get("equation", "")),))
    terms, arrow, result = equation.replace(" ", "").partition("->")
    words = terms.split(",")
    constant, layout = path.weight(node, 1 - at), path.layout
    plain = arrow and len(words) == 2 and all(w.isascii() and (w.isalpha() or not w) for w in (*words, result))
    if not plain or any(len(set(w)) < len(w) for w in (*words, result)):
        raise node.refused(
            f"equation {quoted(equation)}; two terms and a result of different letters each are accepted"
        )
    mine, other = words[at], words[1 - at]
    fits = len(mine) == layout.ndim and len(other) == constant.ndim
    if not fits or set(result) - set(mine + other) or (set(mine) ^ set(other)) - set(result):
        raise _unequal(node, equation, layout.shape, constant.shape)
    sizes = dict(zip(mine, layout.shape, strict=True))
    if any(sizes.setdefault(letter, size) != size for letter, size in zip(other, constant.shape, strict=True)):
        raise _unequal(node, equation, layout.shape, constant.shape)
    groups = [w for w in result if w in mine and w in other]
    summed = [w for w in mine if w in other and w not in result]
    rows, columns = [w for w in other if w not in mine], [w for w in mine if w not in other]
    moved = layout.transpose([mine.index(w) for w in (*groups, *summed, *columns)])
    weight = constant.transpose([other.index(w) for w in (*groups, *rows, *summed)])
    b, m, k, r = (math.prod(sizes[w] for w in some) for some in (groups, rows, summed, columns))
    _contracted(path, moved.reshape(b, k, r), weight.reshape(b, m, k))
    order = [*groups, *rows, *columns]
    path.layout = path.layout.reshape([sizes[w] for w in order]).transpose([order.index(w) for w in result])


def _unequal(node: Node, equation: str, *shapes: tuple[int, ...]) -> NetworkError:
    return node.refused(
        f"equation {quoted(equation)} for shapes {[list(shape) for shape in shapes]}; sizes that agree, and indices of the result or "
        "of both terms, are accepted"
    )


def _unfit(node: Node, shape: tuple[int, ...], k: int) -> NetworkError:
    return node.refused(
        f"it multiplies {k} numbers where the activation has shape {list(shape)}; rows of as many are accepted"
    )


_GEMM = {"alpha": EVERY, "beta": EVERY, "transA": EVERY, "transB": EVERY}
PRODUCTS: dict[str, Operator[Read]] = {
    "Einsum": Operator(_einsum, 2, 2, {"equation": EVERY}),
    "com.microsoft.FusedGemm": Operator(_fused_gemm, 2, 3, {**_GEMM, "activation": EVERY, "activation_alpha": EVERY}),
    "Gemm": Operator(_gemm, 2, 3, {**_GEMM, "broadcast": before(7)}),
    "MatMul": Operator(_matmul, 2, 2),
}
