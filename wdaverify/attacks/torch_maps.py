"""Linear maps as float64 tensors on a device, for the attacks: they prove nothing, so that any algorithm will do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.maps import Array, Dense, Diagonal, LinearMap, Same, Select


def tensor(array: Array, device: torch.device) -> Tensor:
    """A copy of numbers on a device."""
    return torch.tensor(array, dtype=torch.float64, device=device)


class TorchMap(ABC):
    """``W: R^n -> R^m`` on batches."""

    def __init__(self, map_: LinearMap) -> None:
        self.outputs = map_.outputs

    @abstractmethod
    def apply(self, h: Tensor, added: Tensor) -> Tensor:
        """``W h + added`` of ``h [B, n]``, added ``[m]`` or ``[B, m]``, in memory of its own."""

    @abstractmethod
    def back(self, g: Tensor) -> Tensor:
        """``g W`` of ``g [B, m]``, ``[B, n]``, in memory of its own."""

    def rows(self, index: Tensor) -> Tensor:
        """The rows ``[B, n]`` of W at ``index [B]``."""
        unit = torch.zeros((index.shape[0], self.outputs), dtype=torch.float64, device=index.device)
        return self.back(unit.scatter_(1, index.unsqueeze(1), 1.0))


class _Dense(TorchMap):
    """A matrix, kept in both orientations."""

    def __init__(self, map_: Dense, device: torch.device) -> None:
        super().__init__(map_)
        self._weight = tensor(map_.weight, device)
        self._transposed = self._weight.t().contiguous()

    def apply(self, h: Tensor, added: Tensor) -> Tensor:
        return torch.addmm(added, h, self._transposed)

    def back(self, g: Tensor) -> Tensor:
        return g @ self._weight

    def rows(self, index: Tensor) -> Tensor:
        return self._weight.index_select(0, index)


class _Diagonal(TorchMap):
    """Factors, of 1 where the map is the identity."""

    def __init__(self, map_: Diagonal | Same, device: torch.device) -> None:
        super().__init__(map_)
        one = torch.ones(map_.inputs, dtype=torch.float64, device=device)
        self._scale = one if isinstance(map_, Same) else tensor(map_.factor / map_.divisor, device)

    def apply(self, h: Tensor, added: Tensor) -> Tensor:
        return torch.addcmul(added, h, self._scale)

    def back(self, g: Tensor) -> Tensor:
        return g * self._scale


class _Select(TorchMap):
    """Sums have one order on every device: no entry is added to twice at a time."""

    def __init__(self, map_: Select, device: torch.device) -> None:
        super().__init__(map_)
        self._inputs = map_.inputs
        self._layers = [(torch.tensor(at, device=device), torch.tensor(of, device=device)) for at, of in map_.layers]

    def apply(self, h: Tensor, added: Tensor) -> Tensor:
        out = added.expand(h.shape[0], self.outputs).clone()
        for position, chosen in self._layers:
            out.index_add_(1, position, h.index_select(1, chosen))
        return out

    def back(self, g: Tensor) -> Tensor:
        out = g.new_zeros((g.shape[0], self._inputs))
        for position, chosen in self._layers:
            out.index_add_(1, chosen, g.index_select(1, position))
        return out


class _Convolution(TorchMap):
    """Of images that are padded and cropped here, since pads may differ from side to side."""

    def __init__(self, map_: Convolution, device: torch.device) -> None:
        super().__init__(map_)
        self._map, self._kernel = map_, tensor(map_.kernel, device)
        top, left, bottom, right = map_.pads
        self._pads = (left, right, top, bottom)

    def apply(self, h: Tensor, added: Tensor) -> Tensor:
        m = self._map
        padded = functional.pad(h.reshape(-1, m.channels, m.height, m.width), self._pads)
        out = functional.conv2d(padded, self._kernel, stride=m.stride, dilation=m.dilation, groups=m.groups)
        return out.reshape(-1, self.outputs).add_(added)

    def back(self, g: Tensor) -> Tensor:
        m, (left, right, top, bottom) = self._map, self._pads
        images = g.reshape(-1, self._kernel.shape[0], *m.out)
        read = functional.conv_transpose2d(images, self._kernel, stride=m.stride, dilation=m.dilation, groups=m.groups)
        rest = (m.width + right + left - read.shape[3], m.height + top + bottom - read.shape[2])
        out = functional.pad(read, (-left, rest[0] - right, -top, rest[1] - bottom))
        return out.reshape(-1, m.inputs)


def on_device(map_: LinearMap, device: torch.device) -> TorchMap:
    """The map on a device.

    Raises:
        TypeError: there is no such map in torch.
    """
    match map_:
        case Dense():
            return _Dense(map_, device)
        case Diagonal() | Same():
            return _Diagonal(map_, device)
        case Select():
            return _Select(map_, device)
        case Convolution():
            return _Convolution(map_, device)
    raise TypeError(
        f"a map {type(map_).__name__}: Dense, Diagonal, Same, Select and Convolution are accepted; add it here"
    )
