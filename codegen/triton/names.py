"""Names of things in Triton's language: dtypes, pointers, numbers, and identifiers that are not taken yet."""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...ir.scalar import converted
from ...ir.types import DType

TYPES = {
    "b1": "tl.int1", "i8": "tl.int8", "i16": "tl.int16", "i32": "tl.int32", "i64": "tl.int64",
    "u8": "tl.uint8", "u16": "tl.uint16", "u32": "tl.uint32", "u64": "tl.uint64",
    "f16": "tl.float16", "bf16": "tl.bfloat16", "f32": "tl.float32", "f64": "tl.float64",
    "f8e4m3fn": "tl.uint8", "f8e5m2": "tl.uint8",       # bytes: not all devices convert them, or as is defined here
}  # fmt: skip
POINTERS = {
    "b1": "*i1", "i8": "*i8", "i16": "*i16", "i32": "*i32", "i64": "*i64",
    "u8": "*u8", "u16": "*u16", "u32": "*u32", "u64": "*u64",
    "f16": "*fp16", "bf16": "*bf16", "f32": "*fp32", "f64": "*fp64", "f8e4m3fn": "*u8", "f8e5m2": "*u8",
}  # fmt: skip
OPERANDS = {"f8e4m3fn": "tl.float8e4nv", "f8e5m2": "tl.float8e5"}         # as tensor cores are given them
RESERVED = ("tl", "triton", "float", "range", "min", "max", "program", "print", "len")


class Names:
    """Identifiers, each given once."""

    def __init__(self, taken: Iterable[str] = RESERVED):
        self.taken = set(taken)

    def fresh(self, wish: str) -> str:
        """The wish, or the wish with a number behind it."""
        if not wish.isidentifier() or keyword.iskeyword(wish):
            wish = "".join(c if c.isalnum() else "_" for c in f"b_{wish}")
        name, n = wish, 0
        while name in self.taken:
            n += 1
            name = f"{wish}_{n}"
        self.taken.add(name)
        return name


def is_narrow(d: DType) -> bool:
    """Is it a float of 16 or 8 bits, which lives in memory and is computed on in float32?"""
    return d.is_float and d.bits < 32


def number(x: Any, d: DType) -> str:
    """A number as Python writes it, rounded to 16 bits where the dtype has no more; the byte of an 8-bit float."""
    if d.kind == "b":
        return str(bool(x))
    if d.is_storage:
        return str(int(converted(x, d).view(np.uint8)))
    if not d.is_float:
        return str(int(x))
    x = rounded(x, d)
    return repr(x) if math.isfinite(x) else f"float('{x}')"


def rounded(x: Any, d: DType) -> float:
    """A number as a narrow float has it; others as they are."""
    return float(converted(float(x), d)) if is_narrow(d) else float(x)


def scalar(x: Any, d: DType) -> str:
    """A number with its dtype, for places where nothing beside it says what it is."""
    if is_minus_zero(x, d):
        return f"(tl.full((), 0.0, {TYPES[d.name]}) * -1.0)"
    return f"tl.full((), {number(x, d)}, {TYPES[d.name]})"


def is_minus_zero(x: Any, d: DType) -> bool:
    """The number whose sign Triton loses before 3.9."""
    return d.is_float and not d.is_storage and x == 0 and math.copysign(1, x) < 0
