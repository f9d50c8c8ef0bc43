"""The algebra behind `ir/expr.py`: polynomials with integer coefficients over atoms, simplified when built; ranges.

An atom is a `Symbol` (a size such as `B`, or a kernel's axis), a floor division, a remainder, or a minimum or maximum
of expressions. Building and ranges belong together: `x // d` and `x % d` simplify by what is known of x, and what is
known of a quotient follows from its parts. A constant result is a plain `int`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Union

Dim = Union[int, "Expr"]


class Symbol:
    """An unknown integer with an inclusive range: `low <= symbol <= high`; `high` may be an expression or None."""

    __slots__ = ("name", "low", "high", "_hash")

    def __init__(self, name: str, low: int = 0, high: Dim | None = None):
        self.name, self.low, self.high = name, low, high
        self._hash = hash(("symbol", name, low, high))

    def __eq__(self, other: object) -> bool:
        return self is other or (          # the range counts: simplified results are cached by it
            isinstance(other, Symbol) and (self.name, self.low, self.high) == (other.name, other.low, other.high))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return self.name


class Quotient:
    """`kind` of two expressions: floordiv, mod, min or max. Floor semantics, as Python's."""

    __slots__ = ("kind", "left", "right", "_hash", "_text")

    def __init__(self, kind: str, left: Dim, right: Dim):
        self.kind, self.left, self.right = kind, left, right
        self._hash = hash((kind, left, right))
        self._text = ""

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Quotient)
            and self._hash == other._hash
            and (self.kind, self.left, self.right) == (other.kind, other.left, other.right)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if not self._text:                    # kept: the factors of products are sorted by it
            sign = "//" if self.kind == "floordiv" else "%"
            is_call = self.kind in ("min", "max")
            self._text = (f"{self.kind}({self.left}, {self.right})" if is_call
                          else f"{_wrap(self.left)} {sign} {_wrap(self.right)}")
        return self._text


Atom = Union[Symbol, Quotient]
Monomial = tuple[Atom, ...]


def _wrap(x: Dim) -> str:
    text = str(x)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def print_order(monomial: Monomial) -> tuple[int, tuple[str, ...]]:
    """How the terms of a sum are sorted when it is shown: long products first."""
    return (-len(monomial), tuple(repr(a) for a in monomial))


class Expr:
    """A sum of integer multiples of products of atoms. Made by `symbol`, `floordiv`, … and by arithmetic."""

    __slots__ = ("terms", "_hash")

    def __init__(self, terms: dict[Monomial, int]):
        self.terms = terms
        self._hash = hash(frozenset(terms.items()))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Expr) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        if isinstance(other, int) and other == 0:
            return self
        terms = dict(self.terms)
        for m, c in _terms(other).items():
            terms[m] = terms.get(m, 0) + c
        return from_terms(terms)

    __radd__ = __add__

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int):
            return self if other == 1 else from_terms({m: c * other for m, c in self.terms.items()})
        terms: dict[Monomial, int] = {}
        for m, c in self.terms.items():
            for n, d in _terms(other).items():
                product = tuple(sorted(m + n, key=repr)) if m and n else m + n
                terms[product] = terms.get(product, 0) + c * d
        return from_terms(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)

    def __rmod__(self, other: Dim) -> Dim:
        return mod(other, self)

    def __bool__(self) -> bool:
        raise TypeError(f"the truth of the symbolic size {self} is not known; ask `is_equal` or `decide`")

    def __repr__(self) -> str:
        parts = []
        for m in sorted(self.terms, key=print_order):
            c = self.terms[m]
            names = "*".join(f"({a!r})" if isinstance(a, Quotient) and a.kind in ("floordiv", "mod") and (
                len(m) > 1 or c != 1 or len(self.terms) > 1) else repr(a) for a in m)
            text = names if abs(c) == 1 and m else f"{abs(c)}*{names}" if m else f"{abs(c)}"
            parts.append(f"{'-' if c < 0 else '+'} {text}")
        first = parts[0]
        parts[0] = first[2:] if first[0] == "+" else "-" + first[2:]
        return " ".join(parts)

    @property
    def constant(self) -> int:
        """The constant term."""
        return self.terms.get((), 0)


