"""LLVM source of a kernel that streams: blocks of rows, past which tiles of the stream go by (attention, its gradient).

Dao et al. 2022, on a register tile. For a tile of the stream: scores by the register tile, panels outermost; then, rows
of a register tile at a time, the softmax or whatever makes weights of scores, in place, and the weights times what they
weigh. Where conditions on positions leave no weight (a causal mask), register tiles are not computed, and the depth of
the second product is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...ir.expr import Dim, coefficient, static
from ...ir.kernel import Kernel, Value, step_along
from ...ir.schedule import Contraction, Source
from ...ir.streamed import Product, Softmax, Streamed, roles
from ...ir.types import DType
from .body import Scope, open_entry
from .contraction_packing import Operand, copy_rows, pack_columns, pack_rows
from .contraction_words import Narrow, pack_row_words, pack_words
from .dots import Dot
from .parts import Part, extent_of, positions, unsigned, with_extents
from .streamed_rows import LANES, Rows, rounded_up
from .tile import Tile, emit_tile
from .types import BOOL
from .writer import Index, Module, X

PAGE = 4096


def emit_streamed(kernel: Kernel, s: Streamed) -> Source:
    """The text of a kernel that streams."""
    s.check(kernel)
    return Emitter(kernel, s).source()


class Emitter:
    """One kernel; the methods write one loop level each."""

    def __init__(self, kernel: Kernel, s: Streamed):
        self.kernel, self.s, self.roles = kernel, s, roles(kernel, s.row, s.stream)
        self.dtype = self.roles.inner[0].total.dtype
        self.panel = s.vectors * s.lanes
        # a multiple of 4 KiB would put all rows on the same places of the cache
        self.tile_step = s.span + LANES
        self.together = max(n for n in (4, 3, 2, 1) if s.rows % n == 0)
        self.module = Module()
        none = [""] * len(self.roles.inner + self.roles.outer)
        inner, outer = ([*names, *none] for names in (s.inner_dots, s.outer_dots))
        self.inner_dots = [_dot(name, p) for name, p in zip(inner, self.roles.inner)]
        self.outer_dots = [_dot(name, p) for name, p in zip(outer, self.roles.outer)]

    # ---- memory -----------------------------------------------------------------------------------------------------

    def extent(self, axis: str) -> int:
        """An extent that must be known."""
        n = self.kernel.axes[axis]
        assert isinstance(n, int)
        return n

    def left_step(self, p: Product) -> int:
        """Elements between rows of the copy of what scores are made of."""
        padded = rounded_up(self.extent(p.axis), LANES)
        return padded + (LANES if padded * self.dtype.itemsize % (PAGE // 4) == 0 else 0)

    def sum_step(self, p: Product) -> int:
        """Elements between rows of a result."""
        return rounded_up(self.extent(p.column), math.lcm(self.panel, LANES))

    def areas(self) -> dict[str, Dim]:
        """Elements of each area of scratch."""
        s, r, length = self.s, self.roles, self.kernel.axes[self.s.stream]
        panels = (length + self.panel - 1) // self.panel * self.panel
        found: dict[str, Dim] = {}
        for n, p in enumerate(r.inner):
            found[f"right{n}"] = panels * self.extent(p.axis) + LANES * self.panel
            found[f"left{n}"] = s.block * self.left_step(p) + LANES
        for n, p in enumerate(r.outer):
            found[f"sum{n}"] = s.block * self.sum_step(p)
            if s.reads[n] != "direct":
                found[f"weighed{n}"] = length * rounded_up(self.extent(p.column), self.panel)
        for n in range(max(len(r.inner), len(r.outer))):
            found[f"tile{n}"] = s.block * self.tile_step
        if r.softmax is not None:
            found["peak"], found["norm"] = s.block, s.block * LANES
        return found

    def place_areas(self, scratch: X) -> Dim:
        """Find a place for each area; the bytes of all."""
        at: Dim = 0
        self.area: dict[str, X] = {}
        for name, elements in self.areas().items():
            size = self.dtype.itemsize
            self.area[name] = self.w.at(scratch, self.scope.index(at), self.dtype)
            at = at + (elements * size + 63) // 64 * 64 // size
        return at * self.dtype.itemsize

    # ---- functions beside -------------------------------------------------------------------------------------------

    def contraction(self, p: Product, dot: Dot | None) -> Contraction:
        """A product as the schedule of packing sees it."""
        s, r = self.s, self.roles
        return Contraction(g=r.g, i=(s.row,), j=(p.column,), k=(p.axis,), rows=s.rows, vectors=s.vectors, lanes=s.lanes,
                           block=s.block, dot=dot.name if dot else "")

    def operand(self, v: Value, dot: Dot | None) -> Operand:
        """A side of a product, as it is copied and packed."""
        return Narrow(self.kernel, v.args[0], dot, False) if dot else Operand(self.kernel, v, self.dtype)

    def write_functions(self) -> None:
        """Register tiles, and what copies their operands."""
        s, r, d = self.s, self.roles, self.dtype
        self.copies: list[Part] = []
        self.packs: list[Part] = []
        self.gathers: dict[int, Part] = {}
        for n, (p, dot) in enumerate(zip(r.inner, self.inner_dots)):
            shape, deep = self.contraction(p, dot), depth_of(dot)
            packs = (pack_row_words, pack_words) if dot else (pack_rows, pack_columns)
            pack: Callable[..., Part] = packs[s.packs[n] != "rows"]
            self.packs.append(pack(self.module, self.operand(p.right, dot), shape, f"pack{n}"))
            self.copies.append(copy_rows(self.module, self.operand(p.left, dot), shape, self.left_step(p), f"copy{n}"))
            tile = Tile(d, s.rows, s.vectors, s.lanes, self.left_step(p), deep, self.panel * deep, self.tile_step, dot)
            emit_tile(self.module, f"scores{n}", tile)
        for n, (p, dot) in enumerate(zip(r.outer, self.outer_dots)):
            gather: Callable[..., Part] = pack_words if dot else pack_columns
            shape, deep = self.contraction(p, dot), depth_of(dot)
            if s.reads[n] != "direct":
                self.gathers[n] = gather(self.module, self.operand(p.right, dot), shape, f"gather{n}")
            tile = Tile(d, s.rows, s.vectors, s.lanes, self.tile_step * deep, deep, self.weighed_step(n) * deep,
                        self.sum_step(p), dot)
            emit_tile(self.module, f"results{n}", tile)

    def weighed_step(self, n: int) -> int:
        """Elements from one position of the stream to the next in what a result weighs."""
        if self.s.reads[n] != "direct":
            return self.panel
        step = step_along(self.kernel, self.roles.outer[n].right, self.s.stream)
        assert isinstance(step, int), "what is weighed is read in place by known strides"
        return step

    def packed(self, dot: Dot | None) -> DType:
        """What sides of a product are packed as."""
        return dot.right if dot else self.dtype

    def weighed_at(self, n: int, start: Index, c: Index) -> X:
        """Where the panel from column c on of what a result weighs is, from a position of the stream on."""
        w, dot = self.w, self.outer_dots[n]
        deep = depth_of(dot)
        length = w.mul(w.floordiv(w.add(self.length, deep - 1), deep), deep) if dot else self.length
        return w.at(self.area[f"weighed{n}"], w.add(w.mul(start, self.panel), w.mul(length, c)), self.packed(dot))

    # ---- the loops --------------------------------------------------------------------------------------------------

    def source(self) -> Source:
        """The module's text, with how to call it."""
        s = self.s
        self.w, self.scope, start, stop, scratch = open_entry(self.module, self.kernel, "entry")
        self.args = self.w.parameters[0]
        with_extents(self.scope)
        self.write_functions()
        size = self.place_areas(scratch)
        self.height, self.length = extent_of(self.scope, (s.row,)), extent_of(self.scope, (s.stream,))
        blocks = self.w.floordiv(self.w.add(self.height, s.block - 1), s.block)

        def unit(u: X) -> None:
            w = self.w
            block, batch = unsigned(w, "urem", u, blocks), unsigned(w, "udiv", u, blocks)
            here = self.scope.enter(positions(self.scope, batch, self.roles.g))
            fresh = w.binary("or", w.lift(w.equal(u, start)), w.lift(w.equal(block, 0), like=BOOL))
            w.when(fresh, lambda: self.pack(here))
            self.block(here, w.mul(block, s.block))

        self.w.loop(start, stop, 1, unit)
        return Source(str(self.module), "entry", "llvm", s.units, s.grain, size)

    def pack(self, here: Scope) -> None:
        """What all rows share: the right sides, in panels."""
        w = self.w
        for n, p in enumerate(self.roles.inner):
            depth = self.extent(p.axis)
            dot = self.inner_dots[n]

            def panel(first: X, n: int = n, depth: int = depth, dot: Dot | None = dot) -> None:
                to = w.at(self.area[f"right{n}"], w.mul(first, rounded_up(depth, depth_of(dot))), self.packed(dot))
                own: dict[str, Index] = {"to": to, "first": first, "k0": 0, "depth": depth}
                self.packs[n].call(w, self.args, own, here.point)

            w.loop(0, self.length, self.panel, panel)
        for n, part in self.gathers.items():
            for c in range(0, self.extent(self.roles.outer[n].column), self.panel):
                to = self.weighed_at(n, 0, c)
                part.call(w, self.args, {"to": to, "first": c, "k0": 0, "depth": self.length}, here.point)

    def block(self, here: Scope, first: Index) -> None:
        """All of a block of rows."""
        w, s, r = self.w, self.s, self.roles
        count = w.min(w.sub(self.height, first), s.block)
        for n, p in enumerate(r.inner):
            own = {"to": self.area[f"left{n}"], "first": first, "count": count, "k0": 0, "depth": self.extent(p.axis)}
            self.copies[n].call(w, self.args, own, here.point)
        for n, p in enumerate(r.outer):
            self.fill(f"sum{n}", s.block * self.sum_step(p), 0.0)
        if r.softmax is not None:
            self.fill("norm", s.block * LANES, 0.0)
            w.loop(0, s.block, 1, lambda i: w.store(w.number(-math.inf, self.dtype),
                                                    w.at(self.area["peak"], i, self.dtype)))
        low, high = self.reach(here, first, w.sub(w.add(first, count), 1))
        low = w.mul(w.floordiv(low, self.panel), self.panel)
        w.loop(low, high, s.span, lambda j0: self.tile(here, first, count, j0, w.min(w.sub(high, j0), s.span)))
        w.loop(0, count, 1, lambda i: self.finish(here, first, i))

    def fill(self, area: str, elements: int, number: float) -> None:
        w, d = self.w, self.dtype
        w.loop(0, elements, LANES, lambda i: w.store(w.number(number, d, LANES), w.at(self.area[area], i, d)))

    # ---- which positions of the stream have weights -----------------------------------------------------------------

    def reach(self, here: Scope, first: Index, last: Index) -> tuple[Index, Index]:
        """The positions that some row from first to last sees."""
        return self.range(here, first, last, self.w.min, self.w.max)

    def interior(self, here: Scope, first: Index, last: Index) -> tuple[Index, Index]:
        """The positions that all rows from first to last see."""
        return self.range(here, first, last, self.w.max, self.w.min)

    def range(self, here: Scope, first: Index, last: Index, lower: Callable[..., Index],
              upper: Callable[..., Index]) -> tuple[Index, Index]:
        w, s = self.w, self.s
        low: Index = 0
        high: Index = self.length
        for limit in self.roles.limits:
            along = static(coefficient(limit.claim, s.stream))
            rest = limit.claim - along * self.kernel.axis(s.stream)
            ends = [here.enter({s.row: i}).index(rest) for i in (first, last)]
            if along == 1:
                low = w.max(low, lower(*(w.sub(0, e) for e in ends)))
            else:
                high = w.min(high, w.add(upper(*ends), 1))
        return low, high

    # ---- a tile -----------------------------------------------------------------------------------------------------

    def tile(self, here: Scope, first: Index, count: Index, j0: X, columns: Index) -> None:
        """A block of rows and some positions of the stream."""
        w, s = self.w, self.s

        def seen(r: Index) -> tuple[Index, Index]:
            """The columns of the tile that the rows of a register tile see."""
            top = w.add(first, r)
            low, high = self.reach(here, top, w.min(w.add(top, s.rows - 1), w.sub(self.height, 1)))
            return w.max(w.sub(low, j0), 0), w.min(w.sub(high, j0), columns)

        def panel(p: X) -> None:
            def rows(r: X) -> None:
                low, high = seen(r)
                w.when(w.both(w.less(p, high), w.less(low, w.add(p, self.panel))),
                       lambda: self.scores(w.add(j0, p), p, r))

            w.loop(0, count, s.rows, rows)

        def rows(r: X) -> None:
            low, high = seen(r)
            w.when(w.less(low, high), lambda: self.weigh(here, first, r, j0, w.binary("and", w.lift(low), -LANES),
                                                         high))

        w.loop(0, columns, self.panel, panel)
        w.loop(0, count, s.rows, rows)

    def scores(self, j: Index, p: Index, r: Index) -> None:
        """One register tile of each score."""
        w = self.w
        for n, (inner, dot) in enumerate(zip(self.roles.inner, self.inner_dots)):
            d, words = self.packed(dot), -(-self.extent(inner.axis) // depth_of(dot))
            a = w.at(self.area[f"left{n}"], w.mul(r, self.left_step(inner)), d)
            b = w.at(self.area[f"right{n}"], w.mul(j, words * depth_of(dot)), d)
            w.call(f"scores{n}", None, a, b, self.in_tile(n, r, p), words, w.lift(False, like=BOOL))

    def in_tile(self, n: int, r: Index, c: Index) -> X:
        return self.w.at(self.area[f"tile{n}"], self.w.add(self.w.mul(r, self.tile_step), c), self.dtype)

    def weigh(self, here: Scope, first: Index, r: X, j0: Index, low: X, high: Index) -> None:
        """Scores become weights, and are multiplied into the results, for the rows of a register tile."""
        w, s, d = self.w, self.s, self.dtype
        softmax = self.roles.softmax is not None
        w.loop(r, w.add(r, s.rows), self.together, lambda x: Rows(self, here, first, x, j0, low, high).write(softmax))
        start, depth = w.add(j0, low), w.sub(high, low)
        for n, p in enumerate(self.roles.outer):
            deep = depth_of(self.outer_dots[n])
            direct = s.reads[n] == "direct"
            base = self.in_place(here, p.right, start) if direct else None
            words = w.floordiv(w.add(depth, deep - 1), deep)

            def columns(c: Index, n: int = n, p: Product = p, base: X | None = base, words: Index = words) -> None:
                b = w.at(base, c, d) if base else self.weighed_at(n, start, c)
                total = w.at(self.area[f"sum{n}"], w.add(w.mul(r, self.sum_step(p)), c), d)
                w.call(f"results{n}", None, self.weights_at(n, r, low), b, total, words, w.lift(True, like=BOOL))

            w.loop(0, self.extent(p.column), self.panel, columns)

    def weights_at(self, n: int, r: Index, c: Index) -> X:
        """Where the weights of a row for a result are: in place of scores, which as narrow numbers they follow."""
        return self.w.at(self.in_tile(n, r, 0), c, self.packed(self.outer_dots[n]))

    def keep_weights(self, n: int, r: Index, c: Index, x: X, mask: X | None) -> None:
        """Write lanes of weights; those that are off are zero where words hold some of both."""
        w, dot = self.w, self.outer_dots[n]
        if dot:
            x = x if mask is None else w.select(mask, x, w.number(0, self.dtype, x.lanes))
            x = dot.narrowed(w, x)
        w.store(x, self.weights_at(n, r, c))

    def in_place(self, here: Scope, load: Value, start: Index) -> X:
        """Where what is weighed begins at a position of the stream."""
        (column,) = set(load.axes) - set(here.point) - {self.s.stream}
        place = here.enter({self.s.stream: start, column: 0})
        return self.w.at(here.pointers[load.buffer], place.place(self.kernel.buffers[load.buffer], load.index).start,
                         load.dtype)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def finish(self, here: Scope, first: Index, i: X) -> None:
        """What follows the sums, and the stores of a row."""
        w = self.w
        row = here.enter({self.s.row: w.add(first, i)})
        if self.roles.softmax is not None:
            self.finish_softmax(row, self.roles.softmax, i)
        base = {*self.roles.g, self.s.row}
        row.prepare(self.kernel.stores)
        for store in self.kernel.stores:
            column = next((a for a in store.axes if a not in base), "")
            if not column:
                row.store(store)
                continue

            def strip(c: int, width: int, store=store, column: str = column) -> None:
                mask = w.mask_below(0, width, LANES) if width < LANES else None
                place = row.enter({column: c}, lane=column, lanes=LANES, mask=mask)
                for n, p in enumerate(self.roles.outer):
                    if p.column == column:
                        place.known[p.total] = self.total(n, p, i, c, row)
                place.store(store)

            extent = self.extent(column)
            for c in range(0, extent, LANES):
                strip(c, min(LANES, extent - c))

    def finish_softmax(self, row: Scope, softmax: Softmax, i: X) -> None:
        """The maximum and the sum of a row; "nothing" is NaN where all scores are minus infinity, else 0."""
        w, d = self.w, self.dtype
        peak = row.known[softmax.peak] = w.load(d, w.at(self.area["peak"], i, d))
        parts = w.load(d, w.at(self.area["norm"], w.mul(i, LANES), d), LANES)
        is_nothing = w.both(w.compare("oeq", peak, -math.inf), w.less(0, self.length))
        nothing = w.select(is_nothing, w.number(math.nan, d), w.number(0.0, d))
        norm = w.reduce_lanes(lambda a, b: a + b, parts) + nothing
        if softmax.norm is not None:
            row.known[softmax.norm] = norm
        row.known["nothing"] = w.splat(nothing, LANES)
        row.known["norm"] = w.splat(w.select(w.equal(self.length, 0), w.number(1.0, d), norm), LANES)

    def total(self, n: int, p: Product, i: Index, c: Index, row: Scope) -> X:
        """Lanes of a finished result."""
        w, d = self.w, self.dtype
        x = w.load(d, w.at(self.area[f"sum{n}"], w.add(w.mul(i, self.sum_step(p)), c), d), LANES)
        if self.roles.softmax is None:
            return x
        return x / row.known["norm"] if self.roles.divided[n] else x + row.known["nothing"]


def _dot(name: str, p: Product) -> Dot | None:
    side = p.right.args[0].dtype if name else p.right.dtype
    return Dot(name, side, side, False) if name else None


def depth_of(dot: Dot | None) -> int:
    """Numbers that are multiplied at once."""
    return dot.deep if dot else 1
