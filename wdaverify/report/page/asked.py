"""What was asked: which documents ask the same question, the question as a formula and as facts, and how to ask it again."""

from __future__ import annotations

import csv
import json
import math
import shlex
from io import StringIO
from typing import Any

import numpy as np

from wdaverify.report.box import box_text
from wdaverify.report.page import words
from wdaverify.report.page.content import Command, Facts
from wdaverify.report.page.document import Document, number
from wdaverify.report.page.words import Json, Tokens, plain

_KEYS = ("order", "norm", "label_cost", "cost_weights", "loss", "functionals", "support")
"""What makes a question, beside its network, samples and specification."""
_NONE: Json = {}


def same_question(document: Document) -> str:
    """Equal for documents that ask about the same network, samples, ball and loss, at whatever radius."""
    data = document.data
    files = data.get("files") or _NONE
    parts: list[Any] = [data["network_sha256"], files.get("output_name"), _samples_sha256(data)]
    if document.kind == "check":
        return json.dumps([*parts, document.kind, data["specification_sha256"]], sort_keys=True)
    parts.append((data.get("specification") or _NONE).get("sha256"))
    if document.kind in ("distances", "lipschitz"):
        parts += [document.kind, data["norm"], data.get("support"), data.get("region"), data.get("measure")]
        parts += [data.get("functionals"), data.get("cost_weights")]
    else:
        parts += [data[key] for key in _KEYS]
    parts.append(data.get("arithmetic", "real"))
    return json.dumps(parts, sort_keys=True)


def heading(document: Document) -> str:
    """What the question is about, in a few words."""
    if document.kind == "distances":
        return f"Distance to the nearest {'error' if specification_of(document) is None else 'violation'}"
    if document.kind == "lipschitz":
        return "Lipschitz constant"
    if document.kind == "check":
        return f"Specification {document.data['specification']['name']}"
    return f"Worst-case {words.LOSSES[document.data['loss']]}"


def specification_of(document: Document) -> Json | None:
    """What a document says of the specification that it is about; None: of none."""
    found: Json | None = document.data.get("specification")
    return found


def formula(document: Document, radius: float | None) -> Tokens:
    """The question, in tokens of the kinds "text", "sub" and "sup"."""
    data = document.data
    if document.kind == "distances":
        out = [("text", "d"), ("sub", "i"), ("text", " = min { ‖x − x"), ("sub", "i"), ("text", "‖")]
        out += [("sub", _norm(data)), ("text", " : x in ")]
        if specification_of(document) is not None:
            return (*out, *_space(data), ("text", ", specification violated at x }"))
        out += [*_space(data), ("text", ", max"), ("sub", "j≠y")]
        return (*out, ("text", " z"), ("sub", "j"), ("text", "(x) ≥ z"), ("sub", "y"), ("text", "(x) }"))
    if document.kind == "lipschitz":
        return (("text", "L = sup { ‖∇f(x)‖"), ("sub", "*"), ("text", f" : x in {_region(data)} }}"))
    shown = "r" if radius is None else plain(radius)
    if document.kind == "check":
        return (
            ("text", "v = max"),
            ("sub", "k, x in box k"),
            ("text", " min"),
            ("sub", "r"),
            ("text", " row"),
            ("sub", "kr"),
            ("text", "(x, f(x))"),
        )
    out = [("text", f"V({shown}) = sup {{ E"), ("sub", "Q"), ("text", f"[{data['loss']} loss] : Q on ")]
    if specification_of(document) is not None:
        out = [("text", f"V({shown}) = sup {{ P"), ("sub", "Q"), ("text", "(specification violated) : Q on ")]
    out += [*_space(data), ("text", ", W"), ("sub", plain(number(data["order"]))), ("text", f"(Q, P) ≤ {shown} }}")]
    return tuple(out)


def _norm(data: Json) -> str:
    return "∞" if data["norm"] == "inf" else str(data["norm"])


def _space(data: Json) -> list[tuple[str, str]]:
    text = words.space(data["support"], data["network"]["inputs"])
    head, _, power = text.partition("^")
    size = "".join(c for c in power if c.isdigit()) if power else ""
    return [("text", head), ("sup", size), ("text", power[len(size) :])] if size else [("text", text)]


def _region(data: Json) -> str:
    region = data["region"]
    kinds = {"whole-space": "all of the input space", "balls": "balls around the samples", "box": "a box"}
    lower, upper = region["lower"], region["upper"]
    text = kinds[region["kind"]]
    if region["kind"] == "box" and not isinstance(lower, list) and not isinstance(upper, list):
        text = f"the box [{plain(number(lower))}, {plain(number(upper))}]"
    within = region["within"]
    return text if within is None else f"{text}, within {plain(number(within))} of a sample"


