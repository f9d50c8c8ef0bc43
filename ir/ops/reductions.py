"""Reductions and scans. A reduction removes its axes; `keepdims` and friends are the public functions' affair."""

from __future__ import annotations

import math

from .. import expr
from ..precision import in_full_precision
from ..types import REALS, DType, accumulator, bool_, dtype, int32, int64
from . import parts_products
from .declare import NUMBERS, REAL, composite, conjugate, element_count, normalize_axes, reduction, scan
from .namespace import F


def _accumulated(name):
    """NumPy's reduction, 16-bit floats kept in float32 while it runs and rounded once."""
    ufunc = {"sum": "add", "prod": "multiply"}[name]

    def run(xp, x, axes):
        d = x.dtype
        if d.itemsize == 2 and d.kind not in "iu":
            return getattr(xp, ufunc).reduce(x, axis=axes, dtype=accumulator(_dtype_of(x)).numpy).astype(d)
        return getattr(xp, ufunc).reduce(x, axis=axes, dtype=d)

    return run


def _dtype_of(x) -> DType:
    return dtype(x.dtype)


def _sum_lower(combine):
    def lower(k, x, over, positions):
        d = k.dtype_of(x)
        wide = accumulator(d) if d.is_float else d
        return k.cast(k.reduce(combine, k.cast(x, wide), over), d)

    return lower


def expand(g, axes):
    """g with size-1 dimensions where `axes` were removed."""
    shape = list(g.shape)
    for a in axes:
        shape.insert(a, 1)
    return F.reshape(g, shape=tuple(shape))


def _spread(g, x, axes):
    return F.broadcast_to(expand(g, axes), shape=x.shape)


def _hits(y, x, axes):
    """Where x is the extreme, each place with its share."""
    hit = F.cast(F.equal(x, expand(y, axes)), dtype=x.dtype)
    return hit / expand(F.sum(hit, axes=axes), axes)


def _extreme(name, doc):
    return reduction(name, lambda xp, x, axes: getattr(xp, name)(x, axis=axes), dtypes=(bool_, *REAL), doc=doc,
                     vjp=lambda g, y, x, axes: (_hits(y, x, axes) * expand(g, axes),),
                     jvp=lambda tangents, y, x, axes: F.sum(_hits(y, x, axes) * tangents[0], axes=axes))


def _without_gradient(name, evaluate, **fields):
    return reduction(name, evaluate, vjp=lambda g, y, x, axes: (None,), **fields)


sum_ = reduction("sum", _accumulated("sum"), dtypes=NUMBERS, lower=_sum_lower("sum"), traits=("linear", "wide"),
                 vjp=lambda g, y, x, axes: (_spread(g, x, axes),), doc="The sum over axes.")
prod = reduction("prod", _accumulated("prod"), dtypes=NUMBERS, lower=_sum_lower("prod"), traits=("wide",),
                 parts=parts_products.prod,
                 vjp=lambda g, y, x, axes: (expand(g, axes) * conjugate(_others(x, axes)),),
                 jvp=lambda tangents, y, x, axes: F.sum(tangents[0] * _others(x, axes), axes=axes),
                 doc="The product over axes.")
max_ = _extreme("max", "The largest element; NaN wins. Equal ones share the gradient.")
min_ = _extreme("min", "The smallest element; NaN wins. Equal ones share the gradient.")
any_ = _without_gradient("any", lambda xp, x, axes: xp.any(x, axis=axes), dtypes=(bool_,),
                         lower=lambda k, x, over, positions: k.reduce("max", x, over), doc="Does one hold?")
all_ = _without_gradient("all", lambda xp, x, axes: xp.all(x, axis=axes), dtypes=(bool_,),
                         lower=lambda k, x, over, positions: k.reduce("min", x, over), doc="Do all hold?")


def _others(x, axes):
    """For each element the product of the others, by exclusive scans from both sides, so that zeros are right."""
    rank = len(x.shape)
    kept = tuple(i for i in range(rank) if i not in axes)
    order = (*kept, *axes)
    flat = F.reshape(F.permute(x, axes=order), shape=(*(x.shape[i] for i in kept),
                                                      element_count([x.shape[i] for i in axes])))
    n = len(kept)
    left, right = _exclusive(flat, n, False), _exclusive(flat, n, True)
    others = F.reshape(left * right, shape=tuple(x.shape[i] for i in order))
    return F.permute(others, axes=tuple(order.index(i) for i in range(rank)))


def _exclusive(x, axis, reverse):
    size = x.shape[axis]
    low = tuple(int(i == axis and not reverse) for i in range(len(x.shape)))
    high = tuple(int(i == axis and reverse) for i in range(len(x.shape)))
    padded = F.pad(x, low=low, high=high, value=1.0)
    start = tuple(int(i == axis and reverse) for i in range(len(x.shape)))
    shape = tuple(size if i == axis else d for i, d in enumerate(x.shape))
    return F.cumprod(F.slice(padded, start=start, shape=shape, step=(1,) * len(shape)), axis=axis, reverse=reverse)


