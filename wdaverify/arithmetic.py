"""In what arithmetic the network of a question is evaluated."""

from __future__ import annotations

from enum import StrEnum

from wdaverify.errors import ProblemError


class Arithmetic(StrEnum):
    """Real arithmetic on the numbers as stored, or whatever a runtime of IEEE single precision makes of them (docs/float32.md)."""

    REAL = "real"
    FLOAT32 = "float32"

    @classmethod
    def of(cls, value: object) -> Arithmetic:
        """The arithmetic that is meant.

        Raises:
            ProblemError: there is no such arithmetic.
        """
        if isinstance(value, str) and value in tuple(cls):
            return cls(value)
        from wdaverify.given import told

        raise ProblemError(f"arithmetic {told(value)}: {' and '.join(cls)} are accepted")
