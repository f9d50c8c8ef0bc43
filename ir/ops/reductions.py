"""Reductions and scans. A reduction removes its axes; `keepdims` and friends are the public functions' affair."""

from __future__ import annotations

from .. import expr
from ..types import REALS, DType, accumulator, bool_, int64
from .declare import NUMBERS, REAL, composite, element_count, normalize_axes, reduction, scan
from .namespace import F


def _accumulated(name):
    """NumPy's reduction, 16-bit floats kept in float32 while it runs and rounded once."""

    def run(xp, x, axes):
        wide = accumulator(_dtype_of(x)).numpy if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        return getattr(xp, name)(x, axis=axes, dtype=wide).astype(x.dtype)

    return run


def _dtype_of(x) -> DType:
    from ..types import dtype

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


def _extreme_vjp(g, y, x, axes):
    hit = F.cast(F.equal(x, expand(y, axes)), dtype=x.dtype)
    return (hit * expand(g / F.sum(hit, axes=axes), axes),)


sum_ = reduction("sum", _accumulated("sum"), dtypes=NUMBERS, lower=_sum_lower("sum"), traits=("linear",),
                 vjp=lambda g, y, x, axes: (_spread(g, x, axes),), doc="The sum over axes.")
prod = reduction("prod", _accumulated("prod"), dtypes=NUMBERS, lower=_sum_lower("prod"),
                 vjp=lambda g, y, x, axes: (_product_vjp(g, x, axes),), doc="The product over axes.")
max_ = reduction("max", lambda xp, x, axes: xp.max(x, axis=axes), dtypes=(bool_, *REAL), vjp=_extreme_vjp,
                 doc="The largest element; NaN wins. Equal ones share the gradient.")
min_ = reduction("min", lambda xp, x, axes: xp.min(x, axis=axes), dtypes=(bool_, *REAL), vjp=_extreme_vjp,
                 doc="The smallest element; NaN wins. Equal ones share the gradient.")
any_ = reduction("any", lambda xp, x, axes: xp.any(x, axis=axes), dtypes=(bool_,), vjp=lambda g, y, x, axes: (None,),
                 lower=lambda k, x, over, positions: k.reduce("max", x, over), doc="Does one hold?")
all_ = reduction("all", lambda xp, x, axes: xp.all(x, axis=axes), dtypes=(bool_,), vjp=lambda g, y, x, axes: (None,),
                 lower=lambda k, x, over, positions: k.reduce("min", x, over), doc="Do all hold?")


def _product_vjp(g, x, axes):
    """Products of the others, by exclusive scans from both sides, so that zeros are right."""
    rank = len(x.shape)
    kept = tuple(i for i in range(rank) if i not in axes)
    order = (*kept, *axes)
    flat = F.reshape(F.permute(x, axes=order), shape=(*(x.shape[i] for i in kept), element_count([x.shape[i] for i in axes])))
    n = len(kept)
    left, right = _exclusive(flat, n, False), _exclusive(flat, n, True)
    others = F.reshape(left * right, shape=tuple(x.shape[i] for i in order))
    return expand(g, axes) * F.permute(others, axes=tuple(order.index(i) for i in range(rank)))


def _exclusive(x, axis, reverse):
    size = x.shape[axis]
    low = tuple(int(i == axis and not reverse) for i in range(len(x.shape)))
    high = tuple(int(i == axis and reverse) for i in range(len(x.shape)))
    padded = F.pad(x, low=low, high=high, value=1.0)
    start = tuple(int(i == axis and reverse) for i in range(len(x.shape)))
    shape = tuple(size if i == axis else d for i, d in enumerate(x.shape))
    return F.cumprod(F.slice(padded, start=start, shape=shape, step=(1,) * len(shape)), axis=axis, reverse=reverse)


def _arg_lower(combine):
    def lower(k, x, over, positions):
        best = k.reduce(combine, x, over)
        flat = positions[0]
        hit = k.eq(x, best)
        if k.dtype_of(x).is_float:
            hit = k.select(k.ne(best, best), k.ne(x, x), hit)
        far = k.constant(2**62, int64)
        return k.reduce("min", k.select(hit, k.index(flat), far), over)

    return lower


def _arg_evaluate(name):
    def run(xp, x, axes):
        if len(axes) == 1:
            return getattr(xp, name)(x, axis=axes[0]).astype(xp.int64)
        return xp.asarray(getattr(xp, name)(x)).astype(xp.int64)

    return run


argmax = reduction("argmax", _arg_evaluate("argmax"), dtypes=REALS, lower=_arg_lower("max"), result=lambda d: int64,
                   vjp=lambda g, y, x, axes: (None,), doc="The position of the first largest element (the first NaN, if any).")
argmin = reduction("argmin", _arg_evaluate("argmin"), dtypes=REALS, lower=_arg_lower("min"), result=lambda d: int64,
                   vjp=lambda g, y, x, axes: (None,), doc="The position of the first smallest element (the first NaN, if any).")


def _accumulate(name):
    def run(xp, x, axis, reverse=False):
        x = xp.flip(x, axis) if reverse else x
        wide = accumulator(_dtype_of(x)).numpy if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        y = getattr(xp, name).accumulate(x, axis=axis, dtype=wide).astype(x.dtype)
        return xp.flip(y, axis) if reverse else y

    return run


cumsum = scan("cumsum", "sum", _accumulate("add"), traits=("linear",),
              vjp=lambda g, y, x, axis, reverse=False: (F.cumsum(g, axis=axis, reverse=not reverse),), doc="The running sum.")
cumprod = scan("cumprod", "prod", _accumulate("multiply"), doc="The running product.",
               vjp=lambda g, y, x, axis, reverse=False: (_cumprod_vjp(g, y, x, axis, reverse),))
cummax = scan("cummax", "max", _accumulate("maximum"), dtypes=REAL, doc="The running maximum; NaN wins.",
              vjp=lambda g, y, x, axis, reverse=False: (_cummax_vjp(g, y, x, axis, reverse),))
cummin = scan("cummin", "min", _accumulate("minimum"), dtypes=REAL, doc="The running minimum; NaN wins.",
              vjp=lambda g, y, x, axis, reverse=False: (_cummax_vjp(g, y, x, axis, reverse),))


def _cumprod_vjp(g, y, x, axis, reverse):
    """sum over later outputs of g * y / x where x is not zero; exact where no element is zero."""
    return F.cumsum(g * y, axis=axis, reverse=not reverse) / x


def _cummax_vjp(g, y, x, axis, reverse):
    """Each output's gradient goes to the last position at or before it that holds its value."""
    n = x.shape[axis]
    shape = tuple(n if i == axis else 1 for i in range(len(x.shape)))
    here = F.broadcast_to(F.reshape(F.iota(size=n), shape=shape), shape=x.shape)
    far = -1 if not reverse else n
    marked = F.where(F.equal(x, y), here, F.full_like(here, far))
    holder = F.cummin(marked, axis=axis, reverse=True) if reverse else F.cummax(marked, axis=axis, reverse=False)
    return F.scatter_along(g, holder, axis=axis, size=n)


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
    return F.sum(F.square(centred), axes=axes) / (n - correction)


@composite
def logsumexp(x, axes=None):
    """log(sum(exp(x))) over axes, without overflow."""
    axes = normalize_axes(axes, len(x.shape))
    x = F.as_inexact(x)
    top = F.stop_gradient(F.max(x, axes=axes))
    top = F.where(F.isfinite(top), top, F.zeros_like(top))
    return F.log(F.sum(F.exp(x - expand(top, axes)), axes=axes)) + top
