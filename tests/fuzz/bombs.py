"""Small files that claim or become much. Run as a program, it reads them all with little memory to spare.

Each is written to a folder and handed to its reader; the outcome has to be a refusal, before the memory is taken.
"""

from __future__ import annotations

import gzip
import json
import resource
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from builders import build_model
from fuzz.mutations import zipped
from onnx import NodeProto, TensorProto, helper, numpy_helper

from wdaverify.certify.certificate import read_certificate
from wdaverify.errors import InputError
from wdaverify.network.onnx_reader import load_network
from wdaverify.question_files import load_support, load_weights
from wdaverify.samples import load_samples
from wdaverify.specification.reader import load_specification

SPARE = 256 * 2**20
"""Bytes of address space beyond what the imports take."""
WIDE = 2**20


def npy(shape: object, descr: str = "<f8", content: bytes = b"", order: str = "False") -> bytes:
    """An array file whose header says so."""
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def archive(method: int = zipfile.ZIP_STORED, **arrays: bytes) -> bytes:
    return zipped([(f"{name}.npy", content) for name, content in arrays.items()], method)


def lying(content: bytes, claim: int) -> bytes:
    """An archive of one member whose directory claims other sizes."""
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 24] + struct.pack("<L", claim) + content[at + 28 :]


ONE = npy("(1,)", "<i8", bytes(8))
ZEROS = npy(f"(1, {10 * WIDE})", content=bytes(80 * WIDE))


