"""Modes of a thread: whether gradients are recorded. (What is being traced is the interpreter's affair:
ir/interpreter.py.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_grad_enabled: ContextVar[bool] = ContextVar("braze_grad_enabled", default=True)
is_grad_enabled = _grad_enabled.get


class _GradMode:
    """A context manager and decorator that sets the mode."""

    def __init__(self, mode: bool):
        self.mode = mode
        self._tokens: list[Any] = []

    def __enter__(self) -> _GradMode:
        self._tokens.append(_grad_enabled.set(self.mode))
        return self

    def __exit__(self, *exc: Any) -> None:
        _grad_enabled.reset(self._tokens.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(self.mode):
                return function(*args, **kwargs)

        return run


def no_grad() -> _GradMode:
    """Operations in the block are not recorded for `backward`. Also a decorator: `@braze.no_grad()`."""
    return _GradMode(False)


def enable_grad() -> _GradMode:
    """Operations in the block are recorded, inside `no_grad` too."""
    return _GradMode(True)


def set_grad_enabled(mode: bool) -> _GradMode:
    """`enable_grad()` or `no_grad()`, by a flag."""
    return _GradMode(mode)