def _terms(x: Dim) -> dict[Monomial, int]:
    return x.terms if isinstance(x, Expr) else {(): int(x)} if x else {}


def from_terms(terms: dict[Monomial, int]) -> Dim:
    """The sum of these multiples of products, simplified."""
    terms = {m: c for m, c in terms.items() if c}
    if any(len(m) >= 1 and isinstance(a, Quotient) and a.kind == "mod" for m in terms for a in m):
        terms = _join_remainders(terms)
    if len(terms) > 1 and any(isinstance(a, Quotient) for m in terms for a in m):
        terms = _take_from_whole(terms)
    if not terms:
        return 0
    if len(terms) == 1 and () in terms:
        return terms[()]
    return Expr(terms)


def _join_remainders(terms: dict[Monomial, int]) -> dict[Monomial, int]:
    """`c*d*(x // d) + c*(x % d)` is `c*x`, and `c*d*((x % (k*d)) // d) + c*(x % d)` is `c*(x % (k*d))`."""
    for m, c in terms.items():
        if len(m) != 1 or not isinstance(m[0], Quotient) or m[0].kind != "mod":
            continue
        x, d = m[0].left, m[0].right
        for whole in (x, *_longer_remainders(terms, x, d)):
            before = floordiv(whole, d) * d * c
            if not isinstance(before, Expr) or len(before.terms) != 1:
                continue
            ((n, e),) = before.terms.items()
            if terms.get(n) == e:
                rest = {k: v for k, v in terms.items() if k not in (m, n)}
                for k, v in _terms(whole * c).items():
                    rest[k] = rest.get(k, 0) + v
                return _terms(from_terms(rest))
    return terms


def _take_from_whole(terms: dict[Monomial, int]) -> dict[Monomial, int]:
    """`c*x - c*d*(x // d)` is `c*(x % d)`, and `c*x - c*(x % d)` is `c*d*(x // d)`: so `(x + y) - y` is x."""
    for m, taken in terms.items():
        for a in m:
            if not isinstance(a, Quotient) or a.kind not in ("floordiv", "mod") or len(_terms(a.right)) != 1:
                continue
            part = _terms(Expr({(a,): 1}) * (a.right if a.kind == "floordiv" else 1))
            if m not in part or taken % part[m]:
                continue
            c = -taken // part[m]
            whole = _terms(a.left * c)
            is_number = not any(whole)                       # then there is as much of it as is wanted
            if is_number and (c < 0 or a.kind == "mod"):
                continue
            if all(_covers(terms.get(n, 0), v) for n, v in whole.items() if n):
                other = mod(a.left, a.right) if a.kind == "floordiv" else floordiv(a.left, a.right) * a.right
                return _terms(Expr({n: v for n, v in terms.items() if n != m}) - a.left * c + other * c)
    return terms


def _covers(have: int, part: int) -> bool:
    """Is a coefficient on the same side of 0 as a part of it, and as far away at least?"""
    return have >= part > 0 or have <= part < 0


def _longer_remainders(terms: dict[Monomial, int], x: Dim, d: Dim) -> list[Dim]:
    """The `x % (k*d)` whose quotients by d are among the terms."""
    found: list[Dim] = []
    for n in terms:
        if len(n) == 1 and isinstance(n[0], Quotient) and n[0].kind == "floordiv" and n[0].right == d:
            left = n[0].left
            if isinstance(left, Expr) and len(left.terms) == 1 and isinstance(d, int):
                ((inner, c),) = left.terms.items()
                if c == 1 and len(inner) == 1 and isinstance(inner[0], Quotient) and inner[0].kind == "mod":
                    longer = inner[0]
                    if longer.left == x and isinstance(longer.right, int) and longer.right % d == 0:
                        found.append(left)
    return found


