"""exp and its relatives: exp, expm1, sinh, cosh, tanh, erf.

exp(x) = 4^m exp(r) with |r| <= ln 2 (Cody and Waite 1980, chapter 6). Reducing by 2 ln 2 instead of ln 2 costs one
coefficient, and lets 2^m, made by one shift, be applied twice: so both overflow and subnormal results come out right
without any case.
"""

from __future__ import annotations

from .coefficients import ERF_SMALL, ERFC, EXPM1, SINH
from .formats import absolute, at_least, at_most, format_of, horner, odd, power_of_two, with_sign_of
from .value import X
from .writer import Function


def reduce_exp(w: Function, x: X, tail: X | None = None) -> tuple[X, X]:
    """(r, 2^m) with x + tail = 2 m ln 2 + r and |r| <= ln 2; x is within the format's `exp_range`."""
    f = format_of(x)
    high, low = f.ln2
    shifted = w.fma(x, 0.5 / (high + low), f.magic + f.bias)
    m = shifted - (f.magic + f.bias)
    r = w.fma(m, -2 * low, w.fma(m, -2 * high, x))
    return r if tail is None else r + tail, power_of_two(w, w.bits_of(shifted), x.type.element)


def exp_of_reduced(w: Function, r: X) -> X:
    """exp(r) for |r| <= ln 2; exactly 1 at 0."""
    return w.fma(r, horner(w, r, EXPM1[r.type.element]), 1.0)


def exp(w: Function, x: X) -> X:
    """e^x."""
    low, high = format_of(x).exp_range
    r, scale = reduce_exp(w, at_least(w, at_most(w, x, high), low))
    return exp_of_reduced(w, r) * scale * scale


def expm1(w: Function, x: X) -> X:
    """e^x - 1."""
    f = format_of(x)
    inside = at_least(w, at_most(w, x, f.exp_range[1]), f.expm1_low)
    return with_sign_of(w, _expm1_inside(w, inside), x)


def _expm1_inside(w: Function, x: X) -> X:
    """e^x - 1 within the range, but for -0: with e = exp(r) - 1 and s = 2^m it is s (s e + (s - 1/s))."""
    f = format_of(x)
    r, scale = reduce_exp(w, x)
    less_one = r * horner(w, r, EXPM1[x.type.element])
    inverse = w.convert("bitcast", w.binary("sub", 2 * f.bias << f.fraction, w.bits_of(scale)), x.type.element)
    return w.fma(scale, less_one, scale - inverse) * scale


def _half_exp(w: Function, x: X) -> X:
    """e^x / 2 for x >= 0, which overflows later than e^x."""
    r, scale = reduce_exp(w, at_most(w, x, format_of(x).exp_range[1] + 1))
    return exp_of_reduced(w, r) * scale * (scale * 0.5)


def hyperbolic_cosine(w: Function, x: X) -> X:
    """h + 1/(4 h), with h = e^|x| / 2."""
    half = _half_exp(w, absolute(w, x))
    return half + 0.25 / half


def hyperbolic_sine(w: Function, x: X) -> X:
    """h - 1/(4 h), with h = e^|x| / 2; a polynomial below 1, where that cancels."""
    size = absolute(w, x)
    half = _half_exp(w, size)
    large = with_sign_of(w, half - 0.25 / half, x)
    return w.select(w.compare("olt", size, 1.0), odd(w, x, x * x, SINH[x.type.element]), large)


def hyperbolic_tangent(w: Function, x: X) -> X:
    """t / (t + 2), with t = expm1(2 |x|)."""
    inside = at_most(w, absolute(w, x), format_of(x).tanh_bound)
    t = _expm1_inside(w, inside + inside)
    return with_sign_of(w, t / (t + 2.0), x)


def error_function(w: Function, x: X) -> X:
    """A polynomial below 1, from there 1 - erfc(|x|)."""
    size = absolute(w, x)
    small = w.fma(horner(w, x * x, ERF_SMALL[x.type.element]), x, x)
    return w.select(w.compare("olt", size, 1.0), small, with_sign_of(w, 1.0 - _complement(w, size), x))


def _complement(w: Function, x: X) -> X:
    """erfc(x) for x >= 1. float: P(x)^-8, in the manner of Hastings 1955; double: exp(-x^2) P((x - 2) / (x + 2)).

    The rounding of x^2 is harmless: what it does to erfc is below an ULP of 1 - erfc.
    """
    if x.type.element == "float":
        root = horner(w, x, ERFC["float"])
        square = root * root
        fourth = square * square
        return 1.0 / (fourth * fourth)
    inside = at_most(w, x, 6.0)
    return exp(w, -(inside * inside)) * horner(w, (inside - 2.0) / (inside + 2.0), ERFC["double"])