def _measure(data: Json) -> str:
    """Whose gradients a constant is about."""
    if data["measure"] == "operator-norm":
        return "operator norm of the whole Jacobian, the same norm on both sides"
    names = data["functionals"]
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"gradients of {shown}" + (", each by itself" if data["each"] else "; the largest counts")


def meaning(document: Document) -> str:
    """The question in a sentence."""
    data = document.data
    if document.kind == "distances" and specification_of(document) is not None:
        return (
            "For every sample: how far, in the norm of the question, the nearest input lies that violates the specification, whose edge "
            "counts as a violation."
        )
    if document.kind == "distances":
        return (
            "For every sample: how far, in the norm of the question, the nearest input lies that the network gets wrong. "
            "A tie counts as an error."
        )
    if document.kind == "lipschitz":
        return f"How fast the outputs can change at most, per unit of the {words.NORMS[data['norm']]} of the inputs."
    if document.kind == "check":
        return (
            "Whether some input in the boxes of the specification makes all rows of one of its disjuncts hold, each row being something "
            "that is to be at least 0. v is how far that is from being so: below 0, no input does."
        )
    if specification_of(document) is not None:
        return (
            "The largest probability that the specification is violated if the samples' distribution P may be moved by no more than the "
            f"radius in the Wasserstein distance of order {plain(number(data['order']))}. An input violates it that lies in one of its "
            "boxes where all rows of one disjunct hold; their edges count."
        )
    moved = "and labels may change at a price" if number(data["label_cost"]) != float("inf") else "with fixed labels"
    return (
        f"The worst expected loss if the samples' distribution P may be moved, {moved}, by no more than the radius in the "
        f"Wasserstein distance of order {plain(number(data['order']))}. {words.READINGS[data['loss']]}"
    )


def facts(document: Document) -> Facts:
    """Everything that the question consists of."""
    data = document.data
    network = data["network"]
    neurons = words.count(network["relus"], "neuron" if network.get("curved") else "ReLU")
    rows = [("Network", f"{network['name']}: {words.widths(network)}, {neurons}", "")]
    files = data.get("files") or _NONE
    if files.get("output_name") is not None:
        rows.append(("Output", f"{files['output_name']} (--output-name)", ""))
    rows.append(("Network SHA-256", data["network_sha256"], "code"))
    if document.kind == "check":
        return Facts("What was asked", (*rows, *_specification(data)))
    if data.get("samples"):
        rows.append(("Samples", f"{data['samples']['count']}, from the beginning of {data['samples']['source']}", ""))
        rows += _reading(files)
        rows.append(("Samples SHA-256", _samples_sha256(data), "code"))
    specification = specification_of(document)
    if specification is not None:
        kept, total = len(specification["kept"]), specification["disjuncts"]
        which = words.count(total, "disjunct") + ("" if kept == total else f", {kept} of which can hold on the support")
        rows.append(("Specification", f"{specification['name']}: {which}", ""))
        rows.append(("Specification SHA-256", specification["sha256"], "code"))
    if "loss" in data:
        rows.append(("Loss", f"{data['loss']}: {words.meaning(data['loss'])}", ""))
    if data.get("arithmetic") == "float32":
        rows.append(("Arithmetic", words.ARITHMETIC, ""))
    rows.append(("Norm of the inputs" if document.kind == "lipschitz" else "Ground cost", _ground(data), ""))
    if "order" in data:
        rows.append(("Wasserstein order", plain(number(data["order"])), ""))
        if specification is None:
            rows.append(("Labels", _labels(data), ""))
    if "support" in data:
        rows.append(("Support", _support_text(data["support"], network["inputs"]), ""))
    if document.kind == "distances" and number(data.get("within", "inf")) < math.inf:
        rows.append(("Within", f"{plain(number(data['within']))}: distances of that or more were not asked about", ""))
    if document.kind == "lipschitz":
        rows.append(("Region", _region(data), ""))
        rows.append(("Measure", _measure(data), ""))
    return Facts("What was asked", tuple(rows))


def _specification(data: Json) -> list[tuple[str, str, str]]:
    stated = data["specification"]
    size = f"{stated['inputs']} inputs, {stated['outputs']} outputs, {words.count(stated['disjuncts'], 'disjunct')}"
    dropped = f", and {stated['dropped']} that contradict themselves" if stated["dropped"] else ""
    limit = data["time_limit"]
    return [
        ("Specification", f"{stated['name']}: {size}{dropped}", ""),
        ("Specification SHA-256", data["specification_sha256"] or "–", "code"),
        ("Time limit", "none" if limit is None else words.seconds(number(limit)), ""),
    ]


