"""What a contraction's kernel consists of, as its schedule names it: the sums, the operands, how they are combined."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.kernel import Kernel, Value
from ...ir.schedule import Contraction
from ...ir.types import DType, compute_dtype
from . import scalar
from .body import Scope
from .dots import Dot
from .tile import multiply_add
from .writer import Function, X


@dataclass(frozen=True)
class Operands:
    """The parts of a kernel that is a contraction: `total` is the sum of a term of `left` and `right`, computed in
    `dtype`; mostly it is their product. With a `dot`, they are what is cast before it is multiplied.
    """

    total: Value
    left: Value
    right: Value
    dtype: DType
    dot: Dot | None = None
    others: tuple[tuple[Value, Value], ...] = ()  # further sums of left with something else, and that

    @property
    def sums(self) -> tuple[tuple[Value, Value], ...]:
        """All sums, and what left is multiplied by in each."""
        return (self.total, self.right), *self.others

    @property
    def is_product(self) -> bool:
        """Is the term left times right?"""
        term = self.total.args[0]
        return self.dot is not None or term.op == "mul" and set(term.args) == {self.left, self.right}

    @property
    def packed(self) -> DType:
        """What is copied and packed."""
        return self.left.dtype if self.dot else self.dtype

    def added(self, w: Function, left: X, right: X, total: X) -> X:
        """The total with the term of a left and a right value added."""
        known = {self.left: left, self.right: right}

        def value(v: Value) -> X:
            if v not in known:
                args = [value(x) for x in v.args]
                known[v] = scalar.emit(w, v.op, args, self.dtype) if args else w.number(v.number, v.dtype, left.lanes)
            return known[v]

        term = self.total.args[0]
        if term.op == "mul":
            return multiply_add(w, self.dtype, value(term.args[0]), value(term.args[1]), total)
        return w.add(total, value(term))


def operands(kernel: Kernel, s: Contraction) -> Operands:
    """Which values of the kernel the schedule speaks of."""
    total, *more = [v for v in kernel.values if v.op == "reduce" and set(v.over) == set(s.k)]
    left, right = _sides(total.args[0], s)
    if s.dot:
        left, right = left.args[0], right.args[0]
        return Operands(total, left, right, total.dtype, Dot(s.dot, left.dtype, right.dtype, s.flips))
    others = tuple((t, next(x for x in t.args[0].args if x is not left)) for t in more)
    return Operands(total, left, right, compute_dtype(total.dtype), others=others)


def _sides(term: Value, s: Contraction) -> tuple[Value, Value]:
    """What does not vary over J, and what does not vary over I."""
    i, j = set(s.i), set(s.j)
    for a, b in (term.args, term.args[::-1]) if term.op == "mul" else ():
        if not j & set(a.axes) and not i & set(b.axes):
            return a, b
    sides: dict[bool, Value] = {}
    todo = [*term.args]
    while todo:
        v = todo.pop()
        if j & set(v.axes) and i & set(v.axes):
            todo += v.args
        elif v.op != "const":
            sides[not j & set(v.axes)] = v
    return sides[True], sides[False]


def seed_total(scope: Scope, o: Operands, x: X, total: Value | None = None) -> None:
    """Let the epilogue find the sum, or another one."""
    total = total or o.total
    scope.known[total] = x if o.dtype is total.dtype else scalar.emit(scope.w, "cast", (x,), o.dtype, total.dtype)
