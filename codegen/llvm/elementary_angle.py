"""sin, cos and tan. x = n pi + r is reduced in three parts with fused multiply-adds (Cody and Waite 1980); large angles
exactly.

sin(x) = (-1)^n sin(r) with |r| <= pi/2, so one polynomial does; cos(x) counts half turns from pi/2, by an n that is
a half-integer. Large angles are reduced exactly, by the writer, where there are any (`large_angle.py`); it never
changes what the other lanes get.
"""

from __future__ import annotations

import math

from .coefficients import SIN, TAN
from .formats import absolute, format_of, odd, with_sign_of
from .value import X
from .writer import Function


def sine(w: Function, x: X) -> X:
    """sin x; -0 stays."""
    return _signed_sine(w, *_half_turns(w, x, 0))


def cosine(w: Function, x: X) -> X:
    """cos x."""
    return _signed_sine(w, *_half_turns(w, x, 1))


def _signed_sine(w: Function, r: X, turns: X) -> X:
    """sin(r), which has the sign of r, even of -0, negated for an odd number of half turns."""
    sign = w.convert("bitcast", w.bits_of(r) ^ (turns << (r.type.bits - 1)), r.type.element)
    return with_sign_of(w, odd(w, r, r * r, SIN[r.type.element]), sign)


def tangent(w: Function, x: X) -> X:
    """tan x: tan(r) for even numbers of quarter turns, -1/tan(r) for odd ones."""
    f = format_of(x)
    shifted = w.fma(x, 2 / math.pi, f.magic)
    n = shifted - f.magic
    r = _remove(w, x, n * 0.5)
    quarter, r = _where_large(w, x, w.bits_of(shifted), r, lambda q, exact: (q, exact))
    value = odd(w, r, r * r, TAN[x.type.element])
    return w.select(w.compare("ne", quarter & 1, 0), -1.0 / value, value)


def _remove(w: Function, x: X, n: X) -> X:
    """x - n pi; the first step is exact, as the result has the grid of pi's leading part and is below 2."""
    for part in format_of(x).pi:
        x = w.fma(n, -part, x)
    return x


def _half_turns(w: Function, x: X, quarter: int) -> tuple[X, X]:
    """(r, n) with x + quarter pi/2 = n pi + r; the lowest bit of n is right, the others may be anything."""
    f = format_of(x)
    shifted = w.fma(x, 1 / math.pi, f.magic) if quarter == 0 else w.fma(x, 1 / math.pi, 0.5) + f.magic
    n = shifted - f.magic
    fast = _remove(w, x, n if quarter == 0 else n - 0.5)

    def exactly(q: X, r: X) -> tuple[X, X]:
        q = q + quarter
        beyond = w.compare("ogt", r, 0.0)
        other = r - w.select(beyond, w.constant(math.pi / 2, r.type), -math.pi / 2)
        is_odd = w.compare("ne", q & 1, 0)
        rounded_up = q + w.convert("zext", beyond, q.type.element)
        return w.binary("ashr", w.select(is_odd, rounded_up, q), 1), w.select(is_odd, other, r)

    turns, r = _where_large(w, x, w.bits_of(shifted), fast, exactly)
    return r, turns


def _where_large(w: Function, x: X, n: X, r: X, convert) -> tuple[X, X]:
    """(n, r) where the angle is moderate, the converted exact (quarter turns, rest) where it is large; both are NaN
    for infinity.
    """
    size = absolute(w, x)
    large = w.binary("and", w.compare("oge", size, format_of(x).large_angle), w.compare("olt", size, math.inf))

    def exact() -> tuple[X, X]:
        turns, rest = convert(*w.large_angle(x))
        return w.select(large, turns, n), w.select(large, rest, r)

    turns, rest = w.when(w.any(large), exact, lambda: (n, r))
    return turns, rest
