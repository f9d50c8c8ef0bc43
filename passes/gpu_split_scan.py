"""Scans of few long rows, cut in three kernels so that all processors of a GPU have work: what each of a number of
pieces combines to, the scan of these, and the pieces again, each from what came before it. The order is fixed and
nothing is atomic, so that the bits of a result are the same each time.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import expr
from ..ir.expr import Dim
from ..ir.gpu import rounded_up
from ..ir.kernel import Kernel, KernelBuilder, Store, Value, made_of
from ..ir.scalar import COMBINE
from .split import Copy, before_end, pieces


def cut_scan(kernel: Kernel, count: int) -> list[Kernel] | None:
    """The three kernels, with about so many pieces; None where the kernel folds otherwise than along one axis by scans
    that need nothing of one another, or a store would need a mask where the pieces do not divide the axis.
    """
    scans = [v for v in kernel.values if v.op == "scan"]
    axes = {v.over for v in scans}
    if len(axes) != 1:
        return None
    ((axis,),) = axes
    if any(axis in v.over for v in kernel.values if v not in scans):
        return None
    if any(made_of(v.args[0]) & set(scans) for v in scans) or any(s.mode == "add" for s in kernel.stores):
        return None
    cuts = (_Cut(kernel, axis, scans, *found) for found in _pieces(kernel.axes[axis], count))
    return next(([cut.totals(), cut.before(), cut.again()] for cut in cuts if cut.is_possible()), None)


def _pieces(extent: Dim, count: int) -> Iterator[tuple[int, Dim]]:
    """About so many pieces, and their length: such as fill a tile, or such as the axis is a multiple of."""
    if isinstance(extent, int):
        length = rounded_up(-(-extent // count))
        yield -(-extent // length), length
    yield pieces(extent, count)


class _Cut:
    def __init__(self, kernel: Kernel, axis: str, scans: list[Value], count: int, length: Dim):
        self.kernel, self.axis, self.scans = kernel, axis, scans
        self.extent, self.count, self.length = kernel.axes[axis], count, length
        self.piece = kernel.fresh_axis("piece")
        self.rows = {v: {a: kernel.axes[a] for a in v.axes if a != axis} for v in scans}
        self.at = self._at(KernelBuilder("", self._axes()))
        self.is_ragged = not expr.is_less(self.at, self.extent)

    def is_possible(self) -> bool:
        """Is what lies behind the axis stored nowhere?"""
        return not self.is_ragged or all(self._drops(s) for s in self.kernel.stores)

    def _drops(self, s: Store) -> bool:
        """Does a store lie outside of its buffer at all positions behind the axis?"""
        behind = {self.axis: self.extent + expr.symbol("behind", 0)}
        for i, size in zip(s.index, self.kernel.buffers[s.buffer].shape):
            if not isinstance(i, Value):
                place = expr.substitute(i, behind)
                if expr.is_less_equal(size, place) or expr.is_less(place, 0):
                    return True
        return False

    def _axes(self) -> dict[str, Dim]:
        return {self.piece: self.count, **self.kernel.axes, self.axis: self.length}

    def _at(self, k: KernelBuilder) -> Dim:
        return k.axis(self.piece) * self.length + k.axis(self.axis)

    def _memory(self, v: Value, what: str) -> tuple[str, tuple[Dim, ...]]:
        """Memory with a number for each piece of each row."""
        return f"{self.kernel.name}_{what}{self.scans.index(v)}", (*self.rows[v].values(), self.count)

    def _load(self, k: KernelBuilder, v: Value, what: str, piece: Dim, fill: object = None) -> Value:
        name, shape = self._memory(v, what)
        return k.load(name, shape, v.dtype, [*(k.axis(a) for a in self.rows[v]), piece], fill)

    def _store(self, k: KernelBuilder, v: Value, what: str, x: Value) -> None:
        name, shape = self._memory(v, what)
        k.store(name, shape, [*(k.axis(a) for a in self.rows[v]), k.axis(self.piece)], x)

    def totals(self) -> Kernel:
        """What the pieces combine to."""
        k = KernelBuilder(f"{self.kernel.name}_pieces", self._axes())
        copy = Copy(self.kernel, k, {self.axis: self.at}, self.is_ragged)
        for v in self.scans:
            x = copy.value(v.args[0])
            if self.is_ragged:
                x = before_end(k, self.at, self.extent, x, v)
            self._store(k, v, "total", k.reduce(v.combine, x, [self.axis]))
        return k.build(self.kernel.origin)

    def before(self) -> Kernel:
        """The scans of these."""
        rows = {a: n for v in self.scans for a, n in self.rows[v].items()}
        k = KernelBuilder(f"{self.kernel.name}_before", {**rows, self.piece: self.count})
        for v in self.scans:
            self._store(k, v, "until", k.scan(v.combine, self._load(k, v, "total", k.axis(self.piece)), self.piece))
        return k.build(self.kernel.origin)

    def again(self) -> Kernel:
        """The scans within the pieces, on top of what came before, and all that follows."""
        k = KernelBuilder(f"{self.kernel.name}_whole", self._axes())
        copy = Copy(self.kernel, k, {self.axis: self.at}, self.is_ragged)
        for v in self.scans:
            earlier = self._load(k, v, "until", k.axis(self.piece) - 1, COMBINE[v.combine][1](v.dtype))
            here = k.scan(v.combine, copy.value(v.args[0]), self.axis)
            copy.made[v] = k.apply(COMBINE[v.combine][0], (earlier, here))
        for s in self.kernel.stores:
            copy.store(s)
        return k.build(self.kernel.origin)
