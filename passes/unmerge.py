"""More axes: an axis whose positions are read as quotient and remainder becomes two, so that addresses are affine.

Heads that are laid side by side (`[B, H, T, D]` as `[B, T, H * D]`) are read at `k // D` and `k % D`. On axes of their
own both are plain steps through memory, which run in lanes. It is the inverse of `collapse.py`, and comes before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ir import expr
from ..ir.expr import Dim, Expr
from ..ir.kernel import Kernel
from .collapse import with_axes

SMALLEST = 8                             # a shorter remainder does not fill a vector


def unmerge(kernel: Kernel, axes: Sequence[str]) -> Kernel:
    """The same kernel, those of the axes cut that its indices cut."""
    if any(s.is_scatter for s in kernel.stores):
        return kernel
    for axis in axes:
        while size := _divisor(kernel, axis):
            kernel = cut(kernel, axis, kernel.fresh_axis(f"{axis}{size}"), size)
    return kernel


def _divisor(kernel: Kernel, axis: str) -> int:
    """What the quotients and remainders of an axis divide by, the largest if there are several; 0 if not to be cut."""
    extent = kernel.axes[axis]
    if not isinstance(extent, int) or any(axis in v.over for v in kernel.values):
        return 0
    whole = expr.symbol(axis, 0, extent - 1)
    found = {n for x in _indices(kernel) for n in _divisors(x, axis, whole)}
    sizes = [*sorted(found), extent]
    if sizes[0] < SMALLEST or any(larger % smaller for smaller, larger in zip(sizes, sizes[1:])):
        return 0
    return sizes[-2] if found and sizes[-2] < extent else 0


def _divisors(x: Dim, axis: str, whole: Dim) -> Iterator[int]:
    """What an index divides the axis by, or its quotients and remainders; 1 where it divides something else."""
    for m in x.terms if isinstance(x, Expr) else ():
        for a in m:
            if not isinstance(a, expr.Quotient) or axis not in expr.symbols(a.left) | expr.symbols(a.right):
                continue
            inner = [b for n in (a.left.terms if isinstance(a.left, Expr) else ()) for b in n]
            is_plain = a.left == whole or len(inner) == 1 and isinstance(inner[0], expr.Quotient)
            if a.kind not in ("floordiv", "mod") or not isinstance(a.right, int) or not is_plain:
                yield 1
                continue
            yield a.right
            if a.left != whole:
                yield from _divisors(a.left, axis, whole)


def _indices(kernel: Kernel) -> Iterator[Expr]:
    for index in (*(v.index for v in kernel.values), *(s.index for s in kernel.stores)):
        yield from (i for i in index if isinstance(i, Expr))


def cut(kernel: Kernel, low: str, high: str, size: int) -> Kernel:
    """The kernel with an axis as the lower of two, whose extent is `size`."""
    axes: dict[str, Dim] = {}
    for a, n in kernel.axes.items():
        axes.update({high: n // size, low: size} if a == low else {a: n})  # type: ignore[operator]
    place = size * expr.symbol(high, 0, axes[high] - 1) + expr.symbol(low, 0, size - 1)
    return with_axes(kernel, axes, {low: place},
                     lambda names: tuple(b for a in names for b in ((high, low) if a == low else (a,))))
