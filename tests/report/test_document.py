"""Result files are files of strangers: what is no result is refused with one line, and nothing of it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import documents
import pytest
from jsonschema import Draft202012Validator

from wdaverify import cli
from wdaverify.errors import DocumentError
from wdaverify.report import as_json
from wdaverify.report.page import document
from wdaverify.report.page.document import as_document, read_document
from wdaverify.report.page.tables import FORMATS, as_text
from wdaverify.report.page.view import build

Json = dict[str, Any]


def saved(tmp_path: Path, content: Json | str | bytes, name: str = "result.json") -> str:
    path = tmp_path / name
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return str(path)


@pytest.mark.parametrize("kind", documents.ALL)
def test_every_kind_is_read(kind: str, tmp_path: Path) -> None:
    made = documents.ALL[kind]()
    Draft202012Validator(as_json.schema(kind)).validate(made)
    read = read_document(saved(tmp_path, made))
    assert (read.kind, read.data, read.name) == (kind, made, "result.json")
    assert as_document(made).data == made


@pytest.mark.parametrize("kind", ["verification", "attack", "distances", "compare", "batch"])
def test_documents_from_before_float32_ties_and_heads_were_spoken_of_are_read(kind: str, tmp_path: Path) -> None:
    made = documents.ALL[kind]()
    old = json.loads(json.dumps(made))
    inner = [old, *old.get("verifications", []), *(row["result"] for row in old.get("rows", []) if row["result"])]
    entries = [entry for one in inner for field in ("atoms", "distances") for entry in one.get(field, [])]
    assert entries
    for entry in entries:
        del entry["float32"]
    for one in inner:
        assert one.pop("tie", None) is None
        (one.get("files") or {}).pop("logits", None)
    read = read_document(saved(tmp_path, old))
    assert read.data == made
    for text in (as_text(build([read]), form) for form in FORMATS):
        assert "In float32" in text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["verification", "distances"])
def test_what_float32_makes_of_an_error_is_told(kind: str, form: str) -> None:
    told = {"any-order": "yes, in any order", "orders-tried": "yes, as tried", "barely": "barely", "no": "no"}
    for flip, words in told.items():
        made = documents.ALL[kind]()
        made["atoms" if kind == "verification" else "distances"][0]["float32"] = flip
        report = build([as_document(made)])
        [table] = [t for t in report.tables() if "In float32" in [column.head for column in t.columns]]
        at = [column.head for column in table.columns].index("In float32")
        assert [row[at].value for row in table.rows].count(flip) == 1
        assert words in as_text(report, form) or f",{flip}" in as_text(report, form)


@pytest.mark.parametrize("kind", ["curve", "distances"])
@pytest.mark.parametrize(
    "spoil", [lambda d: d.update(extra=1), lambda d: d.pop("machine"), lambda d: d.update(reason="bored")]
)
def test_new_schemas_catch_faults(kind: str, spoil: Callable[[Json], Any]) -> None:
    made = documents.ALL[kind]()
    spoil(made)
    assert not Draft202012Validator(as_json.schema(kind)).is_valid(made)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        ("[1]", "a list, not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "no finite double"),
        ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
        ("{}", "its schema is None; accepted are wdaverify/verification/1"),
        ('{"schema": "wdaverify/verification/2"}', "'wdaverify/verification/2'"),
        ('{"schema": ["wdaverify/verification/1"]}', "its schema is ['wdaverify"),
        ('{"schema": "wdaverify/verdict/1"}', "'wdaverify/verdict/1'"),
        ('{"schema": "wdaverify/curve/1"}', "required property"),
        ('{"schema": "\\u001b[31m"}', "'\\x1b[31m'"),
    ],
)
def test_no_result(content: bytes | str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        read_document(saved(tmp_path, content))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


FAULTS: dict[str, Callable[[Json], Any]] = {
    "text for a bound": lambda d: d.update(lower="0.5"),
    "true for a bound": lambda d: d.update(lower=True),
    "a field too many": lambda d: d.update(extra="<script>"),
    "a field too few": lambda d: d.pop("per_sample"),
    "a bracket upside down": lambda d: d.update(lower=1.0, upper=0.0),
    "a short point": lambda d: d["atoms"][0].update(point=[0.1]),
    "a long original": lambda d: d["originals"][0].update(point=[0.1, 0.2, 0.3]),
    "text in a point": lambda d: d["atoms"][0].update(point=[0.1, "0.2"]),
    "an atom of nobody": lambda d: d["atoms"][0].update(sample=7),
    "an original twice": lambda d: d["originals"].append(d["originals"][0]),
    "an unknown class": lambda d: d["atoms"][0].update(predicted=2),
    "a short side": lambda d: d["support"].update(lower=[0.0]),
    "a negative weight": lambda d: d["atoms"][0].update(weight=-0.5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contradictions(fault: str, tmp_path: Path) -> None:
    made = documents.verification()
    FAULTS[fault](made)
    path = saved(tmp_path, made)
    with pytest.raises(DocumentError, match=r"result\.json: "):
        read_document(path)
    outer = documents.compare()
    outer["verifications"] = [made]
    with pytest.raises(DocumentError, match="verification 0"):
        read_document(saved(tmp_path, outer))


@pytest.mark.parametrize("depth", [10, 300, 600, 900, 2000, 100_000])
def test_nested(depth: int, tmp_path: Path) -> None:
    """A field nested as deep as JSON allows, or deeper, ends in a refusal and not in a stack that overflows."""
    text = json.dumps({**documents.verification(), "detail": "HERE"}).replace('"HERE"', "[" * depth + "]" * depth)
    with pytest.raises(DocumentError, match=r"nested too deeply|its field detail is not"):
        read_document(saved(tmp_path, text))


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 100)
    with pytest.raises(DocumentError, match="at most 100 are accepted"):
        read_document(saved(tmp_path, documents.verification()))


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DocumentError, match="no such file"):
            read_document(str(path))


def test_the_command_line_refuses_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = saved(tmp_path, documents.verification()), saved(tmp_path, "{}", "bad.json")
    page = str(tmp_path / "page.html")
    refused = {
        ("report", bad, "--output", page): "its schema is None",
        ("report", good): "--output report.html",
        ("report", good, "--format", "csv", "--figures", "svg"): "--output",
        ("report", good, "--output", good): "is an input",
        ("report", good, "--output", str(tmp_path / "no" / "page.html")): "folder does not exist",
        ("report", good, "--output", page, "--image-shape", "3", "3"): "9 values, and the network takes 2",
        ("report", good, "--output", page, "--image-shape", "1", "1", "2"): "H W 3 are accepted",
        ("report", good, "--output", page, "--image-shape", "2"): "H W",
        ("report", good, "--output", page, "--image-shape", "0", "2"): ">= 1",
        ("report", "--output", page): "RESULT.json",
    }
    for arguments, words in refused.items():
        assert cli._run(list(arguments)) == 2, arguments
        captured = capsys.readouterr()
        assert words in captured.err
        assert captured.err.count("\n") == 1
        assert not captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.json", "result.json"]


def done_too_early(made: Json) -> None:
    made["rows"][2]["done"] = True


def done_altogether(made: Json) -> None:
    made["done"] = True


def answered_and_refused(made: Json) -> None:
    made["rows"][0]["refused"] = "no such file"


def one_name(made: Json) -> None:
    made["rows"][1]["name"] = made["rows"][0]["name"]


def narrow_point(made: Json) -> None:
    made["rows"][0]["result"]["atoms"][0]["point"] = [0.5]


def no_verification(made: Json) -> None:
    made["rows"][0]["result"] = documents.attack()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (done_too_early, "row 2 contradicts its result"),
        (done_altogether, "whether all are done"),
        (answered_and_refused, "row 0 contradicts its result"),
        (one_name, "two of its rows have one name"),
        (narrow_point, "row 0: a point has 1 features"),
        (no_verification, "row 0: it"),
    ],
)
def test_a_batch_that_contradicts_itself(spoil: Callable[[Json], None], words: str) -> None:
    made = documents.batch()
    as_document(made)
    spoil(made)
    with pytest.raises(DocumentError, match=words):
        as_document(made)
