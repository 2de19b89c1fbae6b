"""Convolutions as matrix products of windows: one has k^2 C products and not the width of a layer.

Computed by no other algorithm than that, whose sums have ``terms_out`` products (``graph.maps``). A one-dimensional convolution has
height 1; average pooling is one of ones in groups of one channel, followed by a division (``graph.maps.Diagonal``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.given import array, listed, settle, whole
from wdaverify.graph.maps import Dense, Ints, unchecked
from wdaverify.rounding import underflow

Array = NDArray[np.float64]
_NUMBERS = 2**16
"""Entries of windows that are laid out at a time, if one image has not more: what a processor's cache holds."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """``[C, H, W] -> [O, H', W']``, flattened, by a kernel ``[O, C / groups, kh, kw]``.

    ``y[o, i, j] = sum over c, a, b of kernel[o, c, a, b] x[c, i s_h + a d_h - top, j s_w + b d_w - left]``, entries outside being 0;
    stride ``(s_h, s_w)``, dilation ``(d_h, d_w)``, pads ``(top, left, bottom, right)``.
    """

    kernel: Array
    height: int
    width: int
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    exact: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        settle(self, kernel=array("kernel", self.kernel, NetworkError))
        for name, count, least in (("stride", 2, 1), ("pads", 4, 0), ("dilation", 2, 1)):
            settle(self, **{name: _sizes(name, getattr(self, name), count, least)})
        for name in ("height", "width", "groups"):
            settle(
                self,
                **{
                    name: whole(
                        name, getattr(self, name), "a size from 1 to 2^31", lambda n: 0 < n <= 2**31, NetworkError
                    )
                },
            )
        if self.kernel.ndim != 4 or self.kernel.shape[0] % self.groups or min(self.kernel.shape) < 1:
            raise NetworkError(
                f"a kernel of shape {list(self.kernel.shape)} in {self.groups} groups: [O, C / groups, kh, kw] is accepted"
            )
        if min(self.out) < 1:
            raise NetworkError(
                f"a window of {list(self.kernel.shape[2:])} does not fit an image of {self.height} x {self.width}"
            )

    @property
    def channels(self) -> int:
        """C."""
        return int(self.kernel.shape[1]) * self.groups

    @property
    def out(self) -> tuple[int, int]:
        """H' and W'."""
        sizes = (self.height + self.pads[0] + self.pads[2], self.width + self.pads[1] + self.pads[3])
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel.shape[2:], strict=True)]
        high, wide = ((size - span) // s + 1 for size, span, s in zip(sizes, spans, self.stride, strict=True))
        return int(high), int(wide)

    @property
    def inputs(self) -> int:
        """C H W."""
        return self.channels * self.height * self.width

    @property
    def outputs(self) -> int:
        """O H' W'."""
        return int(self.kernel.shape[0]) * math.prod(self.out)

    @property
    def terms_out(self) -> int:
        """A window's products."""
        return int(math.prod(self.kernel.shape[1:]))

    @property
    def terms_in(self) -> int:
        """The windows that read one entry, times the outputs of a group."""
        reads = [
            -(-(d * (k - 1) + 1) // s)
            for d, k, s in zip(self.dilation, self.kernel.shape[2:], self.stride, strict=True)
        ]
        reads = [min(r, int(k)) for r, k in zip(reads, self.kernel.shape[2:], strict=True)]
        return int(self.kernel.shape[0] // self.groups * math.prod(reads))

    @property
    def lost_out(self) -> float:
        """A window's products."""
        return underflow(self.terms_out)

    @property
    def lost_in(self) -> float:
        """The products of an entry."""
        return underflow(self.terms_in)

    @property
    def numbers(self) -> tuple[Array, ...]:
        """The kernel."""
        return (self.kernel,)

    def apply(self, h: Array) -> Array:
        """The convolution of images ``[..., C H W]``: a product of every window with the kernel's matrix."""
        lead, kind = h.shape[:-1], np.result_type(h, self.kernel)
        images = h.reshape(-1, self.channels, self.height, self.width)
        out = np.empty((len(images), self.kernel.shape[0], math.prod(self.out)), kind)
        for some in self._portions(len(images)):
            padded = np.zeros((len(images[some]), self.channels, *self._padded), kind)
            padded[:, :, self._inner[0], self._inner[1]] = images[some]
            for taken, given, matrix in self._groups():
                out[some, given] = matrix @ self._columns(padded[:, taken]).reshape(len(padded), matrix.shape[1], -1)
        return out.reshape(*lead, self.outputs)

    def back(self, c: Array) -> Array:
        """The transpose: ``c [..., O H' W']`` spread over the windows."""
        lead, kind = c.shape[:-1], np.result_type(c, self.kernel)
        images = c.reshape(-1, self.kernel.shape[0], math.prod(self.out))
        out = np.empty((len(images), self.channels, self.height, self.width), kind)
        for some in self._portions(len(images)):
            padded = np.zeros((len(images[some]), self.channels, *self._padded), kind)
            for taken, given, matrix in self._groups():
                spread = (matrix.T @ images[some, given]).reshape(len(padded), -1, *self.kernel.shape[2:], *self.out)
                for a, b, rows, columns in self._windows():
                    padded[:, taken, rows, columns] += spread[:, :, a, b]
            out[some] = padded[:, :, self._inner[0], self._inner[1]]
        return out.reshape(*lead, self.inputs)

    @property
    def _padded(self) -> tuple[int, int]:
        """The size of an image with its pads."""
        return self.height + self.pads[0] + self.pads[2], self.width + self.pads[1] + self.pads[3]

    @property
    def _inner(self) -> tuple[slice, slice]:
        """Where the image is in it."""
        top, left = self.pads[:2]
        return slice(top, top + self.height), slice(left, left + self.width)

    def _portions(self, count: int) -> Iterator[slice]:
        """So many images at a time that all their windows have a bounded number of entries."""
        step = max(1, _NUMBERS // (self.channels * math.prod(self.kernel.shape[2:]) * math.prod(self.out)))
        return (slice(first, first + step) for first in range(0, count, step))

    def _groups(self) -> Iterator[tuple[slice, slice, Array]]:
        """Per group the channels read and given, and its matrix ``[O / g, C / g kh kw]``."""
        given, taken = self.kernel.shape[0] // self.groups, self.kernel.shape[1]
        for g in range(self.groups):
            outs = slice(g * given, (g + 1) * given)
            yield slice(g * taken, (g + 1) * taken), outs, self.kernel[outs].reshape(given, -1)

    def _windows(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Per place in the window the rows and columns of padded images that it reads."""
        (s_h, s_w), (d_h, d_w), (high, wide) = self.stride, self.dilation, self.out
        for a in range(self.kernel.shape[2]):
            for b in range(self.kernel.shape[3]):
                rows = slice(a * d_h, a * d_h + s_h * (high - 1) + 1, s_h)
                yield a, b, rows, slice(b * d_w, b * d_w + s_w * (wide - 1) + 1, s_w)

    def _columns(self, padded: Array) -> Array:
        """The windows of padded images ``[L, c, ., .]``, ``[L, c, kh, kw, H', W']``."""
        out = np.empty((*padded.shape[:2], *self.kernel.shape[2:], *self.out), padded.dtype)
        for a, b, rows, columns in self._windows():
            out[:, :, a, b] = padded[:, :, rows, columns]
        return out

    def size(self) -> Convolution:
        """By the kernel of absolute values."""
        return self._size

    @cached_property
    def _size(self) -> Convolution:
        return self.like(np.abs)

    def like(self, change: Callable[[Any], Any]) -> Convolution:
        """By another kernel."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return unchecked(Convolution, **(kept | {"kernel": change(self.kernel)}))

    def reads(self, at: Ints) -> Ints:
        """The windows of the outputs."""
        group, down, across = self._placed(at)
        row, a, b = np.nonzero(self._inside(down, across))
        read = np.zeros((self.groups, self.height, self.width), np.bool_)
        read[group[row], down[row, a], across[row, b]] = True
        return np.flatnonzero(np.repeat(read, self.kernel.shape[1], axis=0))

    def part(self, at: Ints, columns: Ints) -> Dense:
        """Their matrix."""
        group, down, across = self._placed(at)
        inside, taken = self._inside(down, across), self.kernel.shape[1]
        weight = np.zeros((at.size, columns.size))
        row, a, b = np.nonzero(inside)
        first = (group[row] * taken * self.height + down[row, a]) * self.width + across[row, b]
        read = first[:, None] + np.arange(taken) * (self.height * self.width)
        of = at[row] // math.prod(self.out)
        weight[row[:, None], np.searchsorted(columns, read)] = self.kernel[of, :, a, b]
        return Dense(weight)

    def _placed(self, at: Ints) -> tuple[Ints, Ints, Ints]:
        """Of outputs their group ``[t]``, and the rows ``[t, kh]`` and columns ``[t, kw]`` of their windows, some of them outside."""
        of, i, j = np.unravel_index(at, (self.kernel.shape[0], *self.out))
        starts = (i * self.stride[0] - self.pads[0], j * self.stride[1] - self.pads[1])
        steps = [np.arange(size) * d for size, d in zip(self.kernel.shape[2:], self.dilation, strict=True)]
        rows, columns = (start[:, None] + step for start, step in zip(starts, steps, strict=True))
        return of // (self.kernel.shape[0] // self.groups), rows, columns

    def _inside(self, rows: Ints, columns: Ints) -> NDArray[np.bool_]:
        """Which places of the windows are in the image, ``[t, kh, kw]``."""
        down, across = (rows >= 0) & (rows < self.height), (columns >= 0) & (columns < self.width)
        return np.asarray(down[:, :, None] & across[:, None, :])


def _sizes(name: str, given: object, count: int, least: int) -> tuple[int, ...]:
    accepted = f"a tuple of {count} whole numbers from {least} to 2^31"
    out = listed(name, given, accepted, NetworkError)
    if len(out) != count:
        raise NetworkError(f"{name} of {len(out)} numbers: {accepted} is accepted")
    return tuple(
        whole(name, size, f"a number from {least} to 2^31", lambda n: least <= n <= 2**31, NetworkError) for size in out
    )
