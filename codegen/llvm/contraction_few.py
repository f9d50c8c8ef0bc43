"""Contractions with few rows, such as matrix times vector: bound by reading B, which goes by once and is not packed.

"stream": B is contiguous along J; lanes hold columns. "dots": B is contiguous along K; lanes hold partial sums, which
are combined by the fixed tree. Both evaluate the prologues in place and write out all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.expr import product, static
from ...ir.kernel import Kernel, Value, is_affine, step_along
from ...ir.schedule import Contraction, Source
from ...ir.types import DType
from . import scalar
from .body import Scope, open_entry
from .contraction_operands import Operands, operands, seed_total
from .pairs import store_all
from .parts import extent_of, positions, unsigned, walk, with_extents
from .tile import multiply_add
from .types import type_of
from .writer import Function, Index, Module, X

LANES = 16


def emit_few_rows(kernel: Kernel, s: Contraction) -> Source:
    """The text of a contraction kernel with few rows."""
    module = Module()
    w, scope, start, stop, scratch = open_entry(module, kernel, "entry")
    with_extents(scope)
    columns = s.vectors * s.panels * (LANES if s.variant == "stream" else 1)
    width = extent_of(scope, s.j[-1:])
    blocks = w.floordiv(w.add(width, columns - 1), columns)
    lines = extent_of(scope, s.j[:-1])
    few = _Few(w, kernel, s, operands(kernel, s), width, scratch)

    def unit(u: X) -> None:
        rest, block = unsigned(w, "udiv", u, blocks), unsigned(w, "urem", u, blocks)
        batch, line = unsigned(w, "udiv", rest, lines), unsigned(w, "urem", rest, lines)
        outer = positions(scope, line, s.j[:-1]) if len(s.j) > 1 else {}
        here = scope.enter({**positions(scope, batch, s.g), **outer})
        first = w.mul(block, columns)
        (few.stream if s.variant == "stream" else few.dots)(here, first)

    w.loop(start, stop, 1, unit)
    scratch_bytes = few.height * columns * few.o.dtype.itemsize if s.variant == "stream" else 0
    return Source(str(module), "entry", "llvm", s.units, s.grain, scratch_bytes)


def _streamed(v: Value) -> Value | None:
    """The load of whole lines that an operand is made of."""
    while v.op == "cast":
        (v,) = v.args
    return v if v.op == "load" and is_affine(v.index) and v.fill is None else None


class _Few:
    """One unit, written by `stream` or `dots`."""

    def __init__(self, w: Function, kernel: Kernel, s: Contraction, o: Operands, width: Index, scratch: X):
        self.w, self.kernel, self.s, self.o, self.width, self.scratch = w, kernel, s, o, width, scratch
        self.loaded = _streamed(o.right)
        self.height = max(1, static(product(kernel.axes[a] for a in s.i)))

    def _rows(self, scope: Scope) -> list[dict[str, Index]]:
        return [positions(scope, r, self.s.i) for r in range(self.height)]

    def _wide(self, x: X, d: DType) -> X:
        return x if d is self.o.dtype else scalar.emit(self.w, "cast", (x,), d, self.o.dtype)

    def _value(self, scope: Scope, v: Value) -> X:
        return self._wide(scope.value(v), v.dtype)

    def _loops(
        self, scope: Scope, axes: Sequence[str], body: Callable[..., Sequence[X]], carried: Sequence[X]
    ) -> tuple[X, ...]:
        """Nested loops over axes, around body(scope, *carried)."""
        if not axes:
            return tuple(body(scope, *carried))

        def turn(n: Index, *state: X) -> tuple[X, ...]:
            return self._loops(scope.enter({axes[0]: n}), axes[1:], body, state)

        return self.w.loop(0, extent_of(scope, axes[:1]), 1, turn, *carried)

    def _ask(self, here: Scope, axis: str, n: int) -> None:
        """Ask for what lies n positions further along an axis of B, which is read soon."""
        load = self.loaded
        step = step_along(self.kernel, load, axis) if load else None
        if load is None or step is None:
            return
        buffer = self.kernel.buffers[load.buffer]
        place = self.w.at(here.pointers[load.buffer], here.place(buffer, load.index).start, load.dtype)
        self.w.prefetch(self.w.at(place, here.index(n * step), load.dtype), 2)

    # ---- lanes along J --------------------------------------------------------------------------------------------

    def stream(self, here: Scope, first: Index) -> None:
        """All rows by `panels` groups of columns from `first` on: for a few positions of K at a time, B is read along
        its rows.
        """
        w, s = self.w, self.s
        columns = s.vectors * LANES
        count = w.floordiv(w.add(w.min(w.sub(self.width, first), s.panels * columns), columns - 1), columns)
        run = extent_of(here, s.k)

        def group(p: Index, body: Callable[[list[Index], Sequence[X | None], X], None]) -> None:
            place = w.add(first, w.mul(p, columns))
            starts = [w.add(place, n * LANES) for n in range(s.vectors)]
            kept = w.at(self.scratch, w.mul(p, self.height * columns), self.o.dtype)
            whole: X | bool = w.less_equal(w.add(place, columns), self.width)
            if isinstance(self.width, int) and self.width % columns == 0:
                whole = True
            w.when(
                whole,
                lambda: body(starts, [None] * s.vectors, kept),
                lambda: body(starts, [w.mask_below(x, self.width, LANES) for x in starts], kept),
            )

        def chunk(k0: Index) -> None:
            depth = w.min(w.sub(run, k0), s.depth)
            w.loop(0, count, 1, lambda p: group(p, lambda *x: self._accumulate(here, k0, depth, *x)))

        zero = w.number(0, self.o.dtype, LANES)
        w.loop(
            0,
            w.mul(count, self.height * s.vectors),
            1,
            lambda n: w.store(zero, w.at(self.scratch, w.mul(n, LANES), self.o.dtype)),
        )
        w.loop(0, run, s.depth, chunk)
        w.loop(0, count, 1, lambda p: group(p, lambda *x: self._finish_strips(here, *x)))

    def _strip(self, scope: Scope, start: Index, mask: X | None, point: dict[str, Index] | None = None) -> Scope:
        j = self.s.j[-1]
        return scope.enter({j: start, **(point or {})}, lane=j, lanes=LANES, mask=mask)

    def _accumulate(
        self, here: Scope, k0: Index, depth: Index, starts: list[Index], masks: Sequence[X | None], kept: X
    ) -> None:
        """Some rows at a time: those after the first find B in the first cache."""
        rows, step = self._rows(here), self.s.rows * self.s.vectors * LANES
        for n in range(0, self.height, self.s.rows):
            spot = self.w.at(kept, n // self.s.rows * step, self.o.dtype)
            self._accumulate_rows(here, rows[n : n + self.s.rows], k0, depth, starts, masks, spot, asks=n == 0)

    def _accumulate_rows(
        self,
        here: Scope,
        rows: Sequence[dict[str, Index]],
        k0: Index,
        depth: Index,
        starts: list[Index],
        masks: Sequence[X | None],
        kept: X,
        asks: bool,
    ) -> None:
        w, s, d = self.w, self.s, self.o.dtype

        def deep(point: dict[str, Index], _: X, *sums: X) -> list[X]:
            at = here.enter(point)
            strips = [self._strip(at, start, mask) for start, mask in zip(starts, masks)]
            for strip in strips if asks else ():
                self._ask(strip, s.k[-1], s.depth)
            right = [self._wide(strip.vector(self.o.right), self.o.right.dtype) for strip in strips]
            out: list[X] = []
            for r, row in enumerate(rows):  # one of A's numbers at a time: registers hold B and the sums
                x = w.splat(self._value(at.enter(row), self.o.left), LANES)
                mine = sums[r * s.vectors : (r + 1) * s.vectors]
                out += [multiply_add(w, d, x, y, total) for y, total in zip(right, mine)]
            return out

        zero = w.number(0, d, LANES)
        for n, x in enumerate(walk(here, k0, s.k, depth, deep, *[zero] * (len(rows) * s.vectors))):
            spot = w.at(kept, n * LANES, d)
            w.store(w.add(w.load(d, spot, LANES), x), spot)

    def _finish_strips(self, here: Scope, starts: list[Index], masks: Sequence[X | None], kept: X) -> None:
        w, s, d = self.w, self.s, self.o.dtype
        for r, point in enumerate(self._rows(here)):
            for n, (start, mask) in enumerate(zip(starts, masks)):
                place = self._strip(here, start, mask, point)
                seed_total(place, self.o, w.load(d, w.at(kept, (r * s.vectors + n) * LANES, d), LANES))
                store_all(place, self.kernel.stores)

    # ---- lanes along K --------------------------------------------------------------------------------------------

    def dots(self, here: Scope, first: Index) -> None:
        """All rows by `vectors` columns from `first` on; columns past the end are computed again from the last one, and
        not stored.
        """
        w, s, j = self.w, self.s, self.s.j[-1]
        rows = self._rows(here)
        places = [w.add(first, n) for n in range(s.vectors)]
        columns = [{j: w.min(x, w.sub(self.width, 1))} for x in places]
        zero = w.number(0, self.o.dtype, LANES)

        def line(at: Scope, *sums: X) -> tuple[X, ...]:
            extent = extent_of(at, s.k[-1:])
            whole = w.mul(w.floordiv(extent, LANES), LANES)
            sums = w.loop(0, whole, LANES, lambda k, *c: self._products(at, k, rows, columns, c, None), *sums)
            if isinstance(extent, int) and extent % LANES == 0:
                return sums
            mask = w.mask_below(whole, extent, LANES)
            return w.when(
                w.less(whole, extent), lambda: self._products(at, whole, rows, columns, sums, mask), lambda: sums
            )

        sums = self._loops(here, s.k[:-1], line, [zero] * (s.rows * s.vectors))
        totals = [w.reduce_lanes(lambda a, b: w.add(a, b), x) for x in sums]
        for n, at in enumerate(places):
            w.when(w.less(at, self.width), lambda: self._finish(here, rows, n, at, totals))

    def _products(self, at: Scope, k: Index, rows, columns, sums: Sequence[X], mask: X | None) -> list[X]:
        w, s, o = self.w, self.s, self.o
        scope = at.enter({s.k[-1]: k}, lane=s.k[-1], lanes=LANES, mask=mask)
        left = [self._wide(scope.enter(point).vector(o.left), o.left.dtype) for point in rows]
        out = list(sums)
        for n, point in enumerate(columns):
            here = scope.enter(point)
            right = self._wide(here.vector(o.right), o.right.dtype)
            self._ask(here, s.j[-1], s.vectors)
            for r, x in enumerate(left):
                spot = r * s.vectors + n
                sum_ = multiply_add(w, o.dtype, x, right, out[spot])
                out[spot] = (
                    sum_ if mask is None else w.let(type_of(o.dtype, LANES), f"select {mask}, {sum_}, {out[spot]}")
                )
        return out

    def _finish(self, here: Scope, rows, n: int, at: Index, totals: Sequence[X]) -> None:
        for r, point in enumerate(rows):
            place = here.enter({**point, self.s.j[-1]: at})
            seed_total(place, self.o, totals[r * self.s.vectors + n])
            store_all(place, self.kernel.stores)
