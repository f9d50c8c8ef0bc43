"""Floats of 16 and 8 bits: they live in memory, arithmetic happens in float32 and rounds back once, to nearest and
ties to even, also from float64.

bfloat16 is converted by integer arithmetic: without AVX512-BF16 LLVM calls a library function for it, and with it
the instruction flushes subnormals to zero.
"""

from __future__ import annotations

from .float8 import FORMATS8, narrowed, widened
from .value import X
from .writer import Function


def widen(w: Function, x: X) -> X:
    """A narrow float as float32, exactly; other floats as they are."""
    if x.type.element == "half":
        return w.convert("fpext", x, "float")
    if x.type.element == "bfloat":
        wide = w.convert("zext", w.bits_of(x), "i32") << 16
        return w.convert("bitcast", wide, "float")
    return widened(w, x, "float") if x.type.element in FORMATS8 else x


def round_to(w: Function, x: X, element: str) -> X:
    """A float32 or float64 rounded to a narrow element, or x itself if it already has the element asked for."""
    if x.type.element == element:
        return x
    if x.type.element == "double":
        x = to_odd(w, x)
    if element == "half":
        return w.convert("fptrunc", x, "half")
    if element in FORMATS8:
        return w.convert("bitcast", w.convert("trunc", narrowed(w, x, element), "i8"), element)
    return _to_bfloat(w, x)


def _to_bfloat(w: Function, x: X) -> X:
    bits = w.bits_of(x)
    odd = w.binary("lshr", bits, 16) & 1
    rounded = w.convert("trunc", w.binary("lshr", bits + 0x7FFF + odd, 16), "i16")
    quiet = w.select(w.compare("uno", x, x), w.constant(0x7FC0, rounded.type), rounded)
    return w.convert("bitcast", quiet, "bfloat")


def to_odd(w: Function, x: X) -> X:
    """float64 to float32, towards zero and with the last bit set where something is cut off, so that a further rounding
    is as if there had been only one (Boldo and Melquiond 2008). Subnormal numbers and what is beyond float32, too.
    """
    near = w.convert("fptrunc", x, "float")
    back = w.convert("fpext", near, "double")
    is_over = w.compare("olt", w.intrinsic("fabs", x), w.intrinsic("fabs", back))
    is_cut = w.compare("one", back, x)
    bits = w.bits_of(near)
    one, zero = (w.constant(number, bits.type) for number in (1, 0))
    return w.convert("bitcast", (bits - w.select(is_over, one, zero)) | w.select(is_cut, one, zero), "float")


def is_narrow(x: X) -> bool:
    """Is it a float of 16 or 8 bits?"""
    return x.type.element in ("half", "bfloat") or x.type.element in FORMATS8