def _reading(files: Json) -> list[tuple[str, str, str]]:
    """What whoever asked chose about reading the samples, where that is not what is read by itself."""
    out = []
    if files.get("label_column") is not None:
        out.append(("Label column", f"{files['label_column']} (--label-column)", ""))
    if files.get("clip"):
        out.append(("Clipping", "samples outside the support were moved onto it (--clip)", ""))
    return out


def _support_text(support: Json, features: int) -> str:
    """The support in full, or the first sides of a box where there are many different ones."""
    text = words.space(support, features)
    if support["kind"] == "box" and (isinstance(support["lower"], list) or isinstance(support["upper"], list)):
        lower, upper = (
            np.broadcast_to(np.array(support[side], dtype=np.float64), (features,)) for side in ("lower", "upper")
        )
        return f"{text}: {box_text(lower, upper)}"
    return text


def _samples_sha256(data: Json) -> str:
    """Of the samples asked about; empty where there are none."""
    samples = data.get("samples")
    return str(data["samples_sha256"]) if samples else ""


def _ground(data: Json) -> str:
    weights = data.get("cost_weights")
    text = words.NORMS[data["norm"]]
    if weights is None:
        return text
    fixed = sum(value == "inf" for value in weights)
    return f"{text}, features weighted" + (f", {fixed} of them fixed" if fixed else "")


def _labels(data: Json) -> str:
    price = number(data["label_cost"])
    return "fixed" if price == float("inf") else f"may change at a price of {plain(price)}"


def ran(document: Document) -> tuple[tuple[str, str, str], ...]:
    """Versions, machine and seed."""
    data = document.data
    versions = ", ".join(f"{name} {text}" for name, text in data["versions"].items() if text is not None)
    machine = data["machine"]
    where = f"{machine['system']} on {machine['architecture']}, {words.count(machine['processors'], 'processor')}"
    rows = [("Versions", versions, ""), ("Machine", f"{where}, {machine['python']}", "")]
    if "seed" in data:
        rows.append(("Seed", str(data["seed"]), ""))
    return tuple(rows)


def again(document: Document) -> Command:
    """How to check the answer, or to ask the question again."""
    data, files = document.data, document.data.get("files") or _NONE
    network = _path(files.get("network") or data["network"]["name"])
    samples = _path(files.get("samples") or (data["samples"]["source"] if data.get("samples") else "DATA"))
    hashes = [("Network SHA-256", data["network_sha256"], "code")]
    if data.get("samples"):
        hashes.append(("Samples SHA-256", data["samples_sha256"], "code"))
    hashes += ran(document)
    if document.kind == "check":
        return _check_again(document, network, files, hashes)
    if files.get("certificate"):
        options = ["--radius" if word == "--max-radius" else word for word in _question_options(document, files)]
        line = _typed("recheck", network, samples, _path(files["certificate"]), *options)
        text = (
            "The proof of this answer was written to a certificate. The checker replays it without any solver, and exits "
            "with status 0 if it holds for exactly this network, these samples and the question that the options state:"
        )
        return Command("How to recheck", text, (line,), tuple(hashes))
    if document.kind == "lipschitz":
        text = "Rechecking means asking again. The answer must come with the same hashes, and its bracket must overlap this one:"
        line = _typed("lipschitz", network, *_slope_options(data, files))
        return Command("How to recheck", text, (line,), tuple(hashes))
    text = (
        "No certificate was written with this answer, so that rechecking means asking again. The answer must come with the "
        "same two hashes, and its bracket must overlap this one:"
    )
    lines = (_typed(_COMMANDS[document.kind], network, samples, *_options(document, files)),)
    return Command("How to recheck", text, lines, tuple(hashes))


def _check_again(document: Document, network: str, files: Json, hashes: list[tuple[str, str, str]]) -> Command:
    data = document.data
    specification = _path(files.get("specification") or data["specification"]["name"])
    hashes = [hashes[0], ("Specification SHA-256", data["specification_sha256"], "code"), *hashes[1:]]
    if files.get("certificate"):
        text = (
            "The proof of unsat was written to a certificate. The checker replays it without any solver, and exits with status 0 if it "
            "holds for exactly this network and this specification:"
        )
        line = _typed("recheck", network, specification, _path(files["certificate"]), *_which(files))
        return Command("How to recheck", text, (line,), tuple(hashes))
    single = ["--arithmetic", "float32"] if data.get("arithmetic") == "float32" else []
    text = "Rechecking means asking again. The answer must come with the same two hashes, and its bracket must overlap this one:"
    line = _typed("check", network, specification, *_which(files), *single, "--seed", str(data["seed"]))
    return Command("How to recheck", text, (line,), tuple(hashes))


_COMMANDS = {
    "verification": "verify",
    "attack": "attack",
    "curve": "curve",
    "distances": "distance",
    "compare": "compare",
}


