"""The code on a page: what each block is, and running all of it, one block after the other, in a folder of its own.

Run are ``python`` (names live from block to block), ``sh`` (each line a command that has to exit 0, or as ``# exit status N`` says) and
``console`` (the same behind ``$``, with what is printed below); indented lines that begin with the program are ``sh``. ``toml`` is read,
and written to the folder under the name in its first line. ``text`` is no code. Every other language is a fault, so that nothing is
passed over.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
WITH_CODE = [
    page
    for page in PAGES
    if re.search(
        r"^ *```(?!text\b)\w|^    wdaverify [a-z]+ (?!.*\.\.\.)", page.read_text(encoding="utf-8"), re.MULTILINE
    )
]
LANGUAGES = ("python", "sh", "console", "toml", "text")
SPEC = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)(declare-const X_3 Real)\n"
SPEC += "(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)\n"
SPEC += "".join(f"(assert (>= X_{k} 0.4))(assert (<= X_{k} 0.6))\n" for k in range(4)) + "(assert (>= Y_0 Y_1))\n"
JOBS = '[[job]]\nnetwork = "NET.onnx"\ndata = "DATA.npz"\nradius = 0.05\nsamples = 3\n'
_TIMES = re.compile(r"\d+(\.\d+)? s\b")
_LOOSE = ("gap", "multiplier", "time", "work", "solver")
"""Lines of which the numbers depend on the machine."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


class BlockError(Exception):
    """A block that does not do what its page says."""


@dataclass(frozen=True)
class Block:
    """A block of a page, and the line of the page on which its text begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{shown(self.page)}:{self.line}"


def shown(page: Path) -> str:
    """A page by its place in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, and the indented commands."""
    language, begun, kept, indent = None, 0, [], ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"( *)```([\w-]*)", line)
        if fence and language is None:
            indent, language, begun, kept = fence[1], fence[2], number + 1, []
            if language not in LANGUAGES:
                raise BlockError(f"{shown(page)}:{number}: a block of {language!r}; {', '.join(LANGUAGES)} are known")
        elif fence and language is not None:
            yield Block(page, begun, language, "\n".join(kept) + "\n")
            language = None
        elif language is not None:
            kept.append(line.removeprefix(indent))
        elif re.match(r"    wdaverify [a-z]+ ", line) and "..." not in line:
            yield Block(page, number, "sh", line.strip() + "\n")
    if language is not None:
        raise BlockError(f"{shown(page)}:{begun}: the block has no end")


def folder_for(path: Path) -> None:
    """What pages name: the bundled models, a network and samples of one's own, a specification and a batch."""
    (path / "models").symlink_to(ROOT / "models")
    (path / "examples").symlink_to(ROOT / "examples")
    for name in ("iris_8x8.onnx", "iris_8x8.npz"):
        shutil.copy(ROOT / "models" / name, path / {".onnx": "NET.onnx", ".npz": "DATA.npz"}[Path(name).suffix])
    (path / "SPEC.vnnlib").write_text(SPEC)
    (path / "SPEC.vnnlib.gz").write_bytes(gzip.compress(SPEC.encode()))
    for name in ("NET.onnx", "DATA.npz", "SPEC.vnnlib"):
        shutil.copy(path / name, path / f"{Path(name).stem.lower()}{Path(name).suffix}")
    (path / "JOBS.toml").write_text(JOBS)
    (path / "instances.csv").write_text("NET.onnx,SPEC.vnnlib,10\n")
    np.savetxt(path / "STATES.csv", 0.4 + 0.2 * np.load(path / "DATA.npz")["x"][:5], delimiter=",")


def run(page: Path, folder: Path) -> int:
    """Run the blocks of a page in a folder; how many there were."""
    names: dict[str, object] = {"__name__": "__main__"}
    count = 0
    folder_for(folder)
    os.chdir(folder)
    for block in blocks_of(page):
        if page.parent.parent == ROOT / "examples" and block.language == "console":
            count += 1
            continue  # what run.sh prints, which test_walk_throughs.py compares
        try:
            count += _run(block, names)
        except BlockError as error:
            raise BlockError(f"{block}: {error}") from None
    return count


