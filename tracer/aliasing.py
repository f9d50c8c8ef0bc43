"""Who else holds a value: writes into views that would be lost, and memory that may be written in place."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np


class _Passing:
    """Measures how many references an operand of `x[i] += 1` has in this Python."""

    seen = 0

    def __getitem__(self, key: Any) -> _Passing:
        return _Passing()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def _note(self, references: int) -> None:
        _Passing.seen = references

    def __iadd__(self, other: Any) -> _Passing:
        self._note(sys.getrefcount(self))
        return self


_probe = _Passing()
_probe[0] += 1
REFERENCES_OF_PASSING = _Passing.seen


def mark_view(result: Any, base: Any) -> Any:
    """Remember what a view was taken from, so that changing it in place is not silently lost."""
    result._base = weakref.ref(base)
    return result


def is_sole_owner(array: Any, known: int) -> bool:
    """Does nobody but `known` references hold this array and its memory? A pooled array has one holder more, and a view
    (of an array of NumPy or of its own kind) shares another's memory: they are never alone.
    """
    return not isinstance(array.base, (np.ndarray, type(array))) and sys.getrefcount(array) <= known + 1
