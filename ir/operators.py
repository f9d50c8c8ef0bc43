"""Python's operators, for everything that operations work on (`Tensor`, graph values): each is a call of an op."""

from __future__ import annotations

from typing import Any

from .ops.namespace import F


class Operators:
    """`x + y` and its like, through the op registry."""

    __slots__ = ()
    __array_priority__ = 1000            # NumPy leaves `array + tensor` to us
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Any:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return F.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return F.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return F.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return F.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return F.div(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return F.div(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return F.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return F.floor_divide(other, self)

    def __mod__(self, other: Any) -> Any:
        return F.remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return F.remainder(other, self)

    def __pow__(self, other: Any) -> Any:
        return F.square(self) if type(other) in (int, float) and other == 2 else F.pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return F.pow(other, self)

    def __matmul__(self, other: Any) -> Any:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return F.matmul(other, self)

    def __neg__(self) -> Any:
        return F.neg(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return F.abs(self)

    def __invert__(self) -> Any:
        return F.bitwise_not(self)

    def __and__(self, other: Any) -> Any:
        return F.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Any:
        return F.bitwise_and(other, self)

    def __or__(self, other: Any) -> Any:
        return F.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Any:
        return F.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Any:
        return F.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Any:
        return F.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Any:
        return F.shift_left(self, other)

    def __rlshift__(self, other: Any) -> Any:
        return F.shift_left(other, self)

    def __rshift__(self, other: Any) -> Any:
        return F.shift_right(self, other)

    def __rrshift__(self, other: Any) -> Any:
        return F.shift_right(other, self)
