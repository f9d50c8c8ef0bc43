"""Copies of a contraction's operands in the order in which the register tile reads them, made by evaluating their
prologues.

All are evaluated in lanes along the axis that is contiguous in memory: where that is the axis along which the tile
reads, the lanes are stored as they are, else squares are transposed in registers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from ...ir import expr
from ...ir.expr import Dim, Expr
from ...ir.kernel import Kernel, Value, is_affine, step_along
from ...ir.schedule import Contraction
from ...ir.types import DType
from . import scalar
from .body import Scope
from .parts import Part, extent_of, positions, unsigned, walk
from .types import INDEX, POINTER, type_of
from .writer import Function, Index, Module, X

LANES = 16
AHEAD = 64  # elements that memory is asked for before they are packed


class Operand:
    """One operand: its value, the dtype that it is computed in, and its axes."""

    def __init__(self, kernel: Kernel, value: Value, dtype: DType):
        self.kernel, self.value, self.dtype = kernel, value, dtype

    def at(self, value: Value) -> Operand:
        """The same of another value."""
        return Operand(self.kernel, value, self.dtype)

    def lanes(self, scope: Scope) -> X:
        """It at a scope, in all lanes."""
        x = scope.vector(self.value)
        d = self.value.dtype
        return x if d is self.dtype else scalar.emit(scope.w, "cast", (x,), d, self.dtype)


def in_full_or_masked(w: Function, position: Index, bound: Index, lanes: int, body: Callable[[X | None], None]) -> None:
    """body(None) where all lanes are below the bound, else body(mask)."""
    whole = w.less_equal(w.add(position, lanes), bound)
    w.when(whole, lambda: body(None), lambda: body(w.mask_below(position, bound, lanes)))


def copy_rows(module: Module, operand: Operand, s: Contraction, row_step: int, name: str = "copy_a") -> Part:
    """to[r][kk] = A at (first + r, k0 + kk), in lanes along K. Lanes past the end of K are written and never read."""
    part = Part(
        module,
        operand.kernel,
        name,
        {n: INDEX if n != "to" else POINTER for n in ("to", "first", "count", "k0", "depth")},
        [*s.g, *s.i[: -s.i_flat], *s.k[:-1]],
    )
    w, own, k = part.w, part.named, s.k[-1]
    stop = own["k0"] + own["depth"]

    def row(r: X) -> None:
        here = part.scope.enter(positions(part.scope, own["first"] + r, s.i[-s.i_flat :]))
        here.prepare([operand.value])
        line = w.at(own["to"], r * row_step, operand.dtype)

        def piece(kk: X) -> None:
            at = own["k0"] + kk

            def write(mask: X | None) -> None:
                w.store(
                    operand.lanes(here.enter({k: at}, lane=k, lanes=LANES, mask=mask)), w.at(line, kk, operand.dtype)
                )

            in_full_or_masked(w, at, stop, LANES, write)

        w.loop(0, own["depth"], LANES, piece)

    w.loop(0, own["count"], 1, row)
    return part


def copy_columns(module: Module, operand: Operand, s: Contraction, deep_step: int) -> Part:
    """to[kk][r] = A at (first + r, k0 + kk), in lanes along I."""
    part = Part(
        module,
        operand.kernel,
        "copy_a",
        {n: INDEX if n != "to" else POINTER for n in ("to", "first", "count", "k0", "depth")},
        [*s.g, *s.i[:-1], *s.k[: -s.k_flat]],
    )
    w, own = part.w, part.named
    lane = s.i[-1] if s.i else ""
    bound = extent_of(part.scope, s.i[-1:])

    def deep(point: dict[str, Index], kk: Index) -> None:
        here = part.scope.enter(point)
        here.prepare([operand.value])
        line = w.at(own["to"], kk * deep_step, operand.dtype)

        def piece(r: X) -> None:
            at = own["first"] + r

            def write(mask: X | None) -> None:
                w.store(
                    operand.lanes(here.enter({lane: at}, lane=lane, lanes=LANES, mask=mask)),
                    w.at(line, r, operand.dtype),
                )

            in_full_or_masked(w, at, bound, LANES, write)

        w.loop(0, own["count"], LANES, piece)

    walk(part.scope, own["k0"], s.k[-s.k_flat :], own["depth"], deep)
    return part


class Window:
    """A that slides over lines of channels: where its copied lines are read. Positions count channels of one line after
    the other.
    """

    def __init__(self, kernel: Kernel, load: Value, s: Contraction):
        assert is_affine(load.index)
        self.load, self.s = load, s
        self.slid = next(n for n, x in enumerate(load.index) if s.i[-1] in expr.symbols(x))
        where = load.index[self.slid]
        self.channels = expr.static(kernel.axes[s.k[-1]])
        self.axes = [a for a in (s.i[-1], *s.k[:-1]) if a in expr.symbols(where)]
        self.outer = tuple(a for a in s.k[:-1] if a not in self.axes)
        steps = {a: expr.static(expr.coefficient(where, a)) for a in self.axes}
        far = {a: c * (expr.static(kernel.axes[a]) - 1) for a, c in steps.items() if a != s.i[-1]}
        before = sum(min(0, c) for c in far.values())  # a window may slide backwards along an axis of K
        self.row_step = steps[s.i[-1]] * self.channels
        self.steps = {a: c * self.channels for a, c in steps.items() if a != s.i[-1]} | {s.k[-1]: 1}
        self.skipped = -before * self.channels
        self.start: Dim = expr.substitute(where, dict.fromkeys(self.axes, 0)) + before
        reach = 1 + sum(map(abs, far.values()))
        self.length = steps[s.i[-1]] * (s.block - 1) + reach  # places of a line that a block of rows sees
        self.is_turned = self.slid == len(load.index) - 1  # channels do not lie last
        places = -(-self.length // LANES) * LANES if self.is_turned else self.length
        self.line_step = -(-places * self.channels // LANES) * LANES + LANES
        self.lines = expr.product(kernel.axes[a] for a in self.outer)
        self.turning = self._turning(kernel)

    def _turning(self, kernel: Kernel) -> str:
        """The axis of I whose next position sees all lines but the first again, and one more; "" if there is none."""
        s = self.s
        if len(self.outer) != 1 or len(s.i) < 2 or not isinstance(self.lines, int):
            return ""
        where = [x for x in self.load.index if isinstance(x, Expr) and self.outer[0] in expr.symbols(x)]
        steps = [expr.coefficient(x, a) for x in where for a in (s.i[-2], self.outer[0])]
        others = any(s.i[-2] in expr.symbols(x) for x in self.load.index if x is not where[0] and isinstance(x, Expr))
        whole = expr.is_less_equal(kernel.axes[s.i[-1]], s.block)
        return s.i[-2] if steps == [1, 1] and whole and not others else ""

    def line_at(self, scope: Scope, n: Index) -> Index:
        """Where a line of the window lies among the copied ones: they take turns."""
        if not self.turning:
            return n
        return unsigned(scope.w, "urem", scope.w.add(n, scope.point[self.turning]), expr.static(self.lines))

    def at(self, place: str) -> Value:
        """The load with the sliding index at a place counted from the window's start."""
        index = list(self.load.index)
        index[self.slid] = self.start + expr.symbol(place)
        axes = (*(a for a in self.load.axes if a not in self.axes), place)
        fill = 0 if self.load.fill is None else self.load.fill  # more is copied than is read
        return dataclasses.replace(self.load, index=tuple(index), axes=axes, fill=fill)


