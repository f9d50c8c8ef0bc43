"""`Size`: what `x.shape[i]` is while tracing with dynamic sizes. Arithmetic stays symbolic; a comparison records a
guard.
"""

from __future__ import annotations

from typing import Any

from ..ir import expr
from ..ir.expr import Dim, Expr


class Size:
    """A symbolic integer of a trace. Comparing it decides by the size that was seen, and guards the decision; `int()`
    pins it.
    """

    __slots__ = ("expression", "trace")

    def __init__(self, expression: Expr, trace: Any):
        self.expression, self.trace = expression, trace

    def _make(self, e: Dim) -> Any:
        return Size(e, self.trace) if isinstance(e, Expr) else e

    def __add__(self, other: Any) -> Any:
        return self._make(self.expression + _dim(other)) if _is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._make(self.expression - _dim(other)) if _is_size(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return self._make(_dim(other) - self.expression) if _is_size(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        return self._make(self.expression * _dim(other)) if _is_size(other) else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._make(expr.floordiv(self.expression, _dim(other))) if _is_size(other) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        return self._make(expr.floordiv(_dim(other), self.expression)) if _is_size(other) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return self._make(expr.mod(self.expression, _dim(other))) if _is_size(other) else NotImplemented

    def __neg__(self) -> Any:
        return self._make(-self.expression)

    def __truediv__(self, other: Any) -> Any:
        return self.as_tensor() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.as_tensor()

    def __pow__(self, other: Any) -> Any:
        return self.as_tensor().float() ** other

    def as_tensor(self) -> Any:
        """This size as a 0-d tensor."""
        return self.trace.size(self.expression)

    def __eq__(self, other: Any) -> Any:
        return self.trace.decide("==", self.expression, _dim(other)) if _is_size(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return not self.trace.decide("==", self.expression, _dim(other)) if _is_size(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return self.trace.decide("<", self.expression, _dim(other)) if _is_size(other) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return not self.trace.decide("<", _dim(other), self.expression) if _is_size(other) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return self.trace.decide("<", _dim(other), self.expression) if _is_size(other) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return not self.trace.decide("<", self.expression, _dim(other)) if _is_size(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.expression)

    def __index__(self) -> int:
        return self.trace.pin(self.expression)

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.trace.pin(self.expression))

    def __bool__(self) -> bool:
        return not self.trace.decide("==", self.expression, 0)

    def __repr__(self) -> str:
        return str(self.expression)


def _is_size(x: Any) -> bool:
    return isinstance(x, (int, Size, Expr)) and not isinstance(x, bool)


def _dim(x: Any) -> Dim:
    return x.expression if isinstance(x, Size) else x


def plain(x: Any) -> Any:
    """An attribute with its `Size`s as expressions."""
    if isinstance(x, Size):
        return x.expression
    if isinstance(x, tuple):
        return tuple([plain(y) for y in x])
    return x
