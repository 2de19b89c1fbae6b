"""The paper's table: networks trained in three ways, their losses clean, attacked, certified and exact, over radii and balls.

    python examples/paper/run.py FOLDER [--quick]

Writes the networks, ``answers.jsonl`` (a line a question, as it is answered), ``table.md``, ``table.json`` and ``table.png``. A run that
was stopped goes on where it was; what is there is never asked again. ``--quick``: fully connected networks, order 1, l-inf.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import answers
import shown
import torch
from answers import QUICK, Size, whole


def run(size: Size, folder: Path) -> None:
    """Answer what is not answered yet; the table is written after every answer."""
    folder.mkdir(parents=True, exist_ok=True)
    file, asked = folder / "answers.jsonl", list(answers.questions(size))
    found, pace = answers.done(file), answers.Pace()
    for row in found.values():
        pace.learn(row)
    for number, question in enumerate(asked, 1):
        if question.key not in found:
            row = answers.plain(answers.answer(question, folder / "networks", pace.slow))
            pace.learn(row)
            answers.keep(file, row)
            found[question.key] = row
            name = f"{question.data}-{question.kind}-{question.way}"
            ball = f"W{question.order} l-{question.norm} {question.support}"
            took = f"{row['processor']:.0f} s of the processor, {row['seconds']:.0f} s in all"
            print(f"{number}/{len(asked)} {name} {question.loss} {ball}: {took}", flush=True)
        shown.write([found[q.key] for q in asked if q.key in found], len(asked), folder)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--quick", action="store_true", help="some minutes instead of hours")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = ("iris", "digits", "mnist") if os.environ.get("WDAVERIFY_REALWORLD") else ("iris", "digits")
    run(QUICK if arguments.quick else whole(data), arguments.folder)
    print(f"written: {arguments.folder / 'table.md'}, table.json, table.png")


if __name__ == "__main__":
    main()
