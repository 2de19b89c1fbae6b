"""Every block of code on every page runs, and every mistake of the table gets the line that stands beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import blocks
import mistakes
import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize("page", blocks.WITH_CODE, ids=lambda page: str(page.relative_to(blocks.ROOT)))
def test_the_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    assert blocks.run(page, folder) > 0


def test_every_block_is_of_a_kind_that_is_known() -> None:
    for page in blocks.PAGES:
        list(blocks.blocks_of(page))


def test_every_mistake_gets_its_line(folder: Path) -> None:
    assert mistakes.make_all(folder) >= mistakes.LEAST


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
        ("```python\nprint('a b')\n# prints: a c\n```\n", "was to print"),
        ("```sh\nwdaverify info NOT.onnx\n```\n", "exits with 2, not 0"),
        ("```console\n$ wdaverify info NET.onnx\nReLUs           17\n```\n", "was to print"),
        ("    wdaverify info NOT.onnx\n", "exits with 2"),
        ("```toml\na = \n```\n", "no TOML"),
        ("```sh\nmake nothing\n```\n", "no such target"),
        ("```sh\npip install 'wdaverify[nothing]'\n```\n", "no extra"),
        ("```ruby\nputs 1\n```\n", "a block of 'ruby'"),
        ("```python\nx = 1\n", "no end"),
    ],
)
def test_a_block_that_fails_is_found(text: str, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = folder / "page.md"
    page.write_text(text)
    monkeypatch.setattr(blocks, "shown", lambda path: path.name)
    with pytest.raises(blocks.BlockError, match=words):
        blocks.run(page, folder)


def test_nothing_is_written_into_the_repository() -> None:
    """Blocks run in folders of their own, with links to what they read."""
    assert not list(blocks.ROOT.glob("*.json"))
    assert not list(blocks.ROOT.glob("*.html"))
    assert not list((blocks.ROOT / "models").glob("*.json"))
