"""Inputs as small images: PNG data URIs, one pixel a feature."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdaverify.errors import DocumentError
from wdaverify.network.model import Array
from wdaverify.report.page.document import number
from wdaverify.report.page.words import Json

Shape = tuple[int, ...]
_NO_METADATA: Any = {"Software": None}


@dataclass(frozen=True)
class Scale:
    """The values drawn black and white, and the largest difference."""

    low: float
    high: float
    difference: float


def check_shape(shape: Shape, inputs: int) -> None:
    """Refuse a shape that is no image of so many features.

    Raises:
        DocumentError: it has other than H W, H W 1 or H W 3 entries, or another product.
    """
    text = " ".join(str(size) for size in shape)
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DocumentError(f"--image-shape {text}: H W, H W 1 or H W 3 are accepted")
    if math.prod(shape) != inputs:
        raise DocumentError(
            f"--image-shape {text} has {math.prod(shape)} values, and the network takes {inputs}: give the shape of its input"
        )


def own_shape(input_shape: Sequence[int], inputs: int) -> Shape | None:
    """The image shape H W C of a network whose own input is ``[C, H, W]`` with one or three channels, as ONNX has it; None of others."""
    sizes = [int(size) for size in input_shape]
    if len(sizes) != 3 or math.prod(sizes) != inputs or sizes[0] not in (1, 3) or min(sizes[1:]) < 2:
        return None
    return sizes[1], sizes[2], sizes[0]


def scale(data: Json, pairs: Sequence[tuple[Json, Json]]) -> Scale:
    """The box of the support where it has one pair of finite sides, else the range of what is shown."""
    support = data["support"]
    sides = [support["lower"], support["upper"]]
    points = [np.array(entry["point"], dtype=np.float64) for pair in pairs for entry in pair]
    before, after = points[0::2], points[1::2]
    difference = max((float(np.abs(b - a).max()) for a, b in zip(before, after, strict=True)), default=0.0)
    if not any(isinstance(side, list) or not math.isfinite(number(side)) for side in sides):
        return Scale(number(sides[0]), number(sides[1]), difference)
    low = min((float(point.min()) for point in points), default=0.0)
    return Scale(low, max((float(point.max()) for point in points), default=1.0), difference)


def triptych(
    before: Sequence[float], after: Sequence[float], shape: Shape, scale: Scale, input_shape: Sequence[int]
) -> tuple[str, str, str]:
    """The original, the worst case and their difference (blue down, red up; of colours the mean) as data URIs."""
    first, second = (_image(point, shape, input_shape) for point in (before, after))
    change = second - first
    if change.ndim == 3:
        change = change.mean(axis=2)
    return _grey(first, scale), _grey(second, scale), _signed(change, scale.difference)


def single(point: Sequence[float], shape: Shape, input_shape: Sequence[int]) -> str:
    """A point by itself as a data URI, black the least and white the greatest of its values."""
    return _grey(_image(point, shape, input_shape), Scale(min(point), max(point), 0.0))


def _image(point: Sequence[float], shape: Shape, input_shape: Sequence[int]) -> Array:
    """``[H, W]`` or ``[H, W, 3]``; where the network's own shape is ``[..., C, H, W]``, the colours come first."""
    values = np.array(point, dtype=np.float64)
    if len(shape) == 2 or shape[2] == 1:
        return values.reshape(shape[:2])
    height, width, colours = shape
    if list(input_shape)[-3:] == [colours, height, width]:
        return np.moveaxis(values.reshape(colours, height, width), 0, -1)
    return values.reshape(shape)


def _grey(image: Array, scale: Scale) -> str:
    span = scale.high - scale.low
    level = np.clip((image - scale.low) / (span if span > 0 else 1.0), 0.0, 1.0)
    return _png(level if level.ndim == 3 else np.repeat(level[:, :, None], 3, axis=2))


def _signed(change: Array, largest: float) -> str:
    """White where nothing changed, towards red where a value rose and towards blue where it fell."""
    share = np.clip(change / (largest if largest > 0 else 1.0), -1.0, 1.0)[:, :, None]
    red, blue = np.array([0.70, 0.09, 0.17]), np.array([0.13, 0.40, 0.67])
    return _png(1.0 + np.maximum(share, 0) * (red - 1.0) + np.maximum(-share, 0) * (blue - 1.0))


def _png(levels: Array) -> str:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, np.rint(255 * levels).astype(np.uint8), format="png", metadata=_NO_METADATA)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
