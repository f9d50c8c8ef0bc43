"""sin, cos and tan. x = n pi + r is reduced in three parts with fused multiply-adds (Cody and Waite 1980); large angles
exactly.

sin(x) = (-1)^n sin(r) with |r| <= pi/2, so one polynomial does; cos(x) counts half turns from pi/2, by an n that is
a half-integer. Exact reduction multiplies the significand with the bits of 2/pi that matter (Payne and Hanek 1983),
in a function of its own which is called for the lanes of a vector that has a large angle. It never changes what the
other lanes get.
"""

from __future__ import annotations

import math

from ...ir.types import float64, int64
from .coefficients import SIN, TAN, TWO_OVER_PI
from .formats import absolute, format_of, odd, with_sign_of
from .types import INDEX, POINTER, type_of, vector
from .value import X
from .writer import Function

REDUCE = "reduce_large_angle"


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
        turns, rest = convert(*_reduce_exactly(w, x))
        return w.select(large, turns, n), w.select(large, rest, r)

    turns, rest = w.when(w.any(large), exact, lambda: (n, r))
    return turns, rest


def _reduce_exactly(w: Function, x: X) -> tuple[X, X]:
    """Quarter turns and rest of each lane, in x's own format."""
    lanes = x.lanes
    w.module.helper(REDUCE, _write_reduction)
    angles, rests, counts = (w.alloca(type_of(d, lanes)) for d in (float64, float64, int64))
    w.store(x if x.type.element == "double" else w.convert("fpext", x, "double"), angles)
    w.loop(0, lanes, 1, lambda i: w.call(
        REDUCE, None, w.at(angles, i, float64), w.at(rests, i, float64), w.at(counts, i, int64)))
    quarters, rest = w.load(int64, counts, lanes), w.load(float64, rests, lanes)
    if x.type.element == "double":
        return quarters, rest
    return w.convert("trunc", quarters, "i32"), w.convert("fptrunc", rest, "float")


def _write_reduction(module) -> None:
    """x = q pi/2 + r with |r| <= pi/4, for 2^17 <= |x| < infinity; of other x the answer is not used.

    With x = M 2^E, the bits of 2/pi before E - 2 add multiples of 4 to the quotient and are skipped. The next 192
    bits times M, modulo 2^192, are the quotient modulo 4: two bits of quarters, then the fraction, of which at least
    64 good bits are left after the worst cancellation of a double (about 2^-62).
    """
    w = module.function(REDUCE, {"x": POINTER, "rest": POINTER, "quarters": POINTER},
                        attributes="nounwind noinline cold")
    source, rest, quarters = w.parameters
    x = w.load(float64, source)
    size = w.bits_of(absolute(w, x))
    significand = (size & ((1 << 52) - 1)) | (1 << 52)
    # neighbours of a large angle may be anything
    skipped = w.max(w.binary("lshr", size, 52) - (1075 + 2 - 64), 0)
    word, shift = w.binary("lshr", skipped, 6), skipped & 63
    table = w.table("i64", TWO_OVER_PI)
    words = [w.load(int64, w.at(table, word + k, int64)) for k in range(4)]
    window = [w.call("llvm.fshl.i64", INDEX, a, b, shift) for a, b in zip(words, words[1:])]
    wide = vector("i128")
    first, second, third = (w.binary("mul", *(w.let(wide, f"zext {v} to i128") for v in (significand, part)))
                            for part in window)
    product = w.binary("add", first << 64, second) + w.binary("lshr", third, 64)
    count = w.binary("lshr", product + (1 << 125), 126)
    fraction = w.binary("sub", product, count << 126)
    upper = w.convert("sitofp", w.convert("trunc", w.binary("ashr", fraction, 64), "i64"), "double")
    lower = w.convert("uitofp", w.convert("trunc", fraction, "i64"), "double")
    angle = w.fma(lower, 2.0**-64, upper) * (math.pi / 2 * 2.0**-62)
    negative = w.compare("olt", x, 0.0)
    turned = w.convert("trunc", count, "i64")
    w.store(w.select(negative, -angle, angle), rest)
    w.store(w.select(negative, w.binary("sub", 0, turned), turned), quarters)
