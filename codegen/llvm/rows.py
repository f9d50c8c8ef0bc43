"""Rows: a loop over units (positions of the parallel axes, blocks of the vector axis), and inside what a unit needs,
as sweeps.
"""

from __future__ import annotations

from ...ir import expr
from ...ir.kernel import Kernel
from ...ir.schedule import Rows, Source
from .body import Scope, open_entry
from .nest import Nest
from .unroll import neighbours_of, unroll
from .writer import Index, Module, X


def emit_rows(kernel: Kernel, schedule: Rows) -> Source:
    """The kernel under a rows schedule."""
    schedule.check(kernel)
    module = Module()
    name = f"kernel_{kernel.name}"
    w, scope, start, stop, scratch = open_entry(module, kernel, name)
    scope.kernel = unroll(kernel, schedule.unrolled)
    nest = Nest(scope.kernel, schedule.order, schedule.vector, schedule.lanes, scratch,
                neighbours=bool(neighbours_of(kernel, schedule.unrolled)))
    scope.prepare(scope.kernel.stores)
    w.when(_is_needed(scope, kernel), lambda: Units(scope, schedule, nest).run(start, stop))
    return Source(str(module), name, "llvm", schedule.units, schedule.grain, nest.scratch_bytes)


def _is_needed(scope: Scope, kernel: Kernel) -> X | bool:
    """A copy need not run where its output was given the memory of its input."""
    load, store = kernel.values[0], kernel.stores[0]
    if len(kernel.values) > 1 or len(kernel.stores) > 1 or store.value is not load or load.op != "load":
        return True
    old, new = kernel.buffers[load.buffer], kernel.buffers[store.buffer]
    if load.index != store.index or old.shape != new.shape:
        return True
    return scope.w.compare("ne", scope.pointers[old.name], scope.pointers[new.name])


class Units:
    """The loop over the units of a kernel under a rows schedule."""

    def __init__(self, scope: Scope, schedule: Rows, nest: Nest):
        self.scope, self.schedule, self.nest = scope, schedule, nest
        self.kernel = scope.kernel

    def run(self, start: X, stop: X) -> None:
        """The units from start to stop."""
        parallel = self.schedule.parallel
        if parallel:
            return self._walk(start, stop)
        if self.schedule.block:                      # neighbouring blocks are one run
            self._set_lanes(self.scope, start, stop)
        self.one(self.scope)

    def one(self, scope: Scope) -> None:
        """What is done for a unit, whose axes are bound."""
        self.nest.region(scope, self.kernel.stores)

    def _set_lanes(self, scope: Scope, first: Index, last: Index) -> None:
        """The vector axis runs from block to block."""
        w, block = scope.w, self.schedule.block
        extent = scope.index(self.kernel.axes[self.schedule.vector])
        self.nest.lane_range = (w.mul(first, block), w.min(w.mul(last, block), extent))

    def _walk(self, start: X, stop: X) -> None:
        """Unit after unit, the positions of the axes counted along, the last one fastest."""
        scope, w, block = self.scope, self.scope.w, self.schedule.block
        extents = [self.kernel.axes[a] for a in self.schedule.parallel]
        if block:
            extents.append(expr.floordiv(self.kernel.axes[self.schedule.vector] + block - 1, block))
        bounds = [scope.index(n) for n in extents]
        first: list[Index] = []
        rest: Index = start
        for n in reversed(bounds[1:]):
            n = w.max(n, 1)                          # an empty axis leaves no units, and nothing to divide
            first.insert(0, w.mod(rest, n))
            rest = w.floordiv(rest, n)
        first.insert(0, rest)

        def unit(u: X, *position: X) -> tuple:
            inner = scope.enter(dict(zip(self.schedule.parallel, position)))
            if block:
                self._set_lanes(inner, position[-1], w.add(position[-1], 1))
            self.one(inner)
            return self._following(position, bounds)

        w.loop(start, stop, 1, unit, *first)

    def _following(self, position: tuple[X, ...], bounds: list[Index]) -> tuple:
        w = self.scope.w
        out: list[X] = []
        carry: X | None = None                            # None: the innermost position, which always moves
        wraps: X | None
        for at, n in zip(reversed(position), reversed(bounds)):
            up = w.add(at, 1 if carry is None else w.convert("zext", carry, "i64"))
            wraps = w.compare("eq", up, n) if len(out) < len(position) - 1 else None
            out.insert(0, up if wraps is None else w.select(wraps, 0, up))
            carry = wraps
        return tuple(out)