def copy_window(module: Module, operand: Operand, s: Contraction, window: Window) -> Part:
    """to[line][place][channel]: the lines that `count` rows from `first` on see, the `known` ones of them left out, in
    lanes along the channels.
    """
    part = Part(
        module,
        operand.kernel,
        "copy_a",
        {n: INDEX if n != "to" else POINTER for n in ("to", "first", "count", "known")},
        [*s.g, *s.i[:-1]],
    )
    w, own, c = part.w, part.named, s.k[-1]
    seen = operand.at(window.at("place"))
    per_row = window.row_step // window.channels
    length = (own["count"] - 1) * per_row + (window.length - (s.block - 1) * per_row)

    def turned(n: Index) -> None:
        here = part.scope.enter(positions(part.scope, n, window.outer))
        start = w.mul(window.line_at(part.scope, n), window.line_step)

        def squares(x: X) -> None:
            first = own["first"] * per_row + x
            at = here.enter({"place": first}, lane="place", lanes=LANES)

            def square(channel: Index) -> None:
                rows = [seen.lanes(at.enter({c: w.add(channel, m)})) for m in range(LANES)]
                for m, y in enumerate(transpose(w, rows)):
                    place = start + (x + m) * window.channels + channel
                    w.store(y, w.at(own["to"], place, operand.dtype))

            w.loop(0, window.channels, LANES, square)

        w.loop(0, length, LANES, squares)

    def line(n: Index) -> None:
        here = part.scope.enter(positions(part.scope, n, window.outer))
        start = w.mul(window.line_at(part.scope, n), window.line_step)

        def place(x: X) -> None:
            at = here.enter({"place": own["first"] * per_row + x})
            to = w.at(own["to"], start + x * window.channels, operand.dtype)

            def piece(channel: Index) -> None:
                def write(mask: X | None) -> None:
                    w.store(
                        seen.lanes(at.enter({c: channel}, lane=c, lanes=LANES, mask=mask)),
                        w.at(to, channel, operand.dtype),
                    )

                in_full_or_masked(w, channel, window.channels, LANES, write)

            w.loop(0, window.channels, LANES, piece)

        w.loop(0, length, 1, place)

    w.loop(own["known"], extent_of(part.scope, window.outer), 1, turned if window.is_turned else line)
    return part


