"""The distributions: what is in them, and that the wheel works in an empty environment, from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import wdaverify

ROOT = Path(__file__).parents[1]
SOURCES = ("wdaverify", "tests", "docs", "documentation", "examples", "models", "benchmarks")
FILES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "MANIFEST.in",
    "Makefile",
    "constraints.txt",
    "mkdocs.yml",
)
NAME = f"wdaverify-{wdaverify.__version__}"


def command(*arguments: object, folder: Path) -> str:
    """What a program prints; it has to succeed. Nothing of this environment leaks into it but where pip looks."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE"))
    }
    env["PIP_CONSTRAINT"] = str(ROOT / "constraints.txt")
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=1500
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == wdaverify.__version__
    assert f"## [{wdaverify.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_requirement_is_pinned() -> None:
    """Those of the project itself; ``make setup`` shows that the rest are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if not line.startswith("#")}
    assert {requirement.partition(">")[0].lower() for requirement in wanted} <= pinned
    assert all(line.startswith("#") or "==" in line for line in lines)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it."""
    source, out = tmp_path_factory.mktemp("source") / "checkout", tmp_path_factory.mktemp("dist")
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    command(sys.executable, "-m", "build", "--outdir", out, source, folder=out)
    assert sorted(path.name for path in out.iterdir()) == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]
    return out


def packaged(*roots: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for root in roots
        for path in (ROOT / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.full
def test_the_distributions_are_complete(built: Path) -> None:
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert f"{NAME}.dist-info/licenses/LICENSE" in wheel.namelist()
    assert files == packaged("wdaverify")
    assert {"wdaverify/py.typed", "wdaverify/report/verification.schema.json"} <= files
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert packaged(*SOURCES) | set(FILES) <= held


@pytest.mark.full
def test_the_wheel_works_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    """As the README says: a fresh environment, the constraints file, and another folder."""
    command(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    wheel = built / f"{NAME}-py3-none-any.whl"
    command(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    where = command(python, "-c", "import wdaverify; print(wdaverify.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")
    work = tmp_path / "elsewhere"
    work.mkdir()
    for name in ("iris_8x8.onnx", "iris_8x8.npz"):
        shutil.copy(ROOT / "models" / name, work)
    program = tmp_path / "venv" / "bin" / "wdaverify"
    assert command(program, "--version", folder=work) == f"wdaverify {wdaverify.__version__}\n"
    assert "Examples:" in command(program, "verify", "--help", folder=work)
    assert "affine 4 -> 8" in command(program, "info", "iris_8x8.onnx", folder=work)
    question = ["iris_8x8.onnx", "iris_8x8.npz", "--radius", "0.05", "--support", "0", "10"]
    ask = ["verify", *question, "--samples", "5", "--output", "r.json", "--certificate", "r.cert", "--log", "r.log"]
    assert "exact" in command(program, *ask, folder=work)
    result = json.loads((work / "r.json").read_text(encoding="utf-8"))
    assert result["status"] == "exact"
    assert "exit status 0" in (work / "r.log").read_text(encoding="utf-8")
    again = ["recheck", "iris_8x8.onnx", "iris_8x8.npz", "r.cert", "--support", "0", "10", "--samples", "5"]
    assert "proved" in command(program, *again, folder=work)
    code = "from wdaverify.report.as_json import schema; print([schema(n)['title'] for n in ('verification', 'attack', 'verdict')])"
    assert "verification" in command(python, "-c", code, folder=work)
    listed = json.loads(command(python, "-m", "pip", "list", "--format", "json", folder=work))
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    own = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for entry in listed:
        name = entry["name"].lower().replace("_", "-")
        if name not in ("pip", "setuptools", "wheel", "wdaverify"):
            assert entry["version"].partition("+")[0] == own[name], entry
    shutil.rmtree(tmp_path / "venv")  # a gigabyte
