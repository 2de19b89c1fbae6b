"""Result files, read as what they are: files of strangers. Sizes, types and cross-references are checked once, here."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from wdaverify.errors import DocumentError
from wdaverify.report.as_json import schema

Json = dict[str, Any]

KINDS = ("verification", "attack", "curve", "distances", "compare", "lipschitz", "check", "batch", "instances")
BATCHES = ("batch", "instances")
"""Kinds whose rows have a result each."""
MAX_BYTES = 2**28
_LONGEST, _ENOUGH = 160, 50
"""Characters of a refusal that are another's; how many faults are compared to name one."""


@dataclass(frozen=True, eq=False)
class Document:
    """A result that met its schema: what kind it is, the file it came from ("" if none) with its hash, and its fields."""

    kind: str
    name: str
    sha256: str
    data: Json


def read_document(path: str) -> Document:
    """Read a result file.

    Raises:
        DocumentError: the file is too large, no JSON, not of a kind that is accepted, or contradicts itself.
    """
    shown = path if path.isprintable() else ascii(path)
    try:
        if not os.path.isfile(path):
            _refuse(shown, "there is no such file")
        if os.path.getsize(path) > MAX_BYTES:
            _refuse(shown, f"the file has {os.path.getsize(path)} bytes; at most {MAX_BYTES} are accepted")
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        _refuse(shown, f"the file cannot be read ({error.strerror or 'input error'})")
    return _checked(_parsed(raw, shown), shown, hashlib.sha256(raw).hexdigest())


def as_document(data: Json) -> Document:
    """A result that this run made, by way of JSON, so that it is seen as a reader of its file would see it."""
    return _checked(json.loads(json.dumps(data, allow_nan=False)), "", "")


def number(value: float | str) -> float:
    """A number of a document: itself, or "inf" or "-inf"."""
    return float(value)


def unbounded(result: Json) -> bool:
    """Whether a verification shows that its value is +inf."""
    return result["reason"] == "unbounded" and result.get("tie") is not None


def _parsed(raw: bytes, shown: str) -> Json:
    try:
        data = json.loads(raw, parse_constant=_not_a_number, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        _refuse(shown, "its JSON is nested too deeply")
    except (ValueError, UnicodeDecodeError) as error:
        _refuse(shown, f"this is no JSON that wdaverify writes ({str(error)[:_LONGEST]})")
    if not isinstance(data, dict):
        _refuse(shown, f"its JSON is a {type(data).__name__}, not an object")
    return data


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f'{text} is no JSON number; infinities are written "inf" and "-inf"')


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is no finite double")
    return value


def _whole(text: str) -> int:
    if len(text) > 19:
        raise ValueError(f"the number {text[:40]} has {len(text)} digits")
    return int(text)


def _checked(data: Json, name: str, sha256: str) -> Document:
    kind = _kind(data, name)
    _meet_schema(data, kind, name)
    for where, inner in _inner(data, kind):
        inside = "check" if kind == "instances" else "verification"
        _meet_schema(inner, inside, f"{name}: {where}")
        _agree(inner, inside, f"{name}: {where}")
    if kind in BATCHES:
        _count(data, kind, name)
    else:
        _agree(data, kind, name)
    return Document(kind, os.path.basename(name), sha256, data)


def _inner(data: Json, kind: str) -> Iterator[tuple[str, Json]]:
    """Verifications within a document, and where they stand."""
    if kind == "compare":
        yield from ((f"verification {k}", inner) for k, inner in enumerate(data["verifications"]))
    if kind in BATCHES:
        yield from ((f"row {k}", row["result"]) for k, row in enumerate(data["rows"]) if row["result"] is not None)


def _count(data: Json, kind: str, name: str) -> None:
    """What a batch says of its rows must be what they say."""
    for k, row in enumerate(data["rows"]):
        result = row["result"]
        done = result is not None and (_decided if kind == "instances" else _answered)(result)
        if row["done"] != done or (result is not None and row["refused"] is not None):
            _refuse(name, f"row {k} contradicts its result")
    if data["done"] != all(row["done"] for row in data["rows"]):
        _refuse(name, "it contradicts its rows about whether all are done")
    if len({row["name"] for row in data["rows"]}) < len(data["rows"]):
        _refuse(name, "two of its rows have one name")


def _answered(result: Json) -> bool:
    closed = result["status"] in ("exact", "to-the-gap") and result["reason"] != "threshold-undecided"
    return closed or result["reason"] == "threshold-decided" or unbounded(result)


def _decided(result: Json) -> bool:
    return result["outcome"] in ("sat", "unsat")


def _kind(data: Json, name: str) -> str:
    stated = data.get("schema")
    kind = next((kind for kind in KINDS if stated == f"wdaverify/{kind}/1"), None)
    if kind is None:
        accepted = ", ".join(f"wdaverify/{kind}/1" for kind in KINDS)
        _refuse(name, f"its schema is {_short(stated)}; accepted are {accepted}: give a file that --output wrote")
    return kind


