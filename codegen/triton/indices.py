"""Integer expressions of positions and sizes as Triton text. Its `//` and `%` cut towards zero, ours floor: where an
operand may be negative, a helper does it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ...ir import expr
from ...ir.expr import Atom, Dim, Expr, Quotient


def spell(x: Dim, names: Mapping[str, str], use: Callable[[str], str]) -> str:
    """The text of x, with symbols spelled by `names`; `use` asks for a helper function."""
    return _Speller(names, use).sum(x)


class _Speller:
    def __init__(self, names: Mapping[str, str], use: Callable[[str], str]):
        self.names, self.use = names, use

    def sum(self, x: Dim) -> str:
        if not isinstance(x, Expr):
            return str(x)
        if len(x.terms) == 1 and (alone := next(iter(x.terms.items())))[1] == 1 and len(alone[0]) == 1:
            return self.atom(alone[0][0])
        text = ""
        for m in sorted(x.terms, key=lambda m: (not m, x.terms[m] < 0, -len(m), repr(m))):
            c = x.terms[m]
            number = [str(abs(c))] if abs(c) != 1 or not m else []
            term = " * ".join([*(factor(self.atom(a)) for a in m), *number])
            text += f" {'-' if c < 0 else '+'} {term}" if text else term if c > 0 else f"-{term}"
        return text

    def atom(self, a: Atom) -> str:
        if not isinstance(a, Quotient):
            return self.names[a.name]
        left, right = self.sum(a.left), self.sum(a.right)
        if a.kind in ("min", "max"):
            return f"tl.{a.kind}imum({left}, {right})"
        if expr.is_less_equal(0, a.left) and expr.is_less_equal(1, a.right):
            return f"{factor(left)} {'//' if a.kind == 'floordiv' else '%'} {factor(right)}"
        return f"{self.use(f'floor_{a.kind}')}({left}, {right})"


def factor(text: str) -> str:
    """A text that may stand beside `*` and `//`."""
    return text if _IS_ONE.fullmatch(text) else f"({text})"


_IS_ONE = re.compile(r"[\w.]+(\([^()]*\))?")
