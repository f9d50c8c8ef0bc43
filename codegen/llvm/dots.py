"""Dot products by instruction: two bfloat16 or four 8-bit integers a lane, multiplied and added to a sum of 32 bits.

Words of 32 bits are what the register tile sees: a word of A in all lanes, words of B side by side.

`vdpbf16ps` rounds to nearest, ties to even, whatever the mode, and takes subnormal numbers for zero, operands and sums
alike (Intel's manual, "VDPBF16PS"); it knows infinities and NaN. `vpdpbusd` multiplies unsigned by signed numbers and
wraps: where both sides are signed, or both not, A's numbers flip their highest bit while they are copied, which adds or
takes 128, and what that adds to a column's sum, 128 times the sum of the column of B, is taken back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.schedule import DEPTHS
from ...ir.types import DType, uint32
from .types import vector
from .writer import Function, X

BIAS = 128


@dataclass(frozen=True)
class Dot:
    """An instruction by name, with the dtypes of both sides as they are in memory; does the left one flip its sign?"""

    name: str
    left: DType
    right: DType
    flips: bool

    @property
    def deep(self) -> int:
        """Numbers in a word."""
        return DEPTHS[self.name]

    def word(self, w: Function, pointer: X, lanes: int = 1) -> X:
        """`lanes` words that lie at any multiple of their numbers' size."""
        t = vector("i32", lanes)
        return w.let(t, f"load {t.text}, {pointer}, align {self.left.itemsize}")

    def added(self, w: Function, left: X, right: X, total: X) -> X:
        """The total with the products of words added."""
        bits = 32 * total.lanes
        if self.name == "bf16":
            pairs = vector("bfloat", self.deep * total.lanes)
            sides = [w.let(pairs, f"bitcast {x} to {pairs.text}") for x in (left, right)]
            return _called(w, f"llvm.x86.avx512bf16.dpbf16ps.{bits}", total, *sides)
        unsigned = (self.left.kind == "u") != self.flips
        sides = [left, right] if unsigned else [right, left]
        return _called(w, f"llvm.x86.avx512.vpdpbusd.{bits}", total, *sides)

    def column_sums(self, w: Function, right: X, total: X) -> X:
        """The total with the numbers of B's words added."""
        return self.added(w, w.splat(w.number(0x01010101, uint32), total.lanes), right, total)

    def narrowed(self, w: Function, x: X) -> X:
        """Sums as numbers that can be multiplied; subnormal ones become zero, as the product would take them."""
        t = vector("bfloat", x.lanes)
        result = w.call(f"llvm.x86.avx512bf16.cvtneps2bf16.{32 * x.lanes}", t, x)
        assert self.name == "bf16" and result is not None
        return result

    @property
    def offset(self) -> int:
        """What flipping adds to each number of A."""
        return BIAS if self.left.kind == "i" else -BIAS


def _called(w: Function, name: str, total: X, *sides: X) -> X:
    result = w.call(name, total.type, total, *sides)
    assert result is not None
    return result


def interleaved(w: Function, rows: list[X]) -> X:
    """Two or four vectors as one: the first of each, the second of each, …"""
    if len(rows) == 1:
        return rows[0]
    evens, odds = interleaved(w, rows[::2]), interleaved(w, rows[1::2])
    return w.shuffle(evens, odds, [n + side * evens.lanes for n in range(evens.lanes) for side in (0, 1)])
