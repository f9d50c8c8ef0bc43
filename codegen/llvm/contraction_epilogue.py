"""What becomes of a tile of C: what follows the sum and the stores, in lanes along the axis that memory runs along.

That is mostly the last axis of J, along which C lies in registers. Where results run along the last axis of I (those of
images, channels first), squares of C are turned.
"""

from __future__ import annotations

import math

from ...ir.kernel import Kernel, Store, Value, step_along
from ...ir.scalar import CORE
from ...ir.schedule import Contraction
from .body import Scope
from .contraction_operands import Operands, seed_total
from .contraction_packing import transpose
from .pairs import store_all
from .parts import Part, positions
from .tile import LINE
from .types import INDEX, POINTER, type_of
from .writer import Module, X

LANES = 16
DEAR = 24.0  # additions an element


class Epilogue:
    """What comes after the sums of a tile: `part` computes and stores, `asking` asks for the memory that it meets."""

    def __init__(self, module: Module, kernel: Kernel, s: Contraction, o: Operands):
        self.module, self.kernel, self.s, self.o = module, kernel, s, o
        self.columns = s.vectors * s.lanes
        self.width = self.columns * s.parts
        self.i_outer, self.i_inner = s.i[: len(s.i) - s.i_flat], s.i[len(s.i) - s.i_flat :]
        self.turned = self._is_turned()

    def _is_turned(self) -> bool:
        """Do all results run along the rows of C?"""
        s = self.s
        if len(self.i_inner) != 1 or s.flips or self.columns % LANES or s.rows > LANES:
            return False
        stores = self.kernel.stores
        return all(step_along(self.kernel, x, s.i[-1]) == 1 != step_along(self.kernel, x, s.j[-1]) for x in stores)

    def part(self) -> Part:
        """What follows the sum, and the stores, for `rows` x `columns` of C."""
        own = {"c": POINTER, "i0": INDEX, "rows": INDEX, "j0": INDEX, "columns": INDEX}
        own.update({"sums": POINTER} if self.s.flips else {})
        part = Part(self.module, self.kernel, "epilogue", own, [*self.s.g, *self.i_outer, *self.s.j[:-1]])
        if self.turned:
            self._along_rows(part)
        else:
            self._along_columns(part)
        return part

    def _lanes(self) -> int:
        """Two vectors of a dear epilogue at once hide each other's latencies."""
        dear = sum(CORE[v.op].cost for v in self.kernel.values if v.op in CORE and not set(v.axes) & set(self.s.k))
        wide = 2 * LANES if dear >= DEAR and self.columns % (2 * LANES) == 0 else LANES
        return math.gcd(self.columns, wide)

    def _along_columns(self, part: Part) -> None:
        w, p, lanes = part.w, part.named, self._lanes()

        def strip(c: int, mask: X | None) -> None:
            j = self.s.j[-1]
            here = part.scope.enter({j: p["j0"] + c}, lane=j, lanes=lanes, mask=mask)
            if self.i_inner:
                here.known.update({total: p["c"] for total, _ in self.o.sums})  # not ready, nor what they are made of
                here.prepare(self.kernel.stores)

            def row(r: X) -> None:
                place = here.enter(positions(part.scope, p["i0"] + r, self.i_inner))
                for n, (total, _) in enumerate(self.o.sums):
                    at = w.at(p["c"], r * self.width + (n * self.columns + c), self.o.dtype)
                    seed_total(place, self.o, self._corrected(part, w.load(self.o.dtype, at, lanes), c), total)
                store_all(place, self.kernel.stores)

            w.loop(0, p["rows"], 1, row)

        def strips(masked: bool) -> None:
            for c in range(0, self.columns, lanes):
                strip(c, w.mask_below(c, p["columns"], lanes) if masked else None)

        w.when(w.less_equal(self.columns, p["columns"]), lambda: strips(False), lambda: strips(True))

    def _corrected(self, part: Part, x: X, c: int) -> X:
        """Lanes of C from column c on, without what flipped signs have added."""
        if not self.s.flips:
            return x
        w, dot = part.w, self.o.dot
        assert dot is not None
        added = w.load(self.o.dtype, w.at(part.named["sums"], c, self.o.dtype), x.lanes)
        return w.sub(x, w.mul(added, w.number(dot.offset, self.o.dtype, x.lanes)))

    def _along_rows(self, part: Part) -> None:
        """The same in lanes along I: a square of C is turned, and its columns go by one by one."""
        w, p, s, d = part.w, part.named, self.s, self.o.dtype
        i, j = s.i[-1], s.j[-1]
        t = type_of(d, LANES)
        squares = [w.alloca(t, LANES) for _ in self.o.sums]
        rows = part.scope.enter({i: p["i0"]}, lane=i, lanes=LANES, mask=w.mask_below(0, p["rows"], LANES))

        def square(c: X) -> None:
            for n, spot in enumerate(squares):
                first = w.at(p["c"], c + n * self.columns, d)
                lines = [w.load(d, w.at(first, r * self.width, d), LANES) for r in range(s.rows)]
                lines += [w.constant(0, t)] * (LANES - s.rows)
                for m, x in enumerate(transpose(w, lines)):
                    w.store(x, w.at(spot, m * LANES, d))

            def column(m: X) -> None:
                place = rows.enter({j: w.add(p["j0"], w.add(c, m))})
                for (total, _), spot in zip(self.o.sums, squares):
                    seed_total(place, self.o, w.load(d, w.at(spot, w.mul(m, LANES), d), LANES), total)
                store_all(place, self.kernel.stores)

            w.loop(0, w.min(w.sub(p["columns"], c), LANES), 1, column)

        w.loop(0, w.min(p["columns"], self.columns), LANES, square)

    # ---- memory ---------------------------------------------------------------------------------------------------

    def asking(self) -> Part | None:
        """What asks for the memory that the epilogue of a tile reads and writes, while the tile is computed."""
        walked = self.s.i[-1] if self.turned else self.s.j[-1]
        met: list[Value | Store] = [v for v in self.kernel.values if v.op == "load" and self._is_met(v, walked)]
        met += [x for x in self.kernel.stores if self._is_met(x, walked)]
        if not met:
            return None
        own = dict.fromkeys(("i0", "rows", "j0", "columns"), INDEX)
        part = Part(self.module, self.kernel, "ask", own, [*self.s.g, *self.i_outer, *self.s.j[:-1]])
        w, p = part.w, part.named
        along = self.s.rows if self.turned else self.columns

        def line(place: Scope) -> None:
            for x in met:
                buffer = self.kernel.buffers[x.buffer]
                start = w.at(place.pointers[x.buffer], place.place(buffer, x.index).start, buffer.dtype)
                for c in range(0, along, LINE // buffer.dtype.itemsize):
                    w.prefetch(w.at(start, c, buffer.dtype), writes=isinstance(x, Store))

        def row(r: X) -> None:
            line(part.scope.enter({**positions(part.scope, p["i0"] + r, self.i_inner), self.s.j[-1]: p["j0"]}))

        def column(c: X) -> None:
            line(part.scope.enter({self.s.i[-1]: p["i0"], self.s.j[-1]: p["j0"] + c}))

        if self.turned:
            w.loop(0, w.min(p["columns"], self.columns), 1, column)
        else:
            w.loop(0, p["rows"], 1, row)
        return part

    def _is_met(self, x: Value | Store, walked: str) -> bool:
        """Is it memory of each place of C, with neighbours side by side?"""
        axes = set(x.axes)
        return axes >= {*self.s.i, *self.s.j} and not axes & set(self.s.k) and step_along(self.kernel, x, walked) == 1
