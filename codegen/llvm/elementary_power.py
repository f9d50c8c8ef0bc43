"""pow: exp(y log x). float32 computes both in float64; float64 carries the logarithm and the product in two parts.

The special cases are those of C's annex F: x^0 = 1 and 1^y = 1 even for NaN, negative x needs an integer y.
"""

from __future__ import annotations

import math

from .coefficients import EXPM1_OF_POWER, LOG, LOG_OF_POWER
from .elementary_exp import exp_of_reduced, reduce_exp
from .elementary_log import split, split_any
from .formats import absolute, at_least, at_most, format_of, horner
from .value import X
from .writer import Function


def power(w: Function, x: X, y: X) -> X:
    """x^y."""
    size = absolute(w, x)
    in_float = x.type.element == "float"
    result = _of_float(w, size, y) if in_float else _of_double(w, size, y)
    is_one = w.binary("or", w.compare("oeq", x, 1.0), w.compare("oeq", y, 0.0))
    minus_one_to_infinity = w.binary("and", w.compare("oeq", size, 1.0), w.compare("oeq", absolute(w, y), math.inf))
    result = w.select(w.binary("or", is_one, minus_one_to_infinity), w.constant(1.0, x.type), result)
    return _with_sign(w, result, x, y)


def _with_sign(w: Function, result: X, x: X, y: X) -> X:
    """Negative bases: negated for odd y, NaN for y that is no integer, if x is finite and not zero."""
    half = y * 0.5
    is_integer = w.compare("oeq", w.intrinsic("floor", y), y)
    is_odd = w.binary("and", is_integer, w.compare("une", w.intrinsic("floor", half), half))
    is_negative = w.compare("slt", w.bits_of(x), 0)
    result = w.select(w.binary("and", is_negative, is_odd), -result, result)
    proper = w.binary("and", w.compare("olt", x, 0.0), w.compare("one", x, -math.inf))
    no_answer = w.binary("and", proper, w.compare("one", w.intrinsic("floor", y), y))
    return w.select(no_answer, w.constant(math.nan, x.type), result)


def _of_float(w: Function, x: X, y: X) -> X:
    """In double, where float32 has no subnormals and its products neither overflow nor need more than half of the
    digits.
    """
    x, y = w.convert("fpext", x, "double"), w.convert("fpext", y, "double")
    exponent, significand = split(w, x)
    f = significand - 1.0
    curve = w.fma(horner(w, f, LOG_OF_POWER), f, -0.5)
    logarithm = w.fma(w.convert("sitofp", exponent, "double"), math.log(2), w.fma(curve, f * f, f))
    product = _at_ends(w, logarithm, x) * y
    r, scale = reduce_exp(w, at_least(w, at_most(w, product, 130.0), -150.0))
    return w.convert("fptrunc", w.fma(r, horner(w, r, EXPM1_OF_POWER), 1.0) * (scale * scale), "float")


def _at_ends(w: Function, logarithm: X, x: X) -> X:
    """The logarithm of x >= 0, right for 0, infinity and NaN too."""
    logarithm = w.select(w.compare("olt", x, math.inf), logarithm, x)
    return w.select(w.compare("oeq", x, 0.0), w.constant(-math.inf, x.type), logarithm)


def _of_double(w: Function, x: X, y: X) -> X:
    high, low = _log_in_two(w, x)
    product = high * y
    rest = w.fma(high, y, -product) + low * y
    bottom, top = format_of(x).exp_range
    rest = w.select(w.compare("olt", absolute(w, product), 1000.0), rest, w.constant(0.0, x.type))
    r, scale = reduce_exp(w, at_least(w, at_most(w, product, top), bottom), rest)
    return exp_of_reduced(w, r) * scale * scale


def _sum(w: Function, a: X, b: X) -> tuple[X, X]:
    """a + b and its rounding error, |a| >= |b| or a = 0 (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def _log_in_two(w: Function, x: X) -> tuple[X, X]:
    """log x as a sum of two: s = f / (2 + f) and its first two terms with their errors; what follows is below 2^-12
    of it.
    """
    e, significand = split_any(w, x)
    f = significand - 1.0
    below, below_error = _sum(w, w.constant(2.0, x.type), f)
    s = f / below
    s_error = (w.fma(-s, below, f) - s * below_error) / below
    z = s * s
    z_error = w.fma(s, s, -z) + 2.0 * s * s_error
    cube = z * s
    cube_error = w.fma(z, s, -cube) + z_error * s + z * s_error
    third, third_error = LOG["double"][0], 3.700743415417188e-17             # 2/3 in two parts
    term = cube * third
    term_error = w.fma(cube, third, -term) + cube * third_error + cube_error * third
    more = cube * z * horner(w, z, LOG["double"][1:])
    high, low = format_of(x).ln2
    whole, whole_error = e * high, w.fma(e, high, -(e * high)) + e * low
    first, error = _sum(w, s + s, term)
    total, sum_error = _sum(w, whole, first)
    rest = sum_error + (error + (whole_error + (term_error + (s_error + s_error) + more)))
    upper, lower = _sum(w, total, rest)
    finite = w.compare("olt", x, math.inf)
    return _at_ends(w, upper, x), w.select(w.binary("and", finite, w.compare("ogt", x, 0.0)), lower,
                                           w.constant(0.0, x.type))
