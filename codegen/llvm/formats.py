"""Facts about float32 and float64 that the elementary functions need, and the few steps that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .value import X
from .writer import Function


@dataclass(frozen=True)
class Format:
    """One floating-point format. Constants in parts add up to more digits than the format has (Cody and Waite 1980)."""

    integer: str                         # the element of its bits
    fraction: int                        # stored bits of the significand
    bias: int
    smallest: float                      # normal
    ln2: tuple[float, float]
    pi: tuple[float, float, float]       # rounded down, all positive: so that -0 - 0 * part stays -0
    exp_range: tuple[float, float]       # beyond, exp is 0 or infinity
    expm1_low: float                     # below, expm1 is -1
    tanh_bound: float                    # above, tanh is 1
    large_angle: float                   # from here on the exact reduction is used
    sqrt_half_bits: int

    @property
    def magic(self) -> float:
        """Added to a number below 2^(fraction - 1), it rounds it to an integer, which is then in the low bits."""
        return 1.5 * 2.0**self.fraction


FORMATS = {
    "float": Format(
        "i32", 23, 127, 2.0**-126, (0.6931471824645996, -1.9046542121259336e-09),
        (3.141592502593994, 1.5099578831723193e-07, 1.078060505991553e-14), (-104.0, 89.0), -18.0, 9.1, 2.0**17,
        0x3F3504F3),
    "double": Format(
        "i64", 52, 1023, 2.0**-1022, (0.6931471805599453, 2.3190468138462996e-17),
        (3.141592653589793, 1.224646799147353e-16, 2.1657133478438278e-32), (-746.0, 710.0), -38.0, 19.5, 2.0**24,
        0x3FE6A09E667F3BCD),
}  # fmt: skip


def format_of(x: X) -> Format:
    """The format of a value."""
    return FORMATS[x.type.element]


def horner(w: Function, x: X, coefficients: Sequence[float]) -> X:
    """The polynomial's value, lowest coefficient first, each step rounded once."""
    result: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        result = w.fma(x, result, c)
    return result


def odd(w: Function, x: X, square: X, coefficients: Sequence[float]) -> X:
    """x + x^3 P(x^2)."""
    return w.fma(horner(w, square, coefficients) * square, x, x)


def at_most(w: Function, x: X, bound: float) -> X:
    """The smaller of x and a number; NaN stays."""
    return w.select(w.compare("ogt", x, bound), w.constant(bound, x.type), x)


def at_least(w: Function, x: X, bound: float) -> X:
    """The larger of x and a number; NaN stays."""
    return w.select(w.compare("olt", x, bound), w.constant(bound, x.type), x)


def absolute(w: Function, x: X) -> X:
    """|x|."""
    return w.intrinsic("fabs", x)


def with_sign_of(w: Function, size: X, x: X) -> X:
    """The size with the sign of x."""
    return w.intrinsic("copysign", size, x)


def power_of_two(w: Function, biased: X, element: str) -> X:
    """2^k from the integer k + bias."""
    return w.convert("bitcast", biased << FORMATS[element].fraction, element)
