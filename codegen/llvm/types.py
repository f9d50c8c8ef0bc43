"""LLVM types of registers: a scalar, or a vector of lanes, of one element; one object each, compared by identity.

A bool is `i1` in registers and `i8` in memory, a bfloat16 is read and written by its bits, an 8-bit float is its bits
everywhere; signed and unsigned integers share a type, the operations differ.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

from ...ir.scalar import converted
from ...ir.types import DType, dtype

# element: (name in intrinsics, bytes in memory)
_ELEMENTS = {
    "i1": ("i1", 1), "i8": ("i8", 1), "i16": ("i16", 2), "i32": ("i32", 4), "i64": ("i64", 8), "i128": ("i128", 16),
    "half": ("f16", 2), "bfloat": ("bf16", 2), "float": ("f32", 4), "double": ("f64", 8), "ptr": ("p0", 8),
    "f8e4m3fn": ("i8", 1), "f8e5m2": ("i8", 1),
}  # fmt: skip
_SPELLED = {"f8e4m3fn": "i8", "f8e5m2": "i8"}         # LLVM's name, where the element says more
_STORED = {"bfloat": "bfloat16", "f8e4m3fn": "float8_e4m3fn", "f8e5m2": "float8_e5m2"}     # the dtype's name
_FLOATS = {"half", "bfloat", "float", "double"}


class Type:
    """`element` ("float", "i64", "ptr", …) times `lanes`; 1 lane is a scalar. Make it by `type_of` or `vector`."""

    __slots__ = ("element", "lanes", "text", "mangled", "is_float", "bytes")

    def __init__(self, element: str, lanes: int):
        mangled, self.bytes = _ELEMENTS[element]
        self.element, self.lanes, self.is_float = element, lanes, element in _FLOATS
        spelled = _SPELLED.get(element, element)
        self.text = spelled if lanes == 1 else f"<{lanes} x {spelled}>"
        self.mangled = mangled if lanes == 1 else f"v{lanes}{mangled}"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Type({self.text})"

    @property
    def bits(self) -> int:
        """Bits of one element in a register."""
        return 1 if self.element == "i1" else 8 * self.bytes

    def of(self, element: str) -> Type:
        """As many lanes of another element."""
        return vector(element, self.lanes)


@cache
def vector(element: str, lanes: int = 1) -> Type:
    """The type with this element and number of lanes."""
    return Type(element, lanes)


_IN_MEMORY = {"i1": "i8", "bfloat": "i16", **_SPELLED}
_REGISTER = {"b1": "i1", "f16": "half", "bf16": "bfloat", "f32": "float", "f64": "double", "f8e4m3fn": "f8e4m3fn",
             "f8e5m2": "f8e5m2"}


@cache
def type_of(d: DType, lanes: int = 1) -> Type:
    """The register type of `lanes` values of a dtype.

    >>> from braze.ir.types import float32
    >>> type_of(float32, 16)
    Type(<16 x float>)
    """
    return vector(_REGISTER.get(d.name) or f"i{d.bits}", lanes)


@cache
def memory_type(t: Type) -> Type:
    """The type that values of a register type have in memory. LLVM 22 cannot lower some loads of single bfloats."""
    return t.of(_IN_MEMORY.get(t.element, t.element))


INDEX = vector("i64")
POINTER = vector("ptr")
BOOL = vector("i1")


def literal(number: Any, t: Type) -> str:
    """A constant as LLVM writes it, in each lane: floats by their bits, so that they are exact."""
    text = _scalar_literal(number, t.element)
    if t.lanes == 1:
        return text
    return "zeroinitializer" if text == "0" else f"splat ({vector(t.element).text} {text})"


def _scalar_literal(number: Any, element: str) -> str:
    if element == "i1":
        return "true" if number else "false"
    if element == "ptr":
        return "null"
    if element[0] == "i":
        width = int(element[1:])
        number = int(number) & ((1 << width) - 1)                         # the printed form is signed
        return str(number - (1 << width) if number >> (width - 1) else number)
    if element == "half":
        return f"0xH{int(np.float16(number).view(np.uint16)):04X}"
    if element == "bfloat":
        return f"0xR{stored_bits(number, element):04X}"
    if element in _SPELLED:
        return _scalar_literal(stored_bits(number, element), _SPELLED[element])
    wide = float(number) if element == "double" else float(np.float32(number))
    return f"0x{struct.unpack('<Q', struct.pack('<d', wide))[0]:016X}"


def stored_bits(number: Any, element: str) -> int:
    """The bits, as they are in memory, of the nearest number of an element that is read by its bits; others are what
    they are.
    """
    if element not in _STORED:
        return number
    rounded = converted(np.float64(number), dtype(_STORED[element]))
    return int(rounded.view(f"u{rounded.itemsize}"))
