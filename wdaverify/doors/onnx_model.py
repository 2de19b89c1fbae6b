"""From ONNX: a file, its bytes, or a model in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wdaverify.errors import NetworkError
from wdaverify.given import flag, instance, told
from wdaverify.network.model import ReluNetwork
from wdaverify.network.onnx_file import MAX_BYTES
from wdaverify.network.onnx_reader import load_network, read_network

if TYPE_CHECKING:
    from onnx import ModelProto


def from_onnx(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    name: str | None = None,
    logits: bool = False,
    external_data: bool = False,
    output_name: str | None = None,
) -> ReluNetwork:
    """The network of an ONNX file (its path), of the bytes of one, or of an ``onnx.ModelProto``.

    Args:
        model: the path, the bytes or the model.
        name: what the network of a model in memory is called in reports and refusals; a file has its own.
        logits, external_data, output_name: as ``load_network``; weights in other files are read where the model is a file.

    Raises:
        NetworkError: as ``load_network``.
    """
    from onnx import ModelProto

    if isinstance(model, str | os.PathLike):
        if name is not None:
            raise NetworkError(
                "name is what a model in memory is called, and this is a file, which has one; leave it out"
            )
        return load_network(model, logits=logits, external_data=external_data, output_name=output_name)
    if not isinstance(model, bytes | ModelProto):
        raise NetworkError(
            f"model {told(model)}: the path of an ONNX file, its bytes or an onnx.ModelProto are accepted; from_torch and "
            "from_sklearn take models of those"
        )
    if flag("external_data", external_data, NetworkError):
        raise NetworkError(
            "external_data reads files beside the model's own, and a model in memory has no place; give the path, or a model with its "
            "weights in it (onnx.load_external_data_for_model)"
        )
    logits = flag("logits", logits, NetworkError)
    if output_name is not None:
        instance("output_name", output_name, str, "leave it out, or give a text", NetworkError)
    return read_network(content(model), name_of(name, "onnx model"), logits=logits, output_name=output_name)


def name_of(name: object, usual: str) -> str:
    """What a network of a model in memory is called: the name given, or the usual one where that is None.

    Raises:
        NetworkError: it is no text of printable characters.
    """
    text = instance("name", usual if name is None else name, str, "leave it out, or give a text", NetworkError)
    if not text or not text.isprintable():
        raise NetworkError(f"name {told(text)}: a text of printable characters is accepted")
    return text


def content(model: bytes | ModelProto) -> bytes:
    """The bytes of a model's file.

    Raises:
        NetworkError: it is larger than a file may be.
    """
    try:
        data = model if isinstance(model, bytes) else model.SerializeToString(deterministic=True)
    except ValueError:  # beyond what the format holds
        data = b""
    if not 0 < len(data) <= MAX_BYTES:
        raise NetworkError(
            f"an empty model, or one of more than {MAX_BYTES} bytes; one network of up to that is accepted"
        )
    return data
