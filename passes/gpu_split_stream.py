"""Attention with few rows and a long stream (decoding), cut in two kernels so that all processors of a GPU have work.

The first streams along pieces of the positions and stores what each gives: its maximum, its sum and its results. The
second brings these to the largest maximum and adds them, in a fixed order. A piece in which a row sees nothing counts
for nothing; a row that sees nothing in any piece is NaN, as in the definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir import expr
from ..ir.gpu import GpuTarget
from ..ir.kernel import Kernel, KernelBuilder, Value
from ..ir.streamed import Roles, Softmax
from . import gpu_streamed
from .gpu_contraction import LAUNCH
from .gpu_split import WORTH
from .split import Copy

PIECES = (2, 4, 8, 16, 32)
LEAST_PIECE = 256               # positions


def split_stream(kernel: Kernel, row: str, stream: str, found: Roles,
                 target: GpuTarget) -> tuple[Kernel, Kernel] | None:
    """Two kernels that do what one did; None where that is not thought to be faster."""
    softmax = found.softmax
    if softmax is None or softmax.norm is None:
        return None
    whole = gpu_streamed.estimate(kernel, row, stream, found, target)
    length = gpu_streamed.length(kernel, row, stream)
    long = [n for n in PIECES if length // n >= LEAST_PIECE]
    trials = [(gpu_streamed.estimate(kernel, row, stream, found, target, n) + LAUNCH, n) for n in long]
    best, pieces = min(trials, default=(whole, 1))
    return _Cut(kernel, row, stream, pieces, softmax, softmax.norm, found).kernels() if best < WORTH * whole else None


@dataclass(frozen=True)
class _Cut:
    """A kernel whose stream is cut."""

    kernel: Kernel
    row: str
    stream: str
    pieces: int
    softmax: Softmax
    norm: Value
    found: Roles

    @property
    def folds(self) -> tuple[Value, ...]:
        """What each piece gives: the maximum, the sum of the weights, the results."""
        return (self.softmax.peak, self.norm, *(p.total for p in self.found.outer))

    @property
    def piece(self) -> str:
        """The axis of pieces."""
        return self.kernel.fresh_axis("piece")

    @property
    def rows(self) -> expr.Dim:
        """How many rows results have: those of a padded axis are not stored (`passes/gpu_rows.py`)."""
        padded = [n for s in self.kernel.stores for i, n in zip(s.index, self.kernel.buffers[s.buffer].shape)
                  if i == self.kernel.axis(self.row)]
        return 1 if 1 in padded else self.kernel.axes[self.row]

    def kernels(self) -> tuple[Kernel, Kernel]:
        """One for the pieces, one for the whole."""
        return self.first(), self.second()

    def part(self, v: Value) -> tuple[str, tuple[expr.Dim, ...], tuple[str, ...]]:
        """Name, shape and axes of what the pieces give for a fold."""
        axes = (self.piece, *v.axes)
        sizes = (self.pieces, *(self.rows if a == self.row else self.kernel.axes[a] for a in v.axes))
        return f"{self.kernel.name}_part{self.folds.index(v)}", sizes, axes

    def first(self) -> Kernel:
        """The same along a piece, positions behind the end being out of sight."""
        extent = self.kernel.axes[self.stream]
        length = expr.floordiv(extent + self.pieces - 1, self.pieces)
        axes = {self.piece: self.pieces, **self.kernel.axes, self.stream: length}
        k = KernelBuilder(f"{self.kernel.name}_pieces", axes)
        at = k.axis(self.piece) * length + k.axis(self.stream)
        ragged = not expr.is_less(at, extent)
        copy = Copy(self.kernel, k, {self.stream: at}, ragged)
        if ragged:
            inside = k.lt(k.index(at), k.index(extent))
            copy.made[self.softmax.scores] = k.select(inside, copy.value(self.softmax.scores), -math.inf)
        for v in self.folds:
            name, shape, names = self.part(v)
            k.store(name, shape, [k.axis(a) for a in names], copy.value(v))
        return k.build(self.kernel.origin)

    def second(self) -> Kernel:
        """The whole of the folds, and all that follows."""
        own = {self.stream, *(p.axis for p in self.found.inner)} - {p.column for p in self.found.outer}
        axes = {a: n for a, n in self.kernel.axes.items() if a not in own} | {self.row: self.rows}
        k = KernelBuilder(f"{self.kernel.name}_whole", {**axes, self.piece: self.pieces})
        parts = [self._load(k, v) for v in self.folds]
        copy = Copy(self.kernel, k, {self.row: 0} if self.rows == 1 else {}, False)
        peak = k.reduce("max", parts[0], [self.piece])
        seen = k.or_(k.ne(parts[0], -math.inf), k.eq(peak, -math.inf))
        scale = k.exp(k.sub(parts[0], peak))
        sums = k.select(seen, k.mul(parts[1], scale), 0.0)
        norm = k.reduce("sum", sums, [self.piece])
        copy.made |= {self.softmax.peak: peak, self.norm: norm}
        for p, x, divided in zip(self.found.outer, parts[2:], self.found.divided):
            weighed = k.select(seen, k.mul(x, k.div(sums, norm) if divided else scale), 0.0)
            copy.made[p.total] = k.reduce("sum", weighed, [self.piece])
        for s in self.kernel.stores:
            copy.store(s)
        return k.build(self.kernel.origin)

    def _load(self, k: KernelBuilder, v: Value) -> Value:
        name, shape, axes = self.part(v)
        return k.load(name, shape, v.dtype, [k.axis(a) for a in axes])
