"""What a journal holds, and the checksum by which a row that has changed is told.

Facts are appended and never changed. A fact belongs to a *scope*: the fields on which its truth depends, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

_DIGEST = 16


@dataclass(frozen=True)
class Scope:
    """What facts are true of: ``fields`` as text, ``key`` their digest, ``number`` the journal's own name for it."""

    number: int
    key: bytes
    fields: dict[str, str]


@dataclass(frozen=True)
class Point:
    """An input (its bytes, ``<f8``) at which a sample is worth looking at; it claims nothing."""

    sample: bytes
    point: bytes


@dataclass(frozen=True)
class Fact:
    """A proven bound of one piece ``(label, code)`` of one sample.

    ``value`` bounds the piece's ``phi(multiplier)`` from above, or its distance from below (multiplier inf: strictly); the scope
    says which. ``checked``: it was recomputed with outward rounding, else it is the word of ``vouched``. ``tries`` questions were
    asked for it; ``spent`` is the digest of the effort with which asking again proves no more, or empty. ``proof``: what shows it,
    or empty (where it was not asked for, too).
    """

    sample: bytes
    label: int
    code: int
    multiplier: float
    value: float
    checked: bool
    vouched: str
    tries: int
    spent: bytes = b""
    proof: bytes = b""


def digest(*parts: bytes | str) -> bytes:
    """Sixteen bytes that name the parts, each with its length."""
    out = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        out.update(struct.pack("<q", len(raw)))
        out.update(raw)
    return out.digest()


def scope_key(fields: dict[str, str]) -> bytes:
    """The digest of a scope's fields, whatever their order."""
    return digest(json.dumps(fields, sort_keys=True))


def fact_row(scope: Scope, fact: Fact) -> tuple[object, ...]:
    """A fact's columns behind its sample; the proof, which may be long, is last and has a digest of its own."""
    shown = digest(fact.proof) if fact.proof else b""
    return (
        fact.label,
        fact.code,
        fact.multiplier,
        fact.value,
        int(fact.checked),
        fact.vouched,
        fact.tries,
        fact.spent,
        shown,
        fact_sum(scope, fact, shown),
        fact.proof,
    )


def fact_sum(scope: Scope, fact: Fact, shown: bytes) -> bytes:
    """The checksum of a fact in its scope; ``shown`` is the digest of its proof, or empty."""
    multiplier, value = fact.multiplier + 0.0, fact.value + 0.0  # SQLite keeps no sign of zero
    numbers = struct.pack("<qqdd?q", fact.label, fact.code, multiplier, value, fact.checked, fact.tries)
    return digest(scope.key, fact.sample, numbers, fact.vouched, fact.spent, shown)


def point_sum(scope: Scope, point: Point) -> bytes:
    """The checksum of a point in its scope."""
    return digest(scope.key, point.sample, point.point)


def sound_fact(scope: Scope, key: Any, *values: Any) -> Fact | None:
    """The fact of a row (``fact_row``, whose proof may be None: not read), or None where its checksums do not agree."""
    try:
        label, code, multiplier, value, checked, vouched, tries, spent, shown, total, proof = values
        fact = Fact(key, label, code, multiplier, value, bool(checked), vouched, tries, spent, proof or b"")
        sound = proof is None or shown == (digest(proof) if proof else b"")
        return fact if sound and fact_sum(scope, fact, shown) == total else None
    except (TypeError, AttributeError, struct.error):
        return None


def sound_point(scope: Scope, key: Any, raw: Any, total: Any) -> Point | None:
    """The point of a row, or None where its checksum does not agree."""
    try:
        point = Point(key, raw)
        return point if point_sum(scope, point) == total else None
    except (TypeError, AttributeError):
        return None
