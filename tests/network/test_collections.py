"""Every network of the outside collections: read, and then equal to onnxruntime, or refused in one line that names it."""

from __future__ import annotations

import json
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


def test_exports(exports: Path) -> None:
    """What was read when the collection was made is read; nothing is read wrongly."""
    rows = json.loads((exports / "manifest.json").read_text())
    read = {row["file"] for row in rows if read_or_refused(exports / row["file"])}
    assert {path.name for path in exports.glob("*.onnx")} == {row["file"] for row in rows}
    assert {row["file"] for row in rows if row["today"] == "accepted"} <= read


def test_competition(vnncomp: Path) -> None:
    read = {path.name for path in vnncomp.glob("*/*.onnx") if read_or_refused(path)}
    assert len([name for name in read if name.startswith("ACASXU")]) == 45
