"""Special functions. What the scalar core can say is pointwise; lgamma, digamma and the inverse error function are
library calls.
"""

from __future__ import annotations

import math

import numpy as np

from .. import scalar as core
from ..types import inexact
from .declare import FLOATS, REAL, composite, conjugate, general, pointwise, widened
from .elementary import REAL_LINE, in_float32
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


# ---- library functions of one real argument --------------------------------------------------------------------------


def _library(name, evaluate, vjp, domain=REAL_LINE, source="", doc=""):
    """Elementwise on the host, in float64; integers give float32."""

    def run(xp, x):
        d = x.dtype if x.dtype.kind not in "bui" else np.dtype(np.float32)
        return xp.asarray(evaluate(np.asarray(x, np.float64))).astype(d)

    return general(name, "library", run, arity=1, dtypes=REAL, vjp=vjp, domain=domain, source=source, doc=doc,
                   traits=("elementwise", "host"), infer=lambda types: types[0].with_dtype(inexact(types[0].dtype)))


def _each(name, fallback):
    """SciPy's function where there is a SciPy, else Python's, one element at a time."""

    def run(x):
        try:
            from scipy import special
        except ImportError:
            return np.asarray(np.frompyfunc(fallback, 1, 1)(x), np.float64)
        return getattr(special, name)(x)

    return run


def _log_gamma(x):
    if x == math.inf or x == -math.inf or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def _digamma(x):
    """Reflection to positive numbers, recurrence up to 10, then the asymptotic series."""
    x = np.asarray(x, np.float64)
    mirrored = x <= 0
    z = np.where(mirrored, 1 - x, x)
    total = np.zeros_like(z)
    for _ in range(10):
        low = z < 10
        total = np.where(low, total - 1 / np.where(low, z, 1), total)
        z = np.where(low, z + 1, z)
    w = 1 / (z * z)
    series = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12))))))
    y = np.log(z) - 0.5 / z - series + total
    fraction = x - np.round(x)                                 # the poles are where this is 0
    reflected = y - np.pi / np.tan(np.pi * np.where(fraction == 0, np.nan, fraction))
    return np.where(x == 0, np.copysign(np.inf, -x), np.where(mirrored, reflected, y))


def _trigamma(x):
    """The derivative of digamma, the same way."""
    x = np.asarray(x, np.float64)
    mirrored = x <= 0
    z = np.where(mirrored, 1 - x, x)
    total = np.zeros_like(z)
    for _ in range(12):
        low = z < 12
        total = np.where(low, total + 1 / np.where(low, z * z, 1), total)
        z = np.where(low, z + 1, z)
    w = 1 / (z * z)
    series = w * (1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66 - w * (691 / 2730 - w * 7 / 6))))))
    y = 1 / z + w / 2 + series / z + total
    sine = np.sin(np.pi * (x - np.round(x)))
    return np.where(sine == 0, np.where(mirrored, np.inf, y),
                    np.where(mirrored, (np.pi / np.where(sine == 0, 1, sine)) ** 2 - y, y))


def _inverse_erf(p):
    """Giles' approximation (2010), then two steps of Halley's method on erfc, which keeps its digits in the tails."""
    p = np.asarray(p, np.float64)
    q = 1 - np.abs(p)
    w = -np.log(np.where(q > 0, q * (2 - q), 1))
    near, far = w - 2.5, np.sqrt(np.maximum(w, 5)) - 3
    low = np.polyval((2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
                      -0.00417768164, 0.246640727, 1.50140941), near)
    high = np.polyval((-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
                       0.00943887047, 1.00167406, 2.83297682), far)
    y = np.abs(np.where(w < 5, low, high) * p)
    with np.errstate(all="ignore"):
        for _ in range(2):
            small = np.abs(p) < 0.5
            error = np.where(small, core.evaluate("erf", (y,)) - np.abs(p), q - _erfc(y))
            step = error / (2 / math.sqrt(math.pi) * np.exp(-y * y))
            y = y - step / (1 + y * step)
    y = np.where(q > 0, y, np.where(q == 0, np.inf, np.nan))
    return np.copysign(y, p)


_erfc = _each("erfc", math.erfc)

erfc = _library("erfc", _erfc, lambda g, y, x: (-2 / math.sqrt(math.pi) * g * F.exp(-x * x),), source="DLMF 7.2",
                doc="1 - erf(x), with all digits where that is small.")
erfinv = _library("erfinv", _inverse_erf, lambda g, y, x: (math.sqrt(math.pi) / 2 * g * F.exp(y * y),),
                  domain=(-1.0, 1.0), source="Giles 2010, Approximating the erfinv function", doc="The inverse of erf.")
lgamma = _library("lgamma", _each("gammaln", _log_gamma), lambda g, y, x: (g * F.digamma(x),), domain=(0.0, math.inf),
                  source="DLMF 5.2", doc="log |gamma(x)|.")
digamma = _library("digamma", _digamma, lambda g, y, x: (g * F.trigamma(x),), domain=(0.0, math.inf),
                   source="DLMF 5.11", doc="The derivative of lgamma.")
trigamma = _library("trigamma", _trigamma, None, domain=(0.0, math.inf), source="DLMF 5.15",
                    doc="The derivative of digamma.")


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
