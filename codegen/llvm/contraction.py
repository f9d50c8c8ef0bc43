"""LLVM source of a contraction: loops over blocks around the register tile, with the prologues in its packing and the
epilogue on C.

A unit is a block of rows by a block of panels of one batch. What decides the order of a sum (the depths of K) does not
depend on how units are cut among threads. Contractions of few rows, which are bound by reading B, are in
`contraction_few.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir import expr
from ...ir.expr import Dim, product
from ...ir.kernel import Kernel, Value, step_along
from ...ir.schedule import Contraction, Source
from ...ir.target import Target
from ...ir.types import int8
from .body import Scope, open_entry
from .contraction_epilogue import Epilogue
from .contraction_few import emit_few_rows
from .contraction_operands import operands
from .contraction_packing import Operand, Window, copy_columns, copy_rows, copy_window, pack_columns, pack_rows
from .contraction_windows import pack_windows
from .contraction_words import Narrow, copy_column_words, pack_row_words, pack_words
from .parts import Part, extent_of, positions, unsigned, with_extents
from .tile import Tile, emit_tile
from .types import BOOL
from .writer import Index, Module, X

LANES = 16
PAGE = 4096


def emit_contraction(kernel: Kernel, s: Contraction, target: Target) -> Source:
    """The text of a contraction kernel for a target."""
    s.check(kernel)
    if s.variant != "tile":
        return emit_few_rows(kernel, s)
    return Tiled(kernel, s).source()


class Tiled:
    """One kernel on the register tile; the methods write one function or one loop level each."""

    def __init__(self, kernel: Kernel, s: Contraction):
        self.kernel, self.s, self.o = kernel, s, operands(kernel, s)
        self.size = self.o.packed.itemsize
        self.columns = s.vectors * s.lanes  # of a panel
        self.width = self.columns * s.parts  # of a tile
        self.c_step = self.width  # elements of C between rows
        self.i_outer, self.i_inner = s.i[: len(s.i) - s.i_flat], s.i[len(s.i) - s.i_flat :]
        self.k_outer, self.k_inner = s.k[: len(s.k) - s.k_flat], s.k[len(s.k) - s.k_flat :]
        self.one_step = self._is_one_step()
        self.copy_step = self._copy_step()
        self.module = Module()
        self.window = Window(kernel, self.o.left, s) if s.left == "window" else None

    def _extent(self, axes: tuple[str, ...]) -> Dim:
        return product(self.kernel.axes[a] for a in axes)

    def _is_one_step(self) -> bool:
        run = self._extent(self.k_inner)
        return self._extent(self.k_outer) == 1 and isinstance(run, int) and run <= self.s.depth

    def _copy_step(self) -> int:
        """Elements between rows of A's copy (or between its columns): whole vectors, and no multiple of a page."""
        length = self.s.depth if self.s.left == "rows" else self.s.block
        padded = -(-length // LANES) * LANES
        if self.o.dot:
            return padded + LANES
        return padded + (LANES if padded * self.size % (PAGE // 4) == 0 else 0)

    # ---- memory ---------------------------------------------------------------------------------------------------

    def _areas(self) -> tuple[Dim, ...]:
        """Bytes of the packed B, of A's copy, of C, and of sums of B's columns."""
        s = self.s
        deep = self._extent(self.k_outer) * self._padded(self._extent(self.k_inner)) if s.keeps else s.depth
        self.part_step = (deep * s.panels + LANES * s.deep) * self.columns
        b = 0 if s.right == "direct" else self.part_step * s.parts
        copied = s.block if s.left == "rows" else s.depth
        a: Dim = 0 if s.left == "direct" else self.copy_step * (copied + s.deep) + LANES
        if self.window:
            a = self.window.lines * self.window.line_step + LANES
        c = self._c_elements() + LANES
        sums = s.panels * self.width * s.flips
        sizes = (self.size, self.size, self.o.dtype.itemsize, self.o.dtype.itemsize)
        return tuple((n * size + 63) // 64 * 64 for n, size in zip((b, a, c, sums), sizes))

    def _c_elements(self) -> Dim:
        """Of the tiles that are not finished yet: one, or those of a unit."""
        tiles = 1 if self.one_step else self.s.block // self.s.rows * self.s.panels
        return tiles * self.s.rows * self.width

    def _c_of(self, r: Index, p: Index) -> X:
        """Where the tile of C that begins at a row of the unit and a panel is."""
        w, s = self.w, self.s
        number = 0 if self.one_step else w.add(w.mul(unsigned(w, "udiv", r, s.rows), s.panels), p)
        return w.at(self.c, w.mul(number, s.rows * self.width), self.o.dtype)

    def _padded(self, n: Dim) -> Dim:
        """Positions of K in whole words."""
        return (n + self.s.deep - 1) // self.s.deep * self.s.deep if self.s.deep > 1 else n

    # ---- the functions --------------------------------------------------------------------------------------------

    def source(self) -> Source:
        """The module's text, with how to call it."""
        s, o = self.s, self.o
        w, self.scope, start, stop, scratch = open_entry(self.module, self.kernel, "entry")
        self.w, self.args = w, w.parameters[0]
        with_extents(self.scope)
        emit_tile(self.module, "tile", self._tile(), None if o.is_product else o.added)
        self._packing()
        areas = (*self._areas(), self._endings())
        ends = [sum(areas[1:n], areas[0]) for n in (1, 2, 3, 4)]
        self.b = scratch
        self.a, self.c, self.sums, self.rest = (w.at(scratch, self.scope.index(n), int8) for n in ends)
        self._units(start, stop)
        return Source(str(self.module), "entry", "llvm", s.units, s.grain, sum(areas[1:], areas[0]))

    def _endings(self) -> Dim:
        """What is done when sums are whole; bytes of scratch for it."""
        ending = Epilogue(self.module, self.kernel, self.s, self.o)
        self.asking, self.epilogue = ending.asking(), ending.part()
        return 0

    def _packing(self) -> None:
        """What copies A, and packs B."""
        s, o, module = self.s, self.o, self.module
        left, *rights = (Operand(self.kernel, v, o.dtype) for v in (o.left, *(v for _, v in o.sums)))
        packs: dict[str, Callable[..., Part]] = {"rows": pack_rows, "columns": pack_columns, "windows": pack_windows}
        copies: dict[str, Callable[..., Part]] = {"rows": copy_rows, "columns": copy_columns}
        if o.dot:
            left, rights = Narrow(self.kernel, o.left, o.dot, s.flips), [Narrow(self.kernel, o.right, o.dot, False)]
            packs = {"rows": pack_row_words, "columns": pack_words}
            copies["columns"] = copy_column_words
        self.packs = [packs[s.right](module, x, s, f"pack_b{n}") for n, x in enumerate(rights) if s.right in packs]
        self.copy = copies[s.left](module, left, s, self.copy_step) if s.left in copies else None
        self.copy_lines = copy_window(module, left, s, self.window) if self.window else None

    def _tile(self) -> Tile:
        s, n = self.s, self.s.deep
        copied = {"rows": (self.copy_step, n), "columns": (n, self.copy_step * n)}
        if self.window:
            copied["window"] = (self.window.row_step, n)
        row, deep = copied.get(s.left) or self._strides()
        shape = s.rows, s.vectors, s.lanes
        is_run = s.left == "direct" and deep * self.size <= 8
        return Tile(self.o.dtype, *shape, row, deep, self.columns * n, self.c_step, self.o.dot, is_run)

    def _strides(self) -> tuple[int, int]:
        """Elements of A between rows, and along K."""
        row, deep = (step_along(self.kernel, self.o.left, axes[-1]) for axes in (self.i_inner, self.k_inner))
        assert isinstance(row, int) and isinstance(deep, int), "A is read in place by known strides"
        return row, deep * self.s.deep

    # ---- the loops ------------------------------------------------------------------------------------------------

    def _units(self, start: X, stop: X) -> None:
        s, w, scope = self.s, self.w, self.scope
        self.height, self.run = extent_of(scope, self.i_inner), extent_of(scope, self.k_inner)
        self.k_turns = extent_of(scope, self.k_outer)
        blocks = w.floordiv(w.add(self.height, s.block - 1), s.block)
        row_blocks = w.mul(extent_of(scope, self.i_outer), blocks)
        self.per_line = w.floordiv(w.add(extent_of(scope, s.j[-1:]), self.columns - 1), self.columns)
        panels = w.mul(extent_of(scope, s.j[:-1]), self.per_line)
        groups = w.floordiv(w.add(panels, s.panels - 1), s.panels)

        def unit(u: X) -> None:
            n, rest = unsigned(w, "urem", u, row_blocks), unsigned(w, "udiv", u, row_blocks)
            group, batch = unsigned(w, "urem", rest, groups), unsigned(w, "udiv", rest, groups)
            block, outer = unsigned(w, "urem", n, blocks), unsigned(w, "udiv", n, blocks)
            here = scope.enter({**positions(scope, batch, s.g), **positions(scope, outer, self.i_outer)})
            self.first_row = w.mul(block, s.block)
            self.rows = w.min(w.sub(self.height, self.first_row), s.block)
            self.first_panel = w.mul(group, s.panels)
            self.count = w.min(w.sub(panels, self.first_panel), s.panels)
            if s.keeps:
                fresh = w.binary("or", w.lift(w.equal(u, start)), w.lift(w.equal(n, 0))) if isinstance(n, X) else True
                w.when(fresh, lambda: self._pack_all(here))
            if self.copy_lines:
                known = self._known_lines(here, u, start)
                own = {"to": self.a, "first": self.first_row, "count": self.rows, "known": known}
                self.copy_lines.call(w, self.args, own, here.point)
            self._steps(here, self._step)

        w.loop(start, stop, 1, unit)

    def _steps(self, here: Scope, body: Any) -> None:
        """body(scope, base, k0, depth, first, last) for all depths of K: at least one, which is empty where K is."""
        w, s = self.w, self.s
        turns, run = self.k_turns, self.run
        if not (isinstance(turns, int) and turns):
            run = w.select(w.equal(turns, 0), 0, run)
            turns = w.max(turns, 1)
        blocks = w.max(w.floordiv(w.add(run, s.depth - 1), s.depth), 1)

        def outer(t: Index) -> None:
            place = here.enter(positions(self.scope, t, self.k_outer))

            def inner(n: Index) -> None:
                k0 = w.mul(n, s.depth)
                depth = w.min(w.sub(run, k0), s.depth)
                first = w.both(w.equal(t, 0), w.equal(n, 0))
                last = w.both(w.equal(t, w.sub(turns, 1)), w.equal(n, w.sub(blocks, 1)))
                body(place, w.add(w.mul(t, self._whole_words(run)), k0), k0, depth, first, last)

            w.loop(0, blocks, 1, inner)

        w.loop(0, turns, 1, outer)

    def _panel_at(self, base: Index, p: Index, depth: Index, part: int = 0) -> X:
        """Where a panel of B begins; `base` is the number of positions of K before this depth."""
        w = self.w
        before = w.add(w.mul(base, self.s.panels) if self.s.keeps else 0, w.mul(p, self._whole_words(depth)))
        first = self.scope.index(self.part_step * part) if part else 0
        return w.at(self.b, w.add(w.mul(before, self.columns), first), self.o.packed)

    def _sums_at(self, p: Index) -> X:
        """Where the sums of a panel's columns are."""
        return self.w.at(self.sums, self.w.mul(p, self.columns), self.o.dtype)

    def _words(self, depth: Index) -> Index:
        w, deep = self.w, self.s.deep
        return w.floordiv(w.add(depth, deep - 1), deep)

    def _whole_words(self, depth: Index) -> Index:
        return self.w.mul(self._words(depth), self.s.deep) if self.s.deep > 1 else depth

    def _columns(self, here: Scope, p: Index) -> tuple[Scope, Index]:
        """A panel's scope with the outer axes of J, and its first column."""
        w = self.w
        number = w.add(self.first_panel, p)
        line, place = unsigned(w, "udiv", number, self.per_line), unsigned(w, "urem", number, self.per_line)
        outer = positions(self.scope, line, self.s.j[:-1]) if len(self.s.j) > 1 else {}
        return here.enter(outer), w.mul(place, self.columns)

    def _pack_all(self, here: Scope) -> None:
        """Pack the panels of B that are kept."""
        if self.s.right != "windows":
            self._steps(here, lambda *step: self._pack(*step))
            return

        def panel(p: Index) -> None:
            place, j0 = self._columns(here, p)
            for n, pack in enumerate(self.packs):
                to = self.w.at(self.b, self.scope.index(self.part_step * n), self.o.packed) if n else self.b
                pack.call(self.w, self.args, {"to": to, "first": j0, "panel": p}, place.point)

        self.w.loop(0, self.count, 1, panel)

    def _pack(self, here: Scope, base: Index, k0: Index, depth: Index, first: Any, last: Any) -> None:
        def panel(p: Index) -> None:
            place, j0 = self._columns(here, p)
            for n, pack in enumerate(self.packs):
                own = {"to": self._panel_at(base, p, depth, n), "first": j0, "k0": k0, "depth": depth}
                if self.s.flips:
                    own.update(base=base, sums=self._sums_at(p))
                pack.call(self.w, self.args, own, place.point)

        self.w.loop(0, self.count, 1, panel)

    def _step(self, here: Scope, base: Index, k0: Index, depth: Index, first: Any, last: Any) -> None:
        w, s, o, d = self.w, self.s, self.o, self.o.dtype
        if self.packs and not s.keeps:
            self._pack(here, base, k0, depth, first, last)
        if self.copy is not None:
            own = {"to": self.a, "first": self.first_row, "count": self.rows, "k0": k0, "depth": depth}
            self.copy.call(w, self.args, own, here.point)
        more = w.lift(
            w.select(first, False, True) if isinstance(first, bool) else w.binary("xor", first, True), like=BOOL
        )

        def at_panel(p: Index) -> tuple[Scope, Index, list[X]]:
            place, j0 = self._columns(here, p)
            point = {**place.point, s.j[-1]: j0, **positions(self.scope, k0, self.k_inner)}
            return place, j0, [self._panel_at(base, p, depth, n) if self.packs else self._address(here, right, point)
                               for n, (_, right) in enumerate(o.sums)]

        def at_rows(r: Index) -> tuple[Index, Index, Index, X]:
            at = w.add(self.first_row, r)
            return r, at, *self._left_at(here, at, r, k0)

        def tile(p: Index, columns: tuple[Scope, Index, list[X]], rows: tuple[Index, Index, Index, X]) -> None:
            (place, j0, b), (r, at, begin, a) = columns, rows
            c = self._c_of(r, p)
            within = w.min(w.sub(extent_of(self.scope, s.j[-1:]), j0), self.columns)
            spot = {"i0": at, "rows": w.min(w.sub(self.rows, r), s.rows), "j0": j0, "columns": within}
            if self.asking:
                asking = self.asking
                w.when(last, lambda: asking.call(w, self.args, spot, place.point))
            for n, panel in enumerate(b):
                w.call("tile", None, a, panel, w.at(c, n * self.columns, d), self._words(depth), more)
            c = w.at(c, w.mul(w.sub(at, begin), self.c_step), d)  # the tile may have been moved up
            self._after_tile(place, last, {"c": c, **spot, **({"sums": self._sums_at(p)} if s.flips else {})})

        def panel(p: Index) -> None:
            found = at_panel(p)
            w.loop(0, self.rows, s.rows, lambda r: tile(p, found, at_rows(r)))

        def line(r: Index) -> None:
            found = at_rows(r)
            w.loop(0, self.count, 1, lambda p: tile(p, at_panel(p), found))
            self._after_rows(here, last, *found[:3])

        if s.outside == "panels":
            w.loop(0, self.count, 1, panel)
        else:
            w.loop(0, self.rows, s.rows, line)

    def _after_tile(self, place: Scope, last: X | bool, own: dict[str, Index]) -> None:
        """The epilogue of a tile."""
        self.w.when(last, lambda: self.epilogue.call(self.w, self.args, own, place.point))

    def _after_rows(self, here: Scope, last: X | bool, r: Index, at: Index, begin: Index) -> None:
        """What is done when all panels have gone by the rows of a tile."""

    def _left_at(self, here: Scope, row: Index, r: Index, k0: Index) -> tuple[Index, X]:
        """The first row of a tile, and where A begins for it. `r` counts rows of the block."""
        w, s = self.w, self.s
        if s.left != "direct":
            offset: Index = w.mul(r, self.copy_step if s.left == "rows" else s.deep)
            if self.window:
                offset = w.mul(r, self.window.row_step)
                offset = w.add(offset, self._place_in_window(here, k0))
            return row, w.at(self.a, offset, self.o.packed)
        begin = w.min(row, w.sub(self.height, s.rows))  # the last tile is moved up to end with the rows
        point = {**here.point, **positions(self.scope, begin, self.i_inner), **positions(self.scope, k0, self.k_inner)}
        return begin, self._address(here, self.o.left, point)

    def _known_lines(self, here: Scope, unit: X, start: X) -> Index:
        """How many lines of the window the unit before has copied."""
        w, window = self.w, self.window
        if window is None or not window.turning:
            return 0
        fresh = w.binary("or", w.lift(w.equal(unit, start)), w.lift(w.equal(here.point[window.turning], 0), like=BOOL))
        return w.select(fresh, 0, expr.static(window.lines) - 1)

    def _place_in_window(self, here: Scope, k0: Index) -> Index:
        """Where in the copied lines the depth from k0 on begins."""
        w, window = self.w, self.window
        assert window is not None
        line: Index = 0
        for a in window.outer:
            line = w.add(w.mul(line, extent_of(here, (a,))), here.point[a])
        start = w.mul(window.line_at(here, line), window.line_step)
        offset = w.add(w.add(start, window.skipped), k0)  # what is flattened with the channels lies as they do
        for a, step in window.steps.items():
            if a in self.k_outer:
                offset = w.add(offset, w.mul(here.point[a], step))
        return offset

    def _address(self, here: Scope, load: Value, point: dict[str, Index]) -> X:
        flat = here.enter(point).place(self.kernel.buffers[load.buffer], load.index).start
        return self.w.at(here.pointers[load.buffer], flat, load.dtype)
