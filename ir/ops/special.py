"""Special functions of two arguments, accumulated logarithms, and what is written with the others."""

from __future__ import annotations

import math

from .declare import FLOATS, composite, conjugate, general, pointwise, widened
from .elementary import in_float32
from .namespace import F

# ---- two arguments ---------------------------------------------------------------------------------------------------


def _hypot_scalar(s, x, y):
    """The root of the sum of squares, of both times a power of two where squares would overflow or be lost."""
    a, b, d = s.abs(x), s.abs(y), s.dtype_of(x)
    bound, down, up = (2.0**60, 2.0**-80, 2.0**100) if d.bits <= 32 else (2.0**500, 2.0**-600, 2.0**700)
    large = s.max(a, b)
    huge, tiny = s.gt(large, bound), s.lt(large, 1 / bound)

    def by(of_huge, of_tiny):
        return s.select(huge, s.constant(of_huge, d), s.select(tiny, s.constant(of_tiny, d), s.constant(1.0, d)))

    scale = by(down, up)
    p, q = s.mul(a, scale), s.mul(b, scale)
    z = s.mul(s.sqrt(s.fma(p, p, s.mul(q, q))), by(1 / down, 1 / up))
    infinite = s.or_(s.eq(a, math.inf), s.eq(b, math.inf))
    return s.select(infinite, s.constant(math.inf, s.dtype_of(x)), z)


def _logaddexp_scalar(s, x, y):
    top, gap = s.max(x, y), s.abs(s.sub(x, y))
    return s.select(s.eq(x, y), s.add(x, math.log(2)), s.add(top, s.log1p(s.exp(s.neg(gap)))))


def _hypot_part(g, z, x):
    return F.where(F.equal(z, 0), F.zeros_like(z), g * x / z)


hypot = pointwise("hypot", lambda xp, x, y: xp.hypot(x, y), dtypes=FLOATS, scalar=widened(_hypot_scalar),
                  traits=("commutative",), vjp=lambda g, z, x, y: (_hypot_part(g, z, x), _hypot_part(g, z, y)),
                  doc="sqrt(x^2 + y^2), without overflow on the way; infinite where one of them is.")
logaddexp = pointwise("logaddexp", in_float32(lambda xp, x, y: xp.logaddexp(x, y)), arity=2, dtypes=FLOATS,
                      scalar=widened(_logaddexp_scalar),
                      vjp=lambda g, z, x, y: (g * F.sigmoid(x - y), g * F.sigmoid(y - x)), traits=("commutative",),
                      doc="log(exp(x) + exp(y)), without overflow.")


# ---- accumulated logarithms ------------------------------------------------------------------------------------------


def _logcumsumexp(xp, x, axis, reverse=False):
    x = xp.flip(x, axis) if reverse else x
    wide = x.astype(xp.float32) if x.dtype.itemsize == 2 else x
    y = xp.logaddexp.accumulate(wide, axis=axis).astype(x.dtype)
    return xp.flip(y, axis) if reverse else y


def _logcumsumexp_vjp(g, y, x, axis, reverse=False):
    """Each x weighs exp(x - y) in the outputs from its place on: sums of g split by sign, in logarithms."""
    def weighed(part):
        shares = F.logcumsumexp(F.log(part) - y, axis=axis, reverse=not reverse)
        return F.exp(shares + x)

    return (weighed(F.maximum(g, 0.0)) - weighed(F.maximum(-g, 0.0)),)


def _logcumsumexp_jvp(tangents, y, x, axis, reverse=False):
    top = F.max(x, axes=(axis,))
    shape = tuple(1 if i == axis else d for i, d in enumerate(x.shape))
    top = F.reshape(F.where(F.isfinite(top), top, F.zeros_like(top)), shape=shape)
    return F.cumsum(tangents[0] * F.exp(x - top), axis=axis, reverse=reverse) * F.exp(top - y)


logcumsumexp = general("logcumsumexp", "library", _logcumsumexp, arity=1, dtypes=FLOATS, parameters=("axis", "reverse"),
                       infer=lambda types, axis, reverse=False: types[0], vjp=_logcumsumexp_vjp, jvp=_logcumsumexp_jvp,
                       traits=("host",),
                       samples=tuple((((2, 5),), {"axis": a, "reverse": r}) for a in (0, 1) for r in (False, True)),
                       doc="log of the running sum of exp(x), without overflow.")


# ---- written with the others -----------------------------------------------------------------------------------------


@composite
def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """x with other numbers for NaN and the infinities (by default the largest finite ones)."""
    if not x.dtype.is_float:
        return x
    largest = _largest(x.dtype)
    x = F.where(F.isnan(x), nan, x)
    x = F.where(F.equal(x, math.inf), largest if posinf is None else posinf, x)
    return F.where(F.equal(x, -math.inf), -largest if neginf is None else neginf, x)


def _largest(d):
    import ml_dtypes

    return float(ml_dtypes.finfo(d.numpy).max)


@composite
def lerp(start, end, weight):
    """start + weight * (end - start)."""
    return start + weight * (end - start)


@composite
def xlogy(x, y):
    """x * log(y), and 0 where x is 0."""
    zero = F.equal(x, 0)
    return F.where(zero, F.zeros_like(x), x * F.log(F.where(zero, F.ones_like(y), y)))


@composite
def sinc(x):
    """sin(pi x) / (pi x), and 1 at 0."""
    zero = F.equal(x, 0)
    angle = F.where(zero, F.ones_like(x), x) * math.pi
    return F.where(zero, F.ones_like(x), F.sin(angle) / angle)


@composite
def logit(x):
    """log(x / (1 - x)), the inverse of sigmoid."""
    return F.log(x) - F.log1p(-x)


@composite
def heaviside(x, at_zero):
    """0 below 0, 1 above, `at_zero` at 0; NaN stays."""
    step = F.where(F.isnan(x), x, F.astype(F.greater(x, 0), x.dtype))
    return F.where(F.equal(x, 0), at_zero, step)


@composite
def isclose(x, y, rtol=1e-5, atol=1e-8, equal_nan=False):
    """|x - y| <= atol + rtol * |y|; infinities equal themselves."""
    close = F.logical_and(F.less_equal(F.abs(x - y), atol + rtol * F.abs(y)), F.isfinite(y))
    close = F.logical_or(close, F.equal(x, y))
    return F.logical_or(close, F.logical_and(F.isnan(x), F.isnan(y))) if equal_nan else close


@composite
def square_modulus(x):
    """|x|^2, real."""
    return F.real(x * conjugate(x)) if x.dtype.kind == "c" else x * x
