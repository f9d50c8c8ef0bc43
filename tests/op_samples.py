"""Samples of every op, derived from its declaration: kind, dtypes, domain, arity, parameters; `samples` where that does
not say enough.

A sample is the operands' arrays with attributes. In a declaration's `samples`, an operand is a shape (random values) or
a list (indices).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from braze.ir.build import GraphBuilder
from braze.ir.graph import Graph
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.ops.declare import Op
from braze.ir.types import DTYPES, DType, TensorType, bool_, dtype, float32, int64

OPS = [op for op in F if isinstance(op, Op) and op.kind != "control"]

POINTWISE_SHAPES = {
    1: [((),), ((0,),), ((7,),), ((2, 3),), ((3, 1, 17),)],
    2: [((), ()), ((3,), ()), ((2, 3), (3,)), ((4, 1), (1, 5)), ((0,), (1,)), ((2, 0, 3), (3,)), ((33,), (33,))],
    3: [((), (), ()), ((3,), (3,), (3,)), ((2, 1), (3,), ()), ((0,), (0,), (1,))],
}
REDUCED = [((5,), (0,)), ((3, 4), (0,)), ((3, 4), (1,)), ((3, 4), (0, 1)), ((2, 3, 5), (0, 2)), ((0, 3), (1,)),
           ((1, 1), (0,)), ((3, 4), ()), ((6, 70), (1,))]
EMPTY_REDUCED = [((0,), (0,)), ((2, 0), (1,))]
SCANNED = [((5,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 1, 3), 2), ((0, 2), 1)]


@dataclass(frozen=True)
class Sample:
    """An op with operands of one dtype and its attributes."""

    op: Op
    dtype: DType
    arrays: tuple[Any, ...]
    attrs: dict[str, Any]

    @property
    def name(self) -> str:
        """For test ids."""
        shapes = "x".join(str(list(a.shape)) for a in self.arrays)
        return f"{self.op.name}-{self.dtype.name}-{shapes}-{self.attrs or ''}"


def values(op: Op, d: DType, shape: tuple[int, ...], rng: np.random.Generator, operand: int = 0) -> Any:
    """Random values of a dtype, inside the op's domain; integers small, so that exact and float references agree."""
    if d.kind == "b":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if d.is_integer:
        low = 0 if d.kind == "u" else -6
        high = 4 if op.name == "pow" and operand == 1 else 7
        return rng.integers(low, high, shape).astype(d.numpy)
    low, high = op.domain or (-math.inf, math.inf)
    low, high = (-2.0 if low == -math.inf else low), (3.0 if high == math.inf else high)
    margin = 0.08 * (high - low)
    x = rng.uniform(low + margin, high - margin, shape)
    if op.kind != "pointwise":                     # distinct and away from ties
        x = np.round(x * 512) / 512
    if d.kind == "c":
        return (x + 1j * rng.uniform(0.1, 0.6, shape)).astype(d.numpy)
    return x.astype(d.numpy)


def samples(op: Op, d: DType) -> Iterator[Sample]:
    """All samples of an op whose main operands have this dtype."""
    rng = np.random.default_rng(0)
    for specs, attrs in _specs(op, d):
        arrays = tuple(np.asarray(s, np.int64) if isinstance(s, list) else values(op, d, s, rng, n)
                       for n, s in enumerate(specs))
        if op.name == "where":
            arrays = (rng.integers(0, 2, arrays[0].shape).astype(bool), *arrays[1:])
        elif op.name == "random_bits":
            arrays = (np.array([7, 2**40 + 3], np.uint64),)
        elif op.name == "searchsorted":
            arrays = (np.sort(arrays[0]), arrays[1])
        yield Sample(op, d, arrays, dict(attrs))


def _specs(op: Op, d: DType) -> Iterator[tuple[Any, dict[str, Any]]]:
    if op.samples is not None:
        yield from op.samples
    elif op.kind == "pointwise" and op.parameters == ("dtype",):
        targets = DTYPES if op.name == "cast" else [t for t in op.dtypes if t.bits == d.bits]
        for t in targets:
            for shapes in POINTWISE_SHAPES[1]:
                yield shapes, {"dtype": t}
    elif op.kind == "pointwise":
        for shapes in POINTWISE_SHAPES[op.arity]:
            yield shapes, {}
    elif op.kind == "reduction":
        for shape, axes in [*REDUCED, *(EMPTY_REDUCED if op.name in ("sum", "prod", "any", "all") else ())]:
            if axes or not op.name.startswith("arg"):
                yield (shape,), {"axes": axes}
    elif op.kind == "scan":
        for shape, axis in SCANNED:
            yield from ((((shape,), {"axis": axis, "reverse": r})) for r in (False, True))
    else:
        raise AssertionError(f"{op.name} needs `samples` in its declaration")


def build(op: Op, arrays: Any, attrs: dict[str, Any]) -> Graph:
    """The op alone, as a graph."""
    b = GraphBuilder(op.name)
    operands = tuple(b.input(type_of(a), f"x{n}") for n, a in enumerate(arrays))
    return b.build((b.bind(op, operands, attrs),))


def type_of(a: Any) -> TensorType:
    """The type of an array."""
    return TensorType(a.shape, dtype(a.dtype))


def gradient_graph(op: Op, arrays: Any, attrs: dict[str, Any]) -> tuple[Graph, list[int]]:
    """The cotangents of the operands that have one, from (operands, cotangent); and which operands these are."""
    b = GraphBuilder(f"{op.name}_vjp")
    operands = tuple(b.input(type_of(a), f"x{n}") for n, a in enumerate(arrays))
    with interpreting(b):
        y = b.bind(op, operands, attrs)
        g = b.input(y.type, "g")
        found = op.pullback(g, y, operands, attrs)
    which = [n for n, c in enumerate(found) if c is not None]
    return b.build([found[n] for n in which]), which


def tangent_graph(op: Op, arrays: Any, attrs: dict[str, Any], moving: list[int]) -> Graph | None:
    """The tangent of the result, from (operands, tangents of the moving operands); None where none flows."""
    b = GraphBuilder(f"{op.name}_jvp")
    operands = tuple(b.input(type_of(a), f"x{n}") for n, a in enumerate(arrays))
    tangents: list[Any] = [None] * len(operands)
    for n in moving:
        tangents[n] = b.input(operands[n].type, f"t{n}")
    with interpreting(b):
        y = b.bind(op, operands, attrs)
        t = op.pushforward(tangents, y, operands, attrs)
    return None if t is None else b.build([t])


def ulps(got: Any, want: Any, d: DType) -> Any:
    """How far from the float64 (or exact) value, in units in the last place of the dtype; equal infinities and NaN are
    0 away.
    """
    import ml_dtypes

    want = np.asarray(want, np.float64)
    info = ml_dtypes.finfo(d.numpy)
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(np.abs(want), float(info.smallest_normal))))
        unit = np.exp2(exponent) * float(info.eps)
        distance = np.abs(np.asarray(got, np.float64) - want) / unit
        rounded = want.astype(d.numpy)
    alike = (np.isnan(got) & np.isnan(want)) | (np.asarray(got) == rounded)
    return np.where(alike, 0.0, np.where(np.isnan(distance), np.inf, distance))


REAL_FLOAT, INDEX, TRUTH = float32, int64, bool_
