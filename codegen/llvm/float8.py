"""8-bit floats: read and written by their bits, converted to wider floats exactly and from float32 by one rounding, to
nearest and ties to even. Written once, with the operations that LLVM's writer and Triton's share.

What is beyond the largest number becomes infinity, or NaN where there is none (no saturation), as in PyTorch and
ml_dtypes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from .value import X

_SINGLE_FRACTION, _SINGLE_BIAS, _SINGLE_INFINITY = 23, 127, 0x7F800000
_HALF_FRACTION, _HALF_BIAS = 10, 15


@dataclass(frozen=True)
class Format8:
    """A format of one sign bit, an exponent with a `bias`, and `fraction` bits. `last` is the largest float32 that is
    rounded to a number; what is above becomes the bits `beyond`, a NaN the bits `nan`.
    """

    fraction: int
    bias: int
    last: float
    beyond: int
    nan: int

    @property
    def has_infinity(self) -> bool:
        """Are infinities and NaN where half precision has them too?"""
        return self.beyond != self.nan


FORMATS8 = {
    "f8e4m3fn": Format8(3, 7, 464.0, 0x7F, 0x7F),                       # halfway from 448 to what would be 480
    "f8e5m2": Format8(2, 15, 61440.0 - 2.0**-8, 0x7C, 0x7E),            # below halfway from 57344 to 65536
}


def widened(w: Any, x: X, element: str) -> X:
    """Bits of a format as a "float" or "half", which has all its numbers: those of a half with a larger bias."""
    f = FORMATS8[x.type.element]
    bits = w.convert("zext", w.bits_of(x), "i16")
    up = _HALF_FRACTION - f.fraction
    moved = bits << up if f.bias == _HALF_BIAS else ((bits & 0x80) << 8) | ((bits & 0x7F) << up)
    half = w.convert("bitcast", moved, "half")
    result = half if element == "half" else w.convert("fpext", half, element)
    if f.bias != _HALF_BIAS:
        result = result * 2.0**(_HALF_BIAS - f.bias)
    if f.has_infinity:
        return result
    return w.select(w.compare("eq", bits & 0x7F, f.nan), w.constant(float("nan"), result.type), result)


def narrowed(w: Any, x: X, element: str) -> X:
    """A float32 rounded to a format, as the bits of an i32."""
    f = FORMATS8[element]
    bits = w.bits_of(x)
    size, dropped = bits & 0x7FFFFFFF, _SINGLE_FRACTION - f.fraction
    is_odd = w.binary("lshr", size, dropped) & 1
    rebias = (_SINGLE_BIAS - f.bias) << _SINGLE_FRACTION
    normal = w.binary("lshr", size + ((1 << (dropped - 1)) - 1 - rebias) + is_odd, dropped)
    # added to a number whose last digit is worth the smallest subnormal, it is rounded by the processor
    shift = 2.0**(1 - f.bias - f.fraction + _SINGLE_FRACTION)
    subnormal = w.bits_of(w.convert("bitcast", size, "float") + shift) - _bits(shift)
    code = w.select(w.compare("slt", size, _bits(2.0**(1 - f.bias))), subnormal, normal)
    code = w.select(w.compare("slt", _bits(f.last), size), w.constant(f.beyond, size.type), code)
    if f.has_infinity:
        code = w.select(w.compare("slt", _SINGLE_INFINITY, size), w.constant(f.nan, size.type), code)
    return code | (w.binary("lshr", bits, 24) & 0x80)


def _bits(number: float) -> int:
    """The bits of a float32."""
    return struct.unpack("<i", struct.pack("<f", number))[0]
