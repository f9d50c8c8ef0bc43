"""How an operand's dimensions show in a result: the fact that each declaration states as `dims`, and that fusion
unifies axes by.

A map has an entry for each dimension of the operand: the result's dimension with the same position, `ONE` (its index is
always 0), `FREE` (a dimension that the op reduces), or `MOVED` (the positions differ: a slice, a gather, a split). A
rule is called with the operand's number, the operands' shapes, the result's shape and the attributes; an op that states
none moves everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..expr import Dim

ONE, FREE, MOVED = -1, -2, -3
Map = tuple[int, ...]
Shape = tuple[Dim, ...]
Shapes = Sequence[Shape]


def is_one(d: object) -> bool:
    """Is it the number 1 (and no symbolic size that may be)?"""
    return isinstance(d, int) and d == 1


def same(i: int, shapes: Shapes, result: Shape, **attrs: Any) -> Map:
    """Each dimension is the result's (scans)."""
    return tuple(ONE if is_one(d) else p for p, d in enumerate(shapes[i]))


def broadcast(i: int, shapes: Shapes, result: Shape, **attrs: Any) -> Map:
    """Counted from the right, those of size 1 repeated (pointwise ops, broadcast_to)."""
    extra = len(result) - len(shapes[i])
    return tuple(ONE if is_one(d) else extra + p for p, d in enumerate(shapes[i]))


def reduced(i: int, shapes: Shapes, result: Shape, axes: Sequence[int], **attrs: Any) -> Map:
    """Those in `axes` are gone."""
    out, kept = [], 0
    for p, d in enumerate(shapes[i]):
        out.append(FREE if p in axes else ONE if is_one(d) else kept)
        kept += p not in axes
    return tuple(out)


def sorted_along(i: int, shapes: Shapes, result: Shape, axis: int, **attrs: Any) -> Map:
    """The result has another axis in the place of the one that is sorted."""
    return tuple(MOVED if p == axis else ONE if is_one(d) else p for p, d in enumerate(shapes[i]))


def permuted(i: int, shapes: Shapes, result: Shape, axes: Sequence[int]) -> Map:
    """In another order."""
    return tuple(ONE if is_one(d) else axes.index(p) for p, d in enumerate(shapes[i]))


def sliced(i: int, shapes: Shapes, result: Shape, start: Shape, shape: Shape, step: Shape) -> Map:
    """What is taken whole stays."""
    return tuple(
        ONE if is_one(d) else p if (isinstance(s, int) and s == 0 and c == d and e == 1) else MOVED
        for p, (d, s, c, e) in enumerate(zip(shapes[i], start, shape, step)))


def padded(i: int, shapes: Shapes, result: Shape, low: Shape, high: Shape, value: Any) -> Map:
    """The same where nothing is added."""
    unchanged = all(isinstance(a, int) and isinstance(b, int) and a == 0 == b for a, b in zip(low, high))
    return tuple(range(len(low))) if unchanged else (MOVED,) * len(low)


def gathered(i: int, shapes: Shapes, result: Shape, axes: Sequence[int]) -> Map:
    """The indices' dimensions stand together at the place of the first of `axes`; x is read anywhere."""
    if i == 0:
        return (MOVED,) * len(shapes[0])
    return tuple(ONE if is_one(d) else axes[0] + p for p, d in enumerate(shapes[i]))


def gathered_along(i: int, shapes: Shapes, result: Shape, axis: int) -> Map:
    """The index has the result's shape."""
    return same(i, shapes, result) if i == 1 else (MOVED,) * len(shapes[0])
