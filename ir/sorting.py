"""What it means to sort: the stable order as NumPy has it, and keys, unsigned integers that compare as elements do.

NaN is larger than all other numbers, whatever its sign; -0 and 0 are equal. A key next to a position in one word makes
any way of sorting the words a stable sort of the elements.
"""

from __future__ import annotations

from typing import Any

from .scalar import ScalarBuilder
from .types import DType, uint8, uint16, uint32, uint64

POSITION_BITS = 32              # of a word that has a key of 32 bits or less besides: rows are shorter than 2^32
_UNSIGNED = {d.bits: d for d in (uint8, uint16, uint32, uint64)}


def sortable(xp: Any, x: Any) -> Any:
    """x, or what sorts alike: comparisons of bfloat16 put NaN nowhere, and the libraries of devices do not sort it."""
    return x.astype(xp.float32) if x.dtype.kind == "V" else x


def stable_order(xp: Any, x: Any, axis: int, descending: bool) -> Any:
    """The positions that sort x along an axis; equal elements stay in the order of their positions."""
    x = sortable(xp, x)
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable").astype(xp.int64)
    n = x.shape[axis]
    return n - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis).astype(xp.int64)


def key_dtype(d: DType) -> DType:
    """The dtype of the keys of elements of a dtype."""
    return uint8 if d.kind == "b" else _UNSIGNED[d.bits]


def sort_key(s: ScalarBuilder, x: Any, direction: str) -> Any:
    """The key of an element in the scalar core: keys ascend in the direction that is asked for."""
    d = s.dtype_of(x)
    to = key_dtype(d)
    sign, ones = 1 << (to.bits - 1), (1 << to.bits) - 1
    if d.kind in "bu":
        key = s.cast(x, to)
    elif d.is_integer:
        key = s.xor(s.bitcast(x, to), sign)
    else:
        bits = s.select(s.eq(x, 0.0), 0, s.bitcast(x, to))
        key = s.select(s.ge(bits, sign), s.not_(bits), s.or_(bits, sign))
        key = s.select(s.ne(x, x), ones, key)
    return s.not_(key) if direction == "descending" else key


def fits_a_word(d: DType) -> bool:
    """Do a key and a position fit in 64 bits?"""
    return key_dtype(d).bits + POSITION_BITS <= 64


def packed(s: ScalarBuilder, x: Any, position: Any, direction: str) -> Any:
    """The word of an element whose key fits in one with its position."""
    return s.or_(s.shl(s.cast(sort_key(s, x, direction), uint64), POSITION_BITS), s.cast(position, uint64))
