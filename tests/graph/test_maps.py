"""Linear maps against torch and against the matrix that they stand for; the lengths of their sums by counting products."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from wdaverify.errors import NetworkError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select, rows, rows_error
from wdaverify.graph.nodes import INPUT, Affine, Graph


def matrix(map_: LinearMap) -> np.ndarray:
    """The matrix ``[m, n]``, column by column."""
    return map_.apply(np.eye(map_.inputs)).T


def convolutions(seed: int) -> Convolution:
    """A random one: strides, pads, dilations and groups of every kind."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    kernel = rng.normal(size=(groups * rng.integers(1, 3), rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 4)))
    stride, dilation = (tuple(int(v) for v in rng.integers(1, 3, size=2)) for _ in range(2))
    pads = tuple(int(v) for v in rng.integers(0, 3, size=4))
    return Convolution(kernel, 5, 6, stride, pads, dilation, groups)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
def test_a_convolution_is_torchs(seed: int) -> None:
    conv = convolutions(seed)
    x = np.random.default_rng(seed).normal(size=(3, conv.inputs))
    images = torch.from_numpy(x.reshape(3, conv.channels, conv.height, conv.width))
    top, left, bottom, right = conv.pads
    padded = torch.nn.functional.pad(images, (left, right, top, bottom))
    want = torch.nn.functional.conv2d(
        padded, torch.from_numpy(conv.kernel), stride=conv.stride, dilation=conv.dilation, groups=conv.groups
    )
    assert tuple(want.shape[2:]) == conv.out
    np.testing.assert_allclose(conv.apply(x), want.numpy().reshape(3, -1), rtol=0, atol=1e-12)


def maps() -> list[LinearMap]:
    rng = np.random.default_rng(5)
    repeated = Select(np.array([2, 0, 2, -1, 2, 1, 0]), 4)
    plain = [Dense(rng.normal(size=(3, 5))), Diagonal(rng.normal(size=4), rng.uniform(1, 3, size=4)), Same(3)]
    return [*plain, repeated, Select(np.array([3, 1, -1]), 4), *(convolutions(seed) for seed in range(12))]


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_back_is_the_transpose_and_size_the_absolute_values(map_: LinearMap) -> None:
    w = matrix(map_)
    assert w.shape == (map_.outputs, map_.inputs)
    c = np.random.default_rng(1).normal(size=(2, 3, map_.outputs))
    np.testing.assert_allclose(map_.back(c), c @ w, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(matrix(map_.size()), np.abs(w))
    np.testing.assert_allclose(map_.size().back(np.abs(c)), np.abs(c) @ np.abs(w), rtol=0, atol=1e-12)


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_sums_are_as_long_as_is_said(map_: LinearMap) -> None:
    """Products other than by an entry that is 0 whatever the weights are; a single term rounds nothing in a selection."""
    there = np.abs(matrix(map_)) > 0
    rows, columns = int(there.sum(axis=1).max()), int(there.sum(axis=0).max())
    assert map_.terms_out >= (rows if not isinstance(map_, Select | Same) else 0)
    assert map_.terms_in >= (columns if not isinstance(map_, Select | Same) or columns > 1 else 0)
    assert isinstance(map_, Select | Same) == (map_.terms_out == 0)


def test_a_convolution_has_sums_of_its_windows_alone() -> None:
    conv = Convolution(np.ones((16, 3, 3, 3)), 32, 32, (1, 1), (1, 1, 1, 1))
    assert (conv.inputs, conv.outputs) == (3072, 16 * 1024)
    assert (conv.terms_out, conv.terms_in) == (27, 144)


@pytest.mark.parametrize(("kernel", "groups"), [((3, 2, 2, 2), 2), ((2, 1, 9, 1), 1), ((2, 1, 1), 1)])
def test_windows_that_do_not_fit_are_refused(kernel: tuple[int, ...], groups: int) -> None:
    with pytest.raises(NetworkError, match=r"accepted|does not fit"):
        Convolution(np.ones(kernel), 4, 4, groups=groups)


def test_underflow_of_a_division_is_counted() -> None:
    """A product that vanishes, divided by a small number, would have been a large one."""
    tiny = Diagonal(np.array([2.0**-600]), np.array([2.0**-900]))
    lost = abs(float(tiny.apply(np.array([2.0**-500]))[0]) - 2.0**-200)
    assert lost == 2.0**-200
    assert lost <= float(tiny.lost_out[0]) * 2.0**26  # 2^-1074 / 2^-900, as the product was below 2^-1074


def test_selected_twice_is_added_up() -> None:
    select = Select(np.array([0, 0, 1]), 2)
    assert select.back(np.array([1.0, 2.0, 4.0])).tolist() == [3.0, 4.0]
    assert (select.terms_in, Select(np.array([1, 0]), 2).terms_in) == (2, 0)
    assert all(
        a.tolist() == b for a, b in zip(itertools.chain(*select.layers), ([0, 2], [0, 1], [1], [0]), strict=True)
    )


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_rows_are_those_of_the_matrix(map_: LinearMap) -> None:
    some, want = np.array([map_.outputs - 1, 0]), matrix(map_)
    off = rows_error(map_)
    for got, at in ((rows(map_), slice(None)), (rows(map_, some), some)):
        assert (np.abs(got - want[at]) <= (0.0 if off is None else off[at])).all()
    if isinstance(map_, Diagonal):
        exact = [Fraction(f) / Fraction(d) for f, d in zip(map_.factor.tolist(), map_.divisor.tolist(), strict=True)]
        assert off is not None
        for k, entry in enumerate(exact):
            assert abs(Fraction(float(rows(map_)[k, k])) - entry) <= Fraction(float(off[k, k]))
    else:
        assert off is None


@pytest.mark.parametrize("size", [pytest.param(10**400, id="long"), 2**31 + 1, 0, -1])
def test_sizes_beyond_any_memory_are_refused(size: int) -> None:
    """A size that no double holds ended in an OverflowError."""
    kernel = np.ones((1, 1, 1, 1))
    makers = [
        lambda: Same(size),
        lambda: Select(np.zeros(1), size),
        lambda: Convolution(kernel, size, 4),
        lambda: Convolution(kernel, 4, 4, (size, 1)),
        lambda: Convolution(kernel, 4, 4, groups=size),
        lambda: Graph((Affine((INPUT,), (Same(2),), np.zeros(2)),), size),
    ]
    for make in makers:
        with pytest.raises(NetworkError, match="2\\^31"):
            make()
