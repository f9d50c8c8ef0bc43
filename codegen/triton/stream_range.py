"""Which positions of the stream a block of rows sees, as loops: those that some row sees and, between them, those that
all rows see, where conditions need not be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...ir.expr import Dim, coefficient, static
from ...ir.gpu_contraction import GpuStreamed
from ...ir.kernel import Kernel
from ...ir.streamed import Limit, Roles
from .groups import Group, is_multiple
from .module import Function
from .tile import Tile


class Segment(NamedTuple):
    """A loop over positions from `start` to `stop` (texts). `is_whole`: all tiles exist whole; `is_inside`: all rows
    see all of them.
    """

    start: str
    stop: str
    is_whole: bool
    is_inside: bool


def segments(f: Function, kernel: Kernel, s: GpuStreamed, found: Roles, place: Sequence[Group],
             first: str) -> list[Segment]:
    """The loops, in order."""
    length = kernel.axes[s.stream]
    if not found.limits:
        return _all_of_it(f, length, s.tile[1])
    return _Range(f, kernel, s, found, place, first).segments()


def _all_of_it(f: Function, length: Dim, size: int) -> list[Segment]:
    end = f.spell(length)
    if is_multiple(length, size):
        return [Segment("0", end, True, True)]
    full = f.let("full", f"{end} // {size} * {size}")
    return [Segment("0", full, True, True), Segment(full, end, False, True)]


class _Range:
    def __init__(self, f: Function, kernel: Kernel, s: GpuStreamed, found: Roles, place: Sequence[Group], first: str):
        self.f, self.kernel, self.s, self.place, self.first = f, kernel, s, place, first
        self.lower = [x for x in found.limits if coefficient(x.claim, s.stream) == 1]
        self.upper = [x for x in found.limits if coefficient(x.claim, s.stream) == -1]
        self.length = kernel.axes[s.stream]
        most = f"{first} + {s.tile[0] - 1}"
        whole = is_multiple(kernel.axes[s.row], s.tile[0])
        self.last = f.let("last", most if whole else f"tl.minimum({most}, {f.spell(kernel.axes[s.row] - 1)})")

    def segments(self) -> list[Segment]:
        """The tiles before, within and behind what all rows see."""
        f, size, end = self.f, self.s.tile[1], self.f.spell(self.length)
        start = inside = "0"
        if self.lower:
            low = self.bound(self.lower, "tl.maximum", "0", is_reach=True)
            start = f.let("start", f"{low} // {size} * {size}")
        if self.upper:
            end = f.let("end", self.bound(self.upper, "tl.minimum", end, is_reach=True))
        if self.lower:
            low = self.bound(self.lower, "tl.maximum", "0", is_reach=False)
            inside = f.let("inside", f"tl.minimum({_rounded_up(low, size)}, {_rounded_up(end, size)})")
        high = self.bound(self.upper, "tl.minimum", f.spell(self.length), is_reach=False)
        if self.upper or not is_multiple(self.length, size):
            full = f.let("full", f"tl.maximum({high} // {size} * {size}, {inside})")
        else:
            full = high
        is_whole = is_multiple(self.length, size)
        found = [Segment(start, inside, is_whole, False)] if self.lower else []
        found.append(Segment(inside, full, True, True))
        if full != high:
            found.append(Segment(full, end, is_whole, not self.upper))
        return found

    def bound(self, limits: list[Limit], among: str, widest: str, is_reach: bool) -> str:
        """The first position (of lower limits), or the one behind the last, that some row sees, or that all do."""
        text = widest
        for limit in limits:
            along = static(coefficient(limit.claim, self.s.stream))
            rest = limit.claim - along * self.kernel.axis(self.s.stream)
            falls = static(coefficient(rest, self.s.row)) < 0
            at = self.last if is_reach != falls else self.first
            edge: Dim = -rest if along == 1 else rest + 1
            tile = Tile(self.f, [*self.place, Group((self.s.row,), at, 1, None, self.kernel.axes[self.s.row])], 2)
            text = f"{among}({tile.spell(edge)}, {text})"
        return text


def _rounded_up(text: str, size: int) -> str:
    return f"({text} + {size - 1}) // {size} * {size}"
