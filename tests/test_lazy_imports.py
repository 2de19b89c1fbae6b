"""Reading a network, printing about it and reporting results loads neither torch, cvxpy nor a solver; only pages and plots load what
draws them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from quick import one_in

import wdaverify

MODELS = Path(__file__).parent.parent / "models"
HEAVY = ("torch", "cvxpy", "highspy", "gurobipy", "scipy", "sklearn", "onnxruntime", "rich")
DRAWING = ("matplotlib", "PIL", "jinja2", "jsonschema", "playwright")

ACTIONS = {
    "import": "import wdaverify; dir(wdaverify); wdaverify.__version__",
    "info": "from wdaverify.cli import _run; assert _run(['info', {net!r}]) == 0",
    "info --json": "from wdaverify.cli import _run; assert _run(['info', '--json', {net!r}]) == 0",
    "--help": "from wdaverify.cli import _run; assert _run(['verify', '--help']) == 0",
    "status": "from wdaverify.cli import _run; assert _run(['status', 'no-folder']) == 2",
    "load": "import wdaverify as w; w.load_network({net!r}); w.load_samples({data!r}); w.WdroProblem; w.Reason",
    "report": "import wdaverify.report.as_json as j, wdaverify.report.summary; j.schema('verification')",
    "refused": "from wdaverify.cli import _run; assert _run(['verify', {net!r}, 'no.npz', '--radius', '1']) == 2",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_stays_light(action: str) -> None:
    code = ACTIONS[action].format(net=str(MODELS / "iris_8x8.onnx"), data=str(MODELS / "iris_8x8.npz"))
    _run_without((*HEAVY, *DRAWING), code)


def _run_without(packages: tuple[str, ...], code: str, folder: Path | None = None) -> None:
    code += f"\nimport sys\nloaded = sorted(set({packages!r}) & set(sys.modules))\nassert not loaded, loaded"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_run_without_a_page_draws_nothing() -> None:
    net, data = (str(MODELS / f"iris_8x8.{suffix}") for suffix in ("onnx", "npz"))
    ask = ["verify", net, data, "--radius", "0", "--jobs", "1", "--quiet"]
    _run_without(DRAWING, f"from wdaverify.cli import _run; assert _run({ask!r}) == 0")


@pytest.mark.parametrize("kind", one_in(2, ["html", "csv", "latex", "markdown"]))
def test_a_report_loads_no_solver(kind: str, tmp_path: Path) -> None:
    """A page may load what draws it; tables load neither matplotlib nor jinja2."""
    net, data = (str(MODELS / f"iris_8x8.{suffix}") for suffix in ("onnx", "npz"))
    command = [sys.executable, "-m", "wdaverify", "attack", net, data, "--radius", "0.1", "--samples", "2", "--quiet"]
    subprocess.run([*command, "--output", "r.json"], check=True, cwd=tmp_path)
    ask = ["report", "r.json", "--format", kind, "--output", "out.html" if kind == "html" else "out"]
    drawing = () if kind == "html" else ("matplotlib", "PIL", "jinja2", "playwright")
    _run_without((*HEAVY, *drawing), f"from wdaverify.cli import _run; assert _run({ask!r}) == 0", tmp_path)


@pytest.mark.parametrize("name", one_in(4, wdaverify.__all__))
def test_public_names_resolve(name: str) -> None:
    """In a fresh interpreter and by ``from``, which a submodule of the same name would spoil."""
    home = importlib.import_module(f"wdaverify.{wdaverify._HOME_OF[name]}")
    code = f"from wdaverify import {name} as it; assert it.__module__ == {home.__name__!r}, it"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        wdaverify.nothing_of_the_kind  # noqa: B018
