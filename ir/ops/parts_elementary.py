"""Elementary functions of complex numbers, by the real functions of their parts (`parts.py`).

They have the branch cuts and special values of C99, Annex G, as NumPy has them. What overflows on the way, and not in
the result, is scaled. Inverse functions are Kahan's ("Branch cuts for complex elementary functions", 1987), made of two
square roots.
"""

from __future__ import annotations

import math
from typing import Any

from ..types import float32
from .namespace import F
from .parts import Parts, is_infinite, is_nan, known_number, multiply, reciprocal, square, where

SHIFT = 20.0                                     # exp(x) is exp(x - SHIFT) exp(SHIFT) where it overflows
MOST_FACTORS = 100                               # NumPy multiplies for whole exponents that are smaller


def _chosen(x: Any, of_float32: float, of_float64: float) -> float:
    """A bound for the dtype of a part."""
    return of_float32 if x.dtype is float32 else of_float64


def _turned(function: Any) -> Any:
    """f with y + i x for its arguments, and its results, x + i y: sin of sinh, and so on."""

    def run(z: Parts) -> Parts:
        w = function(Parts(z.im, z.re))
        return Parts(w.im, w.re)

    return run


def scaled(z: Parts, factor: float) -> Parts:
    """z times a real number."""
    return Parts(z.re * factor, z.im * factor)


# ---- exponentials and logarithms -------------------------------------------------------------------------------------


def _shifted(x: Any) -> tuple[Any, Any]:
    """x, or x - SHIFT where its exponential is close to overflowing, and exp(SHIFT) there, 1 elsewhere."""
    far = F.greater(x, _chosen(x, 80.0, 700.0))
    return F.where(far, x - SHIFT, x), F.where(far, math.exp(SHIFT), 1.0)


def exp(z: Parts) -> Parts:
    """e to the z."""
    shifted, factor = _shifted(z.re)
    e = F.exp(shifted)
    odd = F.logical_and(F.isinf(z.re), F.logical_not(F.isfinite(z.im)))
    re = F.where(odd, e, e * F.cos(z.im) * factor)
    im = F.where(F.logical_and(odd, F.less(z.re, 0.0)), 0.0, e * F.sin(z.im) * factor)
    return Parts(re, F.where(F.equal(z.im, 0.0), z.im, im))


def expm1(z: Parts) -> Parts:
    """exp(z) - 1, exact near 0."""
    half = F.sin(0.5 * z.im)
    return Parts(F.expm1(z.re) * F.cos(z.im) - 2.0 * half * half, F.exp(z.re) * F.sin(z.im))


def _log(z: Parts, excess: Any) -> Parts:
    """The logarithm, `excess` being z.re^2 - 1: near the unit circle |z|^2 - 1 decides."""
    x, y = F.abs(z.re), F.abs(z.im)
    large, small = F.maximum(x, y), F.minimum(x, y)
    circle = F.logical_and(F.greater(large, 0.5), F.less(large, 2.0))
    ratio = small / F.where(F.logical_or(F.equal(large, 0.0), F.isinf(large)), 1.0, large)
    beyond = F.where(F.greater_equal(x, y), excess + y * y, (y - 1.0) * (y + 1.0) + x * x)
    rest = 0.5 * F.log1p(F.where(circle, beyond, ratio * ratio))
    re = F.where(circle, rest, F.log(large) + rest)
    return Parts(F.where(is_infinite(z), math.inf, re), F.atan2(z.im, z.re))


def log(z: Parts) -> Parts:
    """The natural logarithm; its cut is the negative real axis."""
    return _log(z, (F.abs(z.re) - 1.0) * (F.abs(z.re) + 1.0))


def log1p(z: Parts) -> Parts:
    """log(1 + z), exact near 0."""
    return _log(Parts(1.0 + z.re, z.im), z.re * (z.re + 2.0))


def log2(z: Parts) -> Parts:
    """The logarithm to base 2."""
    return scaled(log(z), 1 / math.log(2))


def log10(z: Parts) -> Parts:
    """The logarithm to base 10."""
    return scaled(log(z), 1 / math.log(10))


# ---- powers and roots ------------------------------------------------------------------------------------------------


