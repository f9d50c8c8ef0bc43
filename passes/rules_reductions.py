"""Rewrite rules of reductions and scans: over nothing, over dimensions of size 1, two in a row."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.ops.declare import REAL, Op
from ..ir.ops.namespace import F
from ..ir.types import FLOATS, INTEGERS, DType, bool_
from .rewrite import Exactness, P, exact, finite, integer, reassociate, rule, variables

(x,) = variables("x")
axes, inner, axis = variables("axes inner axis")


ONES = [{"x": (1, 3, 1), "axes": (0, 2)}, {"x": (2, 3), "axes": ()}]


def _over_ones(op: Op, promise: Exactness, on: Iterable[DType]) -> None:
    """One element is its own product or maximum; and its own sum, but for -0.0, which is added to 0.0."""

    def function(x, axes):
        if any(x.shape[a] != 1 for a in axes):
            return None
        return F.reshape(x, shape=tuple(d for i, d in enumerate(x.shape) if i not in axes))

    rule(P[op](x, axes=axes), promise, on=on, name=f"{op.name}_of_one_{promise.name}", examples=ONES)(function)


def _position_of_one(op: Op) -> None:
    rule(P[op](x, axes=axes), exact, name=f"{op.name}_of_one", examples=[{"x": (1, 3), "axes": (0,)}])(
        lambda x, axes: 0 if all(x.shape[a] == 1 for a in axes) else None)


def _scan_of_one(op: Op) -> None:
    rule(P[op](x, axis=axis), exact, name=f"{op.name}_of_one", examples=[{"x": (3, 1), "axis": 1, "reverse": False}])(
        lambda x, axis: x if x.shape[axis] == 1 else None)


def _twice(op: Op, promise: Exactness, on: Iterable[DType]) -> None:
    """Over some axes and then others is over all of them."""

    def function(x, inner, axes):
        kept = [i for i in range(len(x.shape)) if i not in inner]
        return op(x, axes=tuple(sorted((*inner, *(kept[a] for a in axes)))))

    rule(P[op](P[op](x, axes=inner), axes=axes), promise, on=on, name=f"{op.name}_twice_{promise.name}",
         examples=[{"x": (2, 3, 4), "inner": (1,), "axes": (0,)}])(function)


for _op in (F.prod, F.max, F.min, F.any, F.all):
    _over_ones(_op, exact, (bool_, *REAL))
_over_ones(F.sum, integer, INTEGERS)
_over_ones(F.sum, finite, FLOATS)
for _op in (F.argmax, F.argmin):
    _position_of_one(_op)
for _op in (F.cumsum, F.cumprod, F.cummax, F.cummin):
    _scan_of_one(_op)
for _op in (F.sum, F.prod):
    _twice(_op, integer, INTEGERS)
    _twice(_op, reassociate, FLOATS)
for _op in (F.max, F.min):
    _twice(_op, integer, (bool_, *INTEGERS))
    _twice(_op, finite, FLOATS)
for _op in (F.any, F.all):
    _twice(_op, exact, (bool_,))
