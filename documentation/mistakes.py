"""The table of mistakes: each is made, and the line that it gets has to be the one that stands beside it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from blocks import ROOT, BlockError, _in_process, folder_for

PAGE = ROOT / "docs" / "mistakes.md"
LEAST = 30


def rows() -> list[tuple[str, str]]:
    """What is typed, and the line it gets."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`"):
            found.append((cells[0].strip("`"), cells[1].strip("`")))
    return found


def make_all(folder: Path) -> int:
    """Make every mistake in a folder; how many there are."""
    import os

    folder_for(folder)
    os.chdir(folder)
    (folder / "names.csv").write_text("a,b,c,d,kind\n0.1,0.2,0.3,0.4,setosa\n0.2,0.2,0.3,0.4,virginica\n")
    names: dict[str, object] = {}
    exec(PREAMBLE, names)
    made = rows()
    if len(made) < LEAST:
        raise BlockError(f"{PAGE.name}: {len(made)} rows were found, at least {LEAST} are promised")
    for typed, wanted in made:
        said = _line(typed, names)
        if said != wanted:
            raise BlockError(f"{PAGE.name}: {typed}\nwas to get\n{wanted}\nand gets\n{said}")
    return len(made)


PREAMBLE = """
import numpy as np, torch, wdaverify as wd
data = np.load("DATA.npz"); X, y = data["x"][:3], data["y"][:3]
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
"""


def _line(typed: str, names: dict[str, object]) -> str:
    if typed.startswith("wdaverify"):
        status, said = _in_process(shlex.split(typed)[1:])
        if status != 2:
            raise BlockError(f"{PAGE.name}: {typed} exits with {status}, not 2\n{said}")
        return said.strip().removeprefix("wdaverify: error: ")
    from wdaverify import WdaverifyError

    try:
        exec(typed, names)
    except WdaverifyError as error:
        return str(error)
    raise BlockError(f"{PAGE.name}: {typed} is taken")
