"""Functions of 16-bit floats that are rounded once: computed in float32 with all that is between, as PyTorch has it.

Without it each op of a function rounds, eagerly and compiled, which is less exact, and slower than the arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..types import float32
from .namespace import F


def is_narrow(x: Any) -> bool:
    """Is it a value of 16-bit floats?"""
    d = getattr(x, "dtype", None)
    return d is not None and d.is_float and d.bits == 16


def rounded_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed in float32 and rounded to the dtype of its first argument, where that is a 16-bit one."""

    @functools.wraps(function)
    def run(x: Any, *rest: Any, **named: Any) -> Any:
        if not is_narrow(x):
            return function(x, *rest, **named)
        wide = [F.cast(a, dtype=float32) if is_narrow(a) else a for a in (x, *rest, *named.values())]
        count = 1 + len(rest)
        return F.cast(function(*wide[:count], **dict(zip(named, wide[count:]))), dtype=x.dtype)

    return run
