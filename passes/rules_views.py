"""Rewrite rules of views: identities, two of a kind in a row, slices of what was put together, views of one number.

Rules with inequalities between sizes ask for known sizes; equal ones may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.expr import Dim, Expr
from ..ir.graph import Value
from ..ir.ops.namespace import F
from .rewrite import P, exact, numbers, rest, rule, same_number, variables

(x,) = variables("x")
(c,) = numbers("c")
xs, ys = rest("xs"), rest("ys")
shape, inner, axes, axis, outer = variables("shape inner axes axis outer")
low, high, value, start, step = variables("low high value start step")
low2, high2, start2, step2 = variables("low2 high2 start2 step2")


def _is(d: Dim, number: int) -> bool:
    return isinstance(d, int) and d == number


def _known(*sizes: Sequence[Dim]) -> bool:
    return not any(isinstance(d, Expr) for s in sizes for d in s)


# ---- reshape, permute, broadcast -------------------------------------------------------------------------------------


@rule(P.reshape(x, shape=shape), exact, examples=[{"x": (2, 3), "shape": (2, 3)}])
def reshape_to_own_shape(x, shape):
    return x if x.shape == shape else None


@rule(P.reshape(P.reshape(x), shape=shape), exact, examples=[{"x": (2, 6), "inner": {"shape": (3, 4)},
                                                              "shape": (4, 3)}])
def reshape_twice(x, shape):
    return F.reshape(x, shape=shape)


@rule(P.reshape(c, shape=shape), exact, examples=[{"c": 3, "c_shape": (2, 3), "shape": (6,)}])
def reshape_of_number(c):
    return c


@rule(P.permute(x, axes=axes), exact, examples=[{"x": (2, 3), "axes": (0, 1)}])
def permute_to_own_order(x, axes):
    return x if axes == tuple(range(len(axes))) else None


@rule(P.permute(P.permute(x, axes=inner), axes=outer), exact,
      examples=[{"x": (2, 3, 4), "inner": (1, 2, 0), "outer": (0, 2, 1)}])
def permute_twice(x, inner, outer):
    return F.permute(x, axes=tuple(inner[a] for a in outer))


@rule(P.permute(c, axes=axes), exact, examples=[{"c": 3, "c_shape": (2, 3), "axes": (1, 0)}])
def permute_of_number(c):
    return c


@rule(P.broadcast_to(x, shape=shape), exact, examples=[{"x": (2, 3), "shape": (2, 3)}])
def broadcast_to_own_shape(x, shape):
    return x if x.shape == shape else None


@rule(P.broadcast_to(P.broadcast_to(x), shape=shape), exact,
      examples=[{"x": (2, 1), "inner": {"shape": (2, 3)}, "shape": (4, 2, 3)}])
def broadcast_twice(x, shape):
    return F.broadcast_to(x, shape=shape)


@rule(P.broadcast_to(P.reshape(x, shape=inner), shape=shape), exact,
      examples=[{"x": (3,), "inner": (1, 3), "shape": (2, 3)}])
def broadcast_of_leading_ones(x, inner, shape):
    """Dimensions in front need no reshape: broadcasting adds them."""
    ones = (1,) * (len(inner) - len(x.shape))
    return F.broadcast_to(x, shape=shape) if inner == (*ones, *x.shape) else None


# ---- slice -----------------------------------------------------------------------------------------------------------


@rule(P.slice(x, start=start, shape=shape, step=step), exact,
      examples=[{"x": (2, 1), "start": (0, 0), "shape": (2, 1), "step": (1, 3)}])
def slice_of_everything(x, start, shape, step):
    whole = x.shape == shape and all(_is(a, 0) and (_is(s, 1) or _is(d, 1)) for a, s, d in zip(start, step, shape))
    return x if whole else None


@rule(P.slice(P.slice(x, start=start, step=step), start=start2, shape=shape, step=step2), exact,
      examples=[{"x": (9, 9), "start": (1, 8), "inner": {"shape": (4, 8)}, "step": (2, -1),
                 "start2": (3, 1), "shape": (2, 3), "step2": (-2, 2)}])
def slice_twice(x, start, step, start2, shape, step2):
    return F.slice(x, start=tuple(a + b * s for a, b, s in zip(start, start2, step)), shape=shape,
                   step=tuple(s * t for s, t in zip(step, step2)))


@rule(P.slice(c, start=start, shape=shape, step=step), exact,
      examples=[{"c": 3, "c_shape": (4, 3), "start": (1, 0), "shape": (2, 3), "step": (1, 1)}])
def slice_of_number(c):
    return c


@rule(P.slice(P.pad(x, low=low), start=start, shape=shape, step=step), exact,
      examples=[{"x": (4, 3), "low": (2, 1), "inner": {"high": (1, 1), "value": 7.0}, "start": (3, 3), "shape": (2, 2),
                 "step": (2, -1)}])
def slice_within_padding(x, low, start, shape, step):
    if not _known(x.shape, low, start, shape):
        return None
    first = tuple(a - b for a, b in zip(start, low))
    return F.slice(x, start=first, shape=shape, step=step) if _inside(first, shape, step, x.shape) else None


@rule(P.slice(P.concat(xs, axis=axis), start=start, shape=shape, step=step), exact,
      examples=[{"xs": ((2, 3), (4, 3), (1, 3)), "axis": 0, "start": (3, 0), "shape": (2, 3), "step": (2, 1)}])
def slice_of_one_part(xs, axis, start, shape, step):
    before: Dim = 0
    for v in xs:
        first = tuple(a - before if i == axis else a for i, a in enumerate(start))
        if not _known(v.shape, first, shape):
            return None
        if _inside(first, shape, step, v.shape):
            return F.slice(v, start=first, shape=shape, step=step)
        before = before + v.shape[axis]
    return None


def _inside(start: Sequence[int], shape: Sequence[int], step: Sequence[int], sizes: Sequence[int]) -> bool:
    """Does a slice that is not empty stay within these (known) sizes?"""
    return all(n > 0 and 0 <= a < d and 0 <= a + (n - 1) * s < d for a, n, s, d in zip(start, shape, step, sizes))


# ---- pad, dilate -----------------------------------------------------------------------------------------------------


@rule(P.pad(x, low=low, high=high), exact, examples=[{"x": (2, 3), "low": (0, 0), "high": (0, 0), "value": 1.0}])
def pad_by_nothing(x, low, high):
    return x if all(_is(d, 0) for d in (*low, *high)) else None


@rule(P.pad(P.pad(x, low=low, high=high, value=value), low=low2, high=high2, value=value), exact,
      examples=[{"x": (2,), "low": (1,), "high": (0,), "low2": (2,), "high2": (3,), "value": 0.5}])
def pad_twice(x, low, high, value, low2, high2):
    """Only where nothing is cut away."""
    if not _known(low, high, low2, high2) or min((*low, *high, *low2, *high2), default=0) < 0:
        return None
    return F.pad(x, low=_sum(low, low2), high=_sum(high, high2), value=value)


@rule(P.pad(c, low=low, high=high, value=value), exact, examples=[{"c": 3, "c_shape": (2,), "low": (1,), "high": (1,),
                                                                   "value": 3}])
def pad_of_the_same_number(c, value):
    return c if same_number(c, value) else None


@rule(P.pad(x, low=low, high=high), exact, examples=[{"x": (5, 4), "low": (-1, 0), "high": (-2, -1), "value": 1.0}])
def pad_that_only_cuts(x, low, high):
    if not _known(x.shape, low, high) or max((*low, *high), default=0) > 0:
        return None
    if any(d + a + b <= 0 for d, a, b in zip(x.shape, low, high)):
        return None
    shape = tuple(d + a + b for d, a, b in zip(x.shape, low, high))
    return F.slice(x, start=tuple(-a for a in low), shape=shape, step=(1,) * len(shape))


@rule(P.dilate(x, step=step), exact, examples=[{"x": (2, 3), "step": (1, 1)}])
def dilate_by_one(x, step):
    return x if all(_is(s, 1) for s in step) else None


def _sum(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(i + j for i, j in zip(a, b))


# ---- concat ----------------------------------------------------------------------------------------------------------


@rule(P.concat(xs, axis=axis), exact, examples=[{"xs": ((2, 3),), "axis": 1}])
def concat_of_one(xs):
    return xs[0] if len(xs) == 1 else None


@rule(P.concat(xs, axis=axis), exact, examples=[{"xs": ((2, 0), (2, 3), (2, 0), (2, 1)), "axis": 1}])
def concat_of_nothing(xs, axis):
    """Operands without elements are left out."""
    some = [v for v in xs if not _is(v.shape[axis], 0)]
    return F.concat(*some, axis=axis) if 0 < len(some) < len(xs) else None


@rule(P.concat(xs, axis=axis), exact, examples=[{"xs": ((5, 2),), "axis": 0, "cuts": (0, 2, 3, 5)}])
def concat_of_neighbours(xs, axis):
    """Slices of one value that follow each other are one slice of it."""
    parts = [_contiguous(v) for v in xs]
    for n in range(len(xs) - 1):
        one, two = parts[n], parts[n + 1]
        if one is None or two is None or one[0] is not two[0]:
            continue
        (source, first, size), (_, second, more) = one, two
        if second == tuple(a + d if i == axis else a for i, (a, d) in enumerate(zip(first, size))):
            shape = tuple(d + e if i == axis else d for i, (d, e) in enumerate(zip(size, more)))
            joined = F.slice(source, start=first, shape=shape, step=(1,) * len(shape))
            return F.concat(*xs[:n], joined, *xs[n + 2:], axis=axis)
    return None


@rule(P.concat(xs, axis=axis), exact, examples=[{"xs": ((2, 3), (1, 3)), "axis": 0, "nested": True}])
def concat_within_concat(xs, axis):
    flat = [w for v in xs for w in _parts(v, axis)]
    return F.concat(*flat, axis=axis) if len(flat) > len(xs) else None


def _parts(v: Value, axis: int) -> Sequence[Value]:
    return v.node.operands if v.node is not None and v.node.op is F.concat and v.node.attrs["axis"] == axis else (v,)


def _contiguous(v: Value) -> tuple[Value, tuple[Dim, ...], tuple[Dim, ...]] | None:
    """What a value is a slice of, from where, and its size, if the slice has no steps."""
    if v.node is None or v.node.op is not F.slice or any(s != 1 for s in v.node.attrs["step"]):
        return None
    return v.node.operands[0], v.node.attrs["start"], v.shape
