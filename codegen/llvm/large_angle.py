"""Exact reduction of large angles: the significand times the bits of 2/pi that matter (Payne and Hanek 1983), in a
function of its own, which is called for the lanes of a vector that has a large angle.
"""

from __future__ import annotations

import math

from ...ir.types import float64, int64
from .coefficients import TWO_OVER_PI
from .formats import absolute
from .types import INDEX, POINTER, type_of, vector
from .value import X
from .writer import Function

REDUCE = "reduce_large_angle"


def reduce(w: Function, x: X) -> tuple[X, X]:
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
