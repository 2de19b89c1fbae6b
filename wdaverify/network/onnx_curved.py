"""Curved functions of a tensor, entry by entry: as operators, and as exporters spell them.

    x Sigmoid(r x)                          SiLU
    x (1 + Erf(r x))                        GELU, times 2; r is the file's own number
    x (1 + Tanh(a x + b x^3))               GELU as tanh has it, times 2
    x Tanh(Softplus(x))                     Mish
    x Clip(a x + b, low, high)              HardSwish and its like
    x / (1 + |x|)                           Softsign
    x x, x x^2                              powers

A product of two computed tensors is one of these where both are functions of one tensor, entry by entry; what they are is read from
the nodes made so far, with the constants as rationals. Other products are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.graph.functions import PiecewiseLinear
from wdaverify.graph.maps import Diagonal, LinearMap, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.graph.smooth.elu import elu, selu
from wdaverify.graph.smooth.erf import erf
from wdaverify.graph.smooth.exponential import exponential
from wdaverify.graph.smooth.gate import gate, hard_swish
from wdaverify.graph.smooth.gelu import gelu
from wdaverify.graph.smooth.gelu_tanh import gelu_tanh
from wdaverify.graph.smooth.mish import mish
from wdaverify.graph.smooth.power import cube, square
from wdaverify.graph.smooth.sigmoid import sigmoid
from wdaverify.graph.smooth.silu import silu
from wdaverify.graph.smooth.sine import sine
from wdaverify.graph.smooth.softplus import softplus
from wdaverify.graph.smooth.softsign import softsign
from wdaverify.graph.smooth.tanh import tanh
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, since
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read

_DEEP = 16
"""So many nodes back a product is looked into."""
_ALPHA, _GAMMA = float(np.float32(1.6732632423543772)), float(np.float32(1.0507009873554805))
"""Of Selu, as the standard has them."""
ACCEPTED = "z Sigmoid(z), z (1 + Erf(r z)), z (1 + Tanh(a z + b z^3)), z Tanh(Softplus(z)), z Clip(a z + b), z / (1 + |z|), z^2, z^3"

_Atom = tuple[str, tuple[float, ...], object]
_AS_IT_IS = Fraction(1), Fraction(0)
_ONE: _Atom = ("", (), None)
"""The tensor itself."""


@dataclass(frozen=True, eq=False)
class _Sum:
    """``constant + sum of factors times atoms``: atoms are functions of sums, or the tensor itself."""

    factors: dict[_Atom, Fraction]
    constant: Fraction

    def frozen(self) -> object:
        """The same, to be compared."""
        return tuple(sorted(self.factors.items(), key=repr)), self.constant

    def linear(self) -> tuple[Fraction, Fraction] | None:
        """Slope and constant, where it is the tensor times a number plus another."""
        return (self.factors[_ONE], self.constant) if set(self.factors) == {_ONE} else None


def _plain(make: Callable[[], Smooth]) -> Read:
    def read(path: Path, node: Node, given: Sequence[Place]) -> None:
        path.at_hand(given[0])
        path.function(make())

    return read


def _elu(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.at_hand(given[0])
    path.function(elu(node.number("alpha", 1.0)))


def _celu(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``alpha elu(z / alpha)``."""
    alpha = node.number("alpha", 1.0)
    if not alpha > 0:
        raise node.refused(f"alpha is {alpha:g}; a positive one is accepted")
    path.at_hand(given[0])
    if alpha != 1:
        path.diagonal(divisor=np.full(path.width, alpha))
    path.function(elu(1.0))
    _scaled(path, node, Fraction(alpha))


def _selu(path: Path, node: Node, given: Sequence[Place]) -> None:
    alpha, gain = node.number("alpha", _ALPHA), node.number("gamma", _GAMMA)
    path.at_hand(given[0])
    path.function(selu(alpha, gain))


def _gelu(path: Path, node: Node, given: Sequence[Place]) -> None:
    kind = node.text("approximate", "none", ("none", "tanh"))
    path.at_hand(given[0])
    path.function(gelu() if kind == "none" else gelu_tanh())


