"""Choosing how a kernel runs on a CPU, from its axes: `schedule(kernel, target)` always finds a legal schedule.

The axis that runs in vector lanes is chosen by a small cost model (contiguous, strided and scalar accesses,
operations in lanes or not); the other choices follow from which axes are reduced, scanned or scattered over. What
decides the order of a reduction (the vector axis, its lanes) depends on the kernel alone, so that results have the
same bits on every machine and for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..ir import expr
from ..ir.errors import VerifyError
from ..ir.expr import Expr
from ..ir.kernel import Kernel, Store, Value, flat_index, pair_part
from ..ir.product_rows import ProductRows
from ..ir.scalar import CORE
from ..ir.schedule import SIFTED, Rows, Schedule, Serial, independent_axes
from ..ir.sorted_rows import SortedRows, sorts, take_apart
from ..ir.target import Target
from . import contraction, jam, streamed
from .product_rows import tiled
from .walks import USUAL_SIZE, WRITTEN_OUT, usual

MOST_WRITTEN = 600              # values of a kernel with axes written out
# lanes for so much arithmetic: four vectors of f32 hide each other's latencies
WAVES = ((150, 64), (400, 32), (math.inf, 16))
# lanes of neighbours that are written out, for windows of so many taps: of so many sums at once
TOGETHER = ((16, 256), (math.inf, 128))
SHORT = 2048                    # points: below, a kernel has 16 lanes
SHORT_LOOPS = 1.5               # times dearer than small axes written out
COLUMNS = 4                     # times wider where loops run down columns, so that memory is read in longer runs
UNIT_ELEMENTS = 2048            # of a block of a long vector axis
CHUNK_NANOSECONDS = 15_000      # that one thread should have to do at least
SORT_NANOSECONDS = 10.0         # an element, about
GATHER, SCATTER = 4.0, 6.0      # an element of a strided access, in scalar additions
VECTOR = 1 / 16
MOST_ALTERNATIVES = 4           # that are worth measuring


def schedule(kernel: Kernel, target: Target) -> Schedule:
    """A legal schedule, the best that is known."""
    found = contraction.find(kernel)
    if found is not None:
        tiny = rows(kernel) if contraction.is_tiny(kernel, found) else None
        return tiny or contraction.schedule(kernel, found, target)
    streams = streamed.match(kernel)
    if streams is not None:
        return streamed.schedule(kernel, *streams, target)
    of_product = product_rows(kernel, target)
    if of_product is not None:
        return of_product
    return (sorted_rows(kernel) if sorts(kernel) else rows(kernel)) or Serial()


def product_rows(kernel: Kernel, target: Target) -> ProductRows | None:
    """A product, and row by row what goes on with it while it is in the cache; None where that is not legal."""
    found = tiled(kernel, target)
    if found is None:
        return None
    product, rest = found
    after = rows(rest, tuple(a for a in rest.axes if a in (*product.g, *product.i)))
    chosen = None if after is None else ProductRows(product.units, product.grain, product, replace(after, grain=1))
    return chosen if chosen is not None and is_legal(chosen, kernel) else None


def sorted_rows(kernel: Kernel) -> SortedRows | None:
    """A row after the other, what comes after its argsort in lanes; None where that is not legal."""
    if len(sorts(kernel)) > 1:
        return None
    sorting, rest = take_apart(kernel)
    after = rows(rest, sorting.row_axes)
    if after is None:
        return None
    units = expr.product(kernel.axes[a] for a in sorting.row_axes)
    nanoseconds = SORT_NANOSECONDS * usual(kernel.axes[sorting.axis]) + 1.0
    chosen = SortedRows(units, max(1, math.ceil(CHUNK_NANOSECONDS / nanoseconds)), replace(after, units=units, grain=1))
    return chosen if is_legal(chosen, kernel) else None


def rows(kernel: Kernel, units: tuple[str, ...] | None = None) -> Rows | None:
    """The best legal rows schedule, with these axes as units (None: any); None if there is none."""
    shape = _Shape(kernel)
    if units is not None:
        shape.cut_only(set(units))
    best: tuple[float, Rows] | None = None
    for unrolled in dict.fromkeys((shape.unrolled, ())):
        for candidate in shape.candidates(unrolled):
            cost = shape.cost(candidate) * (1.0 if unrolled == shape.unrolled else SHORT_LOOPS)
            if units not in (None, candidate.parallel) or units is not None and candidate.block:
                continue
            if (best is None or cost < best[0]) and is_legal(candidate, kernel):
                best = cost, candidate
    return shape.with_grain(best[1], best[0]) if best else None


def alternatives(kernel: Kernel) -> list[Rows]:
    """The best legal schedules with other axes in lanes, by the model's cost."""
    shape = _Shape(kernel)
    found = [c for unrolled in dict.fromkeys((shape.unrolled, ())) for c in shape.candidates(unrolled)
             if is_legal(c, kernel)]
    priced = sorted(((shape.cost(c), n) for n, c in enumerate(found)))
    return [shape.with_grain(found[n], cost) for cost, n in priced[:MOST_ALTERNATIVES]]


