"""Nodes whose inputs are all constant: shapes and integers exactly; of arithmetic that rounds weights a notice tells.

Floating-point arithmetic is in the type of the file, as a runtime does it; what it gives is then taken as the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wdaverify.network.onnx_nodes import EVERY, Node, Operator, since
from wdaverify.network.onnx_reductions import reduced_shape
from wdaverify.network.onnx_selections import MAX_MADE, SELECTIONS, pad_value, padded, split
from wdaverify.network.onnx_shapes import SHAPES, axis_of
from wdaverify.network.onnx_tensors import DTYPES, Tensor, refuse_non_finite, rounded_to, type_name

_MOST, _WIDE = 2**12, 2**21
"""The most integers, and the most floats, that constants are computed to."""


def folded(node: Node, notices: list[str]) -> list[Tensor]:
    """The constants that ``node`` gives.

    Raises:
        NetworkError: constants of other types or shapes than the operator takes, or one that is not accepted on constants.
    """
    moves = SHAPES.get(node.op) or SELECTIONS.get(node.op)
    source = node.operand(0)
    if source is not None and not source.size and node.op not in ("Cast", "Concat", "Identity", "Reshape"):
        raise node.refused("it reads a list of nothing; at least one number is accepted")
    if source is not None and moves is not None:
        return [moves.read(node, source)]
    if source is not None and node.op == "Split":
        return split(node, source)
    if node.op not in _FOLDED or (source is None and node.op != "Constant"):
        raise node.refused(
            "it computes with constants only, which is accepted of "
            f"{', '.join(sorted({*_FOLDED, *SHAPES, *SELECTIONS}))}; fold the constants when exporting"
        )
    out, exact = _FOLDED[node.op](node)
    if out.dtype.kind == "f":
        refuse_non_finite(out, node.label)
    if not exact:
        notices.append(
            f"{node.label}: it computes with constants, and what it gives, rounded to {out.dtype} as a runtime would, is "
            "taken as the weights"
        )
    return [out]


def shape_of(node: Node, shape: tuple[int, ...]) -> Tensor:
    """What Shape or Size gives of a tensor of one sample."""
    if node.op == "Size":
        return np.array(math.prod(shape), np.int64)
    end = node.integer("end", len(shape))
    return np.array(shape[slice(node.integer("start", 0), end)], np.int64)


_Folded = tuple[Tensor, bool]
"""A constant, and whether nothing was rounded."""


def _operands(node: Node) -> list[Tensor]:
    """All inputs, constants of one type, broadcast to one shape."""
    parts = [part for part in node.constants if part is not None]
    if len(parts) < len(node.constants) or len({part.dtype for part in parts}) > 1:
        raise node.refused(f"constants of types {[str(part.dtype) for part in parts]}; those of one type are accepted")
    try:
        shape = np.broadcast_shapes(*(part.shape for part in parts))
    except ValueError:
        raise node.refused(f"constants of shapes {[list(p.shape) for p in parts]} do not broadcast to one") from None
    if math.prod(shape) > (_WIDE if parts[0].dtype.kind == "f" else _MOST):
        raise node.refused(f"constants that broadcast to shape {list(shape)}; smaller ones are accepted")
    return [np.broadcast_to(part, shape) for part in parts]


def _whole(node: Node, values: object, dtype: np.dtype[Any]) -> Tensor:
    """Python's integers in the type of the file."""
    values, low, high = np.asarray(values, object), int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if any(not low <= v <= high for v in values.reshape(-1).tolist()):
        raise node.refused(f"a result beyond {dtype}; smaller integers are accepted")
    return np.array(values, dtype)


def _arithmetic(node: Node) -> _Folded:
    """``+ - * /`` of two constants or more; integers are divided towards 0."""
    out, *rest = _operands(node)
    dtype, exact = out.dtype, True
    if dtype.kind not in "fi":
        raise node.refused(f"constants of type {dtype}; numbers are accepted")
    for other in rest:
        if node.op in ("Div", "Mod") and not other.all():
            raise node.refused("a constant is divided by 0; other divisors are accepted")
        if dtype.kind == "i":
            out = _whole(node, _INTEGERS[node.op](out.astype(object), other.astype(object)), dtype)
        else:
            with np.errstate(all="ignore"):
                made = _FLOATS[node.op](out, other)
                exact &= _exactly(node.op, out, other, made)
            out = made
    return out, exact


