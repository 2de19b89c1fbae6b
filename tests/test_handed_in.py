"""What the public names make of what they are given: the plain value that is meant, or a refusal in one line.

The network is the map (0, a . x + b) without a hidden layer, so that every value is known by hand: with the box far enough
away, the margin's is a . x_0 + b + radius ||a||_dual at every order, the distance to an error -(a . x_0 + b) / ||a||_dual.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wdaverify
from wdaverify import (
    Functionals,
    GroundCost,
    Journal,
    LinearRows,
    Loss,
    Norm,
    Samples,
    SlopeCertificate,
    Support,
    WdroProblem,
    load_network,
    load_samples,
    make_samples,
    read_certificate,
    read_lipschitz,
    read_state,
    recheck,
    recheck_lipschitz,
    verify,
    write_certificate,
    write_lipschitz,
)
from wdaverify.errors import WdaverifyError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import PiecewiseLinear, relu
from wdaverify.graph.maps import Dense, Diagonal, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, chain
from wdaverify.ladder.compare import Settings, compare
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.model import ReluNetwork
from wdaverify.question_files import load_functionals, load_support, load_weights
from wdaverify.wdro.attacking import attack
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances


def affine(weight: Any = ((0.0, 0.0), (1.0, 1.0)), bias: Any = (0.0, -0.5), **changes: Any) -> ReluNetwork:
    given = {
        "graph": changes.pop("graph") if "graph" in changes else chain([(weight, bias)], relu()),
        "input_shape": (2,),
        "output_shape": (2,),
    }
    return ReluNetwork(**(given | {"sha256": "", "name": "affine", "notices": ()} | changes))


def asked(**changes: Any) -> WdroProblem:
    """The margin of one sample at 0 in the box [0, 1]^2; V is -0.5 + 2 * 0.25 at radius 0.25."""
    given = {
        "network": affine(),
        "samples": make_samples([[0.0, 0.0]], [0]),
        "cost": GroundCost(Norm.INF, 1),
        "support": Support.box(0.0, 1.0, 2),
        "loss": Loss.MARGIN,
        "radius": 0.25,
    }
    return WdroProblem(**(given | changes))


class Two(IntEnum):
    TWO = 2


class Hostile:
    """An object that fails wherever it is asked."""

    shape = "none"

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("no array")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


def numbers(value: float) -> list[Any]:
    """One number in the forms that are taken for it."""
    exact = [np.float64(value), np.array(value), np.array([value]), torch.tensor(value, dtype=torch.float64)]
    exact += [Fraction(value), Decimal(value), torch.tensor(value, requires_grad=True), np.float32(value)]
    if value == int(value):
        exact += [int(value), np.int64(value), np.array(int(value)), torch.tensor(int(value))]
    return exact + ([np.float16(value)] if abs(value) < 2**8 else [])


NO_NUMBER = [
    True,
    np.True_,
    "1",
    "nan",
    b"1",
    None,
    1j,
    np.complex64(1),
    [1.0],
    (1,),
    {},
    object(),
    math.nan,
    np.nan,
    Hostile(),
]
NO_NUMBER += [
    np.array([0.25, 0.5]),
    np.array([]),
    np.array("1"),
    np.array(True),
    torch.tensor(True),
    torch.tensor([1.0, 2.0]),
]
NO_NUMBER += [
    2**53 + 1,
    np.int64(2**53 + 1),
    Fraction(1, 3),
    Decimal("0.1"),
    Decimal("NaN"),
    Decimal("1e999999999"),
    10**5000,
]
NO_NUMBER += [np.timedelta64(1, "s"), np.ma.masked, np.float32("nan"), np.longdouble(1) / 3, lambda: 1.0, float]
NO_WHOLE = [value for value in NO_NUMBER if not (type(value) in (int, np.int64) and value < 2**63)]
NO_WHOLE += [0.5, np.float32(1.5), Fraction(1, 2), math.inf, -1, -(2**70)]
NO_FLAG = [
    0,
    1,
    np.int8(1),
    "true",
    "",
    b"",
    None,
    [],
    math.nan,
    np.array(True),
    torch.tensor(True),
    "proof.cert",
    Hostile(),
]
NO_WORD = ["foo", "", "AUTO", b"auto", None, 0, True, ["auto"], np.array("auto"), Hostile()]
NO_FUNCTION = [1, "print", True, [], Hostile()]
NO_PATH = [None, 1, True, b"net.onnx", [], object(), io.BytesIO(b""), Hostile()]
NO_PLACE = [*NO_PATH, "a\0b", "\ud800"]
NO_ARRAY = [
    None,
    "ab",
    ["a", "b"],
    [1j, 0.0],
    np.array([0.0, 1.0], dtype=object),
    [None, 1.0],
    [[0.0], [1.0, 2.0]],
    object(),
]
NO_ARRAY += [
    [2**53 + 1, 0.5],
    np.array([2**53 + 1, 0]),
    [np.uint64(2**63), -1],
    np.array([0.0, 1.0], np.longdouble),
    [math.nan, 1.0],
]
NO_ARRAY += [
    np.ma.masked_array([0.0, 1.0], mask=[False, True]),
    {0.0, 1.0},
    {0: 1.0},
    Hostile(),
]
NO_ARRAY += [
    [Fraction(1, 3), 0.5],
    [Hostile(), 1.0],
    np.array(["2020-01-01"] * 2, dtype="M8[D]"),
    (v for v in (0.0, 1.0)),
    10**400,
]
NO_ARRAY += [
    torch.ones(2, dtype=torch.bfloat16),
    torch.ones(2, dtype=torch.complex64),
    [np.ma.masked_array([1.0], mask=[True]), [1.0]],
]


def arrays(rows: Any) -> list[Any]:
    """An array in the forms that are taken for it."""
    plain = np.array(rows, dtype=np.float64)
    wide = np.zeros((*plain.shape, 2))
    wide[..., 0] = plain
    still = plain.copy()
    still.setflags(write=False)
    out = [
        plain,
        rows,
        tuple(rows),
        np.asfortranarray(plain),
        wide[..., 0],
        still,
        plain.astype(np.float32),
        plain.astype(">f8"),
    ]
    out += [torch.tensor(plain), torch.tensor(plain, requires_grad=True), plain.view(np.ma.MaskedArray), list(plain)]
    if (plain == np.rint(plain)).all():
        out += [plain.astype(np.int64), plain.astype(np.int8).tolist(), plain.astype(np.int16)]
    return out


def one_line(error: BaseException) -> None:
    assert isinstance(error, WdaverifyError), repr(error)
    text = str(error)
    assert text, "nothing is said"
    assert text.isprintable(), text
    assert len(text) < 700, text


def refused(make: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        with pytest.raises(WdaverifyError) as caught:
            make(value)
        one_line(caught.value)


def alike(found: Any, plain: Any) -> None:
    """The same value of the same type, and an array that nobody can change."""
    assert type(found) is type(plain)
    if isinstance(plain, np.ndarray):
        assert found.dtype == plain.dtype
        assert found.flags.c_contiguous
        assert not found.flags.writeable
        assert found.tobytes() == plain.tobytes()
    else:
        assert found == plain


# Names


@pytest.mark.parametrize(
    ("norm", "spelled"),
    [
        (
            Norm.INF,
            ["inf", "linf", "l-inf", "l_inf", "Linf", "L_INF", math.inf, np.inf, np.float32("inf"), np.str_("inf")],
        ),
        (Norm.ONE, ["1", "l1", "L1", "l-1", 1, 1.0, np.int64(1), np.array(1), torch.tensor(1), Fraction(1)]),
        (Norm.TWO, ["2", "l2", "L2", "l_2", 2, 2.0, np.uint8(2), np.float16(2), Decimal(2), Two.TWO]),
    ],
)
def test_spellings_of_norms(norm: Norm, spelled: list[Any]) -> None:
    for value in [norm, *spelled]:
        assert GroundCost(value, 1).norm is norm
        assert Norm.of(value) is norm
    assert all(Norm(value) is norm for value in spelled if isinstance(value, str | int | float))


def test_what_is_no_norm() -> None:
    no_norm = [
        "foo",
        "",
        "-inf",
        "l",
        "l0",
        "3",
        "l11",
        "1.0",
        " inf",
        -math.inf,
        math.nan,
        0,
        3,
        True,
        np.True_,
        b"inf",
        None,
        1j,
    ]
    refused(
        lambda value: GroundCost(value, 1),
        [*no_norm, ["inf"], np.array([1, 2]), np.array("inf"), 1 + 2**-52, Hostile()],
    )
    refused(Norm, ["foo", 5, 2.5, True, None])


def test_spellings_of_orders() -> None:
    for order, spelled in (
        (1, ["1", *numbers(1.0)]),
        (2, ["2", Two.TWO, *numbers(2.0)]),
        (math.inf, ["inf", np.float32("inf")]),
    ):
        for value in [order, *spelled]:
            alike(GroundCost(Norm.INF, value).order, order)
    refused(
        lambda value: GroundCost(Norm.INF, value),
        [*NO_NUMBER[:2], "l1", "3", "1.0", 0, 3, 1.5, math.nan, -math.inf, None, [1], 1j],
    )


@pytest.mark.parametrize("loss", list(Loss))
def test_spellings_of_losses(loss: Loss) -> None:
    more = {Loss.ZERO_ONE: ["01", "0-1"], Loss.CROSS_ENTROPY: ["ce", "CE"]}.get(loss, [])
    functionals = Functionals([[1.0, 0.0]], [0.0]) if loss is Loss.LINEAR else None
    net = affine(((0, 0), (1, 1), (2, 0)), (0, 0, 0), output_shape=(3,)) if loss is Loss.DLR else affine()
    for name in [loss, loss.value, loss.value.upper(), loss.value.replace("-", "_"), np.str_(loss.value), *more]:
        if loss is Loss.SPECIFICATION:
            assert Loss(name) is loss
            continue
        assert asked(loss=name, functionals=functionals, network=net).loss is loss
        assert Loss(name) is loss


def test_what_is_no_loss() -> None:
    refused(
        lambda value: asked(loss=value),
        ["foo", "", "margin ", b"margin", 1, 0, True, None, ["margin"], math.nan, Hostile()],
    )
    refused(Loss, ["foo", 1, None])


# Wrong answers there were


@pytest.mark.parametrize("norm", [Norm.INF, "inf", "l-inf", math.inf])
def test_a_norm_by_its_name_is_that_norm(norm: Any) -> None:
    """x = (1/4, 1/4) is the nearest error: all of the mass errs at radius 0.3, and the distance is 1/4."""
    result = verify(asked(cost=GroundCost(norm, "inf"), loss="zero_one", radius=0.3))
    assert (result.lower, result.upper) == (1.0, 1.0)
    [bracket] = distances(asked(cost=GroundCost(norm, 1), loss="zero_one", radius=0.0)).brackets
    assert bracket.lower <= 0.25 <= bracket.upper
    assert bracket.upper - bracket.lower <= 1e-6


def test_a_norm_by_its_name_on_iris() -> None:
    """Distances in l1 had given [0.364, 0.440]; 0.58984 is what the command line says, found in l-inf."""
    folder = Path(__file__).parents[1] / "models"
    net, samples = load_network(folder / "iris_8x8.onnx"), load_samples(folder / "iris_8x8.npz")
    result = verify(
        WdroProblem(net, samples, GroundCost("inf", 1), Support.box(0, 1, 4), "zero-one", np.float32(0.05)), gap=1e-3
    )
    assert result.lower <= 0.58985
    assert result.upper >= 0.58983
    assert result.upper - result.lower <= 1e-3


def test_a_flag_that_is_no_flag_is_no_answer() -> None:
    proved = verify(asked(loss="margin"), certificate=np.True_)
    assert proved.certificate is not None
    assert recheck(proved.certificate, asked()).proved


@pytest.mark.parametrize("radius", [*numbers(1.0), np.int64(2)])
def test_integers_of_numpy_do_not_overflow(radius: Any) -> None:
    """A slope of 2 up to the corner (1, 1), where the margin is 1.5."""
    for order in (1, 2, math.inf):
        result = verify(asked(radius=radius, cost=GroundCost("inf", order)), seed=np.int64(3), gap=np.float32(1e-4))
        assert result.lower <= 1.5 <= result.upper
        assert result.upper - result.lower <= 1.1e-4


# Numbers


ASKED: dict[str, tuple[Callable[[Any], Any], float, list[Any]]] = {
    "radius": (lambda v: asked(radius=v).radius, 0.25, [-1, math.inf, -1e-300]),
    "label cost": (lambda v: GroundCost("inf", 1, None, v).label_cost, 0.5, [0, -1]),
    "within": (
        lambda v: (
            LipschitzProblem(
                affine(),
                GroundCost("inf", 1),
                Support.box(0, 1, 2),
                Measure.operator_norm(affine()),
                asked().samples,
                v,
            ).within
        ),
        0.5,
        [0, -1, math.inf],
    ),
    "gap": (lambda v: Settings(gap=v).gap, 0.5, [0, -1, math.inf]),
    "time limit": (lambda v: Settings(time_limit=v).time_limit, 2.0, [-1]),
    "threshold": (lambda v: Settings(threshold=v).threshold, 0.5, []),
    "memory limit": (lambda v: Settings(memory_limit=v).memory_limit, 2.0**30, [0, -1, math.inf]),
    "rung limit": (lambda v: Settings(rung_limit=v).rung_limit, 2.0, [-1]),
    "box": (lambda v: float(Support.box(v, 1, 3).lower[0]), 0.5, [math.inf]),
}
OPTIONAL = ("time limit", "threshold", "memory limit", "rung limit")


@pytest.mark.parametrize("name", ASKED)
def test_numbers(name: str) -> None:
    make, plain, more = ASKED[name]
    for value in [plain, *numbers(plain)]:
        alike(make(value), plain)
    refused(make, [value for value in [*NO_NUMBER, *more] if not (value is None and name in OPTIONAL)])


def test_numbers_mean_their_exact_values() -> None:
    assert asked(radius=np.float32(0.1)).radius == 13421773 / 2**27
    assert math.copysign(1.0, asked(radius=-0.0).radius) == 1.0
    assert asked(radius=2**60).radius == 2.0**60


WHOLE: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "seed": (lambda v: Settings(seed=v).seed, [2**63]),
    "jobs": (lambda v: Settings(jobs=v).jobs, [0, 1025, 10**9]),
    "width": (lambda v: Support.box(0, 1, v).lower.size, [0, 10**15]),
    "whole": (lambda v: Support.whole(v).lower.size, [0]),
    "output": (lambda v: int(Measure.outputs(affine(), [(v, None)]).rows.argmax()) + 1, [2]),
    "label": (lambda v: len(Measure.margins(affine(), [v]).rows), [2]),
    "input shape": (lambda v: affine(((0.0,) * 2,) * 2, input_shape=[v]).input_shape[0], [0, 1, 3]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers(name: str) -> None:
    make, more = WHOLE[name]
    plain = 1 if name in ("output", "label") else 2
    for value in [plain, *numbers(float(plain))]:
        alike(make(value), make(plain))
    assert make(plain) == (1 if name == "label" else 2)
    refused(
        make,
        [
            v
            for v in [*NO_WHOLE, *more]
            if not (v is None and name == "jobs") and not (name == "seed" and type(v) is int)
        ],
    )


# Arrays


def alone(**changes: Any) -> Samples:
    given = {"x": [[0.0, 1.0]], "y": [0], "w": [1.0], "sha256": "", "source": "here"}
    return Samples(**(given | changes))


DIAGONAL = ([1.0, 2.0], [1.0, 1.0])
HELD: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "lower": (lambda v: Support(v, [3.0, 3.0]).lower, [0.0, 1.0]),
    "upper": (lambda v: Support([0, 0], v).upper, [0.0, 1.0]),
    "box": (lambda v: Support.box(v, 3, 2).lower, [0.0, 1.0]),
    "rows": (lambda v: LinearRows(v, [0], [1]).matrix, [[0.0, 1.0]]),
    "row sides": (lambda v: LinearRows([[0, 1], [1, 0]], v, [3, 3]).lower, [0.0, 1.0]),
    "cost weights": (lambda v: GroundCost("inf", 1, v).weights, [2.0, 1.0]),
    "functionals": (lambda v: Functionals(v, [0]).matrix, [[0.0, 1.0]]),
    "offsets": (lambda v: Functionals([[0, 1], [1, 0]], v).offset, [0.0, 1.0]),
    "weight": (lambda v: Dense(v).weight, [[0.0, 1.0]]),
    "bias": (lambda v: Affine((INPUT,), (Dense([[0], [1]]),), v).bias, [0.0, 1.0]),
    "factor": (lambda v: Diagonal(v, DIAGONAL[1]).factor, [0.0, 1.0]),
    "divisor": (lambda v: Diagonal(DIAGONAL[0], v).divisor, [2.0, 1.0]),
    "slopes": (lambda v: PiecewiseLinear("kink", [0], [0], v).slopes, [0.0, 1.0]),
    "measure": (lambda v: Measure("functionals", ("f",), v).rows, [[0.0, 1.0]]),
    "x": (lambda v: make_samples(v, [0]).x, [[0.0, 1.0]]),
    "w": (lambda v: make_samples([[0.0], [1.0]], [0, 0], v).w, [0.0, 1.0]),
    "x of Samples": (lambda v: alone(x=v).x, [[0.0, 1.0]]),
    "w of Samples": (lambda v: alone(x=[[0.0], [1.0]], y=[0, 0], w=v).w, [0.0, 1.0]),
}
SAMPLES = ("x", "w", "x of Samples")
"""What takes bools as 0 and 1, as files have them; the others take numbers alone."""


@pytest.mark.parametrize("name", HELD)
def test_arrays(name: str) -> None:
    make, rows = HELD[name]
    plain = np.array(rows)
    for value in arrays(rows):
        alike(make(value), plain)
    mine = plain.copy()
    held = make(mine)
    mine[...] = 77.0
    alike(held, plain)
    nested = [[v] if isinstance(v, list) and plain.ndim == 2 else v for v in NO_ARRAY]
    nested += [] if name in SAMPLES else [[True, 1.0], [np.True_, 0.5], np.ones(2, np.bool_)]
    optional = name in ("cost weights", "w")
    refused(make, [v for v in nested if not (optional and v is None)])
    refused(make, [np.array(rows).astype(str), np.array(rows) * 1j, np.array(rows) * math.nan, -math.inf])


def test_labels() -> None:
    for make in (lambda v: make_samples([[0.0], [1.0]], v).y, lambda v: alone(x=[[0.0], [1.0]], y=v, w=[0.5, 0.5]).y):
        for value in [*arrays([0.0, 1.0]), [False, True], np.array([False, True])]:
            alike(make(value), np.array([0, 1]))
        refused(
            make,
            [
                "ab",
                [0.5, 1],
                [0, 1j],
                [0],
                [[0], [1]],
                [math.nan, 0],
                [2**53 + 2, 0],
                ["0", "1"],
                [None, 0],
                Hostile(),
            ],
        )


def test_masks_are_bools() -> None:
    for value in ([True, False], (True, False), np.array([True, False]), torch.tensor([True, False])):
        alike(Support([0, 0], [1, 1], None, value).integer, np.array([True, False]))
    assert Support([0, 0], [1, 1], None, [False, False]).plain
    assert Support([-math.inf], [math.inf], None, [False]).integer is None
    refused(
        lambda v: Support([0, 0], [1, 1], None, v),
        [[0], [0, 1], [1, 0], np.array([1, 0]), "10", [True], [[True, False]], True, 1],
    )


def test_networks_of_ones_own() -> None:
    weights = [(np.ones((3, 2)), np.zeros(3)), (np.ones((2, 3)), [0, 0])]
    graph = chain(weights, relu())  # type: ignore[arg-type]
    net = affine(graph=graph, input_shape=[1, 2], output_shape=np.array([2]), notices=["made by hand"])
    assert (net.graph, net.input_shape, net.output_shape) == (graph, (1, 2), (2,))
    assert net.notices == ("made by hand",)
    first = graph.nodes[0]
    refused(lambda v: affine(graph=v), [weights, "graph", [None], first, Hostile()])
    refused(lambda v: affine(graph=v, input_shape=(3,)), [graph])
    vague = Graph((Affine((INPUT,), (Dense([[1.0, 1.0]] * 2, [[0.1, 0.1]] * 2),), [0, 0]),), 2)  # type: ignore[arg-type]
    refused(lambda v: affine(graph=v), [vague, graph.like(lambda numbers: numbers.astype(np.float32))])
    refused(lambda v: chain(v, relu()), [[], [weights[0], weights[0]], None, "layers"])
    refused(lambda v: chain(weights, v), [None, "relu", relu, Hostile()])  # type: ignore[arg-type]
    refused(lambda v: Graph(v, 2), [[], None, "nodes", [None], graph.nodes[::-1], first, graph.nodes[:2], Hostile()])
    refused(lambda v: Graph(graph.nodes, v), [3, 0, "2", None, 2.5, True])
    refused(lambda v: Affine(v, (Dense([[1]]),), [0]), [(), (0, 1), None, "0", 0, (None,)])
    refused(lambda v: Affine((INPUT,), v, [0]), [(), None, Dense([[1]]), (np.ones((1, 1)),), "map"])
    refused(lambda v: Elementwise(0, v), [None, relu, "relu"])
    refused(lambda v: Elementwise(v, relu()), [None, "0", (0,), 0.5])
    refused(lambda v: Select(v, 2), [[2], [-2], [0.5], [], [[0]], None, "0"])
    refused(Same, [0, -1, None, "2", 1.5])
    refused(lambda v: affine(input_shape=v), [2, None, "2", (1,), (2, 2), (), [2.5], [True, 2], Hostile()])
    refused(lambda v: affine(output_shape=v), [2, None, "2", (1,), (2, 2), [0]])
    refused(lambda v: affine(sha256=v), [None, 1, b"00", Hostile()])
    refused(lambda v: affine(name=v), [None, 1, b"00"])
    refused(lambda v: affine(notices=v), [None, "alone", [1], 1])
    refused(lambda v: Diagonal([1, 1], v), [[0.0, 1.0], [1.0], [[1.0, 1.0]]])
    refused(Dense, [np.ones((2, 0)), np.ones(2), 1.0])
    refused(lambda v: Affine((INPUT,), (Dense(v),), [0, 0]), [np.ones((3, 2))])
    refused(lambda v: Convolution(v, 3, 3), [np.ones((2, 3, 3)), np.ones((1, 1, 4, 1)), None, "kernel"])
    refused(lambda v: Convolution(np.ones((2, 1, 2, 2)), 3, 3, v), [(0, 1), (1,), None, 1, (1, 1.5), "11"])
    refused(lambda v: Convolution(np.ones((2, 1, 2, 2)), 3, 3, groups=v), [0, 3, None, 1.5])


# Objects


def test_objects_of_another_kind_are_refused_with_a_way_out(tmp_path: Path) -> None:
    odd = [
        None,
        "net.onnx",
        tmp_path,
        b"",
        1,
        True,
        ([[0.0]], [0]),
        {"x": [[0.0]]},
        np.zeros((1, 2)),
        object(),
        Norm.INF,
        Hostile(),
    ]
    ways = {"network": "load_network", "samples": "make_samples", "cost": "GroundCost", "support": "Support.box"}
    for field, way in ways.items():
        refused(lambda v, field=field: asked(**{field: v}), odd)
        with pytest.raises(WdaverifyError, match=way):
            asked(**{field: "inf"})
    refused(lambda v: asked(functionals=v), odd[1:])
    refused(lambda v: Support([0, 0], [1, 1], v), odd[1:])
    for run in (verify, curve, distances, attack, lipschitz, lambda problem: compare(problem, [0.1])):
        refused(run, odd)
    refused(lambda v: verify(asked(), journal=v), odd[1:])
    refused(lambda v: curve(asked(), journal=v), odd[1:])
    refused(lambda v: distances(asked(loss="01"), journal=v), odd[1:])
    refused(lambda v: compare(asked(), [0.1], v), odd[1:])
    refused(lambda v: recheck(v, asked()), odd)
    refused(lambda v: write_certificate(tmp_path / "no.cert", v), odd)
    region = {"network": affine(), "cost": GroundCost("inf", 1), "support": Support.box(0, 1, 2)}
    region |= {"measure": Measure.operator_norm(affine()), "around": alone(), "within": 0.5}
    for field in ("network", "cost", "support", "measure", "around"):
        refused(lambda v, field=field: LipschitzProblem(**(region | {field: v})), odd[field == "around" :])
    refused(lambda v: load_samples(tmp_path / "no.npz", clip=v), odd[1:])
    refused(lambda v: make_samples([[0.0]], [0], source=v), [None, 1, b""])


def test_measures() -> None:
    refused(lambda v: Measure(v, ("f",), [[1.0, 0.0]]), [*NO_WORD, "operator_norm"])
    refused(lambda v: Measure("functionals", v, [[1.0, 0.0]]), [None, "f", ("f", "g"), (), (1,), Hostile()])
    refused(
        lambda v: Measure.outputs(affine(), v), [None, 0, "0", [0, 1], [(0,)], [(0, 0)], [(0, 1, 2)], ["01"], Hostile()]
    )
    refused(lambda v: Measure.margins(affine(), v), [None, 0, "all", "0", Hostile()])
    one = Measure("functionals", ("f",), [[1.0, 0.0, 0.0]])
    with pytest.raises(WdaverifyError, match="3 outputs"):
        LipschitzProblem(affine(), GroundCost("inf", 1), Support.box(0, 1, 2), one)
    square = LipschitzProblem(affine(), GroundCost("linf", 1), Support.box(0, 1, 2), Measure.operator_norm(affine()))
    found = lipschitz(square, gap=np.float32(0.01), seed=np.int8(2), each=np.bool_(False))
    assert found.lower <= 2.0 <= found.upper


# Options


def runs() -> dict[str, Callable[..., Any]]:
    region = LipschitzProblem(affine(), GroundCost("inf", 1), Support.box(0, 1, 2), Measure.operator_norm(affine()))
    return {
        "verify": lambda **options: verify(asked(), **options),
        "curve": lambda **options: curve(asked(), **options),
        "distances": lambda **options: distances(asked(loss="zero-one"), **options),
        "attack": lambda **options: attack(asked(), **options),
        "compare": lambda **options: compare(asked(), [0.1], Settings(**options)),
        "lipschitz": lambda **options: lipschitz(region, **options),
    }


ODD: dict[str, list[Any]] = {
    "solver": NO_WORD,
    "device": NO_WORD,
    "gap": [*NO_NUMBER, 0, -1, math.inf],
    "time_limit": [v for v in [*NO_NUMBER, -1] if v is not None],
    "jobs": [v for v in [*NO_WHOLE, 0, 10**6] if v is not None],
    "threshold": [v for v in NO_NUMBER if v is not None],
    "seed": [*NO_WHOLE, 2**70],
    "memory_limit": [v for v in [*NO_NUMBER, 0] if v is not None],
    "mip_start": NO_FLAG,
    "certificate": NO_FLAG,
    "branching": NO_FLAG,
    "each": NO_FLAG,
    "progress": NO_FUNCTION,
    "slots": [*NO_FUNCTION, lambda: 1],
    "executor": [*NO_FUNCTION, print, io.BytesIO],
}
TAKEN = {
    "verify": (
        "solver",
        "gap",
        "time_limit",
        "jobs",
        "threshold",
        "device",
        "seed",
        "mip_start",
        "certificate",
        "memory_limit",
    ),
    "curve": ("solver", "gap", "time_limit", "jobs", "device", "seed", "progress"),
    "distances": ("solver", "gap", "time_limit", "jobs", "device", "seed", "progress"),
    "attack": ("time_limit", "device", "seed"),
    "compare": (
        "solver",
        "gap",
        "time_limit",
        "jobs",
        "threshold",
        "device",
        "seed",
        "mip_start",
        "certificate",
        "memory_limit",
    ),
    "lipschitz": ("solver", "gap", "time_limit", "jobs", "seed", "each", "progress"),
}
TAKEN["verify"] += ("branching", "progress", "slots", "executor")


@pytest.mark.parametrize(("entry", "option"), [(entry, option) for entry in TAKEN for option in TAKEN[entry]])
def test_options_that_are_refused(entry: str, option: str) -> None:
    run = runs()[entry]
    refused(lambda value: run(**{option: value}), ODD[option])


def test_options_mean_the_same_in_every_form() -> None:
    plain = verify(asked(), gap=0.5, time_limit=64.0, threshold=8.0, seed=4, memory_limit=2.0**30)
    for gap, limit, most, seed, size in zip(*map(numbers, (0.5, 64.0, 8.0, 4.0, 2.0**30)), strict=False):
        found = verify(
            asked(), gap=gap, time_limit=limit, threshold=most, seed=seed, memory_limit=size, branching=np.True_
        )
        for name in ("lower", "upper", "reason", "gap_asked", "threshold", "seed"):
            alike(getattr(found, name), getattr(plain, name))


def test_radii_of_a_ladder() -> None:
    for radii in ([0.1, 0.25], (0.1, 0.25), np.array([0.1, 0.25]), torch.tensor([0.1, 0.25], dtype=torch.float64)):
        ladders = compare(asked(), radii, Settings(rungs=["norms"])).ladders
        assert [type(ladder.problem.radius) for ladder in ladders] == [float, float]
        assert [ladder.problem.radius for ladder in ladders] == [0.1, 0.25]
    refused(
        lambda v: compare(asked(), v),
        [None, 0.1, "0.1", [], ["0.1"], [True], [math.nan], [-1], [[0.1]], [None], b"1", Hostile()],
    )
    refused(lambda v: Settings(rungs=v), [None, "exact", [], ["foo"], [1], [None], 1, Hostile()])


# Paths


def test_paths(tmp_path: Path) -> None:
    for read in (load_network, load_samples, read_certificate, read_state, Journal, load_functionals):
        refused(read, NO_PLACE)
    for read in (load_support, load_weights):
        refused(lambda v, read=read: read(v, 2), NO_PLACE)
        refused(lambda v, read=read: read(tmp_path / "no.toml", v), [None, "2", 0, True, 2.5])
    proof = verify(asked(), certificate=True).certificate
    refused(lambda v: write_certificate(v, proof), NO_PLACE)
    write_certificate(tmp_path / "a.cert", proof)
    assert read_certificate(str(tmp_path / "a.cert"), np.int64(10**8)).lower == proof.lower
    refused(lambda v: read_certificate(tmp_path / "a.cert", v), [0, -1, math.nan, math.inf, "1", True, None])
    refused(lambda v: recheck(proof, asked(), v), [None, "1", math.nan, True])
    np.savez(tmp_path / "a.npz", x=[[0.0], [1.0]], y=[0, 1])
    assert len(load_samples(tmp_path / "a.npz", limit=np.int64(1))) == 1
    refused(lambda v: load_samples(tmp_path / "a.npz", limit=v), [0, "1", True, 1.5, math.nan, [1]])
    (tmp_path / "a.csv").write_text("0.5,1,0\n0.25,1,1\n")
    assert load_samples(tmp_path / "a.csv", label_column=np.int64(2)).y.tolist() == [0, 1]
    refused(lambda v: load_samples(tmp_path / "a.csv", label_column=v), [True, 1.5, b"2", [2], "c", 7, Hostile()])


CLAIMS = (
    "radius",
    "lower",
    "upper",
    "multiplier",
    "count",
    "order",
    "neurons",
    "clip",
    "support_lower",
    "atom_sample",
    "atom_weight",
)


def test_certificates_of_ones_own() -> None:
    proof = verify(asked(), certificate=True).certificate
    same = replace(
        proof, support_lower=[0, 0], atom_sample=proof.atom_sample.tolist(), atom_point=proof.atom_point.tolist()
    )
    assert recheck(same, asked()).proved
    for field in CLAIMS:
        refused(lambda v, field=field: replace(proof, **{field: v}), [None, "a", object(), [[None]], 1j, Hostile()])
    for field in ("network_sha256", "samples_sha256", "norm", "loss", "label_column"):
        refused(lambda v, field=field: replace(proof, **{field: v}), [1, b"1", [], Hostile()])
    refused(lambda v: replace(proof, proofs=v), [None, [], ("a",), 1])


# At random


def odd_values() -> list[Any]:
    known = [*NO_NUMBER, *NO_WHOLE, *NO_FLAG, *NO_WORD, *NO_FUNCTION, *NO_PLACE, *NO_ARRAY]
    known += [
        0,
        1,
        2,
        0.25,
        1.0,
        "inf",
        "1",
        "l2",
        "margin",
        "ce",
        [0.0, 1.0],
        [[0.0, 1.0]],
        (1, 1),
        np.ones(2),
        np.eye(2),
        print,
    ]
    return [
        *known,
        asked(),
        alone(),
        affine(),
        GroundCost("inf", 1),
        Support.box(0, 1, 2),
        Norm.TWO,
        Loss.HINGE,
        -1,
        1e308,
        5e-324,
    ]


def handed_in(rng: np.random.Generator, pool: list[Any], tmp_path: Path) -> None:
    """One public name with one argument at random in place of a good one."""
    makers: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (GroundCost, {"norm": "inf", "order": 1, "weights": [1.0, 2.0], "label_cost": 0.5}),
        (Support, {"lower": [0, 0], "upper": [1, 1], "rows": None, "integer": None}),
        (Support.box, {"lower": 0, "upper": 1, "width": 2}),
        (LinearRows, {"matrix": [[1, 0]], "lower": [0], "upper": [1]}),
        (Functionals, {"matrix": [[1, 0]], "offset": [0]}),
        (alone, {"x": [[0.0]], "y": [0], "w": [1], "sha256": "", "source": ""}),
        (make_samples, {"x": [[0.0]], "y": [0], "w": [1], "source": "a"}),
        (
            affine,
            {"graph": None, "input_shape": (2,), "output_shape": (2,), "sha256": "", "name": "", "notices": ()},
        ),
        (Dense, {"weight": [[1, 1]], "error": None}),
        (Diagonal, {"factor": [1], "divisor": [1], "error": None}),
        (Convolution, {"kernel": [[[[1]]]], "height": 2, "width": 2, "stride": (1, 1), "pads": (0,) * 4, "groups": 1}),
        (Select, {"index": [0], "inputs": 1}),
        (Affine, {"sources": (-1,), "maps": (Dense([[1.0]]),), "bias": [0], "bias_error": None}),  # type: ignore[arg-type]
        (Elementwise, {"source": 0, "function": relu()}),
        (PiecewiseLinear, {"name": "kink", "breaks": [0], "values": [0], "slopes": [0, 1]}),
        (asked, dict.fromkeys(("network", "samples", "cost", "support", "loss", "radius", "functionals"), None)),
        (Measure, {"kind": "functionals", "names": ("f",), "rows": [[1, 0]]}),
        (load_samples, {"path": tmp_path / "a.npz", "limit": 1, "label_column": None, "clip": None}),
        (verify, {"problem": asked(), "time_limit": 0.5, **dict.fromkeys(TAKEN["verify"], None)}),
        (curve, {"problem": asked(), "time_limit": 0.5, **dict.fromkeys(TAKEN["curve"], None)}),
        (distances, {"problem": asked(loss="01"), "time_limit": 0.5, **dict.fromkeys(TAKEN["distances"], None)}),
        (attack, {"problem": asked(), "time_limit": 0.5, **dict.fromkeys(TAKEN["attack"], None)}),
        (compare, {"problem": asked(), "radii": [0.1], "settings": Settings(rungs=("norms",))}),
        (Settings, dict.fromkeys(("rungs", "rung_limit", *TAKEN["compare"]), None)),
    ]
    make, good = makers[int(rng.integers(len(makers)))]
    name = list(good)[int(rng.integers(len(good)))]
    value = pool[int(rng.integers(len(pool)))]
    given = {key: v for key, v in good.items() if v is not None or key == name} | {name: value}
    if name == "jobs" or (name in ("progress", "slots") and callable(value)):
        return  # what is accepted starts processes, or fails as it pleases
    try:
        make(**given)
    except WdaverifyError as error:
        one_line(error)


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 400), *(pytest.param(seed, 2500, marks=pytest.mark.full) for seed in range(1, 5))]
)
def test_at_random_nothing_ends_in_a_traceback(seed: int, count: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[[0.0], [1.0]], y=[0, 1])
    rng, pool = np.random.default_rng(seed), odd_values()
    for _ in range(count):
        handed_in(rng, pool, tmp_path)


def dual(norm: Norm, a: np.ndarray) -> float:
    return float({Norm.INF: np.abs(a).sum(), Norm.ONE: np.abs(a).max(), Norm.TWO: np.linalg.norm(a)}[norm])


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 120))])
def test_at_random_what_is_taken_is_what_is_meant(seed: int) -> None:
    """Every part of a question in a form drawn at random: the answer holds the value known by hand."""
    rng = np.random.default_rng(seed)

    def one(values: list[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    norm, order, radius = one(list(Norm)), one([1, 2, math.inf]), one([0.25, 0.5, 1.0])
    a = rng.integers(-4, 5, 2) / 2.0 + 0.25
    x, b = rng.integers(-4, 5, 2) / 4.0, -float(rng.integers(1, 9)) / 4
    margin = float(a @ x) + b
    net = affine(one(arrays([[0.0, 0.0], a.tolist()])), one(arrays([0.0, b])))
    spelled = {Norm.INF: ["inf", "l-inf", math.inf], Norm.ONE: ["l1", 1, np.int8(1)], Norm.TWO: ["L2", 2.0, Norm.TWO]}[
        norm
    ]
    cost = GroundCost(one(spelled), one({1: numbers(1.0), 2: numbers(2.0), math.inf: ["inf", np.inf]}[order]))
    samples = make_samples(one(arrays([x.tolist()])), one(arrays([0.0])))
    zero_one = bool(rng.integers(2))
    loss = one(["01", "zero_one", "Zero-One", Loss.ZERO_ONE] if zero_one else ["margin", "MARGIN", Loss.MARGIN])
    question = WdroProblem(
        net, samples, cost, Support.box(one(numbers(-64.0)[:4]), one(numbers(64.0)), 2), loss, one(numbers(radius))
    )
    result = verify(question, gap=one(numbers(0.0625)), seed=one(numbers(3.0)))
    length = dual(norm, a)
    value = margin + radius * length
    if zero_one:
        away = max(-margin, 0.0) / length
        value = 1.0 if away <= radius else 0.0 if order == math.inf else (radius / away) ** order
    assert result.lower - 1e-12 <= value <= result.upper + 1e-12
    assert result.upper - result.lower <= 0.0625


@pytest.mark.parametrize("odd", [None, 3, "a", b"a", [], np.zeros(2)])
def test_certificates_of_slopes_are_what_they_are(odd: Any, tmp_path: Path) -> None:
    net = affine()
    asked = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support.box(0, 1, 2), Measure.operator_norm(net))
    made = lipschitz(asked, certificate=True).certificate
    assert isinstance(made, SlopeCertificate)
    assert recheck_lipschitz(made, asked).proved
    for call in (
        lambda: recheck_lipschitz(odd, asked),
        lambda: recheck_lipschitz(made, odd),
        lambda: write_lipschitz(tmp_path / "a.cert", odd),
    ):
        with pytest.raises(WdaverifyError, match="accepted"):
            call()
    if not isinstance(odd, str | bytes):
        for call in (lambda: read_lipschitz(odd), lambda: write_lipschitz(odd, made)):
            with pytest.raises(WdaverifyError):
                call()


def test_every_public_function_is_looked_at() -> None:
    looked_at = {*globals()} | {
        "JournalState",
        "ReluNetwork",
        "Certificate",
        "Verdict",
        "VerificationResult",
        "AttackResult",
    }
    results = {"CurveResult", "DistancesResult", "Reason", "RobustAccuracy", "Status"}
    doors = {
        "RadiusGuide",
        "export_programs",
        "from_keras",
        "from_onnx",
        "from_sklearn",
        "from_torch",
        "lipschitz_constant",
        "question",
        "radius_guide",
        "robust_accuracy",
        "save_report",
        "worst_case",
    }
    checking = {"CheckResult", "Outcome", "Specification", "check", "load_specification"}
    checking |= {"SplitCertificate", "UnsatCertificate", "read_unsat", "recheck_unsat", "write_unsat"}
    assert {
        name for name in wdaverify.__all__ if not name.endswith("Error")
    } <= looked_at | results | doors | checking  # their folders