def _fill_in(data: Json, kind: str) -> None:
    """Older versions said nothing of float32, which is unknown then, of ties, which they did not show, of the status of curves and
    distances, which was exact or not, of how the network was read, and of what a layer reads, which was the one before it.
    """
    if kind == "verification":
        data.setdefault("tie", None)
    if kind in ("curve", "distances"):
        data.setdefault("status", "exact" if data.get("exact") is True else "bracket")
    if isinstance(data.get("files"), dict):
        for name, plain in (("logits", False), ("output_name", None), ("external_data", False)):
            data["files"].setdefault(name, plain)
    network = data.get("network")
    found = network.get("layers") if isinstance(network, dict) else None
    for k, layer in enumerate(found if isinstance(found, list) else ()):
        if isinstance(layer, dict):
            layer.setdefault("sources", [k])
            layer.setdefault("shape", None)
    for field in ("atoms", "distances"):
        entries = data.get(field)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                entry.setdefault("float32", None)


def _meet_schema(data: Json, kind: str, name: str) -> None:
    _fill_in(data, kind)
    try:
        error = best_match(islice(_validator(kind).iter_errors(data), _ENOUGH))
    except RecursionError:
        _refuse(name, "its JSON is nested too deeply")
    if error is not None:
        where = ascii("/".join(str(step) for step in error.absolute_path)[:_LONGEST])[1:-1]
        place = f"its field {where}" if where else "it"
        _refuse(name, f"{place} is not what the schema {kind} says: {error.message[:_LONGEST]}")


@cache
def _validator(kind: str) -> Any:
    return extend(Draft202012Validator, {"items": _items})(schema(kind))


def _items(validator: Any, items: Any, instance: Any, whole: Json) -> Iterator[ValidationError]:
    """As jsonschema's own; lists of plain numbers, which may be a million long, are not looked at one by one."""
    numbers = items in ({"type": "number"}, {"$ref": "#/$defs/number"}) and isinstance(instance, list)
    if numbers and {type(value) for value in instance} <= {int, float}:
        return
    yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, whole)


def _agree(data: Json, kind: str, name: str) -> None:
    """What no schema can say: vectors as wide as the network, atoms of samples that are there, bounds in order."""
    width, outputs = data["network"]["inputs"], data["network"]["outputs"]
    for point in _points(data, kind):
        if len(point) != width:
            _refuse(name, f"a point has {len(point)} features where the network takes {width}")
    if data.get("counterexample") is not None and len(data["counterexample"]["outputs"]) != outputs:
        _refuse(name, f"the counterexample has other outputs than the {outputs} of the network")
    _sides(data.get("support") or data.get("region") or {}, width, name)
    if "originals" in data:
        known = {original["sample"] for original in data["originals"]}
        strangers = [atom["sample"] for atom in data["atoms"] if atom["sample"] not in known]
        if strangers or len(known) != len(data["originals"]):
            _refuse(name, "its atoms and originals do not belong together")
        for entry in (*data["atoms"], *data["originals"]):
            if entry["predicted"] is not None and entry["predicted"] >= outputs:
                _refuse(name, f"class {entry['predicted']} is predicted by a network of {outputs} outputs")
    for entry in _brackets(data, kind):
        if number(entry["lower"]) > number(entry["upper"]):
            _refuse(name, f"a bracket [{entry['lower']}, {entry['upper']}] ends before it begins")


def _points(data: Json, kind: str) -> Iterator[Sequence[float]]:
    for field in ("atoms", "originals"):
        yield from (entry["point"] for entry in data.get(field, ()))
    if kind == "distances":
        for entry in data["distances"]:
            yield entry["original"]
            if entry["point"] is not None:
                yield entry["point"]
    if kind == "lipschitz":
        yield from (part["point"] for part in data["parts"] if part["point"] is not None)
    if data.get("counterexample") is not None:
        yield data["counterexample"]["inputs"]
    yield from (ray["direction"] for ray in data.get("rays", ()))
    if data.get("tie") is not None:
        yield from (data["tie"]["point"], data["tie"]["toward"])
    if data.get("cost_weights") is not None:
        yield data["cost_weights"]


def _sides(support: Json, width: int, name: str) -> None:
    for side in ("lower", "upper"):
        if isinstance(support.get(side), list) and len(support[side]) != width:
            _refuse(name, f"the {side} side of its support has {len(support[side])} features, the network {width}")


def _brackets(data: Json, kind: str) -> Iterator[Json]:
    if kind in ("verification", "lipschitz", "check"):
        yield data
    for field in ("distances", "points", "ladders", "parts"):
        yield from data.get(field, ())


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse(name: str, why: str) -> NoReturn:
    raise DocumentError(f"{name}: {why}" if name else why)
