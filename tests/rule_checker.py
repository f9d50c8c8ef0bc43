"""What a rewrite rule promises, tried: the rule's pattern is built and evaluated beside what the rule makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from braze.ir.build import GraphBuilder
from braze.ir.graph import Value
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import DTYPES, DType, TensorType
from braze.passes.copying import assume_equal
from braze.passes.rewrite import Exactness, Pattern, Rule, Variable

STRICT = (Exactness.exact, Exactness.integer)


def special_values(d: DType) -> np.ndarray:
    """Numbers that rules are wrong for: zeros of both signs, infinities, NaN, subnormal, huge, odd."""
    if d.kind == "b":
        return np.array([False, True])
    if d.is_integer:
        info = np.iinfo(d.numpy)
        return np.array([n for n in (0, 1, 2, 3, 7, 100, -1, -2, -100, info.min, info.max, info.max - 1)
                         if info.min <= n <= info.max], d.numpy)
    if d.kind == "c":
        parts = (0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan)
        return np.array([complex(a, b) for a in parts for b in parts], d.numpy)
    tiny, huge = {"f16": (2.0**-24, 65504.0), "bf16": (2.0**-133, 3.3895e38), "f32": (2.0**-149, 3.4028234e38),
                  "f64": (5e-324, 1.7e308), "f8e4m3fn": (2.0**-9, 448.0), "f8e5m2": (2.0**-16, 57344.0)}[d.name]
    some = [0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 1 / 3, 100.7, tiny, 3 * tiny, tiny * 2**11, huge, huge / 2, np.inf]
    return np.array([*some, *(-v for v in some), np.nan]).astype(d.numpy)


def plain_values(d: DType) -> np.ndarray:
    """Finite numbers of moderate size, not 0."""
    return np.array([1, 1.5, -2.25, 3, 0.7, -5] if d.is_inexact else [1, 2, 3, 5]).astype(d.numpy)


class _Sides:
    """A pattern as nodes, with arrays for its variables."""

    def __init__(self, rule: Rule, case: dict[str, Any], dtype: DType):
        self.rule, self.case, self.dtype = rule, case, dtype
        self.builder = GraphBuilder()
        self.builder.decide_equal = assume_equal
        self.known: dict[str, Any] = {}
        self.arrays: list[np.ndarray] = []
        self.free = sorted(n for n in _value_names(rule.pattern) if n not in case)

    def value(self, p: Any) -> Any:
        """A pattern, variable or number as a value."""
        if isinstance(p, Pattern):
            return self.node(p, self.case.get("inner", {}) if isinstance(self.case.get("inner"), dict) else {})
        if not isinstance(p, Variable):
            if self.dtype.is_integer and not np.isfinite(p):
                return None
            return self.builder.constant(p, DTYPES[0] if isinstance(p, bool) else self.dtype)
        if p.name not in self.known:
            self.known[p.name] = self.number(p) if p.is_number else self.input(p)
        return self.known[p.name]

    def node(self, p: Pattern, rest: dict[str, Any]) -> Any:
        """An op on its operands; None where it does not take the dtype."""
        if len(p.operands) == 1 and isinstance(p.operands[0], Variable) and p.operands[0].is_rest:
            operands = self.several(p.operands[0].name)
        else:
            operands = tuple(self.value(o) for o in p.operands)
        if any(o is None for o in operands) or any(o.dtype not in p.op.dtypes for o in operands):
            return None
        attrs = {k: self.case[p.attrs[k].name] if k in p.attrs else rest[k] for k in p.op.parameters if k in p.attrs
                 or k in rest}
        return self.lift(p.op, operands, attrs)

    def lift(self, op: Any, operands: Any, attrs: dict[str, Any]) -> Value:
        with interpreting(self.builder):
            return self.builder.bind(op, operands, attrs)

    def number(self, p: Variable) -> Value:
        number = self.case[p.name]
        number = number if not self.dtype.is_integer else int(number)
        return self.lift(F.broadcast_to, (self.builder.constant(number, self.dtype),),
                         {"shape": self.case.get(f"{p.name}_shape", ())})

    def several(self, name: str) -> tuple[Value, ...]:
        """Operands of an op that takes any number: inputs, cuts of one input, or one of them a node of the same op."""
        axis = self.case["axis"]
        parts = [self.given(f"{name}{i}", shape) for i, shape in enumerate(self.case[name])]
        if "cuts" in self.case:
            (whole,), cuts = parts, self.case["cuts"]
            return tuple(self.lift(F.slice, (whole,), {"start": tuple(a if i == axis else 0 for i in range(whole.ndim)),
                                                       "step": (1,) * whole.ndim,
                                                       "shape": tuple(b - a if i == axis else d
                                                                      for i, d in enumerate(whole.shape))})
                         for a, b in zip(cuts, cuts[1:]))
        return (self.lift(F.concat, tuple(parts), {"axis": axis}),
                parts[0]) if self.case.get("nested") else tuple(parts)

    def input(self, p: Variable) -> Value:
        if p.name in self.case:
            return self.given(p.name, self.case[p.name], p.dtype)
        d, at = p.dtype or self.dtype, self.free.index(p.name)
        array = self.pool(d).reshape([-1 if i == at else 1 for i in range(len(self.free))])
        return self.take(p.name, array, d)

    def given(self, name: str, shape: tuple[int, ...], d: DType | None = None) -> Value:
        rng = np.random.default_rng(len(self.arrays))
        return self.take(name, rng.choice(self.pool(d or self.dtype), shape), d or self.dtype)

    def take(self, name: str, array: np.ndarray, d: DType) -> Value:
        self.arrays.append(array)
        return self.builder.input(TensorType(array.shape, d), name)

    def pool(self, d: DType) -> np.ndarray:
        return special_values(d) if self.rule.promise in STRICT else plain_values(d)


def _value_names(p: Any) -> set[str]:
    if isinstance(p, Variable):
        return set() if p.is_number or p.is_rest else {p.name}
    return set().union(*map(_value_names, p.operands)) if isinstance(p, Pattern) else set()


def broken_promise(rule: Rule, case: dict[str, Any], dtype: DType) -> str | None | bool:
    """True where the rule does not apply, None where it keeps its promise, else what it got wrong."""
    sides = _Sides(rule, case, dtype)
    rest = {k: v for k, v in case.items() if k != "inner"}
    left = sides.node(rule.pattern, rest)
    if left is None or left.node is None:
        return True
    with interpreting(sides.builder):
        right = rule.apply(left.node.op, left.node.operands, left.node.attrs)
        if right is None:
            return True
        right = right if isinstance(right, Value) else sides.builder.constant(right, left.dtype)
        if right.dtype is not left.dtype:
            return f"{right.type} for {left.type}"
        right = right if right.shape == left.shape else F.broadcast_to(right, shape=left.shape)
    want, got = sides.builder.build([left, right]).eval(*sides.arrays)
    same = same_bits(want, got) if rule.promise in STRICT else close(want, got, dtype)
    return None if same.all() else f"{dtype}, {case}: {want[~same][:3]} became {got[~same][:3]}"


def same_bits(a: Any, b: Any) -> np.ndarray:
    """Elements that are the same number, with the sign of zeros; all NaN are the same."""
    if a.dtype.kind == "c":
        return same_bits(a.real, b.real) & same_bits(a.imag, b.imag)
    if a.dtype.kind in "buiO":
        return a == b
    with np.errstate(all="ignore"):
        return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def close(a: Any, b: Any, dtype: DType) -> np.ndarray:
    """Elements that differ by a few roundings."""
    if dtype.kind in "bui":
        return a == b
    eps = {"f8e4m3fn": 0.0625, "f8e5m2": 0.125, "f16": 1e-3, "bf16": 1e-2, "f32": 1e-6, "f64": 1e-14, "c64": 1e-6,
           "c128": 1e-14}[dtype.name]
    wide = np.complex128 if dtype.kind == "c" else np.float64
    return np.isclose(a.astype(wide), b.astype(wide), rtol=8 * eps, atol=eps)
