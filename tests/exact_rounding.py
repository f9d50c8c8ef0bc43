"""float64 rounded to 16 and 8 bits, to nearest and ties to even, by comparing with every number of the format: what
casts are tested against. (ml_dtypes before 0.7 rounds to float32 first.)
"""

from __future__ import annotations

import numpy as np
from braze.ir.types import DType, bfloat16, float8_e4m3fn, float8_e5m2, float16

FORMATS = {float16: (15, 10), bfloat16: (127, 7), float8_e4m3fn: (7, 3), float8_e5m2: (15, 2)}   # bias, fraction
NARROW = list(FORMATS)
# The first code that is no number; read as one, it is what would come next.
FIRST = {float16: 0x7C00, bfloat16: 0x7F80, float8_e4m3fn: 0x7F, float8_e5m2: 0x7C}


def sizes(d: DType) -> np.ndarray:
    """The numbers of the codes from 0 on, in order, and the one that would come next."""
    bias, fraction = FORMATS[d]
    code = np.arange(FIRST[d] + 1)
    exponent, rest = code >> fraction, code & ((1 << fraction) - 1)
    is_normal = exponent > 0
    return np.ldexp((rest + is_normal * (1 << fraction)).astype(np.float64),
                    np.maximum(exponent, 1) - bias - fraction)


def rounded(x: np.ndarray, d: DType) -> np.ndarray:
    """float64 as the nearest number of the dtype."""
    numbers = sizes(d)
    middles = (numbers[1:] + numbers[:-1]) / 2                    # exact: float64 has more digits
    size = np.abs(x)
    code = np.searchsorted(middles, size)                         # the lower one of a tie
    at = np.minimum(code, len(middles) - 1)
    code = code + ((middles[at] == size) & (code % 2 == 1))
    nan = {float16: 0x7E00, bfloat16: 0x7FC0, float8_e4m3fn: 0x7F, float8_e5m2: 0x7E}[d]
    bits = np.where(np.isnan(x), nan, code) | np.signbit(x) << (d.bits - 1)
    return bits.astype(f"u{d.itemsize}").view(d.numpy)


def hard_numbers(d: DType) -> np.ndarray:
    """Numbers and what lies halfway between them, and the closest float64 beside these; random and special ones."""
    numbers = sizes(d)
    near = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2])
    random = np.random.default_rng(0)
    beside = [near, np.nextafter(near, np.inf), np.nextafter(near, 0), near * (1 + 2.0**-30), near * (1 - 2.0**-30),
              np.exp2(random.uniform(-160, 140, 4000)), np.exp2(random.uniform(-30, 17, 4000)),
              [3.4028235e38, 3.4028235677973366e38, 3.3961775292304957e38, 1e300, 5e-324, np.inf, np.nan]]
    x = np.concatenate(beside)
    return np.concatenate([x, -x])


def assert_same(got: np.ndarray, want: np.ndarray, x: np.ndarray) -> None:
    """Equal bits, but for a NaN's."""
    a, b = (v.astype(np.float64) for v in (got, want))
    wrong = ~((a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b))
    first = int(np.argmax(wrong))
    assert not wrong.any(), f"{x[first]!r} becomes {got[first]!r}, not {want[first]!r}"