FAR_NARROW = 2**31 - 1                   # no place in 32 bits


def _arg_lower(combine):
    def lower(k, x, over, positions):
        best = k.reduce(combine, x, over)
        flat = positions[0]
        hit = k.eq(x, best)
        if k.dtype_of(x).is_float:
            hit = k.or_(hit, k.ne(x, x))             # a NaN is the best, where there is one
        narrow = expr.is_less(flat, FAR_NARROW)           # twice as many in a vector
        place, far = k.index(flat), k.constant(2**62, int64)
        if narrow:
            place, far = k.cast(place, int32), k.constant(FAR_NARROW, int32)
        return k.cast(k.reduce("min", k.select(hit, place, far), over), int64)

    return lower


def _arg_evaluate(name):
    def run(xp, x, axes):
        kept = tuple(i for i in range(x.ndim) if i not in axes)
        flat = xp.reshape(xp.transpose(x, (*kept, *axes)), (*(x.shape[i] for i in kept), -1)) if len(axes) > 1 else x
        return xp.asarray(getattr(xp, name)(flat, axis=-1 if len(axes) > 1 else axes[0])).astype(xp.int64)

    return run


argmax = _without_gradient("argmax", _arg_evaluate("argmax"), dtypes=REALS, lower=_arg_lower("max"),
                           result=lambda d: int64,
                           doc="The position of the first largest element (the first NaN, if any).")
argmin = _without_gradient("argmin", _arg_evaluate("argmin"), dtypes=REALS, lower=_arg_lower("min"),
                           result=lambda d: int64,
                           doc="The position of the first smallest element (the first NaN, if any).")


def _accumulate(name):
    def run(xp, x, axis, reverse=False):
        x = xp.flip(x, axis) if reverse else x
        wide = accumulator(_dtype_of(x)).numpy if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        y = getattr(xp, name).accumulate(x, axis=axis, dtype=wide).astype(x.dtype)
        return xp.flip(y, axis) if reverse else y

    return run


cumsum = scan("cumsum", "sum", _accumulate("add"), traits=("linear", "wide"),
              vjp=lambda g, y, x, axis, reverse=False: (F.cumsum(g, axis=axis, reverse=not reverse),),
              doc="The running sum.")
cumprod = scan("cumprod", "prod", _accumulate("multiply"), traits=("wide",), doc="The running product.",
               vjp=lambda g, y, x, axis, reverse=False: (_cumprod_vjp(g, y, x, axis, reverse),),
               jvp=lambda tangents, y, x, axis, reverse=False: _cumprod_jvp(tangents[0], y, x, axis, reverse))


def _running(name, combine, doc):
    return scan(name, combine, _accumulate(f"{combine}imum"), dtypes=REAL, doc=doc, traits=("host",),
                vjp=lambda g, y, x, axis, reverse=False: (
                    F.scatter_along(g, _holder(y, x, axis, reverse), axis=axis, size=x.shape[axis]),),
                jvp=lambda tangents, y, x, axis, reverse=False: F.gather_along(
                    tangents[0], _holder(y, x, axis, reverse), axis=axis))


cummax = _running("cummax", "max", "The running maximum; NaN wins.")
cummin = _running("cummin", "min", "The running minimum; NaN wins.")


def _first_zero(x, axis, reverse):
    """x with 1 for the first zero of each line, where that zero is, and what lies before and after it."""
    zero = F.equal(x, 0)
    seen = F.cumsum(F.cast(zero, dtype=int64), axis=axis, reverse=reverse)
    first = F.logical_and(zero, F.equal(seen, 1))
    return F.where(first, F.ones_like(x), x), first, F.equal(seen, 0)


def _cumprod_vjp(g, y, x, axis, reverse):
    """The sum over later outputs of g * y / x; at the first zero with that zero left out; after it nothing."""
    rest, first, before = _first_zero(x, axis, reverse)
    usual = F.cumsum(g * conjugate(y), axis=axis, reverse=not reverse) / conjugate(F.where(before, x, F.ones_like(x)))
    without = F.cumprod(rest, axis=axis, reverse=reverse)
    at_zero = F.cumsum(g * conjugate(without), axis=axis, reverse=not reverse)
    return F.where(before, usual, F.where(first, at_zero, F.zeros_like(g)))


