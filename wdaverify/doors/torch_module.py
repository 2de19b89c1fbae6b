"""From PyTorch: a module in evaluation mode and an example of its input, exported in memory and read as any ONNX model.

torch's exporter that goes through TorchScript needs no other package; where a version of torch has only the one that goes through
``torch.export``, that needs ``onnxscript``. A trace follows one path through Python: ``torch.export`` refuses what
branches on values, and numbers that were taken out of tensors show at other rows than those of the example.
"""

from __future__ import annotations

import inspect
import io
import logging
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from wdaverify.doors.compared import difference
from wdaverify.doors.onnx_model import name_of
from wdaverify.errors import NetworkError
from wdaverify.given import entries, flag, instance, told
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.network.onnx_reader import read_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor
    from torch.nn import Module

_OPSET = 18
_THRESHOLD = 15.0
"""From here on a Softplus differs from what is left of it above its threshold by less than float32 shows: log(1 + exp(-15)) = 3e-7."""
_BY_VALUES = ("data-dependent", "datadependent", "control flow")
"""What ``torch.export`` says of a path that depends on values."""
_TALKATIVE = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnxscript", "onnx_ir")
"""Loggers that write to the terminal while a module is exported."""


def from_torch(module: Module, example: Any, *, name: str | None = None, logits: bool = False) -> ReluNetwork:
    """The network of a ``torch.nn.Module`` in evaluation mode.

    The module is exported to ONNX in memory as it computes ``module(example)``; the network is read from that (``load_network`` says
    what is accepted), keeps it for ``save``, and is compared with the module at the rows of ``example``: a notice says how far their
    outputs are apart there, the network's in float64 and the module's in its own precision.

    Args:
        module: one input, one output of scores ``[B, K]``; it is left as it is.
        example: rows of its input ``[B, ...]`` with the batch axis first: a tensor, or an array, which is converted to the dtype
            and the device of the module's weights.
        name: what the network is called in reports; the class of the module by default.
        logits: whether a final Softmax, LogSoftmax or Sigmoid is to be left out, as for ``load_network``.

    Raises:
        NetworkError: no module, one in training mode, one that cannot be exported or read, or whose outputs are not the network's.
    """
    import torch

    instance("module", module, torch.nn.Module, "torch.nn.Sequential(...).eval() is one", NetworkError)
    logits = flag("logits", logits, NetworkError)
    name = name_of(name, getattr(module, "original_name", type(module).__name__))
    refuse_unready(module, name)
    _refuse_jumps(module, name)
    rows = _rows(module, example)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        outputs = outputs_at(module, rows, name)
        content = _exported(module, rows.clone(), name)
        network = read_network(content, name, logits=logits)
        whole = read_network(content, name) if logits else network
        said = difference(whole, _flat(rows), _flat(outputs), name)
        for others in _others(rows):  # a trace that kept numbers or counts of the example shows here
            difference(
                whole, _flat(others), _flat(outputs_at(module, others, name)), name, "other rows like those given"
            )
    return replace(network, notices=(*network.notices, said))


def refuse_unready(module: Module, name: str) -> None:
    """Refuse training mode, and weights that the first input would make."""
    from torch.nn.parameter import is_lazy

    lazy = [label for label, part in (*module.named_parameters(), *module.named_buffers()) if is_lazy(part)]
    if lazy:
        raise NetworkError(
            f"{name} has weights that are not made yet ({lazy[0]}); call module(example) once, and train it"
        )
    training = [label or "the module itself" for label, part in module.named_modules() if part.training]
    if training:
        more = "" if len(training) == 1 else f" and {len(training) - 1} more"
        raise NetworkError(
            f"{name} is in training mode ({training[0]}{more}), where dropout and batch normalisation compute something else; "
            "call module.eval() first"
        )


def _refuse_jumps(module: Module, name: str) -> None:
    """Refuse a Softplus that is cut off where that shows: ONNX has no threshold, and the exporter leaves it out."""
    import torch

    for label, part in module.named_modules():
        if isinstance(part, torch.nn.Softplus) and part.threshold < _THRESHOLD:
            raise NetworkError(
                f"{name} has a Softplus ({label or 'itself'}) with threshold {part.threshold:g}, above which it jumps to z, and ONNX has "
                f"no such jump; thresholds of at least {_THRESHOLD:g} are read (torch's own is 20)"
            )


def _rows(module: Module, example: Any) -> Tensor:
    """The example as a tensor like the module's weights."""
    import torch

    like = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), torch.zeros(0))
    if isinstance(example, torch.Tensor):
        rows = example.detach()
    else:
        values = entries("example", example, NetworkError, bools=True)
        rows = torch.from_numpy(np.array(values, dtype=np.float64)).to(like.dtype)
    if rows.ndim < 2 or 0 in rows.shape:
        raise NetworkError(
            f"an example of shape {list(rows.shape)}: rows [B, ...] of the module's input are accepted, with the batch axis first "
            "(example[None] makes one row of a single point)"
        )
    return rows.to(like.device)