def pack_columns(module: Module, operand: Operand, s: Contraction, name: str = "pack_b") -> Part:
    """to[kk][c] = B at (k0 + kk, first + c) for one panel, in lanes along J."""
    part = _panel_part(module, operand, s, name)
    w, own, width = part.w, part.named, s.vectors * s.lanes
    lanes = math.gcd(width, LANES)
    bound = extent_of(part.scope, s.j[-1:])

    def panel(masks: list[X | None]) -> None:
        wholes = [
            part.scope.enter({s.j[-1]: own["first"] + n * lanes}, lane=s.j[-1], lanes=lanes, mask=mask)
            for n, mask in enumerate(masks)
        ]
        for here in wholes:
            here.prepare([operand.value])

        def deep(point: dict[str, Index], kk: Index) -> None:
            line = w.at(own["to"], kk * width, operand.dtype)
            for n, here in enumerate(wholes):
                w.store(operand.lanes(here.enter(point)), w.at(line, n * lanes, operand.dtype))

        walk(part.scope, own["k0"], s.k[-s.k_flat :], own["depth"], deep)

    firsts = [own["first"] + n * lanes for n in range(width // lanes)]
    whole = w.less_equal(own["first"] + width, bound)
    if isinstance(operand.kernel.axes[s.j[-1]], int) and operand.kernel.axes[s.j[-1]] % width == 0:
        whole = True
    w.when(whole, lambda: panel([None] * len(firsts)), lambda: panel([w.mask_below(f, bound, lanes) for f in firsts]))
    return part


def pack_rows(module: Module, operand: Operand, s: Contraction, name: str = "pack_b") -> Part:
    """The same panel in lanes along K, transposed in squares. Up to a square is written past the depth."""
    part = _panel_part(module, operand, s, name)
    w, own, width, d = part.w, part.named, s.vectors * s.lanes, operand.dtype
    lanes = math.gcd(width, LANES)
    k, stop = s.k[-1], own["k0"] + own["depth"]
    last = w.sub(extent_of(part.scope, s.j[-1:]), 1)
    square = w.alloca(type_of(d, lanes), lanes)
    step = _step_between_rows(operand, s)

    def turned(c: X, kk: X, rows: list[X]) -> None:
        for n, x in enumerate(transpose(w, rows)):
            w.store(x, w.at(own["to"], (kk + n) * width + c, d))

    def strip(c: X) -> None:
        def block(kk: X) -> None:
            at = own["k0"] + kk

            def fill(mask: X | None) -> None:
                def row(r: X) -> None:
                    point = {s.j[-1]: w.min(own["first"] + c + r, last), k: at}
                    here = part.scope.enter(point, lane=k, lanes=lanes, mask=mask)
                    w.store(operand.lanes(here), w.at(square, r * lanes, d))

                w.loop(0, lanes, 1, row)

            in_full_or_masked(w, at, stop, lanes, fill)
            turned(c, kk, [w.load(d, w.at(square, r * lanes, d), lanes) for r in range(lanes)])

        def whole_block(kk: X) -> None:
            here = part.scope.enter({s.j[-1]: own["first"] + c, k: own["k0"] + kk})
            load = operand.value
            begin = here.place(operand.kernel.buffers[load.buffer], load.index).start
            first = w.at(here.pointers[load.buffer], begin, load.dtype)
            rows = [w.at(first, r * step, load.dtype) for r in range(lanes)]
            for row in rows:
                w.prefetch(w.at(row, AHEAD, load.dtype))
            turned(c, kk, [w.load(d, row, lanes) for row in rows])

        def whole_blocks() -> None:
            whole = w.mul(w.floordiv(own["depth"], lanes), lanes)
            w.loop(0, whole, lanes, whole_block)
            w.loop(whole, own["depth"], lanes, block)

        if not step:
            w.loop(0, own["depth"], lanes, block)
        else:
            inside = w.less_equal(own["first"] + c + (lanes - 1), last)
            w.when(inside, whole_blocks, lambda: w.loop(0, own["depth"], lanes, block))

    w.loop(0, width, lanes, strip)
    return part


def _step_between_rows(operand: Operand, s: Contraction) -> int:
    """Elements from one column of B to the next, where B is a load of runs along K; else 0."""
    load = operand.value
    if load.op != "load" or load.fill is not None or load.dtype is not operand.dtype:
        return 0
    step = step_along(operand.kernel, load, s.j[-1])
    return step if isinstance(step, int) and step_along(operand.kernel, load, s.k[-1]) == 1 else 0


def _panel_part(module: Module, operand: Operand, s: Contraction, name: str) -> Part:
    own = {n: INDEX if n != "to" else POINTER for n in ("to", "first", "k0", "depth")}
    return Part(module, operand.kernel, name, own, [*s.g, *s.j[:-1], *s.k[: -s.k_flat]])


def transpose(w: Function, rows: list[X]) -> list[X]:
    """The columns of a square whose side is a power of two."""
    size = len(rows)
    step = size // 2
    while step:
        low = [n if not n & step else size + n - step for n in range(size)]
        high = [n + step if not n & step else size + n for n in range(size)]
        out = list(rows)
        for n in range(size):
            if not n & step:
                out[n] = w.shuffle(rows[n], rows[n + step], low)
                out[n + step] = w.shuffle(rows[n], rows[n + step], high)
        rows, step = out, step // 2
    return rows
