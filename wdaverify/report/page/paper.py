"""A page as a PDF, printed by a Chromium that is there already; nothing is asked of any network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from wdaverify.errors import OutputError

VARIABLE = "WDAVERIFY_CHROMIUM"
"""The environment variable that names the browser; without it one of ``NAMES`` is looked for on the path."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SECONDS = 300.0
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pdf-header-footer",
)


def check_page(option: str, path: str) -> None:
    """Refuse what no page is written to, or a PDF where there is nothing that prints one, before any work is done.

    Raises:
        OutputError: the suffix is another one, or there is no browser.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".pdf":
        browser()
    elif suffix not in (".html", ".htm"):
        found = f"the suffix {suffix}" if suffix else "no suffix"
        raise OutputError(f"{option} {path} has {found}; a page is written as .html or .htm, or printed as .pdf")


def browser() -> str:
    """The browser that prints.

    Raises:
        OutputError: there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise OutputError(
                f"{VARIABLE} names {named}, which cannot be run; name a Chromium or Chrome, or write a .html"
            )
        return found
    found = next((path for path in map(shutil.which, NAMES) if path is not None), None)
    if found is None:
        raise OutputError(
            f"a .pdf is printed by a Chromium or Chrome, and none of {', '.join(NAMES)} is on the path; install one, name one by "
            f"{VARIABLE}, or write a .html, which any browser prints"
        )
    return found


def pdf(page: str) -> bytes:
    """A page (HTML) as a PDF.

    Raises:
        OutputError: there is no browser, or it made none.
    """
    program = browser()
    with TemporaryDirectory(prefix="wdaverify-", ignore_cleanup_errors=True) as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_text(page, encoding="utf-8", errors="backslashreplace")
        command = [program, *_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # which a browser that root starts cannot have
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise OutputError(
                f"{program} did not print the page within {_SECONDS:.0f} s; write a .html instead"
            ) from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise OutputError(
                f"{program} cannot be run ({why}); name another by {VARIABLE}, or write a .html"
            ) from error
        content = target.read_bytes() if target.is_file() else b""
    if done.returncode or not _whole(content):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = f" ({said[-1][:200]})" if said else ""
        raise OutputError(f"{program} printed no PDF, exit status {done.returncode}{last}; write a .html instead")
    return content


def _whole(content: bytes) -> bool:
    return content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