def _swish(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``z / (1 + exp(-alpha z))``."""
    quick = node.op == "com.microsoft.QuickGelu"
    alpha = node.number("alpha", float(np.float32(1.702)) if quick else 1.0)
    if not alpha > 0:
        raise node.refused(f"alpha is {alpha:g}; a positive one is accepted")
    path.at_hand(given[0])
    _silu(path, node, Fraction(alpha), Fraction(1))


def _power(path: Path, node: Node, given: Sequence[Place]) -> None:
    exponent = node.operand(1)
    if len(given) > 1 or node.active != 0 or exponent is None or exponent.size != 1:
        raise node.refused(
            "it is no power of the activation with one constant exponent; exponents 1, 2 and 3 are accepted"
        )
    power = float(exponent.reshape(()))
    if power not in (1, 2, 3):
        raise node.refused(f"exponent {power:g}; exponents 1, 2 and 3 are accepted")
    path.at_hand(given[0])
    if power > 1:
        path.function(square() if power == 2 else cube())
    else:
        path.not_float32.append(
            f"{node.label} is computed by a library of the runtime's, whose errors in float32 nobody states; leave it out"
        )


def product(path: Path, node: Node, given: Sequence[Place]) -> None:
    """A product or quotient of two computed tensors, where it is a function of one.

    Raises:
        NetworkError: it is none that is known.
    """
    if (
        len(given) == 2
        and given[0].layout.shape == given[1].layout.shape
        and (given[0].layout == given[1].layout).all()
    ):
        first, second = given
        common = _behind(path, first.at) & _behind(path, second.at)
        for base in sorted(common, reverse=True):
            a, b = _read(path, first.at, base, _DEEP), _read(path, second.at, base, _DEEP)
            if a is None or b is None:
                continue
            pairs = ((a, b), (b, a)) if node.op == "Mul" else ((a, b),)
            for one, other in pairs:
                line = one.linear()
                if line is not None and line[1] == 0 and line[0] != 0:
                    found = _matched(node, other)
                    if found is not None:
                        path.take(Place(base, first.layout, first.dtype))
                        found(path, line[0])
                        return
    raise node.refused(
        f"it {'multiplies' if node.op == 'Mul' else 'divides'} two computed tensors, which is accepted where it spells one function of one "
        f"tensor: {ACCEPTED}; products of two activations, attention and gates among them, are not answered: train the network without"
    )


def _matched(node: Node, other: _Sum) -> Callable[[Path, Fraction], None] | None:
    """What appends ``factor z * other(z)`` (or ``factor z / other(z)``) to a path, given the factor; None where it is not known."""
    if len(other.factors) != 1:
        return None
    (atom, beta), gamma = next(iter(other.factors.items())), other.constant
    name, parameters, inner = atom
    line = _line(inner)
    if node.op == "Div":
        if name == "Abs" and line == _AS_IT_IS and beta == gamma:
            return lambda path, factor: _applied(path, node, softsign(), factor / beta)
        return None
    if atom == _ONE and gamma == 0:
        return lambda path, factor: _applied(path, node, square(), factor * beta)
    if name == "Square" and line == _AS_IT_IS and gamma == 0:
        return lambda path, factor: _applied(path, node, cube(), factor * beta)
    if name == "Sigmoid" and line is not None and line[0] > 0 and line[1] == 0 and gamma == 0:
        return lambda path, factor: _silu(path, node, line[0], factor * beta)
    if name == "Erf" and line is not None and line[0] > 0 and line[1] == 0 and gamma == beta:
        return lambda path, factor: _applied(path, node, gelu(*_as_doubles(node, line[0])), 2 * factor * beta)
    if name == "Clip" and line is not None and line[0] > 0 and gamma == 0 and len(parameters) == 2:
        shift = _double(node, line[1])
        return lambda path, factor: _applied(
            path, node, gate(*_as_doubles(node, line[0]), shift, parameters[0], parameters[1]), factor * beta
        )
    if name == "Tanh" and isinstance(inner, _Frozen):
        of = {atom[0]: (atom[2], factor) for atom, factor in inner.factors.items()}
        plain = inner.constant == 0 and all(_line(argument) in (None, _AS_IT_IS) for argument, _ in of.values())
        if plain and set(of) == {"Softplus"} and gamma == 0 and of["Softplus"][1] == 1 and _line(of["Softplus"][0]):
            return lambda path, factor: _applied(path, node, mish(), factor * beta)
        if plain and set(of) == {"", "Cube"} and gamma == beta and _line(of["Cube"][0]):
            made = gelu_tanh(_double(node, of[""][1]), _double(node, of["Cube"][1]))
            return lambda path, factor: _applied(path, node, made, 2 * factor * beta)
    return None


def _line(argument: object) -> tuple[Fraction, Fraction] | None:
    """Slope and constant of an argument that is the tensor times a number plus another."""
    return argument.linear() if isinstance(argument, _Frozen) else None


class _Frozen(_Sum):
    """A sum as an argument, compared by what it is."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self.frozen() == other.frozen()

    def __hash__(self) -> int:
        return hash(repr(self.frozen()))

    def __repr__(self) -> str:
        return repr(self.frozen())


def _behind(path: Path, at: int) -> set[int]:
    """The nodes that a node is computed from, itself among them, ``INPUT`` too."""
    found, waiting = {at}, [at]
    while waiting and len(found) < 4 * _DEEP:
        k = waiting.pop()
        if k == INPUT:
            continue
        node = path.nodes[k]
        for source in (node.source,) if isinstance(node, Elementwise) else node.sources:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _read(path: Path, at: int, base: int, deep: int) -> _Sum | None:
    """A node as a function of another, entry by entry; None where it is none that is known."""
    if at == base:
        return _Sum({_ONE: Fraction(1)}, Fraction(0))
    if at == INPUT or not deep:
        return None
    node = path.nodes[at]
    if isinstance(node, Elementwise):
        inner = _read(path, node.source, base, deep - 1)
        parameters = _parameters(node.function)
        if inner is None or parameters is None:
            return None
        return _Sum(
            {(node.function.name, parameters, _Frozen(inner.factors, inner.constant)): Fraction(1)}, Fraction(0)
        )
    return _read_affine(path, node, base, deep)


def _read_affine(path: Path, node: Affine, base: int, deep: int) -> _Sum | None:
    if (node.bias != node.bias[0]).any():
        return None
    factors, constant = dict[_Atom, Fraction](), Fraction(float(node.bias[0]))
    for source, map_ in zip(node.sources, node.maps, strict=True):
        factor, inner = _factor(map_), _read(path, source, base, deep - 1)
        if factor is None or inner is None:
            return None
        constant += factor * inner.constant
        for atom, value in inner.factors.items():
            factors[atom] = factors.get(atom, Fraction(0)) + factor * value
    return _Sum({atom: value for atom, value in factors.items() if value}, constant)


def _factor(map_: LinearMap) -> Fraction | None:
    """The one number that a map multiplies every entry by."""
    if isinstance(map_, Same):
        return Fraction(1)
    if isinstance(map_, Diagonal) and (map_.factor == map_.factor[0]).all() and (map_.divisor == map_.divisor[0]).all():
        return Fraction(float(map_.factor[0])) / Fraction(float(map_.divisor[0]))
    return None


def _parameters(function: PiecewiseLinear | Smooth) -> tuple[float, ...] | None:
    """What tells functions of one name apart."""
    if isinstance(function, Smooth):
        return (
            function.parameters if function.name in ("Square", "Cube", "Sigmoid", "Tanh", "Erf", "Softplus") else None
        )
    return tuple(function.breaks.tolist()) if function.name in ("Abs", "Clip") and function.slopes.ndim == 1 else None


def _silu(path: Path, node: Node, rate: Fraction, factor: Fraction) -> None:
    """``factor z / (1 + exp(-rate z))``, which is ``factor / rate`` times SiLU of ``rate z``."""
    if rate != 1:
        up, down = _as_doubles(node, rate)
        path.diagonal(factor=np.full(path.width, up), divisor=np.full(path.width, down))
    _applied(path, node, silu(), factor / rate)


def _applied(path: Path, node: Node, function: Smooth, factor: Fraction) -> None:
    path.function(function)
    _scaled(path, node, factor)


def _scaled(path: Path, node: Node, factor: Fraction) -> None:
    if factor != 1:
        up, down = _as_doubles(node, factor)
        path.diagonal(factor=np.full(path.width, up), divisor=np.full(path.width, down))


def _double(node: Node, number: Fraction) -> float:
    """A rational that is a double.

    Raises:
        NetworkError: it is none.
    """
    value = number.numerator / number.denominator
    if Fraction(value) != number:
        raise node.refused("its constants multiply to a number that is no double; constants in float32 are accepted")
    return value


def _as_doubles(node: Node, number: Fraction) -> tuple[float, float]:
    """A rational as a double over another.

    Raises:
        NetworkError: it is none.
    """
    value = number.numerator / number.denominator
    if Fraction(value) == number:
        return value, 1.0
    turned = number.denominator / number.numerator
    if math.isfinite(turned) and Fraction(turned) == 1 / number:
        return (1.0, turned) if turned > 0 else (-1.0, -turned)
    top, bottom = float(number.numerator), float(number.denominator)
    if Fraction(top) != number.numerator or Fraction(bottom) != number.denominator:
        raise node.refused("its constants multiply to a number that is no double; constants in float32 are accepted")
    return top, bottom


CURVED: dict[str, Operator[Read]] = {
    "Celu": Operator(_celu, 1, 1, {"alpha": EVERY}),
    "Elu": Operator(_elu, 1, 1, {"alpha": EVERY}),
    "Erf": Operator(_plain(erf), 1, 1),
    "Exp": Operator(_plain(exponential), 1, 1),
    "Gelu": Operator(_gelu, 1, 1, {"approximate": since(20)}),
    "HardSwish": Operator(_plain(hard_swish), 1, 1),
    "Mish": Operator(_plain(mish), 1, 1),
    "Pow": Operator(_power, 2, 2),
    "Selu": Operator(_selu, 1, 1, {"alpha": EVERY, "gamma": EVERY}),
    "Sigmoid": Operator(_plain(sigmoid), 1, 1),
    "Sin": Operator(_plain(sine), 1, 1),
    "Softplus": Operator(_plain(softplus), 1, 1),
    "Softsign": Operator(_plain(softsign), 1, 1),
    "Swish": Operator(_swish, 1, 1, {"alpha": since(24)}),
    "Tanh": Operator(_plain(tanh), 1, 1),
    "com.microsoft.Gelu": Operator(_plain(gelu), 1, 1),
    "com.microsoft.QuickGelu": Operator(_swish, 1, 1, {"alpha": EVERY}),
}
