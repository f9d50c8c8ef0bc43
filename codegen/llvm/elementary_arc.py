"""asin, acos, atan and atan2: polynomials near 0, and the identities that lead there (DLMF 4.23, 4.24)."""

from __future__ import annotations

import math

from .coefficients import ASIN, ATAN
from .formats import absolute, format_of, horner, odd, with_sign_of
from .value import X
from .writer import Function


def _arc_from(w: Function, times: float, x: X) -> X:
    """times pi - x, with more digits of pi than the format has."""
    high, low, _ = format_of(x).pi
    return times * high - (x - times * low)


def arcsine(w: Function, x: X) -> X:
    """asin x; beyond 1/2 it is pi/2 - 2 asin(sqrt((1 - |x|) / 2))."""
    near, is_large, far = _arcs(w, x)
    return w.select(is_large, with_sign_of(w, _arc_from(w, 0.5, far), x), near)


def arccosine(w: Function, x: X) -> X:
    """acos x = pi/2 - asin x; beyond 1/2 it is 2 asin(sqrt((1 - |x|) / 2)), or pi less that."""
    near, is_large, far = _arcs(w, x)
    folded = w.select(w.compare("olt", x, 0.0), _arc_from(w, 1.0, far), far)
    return w.select(is_large, folded, _arc_from(w, 0.5, near))


def _arcs(w: Function, x: X) -> tuple[X, X, X]:
    """(asin x where |x| <= 1/2, is it beyond, and there 2 asin(sqrt((1 - |x|) / 2))), by one polynomial for both."""
    size = absolute(w, x)
    is_large = w.compare("ogt", size, 0.5)
    half_rest = w.fma(size, -0.5, 0.5)
    square = w.select(is_large, half_rest, x * x)
    root = w.select(is_large, w.intrinsic("sqrt", half_rest), x)
    arc = odd(w, root, square, ASIN[x.type.element])
    return arc, is_large, arc + arc


def arctangent(w: Function, x: X) -> X:
    """atan x, by the arc of |x| or of its inverse."""
    size = absolute(w, x)
    is_large = w.compare("ogt", size, 1.0)
    arc = _first_octant(w, w.select(is_large, 1.0 / size, size))
    return with_sign_of(w, w.select(is_large, _arc_from(w, 0.5, arc), arc), x)


def arctangent2(w: Function, y: X, x: X) -> X:
    """The angle of the point (x, y), with C's answers for zeros and infinities."""
    rise, run = absolute(w, y), absolute(w, x)
    is_steep = w.compare("ogt", rise, run)
    smaller, larger = w.select(is_steep, run, rise), w.select(is_steep, rise, run)
    diagonal = w.select(w.compare("oeq", larger, 0.0), w.constant(0.0, x.type), 1.0)      # for infinities too
    slope = w.select(w.compare("oeq", smaller, larger), diagonal, smaller / larger)
    arc = _first_octant(w, slope)
    arc = w.select(is_steep, _arc_from(w, 0.5, arc), arc)
    is_left = w.compare("slt", w.bits_of(x), 0)
    return with_sign_of(w, w.select(is_left, _arc_from(w, 1.0, arc), arc), y)


def _first_octant(w: Function, t: X) -> X:
    """atan t for 0 <= t <= 1; double goes on to pi/4 + atan((t - 1) / (t + 1)) above tan(pi/8)."""
    if t.type.element == "float":
        return odd(w, t, t * t, ATAN["float"])
    is_large = w.compare("ogt", t, math.sqrt(2) - 1)
    t = w.select(is_large, (t - 1.0) / (t + 1.0), t)
    high, low, _ = format_of(t).pi
    curve = horner(w, t * t, ATAN["double"]) * (t * t)
    small = w.fma(curve, t, w.select(is_large, w.constant(low / 4, t.type), 0.0))
    return w.select(is_large, w.constant(high / 4, t.type), 0.0) + (t + small)
