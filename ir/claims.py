"""What a kernel asks about positions: is an index inside its buffer, does a condition on positions hold?

Each question is put in one form, that some index expressions are not negative, so that emitters can answer it for a
whole vector or a whole box of positions, and passes can tell how far a kernel reaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Union

from . import expr
from .expr import Dim, Expr
from .kernel import Kernel, Store, Value
from .types import int64

# an index entry with the size it must be below, or a condition that must hold
Claim = Union[tuple[Dim, Dim], Value]


def open_ends(i: Any, size: Dim) -> tuple[bool, bool]:
    """Can an index entry lie below 0, and can it lie at or above the size?"""
    if isinstance(i, Value):
        return i.dtype.kind not in "ub", True
    return not expr.is_less_equal(0, i), not expr.is_less(i, size)


def entries(kernel: Kernel, x: Value | Store) -> Iterator[tuple[Claim, tuple[Dim, ...]]]:
    """The entries of a load or a store that may be outside, each with what must not be negative for it to be inside."""
    if not isinstance(x, Store) and (x.op != "load" or x.fill is None):
        return
    for i, size in zip(x.index, kernel.buffers[x.buffer].shape):
        if isinstance(i, Expr):
            low_open, high_open = open_ends(i, size)
            needs = [*([i] if low_open else []), *([size - 1 - i] if high_open else [])]
            if needs:
                yield (i, size), tuple(needs)


def need(v: Value) -> Dim | None:
    """What must not be negative for a comparison of positions to hold; None if it is no such comparison."""
    sides = [_position(a) for a in v.args] if v.op in _NEEDS else [None]
    return None if None in sides else _NEEDS[v.op](*sides)


def _position(v: Value) -> Dim | None:
    """A value as an expression of positions: a position, a whole number, sums and differences of these."""
    if v.op == "const" and v.dtype.is_integer:
        return v.number
    if v.op in ("add", "sub") and v.dtype is int64:
        left, right = map(_position, v.args)
        return None if left is None or right is None else left + right if v.op == "add" else left - right
    return v.index[0] if v.op == "index" else None       # type: ignore[return-value]


_NEEDS = {
    "lt": lambda a, b: b - a - 1,
    "le": lambda a, b: b - a,
    "gt": lambda a, b: a - b - 1,
    "ge": lambda a, b: a - b,
}


def conditions(v: Value) -> list[tuple[Value, Dim]] | None:
    """A condition as comparisons of positions that must all hold, each with what must not be negative; None if it is
    none such.
    """
    if v.op == "and":
        left, right = map(conditions, v.args)
        return None if left is None or right is None else left + right
    asked = need(v)
    return None if asked is None else [(v, asked)]


def is_usual(need: Dim, axes: Mapping[str, Dim]) -> bool:
    """Does a claim hold at most positions of the axis that it is about? (`i >= 1` does, `i < 1` does not: whoever
    trusts it would hardly be anywhere.) Where that cannot be told, it does.
    """
    found = [a for a in axes if a in expr.symbols(need)]
    extent = axes[found[0]] if len(found) == 1 else None
    step = expr.coefficient(need, found[0]) if len(found) == 1 else None
    rest = expr.substitute(need, {found[0]: 0}) if step in (1, -1) else None
    if not isinstance(extent, int) or not isinstance(rest, int):
        return True
    return 2 * (extent + rest if step == 1 else rest + 1) >= extent


def offsets(kernel: Kernel, buffer: str, store: Store) -> dict[Value, tuple[int, ...]] | None:
    """How far each load of a buffer lies from the place of a store, along each dimension; None where that varies."""
    found = {}
    for v in kernel.values:
        if v.op == "load" and v.buffer == buffer:
            apart = [None if isinstance(i, Value) or isinstance(j, Value) else i - j
                     for i, j in zip(v.index, store.index)]
            if len(v.index) != len(store.index) or not all(isinstance(x, int) for x in apart):
                return None
            found[v] = tuple(apart)
    return found            # type: ignore[return-value]
