"""Where a loop in lanes needs no bounds checks: the interior of a padded load or a cropped store.

Most vectors of a stencil or a padded image lie inside the buffer whole. The loop asks once a turn whether they all
do, and then runs a copy of its body that trusts the index entries which were asked about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...ir import expr
from ...ir.expr import Dim, Expr
from ...ir.kernel import Store, Value
from .body import Scope, open_ends
from .writer import Index, X

Entry = tuple[Dim, Dim]                      # an index expression and the size that it must be below


class Interior(NamedTuple):
    """Vectors from `low` on that end at `high` at most are inside, if `holds`, as far as the `trusted` entries go."""

    low: Index
    high: Index
    holds: X | bool
    trusted: frozenset[Entry]

    def contains(self, scope: Scope, start: Index, lanes: int) -> X | bool:
        """Is the vector that starts there inside?"""
        w = scope.w
        return w.both(self.holds, w.both(w.less_equal(self.low, start), w.less_equal(w.add(start, lanes), self.high)))


def interior(scope: Scope, axis: str, wanted: Iterable[Value | Store]) -> Interior | None:
    """Where a loop over the lane axis needs no checks for these loads and stores; None if there is nothing to check."""
    entries = {e: None for x in wanted for e in _entries(scope, axis, x)}
    if not entries:
        return None
    w = scope.w
    holds: X | bool = True
    low: Index = 0
    high: Index = scope.index(scope.kernel.axes[axis])
    for x, size in entries:
        bound = scope.index(size)
        along = expr.coefficient(x, axis) or 0
        rest = scope.index(x - along * scope.kernel.axis(axis))
        if along == 0:
            holds = w.both(holds, w.both(w.less_equal(0, rest), w.less(rest, bound)))
        else:
            low, high = w.max(low, w.sub(0, rest)), w.min(high, w.sub(bound, rest))
    return Interior(low, high, holds, frozenset(entries))


def _entries(scope: Scope, axis: str, x: Value | Store) -> list[Entry]:
    """The entries of a load or a store that may be outside, and that a loop over the axis can answer for."""
    if not isinstance(x, Store) and (x.op != "load" or x.fill is None) or axis not in x.axes:
        return []
    out: list[Entry] = []
    for i, size in zip(x.index, scope.kernel.buffers[x.buffer].shape):
        if isinstance(i, Expr) and any(open_ends(i, size)) and expr.coefficient(i, axis) in (0, 1):
            if all(s == axis or s in scope.point for s in expr.symbols(i)):
                out.append((i, size))
    return out
