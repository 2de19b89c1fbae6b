"""Results as JSON: published schemas, doubles kept exactly, files written whole or not at all.

A finite number is written in its shortest form that reads back as the same double; a non-finite one is the string
"inf" or "-inf". The schemas beside this module (verification, attack, verdict) say what every field holds.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import secrets
import stat
from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wdaverify.errors import OutputError
from wdaverify.network.model import Affine, Array, Diagonal, ReluNetwork
from wdaverify.problem import Functionals, Support, WdroProblem
from wdaverify.wdro.result import Atom, AttackResult, SampleBracket, Statistics, VerificationResult

Json = dict[str, Any]

VERIFICATION_SCHEMA = "wdaverify/verification/1"
ATTACK_SCHEMA = "wdaverify/attack/1"
NETWORK_SCHEMA = "wdaverify/network/1"

_PACKAGES = ("wdaverify", "numpy", "torch", "highspy", "gurobipy", "onnx")


def verification_json(result: VerificationResult) -> Json:
    """The fields of ``verification.schema.json``."""
    return {
        "schema": VERIFICATION_SCHEMA,
        "status": result.status.value,
        "reason": result.reason.value,
        "detail": result.detail,
        "lower": number(result.lower),
        "upper": number(result.upper),
        "gap": number(result.gap),
        "gap_asked": number(result.gap_asked),
        "threshold": _optional(result.threshold),
        "nominal": number(result.nominal),
        **question_json(result.problem),
        "multiplier": _optional(result.multiplier),
        "transport_cost": number(result.transport_cost),
        "attacks": {name: number(bound) for name, bound in result.attacks.items()},
        "vouched": {"lower": result.vouched_lower.value, "upper": result.vouched_upper.value},
        "solver": asdict(result.solver),
        "statistics": _statistics(result.statistics),
        **_provenance(result.problem, result.seed, result.notices),
        "per_sample": [_sample_bracket(bracket) for bracket in result.per_sample],
        "atoms": [_atom(atom) for atom in result.atoms],
        "rays": [
            {"label": ray.label, "value": number(ray.value), "direction": _vector(ray.direction)} for ray in result.rays
        ],
    }


def attack_json(result: AttackResult) -> Json:
    """The fields of ``attack.schema.json``; ``lower`` is the best bound found, the nominal loss at the least."""
    return {
        "schema": ATTACK_SCHEMA,
        "lower": number(max([result.nominal, *result.attacks.values()])),
        "nominal": number(result.nominal),
        **question_json(result.problem),
        "transport_cost": number(result.transport_cost),
        "attacks": {name: number(bound) for name, bound in result.attacks.items()},
        "finished": result.finished,
        "statistics": {
            "seconds": number(result.seconds),
            "evaluations": int(result.evaluations),
            "device": result.device,
        },
        **_provenance(result.problem, result.seed, result.notices),
        "atoms": [_atom(atom) for atom in result.atoms],
    }


def network_json(network: ReluNetwork) -> Json:
    """What ``wdaverify info --json`` prints: shapes, layers in file order, counts, the hash of the file."""
    return {"schema": NETWORK_SCHEMA, **_network(network), "sha256": network.sha256, "notices": list(network.notices)}


def dumps(document: Json) -> str:
    """The document as JSON text: one line for each field, and one for each entry of a list of objects."""
    fields = (f"  {json.dumps(name)}: {_field(value)}" for name, value in document.items())
    return "{\n" + ",\n".join(fields) + "\n}\n"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that ``write`` could not write, before any work is done.

    Raises:
        OutputError: the folder is missing or closed to us, or the path names something that is not a plain file.
    """
    if not os.path.basename(path):
        raise OutputError(_refusal(path, "it names no file"))
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(_refusal(path, "it is a folder" if stat.S_ISDIR(mode) else "it is not a plain file"))
    if mode is not None and not os.access(target, os.W_OK):
        raise OutputError(_refusal(path, "the file is read-only"))
    scratch = _scratch(target)
    try:
        scratch.touch(exist_ok=False)
        scratch.unlink()
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error


