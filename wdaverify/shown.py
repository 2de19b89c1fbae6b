"""Results that show themselves: as a line, as text, as plain data, as a page, as a plot, and in a notebook."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _presenter() -> Any:
    """How results are shown stands above them, and is looked up by name when one is (docs/adr/0022)."""
    return import_module("wdaverify.report.present")


class Shown:
    """What every result can do. ``print(result)`` writes what the command line prints."""

    def to_dict(self) -> dict[str, Any]:
        """The document that ``--output`` writes, as plain data (its schema is beside it in ``wdaverify/report``)."""
        out: dict[str, Any] = _presenter().document(self)
        return out

    def to_json(self) -> str:
        """The document that ``--output`` writes, as JSON text; non-finite numbers are written as text."""
        return str(_presenter().text_of_document(self.to_dict()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document as a file, whole or not at all; ``wdaverify report`` reads it.

        Raises:
            OutputError: the file cannot be written.
        """
        _presenter().save(self, path)

    def save_report(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        author: str | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Write the page that ``--report`` writes, ``.html`` or (printed by a browser) ``.pdf``, whole or not at all.

        ``image_shape`` (H, W) or (H, W, C) shows inputs as images.

        Raises:
            OutputError: another suffix, no browser to print with, or a file that cannot be written.
            DocumentError: the image shape does not fit the network.
        """
        _presenter().save_page([self], path, image_shape, title, author)

    def plot(self) -> Figure:
        """The main figure of the page as a matplotlib figure: ``savefig`` writes it.

        Raises:
            DocumentError: there is nothing to draw (no finite bound).
        """
        out: Figure = _presenter().plot(self)
        return out

    def _repr_html_(self) -> str:
        return str(_presenter().snippet(self))

    def __str__(self) -> str:
        return str(_presenter().text(self))


def line(what: str, *facts: str) -> str:
    """The line by which a result is known where values are listed."""
    return f"<{what}: {', '.join(fact for fact in facts if fact)}>"
