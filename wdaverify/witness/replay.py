"""Replaying inputs with onnxruntime: what everybody else will compute of them.

onnxruntime is optional; without it nothing is replayed, and who asks is told why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array, ReluNetwork
from wdaverify.specification.model import Box

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


class Replay:
    """A network's file in onnxruntime on the CPU, loaded when the first point is to be replayed."""

    def __init__(
        self, network: ReluNetwork, path: str | os.PathLike[str] | bytes | None, output_name: str | None = None
    ) -> None:
        self._network, self._path, self._name = network, path, output_name
        self._session: Any = None
        self._why: str | None = None
        self.runtime = ""

    @classmethod
    def of(cls, network: ReluNetwork) -> Replay:
        """Of a network from where it was read."""
        path, name = network.file or (None, None)
        return cls(network, network.onnx if path is None else path, name)

    @property
    def why(self) -> str:
        """Why nothing is replayed; empty where it is."""
        if self._why is None:
            if self._path is None:
                self._why = "no file of the network was given to replay it from; give its path"
            elif self._network.unsafe is not None:
                self._why = "the outputs are scores of a specification, which the file does not have"
            elif self._network.head is not None:
                self._why = "the file's outputs are what its head makes of the scores"
            elif any("left out, as asked" in notice for notice in self._network.notices):
                self._why = "a final operator of the file is left out, as asked, so that its outputs are others"
            else:
                self._why = self._open(self._path)
        return self._why

    def _open(self, path: str | os.PathLike[str] | bytes) -> str:
        try:
            import onnxruntime
        except ImportError:
            return "onnxruntime is not installed; pip install onnxruntime"
        try:
            onnxruntime.set_default_logger_severity(4)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            source = _source(path, self._name)
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 (whatever a runtime has against a file)
            return f"onnxruntime does not take the file ({type(error).__name__})"
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            return "the file's inputs are not one tensor of float or double"
        if self._name is None and len(outputs) != 1:
            return "the file has several outputs; name the one that is meant by --output-name (output_name=)"
        self._session, self._name = session, self._name or outputs[0].name
        self._input = inputs[0].name, _TYPES[inputs[0].type], [d if isinstance(d, int) else 1 for d in inputs[0].shape]
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        return ""

    def outputs(self, x: Array) -> Array | None:
        """The outputs ``[K]`` at ``x [n]`` of float32 numbers, as doubles; None where there is no replay, or it fails."""
        if self.why:
            return None
        name, kind, shape = self._input
        try:
            found = self._session.run([self._name], {name: np.asarray(x, np.float32).astype(kind).reshape(shape)})[0]
        except Exception as error:  # noqa: BLE001 (as above)
            self._why = f"onnxruntime does not run the file ({type(error).__name__})"
            return None
        out = np.asarray(found, np.float64).reshape(-1)
        return out if out.size == self._network.n_outputs and np.isfinite(out).all() else None


def _source(path: str | os.PathLike[str] | bytes, output_name: str | None) -> Any:
    """The file, or its bytes where it is packed or another of its tensors is meant."""
    if output_name is None and not isinstance(path, bytes) and Path(path).suffix != ".gz":
        return str(path)
    from wdaverify.network.onnx_file import network_bytes

    data = path if isinstance(path, bytes) else network_bytes(Path(path))
    if output_name is None:
        return data
    import onnx

    model = onnx.load_from_string(data)
    if output_name not in {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output_name))
    return model.SerializeToString()


def single(x: Array, box: Box) -> NDArray[np.float64] | None:
    """Points ``[B, n]`` moved to float32 numbers in the box, the nearest or the one beside it; None where a side has none."""
    near = np.clip(x, box.least, box.most)
    with np.errstate(over="ignore"):
        out = near.astype(np.float32)
        out = np.where(out > box.most, np.nextafter(out, np.float32(-np.inf)), out)
        out = np.where(out < box.least, np.nextafter(out, np.float32(np.inf)), out)
    wide = out.astype(np.float64)
    return wide if ((wide >= box.least) & (wide <= box.most)).all() else None
