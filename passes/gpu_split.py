"""Contractions with few results and a long sum, cut in two kernels so that all processors of a GPU have work.

The first sums each of a number of pieces of K, the second adds what they gave, in a fixed order and without atomics, so
that the bits of a result are the same each time.
"""

from __future__ import annotations

from ..ir import expr
from ..ir.expr import product
from ..ir.gpu import GpuTarget
from ..ir.kernel import Kernel, KernelBuilder
from . import gpu_contraction
from .contraction import Match
from .split import Copy
from .walks import usual

PIECES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40, 48, 56, 64)
LARGE_TILE = 128 * 128         # results of a program that keeps a processor busy
LEAST_PIECE = 128              # of K
WORTH = 0.85                   # of what one kernel takes


def split_depth(kernel: Kernel, m: Match, target: GpuTarget) -> tuple[Kernel, Kernel] | None:
    """Two kernels that do what one did; None where that is not thought to be faster, or all processors have work."""
    axis = max(m.k, key=lambda a: usual(kernel.axes[a]))
    extent = kernel.axes[axis]
    if not isinstance(extent, int) or not m.is_product or not all(isinstance(n, int) for n in kernel.axes.values()):
        return None
    results = usual(product(kernel.axes[a] for a in (*m.g, *m.i, *m.j)))
    if results >= target.processors * LARGE_TILE:
        return None
    results *= m.total.dtype.itemsize
    whole = gpu_contraction.estimate(kernel, m, target)
    best = min(((_estimate(kernel, m, target, n, results), n) for n in _pieces(kernel, m, extent)), default=(whole, 1))
    return _Cut(kernel, m, axis, best[1]).kernels() if best[0] < WORTH * whole else None


def _pieces(kernel: Kernel, m: Match, extent: int) -> list[int]:
    """Numbers of equal pieces that are not too short."""
    rest = usual(product(kernel.axes[a] for a in m.k)) // extent
    return [n for n in PIECES if extent % n == 0 and extent // n * rest >= LEAST_PIECE]


def _estimate(kernel: Kernel, m: Match, target: GpuTarget, pieces: int, results: int) -> float:
    """Nanoseconds of both kernels: the partial sums are written and read."""
    first = gpu_contraction.estimate(kernel, m, target, pieces)
    return first + gpu_contraction.LAUNCH + 2 * pieces * results / target.bandwidth


class _Cut:
    """A contraction whose axis is cut into equal pieces."""

    def __init__(self, kernel: Kernel, m: Match, axis: str, pieces: int):
        self.kernel, self.total, self.axis, self.pieces = kernel, m.total, axis, pieces
        self.piece = kernel.fresh_axis("piece")
        self.name = f"{kernel.name}_part"
        self.shape = (pieces, *(kernel.axes[a] for a in self.total.axes))

    def kernels(self) -> tuple[Kernel, Kernel]:
        return self.first(), self.second()

    def first(self) -> Kernel:
        """The sum of each piece."""
        length = expr.floordiv(self.kernel.axes[self.axis], self.pieces)
        axes = {self.piece: self.pieces, **self.kernel.axes, self.axis: length}
        k = KernelBuilder(f"{self.kernel.name}_pieces", axes)
        copy = Copy(self.kernel, k, {self.axis: k.axis(self.piece) * length + k.axis(self.axis)}, False)
        x = k.reduce("sum", copy.value(self.total.args[0]), self.total.over)
        k.store(self.name, self.shape, [k.axis(a) for a in (self.piece, *self.total.axes)], x)
        return k.build(self.kernel.origin)

    def second(self) -> Kernel:
        """The sum of the pieces, and all that follows."""
        kept = {a: n for a, n in self.kernel.axes.items() if a not in self.total.over}
        k = KernelBuilder(f"{self.kernel.name}_whole", {**kept, self.piece: self.pieces})
        part = k.load(self.name, self.shape, self.total.dtype, [k.axis(a) for a in (self.piece, *self.total.axes)])
        copy = Copy(self.kernel, k, {}, False)
        copy.made[self.total] = k.reduce("sum", part, [self.piece])
        for s in self.kernel.stores:
            copy.store(s)
        return k.build(self.kernel.origin)