def _exactly(op: str, a: Tensor, b: Tensor, made: Tensor) -> bool:
    """Whether a result is known not to be rounded."""
    if op in ("Max", "Min"):
        return True
    if op in ("Add", "Sub", "Sum"):  # the error of a sum (Knuth)
        b = -b if op == "Sub" else b
        part = made - a
        return bool(((a - (made - part)) + (b - part) == 0).all())
    if made.dtype != np.float32:
        return False
    a, b, made = (part.astype(np.float64) for part in (a, b, made))
    return bool((a * b == made if op == "Mul" else made * b == a).all())


def _toward_zero(a: Tensor, b: Tensor) -> Tensor:
    sign: Tensor = 1 - 2 * ((a < 0) ^ (b < 0)).astype(object)
    return np.asarray((abs(a) // abs(b)) * sign, object)


_FLOATS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Sub": np.subtract,
    "Sum": np.add,
}
_INTEGERS = _FLOATS | {"Div": _toward_zero}
_TESTS: dict[str, Callable[..., Tensor]] = {
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "Or": np.logical_or,
}


def _test(node: Node) -> _Folded:
    return np.asarray(_TESTS[node.op](*_operands(node))), True


def _alone(node: Node) -> _Folded:
    """A number's negative, absolute value or square root."""
    (source,) = _operands(node)
    if node.op != "Sqrt" and source.dtype.kind == "f":
        return (-source if node.op == "Neg" else np.abs(source)), True
    if node.op != "Sqrt" and source.dtype.kind == "i":
        wide = source.astype(object)
        return _whole(node, -wide if node.op == "Neg" else abs(wide), source.dtype), True
    if source.dtype.kind != "f" or (source < 0).any():
        raise node.refused(f"a constant of type {source.dtype} or with numbers below 0; others are accepted")
    out = np.sqrt(source)
    return out, source.dtype == np.float32 and bool((out.astype(np.float64) ** 2 == source).all())


def _reduce(node: Node) -> _Folded:
    source = node.constants[0]
    assert source is not None
    axes, shape = reduced_shape(node, source.shape)
    rest = [k for k in range(source.ndim) if k not in axes]
    groups = source.transpose([*axes, *rest]).reshape(-1, math.prod(source.shape[k] for k in rest))
    how = node.op.removeprefix("Reduce").lower()
    if source.dtype.kind == "i" and how != "mean" and source.size <= _MOST:
        found = getattr(groups.astype(object), how)(axis=0)
        return _whole(node, found, source.dtype).reshape(shape), True
    if source.dtype.kind != "f":
        raise node.refused(
            f"a constant of type {source.dtype} and shape {list(source.shape)}; floating-point numbers are accepted"
        )
    with np.errstate(all="ignore"):
        made = getattr(groups, how)(axis=0)
    return np.asarray(made, source.dtype).reshape(shape), how in ("max", "min") or len(groups) == 1


def _concatenation(node: Node) -> _Folded:
    parts = [part for part in node.constants if part is not None]
    ranks = {part.ndim for part in parts}
    if len(parts) < len(node.constants) or len(ranks) > 1 or len({part.dtype for part in parts}) > 1 or ranks == {0}:
        raise node.refused("constants of different types or numbers of axes; those of one are accepted")
    axis = axis_of(node, parts[0].ndim, 1)
    if len({part.shape[:axis] + part.shape[axis + 1 :] for part in parts}) > 1:
        raise node.refused(f"constants of shapes {[list(p.shape) for p in parts]} do not fit along axis {axis}")
    return np.concatenate(parts, axis=axis), True


def _pad(node: Node) -> _Folded:
    source = node.constants[0]
    assert source is not None
    return padded(node, source, pad_value(node).astype(source.dtype)), True


def _filled(node: Node) -> _Folded:
    """A tensor of one number; of 0 by default."""
    shape, value = node.integer_operand(0), node.attributes.get("value", np.zeros(1, np.float32))
    if shape is None or any(size < 1 for size in shape) or math.prod(shape) > MAX_MADE or len(shape) > 32:
        raise node.refused(
            f"shape {None if shape is None else list(shape)}; 1 to 2^24 numbers on at most 32 axes are accepted"
        )
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise node.refused("a value that is not one number; one is accepted")
    return np.full(shape, value.reshape(()), value.dtype), True


def _range(node: Node) -> _Folded:
    parts = _operands(node)
    if parts[0].dtype.kind != "i" or parts[0].size != 1 or not int(parts[2].reshape(())):
        raise node.refused(
            "a range that is not of integers, or in steps of 0; start, limit and step as integers are accepted"
        )
    whole = range(*(int(part.reshape(())) for part in parts))
    if not 0 < len(whole) <= MAX_MADE:
        raise node.refused(f"a range of {len(whole)} numbers; 1 to 2^24 are accepted")
    return np.array(whole, parts[0].dtype), True


def _where(node: Node) -> _Folded:
    condition, *parts = node.constants
    if condition is None or condition.dtype != np.bool_ or any(part is None for part in parts):
        raise node.refused("a condition that is no constant of BOOL, or computed branches; constants are accepted")
    a, b = (part for part in parts if part is not None)
    try:
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
    except ValueError:
        shape = ()
    if a.dtype != b.dtype or not math.prod(shape) <= MAX_MADE or len(shape) < max(condition.ndim, a.ndim, b.ndim):
        shapes = [list(part.shape) for part in (condition, a, b)]
        raise node.refused(f"constants of shapes {shapes} and types {a.dtype} and {b.dtype} do not go together")
    return np.where(condition, a, b), True


def _constant(node: Node) -> _Folded:
    if len(node.attributes) != 1:
        raise node.refused("exactly one of value, value_float, value_floats, value_int, value_ints is accepted")
    ((name, value),) = node.attributes.items()
    if name == "value":
        if not isinstance(value, np.ndarray):
            raise node.refused("attribute value is not a tensor")
        return value, True
    if name in ("value_int", "value_ints"):
        whole = node.integer(name, 0) if name == "value_int" else node.integers(name)
        out: Tensor = np.array(whole, dtype=np.int64)
    else:
        number = node.number(name, 0.0) if name == "value_float" else value
        if name == "value_floats" and not isinstance(number, tuple):
            raise node.refused("attribute value_floats is not a list of numbers")
        out = np.array(number, dtype=np.float32)
        refuse_non_finite(out, node.label)
    if out.size == 0:
        raise node.refused(f"attribute {name} is empty")
    return out, True


def _cast(node: Node) -> _Folded:
    """To another type; a number that has to be rounded to a shorter one is told, one that is no integer refused."""
    source, code = node.constants[0], node.integer("to", 0)
    assert source is not None
    if code not in DTYPES:
        accepted = ", ".join(type_name(known) for known in DTYPES)
        raise node.refused(f"a cast to {type_name(code)}; accepted are {accepted}")
    with np.errstate(over="ignore", invalid="ignore"):
        out = rounded_to(source, code)
        exact = np.array_equal(out.astype(source.dtype), source)
    if not exact and not (source.dtype.kind == out.dtype.kind == "f"):
        raise node.refused(
            f"casting this constant to {type_name(code)} changes its numbers; store them in that type when exporting"
        )
    return out, exact


_FOLDED: dict[str, Callable[[Node], _Folded]] = {
    **dict.fromkeys(_FLOATS, _arithmetic),
    **dict.fromkeys(_TESTS, _test),
    **dict.fromkeys(("Abs", "Neg", "Sqrt"), _alone),
    **dict.fromkeys((f"Reduce{how}" for how in ("Max", "Mean", "Min", "Prod", "Sum")), _reduce),
    "Cast": _cast,
    "Concat": _concatenation,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Pad": _pad,
    "Range": _range,
    "Where": _where,
}
CONSTANTS: dict[str, Operator[object]] = {
    **{name: Operator(None, 1 if name == "Not" else 2, 1 if name == "Not" else 2) for name in _TESTS},
    "Constant": Operator(
        None, 0, 0, {"value": EVERY} | {f"value_{kind}": since(12) for kind in ("float", "floats", "int", "ints")}
    ),
    "ConstantOfShape": Operator(None, 1, 1, {"value": EVERY}),
    "Range": Operator(None, 3, 3),
    "ReduceProd": Operator(None, 1, 2, {"axes": EVERY, "keepdims": EVERY, "noop_with_empty_axes": since(18)}),
    "Shape": Operator(None, 1, 1, {"start": since(15), "end": since(15)}),
    "Size": Operator(None, 1, 1),
    "Sqrt": Operator(None, 1, 1),
    "Where": Operator(None, 3, 3),
}
"""Operators on constants alone."""
