"""Who carries out an operation: the current interpreter (eager, trace, graph builder), asked for by `bind`.

This is the one place of the trace stack. An interpreter's operands have `shape` and `dtype`; it turns plain numbers
into operands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .expr import Dim
    from .ops.declare import Op
    from .types import DType


class Interpreter(Protocol):
    """What carries out operations."""

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on arguments as the user wrote them: numbers, arrays and mixed dtypes allowed."""

    def bind(self, op: Op, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on operands of this interpreter, dtypes already agreed; one result, or a tuple."""

    def constant(self, number: Any, dtype: DType) -> Any:
        """A 0-d operand."""

    def size(self, dim: Dim) -> Any:
        """A symbolic size as a 0-d int64 operand."""

    def lift(self, x: Any) -> Any:
        """An operand from what is not a plain number (arrays, tensors); a DTypeError for anything else."""


_current: ContextVar[Any] = ContextVar("braze_interpreter", default=None)
_default: list[Any] = [None]


def install_default(interpreter: Interpreter) -> None:
    """The interpreter that works when no other was entered: eager execution."""
    _default[0] = interpreter


def current() -> Any:
    """The innermost interpreter."""
    return _current.get() or _default[0]


@contextmanager
def interpreting(interpreter: Interpreter | None) -> Iterator[None]:
    """Let this interpreter carry out what is done in the block (None: the default)."""
    token = _current.set(interpreter)
    try:
        yield
    finally:
        _current.reset(token)
