"""Results as JSON: published schemas, doubles kept exactly, files written whole or not at all.

A finite number is written in its shortest form that reads back as the same double; a non-finite one is the string
"inf" or "-inf". The schemas beside this module say what every field holds.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from wdaverify.compiled.choice import loops
from wdaverify.losses.registry import Loss, those
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Functionals, Support, WdroProblem
from wdaverify.report.error_rates import error_rate_json
from wdaverify.report.layers import layers
from wdaverify.wdro.result import Atom, AttackResult, Deployed, SampleBracket, Statistics, VerificationResult
from wdaverify.witness.tie import Tie
from wdaverify.writing import check_writable as check_writable
from wdaverify.writing import write_text as write_text

Json = dict[str, Any]

VERIFICATION_SCHEMA = "wdaverify/verification/1"
ATTACK_SCHEMA = "wdaverify/attack/1"
NETWORK_SCHEMA = "wdaverify/network/1"

SCHEMAS = (
    "verification",
    "attack",
    "module_attack",
    "curve",
    "distances",
    "compare",
    "lipschitz",
    "verdict",
    "batch",
    "check",
    "instances",
    "unsat_verdict",
    "slope_verdict",
)

_PACKAGES = ("wdaverify", "numpy", "torch", "highspy", "gurobipy", "pyscipopt", "onnx", "onnxruntime")


def verification_json(result: VerificationResult, files: Json | None = None) -> Json:
    """The fields of ``verification.schema.json``; ``files`` names what the question was read from (``files_json``)."""
    return {
        "schema": VERIFICATION_SCHEMA,
        "status": result.status.value,
        "reason": result.reason.value,
        "detail": result.detail,
        "lower": number(result.lower),
        "upper": number(result.upper),
        "gap": number(result.gap),
        "gap_asked": number(result.gap_asked),
        "threshold": optional(result.threshold),
        "nominal": number(result.nominal),
        "error_rate": error_rate_json(result.problem, result.atoms),
        **question_json(result.problem),
        "multiplier": optional(result.multiplier),
        "transport_cost": number(result.transport_cost),
        "attacks": {name: number(bound) for name, bound in result.attacks.items()},
        "vouched": {"lower": result.vouched_lower.value, "upper": result.vouched_upper.value},
        "solver": asdict(result.solver),
        "statistics": _statistics(result.statistics),
        **_provenance(result.problem, result.seed, result.notices),
        "files": files,
        "per_sample": [_sample_bracket(bracket) for bracket in result.per_sample],
        **_atoms(result.problem, result.atoms),
        "rays": [
            {"label": ray.label, "value": number(ray.value), "direction": _vector(ray.direction)} for ray in result.rays
        ],
        "tie": None if result.tie is None else _tie(result.tie),
        "float32": deployed_json(result.deployed),
    }


def attack_json(result: AttackResult, files: Json | None = None) -> Json:
    """The fields of ``attack.schema.json``; ``lower`` is the best bound found, the nominal loss at the least."""
    return {
        "schema": ATTACK_SCHEMA,
        "lower": number(max([result.nominal, *result.attacks.values()])),
        "nominal": number(result.nominal),
        "error_rate": error_rate_json(result.problem, result.atoms),
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
        "files": files,
        **_atoms(result.problem, result.atoms),
        "float32": deployed_json(result.deployed),
    }


def deployed_json(deployed: Deployed | None) -> Json | None:
    """What float32 added to a bracket; None in real arithmetic."""
    if deployed is None:
        return None
    replay = deployed.replay
    return {
        "above": number(deployed.above),
        "below": number(deployed.below),
        "real": {"lower": optional(deployed.lower), "upper": optional(deployed.upper)},
        "replay": None if replay is None else {**asdict(replay), "farthest": number(replay.farthest)},
    }


def _tie(tie: Tie) -> Json:
    return {
        "sample": tie.sample,
        "classes": list(tie.classes),
        "point": [_rational(value) for value in tie.point],
        "toward": [_rational(value) for value in tie.toward],
    }


def _rational(value: Fraction) -> str:
    """A fraction in full; ``Decimal`` writes whole numbers of any length."""
    top, bottom = (f"{Decimal(part):f}" for part in value.as_integer_ratio())
    return top if bottom == "1" else f"{top}/{bottom}"


def network_json(network: ReluNetwork) -> Json:
    """What ``wdaverify info --json`` prints: shapes, layers in file order, counts, the hash of the file."""
    shown = {**_network(network), "head": network.head}
    return {"schema": NETWORK_SCHEMA, **shown, "sha256": network.sha256, "notices": list(network.notices)}


def dumps(document: Json) -> str:
    """The document as JSON text: one line for each field, and one for each entry of a list of objects."""
    fields = (f"  {json.dumps(name)}: {_field(value)}" for name, value in document.items())
    return "{\n" + ",\n".join(fields) + "\n}\n"


def write(path: str | os.PathLike[str], document: Json) -> None:
    """Write the document whole or not at all: to a scratch file beside ``path``, which then takes its place.

    Raises:
        OutputError: the file cannot be written; what was there before is left as it was.
    """
    write_text(path, dumps(document))


def schema(name: str) -> Json:
    """The published JSON schema (draft 2020-12) of a kind of document, one of ``SCHEMAS``.

    Raises:
        KeyError: there is no schema of that name.
    """
    if name not in SCHEMAS:
        raise KeyError(f"no schema {name!r}: there are {', '.join(SCHEMAS)}")
    text = resources.files("wdaverify.report").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    document: Json = json.loads(text, object_hook=_named_losses)
    return document


def _named_losses(entry: Json) -> Json:
    """The losses that are accepted, where a schema leaves them to the registry, which alone lists them."""
    which = {"every loss": list(Loss), "every loss of certificates": those(lambda rule: rule.certified)}
    accepted = which.get(str(entry.get("$comment")))
    return entry if accepted is None else {"enum": [loss.value for loss in accepted]}


def number(value: float) -> float | str:
    """A double as JSON holds it: itself, or "inf" or "-inf"."""
    plain = float(value)
    if math.isnan(plain):
        raise ValueError("a result holds NaN, which is no bound of anything")
    if math.isinf(plain):
        return "inf" if plain > 0 else "-inf"
    return plain


def optional(value: float | None) -> float | str | None:
    """A number that may be missing."""
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
        "arithmetic": problem.arithmetic.value,
        "functionals": None if problem.functionals is None else _functionals(problem.functionals),
        "specification": specification_json(problem),
        "support": support_json(problem.support),
    }


def specification_json(problem: WdroProblem) -> Json | None:
    """What must not happen: the name and the hash of its file, its disjuncts, and which of them can hold on the support."""
    found, unsafe = problem.specification, problem.network.unsafe
    if found is None or unsafe is None:
        return None
    return {
        "name": found.name,
        "sha256": found.sha256,
        "disjuncts": len(found.disjuncts),
        "kept": list(unsafe.disjuncts),
    }


def label_json(problem: WdroProblem, label: int) -> int | None:
    """A label, of which a specification knows none."""
    return int(label) if problem.samples.labelled else None


def class_json(problem: WdroProblem, found: int | None) -> int | None:
    """A class of the network, or the disjunct that one of a specification's scores stands for; None: none of them."""
    unsafe = problem.network.unsafe
    if unsafe is None or found is None:
        return found
    return unsafe.disjuncts[found - 1] if 0 < found <= len(unsafe.disjuncts) else None


