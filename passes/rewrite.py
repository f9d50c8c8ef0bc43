"""Rewrite rules: a pattern, a class and a function, kept in a table that is indexed by what a rule looks at first.

    @rule(P.mul(x, 1), exact)
    def multiply_by_one(x):
        return x

A pattern is an op applied to variables (bound by name; the same one twice must be the same value), to numbers (a constant, also one
that is broadcast; -0.0 is not 0.0) and to patterns; a variable as an attribute binds it. Commutative ops are tried both ways. The function gets
what was bound, and gives a value, a number, or None where the rule does not apply after all. Shapes need no care: what is smaller than
the root is broadcast to it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import product
from typing import Any

from ..ir.graph import Value
from ..ir.ops.declare import Op
from ..ir.ops.namespace import F
from ..ir.types import DTYPES, DType


class Exactness(Enum):
    """What a rule promises."""

    exact = "the same bits for all operands: signed zeros, infinities, NaN"
    integer = "the same bits for the integer dtypes that it names, which wrap"
    accurate = "another rounding, nearer to the true value than the op's own definition"
    reassociate = "the same for real numbers; other roundings"
    finite = "the same for finite numbers, when the sign of a zero does not matter"


exact, integer, accurate, reassociate, finite = Exactness
DEFAULT = frozenset({exact, integer})


@dataclass(frozen=True)
class Variable:
    """Binds a value, an attribute, (`is_number`) the number of a constant, or (`is_rest`) a tuple of all operands.

    `dtype`: of a value, where the rule asks for one.
    """

    name: str
    dtype: DType | None = None
    is_number: bool = False
    is_rest: bool = False


@dataclass(frozen=True)
class Pattern:
    """An op applied to operand patterns, with variables for some of its attributes."""

    op: Op
    operands: tuple[Any, ...]
    attrs: Mapping[str, Variable]


class Patterns:
    """`P.mul(x, 1)`: the op registry as patterns."""

    def __getattr__(self, name: str) -> Callable[..., Pattern]:
        return self[F[name]]

    def __getitem__(self, op: Op) -> Callable[..., Pattern]:
        return lambda *operands, **attrs: Pattern(op, operands, attrs)


P = Patterns()


def variables(names: str, dtype: DType | None = None) -> list[Variable]:
    """Variables for values or attributes."""
    return [Variable(n, dtype) for n in names.split()]


def numbers(names: str) -> list[Variable]:
    """Variables for the numbers of constants."""
    return [Variable(n, is_number=True) for n in names.split()]


def rest(name: str) -> Variable:
    """A variable for all operands of an op that takes any number of them."""
    return Variable(name, is_rest=True)


@dataclass(frozen=True, eq=False)
class Rule:
    """A rewrite. `on`: dtypes of the root's last operand. `examples`: operands' shapes, attributes and numbers for its tests."""

    name: str
    pattern: Pattern
    promise: Exactness
    function: Callable[..., Any]
    on: frozenset[DType]
    examples: tuple[Mapping[str, Any], ...] = ({},)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The variables that the function asks for."""
        return tuple(inspect.signature(self.function).parameters)

    def apply(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Any:
        """What the node is rewritten to (a value or a number), or None."""
        if operands[-1].dtype not in self.on:
            return None
        for found in matches(self.pattern, op, operands, attrs):
            out = self.function(**{k: found[k] for k in self.parameters})
            if out is not None:
                return out
        return None


# ---- matching --------------------------------------------------------------------------------------------------------


def number_of(v: Value) -> Any:
    """The number that all elements of a value are, if it is a constant or a broadcast one; else None."""
    node = v.node
    if node is not None and node.op is F.broadcast_to:
        node = node.operands[0].node
    return node.attrs["value"] if node is not None and node.op is F.constant else None


def same_number(a: Any, b: Any) -> bool:
    """Equal, sign of zero included; NaN is equal to nothing."""
    return a == b and (a != 0 or isinstance(a, complex) or math.copysign(1, a) == math.copysign(1, b))


def matches(pattern: Pattern, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All ways that a node matches: what each variable is bound to."""
    for order in _orders(pattern):
        found = [{v.name: attrs[k] for k, v in pattern.attrs.items()}]
        if len(order) == 1 and isinstance(order[0], Variable) and order[0].is_rest:
            order, found = (), [{**found[0], order[0].name: tuple(operands)}]
        for p, v in zip(order, operands):
            found = [more for one in found for more in _operand_matches(p, v, one)]
        yield from found


def _orders(pattern: Pattern) -> Iterator[tuple[Any, ...]]:
    yield pattern.operands
    if "commutative" in pattern.op.traits and pattern.operands[0] != pattern.operands[1]:
        yield pattern.operands[::-1]


def _operand_matches(p: Any, v: Value, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(p, Pattern):
        if v.node is not None and v.node.op is p.op:
            for inner in matches(p, p.op, v.node.operands, v.node.attrs):
                if all(found.get(k, b) is b or found[k] == b for k, b in inner.items()):
                    yield {**found, **inner}
    elif isinstance(p, Variable) and not p.is_number:
        if (p.dtype is None or v.dtype is p.dtype) and found.get(p.name, v) is v:
            yield {**found, p.name: v}
    else:
        number = number_of(v)
        if isinstance(p, Variable) and number is not None:
            yield {**found, p.name: number}
        elif number is not None and same_number(number, p):
            yield found


# ---- the table -------------------------------------------------------------------------------------------------------


class Table:
    """Rules, found by the root's op and by what one of its operands is computed with."""

    def __init__(self, rules: Iterable[Rule] = ()):
        self.rules: list[Rule] = []
        self._by_operand: dict[tuple[Op, int, Op], list[Rule]] = {}
        self._by_root: dict[Op, list[Rule]] = {}
        for r in rules:
            self.add(r)

    def add(self, r: Rule) -> None:
        """A further rule."""
        self.rules.append(r)
        keys = {k for order in _orders(r.pattern) for k in _keys(r.pattern.op, order)}
        if not keys:
            self._by_root.setdefault(r.pattern.op, []).append(r)
        for k in keys:
            self._by_operand.setdefault(k, []).append(r)

    def subset(self, promises: Iterable[Exactness]) -> Table:
        """The rules with these promises."""
        allowed = frozenset(promises)
        return Table(r for r in self.rules if r.promise in allowed)

    def rewrite(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Any:
        """What the first rule that applies makes of a node; None if none does."""
        for position, v in enumerate(operands):
            if v.node is not None:
                for r in self._by_operand.get((op, position, v.node.op), ()):
                    out = r.apply(op, operands, attrs)
                    if out is not None:
                        return out
        for r in self._by_root.get(op, ()):
            out = r.apply(op, operands, attrs)
            if out is not None:
                return out
        return None


def _keys(op: Op, operands: Sequence[Any]) -> list[tuple[Op, int, Op]]:
    """Under what a rule is found: its first operand that is not a plain variable."""
    for position, p in enumerate(operands):
        if isinstance(p, Pattern):
            return [(op, position, p.op)]
        if not isinstance(p, Variable) or p.is_number:
            return [(op, position, F.constant), (op, position, F.broadcast_to)]
    return []


TABLE = Table()


def rule(pattern: Pattern, promise: Exactness, on: Iterable[DType] = DTYPES, examples: Iterable[Mapping[str, Any]] = (), name: str = "",
         **choices: Sequence[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters the decorated function in the table. `choices`: examples for single variables, all combinations of which are tried."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        combined = [dict(zip(choices, values)) for values in product(*choices.values())]
        cases = tuple({**e, **c} for e, c in product(tuple(examples) or ({},), combined))
        wanted = frozenset(d for d in on if pattern.op.kind != "pointwise" or d in pattern.op.dtypes)
        r = Rule(name or function.__name__, pattern, promise, function, wanted, cases)
        missing = set(r.parameters) - names_of(pattern)
        if missing:
            raise TypeError(f"rule {r.name}: {', '.join(sorted(missing))} not in its pattern")
        TABLE.add(r)
        return function

    return enter


def names_of(pattern: Any) -> set[str]:
    """The names of a pattern's variables."""
    if isinstance(pattern, Variable):
        return {pattern.name}
    if isinstance(pattern, Pattern):
        return {v.name for v in pattern.attrs.values()}.union(*map(names_of, pattern.operands))
    return set()
