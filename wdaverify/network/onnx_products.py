"""Gemm and MatMul by a constant: exact matrices on the whole feature vector."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_path import Path
from wdaverify.network.onnx_tensors import Tensor


def gemm(path: Path, node: Node) -> None:
    """``alpha A' B' + beta C`` with one of A', B' the activation, as one row (A') or one column (B')."""
    if node.active == 2:
        raise node.refused("the activation is its input C; accepted are inputs A and B")
    left = node.active == 1
    moving, constant = path.layout, path.weight(node, 0 if left else 1)
    if moving.ndim != 2 or constant.ndim != 2:
        raise node.refused(f"shapes {list(moving.shape)} and {list(constant.shape)}; two axes each are accepted")
    if node.flag("transB" if left else "transA"):
        moving = moving.T
    matrix = constant.T if node.flag("transA" if left else "transB") else constant
    matrix = matrix if left else matrix.T
    m, k = matrix.shape
    if moving.shape != ((k, 1) if left else (1, k)):
        raise _not_whole(node, path, k)
    shape = (m, 1) if left else (1, m)
    bias = None
    if node.operand(2) is not None:
        c = path.weight(node, 2)
        if len(c.shape) > 2 or any(
            have not in (1, want) for have, want in zip(c.shape[::-1], shape[::-1], strict=False)
        ):
            raise node.refused(f"C of shape {list(c.shape)} does not broadcast to {list(shape)}")
        bias = np.broadcast_to(c, shape).reshape(-1)
    places = moving.reshape(-1)
    _scaled_gemm(path, matrix, places, bias, shape, node.number("alpha", 1.0), node.number("beta", 1.0))


def _scaled_gemm(
    path: Path,
    matrix: Tensor,
    places: NDArray[np.int64],
    bias: Tensor | None,
    shape: tuple[int, ...],
    alpha: float,
    beta: float,
) -> None:
    """``alpha M h + beta c``, nothing rounded: two float32 multiply exactly in double, else scales stay diagonal."""
    if beta == 0.0:
        bias = None
    exact = path.dtype == np.float32
    if exact or alpha == 1.0:
        matrix, alpha = matrix.astype(np.float64) * alpha, 1.0
    if bias is not None and (exact or beta == 1.0):
        bias, beta = bias.astype(np.float64) * beta, 1.0
    m = matrix.shape[0]
    if alpha == 1.0 and (bias is None or beta == 1.0):
        path.matrix(matrix, places, bias, shape)
        return
    path.matrix(matrix, places, None, shape)
    if bias is None:
        path.diagonal(factor=np.full(m, alpha))
        return
    path.diagonal(factor=np.full(m, alpha), divisor=np.full(m, beta), shift=bias)
    path.diagonal(factor=np.full(m, beta))


def matmul(path: Path, node: Node) -> None:
    """``W @ h`` or ``h @ W`` by numpy's rules, where h is one row or one column that holds every feature."""
    left = node.active == 1
    constant = path.weight(node, 0 if left else 1)
    shape = path.layout.shape
    if not shape or not constant.shape or math.prod(constant.shape[:-2]) != 1:
        raise node.refused(f"shapes {list(shape)} and {list(constant.shape)}; one matrix and one vector are accepted")
    k = constant.shape[-1 if left or constant.ndim == 1 else -2]
    matrix = constant.reshape(-1, k) if left else constant.reshape(k, -1).T
    m = matrix.shape[0]
    column = left and len(shape) > 1
    if path.layout.size != k or shape[-2 if column else -1] != k:
        raise _not_whole(node, path, k)
    lead = (1,) * max(len(shape) - 2, constant.ndim - 2, 0)
    own, other = (m,) * (constant.ndim > 1), (1,) * (len(shape) > 1)
    path.matrix(matrix, path.order, None, lead + (own + other if left else other + own))


def _not_whole(node: Node, path: Path, k: int) -> NetworkError:
    return node.refused(
        f"it multiplies {k} numbers where the activation has shape {list(path.layout.shape)}; "
        "a product over the whole feature vector is accepted (flatten the activation first)"
    )