def sqrt(z: Parts) -> Parts:
    """The square root with a real part that is not negative."""
    large = F.maximum(F.abs(z.re), F.abs(z.im))
    huge, tiny = F.greater(large, _chosen(large, 1e37, 1e307)), F.less(large, _chosen(large, 1e-30, 1e-290))
    scale = F.where(huge, 0.0625, F.where(tiny, 2.0**60, 1.0))
    back = F.where(huge, 4.0, F.where(tiny, 2.0**-30, 1.0))
    x, y = z.re * scale, F.abs(z.im) * scale
    longer = F.sqrt(0.5 * (F.abs(x) + F.hypot(x, y)))
    shorter = F.where(F.equal(longer, 0.0), 0.0, 0.5 * y / longer)
    endless, right = F.isinf(z.im), F.greater_equal(z.re, 0.0)
    longer, shorter = (F.where(endless, math.inf, v * back) for v in (longer, shorter))
    return Parts(F.where(right, longer, shorter), F.copysign(F.where(right, shorter, longer), z.im))


def power(z: Parts, w: Parts) -> Parts:
    """z to the w: by products where w is a small whole number that is known, else by the logarithm."""
    n = _whole(w)
    if n is not None:
        return _product(z, n)
    by_log = exp(multiply(w, log(z)))
    of_zero = F.where(F.greater(w.re, 0.0), 0.0, F.full_like(w.re, math.nan))
    out = where(_is_zero(z), Parts(of_zero, of_zero), by_log)
    one = _is_zero(w)
    return Parts(F.where(one, 1.0, out.re), F.where(one, 0.0, out.im))


def _whole(w: Parts) -> int | None:
    """The exponent, if it is a small whole number that is known."""
    re, im = map(known_number, w)
    return int(re) if re is not None and im == 0 and re == int(re) and abs(re) < MOST_FACTORS else None


def _product(z: Parts, n: int) -> Parts:
    """A power with a whole exponent, by squares."""
    if n < 0:
        return where(_is_zero(z), Parts(F.full_like(z.re, math.nan), F.full_like(z.re, math.nan)),
                     reciprocal(_product(z, -n)))
    result: Parts | None = None
    while n:
        if n & 1:
            result = z if result is None else multiply(result, z)
        n >>= 1
        z = square(z) if n else z
    return Parts(F.ones_like(z.re), F.zeros_like(z.re)) if result is None else result


def _is_zero(z: Parts) -> Any:
    return F.logical_and(F.equal(z.re, 0.0), F.equal(z.im, 0.0))


# ---- hyperbolic and circular functions -------------------------------------------------------------------------------


def _hyperbolic(x: Any) -> tuple[Any, Any, Any]:
    """sinh(x) and cosh(x) with a common factor, so that neither overflows."""
    shifted, factor = _shifted(F.abs(x))
    return F.copysign(F.sinh(shifted), x), F.cosh(shifted), factor


def sinh(z: Parts) -> Parts:
    """Hyperbolic sine."""
    s, c, factor = _hyperbolic(z.re)
    kept = F.logical_or(F.equal(z.re, 0.0), F.logical_and(F.isinf(z.re), F.logical_not(F.isfinite(z.im))))
    re = F.where(kept, z.re, s * F.cos(z.im) * factor)
    return Parts(re, F.where(F.equal(z.im, 0.0), z.im, c * F.sin(z.im) * factor))


def cosh(z: Parts) -> Parts:
    """Hyperbolic cosine."""
    s, c, factor = _hyperbolic(z.re)
    odd = F.logical_and(F.isinf(z.re), F.logical_not(F.isfinite(z.im)))
    re = F.where(odd, F.abs(z.re), c * F.cos(z.im) * factor)
    on_axis = F.logical_or(F.equal(z.re, 0.0), F.equal(z.im, 0.0))
    zero = F.copysign(F.where(F.equal(z.im, 0.0), z.im, z.re),
                      F.copysign(F.ones_like(z.re), z.re) * F.copysign(F.ones_like(z.im), z.im))
    return Parts(re, F.where(on_axis, zero, s * F.sin(z.im) * factor))


