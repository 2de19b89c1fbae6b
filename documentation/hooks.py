"""What the site has beside docs/: pages that lie elsewhere in the repository, pictures that the tool draws, and notebooks, executed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import notebooks
import pictures
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = [
    "CHANGELOG.md",
    "models/README.md",
    "benchmarks/RESULTS.md",
    "examples/*/README.md",
    "examples/*/results/*/table.*",
]
"""Pages that are shown where they are."""
_TEMPORARY: list[TemporaryDirectory[str]] = []


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what is not in docs/."""
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for path in sorted((ROOT / "benchmarks" / "pictures").glob("*.svg")):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    files.append(File.generated(config, "adr/index.md", content=_decisions()))
    made = TemporaryDirectory(prefix="wdaverify-docs-")
    _TEMPORARY.append(made)
    for path in pictures.draw(Path(made.name)):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, shown = notebooks.executed(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in shown.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Lead links where the site has what the repository has elsewhere."""
    if page.file.src_uri == "CHANGELOG.md":
        return markdown.replace("](docs/", "](")
    markdown = re.sub(r"\]\((notebooks/[\w-]+)\.ipynb\)", r"](\1.md)", markdown)
    return re.sub(r"\]\(\.\./(benchmarks|models|examples)/", r"](\1/", markdown)


def on_post_page(output: str, **_: Any) -> str:
    """For those who hear pages: the search, which is a dialog, has a name, and a column without a head has no empty one."""
    named = output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )
    return named.replace("<th></th>", "<td></td>")


def on_post_build(*, config: MkDocsConfig) -> None:
    """Leave nothing behind, nor the page of a server that finds none."""
    (Path(config.site_dir) / "404.html").unlink(missing_ok=True)
    while _TEMPORARY:
        _TEMPORARY.pop().cleanup()
    shutil.rmtree(Path(config.site_dir) / "__pycache__", ignore_errors=True)


def _decisions() -> str:
    """The list of decisions, by their titles."""
    lines = ["# Decisions", "", "What was decided, why, and what follows; one file each.", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        title = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"
