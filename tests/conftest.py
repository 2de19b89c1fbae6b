"""Fixtures for folders of files that are not part of the project; which cases of slow properties are quick."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from elsewhere import folder
from quick import leave_out

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run in as many processes as there are cores; numpy is not imported yet


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark ``full`` what quick.toml leaves out of ``make test``."""
    leave_out(items)


@pytest.fixture(scope="session")
def realworld() -> Path:
    """Networks, data and published answers from elsewhere (environment variable WDAVERIFY_REALWORLD)."""
    return folder("WDAVERIFY_REALWORLD")


@pytest.fixture(scope="session")
def instances() -> Path:
    """Networks and inner problems with known optima (environment variable WDAVERIFY_INSTANCES)."""
    return folder("WDAVERIFY_INSTANCES")


@pytest.fixture(scope="session")
def vnncomp() -> Path:
    """Networks and specifications of a competition, with verdicts (environment variable WDAVERIFY_VNNCOMP)."""
    return folder("WDAVERIFY_VNNCOMP")


@pytest.fixture(scope="session")
def exports() -> Path:
    """Networks as real exporters write them, and what each needs (environment variable WDAVERIFY_EXPORTS)."""
    return folder("WDAVERIFY_EXPORTS")


@pytest.fixture(scope="session")
def published_constants() -> Path:
    """Networks with published Lipschitz constants (environment variable WDAVERIFY_LIPSCHITZ)."""
    return folder("WDAVERIFY_LIPSCHITZ")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """A shell that starts the tests in the background has SIGINT ignored, which children would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
