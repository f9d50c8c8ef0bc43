"""A kernel with some small axes written out: each value once for each position, reductions over them as operations.

What comes out is an ordinary kernel without these axes, so that no emitter needs to know about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from ...ir import expr
from ...ir.kernel import Index, Kernel, Store, Value
from ...ir.scalar import COMBINE

Positions = Mapping[str, int]


def unroll(kernel: Kernel, axes: Iterable[str]) -> Kernel:
    """The same kernel without these axes, whose extents are small numbers."""
    axes = tuple(axes)
    if not axes:
        return kernel
    return _Unrolled(kernel, axes).kernel()


def neighbours_of(kernel: Kernel, unrolled: Iterable[str]) -> set[str]:
    """Those of the axes that are written out whose positions are results beside each other."""
    folded = {a for v in kernel.values for a in v.over}
    return {a for a in unrolled if a not in folded and all(a in s.axes for s in kernel.stores)}


class _Unrolled:
    def __init__(self, kernel: Kernel, axes: tuple[str, ...]):
        self.old, self.axes = kernel, axes
        self.values: list[Value] = []
        self.made: dict[tuple[Value, tuple[int, ...]], Value] = {}
        self.shared: dict[Any, Value] = {}                       # what is the same for several positions

    def kernel(self) -> Kernel:
        for v in self.old.values:
            for at in self._positions(a for a in v.axes if a in self.axes):
                self.made[v, tuple(at.values())] = self._reduction(v, at) if v.op == "reduce" else self._plain(v, at)
        stores = tuple(self._store(s, at) for s in self.old.stores
                       for at in self._positions(a for a in s.axes if a in self.axes))
        kept = {a: n for a, n in self.old.axes.items() if a not in self.axes}
        return Kernel(self.old.name, kept, self.old.buffers, tuple(self._in_order()), stores, self.old.origin)

    def _in_order(self) -> list[Value]:
        """The values in order of the last load that each needs, so that what neighbours load is used by all of them
        while it is in a register. Sums have their order from what they are made of.
        """
        neighbours = neighbours_of(self.old, self.axes)
        moving = {made: n for n, ((v, _), made) in enumerate(self.made.items())
                  if v.op == "load" and neighbours & {*v.axes}}
        last: dict[Value, int] = {}
        for v in self.values:
            last[v] = max((moving.get(v, -1), *(last[a] for a in v.inputs)))
        return sorted(self.values, key=last.__getitem__) if neighbours else self.values

    def _positions(self, axes: Iterable[str]) -> list[dict[str, int]]:
        axes = tuple(axes)
        return [dict(zip(axes, at)) for at in product(*(range(expr.static(self.old.axes[a])) for a in axes))]

    def _append(self, v: Value) -> Value:
        self.values.append(v)
        return v

    def _at(self, v: Value, at: Positions) -> Value:
        return self.made[v, tuple(at[a] for a in v.axes if a in self.axes)]

    def _kept(self, axes: Iterable[str]) -> tuple[str, ...]:
        return tuple(a for a in axes if a not in self.axes)

    def _index(self, index: tuple[Index, ...], at: Positions) -> tuple[Index, ...]:
        return tuple(self._at(i, at) if isinstance(i, Value) else expr.substitute(i, at) for i in index)

    def _plain(self, v: Value, at: Positions) -> Value:
        made = Value(v.op, tuple(self._at(a, at) for a in v.args), self._kept(v.axes), v.dtype, v.buffer,
                     self._index(v.index, at), v.fill, v.number, v.combine, v.over)
        key = (v.op, made.args, made.axes, v.dtype, v.buffer, made.index, repr(v.fill), repr(v.number), v.combine,
               v.over)
        return self.shared[key] if key in self.shared else self.shared.setdefault(key, self._append(made))

    def _reduction(self, v: Value, at: Positions) -> Value:
        written, looped = [a for a in v.over if a in self.axes], self._kept(v.over)
        core, identity = COMBINE[v.combine]
        terms = [self._at(v.args[0], {**at, **more}) for more in self._positions(written)]
        total = terms[0] if terms else self._append(Value("const", (), (), v.dtype, number=identity(v.dtype)))
        for t in terms[1:]:
            total = self._append(Value(core, (total, t), tuple(a for a in self.old.axes if a in (*total.axes, *t.axes)),
                                       v.dtype))
        if not looped:
            return total
        axes = tuple(a for a in total.axes if a not in looped)
        return self._append(Value("reduce", (total,), axes, v.dtype, combine=v.combine, over=looped))

    def _store(self, s: Store, at: Positions) -> Store:
        return Store(s.buffer, self._index(s.index, at), self._at(s.value, at), self._kept(s.axes), s.mode)
