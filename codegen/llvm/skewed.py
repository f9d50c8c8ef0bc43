"""Skewed tiles: many turns of a loop whose step reads its own buffer a constant way around the place it writes.

A unit is a block of the outer axis, a phase, and the turns of one pass. Its tiles run through all turns, one behind the
other: turn t writes the array that turn t - 2 was in, `lag` rows and `skew` columns behind turn t - 1. Where all claims
about positions hold, the rows of a tile share their loads, and neighbours along the lanes are shuffled out of a window
of three vectors; around that interior one vector after the other is checked and masked. Each element is computed by the
same operations as step by step.

The arguments, after those of any kernel: the array that is neither written first nor, but for the first pass, read
first; the number of turns; and the phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir import expr
from ...ir.claims import Claim, conditions, entries, is_usual, offsets
from ...ir.expr import Dim
from ...ir.kernel import Kernel, Store, Value, flat_index
from ...ir.schedule import Skewed, Source
from ...ir.types import int64
from .body import Scope
from .types import INDEX, POINTER
from .writer import Function, Index, Module, X

Range = tuple[Index, Index]


def emit_skewed(kernel: Kernel, schedule: Skewed) -> Source:
    """The kernel under a skewed schedule."""
    schedule.check(kernel)
    emitter = _Skewed(kernel, schedule)
    emitter.checked()
    emitter.strip()
    emitter.entry()
    return Source(str(emitter.module), emitter.name, "llvm", schedule.units, facts={"turn": (0, 1, 0)})


class _Skewed:
    def __init__(self, kernel: Kernel, schedule: Skewed):
        self.kernel, self.schedule = kernel, schedule
        self.module, self.name = Module(), f"kernel_{kernel.name}"
        (self.store,) = kernel.stores
        # the axes around the lanes; the last of them is that of rows
        *self.outside, self.lane = kernel.axes
        self.lanes = schedule.lanes
        found = offsets(kernel, schedule.carried, self.store)
        assert found is not None
        self.offsets = found

    # ---- functions of the module ----------------------------------------------------------------------------------

    def _function(self, suffix: str, *numbers: str) -> tuple[Function, Scope, Sequence[X]]:
        """A function that makes a part of one turn from `source` in `target`; its scope, and its further parameters."""
        w = self.module.function(f"{self.name}_{suffix}", {
            "args": POINTER, "source": POINTER, "target": POINTER, "level": INDEX, **dict.fromkeys(numbers, INDEX)})
        args, source, target, level, *rest = w.parameters
        scope = self._scope(w, args, {self.schedule.carried: source, self.store.buffer: target})
        if self.schedule.turn in scope.point:
            scope.point[self.schedule.turn] = w.add(scope.point[self.schedule.turn], level)
        return w, scope, rest

    def _scope(self, w: Function, args: X, given: dict[str, X]) -> Scope:
        pointers, point = dict(given), {}
        for n, b in enumerate(self.kernel.buffers):
            if b not in given:
                pointers[b] = w.let(POINTER, f"load ptr, {w.at(args, n, int64)}, align 8")
        for n, size in enumerate(self.kernel.sizes, len(self.kernel.buffers)):
            point[size] = w.load(int64, w.at(args, n, int64))
        return Scope(w, self.kernel, pointers, point)

    def checked(self) -> None:
        """Rows `first` to `end`, columns `a` to `b`, one masked vector after the other."""
        w, scope, (*around, first, end, a, b) = self._function("checked", *self.outside[:-1], "first", "end", "a", "b")
        columns = scope.index(self.kernel.axes[self.lane])

        def row(i: Index) -> None:
            here = scope.enter(dict(zip(self.outside, [*around, i])))
            here.prepare([self.store], self.lanes)
            w.loop(a, b, self.lanes, lambda j: here.enter(
                {self.lane: j}, lane=self.lane, lanes=self.lanes, mask=w.mask_below(j, columns, self.lanes),
                aligned=True).store(self.store))

        w.loop(first, end, 1, row)

    def strip(self) -> None:
        """The same with the interior trusted."""
        w, scope, (*around, first, end, a, b) = self._function("strip", *self.outside[:-1], "first", "end", "a", "b")
        ranges, trusted = interior(scope)
        columns = scope.index(self.kernel.axes[self.lane])
        low, high = ranges[self.lane]                            # a window is one vector wider on either side
        left = w.mul(w.floordiv(w.add(w.max(low, self.lanes), self.lanes - 1), self.lanes), self.lanes)
        right = w.mul(w.floordiv(w.min(high, w.sub(columns, self.lanes)), self.lanes), self.lanes)
        left = w.min(w.max(a, left), b)
        right = w.max(w.min(b, right), left)
        top: Index = first
        bottom: Index = end
        if self.outside:
            low, high = ranges[self.outside[-1]]
            for axis, at in zip(self.outside, around):
                is_inside = w.both(w.less_equal(ranges[axis][0], at), w.less(at, ranges[axis][1]))
                high = w.select(is_inside, high, low)
            top = w.min(w.max(first, low), end)
            bottom = w.max(w.min(end, high), top)
        args, source, target, level = w.parameters[:4]

        def check(*part: Index) -> None:
            some = w.both(w.less(*part[:2]), w.less(*part[2:]))
            w.when(some, lambda: w.call(f"{self.name}_checked", None, args, source, target, level, *around, *part)
                   and None)

        check(first, top, a, b)
        check(bottom, end, a, b)
        check(top, bottom, a, left)
        check(top, bottom, right, b)
        rows = self.schedule.together if self.outside else 1
        even = w.sub(bottom, w.mod(w.sub(bottom, top), rows))

        def run() -> None:
            w.loop(top, even, rows, lambda i: self._trusted_rows(scope, [*around, i], rows, left, right, trusted))
            if rows > 1:
                w.loop(even, bottom, 1, lambda i: self._trusted_rows(scope, [*around, i], 1, left, right, trusted))

        w.when(w.less(left, right), run)

    # ---- the interior ---------------------------------------------------------------------------------------------

    def _trusted_rows(self, scope: Scope, position: Sequence[Index], rows: int, left: Index, right: Index,
                      trusted: frozenset[Claim]) -> None:
        """Some rows side by side, whole vectors that need no check."""
        w = scope.w
        here = [scope.enter(dict(zip(self.outside, [*position[:-1], w.add(position[-1], r)])), trusted=trusted)
                for r in range(rows)]
        for h in here:
            h.prepare([self.store], self.lanes)
        window = _Window(self, here[0], rows)

        def vector(j: Index, *state: X) -> list[X]:
            window.move(j, state)
            inner = [h.enter({self.lane: j}, lane=self.lane, lanes=self.lanes, aligned=True) for h in here]
            for r, h in enumerate(inner):
                h.known.update({v: window.at(v, r) for v in self.offsets})
            # loads first: rows a power of two apart look alike
            made = [h.vector(self.store.value) for h in inner]
            for h, x in zip(inner, made):
                h.store(self.store, x)
            return window.state()

        w.loop(left, right, self.lanes, vector, *window.start(left))

    # ---- units ----------------------------------------------------------------------------------------------------

    def entry(self) -> None:
        """The function that the runner calls: blocks `start` to `stop` of one phase of one pass."""
        w = self.module.function(self.name, {"args": POINTER, "start": INDEX, "stop": INDEX, "scratch": POINTER},
                                 linkage="external")
        args, start, stop, _ = w.parameters
        scope = self._scope(w, args, {})
        after = len(self.kernel.buffers) + len(self.kernel.sizes)
        other = w.let(POINTER, f"load ptr, {w.at(args, after, int64)}, align 8")
        count, phase = (w.load(int64, w.at(args, after + n, int64)) for n in (1, 2))
        given, first = scope.pointers[self.schedule.carried], scope.pointers[self.store.buffer]

        def turn(t: Index) -> tuple[X, X]:
            """The arrays that turn t of the pass reads and writes."""
            odd = w.convert("trunc", w.lift(t), "i1")
            source = w.select(w.equal(t, 0), given, w.select(odd, first, other))
            return source, w.select(odd, other, first)

        w.loop(start, stop, 1, lambda u: self._unit(scope, args, turn, count, *self._block(scope, u, phase)))

    def _block(self, scope: Scope, unit: Index, phase: Index) -> tuple[Range, Range]:
        """Where a unit begins and ends, and how much these move from turn to turn."""
        w, slope = scope.w, self.schedule.slope
        extent, blocks = scope.index(self.kernel.axes[self.schedule.outer
                                                      or self.lane]), scope.index(self.schedule.units)
        length = w.floordiv(extent, blocks)
        if not self.outside:
            length = w.sub(length, w.mod(length, self.lanes))
        left = w.mul(unit, length)
        is_last = w.equal(w.add(unit, 1), blocks)
        right = w.select(is_last, extent, w.add(left, length))
        outwards = w.select(is_last, 0, slope)                   # of the right end, in phase 1
        is_shrinking = w.equal(phase, 0)
        begin = w.select(is_shrinking, left, right)
        moves = (w.select(is_shrinking, w.select(w.equal(unit, 0), 0, slope), w.sub(0, outwards)),
                 w.select(is_shrinking, w.sub(0, outwards), outwards))
        return (begin, right), moves

    def _unit(self, scope: Scope, args: X, turn: Callable[[Index], tuple[X, X]], count: X, block: Range,
              moves: Range) -> None:
        """All turns of a block: tiles in skewed coordinates, cut to what the block has at each turn."""
        w, s = scope.w, self.schedule
        columns, last = scope.index(self.kernel.axes[self.lane]), w.sub(count, 1)
        fronts = [w.add(x, w.mul(last, w.add(m, s.slope))) for x, m in zip(block, moves)]
        fronts = [w.min(block[0], fronts[0]), w.max(block[1], fronts[1])]

        def along(front: Index, width: int, t: Index, lag: int, low: Index, high: Index) -> Range:
            at = w.sub(front, w.mul(t, lag))
            return w.max(at, low), w.min(w.add(at, width), high)

        def tile(t: Index, row_front: Index, column_front: Index) -> None:
            own = [w.add(x, w.mul(t, m)) for x, m in zip(block, moves)]
            if not self.outside:
                a, b = along(column_front, s.columns, t, s.skew, *own)
                w.when(w.less(a, b), lambda: self._level(scope, args, turn(t), t, (0, 1), (a, b)))
                return
            rows = along(row_front, self._front, t, s.lag, *own)
            a, b = along(column_front, s.columns, t, s.skew, 0, columns)
            some = w.both(w.less(*rows), w.less(a, b))
            w.when(some, lambda: self._level(scope, args, turn(t), t, rows, (a, b)))

        if not self.outside:
            w.loop(*fronts, s.columns, lambda c: w.loop(0, count, 1, lambda t: tile(t, 0, c)))
            return
        width = w.add(columns, w.mul(last, s.skew))
        w.loop(*fronts, self._front, lambda f: w.loop(0, width, s.columns,
                                                      lambda c: w.loop(0, count, 1, lambda t: tile(t, f, c))))

    @property
    def _front(self) -> int:
        """Positions of the outer axis that a tile has: rows, where it is their axis."""
        return self.schedule.rows if len(self.outside) == 1 else 1

    def _level(self, scope: Scope, args: X, arrays: tuple[X, X], t: Index, outer: Range, columns: Range) -> None:
        """One turn of a tile: strips of rows at all positions of the axes around them."""
        w = scope.w
        ranges = [outer, *((0, scope.index(self.kernel.axes[a])) for a in self.outside[1:])]

        def around(position: list[Index]) -> None:
            if len(position) == len(ranges) - 1:
                w.call(f"{self.name}_strip", None, args, *arrays, t, *position, *ranges[-1], *columns)
                return
            w.loop(*ranges[len(position)], 1, lambda i: around([*position, i]))

        around([])


class _Window:
    """The loads of the carried buffer around some rows of a vector, each made once; what moves on with the vector is
    carried.
    """

    def __init__(self, emitter: _Skewed, scope: Scope, rows: int):
        self.scope, self.w, self.lanes, self.offsets = scope, scope.w, emitter.lanes, emitter.offsets
        self.dtype = emitter.store.value.dtype
        buffer = emitter.kernel.buffers[emitter.schedule.carried]
        place = expr.substitute(flat_index(buffer, emitter.store.index)[0], {emitter.lane: 0})
        origin = scope.w.at(scope.pointers[buffer.name], scope.index(place), self.dtype)
        lane_place = max((n for n, i in enumerate(emitter.store.index) if not isinstance(i, int)))
        row_place = max((n for n, i in enumerate(emitter.store.index) if not isinstance(i, int) and n != lane_place),
                        default=-1)
        # a load for a row -> the memory row it is in, and how far along
        self.keys: dict[tuple[Value, int], tuple[Dim, int]] = {}
        for v, apart in self.offsets.items():
            steps = [a * n for d, (a, n) in enumerate(zip(apart, buffer.strides)) if d != lane_place]
            row = sum(steps[1:], steps[0]) if steps else 0
            for r in range(rows):
                down = r * buffer.strides[row_place] if row_place >= 0 else 0
                self.keys[v, r] = row + down, apart[lane_place]
        self.pointers = {row: scope.w.at(origin, scope.index(row), self.dtype) for row, _ in self.keys.values()}
        self.wide = list(dict.fromkeys(row for row, along in self.keys.values() if 0 < abs(along) <= self.lanes))

    def _load(self, row: Dim, at: Index) -> X:
        return self.w.load(self.dtype, self.w.at(self.pointers[row], at, self.dtype), self.lanes)

    def start(self, j: Index) -> list[X]:
        """What is carried into the first vector: of each row that is read sideways, the vector before and the vector
        itself.
        """
        return [self._load(row, at) for row in self.wide for at in (self.w.sub(j, self.lanes), j)]

    def move(self, j: Index, state: Sequence[X]) -> None:
        """Stand at a vector."""
        self.j = j
        self.known: dict[tuple[Dim, int], X] = {}
        self.windows = {row: (state[2 * n], state[2 * n + 1], self._load(row, self.w.add(j, self.lanes)))
                        for n, row in enumerate(self.wide)}

    def at(self, v: Value, r: int) -> X:
        """What a load gives for row r."""
        key = self.keys[v, r]
        if key not in self.known:
            self.known[key] = self._at(*key)
        return self.known[key]

    def _at(self, row: Dim, along: int) -> X:
        if row not in self.windows or abs(along) > self.lanes:
            return self._load(row, self.w.add(self.j, along))
        before, here, after = self.windows[row]
        if along == 0:
            return here
        pair, start = ((before, here), self.lanes + along) if along < 0 else ((here, after), along)
        return self.w.shuffle(*pair, range(start, start + self.lanes))

    def state(self) -> list[X]:
        """What is carried into the next vector."""
        return [x for row in self.wide for x in self.windows[row][1:]]


def interior(scope: Scope) -> tuple[dict[str, Range], frozenset[Claim]]:
    """For each axis from where to where what its index entries and conditions claim holds, and these claims."""
    w, kernel = scope.w, scope.kernel
    users: tuple[Value | Store, ...] = (*kernel.values, *kernel.stores)
    claims: dict[Claim, tuple[Dim, ...]] = {e: needs for x in users for e, needs in entries(kernel, x)}
    for v in kernel.values:
        if v.op == "select":
            asked = conditions(v.args[0]) or []
            if asked and all(_axis(kernel, n) and is_usual(n, kernel.axes) for _, n in asked):
                claims.update((c, (n,)) for c, n in asked)
                claims.setdefault(v.args[0], ())          # a conjunction asks nothing more than its parts
    claims = {c: needs for c, needs in claims.items() if all(_axis(kernel, n) for n in needs)}
    ranges: dict[str, Range] = {a: (0, scope.index(n)) for a, n in kernel.axes.items()}
    for need in dict.fromkeys(n for needs in claims.values() for n in needs):
        axis = _axis(kernel, need)
        assert axis is not None
        along = expr.static(expr.coefficient(need, axis))
        rest = scope.index(need - along * kernel.axis(axis))
        low, high = ranges[axis]
        ranges[axis] = (w.max(low, w.sub(0, rest)), high) if along == 1 else (low, w.min(high, w.add(rest, 1)))
    return ranges, frozenset(claims)


def _axis(kernel: Kernel, need: Dim) -> str | None:
    """The one axis that it depends on, by a step of 1 or -1."""
    axes = [a for a in kernel.axes if a in expr.symbols(need)]
    return axes[0] if len(axes) == 1 and expr.coefficient(need, axes[0]) in (1, -1) else None