def _cumprod_jvp(t, y, x, axis, reverse):
    """y * the sum of t / x up to here; from the first zero on, the product without it times its own tangent."""
    rest, first, before = _first_zero(x, axis, reverse)
    usual = y * F.cumsum(F.where(before, t / F.where(before, x, F.ones_like(x)), F.zeros_like(t)), axis=axis,
                         reverse=reverse)
    tangent_at_zero = F.cumsum(F.where(first, t, F.zeros_like(t)), axis=axis, reverse=reverse)
    return usual + F.cumprod(rest, axis=axis, reverse=reverse) * tangent_at_zero


def _holder(y, x, axis, reverse):
    """For each place the last one at or before it that holds the running extreme."""
    n = x.shape[axis]
    shape = tuple(n if i == axis else 1 for i in range(len(x.shape)))
    here = F.broadcast_to(F.reshape(F.iota(size=n), shape=shape), shape=x.shape)
    holds = F.logical_or(F.equal(x, y), F.isnan(x))
    marked = F.where(holds, here, F.full_like(here, n if reverse else -1))
    return F.cummin(marked, axis=axis, reverse=True) if reverse else F.cummax(marked, axis=axis, reverse=False)


# ---- written with the others -------------------------------------------------------------------------------------


@composite
def mean(x, axes=None):
    """The mean over axes; integers in float32."""
    axes = normalize_axes(axes, len(x.shape))
    x = F.as_inexact(x)
    return F.sum(x, axes=axes) / F.count(x, axes)


@composite
def count(x, axes):
    """The number of elements over axes, as a number or a symbolic size."""
    n = expr.product([x.shape[a] for a in axes])
    return float(n) if isinstance(n, int) else n


@composite
def variance(x, axes=None, correction=0):
    """The mean squared distance from the mean, in two passes; `correction` is subtracted from the count."""
    axes = normalize_axes(axes, len(x.shape))
    x = F.as_inexact(x)
    centred = x - expand(F.mean(x, axes), axes)
    n = F.count(x, axes)
    return F.sum(F.square(F.abs(centred) if x.dtype.kind == "c" else centred), axes=axes) / (n - correction)


@composite
@in_full_precision
def logsumexp(x, axes=None):
    """log(sum(exp(x))) over axes, without overflow."""
    axes = normalize_axes(axes, len(x.shape))
    x = F.as_inexact(x)
    top = F.stop_gradient(F.max(x, axes=axes))
    top = F.where(F.isfinite(top), top, F.zeros_like(top))
    return F.log(F.sum(F.exp(x - expand(top, axes)), axes=axes)) + top


@composite
def std(x, axes=None, correction=0):
    """The square root of the variance."""
    return F.sqrt(F.variance(x, axes, correction))


@composite
def count_nonzero(x, axes=None):
    """How many elements are not zero (or are true)."""
    axes = normalize_axes(axes, len(x.shape))
    return F.sum(F.cast(x if x.dtype is bool_ else F.not_equal(x, 0), dtype=int64), axes=axes)


@composite
def ptp(x, axes=None):
    """The largest element less the smallest."""
    axes = normalize_axes(axes, len(x.shape))
    return F.max(x, axes=axes) - F.min(x, axes=axes)


@composite
def nansum(x, axes=None):
    """The sum of what is not NaN."""
    return F.sum(F.where(F.isnan(x), F.zeros_like(x), x), axes=normalize_axes(axes, len(x.shape)))


@composite
def nanmean(x, axes=None):
    """The mean of what is not NaN."""
    x = F.as_inexact(x)
    axes = normalize_axes(axes, len(x.shape))
    return F.nansum(x, axes) / F.sum(F.cast(F.logical_not(F.isnan(x)), dtype=x.dtype), axes=axes)


@composite
def nanmax(x, axes=None):
    """The largest of what is not NaN."""
    return F.max(F.where(F.isnan(x), F.full_like(x, -math.inf), x), axes=normalize_axes(axes, len(x.shape)))


@composite
def nanmin(x, axes=None):
    """The smallest of what is not NaN."""
    return F.min(F.where(F.isnan(x), F.full_like(x, math.inf), x), axes=normalize_axes(axes, len(x.shape)))


@composite
@in_full_precision
def norm(x, axes=None, ord=2):
    """The vector norm over axes: the p-th root of the sum of |x|^p; ord may be inf, -inf or 0 (how many are not 0)."""
    axes = normalize_axes(axes, len(x.shape))
    size = F.abs(F.as_inexact(x))
    if ord in (math.inf, -math.inf):
        return (F.max if ord > 0 else F.min)(size, axes=axes)
    if ord == 0:
        return F.astype(F.count_nonzero(size, axes), size.dtype)
    if ord == 1:
        return F.sum(size, axes=axes)
    if ord == 2:
        return F.sqrt(F.sum(F.square(size), axes=axes))
    return F.pow(F.sum(F.pow(size, float(ord)), axes=axes), 1.0 / ord)
