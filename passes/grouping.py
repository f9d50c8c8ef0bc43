"""An axis of groups: channels or heads that share what they read, told apart from their groups.

Where an index has `h // 4`, four neighbours along h read the same; cut into groups of four, the axis within a group
does not show in what is read, and becomes rows of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..ir import expr
from ..ir.expr import Expr, product
from ..ir.kernel import Kernel, KernelBuilder
from . import contraction
from .contraction import Match
from .split import Copy
from .walks import usual


def split_groups(kernel: Kernel, suits: Callable[[Kernel, Match], bool]) -> Kernel | None:
    """The kernel with an axis of channels cut into groups and channels of one, where that makes a contraction that
    suits: a grouped convolution becomes a batch of products. The sums are the same.
    """
    reduced = {a for v in kernel.values for a in v.over}       # the sum of an axis would be one of each group
    for axis, each in divisors_of(kernel, [a for a in kernel.axes if a not in reduced]):
        grouped = with_groups(kernel, axis, each)
        found = contraction.match(grouped)
        if found is not None and suits(grouped, found):
            return grouped
    return None


def with_shared_rows(kernel: Kernel, m: Match, threads: int) -> Kernel:
    """The kernel with heads that share a matrix as rows of its product, if these are few, so that it is read once for
    them; itself where that is not so, or would leave threads without work.
    """
    few = contraction.FEW_ROWS_DOTS
    if not m.is_product or m.parts != 1 or usual(product(kernel.axes[a] for a in m.i)) >= few:
        return kernel
    for axis, each in divisors_of(kernel, m.g):
        grouped = with_groups(kernel, axis, each)
        found = contraction.match(grouped)
        if found is not None and len(found.i) > len(m.i):
            rows, places = (product(grouped.axes[a] for a in axes) for axes in (found.i, found.g))
            if isinstance(rows, int) and rows <= few and usual(places) >= threads:
                return grouped
    return kernel


def divisors_of(kernel: Kernel, axes: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The axes that are divided alone in the index of a load, and by what, if that makes several groups of several."""
    entries = [x for v in kernel.values if v.op == "load" for x in v.index if isinstance(x, Expr)]
    atoms = [a for x in entries for m in x.terms for a in m if isinstance(a, expr.Quotient) and a.kind == "floordiv"]
    for axis in axes:
        extent, at = kernel.axes[axis], kernel.axis(axis)
        for each in sorted({a.right for a in atoms if a.left == at and isinstance(a.right, int)}):
            if isinstance(extent, int) and extent % each == 0 and 1 < each < extent:
                yield axis, each


def with_groups(kernel: Kernel, axis: str, each: int) -> Kernel:
    """The kernel made again, so that what stays the same within a group does not vary over its channels."""
    group, extent = kernel.fresh_axis("group"), kernel.axes[axis]
    axes: dict[str, expr.Dim] = {}
    for a, n in kernel.axes.items():
        axes |= {group: expr.floordiv(extent, each), axis: each} if a == axis else {a: n}
    k = KernelBuilder(kernel.name, axes)
    copy = Copy(kernel, k, {axis: k.axis(group) * each + k.axis(axis)}, False)
    for s in kernel.stores:
        copy.store(s)
    return k.build(kernel.origin)
