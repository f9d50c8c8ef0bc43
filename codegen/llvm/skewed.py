"""A step of a loop on skewed tiles: a kernel element by element, on a box of its positions.

The entry makes the units `start` to `stop`, rows (vectors of the only axis, where there is one), and of each the
columns that the words after the arguments of any kernel name: the first one, the end, and then by how many turns the
turn is later than that of the arguments. By itself it is a kernel like any other, on all columns;
`runtime/turns_text.py` has what calls it for many turns.

Where all claims about positions hold, the rows of a box share their loads, and neighbours along the lanes are shuffled
out of windows of three vectors; around that interior one vector after the other is checked and masked.
"""

from __future__ import annotations

from collections.abc import Sequence

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

ALL = 1 << 62                   # columns, where a kernel runs by itself
BOX_WORDS = (0, ALL, 0)


def emit_skewed(kernel: Kernel, schedule: Skewed) -> Source:
    """The kernel under a skewed schedule."""
    schedule.check(kernel)
    emitter = _Skewed(kernel, schedule)
    emitter.checked()
    emitter.strip()
    emitter.entry()
    return Source(str(emitter.module), emitter.name, "llvm", schedule.units, facts={"box": BOX_WORDS})


class _Skewed:
    def __init__(self, kernel: Kernel, schedule: Skewed):
        self.kernel, self.schedule = kernel, schedule
        self.module, self.name = Module(), f"kernel_{kernel.name}"
        # the axes around the lanes; the last of them is that of rows
        *self.outside, self.lane = kernel.axes
        self.lanes = schedule.lanes
        # the loads of each buffer that is read a constant way around the place that is written
        apart = {b.name: offsets(kernel, b.name, kernel.stores[0]) for b in kernel.inputs}
        self.windows = {name: found for name, found in apart.items() if found}

    # ---- functions of the module ----------------------------------------------------------------------------------

    def _function(self, suffix: str, *numbers: str) -> tuple[Function, Scope, Sequence[X]]:
        """A function of the kernel's arguments and some numbers; its scope, and the numbers."""
        w = self.module.function(f"{self.name}_{suffix}", {"args": POINTER, **dict.fromkeys(numbers, INDEX)})
        args, *rest = w.parameters
        return w, self._scope(w, args), rest

    def _scope(self, w: Function, args: X) -> Scope:
        pointers, point = {}, {}
        for n, b in enumerate(self.kernel.buffers):
            pointers[b] = w.let(POINTER, f"load ptr, {w.at(args, n, int64)}, align 8")
        for n, size in enumerate(self.kernel.sizes, len(self.kernel.buffers)):
            point[size] = w.load(int64, w.at(args, n, int64))
        if self.schedule.turn in point:
            point[self.schedule.turn] = w.add(point[self.schedule.turn], self._box(w, args, 2))
        return Scope(w, self.kernel, pointers, point)

    def _box(self, w: Function, args: X, n: int) -> X:
        """A word of the box."""
        return w.load(int64, w.at(args, len(self.kernel.buffers) + len(self.kernel.sizes) + n, int64))

    def entry(self) -> None:
        """The function that is called: units of the columns that the box names."""
        w = self.module.function(self.name, {"args": POINTER, "start": INDEX, "stop": INDEX, "scratch": POINTER},
                                 linkage="external")
        args, start, stop, _ = w.parameters
        scope = self._scope(w, args)
        extents = [scope.index(n) for n in self.kernel.axes.values()]
        if not self.outside:
            a, b = w.mul(start, self.lanes), w.min(w.mul(stop, self.lanes), extents[0])
            w.when(w.less(a, b), lambda: w.call(f"{self.name}_strip", None, args, 0, 1, a, b) and None)
            return
        a, b = self._box(w, args, 0), w.min(self._box(w, args, 1), extents[-1])
        ranges: list[Range] = [(start, w.min(stop, extents[0])), *((0, n) for n in extents[1:-1])]

        def around(position: list[Index]) -> None:
            if len(position) == len(ranges) - 1:
                w.call(f"{self.name}_strip", None, args, *position, *ranges[-1], a, b)
                return
            w.loop(*ranges[len(position)], 1, lambda i: around([*position, i]))

        w.when(w.less(a, b), lambda: around([]))

    def checked(self) -> None:
        """Rows `first` to `end`, columns `a` to `b`, one masked vector after the other."""
        w, scope, (*around, first, end, a, b) = self._function("checked", *self.outside[:-1], "first", "end", "a", "b")
        columns = scope.index(self.kernel.axes[self.lane])

        def vector(here: Scope, j: Index) -> None:
            inner = here.enter({self.lane: j}, lane=self.lane, lanes=self.lanes,
                               mask=w.mask_below(j, columns, self.lanes), aligned=True)
            made = [inner.vector(s.value) for s in self.kernel.stores]     # a load may lie where a store goes
            for s, x in zip(self.kernel.stores, made):
                inner.store(s, x)

        def row(i: Index) -> None:
            here = scope.enter(dict(zip(self.outside, [*around, i])))
            here.prepare(self.kernel.stores, self.lanes)
            w.loop(a, b, self.lanes, lambda j: vector(here, j))

        w.loop(first, end, 1, row)

    def strip(self) -> None:
        """The same with the interior trusted."""
        w, scope, (*around, first, end, a, b) = self._function("strip", *self.outside[:-1], "first", "end", "a", "b")
        ranges, trusted = interior(scope)
        columns = scope.index(self.kernel.axes[self.lane])
        for name in self.windows:
            columns = w.min(columns, scope.index(self._lane_extent(name)))
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
        args = w.parameters[0]

        def check(*part: Index) -> None:
            some = w.both(w.less(*part[:2]), w.less(*part[2:]))
            w.when(some, lambda: w.call(f"{self.name}_checked", None, args, *around, *part) and None)

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

    def _lane_extent(self, buffer: str) -> Dim:
        """The columns of a buffer that windows look at."""
        index, shape = self.kernel.stores[0].index, self.kernel.buffers[buffer].shape
        return [n for i, n in zip(index, shape) if not isinstance(i, int)][-1]

    # ---- the interior ---------------------------------------------------------------------------------------------

    def _trusted_rows(self, scope: Scope, position: Sequence[Index], rows: int, left: Index, right: Index,
                      trusted: frozenset[Claim]) -> None:
        """Some rows side by side, whole vectors that need no check."""
        w, stores = scope.w, self.kernel.stores
        here = [scope.enter(dict(zip(self.outside, [*position[:-1], w.add(position[-1], r)])), trusted=trusted)
                for r in range(rows)]
        for h in here:
            h.prepare(stores, self.lanes)
        windows = [_Window(self, here[0], rows, name) for name in self.windows]
        counts = [2 * len(x.wide) for x in windows]

        def vector(j: Index, *state: X) -> list[X]:
            rest = list(state)
            for x, n in zip(windows, counts):
                x.move(j, rest[:n])
                del rest[:n]
            inner = [h.enter({self.lane: j}, lane=self.lane, lanes=self.lanes, aligned=True) for h in here]
            for r, h in enumerate(inner):
                h.known.update({v: x.at(v, r) for x in windows for v in x.offsets})
            # loads first: rows a power of two apart look alike, and a load may lie where a store goes
            made = [[h.vector(s.value) for s in stores] for h in inner]
            for h, values in zip(inner, made):
                for s, value in zip(stores, values):
                    h.store(s, value)
            return [y for x in windows for y in x.state()]

        w.loop(left, right, self.lanes, vector, *(y for x in windows for y in x.start(left)))


class _Window:
    """The loads of a buffer around some rows of a vector, each made once; what moves on with the vector is carried."""

    def __init__(self, emitter: _Skewed, scope: Scope, rows: int, name: str):
        self.scope, self.w, self.lanes, self.offsets = scope, scope.w, emitter.lanes, emitter.windows[name]
        buffer, index = emitter.kernel.buffers[name], emitter.kernel.stores[0].index
        self.dtype = buffer.dtype
        place = expr.substitute(flat_index(buffer, index)[0], {emitter.lane: 0})
        origin = scope.w.at(scope.pointers[buffer.name], scope.index(place), self.dtype)
        lane_place = max((n for n, i in enumerate(index) if not isinstance(i, int)))
        row_place = max((n for n, i in enumerate(index) if not isinstance(i, int) and n != lane_place), default=-1)
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
