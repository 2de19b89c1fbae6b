"""Every network of a competition: read, and then equal to onnxruntime, or refused in one line that names it."""

from __future__ import annotations

from pathlib import Path

from runtime import equal_to_onnxruntime

from wdaverify import load_network
from wdaverify.errors import NetworkError


def read_or_refused(path: Path) -> bool:
    """Whether the network is read; its refusal is one line with the file's name."""
    refusal = ""
    try:
        equal_to_onnxruntime(path, load_network(path))
    except NetworkError as error:
        refusal = str(error)
    assert not refusal or (path.name in refusal and "\n" not in refusal)
    return not refusal


def test_competition(vnncomp: Path) -> None:
    read = {path.name for path in vnncomp.glob("*/*.onnx") if read_or_refused(path)}
    assert len([name for name in read if name.startswith("ACASXU")]) == 45
