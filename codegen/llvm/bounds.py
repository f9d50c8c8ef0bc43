"""Where a loop in lanes needs no checks: the interior of a padded load, of a cropped store, of a choice by position.

Most vectors of a stencil or a padded image lie inside the buffer whole. The loop asks once a turn whether they all
do, and then runs a copy of its body that trusts the index entries and the conditions that were asked about. All of
them are asked as one kind of claim: that some index expressions are not negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...ir import expr
from ...ir.claims import Claim, conditions, entries, is_usual
from ...ir.expr import Dim
from ...ir.kernel import Store, Value
from .body import Scope
from .writer import Index, X


class Interior(NamedTuple):
    """Vectors from `low` on that end at `high` at most are inside, if `holds`, as far as the `trusted` claims go."""

    low: Index
    high: Index
    holds: X | bool
    trusted: frozenset[Claim]

    def contains(self, scope: Scope, start: Index, lanes: int) -> X | bool:
        """Is the vector that starts there inside?"""
        w = scope.w
        return w.both(self.holds, w.both(w.less_equal(self.low, start), w.less_equal(w.add(start, lanes), self.high)))


def interior(scope: Scope, axis: str, wanted: Iterable[Value | Store]) -> Interior | None:
    """Where a loop over the lane axis needs no checks for these loads and stores; None if there is nothing to check."""
    wanted = list(wanted)
    claims: dict[Claim, tuple[Dim, ...]] = {}
    for x in wanted:
        claims.update((e, needs) for e, needs in entries(scope.kernel, x) if _is_asked_along(scope, axis, needs))
    if not claims:
        return None
    for v in wanted:
        if isinstance(v, Value) and v.op == "select":
            asked = conditions(v.args[0]) or []
            usual = all(is_usual(n, scope.kernel.axes) for _, n in asked)
            if usual and _is_asked_along(scope, axis, [n for _, n in asked]):
                claims.update((c, (n,)) for c, n in asked)
                claims.setdefault(v.args[0], ())          # a conjunction asks nothing more than its parts
    w = scope.w
    holds: X | bool = True
    low: Index = 0
    high: Index = scope.index(scope.kernel.axes[axis])
    for need in dict.fromkeys(n for needs in claims.values() for n in needs):
        along = expr.coefficient(need, axis) or 0
        rest = scope.index(need - along * scope.kernel.axis(axis))
        if along == 0:
            holds = w.both(holds, w.less_equal(0, rest))
        elif along == 1:
            low = w.max(low, w.sub(0, rest))
        else:
            high = w.min(high, w.add(rest, 1))
    return Interior(low, high, holds, frozenset(claims))


def _is_asked_along(scope: Scope, axis: str, needs: Sequence[Dim]) -> bool:
    """Do they vary along the axis, and can a loop over it answer for them by where it starts and where it ends?"""
    return any(axis in expr.symbols(n) for n in needs) and all(
        expr.coefficient(n, axis) in (-1, 0, 1) and all(s == axis or s in scope.point for s in expr.symbols(n))
        for n in needs)
