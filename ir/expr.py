"""Integer expressions: sizes of tensors (`Dim`) and index expressions of kernels.

One small algebra (`ir/polynomials.py`) serves both, and is used through this file: `symbol`, `floordiv`, `minimum`, …
build expressions, `bounds` and `is_less` know their ranges, and what follows here looks inside: substitution, values,
coefficients, source. Everything is simplified when it is built; a constant result is a plain `int`. Nothing here knows
about tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from .polynomials import (
    Atom,
    Dim,
    Expr,
    Monomial,
    Quotient,
    Symbol,
    bounds,
    floordiv,
    from_terms,
    is_less,
    is_less_equal,
    is_static,
    maximum,
    minimum,
    mod,
    print_order,
    static,
    symbol,
)

__all__ = [
    "Atom", "Dim", "Expr", "Monomial", "Quotient", "Symbol", "as_python", "bounds", "coefficient", "evaluate",
    "floordiv", "is_less",
    "is_less_equal", "is_static", "maximum", "minimum", "mod", "product", "static", "substitute", "symbol", "symbols",
]  # fmt: skip


def product(dims: Iterable[Dim]) -> Dim:
    """The product of sizes; 1 for none."""
    out: Dim = 1
    for d in dims:
        out = d * out
    return out


def symbols(x: Dim) -> frozenset[str]:
    """The names of the symbols in x, those inside quotients too."""
    if not isinstance(x, Expr):
        return frozenset()
    return _symbols(x)


@lru_cache(maxsize=8192)
def _symbols(x: Expr) -> frozenset[str]:
    found: set[str] = set()
    for m in x.terms:
        for a in m:
            found |= {a.name} if isinstance(a, Symbol) else symbols(a.left) | symbols(a.right)
    return frozenset(found)


def substitute(x: Dim, values: Mapping[str, Dim]) -> Dim:
    """x with symbols replaced by name."""
    if not isinstance(x, Expr) or not any(s in values for s in symbols(x)):
        return x
    return _fold(x, lambda s: values.get(s.name, Expr({(s,): 1})), floordiv, mod, minimum, maximum)


def evaluate(x: Dim, values: Mapping[str, Any]) -> Any:
    """The number (or NumPy array) that x is for these values of its symbols."""
    if not isinstance(x, Expr):
        return x
    import numpy as np

    return _fold(x, lambda s: values[s.name], lambda a, b: a // b, lambda a, b: a % b, np.minimum, np.maximum)


Binary = Callable[[Any, Any], Any]


def _fold(x: Dim, leaf: Callable[[Symbol], Any], floor: Binary, remainder: Binary, low: Binary, high: Binary) -> Any:
    """x computed anew from its leaves by the given functions."""
    if not isinstance(x, Expr):
        return x
    total: Any = 0
    for m, c in x.terms.items():
        term: Any = c
        for a in m:
            if isinstance(a, Symbol):
                value = leaf(a)
            else:
                f = {"floordiv": floor, "mod": remainder, "min": low, "max": high}[a.kind]
                value = f(*(_fold(s, leaf, floor, remainder, low, high) for s in (a.left, a.right)))
            term = value * term
        total = term + total
    return total


def coefficient(x: Dim, name: str) -> Dim | None:
    """How much x grows when the symbol grows by one; None when that is not the same everywhere (x is not affine in
    it).
    """
    if not isinstance(x, Expr):
        return 0
    total: Dim = 0
    for m, c in x.terms.items():
        inside = [a for a in m if (a.name == name if isinstance(a, Symbol)
                                   else name in symbols(a.left) | symbols(a.right))]
        if not inside:
            continue
        if len(inside) > 1 or not isinstance(inside[0], Symbol):
            return None
        rest = list(m)
        rest.remove(inside[0])
        total = total + from_terms({tuple(rest): c})
    return total


_NEEDS_NO_PARENTHESES = re.compile(r"\w+(\[[^\[\]]*\])?").fullmatch


def as_python(x: Dim, name: Callable[[str], str] = str, least: str = "min", greatest: str = "max") -> str:
    """Python source of x, with symbols spelled by `name`; `least` and `greatest` are functions (those of NumPy, for
    arrays).
    """
    if not isinstance(x, Expr):
        return str(x)

    def atom(a: Atom) -> str:
        if isinstance(a, Symbol):
            return name(a.name)
        left, right = (as_python(side, name, least, greatest) for side in (a.left, a.right))
        if a.kind in ("min", "max"):
            return f"{least if a.kind == 'min' else greatest}({left}, {right})"
        left, right = (text if _NEEDS_NO_PARENTHESES(text) else f"({text})" for text in (left, right))
        text = f"{left} {'//' if a.kind == 'floordiv' else '%'} {right}"
        return text if len(x.terms) == 1 and x.terms.get((a,)) == 1 else f"({text})"

    text = ""
    for m in sorted(x.terms, key=lambda m: (not m, x.terms[m] < 0, print_order(m))):
        c = x.terms[m]
        factors = "*".join([*([str(abs(c))] if abs(c) != 1 or not m else []), *(atom(a) for a in m)])
        sign = "-" if c < 0 else "+"
        text += f" {sign} {factors}" if text else factors if c > 0 else f"-{factors}"
    return text