def _functionals(functionals: Functionals) -> Json:
    rows = [_vector(row) for row in functionals.matrix]
    offset = functionals.offset
    return {"matrix": rows, "offset": _vector(offset) if offset.ndim == 1 else [_vector(row) for row in offset]}


def support_json(support: Support) -> Json:
    """The box, the rows and the integers of a support."""
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


def _atoms(problem: WdroProblem, atoms: Sequence[Atom]) -> Json:
    """The atoms, and the samples that they come from; ``predicted`` is the class of the largest logit (float64)."""
    samples = problem.samples
    from_ = sorted({int(atom.sample) for atom in atoms})
    originals = zip(from_, _predicted(problem, [samples.x[i] for i in from_]), strict=True)
    there = zip(atoms, _predicted(problem, [a.point for a in atoms], [a.loss > 0 for a in atoms]), strict=True)
    return {
        "originals": [
            {
                "sample": i,
                "weight": number(samples.w[i]),
                "label": label_json(problem, samples.y[i]),
                "predicted": predicted,
                "point": _vector(samples.x[i]),
            }
            for i, predicted in originals
        ],
        "atoms": [{**_atom(problem, atom), "predicted": predicted} for atom, predicted in there],
    }


def _predicted(problem: WdroProblem, points: Sequence[Array], unsafe: Sequence[bool] | None = None) -> list[int | None]:
    """The class of the largest logit at each point; None where a network of one output has no classes.

    With a specification the disjunct that is violated, None where none is; ``unsafe`` says where that was decided already.
    """
    if problem.network.n_outputs < 2 or not points:
        return [None] * len(points)
    z = problem.network.forward(np.stack(points))
    if problem.network.unsafe is None:
        return [int(k) for k in z.argmax(axis=1)]
    least = z[:, 1:] - z[:, :1]
    hit = least.max(axis=1) >= 0 if unsafe is None else unsafe
    return [class_json(problem, 1 + int(k) if there else 0) for k, there in zip(least.argmax(axis=1), hit, strict=True)]