def is_legal(candidate: Schedule, kernel: Kernel) -> bool:
    """May the kernel run so?"""
    try:
        candidate.check(kernel)
    except VerifyError:
        return False
    return True


class _Shape:
    """What scheduling needs to know of a kernel."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.extents = {a: max(1, usual(n)) for a, n in kernel.axes.items()}
        folds = [v for v in kernel.values if v.op in ("reduce", "scan")]
        self.folded = {a for v in folds for a in v.over}
        self.scanned = {a for v in folds if v.op == "scan" for a in v.over}
        self.reduced = {a for v in folds if v.op == "reduce" for a in v.over}
        common = set(kernel.axes)
        for s in kernel.stores:
            common &= independent_axes(kernel, s)
        for v in folds:                                       # else it would be folded again in each unit
            common &= set(v.axes)
        self.free = common - self.folded
        self.unrolled = self._small_axes()

    def cut_only(self, axes: set[str]) -> None:
        """Only these axes are cut into units, and none of them is written out."""
        self.free &= axes
        self.unrolled = tuple(a for a in self.unrolled if a not in axes)

    def _small_axes(self) -> tuple[str, ...]:
        """Small axes to write out: the reduced ones first, as many as keep the kernel small."""
        kernel = self.kernel
        chosen: list[str] = []
        large = [a for a in kernel.axes if not expr.is_static(kernel.axes[a]) or self.extents[a] > WRITTEN_OUT]
        if not large:
            return ()
        small = [a for a in kernel.axes if a not in large and a not in self.scanned and not self._is_scattered(a)
                 and kernel.axes[a] != 0]
        for a in sorted(small, key=lambda a: a not in self.reduced):
            if a in self.reduced or self._is_last(a):
                if self._written([*chosen, a]) <= MOST_WRITTEN:
                    chosen.append(a)
        neighbours = [(a, self.extents[a]) for a in small if a in self.free and a not in chosen
                      and self._written([*chosen, a]) <= jam.MOST_WRITTEN]
        shared = jam.most_shared(kernel, tuple(a for a in chosen if a in self.reduced), neighbours)
        return (*chosen, *shared[:1]) if shared else tuple(chosen)

    def _is_scattered(self, axis: str) -> bool:
        return any(axis in s.axes and axis not in independent_axes(self.kernel, s) for s in self.kernel.stores)

    def _is_last(self, axis: str) -> bool:
        return any(axis in x.axes and self.step(x, axis) == 1 for x in self.accesses())

    def _written(self, axes: list[str]) -> int:
        return jam.loads(self.kernel, tuple(axes)) + sum(
            math.prod(self.extents[a] for a in axes if a in (*v.axes, *v.over)) for v in self.kernel.values
            if v.op != "load")

    def accesses(self) -> Iterator[Value | Store]:
        """Loads and stores."""
        yield from (v for v in self.kernel.values if v.op == "load")
        yield from self.kernel.stores

    def step(self, x: Value | Store, axis: str) -> int | None:
        """Elements from one position of an axis to the next in memory; None if that is not one small number."""
        flat, gathered = flat_index(self.kernel.buffers[x.buffer], x.index)
        if any(axis in i.axes for i, _ in gathered):
            return None
        c = expr.coefficient(flat, axis)
        if c is None and not isinstance(flat, int):
            return self._step_in_lanes(flat, axis)
        return c if isinstance(c, int) else None

    def _step_in_lanes(self, place: Expr, axis: str) -> int | None:
        """The step within whole vectors, where quotients change between them only (heads of 32 in one axis); tried at
        a few positions, since nothing but speed depends on it.
        """
        last = (self.extents[axis] - 1) // 16 * 16
        others = [{n: min(x, self.extents[n] - 1) if n in self.extents else USUAL_SIZE for n in expr.symbols(place)}
                  for x in (0, 1, 5)]
        steps = {expr.evaluate(place, {**at, axis: base + p + 1}) - expr.evaluate(place, {**at, axis: base + p})
                 for at in others for base in (0, last // 32 * 16, max(0, last - 16)) for p in (0, 7, 14)}
        return steps.pop() if len(steps) == 1 and last >= 16 else None

    # ---- candidates -----------------------------------------------------------------------------------------------

    def candidates(self, unrolled: tuple[str, ...]) -> Iterator[Rows]:
        """A schedule for each axis that may run in lanes, and for none."""
        axes = [a for a in self.kernel.axes if a not in unrolled]
        for vector in (*axes, ""):
            if vector in self.free:
                yield self._block(vector, axes, unrolled)
            else:
                yield self._whole(vector, axes, unrolled)

    def _whole(self, vector: str, axes: list[str], unrolled: tuple[str, ...]) -> Rows:
        """The vector axis inside a unit."""
        parallel = tuple(a for a in axes if a in self.free)
        inner = self._inner([a for a in axes if a not in parallel and a != vector])
        units = expr.product(self.kernel.axes[a] for a in parallel)
        return Rows(units, 1, parallel, vector, (*inner, vector) if vector else inner, unrolled, self._lanes(vector))

    def _block(self, vector: str, axes: list[str], unrolled: tuple[str, ...]) -> Rows:
        """The vector axis cut among units."""
        inside = {a for a in axes if a not in self.free} | self._transposed(vector)
        parallel = tuple(a for a in axes if a in self.free and a != vector and a not in inside)
        lanes = self._lanes(vector, COLUMNS if self._reads_columns(vector, inside) and not unrolled else 1)
        block = lanes
        if not inside:
            extent = self.kernel.axes[vector]
            longest = UNIT_ELEMENTS if not isinstance(extent, int) or extent > 2 * UNIT_ELEMENTS else extent
            block = -(-max(longest, 1) // lanes) * lanes
        blocks = expr.floordiv(self.kernel.axes[vector] + block - 1, block)
        units = blocks * expr.product(self.kernel.axes[a] for a in parallel)
        inner = self._inner([a for a in axes if a in inside])
        return Rows(units, 1, parallel, vector, inner, unrolled, lanes, block)

    def _reads_columns(self, vector: str, inside: set[str]) -> bool:
        """Does memory pass by in runs as long as the lanes? Else more lanes only take registers from the sums."""
        return any(vector in x.axes and inside & {*x.axes} for x in self.accesses())

    def _inner(self, axes: list[str]) -> tuple[str, ...]:
        return (*(a for a in axes if a not in self.scanned), *(a for a in axes if a in self.scanned))

    def _transposed(self, vector: str) -> set[str]:
        """Free axes that some access runs along where the lanes do not: inside a unit, so that cache lines are used
        whole.
        """
        out = set()
        for x in self.accesses():
            if vector in x.axes and self.step(x, vector) != 1:
                out |= {a for a in self.free if a != vector and a in x.axes and self.step(x, a) == 1}
        return out

    def _lanes(self, vector: str, more: int = 1) -> int:
        """Several vectors at once, light columns so many times more; no more than fill an eighth of the axis."""
        if not vector:
            return 16
        inside = [v for v in self.kernel.values if v.op in CORE and vector in v.axes]
        dear = sum(CORE[v.op].cost for v in inside)
        if dear > 12 and any(v.dtype.itemsize == 8 for v in inside):
            dear += WAVES[0][0]                      # twice as many registers
        wave = next(lanes for most, lanes in WAVES if dear <= most)
        together, taps = (math.prod(self.extents[a] for a in self.unrolled if (a in self.reduced) is folded)
                          for folded in (False, True))
        while wave > 16 and wave * together > next(lanes for most, lanes in TOGETHER if taps <= most):
            wave //= 2
        if self._is_short(vector):
            wave = 16
        while more > 1 and wave > 16 and 8 * wave < self.extents[vector]:
            wave, more = 2 * wave, more // 2
        if isinstance(self.kernel.axes[vector], int):
            while wave > 16 and wave // 2 >= self.extents[vector]:
                wave //= 2
        return wave

    def _is_short(self, vector: str) -> bool:
        """Has the kernel so few points that compiling it matters more? Not where the lanes decide how a sum is
        rounded.
        """
        if any(v.op in ("reduce", "scan") and vector in v.over for v in self.kernel.values):
            return False
        return all(isinstance(n, int) for n in self.kernel.axes.values()) and math.prod(self.extents.values()) <= SHORT

    # ---- costs ----------------------------------------------------------------------------------------------------

    def cost(self, candidate: Rows) -> float:
        """Of the whole kernel, in scalar additions."""
        vector, lanes = candidate.vector, candidate.lanes
        waste = 1.0
        if vector:
            n = self.extents[vector]
            waste = -(-n // lanes) * lanes / n
        total = 0.0
        for v in self.kernel.values:
            points = math.prod(self.extents[a] for a in {*v.axes, *v.over})
            if v.op == "load":
                total += points * self._access(v, vector, GATHER, waste)
            elif v.op in ("reduce", "scan"):
                dear = 5.0 if v.op == "scan" and v.over == (vector,) else 1.0
                total += points * dear * (VECTOR * waste if vector in (*v.axes, *v.over) else 1.0)
                if vector in v.over and v.op == "reduce":
                    total += 16.0 * math.prod(self.extents[a] for a in v.axes)
            elif v.op != "const":
                cost = CORE[v.op].cost if v.op in CORE else 1.0
                total += points * cost * (VECTOR * waste if vector in v.axes else 1.0)
        for s in self.kernel.stores:
            points = math.prod(self.extents[a] for a in s.axes)
            total += points * self._access(s, vector, SCATTER, waste)
        return total + 4.0 * usual(candidate.units)

    def _access(self, x: Value | Store, vector: str, apart: float, waste: float) -> float:
        """One element of a load or a store."""
        if not vector or vector not in x.axes:
            return 1.0
        step = self.step(x, vector)
        if step in (1, -1) or step == 2 and pair_part(self.kernel, x) is not None:
            return 2 * VECTOR * waste
        if step in SIFTED and isinstance(x, Value):
            return 4 * step * VECTOR * waste
        return apart * waste

    def with_grain(self, chosen: Rows, cost: float) -> Rows:
        """The schedule with chunks that are worth a thread's while."""
        size = sum(math.prod(self.extents[a] for a in x.axes) * self.kernel.buffers[x.buffer].dtype.itemsize
                   for x in self.accesses())
        nanoseconds = max(0.25 * cost, size / 16) / max(1, usual(chosen.units))
        grain = max(1, min(math.ceil(CHUNK_NANOSECONDS / max(nanoseconds, 1e-3)), 1 << 30))
        return Rows(chosen.units, grain, chosen.parallel, chosen.vector, chosen.inner, chosen.unrolled, chosen.lanes,
                    chosen.block)
