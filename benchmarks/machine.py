"""When, on what and with which versions something was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("gurobipy", "gurobi-machinelearning", "highspy", "numpy", "torch")
_HERE = Path(__file__).resolve().parent


def stamp(jobs: int) -> dict[str, object]:
    """When the session began (UTC), git revision (with ``+`` where files differ from it), machine and versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "revision": revision(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory():.0f} GB, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "jobs": jobs,
    }


def revision() -> str:
    """The short revision of the checkout; the measurements themselves do not count as a difference."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git(
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":/",
        ":(exclude)RESULTS.md",
        ":(exclude)results.json",
        ":(exclude)pictures",
    )
    return f"{head or 'unknown'}{'+' if changed else ''}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=_HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
