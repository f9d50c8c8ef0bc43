"""A value while a function is written: its LLVM type, its name, and operators that write instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

from .types import Type

if TYPE_CHECKING:
    from .writer import Function

Index = Union[int, "X"]


class X:
    """A value in a function: its `type` and `name`. Operators write instructions. A constant knows its `number`."""

    __slots__ = ("w", "type", "name", "number")

    def __init__(self, w: Function, type: Type, name: str, number: Any = None):
        self.w, self.type, self.name, self.number = w, type, name, number

    @property
    def lanes(self) -> int:
        """How many values it holds."""
        return self.type.lanes

    def __str__(self) -> str:
        return f"{self.type.text} {self.name}"

    __repr__ = __str__

    def __add__(self, other: Any) -> Any:
        return self.w.add(self, other)

    def __sub__(self, other: Any) -> Any:
        return self.w.sub(self, other)

    def __mul__(self, other: Any) -> Any:
        return self.w.mul(self, other)

    def __radd__(self, other: Any) -> Any:
        return self.w.add(other, self)

    def __rsub__(self, other: Any) -> Any:
        return self.w.sub(other, self)

    def __rmul__(self, other: Any) -> Any:
        return self.w.mul(other, self)

    def __truediv__(self, other: Any) -> X:
        return self.w.binary("fdiv", self, other)

    def __rtruediv__(self, other: Any) -> X:
        return self.w.binary("fdiv", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self.w.floordiv(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.w.floordiv(other, self)

    def __mod__(self, other: Any) -> Any:
        return self.w.mod(self, other)

    def __rmod__(self, other: Any) -> Any:
        return self.w.mod(other, self)

    def __neg__(self) -> Any:
        return self.w.neg(self)

    def __and__(self, other: Any) -> X:
        return self.w.binary("and", self, other)

    def __or__(self, other: Any) -> X:
        return self.w.binary("or", self, other)

    def __xor__(self, other: Any) -> X:
        return self.w.binary("xor", self, other)

    def __lshift__(self, other: Any) -> X:
        return self.w.binary("shl", self, other)
