"""Index expressions at a point of the iteration space, one axis of which may run in vector lanes.

A `Line` is what such an expression is there: `start + lane * step` where it can be, which makes a load contiguous or
strided, else i64 lanes of their own. Sums are split by where their terms are known: what does not vary in a loop is
computed outside of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...ir import expr
from ...ir.expr import Atom, Dim, Expr, Quotient, Symbol
from .writer import Index, X

if TYPE_CHECKING:
    from .body import Scope


class Line(NamedTuple):
    """An index in lanes: `start + lane * step`, or, where `lanes` is given, these i64 lanes. `step` 0: the same in all
    lanes.
    """

    start: Index
    step: Index = 0
    lanes: X | None = None

    @property
    def is_uniform(self) -> bool:
        """Is it the same in all lanes?"""
        return self.lanes is None and isinstance(self.step, int) and self.step == 0


def line(scope: Scope, x: Dim) -> Line:
    """The line that an index expression is at a scope."""
    if not isinstance(x, Expr):
        return Line(x)
    if not scope.lane or scope.lane not in expr.symbols(x):
        return Line(uniform(scope, x))
    step = expr.coefficient(x, scope.lane)
    if step is None:
        return _sum(scope, x)
    rest = x - step * expr.Expr({(symbol,): 1}) if (symbol := _symbol(x, scope.lane)) else x
    apart = uniform(scope, step)
    return Line(scope.w.add(uniform(scope, rest), scope.w.mul(scope.point[scope.lane], apart)), apart)


def uniform(scope: Scope, x: Dim) -> Index:
    """An index expression that is the same in all lanes, as a scalar."""
    if not isinstance(x, Expr):
        return x
    found = scope.find(x)
    if found is not None:
        return found
    w = scope.w
    total: Index = 0
    outer, own = _by_depth(scope, x)
    if outer is not None:
        total = uniform(scope, outer)
    for monomial, factor in own.items():
        term: Index = factor
        for a in monomial:
            term = w.mul(term, _uniform_atom(scope, a))
        total = w.add(total, term)
    scope.known[x] = total
    return total


def _by_depth(scope: Scope, x: Expr) -> tuple[Dim | None, dict]:
    """The terms of x that are known outside of this scope, as one expression (None if that is all or nothing), and the
    others.
    """
    if scope.parent is None:
        return None, x.terms
    known = scope.parent.point
    outside = {m: c for m, c in x.terms.items() if all(s in known for a in m for s in _names(a))}
    if not any(outside) or len(outside) == len(x.terms):
        return None, x.terms
    return expr.Expr(outside), {m: c for m, c in x.terms.items() if m not in outside}


def _names(a: Atom) -> frozenset[str]:
    return frozenset((a.name,)) if isinstance(a, Symbol) else expr.symbols(a.left) | expr.symbols(a.right)


def _symbol(x: Expr, name: str) -> Symbol | None:
    return next((a for m in x.terms for a in m if isinstance(a, Symbol) and a.name == name), None)


def _uniform_atom(scope: Scope, a: Atom) -> Index:
    if isinstance(a, Symbol):
        return scope.point[a.name]
    found = scope.find(a)
    if found is None:
        found = _quotient(scope, a, uniform(scope, a.left), uniform(scope, a.right))
        scope.known[a] = found
    return found


def _quotient(scope: Scope, a: Quotient, left: Index, right: Index) -> Index:
    w = scope.w
    if a.kind in ("min", "max"):
        return (w.min if a.kind == "min" else w.max)(left, right)
    low, high = expr.bounds(a.left)
    if low is None or low < 0 or not isinstance(left, X):
        return (w.floordiv if a.kind == "floordiv" else w.mod)(left, right)
    # a 32-bit division is several times cheaper
    if high is not None and high < 1 << 31 and isinstance(right, int):
        narrow = w.convert("trunc", left, "i32")
        return w.convert("zext", w.binary("udiv" if a.kind == "floordiv" else "urem", narrow, right), "i64")
    return w.binary("udiv" if a.kind == "floordiv" else "urem", left, right)


# ---- what is not affine in the lane axis -----------------------------------------------------------------------------


def _sum(scope: Scope, x: Expr) -> Line:
    """A sum of products some of which hold quotients of the lane axis."""
    w = scope.w
    flat: dict = {m: c for m, c in x.terms.items() if not any(scope.lane in _names(a) for a in m)}
    total = Line(uniform(scope, expr.Expr(flat)) if flat else 0)
    for monomial, factor in x.terms.items():
        if monomial in flat:
            continue
        term = Line(factor)
        for a in monomial:
            term = _product(scope, term, _atom(scope, a))
        if total.lanes is None and term.lanes is None:
            total = Line(w.add(total.start, term.start), w.add(total.step, term.step))
        else:
            total = Line(0, 0, w.add(in_lanes(scope, total), in_lanes(scope, term)))
    return total


def _product(scope: Scope, a: Line, b: Line) -> Line:
    w = scope.w
    if a.is_uniform and b.lanes is None:
        return Line(w.mul(a.start, b.start), w.mul(a.start, b.step))
    if b.is_uniform and a.lanes is None:
        return Line(w.mul(a.start, b.start), w.mul(a.step, b.start))
    return Line(0, 0, w.mul(in_lanes(scope, a), in_lanes(scope, b)))


def _atom(scope: Scope, a: Atom) -> Line:
    if isinstance(a, Symbol):
        return Line(scope.point[a.name], 1 if a.name == scope.lane else 0)
    left, right = line(scope, a.left), line(scope, a.right)
    if left.is_uniform and right.is_uniform:
        return Line(_quotient(scope, a, left.start, right.start))
    if _never_straddles(scope, a):
        start = _quotient(scope, a, left.start, right.start)
        return Line(start, 0 if a.kind == "floordiv" else 1)
    w, l = scope.w, in_lanes(scope, left)
    if a.kind in ("min", "max"):
        return Line(0, 0, w.intrinsic("smin" if a.kind == "min" else "smax", l, in_lanes(scope, right)))
    return Line(0, 0, _lane_quotient(scope, a, l, right))


def _never_straddles(scope: Scope, a: Quotient) -> bool:
    """Vectors start at multiples of their length: x // d is one number and x % d a run if d and the rest of x are such
    multiples.
    """
    if a.kind not in ("floordiv", "mod") or not scope.aligned or not isinstance(a.right, int) or a.right % scope.lanes:
        return False
    x = a.left
    if not isinstance(x, Expr) or expr.coefficient(x, scope.lane) != 1:
        return False
    return all(c % scope.lanes == 0 for m, c in x.terms.items() if not (len(m) == 1 and scope.lane in _names(m[0])))


def _lane_quotient(scope: Scope, a: Quotient, left: X, right: Line) -> X:
    w, (low, high) = scope.w, expr.bounds(a.left)
    floor = a.kind == "floordiv"
    if isinstance(a.right, int) and low is not None and low >= 0:
        if high is not None and high < 1 << 31:
            narrow = w.binary("udiv" if floor else "urem", w.convert("trunc", left, "i32"), a.right)
            return w.convert("zext", narrow, "i64")
        return w.binary("udiv" if floor else "urem", left, a.right)
    divisor = in_lanes(scope, right)
    quotient = w.binary("sdiv", left, divisor)
    rest = w.sub(left, w.mul(quotient, divisor))
    negative = w.binary("ashr", rest, 63)
    return w.add(quotient, negative) if floor else w.add(rest, w.binary("and", negative, divisor))


def in_lanes(scope: Scope, x: Line) -> X:
    """A line as i64 lanes."""
    if x.lanes is not None:
        return x.lanes
    if x.is_uniform:
        return scope.w.splat(scope.w.lift(x.start), scope.lanes)
    return scope.w.offsets(x.start, scope.lanes, x.step)
