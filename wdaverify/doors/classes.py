"""A model's own labels and the numbers of the outputs that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import SamplesError
from wdaverify.given import told


def class_numbers(classes: Sequence[object], y: Any) -> NDArray[np.int64]:
    """The outputs ``[N]`` that labels ``[N]`` mean.

    Raises:
        SamplesError: a label is none of the classes.
    """
    at = {label: k for k, label in enumerate(classes)}
    labels = labels_of(y).tolist()
    unknown = [label for label in labels if not _hashable(label) or label not in at]
    if unknown:
        shown = ", ".join(map(repr, classes[:8])) + (", ..." if len(classes) > 8 else "")
        raise SamplesError(f"label {told(unknown[0])} is none of the model's classes; {shown} are accepted")
    return np.array([at[label] for label in labels], np.int64)


def labels_of(y: Any) -> NDArray[Any]:
    """Labels ``[N]`` of any kind, as an array.

    Raises:
        SamplesError: they are none.
    """
    try:
        found = np.asarray(y)
    except ValueError:  # rows of unequal length
        found = np.zeros((0, 0))
    if found.ndim != 1 or isinstance(y, np.ma.MaskedArray):
        raise SamplesError(f"y {told(y)}: labels [N] are accepted, none of them masked")
    return found


def _hashable(label: object) -> bool:
    try:
        hash(label)
    except TypeError:
        return False
    return True
