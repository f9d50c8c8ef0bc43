"""Triton source of a product whose tiles are no multiple of the programs that work through them: what is left when all
have made as many is shared equally, by steps along K (Stream-K: Osama, Merrill, Cecka, Garland and Owens, "Stream-K:
work-centric parallel decomposition for dense matrix-matrix multiplication on the GPU", 2023).

A share is of one tile or two; its sums lie in a workspace, in the order of programs, and a second kernel adds those of
a tile in this order. So the bits are the same each time, nothing is atomic, and no program waits for another one.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.gpu_contraction import GpuContraction
from ...ir.kernel import Kernel
from ...ir.schedule import Source
from .contraction import Products, Tiles, emit_contraction, times
from .names import POINTERS

_LEAST_ROWS = 16                 # of a tile that the second kernel makes
_WARPS = 4


def emit_shared(kernel: Kernel, s: GpuContraction) -> Source:
    """The text of a contraction: of both kernels, where there is something to share."""
    s.check(kernel)
    if s.rest != "shares" or not s.shares(kernel).rest:
        return emit_contraction(kernel, s)
    first = _Shared(kernel, s)
    source = first.source()
    room = s.programs * 2 * s.tile[0] * s.tile[1] * first.summed_in().itemsize
    facts = {**source.facts, "workspace": room}
    return replace(source, facts=facts, then=_Added(kernel, s).source())


class _Shared(Products):
    """The first tiles whole, and the sums of the shares."""

    def source(self) -> Source:
        """The finished module."""
        f, s, shares = self.f, self.s, self.s.shares(self.kernel)
        partials = f.names.fresh("partials")
        program = f.program()
        self.write_once()
        if shares.first:
            with self.each_tile(program, shares.first) as at:
                place = self.place(at, s.tiles(self.kernel))
                self.write(place, *self.rows_and_columns(at))
        start = f.let("start", f"{program} * {shares.length}")
        end = f.let("end", f"tl.minimum({start} + {shares.length}, {shares.rest * shares.steps})")
        part = f.names.fresh("part")
        with f.indented(f"for {part} in range(0, 2):"):
            along = f.let("along", f"{start} % {shares.steps}")
            count = f.let("count", f"tl.minimum({end} - {start}, {shares.steps} - {along})")
            with f.indented(f"if {count} > 0:"):
                at = f.let("tile", f"{shares.first} + {start} // {shares.steps}")
                self._store_partial(partials, f"({program} * 2 + {part})", at, along, count)
            f.do(f"{start} += {count}")
        return f.module((*map(f.pointer, f.buffers), (partials, self._kind())), s.programs, s)

    def _kind(self) -> str:
        return POINTERS[self.summed_in().name]

    def _store_partial(self, partials: str, number: str, at: str, along: str, count: str) -> None:
        f, size = self.f, self.s.tile[2]
        place = self.place(at, self.s.tiles(self.kernel))
        ti, tj = self.rows_and_columns(at)
        i, j = self.result_groups(ti, tj, (0, 1), 2)
        first = f.let("first", times(along, size))
        last = f.let("last", f"{first} + {times(count, size)}")
        acc = self.summed(place, ti, tj, i, j, first, last)
        f.do(f"tl.store({partials} + {number} * {self.s.tile[0] * self.s.tile[1]} + {_offsets(self.s, '')}, {acc})")


class _Added(Tiles):
    """The tiles of the rest: the sums of shares, added, and all that follows."""

    def source(self) -> Source:
        """The finished module."""
        f, s, shares = self.f, self.s, self.s.shares(self.kernel)
        f.entry = f.names.fresh(f"{self.kernel.name}_rest")
        partials = f.names.fresh("partials")
        cuts = 1
        while shares.rest * cuts < s.programs and s.tile[0] // (2 * cuts) >= _LEAST_ROWS:
            cuts *= 2
        program = f.program()
        tile = f.let("tile", f"{program} // {cuts}" if cuts > 1 else program)
        at = f.let("at", f"{tile} + {shares.first}")
        place = self.place(at, s.tiles(self.kernel))
        ti, tj = self.rows_and_columns(at)
        self.s = replace(s, tile=(s.tile[0] // cuts, *s.tile[1:]), warps=_WARPS, stages=1)
        row = f"({times(ti, cuts)} + {program} % {cuts})" if cuts > 1 else ti
        i, j = self.result_groups(row, tj, (0, 1), 2)
        acc = self.accumulator()
        first = f.let("first", f"{tile} * {shares.steps} // {shares.length}")
        last = f.let("last", f"({tile} * {shares.steps} + {shares.steps - 1}) // {shares.length}")
        inside = f.let("inside", f"{program} % {cuts} * {self.s.tile[0]}") if cuts > 1 else ""
        by = f.names.fresh("by")
        with f.indented(f"for {by} in range({first}, {last} + 1):"):
            number = f.let("number", f"{by} * 2 + {tile} - {by} * {shares.length} // {shares.steps}")
            f.do(f"{acc} += tl.load({partials} + {number} * {s.tile[0] * s.tile[1]} + {_offsets(self.s, inside)})")
        self.finish(place, acc, i, j, tj)
        kind = POINTERS[self.summed_in().name]
        return f.module((*map(f.pointer, f.buffers), (partials, kind)), shares.rest * cuts, self.s)


def _offsets(s: GpuContraction, row: str) -> str:
    """Places in a tile of the workspace, from a row on."""
    rows, columns = f"tl.arange(0, {s.tile[0]})[:, None]", f"tl.arange(0, {s.tile[1]})[None, :]"
    return f"{f'({row} + {rows})' if row else rows} * {s.tile[1]} + {columns}"
