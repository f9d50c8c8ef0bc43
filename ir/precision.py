"""Automatic mixed precision: which operations want narrow operands and which float32, asked for by whoever carries out
operations; the casts are made in the tracer (tracer/autocast.py).

Ops say it by the traits "narrow" and "wide", composite functions by the decorators here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_casting: ContextVar[Any] = ContextVar("braze_casting", default=None)


class casting:
    """Let these casts be made in the block; None: none."""

    __slots__ = ("casts", "token")

    def __init__(self, casts: Any):
        self.casts = casts

    def __enter__(self) -> None:
        self.token = _casting.set(self.casts)

    def __exit__(self, *exc: Any) -> None:
        _casting.reset(self.token)


def in_full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that mixed precision computes in float32 as a whole: norms, softmax, losses."""
    return _cast_before(function, "wide")


def in_low_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that mixed precision computes in the low dtype as a whole: linear maps with their bias, attention."""
    return _cast_before(function, "narrow")


def _cast_before(function: Callable[..., Any], wanted: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **named: Any) -> Any:
        casts = _casting.get()
        if casts is None:
            return function(*args, **named)
        args = casts.cast(wanted, args)
        named = dict(zip(named, casts.cast(wanted, tuple(named.values()))))
        with casting(None):
            return function(*args, **named)

    return run
