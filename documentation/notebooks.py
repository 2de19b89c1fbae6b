"""Notebooks, executed in a folder of their own, as pages."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from blocks import folder_for
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

SECONDS = 120
"""For each cell."""


def executed(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown with its outputs, and the files that it shows by name.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = run(path)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    shown = {}
    for name, content in resources["outputs"].items():
        own = f"{path.stem}-{name}"
        text = text.replace(f"({name})", f"({own})")
        shown[own] = content
    head, _, rest = text.lstrip().partition("\n")
    return f"{head}\n\n[The notebook]({path.name}), executed as this page was made.\n{rest}", shown


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory(prefix="wdaverify-notebook-") as folder:
        folder_for(Path(folder))
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        return client.execute()
