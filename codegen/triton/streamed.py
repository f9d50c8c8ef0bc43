"""Triton source of a kernel that streams (attention, its gradient): a program holds some rows, and tiles of the stream
go by. Scores are products on tiles, weights are made of them in registers, and are multiplied into the results.

With a softmax, the maximum and the sum of a row run along, and what is summed already is rescaled when the maximum
grows (Milakov and Gimelshein 2018, Dao et al. 2022). Where conditions on positions bound the stream (a causal mask),
the loop is cut: tiles without any weight are left out, those within the bounds need no mask. Exponents of softmaxes are
differences to a maximum, so that `tl.exp`, whose error grows with its argument, is exact where it counts. Numbers of a
row or of a position that weights are divided by are inverted once.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.claims import conditions
from ...ir.expr import Dim, coefficient, is_less, product, static
from ...ir.gpu import rounded_up
from ...ir.gpu_contraction import LEAST_SIDE, GpuStreamed, blocks, narrow_source, operand_of
from ...ir.kernel import Kernel, Value
from ...ir.schedule import Source
from ...ir.streamed import Product, Softmax, roles
from ...ir.types import float64
from .contraction import given_as, load_before, operand, precision, source_of, zeros_outside
from .groups import Group, open_group
from .module import Function
from .names import TYPES
from .stream_range import Segment, segments
from .tile import Tile

LOWEST = {"f32": "-3.4028234663852886e38", "f64": "-1.7976931348623157e308"}


def emit_streamed(kernel: Kernel, s: GpuStreamed) -> Source:
    """The text of a kernel that streams."""
    s.check(kernel)
    return _Streamed(kernel, s).source()


class _Streamed:
    """One kernel; the methods write one part each."""

    def __init__(self, kernel: Kernel, s: GpuStreamed):
        self.kernel, self.s, self.roles = kernel, s, roles(kernel, s.row, s.stream)
        places = product(kernel.axes[a] for a in self.roles.g)
        self.f = Function(kernel, [places, kernel.axes[s.row], kernel.axes[s.stream]])
        self.dtype = self.roles.inner[0].total.dtype
        self.height, self.length = kernel.axes[s.row], kernel.axes[s.stream]
        self.dropped = {x.condition for x in self.roles.limits if x.condition is not None}
        self.needed = self.made_on_tiles()
        self.inverses: dict[Value, str] = {}           # of numbers of rows

    def made_on_tiles(self) -> set[Value]:
        """All that weights are made of, scores excepted."""
        softmax, totals = self.roles.softmax, {p.total for p in self.roles.inner}
        todo = [p.left for p in self.roles.outer] + ([softmax.scores] if softmax else [])
        found: set[Value] = set()
        while todo:
            v = todo.pop()
            if v not in found:
                found.add(v)
                todo += [] if v in totals or v.op == "reduce" else v.inputs
        return found

    def source(self) -> Source:
        """The finished module."""
        f, s = self.f, self.s
        count = blocks(self.height, s.tile[0])
        self.open_rows(f.program(), count)
        self.load_rows()
        self.start_sums()
        for segment in segments(f, self.kernel, s, self.roles, self.place, self.first):
            start = f.names.fresh("k0")
            with f.indented(f"for {start} in range({segment.start}, {segment.stop}, {s.tile[1]}):"):
                self.step(start, segment)
        self.finish()
        return f.source(count * product(self.kernel.axes[a] for a in self.roles.g), s)

    # ---- before the loop

    def open_rows(self, program: str, count: Dim) -> None:
        """Which rows of which place this program has; those that see most of the stream come first."""
        f, size = self.f, self.s.tile[0]
        many = f.spell(count)
        many = many if many.isidentifier() or many.isdigit() else f"({many})"
        turn = f"{program} % {many}" if self.roles.g else program
        grows = any(coefficient(x.claim, self.s.stream) == -1 for x in self.roles.limits)
        number = f.let("block", f"{many} - 1 - {turn}" if grows else turn)
        self.place = []
        if self.roles.g:
            self.place = [open_group(f, self.roles.g, f.let("place", f"{program} // {many}"), 1, None, 2)]
        self.first = f.let("first", f"{number} * {size}")
        self.rows = open_group(f, (self.s.row,), self.first, size, 0, 2)
        self.base = Tile(f, [*self.place, self.rows], 2)

    def load_rows(self) -> None:
        """What belongs to the rows alone: the left sides of scores, numbers for each row."""
        known_later = {a for a in self.kernel.axes if a not in (*self.roles.g, self.s.row)}
        for p in self.roles.outer:
            load_before(self.base, p.left, tuple(known_later))
        softmax = self.roles.softmax
        for by in dict.fromkeys(map(self.divisor, self.kernel.values)):
            if by is not None and self.s.stream not in by.axes and (softmax is None or by is not softmax.norm):
                self.inverses[by] = self.inverse(self.base, by)
        self.lefts = []
        for p in self.roles.inner:
            depth = self.whole(p.axis, 1)
            self.lefts.append(self.operand(self.base.inside(depth), p.left, p, (p.axis,)))

    def whole(self, axis: str, dim: int) -> Group:
        """All positions of a short axis."""
        extent = self.kernel.axes[axis]
        assert isinstance(extent, int)
        return open_group(self.f, (axis,), "", max(LEAST_SIDE, rounded_up(extent)), dim, 2)

    def operand(self, tile: Tile, v: Value, p: Product, depth: tuple[str, ...]) -> str:
        """A side of a product, as tensor cores are given it."""
        wanted = operand_of(p, self.roles)
        v = source_of(v, wanted)
        x = given_as(self.f, operand(tile, v, depth), v.dtype, wanted)
        return x if v.dtype is wanted else self.f.let("rounded", x)

    def start_sums(self) -> None:
        """Zeros for the results; for a softmax, the maximum and the sum of each row."""
        f, rows, d = self.f, self.s.tile[0], TYPES[self.dtype.name]
        self.sums: list[str] = []
        for p in self.roles.outer:
            columns = max(LEAST_SIDE, rounded_up(static(self.kernel.axes[p.column])))
            self.sums.append(f.let(f"sum_{p.column}", f"tl.zeros([{rows}, {columns}], {d})"))
        if self.roles.softmax is not None:
            self.peak = f.let("peak", f"tl.full([{rows}, 1], {LOWEST[self.dtype.name]}, {d})")
            self.norm = f.let("norm", f"tl.zeros([{rows}, 1], {d})")

    # ---- a tile of the stream

    def step(self, start: str, segment: Segment) -> None:
        """One tile of the stream."""
        f, s, softmax = self.f, self.s, self.roles.softmax
        across = open_group(f, (s.stream,), start, s.tile[1], 1, 2, segment.is_whole)
        down = open_group(f, (s.stream,), start, s.tile[1], 0, 2, segment.is_whole)
        tile = self.base.inside(across)
        read: dict[object, str] = {}
        for left, p in zip(self.lefts, self.roles.inner):
            right = self.operand(Tile(f, [*self.place, self.whole(p.axis, 0), across], 2), p.right, p, (p.axis,))
            read[operand_of(p, self.roles), self.memory_of(p.right, p.axis)] = right
            tile.known[p.total] = f.let("scores", self.product(p, left, right))
        self.higher = self.scale = ""
        self.weigh(tile, segment, across)
        for n, p in enumerate(self.roles.outer):
            weights = self.weights(tile, p)
            right = read.get((operand_of(p, self.roles), self.memory_of(p.right, p.column)), "")
            if right:
                right = f.let("weighed", f"tl.trans({right})")
            else:
                beside = Tile(f, [*self.place, down, self.whole(p.column, 1)], 2)
                right = self.operand(beside, p.right, p, (s.stream,))
            total = self.sums[n]
            f.do(f"{total} = {self.product(p, weights, right, f'{total} * {self.scale}' if softmax else total)}")
        if softmax is not None:
            f.do(f"{self.peak} = {self.higher}")

    def memory_of(self, v: Value, axis: str) -> object:
        """What tells loads of the same memory, be they named along one axis or another; for others, themselves."""
        load = narrow_source(v)
        if load.op != "load" or any(isinstance(i, Value) for i in load.index) or load.fill is not None:
            return v
        names = tuple(str(i) if i != self.kernel.axis(axis) else "*" for i in load.index)
        return load.buffer, names, self.kernel.axes[axis]

    def product(self, p: Product, left: str, right: str, total: str = "") -> str:
        """A product on tiles, added to a total."""
        given = f", {total}" if total else ""
        return f"tl.dot({left}, {right}{given}{precision(operand_of(p, self.roles), self.s.precision)})"

    def weigh(self, tile: Tile, segment: Segment, across: Group) -> None:
        """Makes known what weights are made of."""
        inverses: dict[Value, str] = {}                # of positions
        for v in self.specials(segment):
            softmax = self.roles.softmax
            if softmax is not None and v is softmax.weights:
                self.online(tile, softmax, across)
            elif v.op == "exp":
                tile.known[v] = tile.name(v, f"tl.exp({tile.value(v.args[0])})")
            elif v.op == "select":
                tile.known[v] = tile.value(v.args[1])
            elif softmax is not None and v.args[1] is softmax.norm:
                tile.known[v] = tile.value(v.args[0])
            else:
                by = v.args[1]
                if by not in self.inverses and by not in inverses:
                    inverses[by] = self.inverse(tile, by)
                tile.known[v] = tile.name(v, f"{tile.value(v.args[0])} * {(self.inverses | inverses)[by]}")

    def divisor(self, v: Value) -> Value | None:
        """What a weight is divided by, if that is a number of a row or of a position."""
        if v.op != "div" or v.dtype is not self.dtype or v not in self.needed:
            return None
        by = v.args[1]
        return None if by.op == "const" or {self.s.row, self.s.stream} <= {*by.axes} else by

    def inverse(self, tile: Tile, v: Value) -> str:
        """Names the inverse of a value."""
        x = tile.value(v)
        return self.f.let("inverse", f"1.0 / {x}" if self.dtype is float64 else f"tl.div_rn(1.0, {x})")

    def specials(self, segment: Segment) -> Iterator[Value]:
        """Values that are written otherwise than elsewhere: exponentials, divisions, conditions known to hold."""
        for v in self.kernel.values:
            if v not in self.needed or not {self.s.row, self.s.stream} <= set(v.axes):
                continue
            asked = {c for c, _ in conditions(v.args[0]) or []} if v.op == "select" and segment.is_inside else set()
            is_exponent = v.op == "exp" and v.args[0].op == "sub" and v.dtype is self.dtype
            if is_exponent or self.divisor(v) is not None or asked and asked <= self.dropped:
                yield v

    def online(self, tile: Tile, softmax: Softmax, across: Group) -> None:
        """The softmax's weights, relative to the largest score so far."""
        f = self.f
        scores = tile.value(softmax.scores)
        if across.mask:
            scores = f.let("seen", f"tl.where({across.mask}, {scores}, float('-inf'))")
        highest = f"tl.reduce({scores}, 1, {f.use('nan_max')}, keep_dims=True)"
        self.higher = f.let("higher", f"tl.maximum({self.peak}, {highest}, propagate_nan=tl.PropagateNan.ALL)")
        weights = tile.known[softmax.weights] = f.let("weights", f"tl.exp({scores} - {self.higher})")
        self.scale = f.let("scale", f"tl.exp({self.peak} - {self.higher})")
        f.do(f"{self.norm} = {self.norm} * {self.scale} + tl.sum({weights}, 1, keep_dims=True)")

    def weights(self, tile: Tile, p: Product) -> str:
        """The left side of a result, zero where there is no position."""
        wanted, left = operand_of(p, self.roles), narrow_source(p.left)
        left = left if left.dtype is wanted else p.left
        x = tile.spread(left, (self.s.row, self.s.stream))
        if self.roles.softmax is None or x != tile.known[self.roles.softmax.weights]:
            x = zeros_outside(tile, left, x, (self.s.stream,))
        return x if left.dtype is wanted else f"{x}.to({TYPES[wanted.name]})"

    # ---- behind the loop

    def finish(self) -> None:
        """What follows the sums, and the stores."""
        if self.roles.softmax is not None:
            self.finish_softmax(self.roles.softmax)
        base = {*self.roles.g, self.s.row}
        columns: dict[str, Tile] = {}
        for store in self.kernel.stores:
            column = next((a for a in store.axes if a not in base), "")
            if column not in columns:
                columns[column] = self.base.inside(*([self.whole(column, 1)] if column else []))
                for n, p in enumerate(self.roles.outer):
                    if p.column == column:
                        columns[column].known[p.total] = self.total(n)
            columns[column].store(store)

    def finish_softmax(self, softmax: Softmax) -> None:
        """The maximum and the sum of a row. A row that sees nothing of a stream is NaN."""
        f, lowest = self.f, LOWEST[self.dtype.name]
        sees = f"{self.norm} != 0" if is_less(0, self.length) else f"({self.norm} != 0) | ({f.spell(self.length)} == 0)"
        self.nothing = f.let("nothing", f"tl.where({sees}, 0.0, float('nan')).to({TYPES[self.dtype.name]})")
        f.do(f"{self.norm} += {self.nothing}")
        behind = [v for v in self.kernel.values if self.s.stream not in v.axes and v.op != "reduce"]
        read = [x for v in behind for x in v.inputs] + [x for s in self.kernel.stores for x in s.inputs]
        if softmax.peak in read:
            text = f"tl.where({self.peak} == {lowest}, float('-inf'), {self.peak})"
            self.base.known[softmax.peak] = f.let("highest", text)
        if softmax.norm is not None:
            self.base.known[softmax.norm] = self.norm

    def total(self, n: int) -> str:
        """A finished result."""
        x, d = self.sums[n], self.dtype
        if self.roles.softmax is None:
            return x
        if not self.roles.divided[n]:
            return self.f.let("result", f"{x} + {self.nothing}")
        norm = self.norm if is_less(0, self.length) else f"tl.where({self.f.spell(self.length)} == 0, 1.0, {self.norm})"
        return self.f.let("result", f"{x} / {norm}" if d is float64 else f"tl.div_rn({x}, {norm})")
