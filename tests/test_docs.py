"""What README and docs say of the command line is what the parser knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from wdaverify import cli
from wdaverify.cli import exits
from wdaverify.cli.line import spelled_out

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "docs" / "options.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
ELSEWHERE = {"--quick", "--list", "--repeats", "--find-links", "--no-deps"}
"""Options of the benchmarks and of pip."""
OF_THE_BATCH = {"output", "quiet", "run", "scheduler", "report", "title", "author", "image-shape"}


def options(command: str) -> dict[str, click.Option]:
    """By every name, ``--no-`` forms included, without ``--help``."""
    found = {}
    for parameter in cli.cli.commands[command].params:
        if isinstance(parameter, click.Option):
            found |= dict.fromkeys([*parameter.opts, *parameter.secondary_opts], parameter)
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


EVERY = {"--help", *named(" ".join(o for p in cli.cli.params for o in p.opts))}.union(
    *(options(c) for c in cli.cli.commands)
)


def table(text: str) -> list[list[str]]:
    """The cells of the options' table."""
    rows = [line for line in text.splitlines() if line.startswith("| `--")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_table_is_what_verify_takes() -> None:
    rows = table(OPTIONS.read_text(encoding="utf-8"))
    forms = {name for name in options("verify") if not name.startswith("--no-")}
    assert named(" ".join(row[0] for row in rows)) == forms


def test_choices_in_the_table() -> None:
    known = options("verify")
    for cells in table(OPTIONS.read_text(encoding="utf-8")):
        for name, choices in re.findall(r"`?(--[a-z-]+) ((?:[a-z0-9-]+\|)+[a-z0-9-]+)`", cells[0]):
            assert isinstance(known[name].type, click.Choice), name
            assert set(choices.split("|")) == set(known[name].type.choices), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_an_option_that_there_is_not(page: Path) -> None:
    assert named(page.read_text(encoding="utf-8")) <= EVERY | ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_pages_parse(page: Path) -> None:
    """Lines that begin with the program, up to a comment, a pipe or what may be left out."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert page.parent != ROOT or any(line.startswith("wdaverify verify") for line in lines)
    for line in lines:
        match = re.fullmatch(r"(?:    |\$ )?(?:\.venv/bin/)?wdaverify ([a-z].*)", line.rstrip("\\ "))
        if match is None or "..." in line or "[" in line or line.endswith("\\"):
            continue
        words = spelled_out(shlex.split(re.split(r"\s+#|;|\||\s\(", match[1])[0]))
        command = next(word for word in words if not word.startswith("-"))
        assert command in cli.cli.commands, line
        assert named(" ".join(words)) <= set(options(command)) | {"--help"}, line


def test_options_of_a_batch() -> None:
    text = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    said = re.search(r"by its name \((.*?)\), but for (.*?), which are the batch's", text, re.DOTALL)
    assert said is not None
    every = {name.removeprefix("--") for name in options("verify")}
    assert set(re.findall(r"`([a-z-]+)`", said[1])) <= every - OF_THE_BATCH
    assert set(re.findall(r"`([a-z-]+)`", said[2])) == OF_THE_BATCH - {"image-shape"}


def test_exit_statuses() -> None:
    """Every one is explained, on the page of options and in the help."""
    options_page = OPTIONS.read_text(encoding="utf-8")
    paragraph = options_page[options_page.index("**Exit status**") :].split("\n\n")[0]
    numbers = {value for name, value in vars(exits).items() if name.isupper() and type(value) is int}
    for text in (paragraph, cli.cli.help or ""):
        assert {int(n) for n in re.findall(r"(?<![\w.])(\d+)(?= )", text[text.index("xit status") :])} >= numbers
