"""Serial: each reduction, scan and argsort is computed at all its points into scratch, in order, then each store runs.
Always legal.

It is what remains for kernels whose dependences fit no nest of loops (scans along two axes, scatters that may meet
themselves): one thread, one element after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir import expr
from ...ir.expr import Dim
from ...ir.kernel import Kernel, Value
from ...ir.scalar import COMBINE
from ...ir.schedule import Serial, Source
from ...ir.sorted_rows import sorting_of
from ...ir.types import uint8
from . import scalar
from .body import Scope, open_entry
from .sorted_rows import RowSorter
from .writer import Index, Module, X


def emit_serial(kernel: Kernel, schedule: Serial) -> Source:
    """The kernel, one element after the other."""
    module = Module()
    name = f"kernel_{kernel.name}"
    w, scope, start, stop, scratch = open_entry(module, kernel, name)
    writer = _Serial(kernel, scratch)
    w.when(w.less(start, stop), lambda: writer.run(scope))
    return Source(str(module), name, "llvm", 1, 1, writer.bytes)


class _Serial:
    def __init__(self, kernel: Kernel, scratch: X):
        self.kernel, self.scratch = kernel, scratch
        self.bytes: Dim = 0
        self.places: dict[Value, Dim] = {}

    def run(self, scope: Scope) -> None:
        for v in self.kernel.values:
            if v.op in ("reduce", "scan"):
                self._materialise(scope, v)
            elif v.op == "argsort":
                self._sort(scope, v)
        for s in self.kernel.stores:
            def write(point: Scope, s=s) -> None:
                self._load_inputs(point, s.inputs)
                point.store(s)
            self._loops(scope, s.axes, write)

    def _loops(self, scope: Scope, axes: Sequence[str], body: Callable[[Scope], None]) -> None:
        if not axes:
            return body(scope.enter({}))

        def turn(i: Index) -> None:
            self._loops(scope.enter({axes[0]: i}), axes[1:], body)

        scope.w.loop(0, scope.index(self.kernel.axes[axes[0]]), 1, turn)

    def _pointer(self, scope: Scope, v: Value) -> X:
        """The element of a value in scratch at a point of its axes."""
        w, flat = scope.w, 0
        for a in v.axes:
            flat = w.add(w.mul(flat, scope.index(self.kernel.axes[a])), scope.point[a])
        return w.at(w.at(self.scratch, scope.index(self.places[v]), uint8), flat, v.dtype)

    def _load_inputs(self, scope: Scope, wanted: Sequence[Value]) -> None:
        """Make the values in scratch that these are made of known at a point."""
        seen: set[Value] = set()
        todo = list(wanted)
        while todo:
            v = todo.pop()
            if v in seen:
                continue
            seen.add(v)
            if v in self.places:
                scope.known[v] = scope.w.load(v.dtype, self._pointer(scope, v))
            else:
                todo += v.inputs

    def _materialise(self, scope: Scope, v: Value) -> None:
        operand, core = v.args[0], COMBINE[v.combine][0]
        identity = scope.w.number(COMBINE[v.combine][1](v.dtype), v.dtype)

        def start(point: Scope) -> None:
            point.w.store(identity, self._pointer(point, v))

        def combine(point: Scope) -> None:
            self._load_inputs(point, [operand])
            before = self._before(point, v)
            x = scalar.emit(point.w, core, (before, point.value(operand)), v.dtype, v.dtype)
            point.w.store(x, self._pointer(point, v))

        self._enter(v)
        if v.op == "reduce":
            self._loops(scope, v.axes, start)
        self._loops(scope, [a for a in self.kernel.axes if a in (*v.axes, *v.over)], combine)

    def _enter(self, v: Value) -> None:
        self.places[v] = self._reserve(v.dtype.itemsize * expr.product(self.kernel.axes[a] for a in v.axes))

    def _reserve(self, size: Dim) -> Dim:
        """The place of so many fresh bytes of scratch."""
        start, self.bytes = self.bytes, self.bytes + expr.floordiv(size + 63, 64) * 64
        return start

    def _sort(self, scope: Scope, v: Value) -> None:
        """Row by row, the positions that are asked for."""
        sorting = sorting_of(self.kernel, v)
        sorter = RowSorter(self.kernel, sorting, self.scratch, self._reserve)
        self._enter(v)
        rows = sorting.row_axes
        place = v.index[0]
        assert not isinstance(place, Value)

        def row(point: Scope) -> None:
            self._load_inputs(point, [sorting.key])
            words = sorter.sort(point)
            self._loops(point, [a for a in v.axes if a not in rows], lambda inner: inner.w.store(
                sorter.position_at(inner, words, place), self._pointer(inner, v)))

        self._loops(scope, rows, row)

    def _before(self, scope: Scope, v: Value) -> X:
        """What was combined so far: of a scan, the element before, or the identity at the first."""
        w = scope.w
        if v.op == "reduce":
            return w.load(v.dtype, self._pointer(scope, v))
        axis = v.over[0]
        at = w.lift(scope.point[axis])
        before = scope.enter({axis: w.sub(at, 1)})
        return w.when(w.less(0, at), lambda: w.load(v.dtype, self._pointer(before, v)),
                      lambda: w.number(COMBINE[v.combine][1](v.dtype), v.dtype))[0]