def symbol(name: str, low: int = 0, high: Dim | None = None) -> Expr:
    """A fresh unknown by its name, `low <= name <= high`."""
    return Expr({(Symbol(name, low, high),): 1})


def is_static(x: Dim) -> bool:
    """Is this size a plain number?"""
    return not isinstance(x, Expr)


def static(x: Dim | None) -> int:
    """A size that must be a plain number."""
    if not isinstance(x, int):
        raise TypeError(f"{x} is not known before run time")
    return x


def _divide_terms(x: Dim, d: Dim) -> tuple[Dim, Dim]:
    """x = quotient * d + rest, moving whole terms only."""
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    if isinstance(d, int):
        for m, c in _terms(x).items():
            q, r = divmod(c, d) if not m else (c // d, 0) if c % d == 0 else (0, c)
            if q:
                quotient[m] = q
            if r:
                rest[m] = r
        return from_terms(quotient), from_terms(rest)
    if len(d.terms) != 1:
        if x == d:
            return 1, 0
        return 0, x
    ((dm, dc),) = d.terms.items()
    for m, c in _terms(x).items():
        left = list(m)
        for a in dm:
            if a in left:
                left.remove(a)
            else:
                break
        else:
            if c % dc == 0:
                quotient[tuple(left)] = quotient.get(tuple(left), 0) + c // dc
                continue
        rest[m] = c
    return from_terms(quotient), from_terms(rest)


@lru_cache(maxsize=8192)
def floordiv(x: Dim, d: Dim) -> Dim:
    """x // d with floor semantics; d must be positive when symbolic."""
    if isinstance(x, int) and isinstance(d, int):
        return x // d
    if d == 1:
        return x
    quotient, rest = _divide_terms(x, d)
    if rest == 0 or (is_less_equal(0, rest) and is_less(rest, d)):
        return quotient
    if is_less(rest, 0) and is_less_equal(0, rest + d):
        return quotient - 1
    if isinstance(rest, Expr) and len(rest.terms) == 1 and isinstance(d, int):
        ((m, c),) = rest.terms.items()
        if len(m) == 1 and c == 1 and isinstance(m[0], Quotient) and m[0].kind == "floordiv":
            return quotient + floordiv(m[0].left, m[0].right * d)    # (x // a) // b = x // (a*b)
        if c > 1 and d % c == 0:
            return quotient + floordiv(from_terms({m: 1}), d // c)        # (c*x) // (c*e) = x // e
    return quotient + Expr({(Quotient("floordiv", rest, d),): 1})


@lru_cache(maxsize=8192)
def mod(x: Dim, d: Dim) -> Dim:
    """x % d with floor semantics; d must be positive when symbolic."""
    if isinstance(x, int) and isinstance(d, int):
        return x % d
    if d == 1:
        return 0
    _, rest = _divide_terms(x, d)
    if rest == 0 or (is_less_equal(0, rest) and is_less(rest, d)):
        return rest
    if isinstance(rest, Expr) and len(rest.terms) == 1 and isinstance(d, int):
        ((m, c),) = rest.terms.items()
        if len(m) == 1 and c == 1 and isinstance(m[0], Quotient) and m[0].kind == "mod":
            inner = m[0].right
            if isinstance(inner, int) and inner % d == 0:
                return mod(m[0].left, d)                             # (x % (k*d)) % d = x % d
    return Expr({(Quotient("mod", rest, d),): 1})


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two sizes."""
    if is_less_equal(a, b):
        return a
    if is_less_equal(b, a):
        return b
    return Expr({(Quotient("min", a, b),): 1})


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two sizes."""
    if is_less_equal(a, b):
        return b
    if is_less_equal(b, a):
        return a
    return Expr({(Quotient("max", a, b),): 1})


# ---- ranges -----------------------------------------------------------------------------------------------------


Range = tuple["int | None", "int | None"]


def _atom_range(a: Atom) -> Range:
    if isinstance(a, Symbol):
        return a.low, (a.high if a.high is None else bounds(a.high)[1])
    left, right = bounds(a.left), bounds(a.right)
    if a.kind == "mod":
        ends = [x for x in (right[1] and right[1] - 1, left[1] if left[0] is not None and left[0] >= 0 else None)
                if x is not None]
        return 0, (min(ends) if ends else None)
    if a.kind == "floordiv":
        return _quotient_range(left, (max(1, right[0] or 1), right[1]))
    lows, highs = (left[0], right[0]), (left[1], right[1])
    if a.kind == "min":
        known = [h for h in highs if h is not None]
        return (None if None in lows else min(lows)), (min(known) if known else None)  # type: ignore[type-var]
    known = [x for x in lows if x is not None]
    return (max(known) if known else None), (None if None in highs else max(highs))  # type: ignore[type-var]


def _quotient_range(x: Range, d: tuple[int, int | None]) -> Range:
    """What x // d lies between: a large divisor brings it near to 0 or -1, the least one away from there."""

    def end(n: int | None, near: bool) -> int | None:
        if n is None:
            return None
        return n // d[0] if not near else n // d[1] if d[1] is not None else 0 if n >= 0 else -1

    low, high = x
    return end(low, near=low is not None and low >= 0), end(high, near=high is not None and high < 0)


def _product_range(x: Range, y: Range) -> Range:
    if x[0] is not None and y[0] is not None and x[0] >= 0 and y[0] >= 0:
        return x[0] * y[0], (None if x[1] is None or y[1] is None else x[1] * y[1])
    if None in x or None in y:
        return None, None
    corners = [p * q for p in x for q in y]  # type: ignore[operator]
    return min(corners), max(corners)


def bounds(x: Dim) -> Range:
    """An inclusive integer range that x is known to lie in; None where it has no bound."""
    if not isinstance(x, Expr):
        return x, x
    low: int | None = 0
    high: int | None = 0
    for m, c in x.terms.items():
        a: int | None = 1
        b: int | None = 1
        for n, atom in enumerate(m):
            a, b = _product_range((a, b), _atom_range(atom)) if n else _atom_range(atom)
        if c < 0:
            a, b = b, a
        low = None if low is None or a is None else low + c * a
        high = None if high is None or b is None else high + c * b
    return low, high


def _is_bounded_by_size(a: Atom) -> bool:
    return isinstance(a.high if isinstance(a, Symbol) else a.right if a.kind in ("mod", "floordiv") else None, Expr)


def _widest(x: Dim, upward: bool) -> Dim:
    """x with each atom that has a symbolic upper bound replaced so that the value can only grow (or shrink).

    An atom in a product is replaced only where all its factors are known not to be negative.
    """
    if not isinstance(x, Expr) or not any(_is_bounded_by_size(a) for m in x.terms for a in m):
        return x
    out: Dim = 0
    for m, c in x.terms.items():
        term: Dim = c
        grows = (c > 0) == upward
        is_monotone = len(m) == 1 or all((_atom_range(a)[0] or 0) >= 0 and _atom_range(a)[0] is not None for a in m)
        for a in m:
            term = term * (_widest_atom(a, grows) if is_monotone and _is_bounded_by_size(a) else Expr({(a,): 1}))
        out = out + term
    return out


def _widest_atom(a: Atom, grows: bool) -> Dim:
    if isinstance(a, Symbol):
        return a.high if grows else a.low  # type: ignore[return-value]
    if a.kind == "mod":
        return a.right - 1 if grows else 0
    return floordiv(_widest(a.left, grows), a.right)


def is_less_equal(a: Dim, b: Dim) -> bool:
    """Is a <= b for all values of the symbols? False also means "not known"."""
    if isinstance(a, int) and isinstance(b, int):
        return a <= b
    difference = b - a
    low = bounds(difference)[0]
    if low is not None and low >= 0:
        return True
    low = bounds(_widest(difference, upward=False))[0]
    return low is not None and low >= 0


def is_less(a: Dim, b: Dim) -> bool:
    """Is a < b for all values of the symbols? False also means "not known"."""
    return is_less_equal(a + 1, b)
