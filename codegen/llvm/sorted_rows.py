"""Sorted rows: a loop over rows, each of which packs its words in scratch, sorts them, and runs the rest on them."""

from __future__ import annotations

from collections.abc import Callable

from ...ir import expr
from ...ir.expr import Dim
from ...ir.kernel import Kernel, KernelBuilder
from ...ir.schedule import Source
from ...ir.sorted_rows import SORTED, SortedRows, Sorting, take_apart
from ...ir.sorting import POSITION_BITS, packed
from ...ir.types import int64, uint8, uint64
from . import radix
from .body import Scope, open_entry
from .nest import Nest
from .rows import Units
from .unroll import unroll
from .writer import Index, Module, X

LANES = 16


def emit_sorted_rows(kernel: Kernel, schedule: SortedRows) -> Source:
    """The kernel under a schedule of sorted rows."""
    schedule.check(kernel)
    module = Module()
    name = f"kernel_{kernel.name}"
    w, scope, start, stop, scratch = open_entry(module, kernel, name)
    sorting, rest = take_apart(kernel)
    after = schedule.after
    scope.kernel = unroll(rest, after.unrolled)
    nest = Nest(scope.kernel, after.order, after.vector, after.lanes, scratch)
    rows = RowSorter(kernel, sorting, scratch, nest.reserve)
    units = _SortedUnits(scope, schedule, nest, rows)
    if after.parallel:
        units.run(start, stop)
    else:
        w.when(w.less(start, stop), lambda: units.one(scope))
    return Source(str(module), name, "llvm", schedule.units, schedule.grain, nest.scratch_bytes)


class _SortedUnits(Units):
    def __init__(self, scope: Scope, schedule: SortedRows, nest: Nest, rows: RowSorter):
        super().__init__(scope, schedule.after, nest)
        self.rows = rows

    def one(self, scope: Scope) -> None:
        """A row: the rest reads what was sorted."""
        inner = scope.enter({})
        inner.pointers = {**scope.pointers, SORTED: self.rows.sort(scope)}
        inner.prepare(self.kernel.stores)
        super().one(inner)


class RowSorter:
    """Sorts rows of one argsort in two runs of scratch, which `reserve` gives the places of."""

    def __init__(self, kernel: Kernel, sorting: Sorting, scratch: X, reserve: Callable[[Dim], Dim]):
        self.kernel, self.sorting, self.scratch = kernel, sorting, scratch
        self.extent = kernel.axes[sorting.axis]
        longest = expr.maximum(self.extent, sorting.wanted(kernel) or 0)
        run: Dim = (longest + 2 * LANES) * (8 * sorting.words)
        self.places: tuple[Dim, ...] = (reserve(run), reserve(run), reserve(radix.counter_bytes(sorting.key_bits)))
        k = KernelBuilder(kernel.name, kernel.axes)
        self.key = k.cast(sorting.key, uint64)
        self.position = k.cast(k.index(k.axis(sorting.axis)), uint64)
        operand, direction = sorting.argsort.args[0], sorting.argsort.combine
        self.word = packed(k, operand, self.position, direction) if sorting.words == 1 else None

    def sort(self, scope: Scope) -> X:
        """Where the words of the row lie in order; the row's axes are bound in the scope."""
        w = scope.w
        first, second, counters = (w.at(self.scratch, scope.index(p), uint8) for p in self.places)
        n = scope.index(self.extent)
        self._pack(scope, first, n)
        return radix.sort_words(w, first, second, counters, w.lift(n), self.sorting.key_bits, self.sorting.words,
                                self.sorting.wanted(self.kernel))

    def position_at(self, scope: Scope, words: X, place: Dim) -> X:
        """The position of what is at a place among the sorted words."""
        w = scope.w
        word = w.load(uint64, w.at(words, w.mul(scope.index(place), self.sorting.words), uint64))
        return word if self.sorting.words > 1 else w.binary("and", word, (1 << POSITION_BITS) - 1)

    def _pack(self, scope: Scope, run: X, n: Index) -> None:
        """The words of the row, in the order of their positions."""
        w, axis = scope.w, self.sorting.axis

        def turn(i: Index, mask: X | None = None) -> None:
            inner = scope.enter({axis: i}, lane=axis, lanes=LANES, mask=mask, aligned=True)
            if self.word is not None:
                return w.store(inner.vector(self.word), w.at(run, i, int64))
            pairs = [x for lane in range(LANES) for x in (lane, LANES + lane)]
            w.store(w.shuffle(inner.vector(self.position), inner.vector(self.key), pairs),
                    w.at(run, w.mul(i, 2), int64))

        scope.prepare([self.word or self.key])
        even = w.sub(n, w.mod(n, LANES))
        w.loop(0, even, LANES, turn)
        w.when(w.less(even, n), lambda: turn(even, w.mask_below(even, n, LANES)))
