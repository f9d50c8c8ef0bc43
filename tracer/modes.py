"""Modes of a thread: whether gradients are recorded. (What is being traced is the interpreter's affair:
ir/interpreter.py.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..ir.precision import _casting
from . import world
from .devices import CPU, default

_grad_enabled: ContextVar[bool] = ContextVar("braze_grad_enabled", default=True)
is_grad_enabled = _grad_enabled.get


_PRECISIONS = {"highest": "ieee", "high": "tf32", "medium": "bf16"}      # as GpuTarget spells them
_precision = ["highest"]


def set_float32_matmul_precision(precision: str) -> None:
    """How products of float32 matrices are made on a GPU: "highest" in float32, "high" in tensor cores with operands
    rounded to tf32 (10 bits), "medium" to bfloat16 (7 bits). On a CPU always in float32.
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(_PRECISIONS)}, not {precision!r}")
    _precision[0] = precision
    world.bump()


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` has set."""
    return _precision[0]


def product_precision() -> str:
    """The precision as a `GpuTarget` has it."""
    return _PRECISIONS[_precision[0]]


def ambient() -> Any:
    """What a program depends on besides its arguments and captures; None where all is as usual."""
    device, casts = default(), _casting.get()
    if device is CPU and casts is None and _precision[0] == "highest":
        return None
    return str(device), _precision[0], None if casts is None else casts.key


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