def _run(block: Block, names: dict[str, object]) -> bool:
    if block.language == "python":
        _python(block, names)
    elif block.language == "sh":
        for line in _joined(block.text):
            _command(line)
    elif block.language == "console":
        _console(block)
    elif block.language == "toml":
        _toml(block)
    return block.language != "text"


def _python(block: Block, names: dict[str, object]) -> None:
    said = io.StringIO()
    source = "\n" * (block.line - 1) + block.text
    try:
        with redirect_stdout(said), redirect_stderr(said):
            exec(compile(source, str(block.page), "exec"), names)
    except Exception:  # noqa: BLE001 (whatever a page raises)
        raise BlockError(f"fails\n{said.getvalue()}{traceback.format_exc()}") from None
    shown = re.findall(r"^# prints: (.*)$", block.text, re.MULTILINE)
    for line in shown:
        if not _same(line, said.getvalue()):
            raise BlockError(f"was to print\n{line}\nand printed\n{said.getvalue()}")


def _joined(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def _command(line: str) -> str:
    """Run a line; what it printed."""
    command, _, remark = line.partition(" #")
    wanted = int(found[1]) if (found := re.search(r"exit status (\d+)", remark)) else 0
    words = shlex.split(command)
    if words[0] == "make":
        _target(words[1])
        return ""
    if words[0].endswith("/wdaverify"):
        words[0] = "wdaverify"
    if words[0].endswith("pip") or words[:3] == ["python3", "-m", "venv"]:
        _extras(command)
        return ""
    if words[0] == "wdaverify" and not re.search(r"[|;&<>$]", command):
        status, said = _in_process(words[1:])
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-ec", command], capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        status, said = done.returncode, done.stdout + done.stderr
    if status != wanted:
        raise BlockError(f"{command} exits with {status}, not {wanted}\n{said}")
    return said


def _in_process(words: list[str]) -> tuple[int, str]:
    """The command line in this process, which saves the start of another."""
    from wdaverify import cli

    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            status = cli._run(words)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
    return status, said.getvalue()


def _target(name: str) -> None:
    if not re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
        raise BlockError(f"make {name}: the Makefile has no such target")


def _extras(command: str) -> None:
    """What pip is told to install is there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"\[([\w,-]+)\]", command):
        if missing := set(named.split(",")) - set(extras):
            raise BlockError(f"{command}: there is no extra {', '.join(missing)}")


def _console(block: Block) -> None:
    """Commands behind ``$``, each with what it prints: words as they are, numbers to six digits, seconds whatever they are."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        said = _command(command)
        for line in wanted.splitlines():
            if line.strip() not in ("", "...") and not _same(line, said):
                raise BlockError(f"{command} was to print\n{line}\nand printed\n{said}")


def _same(line: str, said: str) -> bool:
    wanted = _reduced(line)
    if wanted[0] in _LOOSE:
        return any(each.split()[:1] == wanted[:1] for each in said.splitlines())
    return any(_close(wanted, _reduced(each)) for each in said.splitlines())


def _reduced(line: str) -> list[str]:
    return _TIMES.sub("0 s", line).split()


def _close(one: list[str], other: list[str]) -> bool:
    return len(one) == len(other) and all(map(_alike, one, other))


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    a, b = one.strip("[],()"), other.strip("[],()")
    if not (_NUMBER.fullmatch(a) and _NUMBER.fullmatch(b)):
        return False
    return abs(float(a) - float(b)) <= 1e-6 * max(1.0, abs(float(b)))


def _toml(block: Block) -> None:
    first = block.text.splitlines()[0]
    try:
        tomllib.loads(block.text)
    except tomllib.TOMLDecodeError as error:
        raise BlockError(f"is no TOML: {error}") from None
    if named := re.match(r"# ([\w.-]+\.toml)\b", first):
        Path(named[1]).write_text(block.text)
