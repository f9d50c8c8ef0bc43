"""log and log1p: x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), split by integer arithmetic on the bits (Cody and
Waite 1980).

float takes a polynomial in f; double s = f / (2 + f), whose odd series halves the number of terms (Ng and Tang; DLMF
4.6.5).
"""

from __future__ import annotations

import math

from .coefficients import LOG
from .formats import format_of, horner, power_of_two, with_sign_of
from .value import X
from .writer import Function


def split(w: Function, x: X) -> tuple[X, X]:
    """(e as an integer, 1 + f) of a positive normal x."""
    f = format_of(x)
    bits = w.bits_of(x)
    exponent = w.binary("ashr", bits - f.sqrt_half_bits, f.fraction)
    return exponent, w.convert("bitcast", bits - (exponent << f.fraction), x.type.element)


def split_any(w: Function, x: X) -> tuple[X, X]:
    """(e as a float, 1 + f) of any positive x."""
    f = format_of(x)
    tiny = w.compare("olt", x, f.smallest)
    exponent, significand = split(w, w.select(tiny, x * 2.0 ** (f.fraction + 1), x))
    shift = w.select(tiny, w.constant(-float(f.fraction + 1), x.type), 0.0)
    return w.convert("sitofp", exponent, x.type.element) + shift, significand


def _combine(w: Function, e: X, f: X) -> X:
    """e ln 2 + log(1 + f)."""
    high, low = format_of(f).ln2
    if f.type.element == "float":
        curve = w.fma(horner(w, f, LOG["float"]), f, -0.5)
        return w.fma(e, high, w.fma(e, low, w.fma(curve, f * f, f)))
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    small = w.fma(s, w.fma(z, horner(w, z, LOG["double"]), half_square), e * low)
    return w.fma(e, high, f - (half_square - small))


def _edges(w: Function, result: X, x: X, pole: float, infinite: X) -> X:
    """infinity and NaN stay, at the pole it is -infinity, below it NaN."""
    result = w.select(w.compare("olt", infinite, math.inf), result, infinite)
    outside = w.select(w.compare("oeq", x, pole), w.constant(-math.inf, x.type), math.nan)
    return w.select(w.compare("ogt", x, pole), result, outside)


def log(w: Function, x: X) -> X:
    """The natural logarithm."""
    e, significand = split_any(w, x)
    return _edges(w, _combine(w, e, significand - 1.0), x, 0.0, x)


def log1p(w: Function, x: X) -> X:
    """log(1 + x): f = 2^-e x + (2^-e - 1) is as exact as x is, whatever 1 + x lost; beyond 2^60 it lost nothing."""
    f = format_of(x)
    whole = x + 1.0
    exponent, significand = split(w, whole)
    scale = power_of_two(w, w.binary("sub", f.bias, exponent), x.type.element)
    fraction = w.fma(scale, x, scale - 1.0)
    fraction = w.select(w.compare("ogt", x, 2.0**60), significand - 1.0, fraction)
    result = _combine(w, w.convert("sitofp", exponent, x.type.element), fraction)
    return with_sign_of(w, _edges(w, result, x, -1.0, x), x)
