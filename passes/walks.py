"""How a kernel's values lie in memory, as choices of schedules ask: strides, contiguous axes, axes that flatten into
one.

Sizes that are not known are taken for usual ones; nothing that must be right depends on that.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import expr
from ..ir.expr import Dim, coefficient
from ..ir.kernel import Buffer, Kernel, Value, flat_index, made_of

USUAL_SIZE = 512  # what a symbolic size is taken for where a choice depends on it
WRITTEN_OUT = 8  # axes up to this size may be written out, and reduced beside the others


def is_few(extent: Dim) -> bool:
    """Is it the size of an axis that may be written out?"""
    return isinstance(extent, int) and extent <= WRITTEN_OUT


def usual(x: Dim) -> int:
    """A size, or what a symbolic one usually is."""
    return x if isinstance(x, int) else int(expr.evaluate(x, {s: USUAL_SIZE for s in expr.symbols(x)}))


def address(buffer: Buffer, index: tuple) -> Dim | None:
    """The element's place in a buffer as one expression; None when a value takes part."""
    flat, gathered = flat_index(buffer, index)
    return None if gathered else flat


def walked_axis(kernel: Kernel, buffer: Buffer, index: tuple, axes: tuple[str, ...]) -> str:
    """The axis along which an access walks memory one by one; the longest where several do (a window and its image), ""
    for none.
    """
    place = address(buffer, index)
    walks = [a for a in axes if place is not None and coefficient(place, a) == 1]
    return max(walks, key=lambda a: usual(kernel.axes[a]), default="")


def main_load(v: Value) -> Value | None:
    """The load under v that varies over most axes."""
    loads = [x for x in made_of(v) if x.op == "load"]
    return max(loads, key=lambda x: (len(x.axes), x.dtype.bits), default=None)


def contiguous_axis(kernel: Kernel, v: Value) -> str:
    """The axis along which v's main load walks memory one by one, "" for none."""
    load = main_load(v)
    return "" if load is None else walked_axis(kernel, kernel.buffers[load.buffer], load.index, load.axes)


def strides(kernel: Kernel, load: Value) -> Mapping[str, Dim] | None:
    """Elements between neighbours of a load along each of its axes; None when it is not affine, or may leave its
    buffer.
    """
    place = address(kernel.buffers[load.buffer], load.index) if load.op == "load" and load.fill is None else None
    if place is None:
        return None
    steps = {a: coefficient(place, a) for a in load.axes}
    return None if None in steps.values() else steps  # type: ignore[return-value]


def linear_tail(axes: tuple[str, ...], steps: Mapping[str, Dim], extents: Mapping[str, Dim]) -> int:
    """How many of the last axes are, flattened, one axis with one stride."""
    n = 1
    while n < len(axes) and steps.get(axes[-n - 1], 0) == steps.get(axes[-n], 0) * extents[axes[-n]]:
        n += 1
    return min(n, len(axes))