def tanh(z: Parts) -> Parts:
    """Hyperbolic tangent."""
    size = F.abs(z.re)
    far = F.greater(size, _chosen(size, 12.0, 24.0))
    t = F.tan(z.im)
    slope = 1.0 + t * t
    s = F.sinh(F.where(far, 0.0, z.re))
    below = 1.0 + slope * s * s
    pole = F.isinf(t)
    root = F.sqrt(1.0 + s * s)
    re = F.where(pole, root / s, slope * root * s / below)
    im = F.where(pole, 1.0 / t, t / below)
    finite = F.isfinite(z.im)
    tail = F.where(finite, 4.0 * t / slope * F.exp(-2.0 * size), F.copysign(F.zeros_like(t), z.im))
    known = F.logical_or(finite, F.isinf(size))                                # there is no limit along a line: NaN
    re = F.where(far, F.where(known, F.copysign(F.ones_like(size), z.re), t), F.where(F.equal(z.re, 0.0), z.re, re))
    im = F.where(far, F.where(known, tail, t), im)
    return Parts(re, F.where(F.equal(z.im, 0.0), z.im, im))


def cos(z: Parts) -> Parts:
    """Cosine."""
    return cosh(Parts(-z.im, z.re))


sin, tan = _turned(sinh), _turned(tanh)


# ---- their inverses --------------------------------------------------------------------------------------------------


def _roots(z: Parts) -> tuple[Parts, Parts]:
    """The square roots of 1 - z and 1 + z."""
    return sqrt(Parts(1.0 - z.re, -z.im)), sqrt(Parts(1.0 + z.re, z.im))


def asin(z: Parts) -> Parts:
    """Arc sine; its cuts are the real axis beyond -1 and 1."""
    minus, plus = _roots(z)
    endless = is_infinite(z)
    beside = F.where(endless, F.abs(z.im), minus.re * plus.re - minus.im * plus.im)
    im = F.where(endless, F.copysign(F.full_like(z.im, math.inf), z.im),
                 F.asinh(minus.re * plus.im - minus.im * plus.re))
    return Parts(F.where(F.equal(z.re, 0.0), z.re, F.atan2(z.re, beside)), im)


def acos(z: Parts) -> Parts:
    """Arc cosine; its cuts are the real axis beyond -1 and 1."""
    minus, plus = _roots(z)
    endless = is_infinite(z)
    angle = F.atan2(F.where(endless, F.abs(z.im), minus.re), F.where(endless, z.re, plus.re))
    im = F.where(endless, F.copysign(F.full_like(z.im, math.inf), -z.im),
                 F.asinh(plus.re * minus.im - plus.im * minus.re))
    return Parts(F.where(F.equal(z.re, 0.0), math.pi / 2, angle * F.where(endless, 1.0, 2.0)), im)


def acosh(z: Parts) -> Parts:
    """Inverse hyperbolic cosine; its cut is the real axis below 1."""
    minus, plus = sqrt(Parts(z.re - 1.0, z.im)), sqrt(Parts(z.re + 1.0, z.im))
    endless = is_infinite(z)
    re = F.where(endless, math.inf, F.asinh(minus.re * plus.re + minus.im * plus.im))
    angle = F.atan2(F.where(endless, z.im, minus.im), F.where(endless, z.re, plus.re))
    return Parts(re, F.where(F.equal(z.re, 0.0), F.copysign(F.full_like(angle, math.pi / 2), z.im),
                             angle * F.where(endless, 1.0, 2.0)))


def atanh(z: Parts) -> Parts:
    """Inverse hyperbolic tangent; its cuts are the real axis beyond -1 and 1."""
    x, y = F.abs(z.re), F.abs(z.im)
    large, small = F.maximum(x, y), F.minimum(x, y)
    far = F.greater(large, _chosen(large, 1e9, 1e100))
    ratio = small / large
    inverse = x / large / (large * (1.0 + ratio * ratio))                      # the real part of 1 / z
    a, b = F.where(far, 1.0, x), F.where(far, 1.0, y)
    apart = (1.0 - a) * (1.0 - a) + b * b
    pole = F.less(apart, _chosen(apart, 1e-16, 1e-33))                         # where a is 1, and b * b underflows
    near = F.where(pole, 0.5 * (math.log(2) - F.log(b)), 0.25 * F.log1p(4.0 * a / apart))
    angle = 0.5 * F.atan2(2.0 * b, (1.0 - a) * (1.0 + a) - b * b)
    still = F.logical_or(is_infinite(z), F.equal(x, 0.0))
    re = F.where(still, 0.0, F.where(far, inverse, near))
    right = F.logical_or(F.isinf(y), F.logical_and(far, F.logical_not(is_nan(z))))
    return Parts(F.copysign(re, z.re), F.copysign(F.where(right, math.pi / 2, angle), z.im))


asinh, atan = _turned(asin), _turned(atanh)
