"""Fewer axes: two axes that everything runs through as one become one, so that a pointwise kernel on whole arrays has
a single axis.

Indices of the merged axis are written as quotient and remainder, which cancel where they meet in a flat address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations

from ..ir import expr
from ..ir.expr import Dim, Expr
from ..ir.kernel import Index, Kernel, Store, Value


def collapse(kernel: Kernel) -> Kernel:
    """The same kernel with as few axes as its accesses allow."""
    while True:
        # innermost first: the quotients and remainders that this leaves cancel best
        pair = next((p for p in permutations(reversed(list(kernel.axes)), 2) if _mergeable(kernel, *p)), None)
        if pair is None:
            return kernel
        kernel = _merge(kernel, *pair)


def _mergeable(kernel: Kernel, outer: str, inner: str) -> bool:
    """Does everything that varies over one of the axes run through both as through one?"""
    extent = kernel.axes[inner]
    if extent == 0:
        return False
    everything: tuple[Value | Store, ...] = (*kernel.values, *kernel.stores)
    for x in everything:
        if (outer in x.axes) != (inner in x.axes):
            return False
        if isinstance(x, Value) and (((outer in x.over) != (inner in x.over)) or x.op == "scan" and outer in x.over):
            return False
    names = list(kernel.axes)
    if any(s.is_scatter for s in kernel.stores) and names.index(inner) != names.index(outer) + 1:
        return False                                       # the order of colliding stores is that of the axes
    for x in everything:
        if not x.index:
            continue
        if isinstance(x, Store) or x.op == "load":
            shape = kernel.buffers[x.buffer].shape
            if (isinstance(x, Store) or x.fill is not None) and not all(
                    _is_inside(i, size) for i, size in zip(x.index, shape) if _names(i) & {outer, inner}):
                return False
            strides: tuple[Dim, ...] = kernel.buffers[x.buffer].strides
        else:
            strides = (1,)
        flat: Dim = 0
        for i, stride in zip(x.index, strides):
            if not isinstance(i, Value):
                flat = flat + stride * i
        step = expr.coefficient(flat, inner)
        if step is None or expr.coefficient(flat, outer) != step * extent:
            return False
    return True


def _names(i: Index) -> frozenset[str]:
    return frozenset() if isinstance(i, Value) else expr.symbols(i)


def _is_inside(i: Index, size: Dim) -> bool:
    return isinstance(i, (int, Expr)) and expr.is_less_equal(0, i) and expr.is_less(i, size)


def _merge(kernel: Kernel, outer: str, inner: str) -> Kernel:
    extent = kernel.axes[inner]
    axes = {a: n * extent if a == outer else n for a, n in kernel.axes.items() if a != inner}
    both = expr.symbol(outer, 0, axes[outer] - 1)
    return with_axes(kernel, axes, {outer: expr.floordiv(both, extent), inner: expr.mod(both, extent)},
                     lambda names: tuple(a for a in axes if a in names))


def with_axes(kernel: Kernel, axes: Mapping[str, Dim], positions: Mapping[str, Dim],
              rename: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Kernel:
    """The kernel on other axes: positions of the old ones as expressions of the new, lists of axes renamed."""
    made: dict[Value, Value] = {}

    def index(entries: tuple[Index, ...]) -> tuple[Index, ...]:
        return tuple(made[i] if isinstance(i, Value) else expr.substitute(i, positions) for i in entries)

    for v in kernel.values:
        made[v] = Value(v.op, tuple(made[a] for a in v.args), rename(v.axes), v.dtype, v.buffer, index(v.index), v.fill,
                        v.number, v.combine, rename(v.over))
    stores = tuple(Store(s.buffer, index(s.index), made[s.value], rename(s.axes), s.mode) for s in kernel.stores)
    return Kernel(kernel.name, dict(axes), kernel.buffers, tuple(made.values()), stores, kernel.origin)
