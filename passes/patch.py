"""A small part of an array replaced, cut in two: the array copied, and the part written.

`x[3:5] = v` is one kernel that chooses at each place between v and what x has there. Where x is donated, the copy is of
memory onto itself, which costs nothing, so that only the part is touched: a cache of keys and values, a row of a table.
The part may begin anywhere (`cache[:, n:n + 1] = v`): its extent is an expression then, cut to the array.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir import expr
from ..ir.expr import Dim
from ..ir.kernel import FOLDS, Kernel, KernelBuilder, Store, Value, made_of
from .split import Copy

LARGE = 1 << 12                     # elements of the array: below, a second kernel costs more than it gains
PART = 4                            # the array is so many times the part, at least

Range = tuple["Dim | None", "Dim | None"]      # the first position, and the one after the last; None: no such end
Ranges = dict[str, Range]


def split_patch(kernel: Kernel) -> tuple[Kernel, Kernel] | None:
    """A kernel that copies and one that writes the part; None where this is no such kernel, or not worth it."""
    if len(kernel.stores) != 1 or any(v.op in FOLDS for v in kernel.values):
        return None
    (store,) = kernel.stores
    chosen = store.value
    if store.mode != "set" or chosen.op != "select" or not _is_in_place(kernel, store, chosen.args[2]):
        return None
    condition, new, base = chosen.args
    if any(v.op == "load" and v.buffer == base.buffer for v in made_of(new)):
        return None                 # the part would have to be read before it is written
    holds = _ranges(condition)
    sizes = {a: n for a, n in kernel.axes.items() if isinstance(n, int)}
    if holds is None or len(sizes) < len(kernel.axes):
        return None
    parts = {a: _cut(r, sizes[a]) for a, r in holds.items()}
    most = [expr.bounds(extent)[1] for _, extent in parts.values()]
    part = math.prod({**sizes, **{a: sizes[a] if n is None else n for a, n in zip(parts, most)}}.values())
    whole = math.prod(sizes.values())
    if whole < LARGE or not 0 < part * PART <= whole:
        return None
    return _copied(kernel, store, base), _written(kernel, store, new, parts)


def _cut(range: Range, size: int) -> tuple[Dim, Dim]:
    """(first position, extent) of the positions in a range that are positions of an axis."""
    low: Dim = 0 if range[0] is None else expr.maximum(0, range[0])
    room = expr.maximum(0, size - low)
    return low, room if range[1] is None else expr.minimum(expr.maximum(0, range[1] - low), room)


def _is_in_place(kernel: Kernel, store: Store, base: Value) -> bool:
    """Is base what an array of the same type has where the store writes?"""
    if base.op != "load" or base.fill is not None or base.index != store.index or store.is_scatter:
        return False
    old, new = kernel.buffers[base.buffer], kernel.buffers[store.buffer]
    return (old.shape, old.dtype) == (new.shape, new.dtype) and set(store.axes) == set(kernel.axes)


def _copied(kernel: Kernel, store: Store, base: Value) -> Kernel:
    k = KernelBuilder("copy", kernel.axes)
    shape = kernel.buffers[base.buffer].shape
    k.store(store.buffer, shape, store.index, k.load(base.buffer, shape, base.dtype, base.index))
    return k.build(kernel.origin)


def _written(kernel: Kernel, store: Store, new: Value, parts: dict[str, tuple[Dim, Dim]]) -> Kernel:
    k = KernelBuilder(f"{kernel.name}_part", {**kernel.axes, **{a: extent for a, (_, extent) in parts.items()}})
    copy = Copy(kernel, k, {a: k.axis(a) + low for a, (low, _) in parts.items()}, False)
    k.store(store.buffer, kernel.buffers[store.buffer].shape, copy.index(store.index), copy.value(new))
    return k.build(kernel.origin)


# ---- where a condition may hold ------------------------------------------------------------------------------------

_BOUNDS = {"ge": (0, None), "gt": (1, None), "lt": (None, 0), "le": (None, 1), "eq": (0, 1)}
"""(first position, position after the last) where `position <compared with> 0` holds."""

def _ranges(condition: Value) -> Ranges | None:
    """The positions of axes where a condition holds, and nowhere else: comparisons of one axis with a number, all of
    which must hold. None where it is another one.
    """
    if condition.op == "and":
        first, second = (_ranges(v) for v in condition.args)
        if first is None or second is None:
            return None
        return {a: _both(first.get(a, (None, None)), second.get(a, (None, None))) for a in {**first, **second}}
    if condition.op not in _BOUNDS or len(condition.axes) != 1:
        return None
    left, right = (_position(v) for v in condition.args)
    (axis,) = condition.axes
    if left is None or right is None or expr.coefficient(left - right, axis) != 1:
        return None
    zero = expr.substitute(left - right, {axis: 0})
    low, high = _BOUNDS[condition.op]
    return {axis: (None if low is None else low - zero, None if high is None else high - zero)}


def _both(a: Range, b: Range) -> Range:
    return _tighter(a[0], b[0], expr.maximum), _tighter(a[1], b[1], expr.minimum)


def _tighter(a: Dim | None, b: Dim | None, choose: Callable[[Dim, Dim], Dim]) -> Dim | None:
    return b if a is None else a if b is None else choose(a, b)


def _position(v: Value) -> Dim | None:
    """An integer value as an expression of positions; None where it is no such thing."""
    if v.op == "index":
        return v.index[0]           # type: ignore[return-value]
    if v.op == "const" and v.dtype.is_integer:
        return int(v.number)
    if v.op not in ("add", "sub"):
        return None
    left, right = (_position(x) for x in v.args)
    if left is None or right is None:
        return None
    return left + right if v.op == "add" else left - right
