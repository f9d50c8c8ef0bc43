"""Grouped convolutions as products of tiles: channels of all groups, which lie in one axis, get an axis of groups of
their own.

Where an axis is only read divided by the channels of a group, what stays the same within a group varies over groups
alone. So the kernel becomes a contraction with a batch of groups; the sums are the same.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir import expr
from ..ir.expr import Expr
from ..ir.kernel import Kernel, KernelBuilder
from .matching import Match, match
from .split import Copy


def split_groups(kernel: Kernel, suits: Callable[[Kernel, Match], bool]) -> Kernel | None:
    """The kernel with an axis of channels cut into groups and channels of one, where that makes a contraction that
    suits.
    """
    reduced = {a for v in kernel.values for a in v.over}
    for axis, extent in kernel.axes.items():
        if axis in reduced:                              # its sum would be one of each group
            continue
        for each in sorted(_divisors_of(kernel, axis)):
            if isinstance(extent, int) and extent % each == 0 and 1 < each < extent:
                grouped = _with_groups(kernel, axis, each)
                found = match(grouped)
                if found is not None and suits(grouped, found):
                    return grouped
    return None


def _divisors_of(kernel: Kernel, axis: str) -> set[int]:
    """What an axis alone is divided by in the index of a load."""
    entries = [x for v in kernel.values if v.op == "load" for x in v.index if isinstance(x, Expr)]
    atoms = [a for x in entries for m in x.terms for a in m if isinstance(a, expr.Quotient)]
    return {a.right for a in atoms if a.kind == "floordiv" and a.left == kernel.axis(axis) and isinstance(a.right, int)}


def _with_groups(kernel: Kernel, axis: str, each: int) -> Kernel:
    """The kernel made again, so that what stays the same within a group does not vary over its channels."""
    group, extent = fresh_axis(kernel, "group"), kernel.axes[axis]
    axes: dict[str, expr.Dim] = {}
    for a, n in kernel.axes.items():
        axes |= {group: expr.floordiv(extent, each), axis: each} if a == axis else {a: n}
    k = KernelBuilder(kernel.name, axes)
    copy = Copy(kernel, k, {axis: k.axis(group) * each + k.axis(axis)}, False)
    for s in kernel.stores:
        shape = kernel.buffers[s.buffer].shape
        k.store(s.buffer, shape, copy.index(s.index), copy.value(s.value), s.mode)
    return k.build(kernel.origin)


def fresh_axis(kernel: Kernel, name: str) -> str:
    """A name that no axis has."""
    return next(n for n in (f"{name}{k or ''}" for k in range(99)) if n not in kernel.axes)
