"""Convolutions and pooling over windows of an image, ``[1, C, L]`` or ``[1, C, H, W]``.

A pool is a selection of the entries of each window, and their sum over the number of them or the largest (``onnx_reductions``). A
transposed convolution is one with the kernel turned, of the image with zeros between its entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from wdaverify.graph.convolution import Convolution
from wdaverify.network.onnx_nodes import EVERY, Attributes, Node, Operator, since
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Groups, Read, greatest, mean
from wdaverify.network.onnx_tensors import Tensor

_AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class _Windows:
    """Where windows stand, axis by axis of height and width (height 1 where the image is a line)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]
    image: tuple[int, int]

    @property
    def span(self) -> tuple[int, int]:
        """How far a window reaches."""
        high, wide = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        return high, wide

    @property
    def whole(self) -> tuple[int, int]:
        """The size of the image with its border."""
        high, wide = (a + n + b for a, n, b in zip(self.begin, self.image, self.end, strict=True))
        return high, wide

    @property
    def out(self) -> tuple[int, int]:
        """How many windows there are."""
        high, wide = ((n - r) // s + 1 for n, r, s in zip(self.whole, self.span, self.stride, strict=True))
        return high, wide

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right."""
        return (*self.begin, *self.end)

    def of(self, image: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entries ``[kh kw, C, H', W']`` of all windows of ``[C, H, W]``, -1 on the border."""
        border = ((0, 0), *zip(self.begin, self.end, strict=True))
        views = sliding_window_view(np.pad(image, border, constant_values=-1), self.span, axis=(1, 2))
        (s_h, s_w), (d_h, d_w) = self.stride, self.dilation
        views = views[:, ::s_h, ::s_w, ::d_h, ::d_w]
        return np.moveaxis(views, (3, 4), (0, 1)).reshape(-1, *views.shape[:3])


def _image(path: Path, node: Node) -> tuple[int, tuple[int, ...], NDArray[np.int64]]:
    """Channels, the sizes of the image, and its layout ``[C, H, W]``."""
    shape = path.layout.shape
    if len(shape) not in (3, 4) or shape[0] != 1:
        raise node.refused(f"an activation of shape {list(shape)}; one sample [1, C, L] or [1, C, H, W] is accepted")
    sizes = shape[2:]
    return shape[1], sizes, path.layout.reshape(shape[1], *(1,) * (2 - len(sizes)), *sizes)


def _two(values: Sequence[int], one: int) -> tuple[int, int]:
    """Values for height and width."""
    return (values[0], values[1]) if len(values) == 2 else (one, values[0])


def _sizes(node: Node, name: str, rank: int, default: int, least: int, count: int = 1) -> tuple[int, ...]:
    """An attribute of one number, or ``count``, an axis."""
    given = node.integers(name)
    found = (default,) * (rank * count) if given is None else given
    if len(found) != rank * count or any(not least <= v <= 2**24 for v in found):
        raise node.refused(
            f"{name} {list(found)} of an image of {rank} axes; {rank * count} numbers from {least} on are accepted"
        )
    return found


def _windows(path: Path, node: Node, sizes: tuple[int, ...], kernel: Sequence[int]) -> _Windows:
    """Where the windows stand by kernel_shape, strides, dilations, pads or auto_pad, and ceil_mode."""
    rank = len(sizes)
    if len(kernel) != rank or any(not 1 <= k <= 2**24 for k in kernel):
        raise node.refused(f"a window of {list(kernel)} for an image of {list(sizes)}; sizes from 1 on are accepted")
    auto = node.text("auto_pad", "NOTSET", _AUTO)
    stride, dilation = _sizes(node, "strides", rank, 1, 1), _sizes(node, "dilations", rank, 1, 1)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if auto.startswith("SAME") and max(dilation) > 1:
        raise node.refused(f"auto_pad {auto} with dilations {list(dilation)}; pads with them are accepted")
    if auto.startswith("SAME"):
        short = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(sizes, stride, span, strict=True)]
        less, more = [p // 2 for p in short], [-(-p // 2) for p in short]
        begin, end = (less, more) if auto == "SAME_UPPER" else (more, less)
    else:
        pads = _sizes(node, "pads", rank, 0, 0, 2) if auto == "NOTSET" else (0,) * (2 * rank)
        begin, end = list(pads[:rank]), list(pads[rank:])
    if node.flag("ceil_mode") and not auto.startswith("SAME"):
        for k, (n, s, r) in enumerate(zip(sizes, stride, span, strict=True)):
            last = -(-(begin[k] + n + end[k] - r) // s) * s
            last -= s * (last >= begin[k] + n)  # a window begins on the image, or on the border in front of it
            end[k] = max(0, last + r - n - begin[k])
    made = _Windows(_two(kernel, 1), _two(stride, 1), _two(dilation, 1), _two(begin, 0), _two(end, 0), _two(sizes, 1))
    if min(made.out) < 1 or min(made.begin + made.end) < 0:
        raise node.refused(f"a window that reaches over {span} does not fit an image of {list(sizes)} with its border")
    path.allowance.take(path.layout.shape[1] * math.prod(made.whole))
    return made


def _convolution(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``y[o] = sum over channels c and places k of W[o, c, k] x[c, . + k] + b[o]``, in groups of channels."""
    path.only(node, given)
    channels, sizes, _ = _image(path, node)
    weight, groups = path.weight(node, 1), node.integer("group", 1)
    if weight.ndim != 2 + len(sizes) or groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != channels:
        raise node.refused(
            f"a kernel of shape {list(weight.shape)} in {groups} groups for {channels} channels of {list(sizes)}"
        )
    shape = node.integers("kernel_shape")
    if shape is not None and shape != weight.shape[2:]:
        raise node.refused(
            f"kernel_shape {list(shape)} for a kernel of shape {list(weight.shape)}; its own is accepted"
        )
    windows = _windows(path, node, sizes, weight.shape[2:])
    _convolved(path, node, weight, windows, groups)
    path.layout = path.layout.reshape(1, -1, *windows.out[2 - len(sizes) :])


def _convolved(path: Path, node: Node, weight: Tensor, windows: _Windows, groups: int) -> None:
    """Append the convolution of the tensor at hand, with the node's bias."""
    outs = len(weight)
    kernel = weight.reshape(outs, weight.shape[1], *windows.kernel)
    path.ordered()
    path.allowance.take(weight.size + outs * math.prod(windows.out))
    bias = None
    if node.operand(2) is not None:
        b = path.weight(node, 2)
        if b.shape != (outs,):
            raise node.refused(f"a bias of shape {list(b.shape)}; [{outs}] is accepted")
        bias = np.repeat(b.astype(np.float64), math.prod(windows.out))
    height, width = windows.image
    map_ = Convolution(kernel, height, width, windows.stride, windows.pads, windows.dilation, groups)
    path.affine(map_, bias)
    path.layout = np.arange(path.width)


def _transposed(path: Path, node: Node, given: Sequence[Place]) -> None:
    """The transpose of a convolution ``[C, O / groups, k]``: entries ``s`` apart, and the kernel turned around."""
    path.only(node, given)
    channels, sizes, image = _image(path, node)
    rank, weight, groups = len(sizes), path.weight(node, 1), node.integer("group", 1)
    if weight.ndim != 2 + rank or groups < 1 or weight.shape[0] != channels or channels % groups:
        raise node.refused(
            f"a kernel of shape {list(weight.shape)} in {groups} groups for {channels} channels of {list(sizes)}"
        )
    if node.integers("kernel_shape") not in (None, weight.shape[2:]) or node.integers("output_shape") is not None:
        raise node.refused(
            "a kernel_shape that is not the kernel's, or an output_shape; pads and output_padding are accepted"
        )
    if node.text("auto_pad", "NOTSET", ("NOTSET", "VALID")) == "VALID" and node.integers("pads") is not None:
        raise node.refused("auto_pad VALID with pads; one of them is accepted")
    stride, dilation = _sizes(node, "strides", rank, 1, 1), _sizes(node, "dilations", rank, 1, 1)
    pads, more = _sizes(node, "pads", rank, 0, 0, 2), _sizes(node, "output_padding", rank, 0, 0)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    begin = [r - 1 - p for r, p in zip(span, pads[:rank], strict=True)]
    end = [r - 1 - p + e for r, p, e in zip(span, pads[rank:], more, strict=True)]
    wide = [s * (n - 1) + 1 for s, n in zip(stride, sizes, strict=True)]
    if min(begin + end) < 0 or any(a + n + b < r for a, n, b, r in zip(begin, wide, end, span, strict=True)):
        raise node.refused(f"pads {list(pads)} that cut more than the window {span} reaches; smaller ones are accepted")
    windows = _Windows(
        _two(weight.shape[2:], 1), (1, 1), _two(dilation, 1), _two(begin, 0), _two(end, 0), _two(wide, 1)
    )
    path.allowance.take(channels * math.prod(windows.whole))
    (s_h, s_w), (high, wider) = _two(stride, 1), windows.image
    spread = np.full((channels, high, wider), -1)
    spread[:, ::s_h, ::s_w] = image
    path.layout = spread
    turned = weight.reshape(groups, channels // groups, -1, *windows.kernel)[..., ::-1, ::-1].swapaxes(1, 2)
    _convolved(path, node, turned.reshape(-1, channels // groups, *windows.kernel), windows, groups)
    path.layout = path.layout.reshape(1, -1, *windows.out[2 - rank :])


def _pool(path: Path, node: Node, given: Sequence[Place]) -> None:
    """The mean or the largest of each window, channel by channel; of the border nothing is ever the largest."""
    path.only(node, given)
    channels, sizes, image = _image(path, node)
    kernel = node.integers("kernel_shape")
    if kernel is None:
        raise node.refused("kernel_shape is left out; one is accepted")
    windows = _windows(path, node, sizes, kernel)
    path.allowance.take(channels * math.prod(windows.kernel) * math.prod(windows.out))
    groups = windows.of(image).reshape(math.prod(windows.kernel), -1)
    if not (groups >= 0).any(axis=0).all():
        raise node.refused("a window that holds nothing but the border; smaller pads are accepted")
    if node.op == "MaxPool":
        greatest(path, groups)
    else:
        mean(path, groups, _counts(node, windows, groups))
    path.layout = path.layout.reshape(1, channels, *windows.out[2 - len(sizes) :])


def _counts(node: Node, windows: _Windows, groups: Groups) -> NDArray[np.int64]:
    """How many numbers each mean is of: those on the image, or on the border that ``pads`` makes as well."""
    if not node.flag("count_include_pad"):
        return np.asarray((groups >= 0).sum(axis=0))
    auto = node.text("auto_pad", "NOTSET", _AUTO)
    pads = (node.integers("pads") if auto == "NOTSET" else None) or (0, 0, 0, 0)
    ends = windows.end if auto.startswith("SAME") else _two(pads[len(pads) // 2 :], 0)
    if any(end > own for end, own in zip(windows.end, ends, strict=True)):
        raise node.refused(
            "count_include_pad with windows that ceil_mode lets reach over the border; one of the two is accepted"
        )
    return np.full(groups.shape[1], len(groups))


_WINDOW: Attributes = {"auto_pad": EVERY, "kernel_shape": EVERY, "pads": EVERY, "strides": EVERY}
_CONVOLUTION: Attributes = {**_WINDOW, "dilations": EVERY, "group": EVERY}
WINDOWS: dict[str, Operator[Read]] = {
    "AveragePool": Operator(
        _pool, 1, 1, {**_WINDOW, "ceil_mode": since(10), "count_include_pad": since(7), "dilations": since(19)}
    ),
    "Conv": Operator(_convolution, 2, 3, _CONVOLUTION),
    "ConvTranspose": Operator(_transposed, 2, 3, {**_CONVOLUTION, "output_padding": EVERY, "output_shape": EVERY}),
    "MaxPool": Operator(
        _pool, 1, 1, {**_WINDOW, "ceil_mode": since(10), "dilations": since(10), "storage_order": since(8)}
    ),
}