def _atom(problem: WdroProblem, atom: Atom) -> Json:
    return {
        "sample": int(atom.sample),
        "weight": number(atom.weight),
        "distance": number(atom.distance),
        "loss": number(atom.loss),
        "loss_float32": None if math.isnan(atom.loss_float32) else number(atom.loss_float32),
        "float32": None if atom.float32 is None else atom.float32.value,
        "label": label_json(problem, atom.label),
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


def _provenance(problem: WdroProblem, seed: int, notices: Sequence[str]) -> Json:
    return {"seed": int(seed), **provenance_json(problem, notices)}


def provenance_json(problem: WdroProblem, notices: Sequence[str]) -> Json:
    """What was read, what ran, and where it ran."""
    return {
        **network_provenance_json(problem.network, (*problem.samples.notices, *notices)),
        "samples": {"source": problem.samples.source, "count": len(problem.samples)},
        "samples_sha256": problem.samples.sha256,
    }


def network_provenance_json(network: ReluNetwork, notices: Sequence[str]) -> Json:
    """Which network was read, what ran, and where it ran."""
    return {
        "made": now(),
        "notices": list(dict.fromkeys((*network.notices, *notices))),
        "network": _network(network),
        "network_sha256": network.sha256,
        "versions": {
            "loops": loops(),
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "machine": machine_json(),
    }


def now() -> str:
    """The time in UTC, to the second: ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine_json() -> Json:
    """The kind of machine, without its name."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count() or 1,
        "python": platform.python_implementation(),
    }


def files_json(
    network: str,
    samples: str,
    *,
    clip: bool = False,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    support: str | None = None,
    cost_weights: str | None = None,
    functionals: str | None = None,
    specification: str | None = None,
    logits: bool = False,
    output_name: str | None = None,
    external_data: bool = False,
    certificate: str | None = None,
) -> Json:
    """The files that a question was read from, and how, so that it can be asked again; ``certificate`` was written."""
    return {
        "network": network,
        "samples": samples,
        "clip": clip,
        "label_column": label_column,
        "classes": None if classes is None else list(classes),
        "support": support,
        "cost_weights": cost_weights,
        "functionals": functionals,
        "specification": specification,
        "logits": logits,
        "output_name": output_name,
        "external_data": external_data,
        "certificate": certificate,
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
        "curved": list(network.curved),
        "parameters": network.n_parameters,
        "layers": _layers(network),
    }


def _layers(network: ReluNetwork) -> list[Json]:
    """Each with the layers that it reads, counted from 1; 0 is the input; a convolution with the shape that it gives."""
    return [
        {
            "kind": layer.kind,
            "inputs": layer.inputs,
            "outputs": layer.outputs,
            "sources": list(layer.sources),
            "shape": None if layer.shape is None else list(layer.shape),
        }
        for layer in layers(network.graph)
    ]


def _field(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        return "[\n" + ",\n".join(f"    {json.dumps(entry, allow_nan=False)}" for entry in value) + "\n  ]"
    return json.dumps(value, allow_nan=False)
