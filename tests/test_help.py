"""What a newcomer meets first: help with examples that parse, and the shell's completion."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from wdaverify import cli
from wdaverify.cli.line import spelled_out
from wdaverify.command_help import EXAMPLES

OPTIONS = Path(__file__).parents[1] / "docs" / "options.md"
BIN = Path(sys.executable).parent
COMMANDS = sorted(cli.cli.commands)
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def shown(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli._run([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def examples(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("wdaverify ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = examples(shown(command, capsys=capsys))
    assert len(lines) >= 2
    for line in lines:
        words = spelled_out(shlex.split(line)[1:])
        assert words[0] == command
        cli.cli.commands[command].make_context(command, words[1:])
    with pytest.raises(click.UsageError):
        cli.cli.commands[command].make_context(command, ["--no-such-option"])


def test_examples_are_of_commands_that_there_are() -> None:
    assert set(EXAMPLES) <= set(COMMANDS)


def test_the_first_help_names_every_command_and_a_way_in(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys=capsys)
    for command in COMMANDS:
        assert f"\n  {command} " in text
    assert "..." not in text.split("Commands:")[1]
    lines = examples(
        text.replace("  what", "\nwhat").replace("  quick", "\nquick").replace("  the exact", "\nthe exact")
    )
    assert len(lines) >= 4
    for word in ("Exit status", "--log", "--version", "wdaverify verify --help"):
        assert word in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does(command: str) -> None:
    for parameter in cli.cli.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.name


def completed(shell: str, words: str, at: int) -> list[str]:
    """What click says of the word at a place."""
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(at), "_WDAVERIFY_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [BIN / "wdaverify"], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_options_choices_and_files_are_completed() -> None:
    assert completed("bash", "wdaverify ver", 1) == ["plain,verify"]
    assert completed("bash", "wdaverify --lo", 1) == ["plain,--log", "plain,--log-level"]
    assert completed("bash", "wdaverify verify --cert", 2) == ["plain,--certificate"]
    assert completed("bash", "wdaverify verify --norm ", 3) == ["plain,inf", "plain,1", "plain,2"]
    assert completed("bash", "wdaverify verify mod", 2) == ["file,mod"]
    assert completed("bash", "wdaverify verify --output re", 3) == ["file,re"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_produced_for_every_shell(shell: str) -> None:
    done = subprocess.run(
        [BIN / "wdaverify"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_WDAVERIFY_COMPLETE": f"{shell}_source"},
    )
    assert done.returncode == 0
    assert "_wdaverify_completion" in done.stdout
    assert f"{shell}_complete" in done.stdout
    assert f"_WDAVERIFY_COMPLETE={shell}_source wdaverify" in OPTIONS.read_text(encoding="utf-8")


@needs_bash
@pytest.mark.parametrize(
    ("typed", "expected"), [("ver", "verify"), ("verify --thre", "--threshold"), ("rech", "recheck")]
)
def test_bash_itself_completes(typed: str, expected: str) -> None:
    words = ["wdaverify", *typed.split()]
    script = (
        'eval "$(_WDAVERIFY_COMPLETE=bash_source wdaverify)"\n'
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}\n"
        '_wdaverify_completion wdaverify\necho "${COMPREPLY[@]}"\ncomplete -p wdaverify\n'
    )
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    lines = done.stdout.splitlines()
    assert lines[0] == expected, done.stderr
    assert "-F _wdaverify_completion wdaverify" in lines[1]
