"""What is not part of the project: folders of files, and programs.

A test that needs one of them skips without, and says why; with WDAVERIFY_NO_SKIP=1 it fails instead. What needs hardware that is
not there, or an optional extra, skips in any case.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str, remedy: str) -> NoReturn:
    """Skip a test for what is missing, or fail it where nothing may be."""
    if os.environ.get("WDAVERIFY_NO_SKIP") == "1":
        pytest.fail(f"{reason}, and WDAVERIFY_NO_SKIP=1 forbids skipping: {remedy}")
    pytest.skip(f"{reason}: {remedy}")


def folder(variable: str) -> Path:
    """The folder that an environment variable names."""
    value = os.environ.get(variable)
    if value and Path(value).is_dir():
        return Path(value)
    reason = f"{variable} is not set" if not value else f"{variable}={value} is not a folder"
    missing(reason, "point it to the files to run this test")
