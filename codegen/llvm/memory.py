"""Loads, stores and lanes: the half of `Function` that moves data. Pointers are opaque, offsets count elements.

Every access is aligned to its element only; bools are widened to bytes on their way to memory and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.schedule import SIFTED
from ...ir.types import DType
from .types import POINTER, Type, memory_type, stored_bits, type_of, vector
from .value import Index, X


class Memory:
    """Methods of `Function` about memory and lanes."""

    module: Any
    let: Callable[..., X]
    do: Callable[[str], None]
    lift: Callable[..., X]
    call: Callable[..., Any]
    constant: Callable[..., X]
    compare: Callable[..., X]
    binary: Callable[..., X]
    convert: Callable[..., X]
    sub: Callable[..., Any]
    min: Callable[..., Any]
    max: Callable[..., Any]

    # ---- memory ---------------------------------------------------------------------------------------------------

    def at(self, pointer: X, offset: Index | X, d: DType) -> X:
        """The address of an element: `offset` elements of a dtype after a pointer. A vector of offsets gives
        addresses.
        """
        if isinstance(offset, int) and offset == 0:
            return pointer
        where = self.lift(offset)
        element = memory_type(type_of(d)).text
        return self.let(vector("ptr", where.lanes), f"getelementptr {element}, {pointer}, {where}")

    def load(self, d: DType, pointer: X, lanes: int = 1) -> X:
        """`lanes` neighbouring elements."""
        t = memory_type(type_of(d, lanes))
        return self._register(self.let(t, f"load {t.text}, {pointer}, align {t.bytes}"), d)

    def store(self, x: X, pointer: X) -> None:
        """Neighbouring elements written."""
        x = self._stored(x)
        self.do(f"store {x}, {pointer}, align {x.type.bytes}")

    def masked_load(self, d: DType, pointer: X, mask: X, fill: Any = 0) -> X:
        """Neighbouring elements where the mask holds, `fill` elsewhere, which is not touched."""
        t = memory_type(type_of(d, mask.lanes))
        x = self.call(f"llvm.masked.load.{t.mangled}.p0", t, pointer, self._align(t), mask, self._filling(fill, d, t))
        return self._register(x, d)

    def masked_store(self, x: X, pointer: X, mask: X) -> None:
        """Neighbouring elements written where the mask holds."""
        x = self._stored(x)
        self.call(f"llvm.masked.store.{x.type.mangled}.p0", None, x, pointer, self._align(x.type), mask)

    def gather(self, d: DType, pointer: X, offsets: X, mask: X | None = None, fill: Any = 0) -> X:
        """The elements at i64 offsets, one a lane, where the mask holds; `fill` elsewhere."""
        if offsets.lanes == 1:
            return self.load(d, self.at(pointer, offsets, d))
        t, addresses = memory_type(type_of(d, offsets.lanes)), self.at(pointer, offsets, d)
        everywhere = mask or self.constant(True, t.of("i1"))
        name = f"llvm.masked.gather.{t.mangled}.{addresses.type.mangled}"
        return self._register(self.call(name, t, addresses, self._align(t), everywhere, self._filling(fill, d, t)), d)

    def strided(self, d: DType, pointer: X, lanes: int, step: int, mask: X | None = None, fill: Any = 0) -> X:
        """Elements `step` apart, one a lane, where the mask holds; `fill` elsewhere, which is not touched. Small steps
        are whole vectors that are sifted: a gather takes as long as some ten loads.
        """
        if step not in SIFTED or d.kind == "b" or lanes % step:
            return self.gather(d, pointer, self.iota(lanes, step=step), mask, fill)
        share = lanes // step                        # of the lanes that come from each vector
        parts = []
        for n in range(step):
            late = step - 1 if n and mask is None else 0         # so that nothing is read behind the last lane
            place = self.at(pointer, n * lanes - late, d)
            if mask is None:
                x = self.load(d, place, lanes)
            else:
                spread = [n * share + i // step if i % step == 0 else lanes for i in range(lanes)]
                x = self.masked_load(d, place, self.shuffle(mask, self.constant(False, mask.type), spread), fill)
            parts.append(self.shuffle(x, x, range(late, lanes, step)))
        while len(parts) > 1:
            parts = [self.shuffle(a, b, range(2 * a.lanes)) for a, b in zip(parts[::2], parts[1::2])]
        return parts[0]

    def scatter(self, x: X, d: DType, pointer: X, offsets: X, mask: X | None = None) -> None:
        """Lanes written to i64 offsets where the mask holds; of equal offsets the last lane stays."""
        if offsets.lanes == 1:
            return self.store(x, self.at(pointer, offsets, d))
        x, addresses = self._stored(x), self.at(pointer, offsets, d)
        everywhere = mask or self.constant(True, x.type.of("i1"))
        name = f"llvm.masked.scatter.{x.type.mangled}.{addresses.type.mangled}"
        self.call(name, None, x, addresses, self._align(x.type), everywhere)

    def table(self, element: str, numbers: Sequence[Any]) -> X:
        """The address of a constant array of the module."""
        return X(self, POINTER, self.module.table(element, numbers))  # type: ignore[arg-type]

    def lookup(self, d: DType, numbers: Sequence[Any], offsets: X) -> X:
        """Entries of a constant array at i64 offsets, one a lane."""
        return self.gather(d, self.table(type_of(d).element, numbers), offsets)

    def _align(self, t: Type) -> X:
        return self.constant(t.bytes, vector("i32"))

    def _register(self, x: X, d: DType) -> X:
        if d.kind == "b":
            return self.compare("ne", x, 0)
        element = type_of(d).element
        return x if x.type.element == element else self.convert("bitcast", x, element)

    def _stored(self, x: X) -> X:
        t = memory_type(x.type)
        return x if t is x.type else self.convert("zext" if x.type.element == "i1" else "bitcast", x, t.element)

    def _filling(self, fill: Any, d: DType, t: Type) -> X:
        """A value for lanes that are off, as it would be in memory."""
        if isinstance(fill, X):
            return self._stored(fill)
        return self.constant(stored_bits(fill, type_of(d).element), t)

    # ---- lanes ----------------------------------------------------------------------------------------------------

    def splat(self, x: X, lanes: int) -> X:
        """A scalar in each of `lanes` lanes."""
        if lanes == 1 or x.lanes == lanes:
            return x
        t = vector(x.type.element, lanes)
        one = self.let(t, f"insertelement {t.text} poison, {x}, i64 0")
        return self.let(t, f"shufflevector {one}, {t.text} poison, <{lanes} x i32> zeroinitializer")

    def shuffle(self, a: X, b: X, lanes: Sequence[int]) -> X:
        """Lanes picked by number from a followed by b; a single one is a scalar."""
        if len(lanes) == 1:
            return self.lane(a, lanes[0]) if lanes[0] < a.lanes else self.lane(b, lanes[0] - a.lanes)
        t = vector(a.type.element, len(lanes))
        return self.let(t, f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{', '.join(f'i32 {i}' for i in lanes)}>")

    def lane(self, x: X, number: int) -> X:
        """One lane as a scalar."""
        return self.let(vector(x.type.element), f"extractelement {x}, i64 {number}") if x.lanes > 1 else x

    def iota(self, lanes: int, element: str = "i64", step: int = 1) -> X:
        """0, step, 2*step, … in lanes."""
        t = vector(element, lanes)
        if lanes == 1:
            return self.constant(0, t)
        numbers = ", ".join(f"{element} {i * step}" for i in range(lanes))
        return X(self, t, f"<{numbers}>")  # type: ignore[arg-type]

    def offsets(self, start: Index, lanes: int, step: Index = 1) -> X:
        """start + lane * step as i64 lanes, for `gather` and `scatter`."""
        if isinstance(step, int):
            steps = self.iota(lanes, "i64", step)
        else:
            steps = self.binary("mul", self.iota(lanes), self.splat(step, lanes))
        return self.binary("add", steps, self.splat(self.lift(start), lanes))

    def mask_below(self, position: Index, bound: Index, lanes: int) -> X:
        """position + lane < bound, for each lane; the position is at most 2^31 past the bound."""
        left = self.lift(self.min(self.sub(bound, position), lanes))
        if lanes == 1:
            return self.compare("sgt", left, 0)
        narrow = self.let(vector("i32"), f"trunc {left} to i32")
        return self.compare("slt", self.iota(lanes, "i32"), self.splat(narrow, lanes))

    def mask_nonnegative(self, start: Index, step: int, lanes: int) -> X:
        """start + lane * step >= 0, for each lane; the step is 1 or -1."""
        first = self.max(self.min(self.sub(0, start) if step == 1 else start, lanes), 0 if step == 1 else -1)
        if not isinstance(first, int):
            first = self.splat(self.let(vector("i32"), f"trunc {first} to i32"), lanes)
        return self.compare("sge" if step == 1 else "sle", self.iota(lanes, "i32"), first)

    def mask_between(self, low: Index, position: Index, high: Index, lanes: int) -> X:
        """low <= position + lane < high, for each lane."""
        places = self.offsets(position, lanes)
        above = self.compare("sge", places, self.splat(self.lift(low), lanes))
        below = self.compare("slt", places, self.splat(self.lift(high), lanes))
        return self.binary("and", above, below)

    def reduce_lanes(self, combine: Callable[[X, X], X], x: X) -> X:
        """All lanes combined into a scalar by the fixed tree: lane i with i + 8, then i + 4, i + 2, i + 1 (of 16)."""
        while x.lanes > 2:
            half = x.lanes // 2
            x = combine(self.shuffle(x, x, range(half)), self.shuffle(x, x, range(half, 2 * half)))
        return combine(self.lane(x, 0), self.lane(x, 1)) if x.lanes == 2 else x
