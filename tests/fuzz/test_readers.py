"""Files from strangers, mutated: every one is read, or refused in one line; nothing else is raised, and no warning given."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzz.readers import READERS, Reader, use

SHARE = 75
"""The one of so many inputs that the quick run takes."""
TOTAL = 100_000


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[Path]:
    """In memory where there is such a folder: many small files are written."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    name = Path(tempfile.mkdtemp(dir=where))
    use(name)
    yield name
    shutil.rmtree(name)


def outcome(reader: Reader, path: Path) -> str:
    """``read`` or ``refused``; anything else is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            reader.check(path)
        except reader.refusal as error:
            text = str(error)
            assert text.isprintable()
            assert text.startswith(str(path))
            assert 10 < len(text) - len(str(path)) < 1500
            return "refused"
    return "read"


def run(name: str, count: int, seed: int, path: Path) -> Counter[str]:
    """Outcomes of so many inputs; one that breaks the reader is named by its number and kept as a file."""
    reader, seen = READERS[name], Counter[str]()
    seeds = reader.seeds()
    path = path / f"input{reader.suffix}"
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = reader.mutate(rng, seeds[number % len(seeds)], seeds)
        path.write_bytes(data)
        try:
            seen[outcome(reader, path)] += 1
        except Exception as error:
            kept = (
                Path(tempfile.gettempdir()) / f"wdaverify-fuzz-{name.replace(' ', '-')}-{seed}-{number}{reader.suffix}"
            )
            kept.write_bytes(data)
            raise AssertionError(f"input {number} of seed {seed}, kept as {kept}: {type(error).__name__}") from error
    return seen


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read(name: str, folder: Path) -> None:
    reader = READERS[name]
    path = folder / f"input{reader.suffix}"
    for data in reader.seeds():
        path.write_bytes(data)
        assert outcome(reader, path) == "read"


@pytest.mark.parametrize("name", READERS)
def test_some_mutated_files(name: str, folder: Path, record_property: pytest.RecordProperty) -> None:
    count = READERS[name].count // SHARE
    seen = run(name, count, 1, folder)
    record_property("outcomes", dict(seen))
    assert seen.total() == count
    assert min(seen["read"], seen["refused"]) > count // 200


def test_the_full_run_is_of_a_hundred_thousand() -> None:
    assert sum(reader.count for reader in READERS.values()) >= TOTAL


@pytest.mark.full
@pytest.mark.parametrize("name", READERS)
def test_many_mutated_files(name: str, folder: Path, record_property: pytest.RecordProperty) -> None:
    count = READERS[name].count
    seen = run(name, count, 2, folder)
    record_property("outcomes", dict(seen))
    assert seen.total() == count
    assert min(seen["read"], seen["refused"]) > count // 200
