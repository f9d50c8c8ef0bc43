"""Unroll and jam: an axis along which windows overlap is cut in two, so that a few neighbours are computed together.

A sum over a small window (a depthwise convolution, a blur, a pooling) that is written out loads each tap again for each
position. Where several positions along another axis are written out too, they share the elements that their windows
have in common, and all that does not move with them, such as the weights (Callahan, Carr and Kennedy, "Improving
register allocation for subscripted variables", 1990). The sums are the same, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product

from ..ir import expr
from ..ir.kernel import FOLDS, Kernel, Store, Value, step_along
from .unmerge import cut

MOST = 8                        # positions that are computed together
MOST_TAPS = 64
MOST_WRITTEN = 1000             # values of the kernel with the window and these positions written out
LEAST_GAIN = 1.5                # times fewer loads


def jam(kernel: Kernel) -> Kernel:
    """The kernel, the axis that saves most loads cut where it saves enough."""
    window = _window(kernel)
    if not window:
        return kernel
    found = [(a, n) for a in _free(kernel) for n in _sizes(kernel, a, window)]
    best = most_shared(kernel, window, found)
    return cut(kernel, best[0], kernel.fresh_axis(f"{best[0]}{best[1]}"), best[1]) if best else kernel


def most_shared(kernel: Kernel, window: tuple[str, ...], found: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """Of axes and numbers of neighbours along them, those that share most of the loads of their windows; None where
    they share too few.
    """
    costs = [(loads(kernel, (*window, a), {a: n}) / n, -n, a) for a, n in found]
    each, size, axis = min(costs, default=(math.inf, 0, ""))
    return (axis, -size) if each * LEAST_GAIN <= loads(kernel, window) else None


def loads(kernel: Kernel, axes: tuple[str, ...], extents: dict[str, int] | None = None) -> int:
    """How many loads there are with some small axes written out, those of the same element counted once."""
    total = 0
    for v in kernel.values:
        if v.op == "load":
            moving = [a for a in axes if a in v.axes]
            everywhere = product(*(range((extents or {}).get(a) or expr.static(kernel.axes[a])) for a in moving))
            total += len({tuple(i if isinstance(i, Value) else expr.substitute(i, dict(zip(moving, at)))
                                for i in v.index) for at in everywhere})
    return total


def _window(kernel: Kernel) -> tuple[str, ...]:
    """The small axes that are summed over; () where something else is folded."""
    folds = [v for v in kernel.values if v.op in FOLDS]
    axes = folds[0].over if folds else ()
    if any(v.op != "reduce" or v.over != axes for v in folds):
        return ()
    extents = [kernel.axes[a] for a in axes]
    small = all(isinstance(n, int) for n in extents) and 1 < math.prod(map(expr.static, extents)) <= MOST_TAPS
    return axes if small else ()


def _free(kernel: Kernel) -> Iterator[str]:
    """Axes that may be cut: all sums and stores vary along them, and none lies along memory, where lanes run."""
    whole = [*(s.axes for s in kernel.stores), *(v.axes for v in kernel.values if v.op in FOLDS)]
    accesses: list[Value | Store] = [*kernel.stores, *(v for v in kernel.values if v.op == "load")]
    for a, n in kernel.axes.items():
        if isinstance(n, int) and all(a in axes for axes in whole) and not any(
                a in x.axes and step_along(kernel, x, a) in (1, -1, None) for x in accesses):
            yield a


def _sizes(kernel: Kernel, axis: str, window: tuple[str, ...]) -> Iterator[int]:
    """Into how many positions it may be cut."""
    taps = math.prod(expr.static(kernel.axes[a]) for a in window)
    work = sum(taps if v.over or set(window) & set(v.axes) else 1 for v in kernel.values if v.op != "load")
    extent = expr.static(kernel.axes[axis])
    return (n for n in range(2, MOST + 1) if extent % n == 0 and extent > n and n * work <= MOST_WRITTEN)