def _options(document: Document, files: Json) -> list[str]:
    """The options that ask the question again, in the same way."""
    return _question_options(document, files) + _run_options(document)


def _question_options(document: Document, files: Json) -> list[str]:
    """The options that state the question; a file that is not known is named in capitals."""
    data, out = document.data, list[str]()
    if document.kind == "curve":
        out += ["--max-radius", repr(float(data["max_radius"]))]
    elif document.kind == "compare":
        out += ["--radii", ",".join(repr(float(radius)) for radius in data["radii"])]
    elif document.kind != "distances":
        out += ["--radius", repr(float(data["radius"]))]
    out += ["--norm", data["norm"]]
    if "loss" in data:
        out += ["--order", plain(number(data["order"])).replace("∞", "inf"), "--loss", data["loss"]]
        if data["label_cost"] != "inf":
            out += ["--label-cost", repr(number(data["label_cost"]))]
        if data["functionals"] is not None:
            out += ["--functionals", files.get("functionals") or "FUNCTIONALS"]
    if data.get("arithmetic", "real") != "real":
        out += ["--arithmetic", data["arithmetic"]]
    if specification_of(document) is not None:
        out += ["--spec", _path(files.get("specification") or "SPECIFICATION")]
    if data["cost_weights"] is not None:
        out += ["--cost-weights", files.get("cost_weights") or "WEIGHTS"]
    out += _support(data["support"], files.get("support"), bool(files) and specification_of(document) is not None)
    out += ["--samples", str(data["samples"]["count"])]
    if files.get("label_column") is not None:
        out += ["--label-column", files["label_column"]]
    out += _classes(files)
    return out + _which(files) + (["--clip"] if files.get("clip") else [])


def _slope_options(data: Json, files: Json) -> list[str]:
    """The options that ask for a Lipschitz constant again."""
    region, out = data["region"], ["--norm", data["norm"]]
    if data["measure"] != "operator-norm":
        names = ",".join(name.replace("z_", "").replace(" ", "") for name in data["functionals"])
        out += ["--outputs", names]
    if data["each"]:
        out.append("--each")
    if region["kind"] == "balls" and data["samples"]:
        around = files.get("samples") or data["samples"]["source"]
        out += ["--around", _path(around), "--within", repr(number(region["within"]))]
        out += ["--samples", str(data["samples"]["count"])]
        if files.get("label_column") is not None:
            out += ["--label-column", files["label_column"]]
        out += _classes(files)
    free = region["lower"] == "-inf" and region["kind"] == "balls"
    if not free:
        out += _support({**region, "integer": []}, files.get("support"), specified=False)
    return [*out, *_which(files), "--gap", repr(float(data["gap_asked"])), "--seed", str(data["seed"])]


def _classes(files: Json) -> list[str]:
    """``--classes``, with what holds a comma or a quote in quotes."""
    if files.get("classes") is None:
        return []
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(files["classes"])
    return [f"--classes={line.getvalue()}"]


def _which(files: Json) -> list[str]:
    """The options that say which network of the file is meant."""
    name = files.get("output_name")
    out = ["--logits"] if files.get("logits") else []
    out += [] if name is None else [f"--output-name={name}"]
    return out + (["--external-data"] if files.get("external_data") else [])


def _support(support: Json, path: str | None, specified: bool) -> list[str]:
    """The support; bounds by feature without a file are the specification's own where there is one."""
    lower, upper = support["lower"], support["upper"]
    if path is not None:
        return ["--support-file", path]
    if specified and not support["rows"] and not support["integer"] and isinstance(lower, list):
        return ["--support", "specification"]
    if support["rows"] or support["integer"] or isinstance(lower, list) or isinstance(upper, list):
        return ["--support-file", "SUPPORT"]
    if support["kind"] == "whole-space":
        return ["--support", "none"]
    return ["--support", repr(number(lower)), repr(number(upper))]


def _run_options(document: Document) -> list[str]:
    data, out = document.data, list[str]()
    if document.kind == "verification":
        out += ["--solver", data["solver"]["asked"]]
        if data["threshold"] is not None:
            out += ["--threshold", repr(float(data["threshold"]))]
    if document.kind == "distances" and number(data.get("within", "inf")) < math.inf:
        out += ["--within", repr(number(data.get("within", "inf")))]
    if "gap_asked" in data:
        out += ["--gap", repr(float(data["gap_asked"]))]
    return out + (["--seed", str(data["seed"])] if "seed" in data else [])


def _path(path: str) -> str:
    """A path that is not taken for an option."""
    return f"./{path}" if path.startswith("-") else path


def _typed(*arguments: str) -> str:
    return " ".join(["wdaverify", *(shlex.quote(argument) for argument in arguments)])
