"""Rewrite rules: a pattern, a class and a function, kept in a table that is indexed by what a rule looks at first.

    @rule(P.mul(x, 1), exact)
    def multiply_by_one(x):
        return x

A pattern is an op applied to variables (bound by name; the same one twice must be the same value), to numbers (a
constant, also one that is broadcast; -0.0 is not 0.0) and to patterns; a variable as an attribute binds it. Commutative
ops are tried both ways. The function gets what was bound, and gives a value, a number, or None where the rule does not
apply after all. Shapes need no care: what is smaller than the root is broadcast to it.
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
    """A rewrite. `on`: dtypes of the root's last operand. `examples`: operands' shapes, attributes and numbers for its
    tests.
    """

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

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The pattern's matchers, one for each order of the operands of commutative ops."""
        return tuple(Variant(self, p) for p in _orders(self.pattern))

    def apply(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Any:
        """What a node is rewritten to (a value or a number), or None."""
        if op is not self.pattern.op:
            return None
        return next((out for v in self.variants if (out := v.apply(operands, attrs)) is not None), None)


class Variant:
    """A rule for one order of operands: where it is found in the table, and its matcher."""

    def __init__(self, rule: Rule, pattern: Pattern):
        self.rule, self.pattern = rule, pattern
        self.on, self.function, self.parameters = rule.on, rule.function, rule.parameters
        self.match = _node_matcher(pattern)

    def apply(self, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Any:
        """What a node with the pattern's op is rewritten to, or None."""
        found: dict[str, Any] = {}
        if operands[-1].dtype not in self.on or not self.match(operands, attrs, found):
            return None
        return self.function(**{k: found[k] for k in self.parameters})


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


def _orders(p: Any) -> Iterator[Any]:
    """A pattern with the operands of its commutative ops in every order."""
    if not isinstance(p, Pattern):
        yield p
        return
    for operands in product(*(tuple(_orders(o)) for o in p.operands)):
        yield Pattern(p.op, operands, p.attrs)
        if "commutative" in p.op.traits and operands[0] != operands[1]:
            yield Pattern(p.op, operands[::-1], p.attrs)


NodeMatcher = Callable[[Sequence[Value], Mapping[str, Any], dict[str, Any]], bool]
Matcher = Callable[[Value, dict[str, Any]], bool]


def _node_matcher(p: Pattern) -> NodeMatcher:
    """Does a node with the pattern's op match? What its variables are bound to goes into the dictionary."""
    bound = [(v.name, k) for k, v in p.attrs.items()]
    whole = next((o.name for o in p.operands if isinstance(o, Variable) and o.is_rest), None)
    matchers = [] if whole else [_matcher(o) for o in p.operands]

    def match(operands: Sequence[Value], attrs: Mapping[str, Any], found: dict[str, Any]) -> bool:
        for name, key in bound:
            if found.setdefault(name, attrs[key]) != attrs[key]:
                return False
        if whole:
            found[whole] = tuple(operands)
        for one, v in zip(matchers, operands):
            if not one(v, found):
                return False
        return True

    return match


def _matcher(p: Any) -> Matcher:
    """The same for an operand."""
    if isinstance(p, Pattern):
        op, inner = p.op, _node_matcher(p)
        return lambda v, found: v.node is not None and v.node.op is op and inner(v.node.operands, v.node.attrs, found)
    if not isinstance(p, Variable):
        return lambda v, found: (number := number_of(v)) is not None and same_number(number, p)
    name, dtype = p.name, p.dtype
    if p.is_number:
        return lambda v, found: (number := number_of(v)) is not None and found.setdefault(name, number) is number
    if dtype is None:
        return lambda v, found: found.setdefault(name, v) is v
    return lambda v, found: v.dtype is dtype and found.setdefault(name, v) is v


# ---- the table -------------------------------------------------------------------------------------------------------


class Table:
    """Rules, found by the root's op and by what one of its operands is computed with."""

    def __init__(self, rules: Iterable[Rule] = ()):
        self.rules: list[Rule] = []
        self._by_operand: dict[Op, dict[tuple[int, Op], list[Variant]]] = {}
        self._by_root: dict[Op, list[Variant]] = {}
        for r in rules:
            self.add(r)

    def add(self, r: Rule) -> None:
        """A further rule."""
        self.rules.append(r)
        op = r.pattern.op
        for variant in r.variants:
            for key in _keys(variant.pattern):
                self._by_operand.setdefault(op, {}).setdefault(key, []).append(variant)
            if not _keys(variant.pattern):
                self._by_root.setdefault(op, []).append(variant)

    def subset(self, promises: Iterable[Exactness]) -> Table:
        """The rules with these promises."""
        allowed = frozenset(promises)
        return Table(r for r in self.rules if r.promise in allowed)

    def rewrite(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any]) -> Any:
        """What the first rule that applies makes of a node; None if none does."""
        found = self._by_operand.get(op)
        if found is not None:
            for position, v in enumerate(operands):
                if v.node is not None:
                    for variant in found.get((position, v.node.op), ()):
                        out = variant.apply(operands, attrs)
                        if out is not None:
                            return out
        for variant in self._by_root.get(op, ()):
            out = variant.apply(operands, attrs)
            if out is not None:
                return out
        return None


def _keys(p: Pattern) -> list[tuple[int, Op]]:
    """Under what a variant is found: its first operand that is not a plain variable."""
    for position, operand in enumerate(p.operands):
        if isinstance(operand, Pattern):
            return [(position, operand.op)]
        if not isinstance(operand, Variable) or operand.is_number:
            return [(position, F.constant), (position, F.broadcast_to)]
    return []


TABLE = Table()


def rule(pattern: Pattern, promise: Exactness, on: Iterable[DType] = DTYPES, examples: Iterable[Mapping[str, Any]] = (),
         name: str = "", **choices: Sequence[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters the decorated function in the table. `choices`: examples for single variables, all combinations of which
    are tried.
    """

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
