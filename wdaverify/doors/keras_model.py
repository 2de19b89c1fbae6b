"""From Keras 3 with the torch backend, where a model is a torch module: called for inference, exported and read as any other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from wdaverify.doors.onnx_model import name_of
from wdaverify.doors.torch_module import from_torch
from wdaverify.errors import NetworkError
from wdaverify.given import entries, told
from wdaverify.network.model import ReluNetwork

if TYPE_CHECKING:
    import keras

_WAYS = (
    "set KERAS_BACKEND=torch before Python starts and load the model there (model.save('net.keras'), keras.models.load_model), or "
    "export it (model.export('net.onnx', format='onnx'))"
)


def from_keras(model: keras.Model, example: Any, *, name: str | None = None, logits: bool = False) -> ReluNetwork:
    """The network of a built Keras model (Sequential, functional or subclassed), as it computes for inference (``training=False``).

    Keras runs on torch here (``KERAS_BACKEND=torch``), so that no TensorFlow is needed: the model is exported as ``from_torch`` exports a
    module, and compared with the network at the rows of ``example`` and at others like them. ``network.save`` writes the file.

    Args:
        model: one input, one output of scores ``[B, K]``; it is left as it is.
        example: rows of its input ``[B, ...]`` in the layout that the model takes (images with channels last, unless it says otherwise).
        name: what the network is called in reports; the model's own name by default.
        logits: whether a final Softmax or Sigmoid is to be left out, as for ``load_network``.

    Raises:
        NetworkError: no Keras model, one of another backend, one that is not built, or what ``from_torch`` refuses.
    """
    library: Any = sys.modules.get("keras")
    kind = getattr(library, "Model", None)
    if not isinstance(kind, type) or not isinstance(model, kind):
        raise NetworkError(f"model {told(model)}: a keras.Model is accepted, of Keras 3")
    backend = library.backend.backend() if hasattr(library, "backend") else "unknown"
    if not getattr(library, "__version__", "").startswith("3.") or backend != "torch":
        raise NetworkError(
            f"a model of Keras {getattr(library, '__version__', '')} on {backend}: models of Keras 3 on torch are accepted; {_WAYS}"
        )
    kept: Any = model
    if len(getattr(kept, "inputs", None) or [0]) != 1 or len(getattr(kept, "outputs", None) or [0]) != 1:
        raise NetworkError(
            f"{kept.name} has {len(kept.inputs)} inputs and {len(kept.outputs)} outputs: one of each is accepted; keras.Model(inputs, "
            "outputs) makes a model of one"
        )
    if not kept.built:
        raise NetworkError(f"{kept.name} is not built; call model(example) once, and train it")
    modes = [(part, part.training) for part in kept.modules()]
    try:
        network = from_torch(
            _inference(kept),
            entries("example", example, NetworkError, bools=True),
            name=name_of(name, kept.name),
            logits=logits,
        )
    finally:
        for part, mode in modes:
            part.training = mode
    return network


def _inference(model: Any) -> Any:
    """The model as a torch module in evaluation mode."""
    import torch

    class Inference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.model(rows, training=False)
            return out

    return Inference().eval()