def write(path: str | os.PathLike[str], document: Json) -> None:
    """Write the document whole or not at all: to a scratch file beside ``path``, which then takes its place.

    Raises:
        OutputError: the file cannot be written; what was there before is left as it was.
    """
    write_text(path, dumps(document))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text whole or not at all.

    Raises:
        OutputError: as ``write``.
    """
    target = Path(os.path.realpath(path))
    scratch = _scratch(target)
    try:
        try:
            with scratch.open("x", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error


def schema(name: str) -> Json:
    """The published JSON schema (draft 2020-12) of a "verification", an "attack" or a "verdict".

    Raises:
        KeyError: there is no schema of that name.
    """
    if name not in ("verification", "attack", "verdict"):
        raise KeyError(f"no schema {name!r}: there are 'verification', 'attack' and 'verdict'")
    text = resources.files("wdaverify.report").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    document: Json = json.loads(text)
    return document


def number(value: float) -> float | str:
    """A double as JSON holds it: itself, or "inf" or "-inf"."""
    plain = float(value)
    if math.isnan(plain):
        raise ValueError("a result holds NaN, which is no bound of anything")
    if math.isinf(plain):
        return "inf" if plain > 0 else "-inf"
    return plain


def _optional(value: float | None) -> float | str | None:
    return None if value is None else number(value)


def _vector(values: Iterable[float]) -> list[float | str]:
    return [number(value) for value in values]


def question_json(problem: WdroProblem) -> Json:
    """What was asked."""
    return {
        "radius": number(problem.radius),
        "order": number(problem.cost.order) if math.isinf(problem.cost.order) else problem.cost.power,
        "norm": problem.cost.norm.value,
        "label_cost": number(problem.cost.label_cost),
        "cost_weights": None if problem.cost.weights is None else _vector(problem.cost.weights),
        "loss": problem.loss.value,
        "functionals": None if problem.functionals is None else _functionals(problem.functionals),
        "support": _support(problem.support),
    }


def _functionals(functionals: Functionals) -> Json:
    rows = [_vector(row) for row in functionals.matrix]
    offset = functionals.offset
    return {"matrix": rows, "offset": _vector(offset) if offset.ndim == 1 else [_vector(row) for row in offset]}


def _support(support: Support) -> Json:
    rows = support.rows
    return {
        "kind": "box" if support.bounded else "whole-space",
        "lower": _side(support.lower),
        "upper": _side(support.upper),
        "rows": []
        if rows is None
        else [
            {"coefficients": _vector(row), "lower": number(low), "upper": number(high)}
            for row, low, high in zip(rows.matrix, rows.lower, rows.upper, strict=True)
        ],
        "integer": [] if support.integer is None else [int(k) for k in support.integer.nonzero()[0]],
    }


def _side(bound: Array) -> float | str | list[float | str]:
    """One number where all the features share it, else one for each feature."""
    return number(bound[0]) if bound.size and (bound == bound[0]).all() else _vector(bound)


def _atom(atom: Atom) -> Json:
    return {
        "sample": int(atom.sample),
        "weight": number(atom.weight),
        "distance": number(atom.distance),
        "loss": number(atom.loss),
        "loss_float32": None if math.isnan(atom.loss_float32) else number(atom.loss_float32),
        "label": int(atom.label),
        "point": _vector(atom.point),
    }


def _sample_bracket(bracket: SampleBracket) -> Json:
    return {
        "sample": int(bracket.sample),
        "weight": number(bracket.weight),
        "lower": number(bracket.lower),
        "upper": number(bracket.upper),
        "vouched": bracket.vouched.value,
    }


def _statistics(statistics: Statistics) -> Json:
    return {name: number(v) if isinstance(v, float) else v for name, v in asdict(statistics).items()}


def _provenance(problem: WdroProblem, seed: int, notices: tuple[str, ...]) -> Json:
    return {
        "seed": int(seed),
        "notices": list(dict.fromkeys((*problem.network.notices, *notices))),
        "network": _network(problem.network),
        "network_sha256": problem.network.sha256,
        "samples": {"source": problem.samples.source, "count": len(problem.samples)},
        "samples_sha256": problem.samples.sha256,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _version(package: str) -> str | None:
    """The installed version, from the metadata: nothing is imported for it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _network(network: ReluNetwork) -> Json:
    return {
        "name": network.name,
        "input_shape": [int(size) for size in network.input_shape],
        "output_shape": [int(size) for size in network.output_shape],
        "inputs": network.n_inputs,
        "outputs": network.n_outputs,
        "relus": network.n_relus,
        "parameters": network.n_parameters,
        "layers": _layers(network),
    }


def _layers(network: ReluNetwork) -> list[Json]:
    width, out = network.n_inputs, []
    for layer in network.layers:
        before = width
        if isinstance(layer, Affine):
            kind, width = "affine", int(layer.weight.shape[0])
        else:
            kind = "diagonal" if isinstance(layer, Diagonal) else "relu"
        out.append({"kind": kind, "inputs": before, "outputs": width})
    return out


def _field(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        return "[\n" + ",\n".join(f"    {json.dumps(entry, allow_nan=False)}" for entry in value) + "\n  ]"
    return json.dumps(value, allow_nan=False)


def _scratch(target: Path) -> Path:
    return target.with_name(f".wdaverify-{secrets.token_hex(8)}.tmp")


def _words(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its folder does not exist"
    return (error.strerror or str(error)).lower()


def _refusal(path: str | os.PathLike[str], why: str) -> str:
    return f"cannot write {os.fspath(path)}: {why}; name a plain file in a folder that exists and can be written to"