def field(number: int, content: bytes) -> bytes:
    """A protobuf field with its length."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*length, size]) + content


def chain(count: int, *make: Callable[[str, str], NodeProto]) -> list[NodeProto]:
    """Nodes one after the other, from x to y."""
    names = ["x", *(f"h{k}" for k in range(count - 1)), "y"]
    return [make[k % len(make)](names[k], names[k + 1]) for k in range(count)]


def op(kind: str, *constants: str, **attributes: object) -> Callable[[str, str], NodeProto]:
    return lambda a, b: helper.make_node(kind, [a, *constants], [b], **attributes)


def repeating() -> dict[str, onnx.ModelProto]:
    """Operators whose result is of any size that the file claims, or that are many on the same numbers."""
    f, far = np.float32, 2**30
    small, image = np.ones((1, 1, 2, 2), f), [1, 1, 1000, 1000]
    filled = [helper.make_node("ConstantOfShape", ["s"], [f"c{k}"]) for k in range(999)]
    outer = [helper.make_node("Mul", ["a", "b"], [f"c{k}"]) for k in range(999)]
    squares = [helper.make_node("Mul", [f"i{k}"] * 2, [f"i{k + 1}"]) for k in range(5000)]
    squares.append(helper.make_node("Gather", ["x", "i5000"], ["y"], axis=1))
    needed = helper.make_node("Sum", [f"c{k}" for k in range(999)], ["c"])
    add = helper.make_node("Add", ["x", "c"], ["y"])
    pool = {"kernel_shape": [500, 500]}
    return {
        "one number, many times": build_model(chain(3, op("Tile", "r")), {"r": np.array([1, 2**40])}, [1, 1]),
        "many numbers, many times": build_model(chain(99, op("Tile", "r")), {"r": np.array([1, 2])}, [1, 2**12]),
        "expanded": build_model(chain(1, op("Expand", "s")), {"s": np.array([2**20, 2**20])}, [1, 1]),
        "expanded and computed with": build_model(
            chain(200, op("Expand", "s"), op("Relu")), {"s": np.array([2**10, 2**11])}, [1, 1]
        ),
        "gathered": build_model(chain(99, op("Gather", "i", axis=1)), {"i": np.zeros(WIDE, np.int64)}, [1, 4]),
        "a border of no end": build_model(chain(1, op("Conv", "K", pads=[far] * 4)), {"K": small}, image),
        "a padded border": build_model(chain(1, op("Pad", "p")), {"p": np.array([0, far, 0, far])}, [1, 4]),
        "windows in windows": build_model(chain(1, op("MaxPool", **pool)), {}, image),
        "means in windows": build_model(chain(1, op("AveragePool", **pool)), {}, image),
        "strides apart": build_model(chain(1, op("ConvTranspose", "K", strides=[far, far])), {"K": small}, image),
        "strides too far": build_model(chain(1, op("ConvTranspose", "K", strides=[2**13, 2**13])), {"K": small}, image),
        "enlarged": build_model(chain(1, op("Upsample", "s")), {"s": np.full(4, 4096, f)}, image, opset=9),
        "largest of largest": build_model(chain(999, op("Max", "c"), op("Abs")), {"c": np.ones(1, f)}, [1, WIDE]),
        "sums over all": build_model(
            chain(999, op("ReduceSum", "a"), op("Expand", "s")),
            {"a": np.array([1]), "s": np.array([1, WIDE])},
            [1, WIDE],
        ),
        "filled constants": build_model([*filled, needed, add], {"s": np.array([2**11, 2**12])}, [1, 4]),
        "products of constants": build_model(
            [*outer, needed, add], {"a": np.ones((2**11, 1), f), "b": np.ones((1, 2**12), f)}, [1, 4]
        ),
        "integers": build_model(squares, {"i0": np.ones(2**12, np.int64)}, [1, 4]),
        "a range": build_model(
            [helper.make_node("Range", ["a", "b", "c"], ["r"]), helper.make_node("Gather", ["x", "r"], ["y"], axis=1)],
            {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)},
            [1, 4],
        ),
    }


def networks() -> Iterator[tuple[str, bytes]]:
    f = np.float32
    two, square = np.array(2, f), np.ones((300, 300), f)
    models: dict[str, onnx.ModelProto] = {
        "one factor, many wide nodes": build_model(chain(1000, op("Mul", "c")), {"c": two}, [1, WIDE]),
        "one matrix, many nodes": build_model(chain(9000, op("MatMul", "W")), {"W": square}, [1, 300]),
        "a wide input": build_model(chain(1, op("Relu")), {}, [1, 2**24]),
        "too many nodes": build_model(chain(20_000, op("Identity")), {}, [1, 4]),
    }
    casts = [helper.make_node("Cast", ["W"], [f"c{k}"], to=TensorProto.DOUBLE) for k in range(9000)]
    models["casts of one matrix"] = build_model([*casts, op("Relu")("x", "y")], {"W": square}, [1, 300])
    turns = [helper.make_node("Transpose", ["W"], [f"t{k}"]) for k in range(9000)]
    models["one matrix turned"] = build_model([*turns, op("Relu")("x", "y")], {"W": square}, [1, 300])
    nan = numpy_helper.from_array(np.full((2,) * 22, np.nan, f), "W")
    models["many axes of NaN"] = build_model([helper.make_node("Add", ["x", "W"], ["y"])], {}, [1, 4])
    models["many axes of NaN"].graph.initializer.append(nan)
    claim = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[2**20, 2**10], raw_data=b"\0" * 8)
    models["terabytes of nothing"] = build_model([helper.make_node("Add", ["x", "W"], ["y"])], {}, [1, 4])
    models["terabytes of nothing"].graph.initializer.append(claim)
    models |= repeating()
    for name, model in models.items():
        yield name, model.SerializeToString()
    yield "empty nodes", field(7, field(1, b"") * (4 * WIDE))
    yield "packed integers", field(7, field(5, field(7, bytes(20 * WIDE))))
    yield "scalars", b"\x08\x01" * (8 * WIDE)
    deep = b""
    for _ in range(90):
        deep = field(1, field(5, field(6, deep)))
    yield "nested graphs", field(7, deep)
    yield "packed zeros", gzip.compress(bytes(300 * WIDE), 1)
    yield "packed many times over", gzip.compress(bytes(WIDE)) * 300
    yield "packed empty nodes", gzip.compress(field(7, field(1, b"") * (4 * WIDE)), 1)


def archives(name: str) -> Iterator[tuple[str, bytes]]:
    """Archives of two arrays, the first of which is no good."""
    deflated = zipfile.ZIP_DEFLATED
    claims = {
        "claims terabytes": npy(f"({2**20}, {2**20})"),
        "claims what wraps": npy(f"({2**32}, {2**32}, 4)"),
        "claims in Fortran order": npy(f"({2**40}, 1)", order="True"),
        "claims a type of gigabytes": npy("(1,)", "<U1000000000"),
    }
    for what, content in claims.items():
        yield what, archive(**{name: content, "y": ONE})
    yield "claims in a lying directory", lying(archive(deflated, y=ONE, **{name: npy(f"(1, {2**27})")}), 2**30 + 128)
    yield "unpacks a thousandfold", archive(deflated, **{name: ZEROS, "y": ONE})
    yield "unpacks a millionfold", archive(zipfile.ZIP_BZIP2, **{name: ZEROS[: 8 * WIDE], "y": ONE})
    yield "many members", zipped([(f"{name}.npy", ONE), *((f"a{k}.npy", b"") for k in range(60_000))])


def trees(count: int, tights: int | None = None) -> bytes:
    """A certificate of one proof with so many trees of nothing; 64 MiB of zeros pass for arrays.

    In the newer format where it has tightenings, of no rows.
    """
    form = "wdaverify certificate 1" if tights is None else "wdaverify certificate 2"
    meta = {"format": form, "network_sha256": "", "samples_sha256": "", "count": 1, "clip": False}
    meta |= {"label_column": None, "order": 1, "norm": "inf", "loss": "margin", "neurons": 0}
    meta |= dict.fromkeys(("radius", "lower", "upper", "multiplier"), "0x0p+0")
    text = json.dumps(meta).encode()
    arrays = {"meta": npy(f"({len(text)},)", "|u1", text), "support": npy("(2, 1)", content=bytes(16))}
    arrays["atom_point"], arrays["vectors"] = npy("(0, 1)"), npy("(8, 0)", "|u1")
    for name in ("atom_sample", "proof_sample", "proof_rival", "proof_trees"):
        arrays[name] = npy("(0,)", "<i8")
    for name in ("atom_weight", "proof_multiplier"):
        arrays[name] = npy("(0,)")
    arrays["nodes"] = npy("(0,)", "<i4")
    for name, kind in (("tree_near", "<f8"), ("tree_far", "<f8"), ("tree_nodes", "<i8"), ("tree_vectors", "<i8")):
        arrays[name] = npy(f"({count},)", kind, bytes(8 * count))
    if tights is not None:
        arrays["tree_tights"] = npy(
            f"({count},)", "<i8", (tights.to_bytes(8, "little") + bytes(8 * count))[: 8 * count]
        )
        for name, kind in (("tight_level", "<f8"), ("tight_rows", "<i8")):
            arrays[name] = npy(f"({tights},)", kind, bytes(8 * tights))
        arrays["tight_beta"], arrays["row_slopes"] = npy(f"({tights}, 0)", "<f4"), npy("(0, 0)", "|u1")
        arrays["row_at"], arrays["row_weight"] = npy("(0,)", "<i4"), npy("(0,)", "<f4")
    return archive(zipfile.ZIP_DEFLATED, **arrays)


def specifications() -> Iterator[tuple[str, bytes]]:
    """Texts that are much, or say much when multiplied out."""
    head = b"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))"
    yield "too long", b" " * (32 * WIDE + 1)
    yield "packed spaces", gzip.compress(b" " * (33 * WIDE), 1)
    yield "nested", b"(assert " + b"(and " * (4 * WIDE)
    yield "one long word", head + b"(assert (<= Y_0 " + b"1" * (16 * WIDE) + b"))"
    yield "one long comment and no more", b";" * (32 * WIDE)
    yield "many operands", head + b"(assert (<= Y_0 (+" + b" Y_0" * (4 * WIDE) + b")))"
    yield "many comparisons", head + b"(assert (or" + b" (<= Y_0 1)" * (2 * WIDE) + b"))"
    yield "many choices", head + b"(assert (or (<= Y_0 1) (<= Y_0 2)))" * (WIDE // 2)
    yield "choices in choices", head + b"(assert (and" + b" (or (<= Y_0 1) (<= Y_0 2))" * 40_000 + b"))"
    yield (
        "many strict sides of many disjuncts",
        (head + b"(assert (< X_0 2))" * 2000 + b"(assert (or" + b" (<= Y_0 1)" * 30_000 + b"))"),
    )
    yield "powers", head + b"(assert (<= Y_0 (*" + b" 1e-200" * 100_000 + b")))"
    yield "many declarations", b"".join(b"(declare-const X_%d Real)" % k for k in range(WIDE // 8))
    wide = b"".join(b"(declare-const X_%d Real)(assert (<= 0 X_%d 1))" % (k, k) for k in range(20_000))
    boxes = b"".join(b"(and (<= X_0 0.%d) (<= Y_0 1))" % k for k in range(1, 2000))
    yield "many wide boxes", wide + b"(declare-const Y_0 Real)(assert (or " + boxes + b"))"
    head = b"(vnnlib-version <2.0>)(declare-network n (declare-input X real [1])(declare-output Y real [1]))"
    box = b"(assert (>= X[0] 0.0))(assert (<= X[0] 1.0))"
    yield "nested, of version 2", head + b"(assert " + b"(and " * (WIDE // 2)
    yield "too long, of version 2", head + b" " * (5 * WIDE)
    yield "many assertions of version 2", head + box * 32_000
    yield "many operands of version 2", head + box + b"(assert (<= Y[0] (*" + b" Y[0]" * (WIDE // 4 - 100) + b")))"
    yield (
        "choices in choices of version 2",
        head + b"(assert (and" + b" (or (<= Y[0] 1.0) (<= Y[0] 2.0))" * 40_000 + b"))",
    )
    yield "a wide shape", head.replace(b"[1]", b"[1048576,1048576,1048576]") + box


def attempts() -> Iterator[tuple[str, str, bytes, Callable[[Path], object]]]:
    """What it is, suffix, content and reader."""
    for name, content in networks():
        yield f"network: {name}", ".onnx", content, load_network
    readers: dict[str, tuple[str, str, Callable[[Path], object]]] = {
        "samples": ("x", ".npz", load_samples),
        "support": ("lower", ".npz", lambda path: load_support(path, 3)),
        "weights": ("weights", ".npz", lambda path: load_weights(path, 3)),
        "certificate": ("meta", ".cert", read_certificate),
    }
    for what, (array, suffix, read) in readers.items():
        for name, content in archives(array):
            yield f"{what}: {name}", suffix, content, read
    meta = archive(meta=npy(f"({2 * WIDE},)", "|u1", b" " * (2 * WIDE)))
    yield "certificate: many trees", ".cert", trees(2 * WIDE - 2000), read_certificate
    yield "certificate: many tightenings", ".cert", trees(1, 2 * WIDE), read_certificate
    yield "certificate: too many tightenings", ".cert", trees(1, 4 * WIDE - 1), read_certificate
    yield "certificate: tightenings of no tree", ".cert", trees(0, WIDE), read_certificate
    yield "certificate: endless meta data", ".cert", meta, read_certificate
    yield "table: one endless line", ".csv", b"1," * (9 * WIDE), load_samples
    yield "table: one record of many lines", ".csv", b'"\n",' * (5 * WIDE), load_samples
    mixed = b"weights = [" + b"1," * 100_000 + b'"' + b"a" * WIDE + b'"]'
    yield "weights: a text among numbers", ".toml", mixed, lambda p: load_weights(p, 3)
    groups = b"lower = 0\nupper = 1\none_hot = [" + b"[0]," * 10_000 + b"]"
    yield "support: many groups", ".toml", groups, lambda p: load_support(p, WIDE)
    rows = b"lower = 0\nupper = 1\n" + b"[[rows]]\n" * 10_000
    yield "support: many rows", ".toml", rows, lambda p: load_support(p, WIDE)
    for name, content in specifications():
        yield f"specification: {name}", ".vnnlib", content, load_specification
    yield "support: too long", ".toml", b"#" * (9 * WIDE), lambda p: load_support(p, 3)


def main(folder: Path, part: int, parts: int) -> None:
    """Print a line for each of a part of them: its name, and the refusal or what came instead."""
    made = list(attempts())[part::parts]
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPARE, taken + SPARE))
    for name, suffix, content, read in made:
        path = folder / f"bomb{suffix}"
        path.write_bytes(content)
        try:
            read(path)
            said = "READ"
        except InputError as error:
            said = f"refused: {error}"
        except Exception as error:  # noqa: BLE001 (whatever came is told)
            said = f"RAISED {type(error).__name__}"
        sys.stdout.write(f"{name}\t{said}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
