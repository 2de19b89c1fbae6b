"""Fixtures for folders of files that are not part of the project."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if value and Path(value).is_dir():
        return Path(value)
    reason = f"{variable} is not set" if not value else f"{variable}={value} is not a folder"
    if os.environ.get("WDAVERIFY_NO_SKIP") == "1":
        pytest.fail(f"{reason}, and WDAVERIFY_NO_SKIP=1 forbids skipping")
    pytest.skip(f"{reason}: point it to the files to run this test")


@pytest.fixture(scope="session")
def realworld() -> Path:
    """Networks, data and published answers from elsewhere (environment variable WDAVERIFY_REALWORLD)."""
    return _folder("WDAVERIFY_REALWORLD")


@pytest.fixture(scope="session")
def instances() -> Path:
    """Networks and inner problems with known optima (environment variable WDAVERIFY_INSTANCES)."""
    return _folder("WDAVERIFY_INSTANCES")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """A shell that starts the tests in the background has SIGINT ignored, which children would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
