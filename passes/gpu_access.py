"""Along which axes a kernel runs through memory: what lanes of a GPU should do, so that neighbours read neighbours."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from ..ir import expr
from ..ir.expr import Dim
from ..ir.kernel import Kernel, Store, Value
from .walks import USUAL_SIZE, address, usual


class Access:
    """The loads and stores of a kernel, and how dear it is if lanes run along this or that axis."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.extents = {a: max(1, usual(n)) for a, n in kernel.axes.items()}
        self.all: list[Value | Store] = [*(v for v in kernel.values if v.op == "load"), *kernel.stores]

    def lane(self, axes: Sequence[str]) -> str:
        """The axis along which most memory is contiguous, of these; "" for none."""
        weights = {a: self._weight(self._contiguous(a)) for a in axes}
        best = max(axes, key=lambda a: weights[a], default="")
        return best if best and weights[best] > 0 else ""

    def other_lane(self, axes: Sequence[str], lane: str) -> str:
        """A second axis, along which what is not contiguous along the first one is; "" for none."""
        scattered = [x for x in self.all if lane in x.axes and x not in self._contiguous(lane)]
        weights = {a: self._weight([x for x in scattered if x in self._contiguous(a)]) for a in axes if a != lane}
        best = max(weights, key=lambda a: weights[a], default="")
        return best if best and weights[best] * 8 > self._weight(self.all) and self.extents[best] > 4 else ""

    def places(self) -> int:
        """How many places the first computed index of a scatter may name; 1 where there is none."""
        return next((usual(size) for _, size in self._computed()), 1)

    def axes_of_place(self) -> tuple[str, ...]:
        """The axes that the first computed index of a scatter varies over."""
        return next((i.axes for i, _ in self._computed()), ())

    def _computed(self) -> Iterator[tuple[Value, Dim]]:
        for s in self.kernel.stores:
            for i, size in zip(s.index, self.kernel.buffers[s.buffer].shape):
                if isinstance(i, Value):
                    yield i, size

    def _weight(self, accesses: Collection[Value | Store]) -> int:
        return sum(math.prod(self.extents[a] for a in x.axes) * self.kernel.buffers[x.buffer].dtype.itemsize
                   for x in accesses)

    def _contiguous(self, axis: str) -> list[Value | Store]:
        return [x for x in self.all if axis in x.axes and self._walks(x, axis)]

    def _walks(self, x: Value | Store, axis: str) -> bool:
        """Is the next position the next element, or the one before? Tried at a few, since nothing but speed depends on
        it.
        """
        place = address(self.kernel.buffers[x.buffer], tuple(0 if isinstance(i, Value) and axis not in i.axes else i
                                                             for i in x.index))
        if place is None or self.extents[axis] < 2:
            return False
        others = {n: min(1, self.extents[n] - 1) if n in self.extents else USUAL_SIZE for n in expr.symbols(place)}

        def at(p: int) -> int:
            return int(expr.evaluate(place, {**others, axis: p}))

        tried = (p for p in (0, (self.extents[axis] - 1) // 2) if p + 1 < self.extents[axis])
        return all(abs(at(p + 1) - at(p)) == 1 for p in tried)