def _others(rows: Tensor) -> Iterator[Tensor]:
    """One of the rows alone, and rows drawn in the range of the example: one, one shrunk, and several together."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    low, high = rows.double().amin(0).cpu(), rows.double().amax(0).cpu()
    flat = high <= low
    low, high = torch.where(flat, low - 1, low), torch.where(flat, high + 1, high)
    if not rows.is_floating_point():
        low, high = torch.where(flat, low + 1, low), torch.where(flat, high - 1, high)
    count = 5 if len(rows) != 5 else 7  # not as many as the example has
    more = low + (high - low) * torch.rand((count, *rows.shape[1:]), generator=drawn, dtype=torch.float64)
    for some in (rows[:1].double().cpu(), more[:1], more[1:2] / 2, more):
        yield (some if rows.is_floating_point() else some.round()).to(rows.dtype).to(rows.device)


def outputs_at(module: Callable[[Tensor], Any], rows: Tensor, name: str) -> Tensor:
    """What the module gives at the rows.

    Raises:
        NetworkError: it fails there, or gives no row of scores for each of them.
    """
    import torch

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = module(rows.clone())
    except Exception as error:  # noqa: BLE001 (it is anybody's)
        raise NetworkError(
            f"{name} fails at the example of shape {list(rows.shape)} and type {rows.dtype}: {_first_line(error)}"
        ) from None
    if not isinstance(out, torch.Tensor):
        raise NetworkError(
            f"{name} gives an output {told(out)}: one tensor of scores [B, K] is accepted; wrap it in a module that picks one"
        )
    if out.ndim not in (1, 2) or out.shape[0] != rows.shape[0]:
        raise NetworkError(
            f"{name} gives outputs of shape {list(out.shape)} for an input of shape {list(rows.shape)}: a row of scores for each row "
            "of the input is accepted"
        )
    return out


def _exported(module: Module, rows: Tensor, name: str) -> bytes:
    """The bytes of the ONNX model, its batch axis left open."""
    import torch

    has_choice = "dynamo" in inspect.signature(torch.onnx.export).parameters
    choice: dict[str, Any] = {"dynamo": False} if has_choice else {}
    buffer = io.BytesIO()
    try:
        with torch.no_grad(), _calm(), _unprinted(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                torch.onnx.export(
                    module,
                    (rows,),
                    buffer,  # type: ignore[arg-type]
                    input_names=["input"],
                    output_names=["scores"],
                    dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}},
                    opset_version=_OPSET,
                    **choice,
                )
            except (TypeError, NotImplementedError):  # a torch without this exporter
                if not has_choice:
                    raise
                return _by_export(module, rows, name)
            _check_path(module, rows, name, warned=any(one.category.__name__ == "TracerWarning" for one in said))
    except NetworkError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever the exporter or the module raises)
        raise NetworkError(f"{name} cannot be exported to ONNX: {_first_line(error)}") from None
    return buffer.getvalue()


def _check_path(module: Module, rows: Tensor, name: str, *, warned: bool) -> None:
    """Refuse a module whose path through Python depends on the values of its input, not on shapes alone.

    ``warned``: the trace met what may be such a path; then ``torch.export`` has to follow the module to its end.
    """
    import torch

    if isinstance(module, torch.jit.ScriptModule):  # which has no path through Python
        return
    try:
        with redirect_stderr(io.StringIO()):  # where it prints its graph
            torch.export.export(module, (rows.clone(),))
    except Exception as error:  # noqa: BLE001 (whatever it meets, the path is not known to be one)
        told_so = f"{type(error).__name__} {error}".lower()
        if not warned and not any(word in told_so for word in _BY_VALUES):
            return  # it met something else, which the exporter did not
        raise NetworkError(
            f"{name} cannot be exported: Python decides by values of its input what it computes ({_first_line(error)}); write it with "
            "tensor operations"
        ) from None


def _by_export(module: Module, rows: Tensor, name: str) -> bytes:
    """The bytes by the exporter that goes through ``torch.export``."""
    import torch

    if find_spec("onnxscript") is None:
        raise NetworkError(
            f"{name} cannot be exported: this version of torch exports to ONNX by onnxscript, which is not installed; "
            "pip install 'wdaverify[torch-export]'"
        )
    batch = torch.export.Dim.AUTO if hasattr(torch.export.Dim, "AUTO") else torch.export.Dim("batch")
    program = torch.onnx.export(
        module,
        (rows,),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: batch},) if len(rows) > 1 else None,
    )
    return bytes(program.model_proto.SerializeToString())  # type: ignore[union-attr]


@contextmanager
def _unprinted() -> Iterator[None]:
    """Keep what the exporter writes to the process's standard output off it: where it fails, its graph, from C++ (``torch.onnx`` has it
    enabled whatever is asked for).
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _calm() -> Iterator[None]:
    """What the exporter logs is not for the user: what counts is raised or compared."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _flat(rows: Tensor) -> Array:
    """Rows ``[B, ...]`` as doubles ``[B, n]``."""
    return np.asarray(rows.detach().double().cpu().numpy().reshape(len(rows), -1), np.float64)


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
