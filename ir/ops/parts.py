"""Complex numbers as pairs of real values: the rules by which `passes/take_apart.py` writes complex arithmetic with
real ops, for kernels to compute.

A rule takes what the op takes, complex operands as `Parts`, and gives `Parts` for a complex result. What NumPy does
with infinities, NaN and signed zeros is what these formulas do: products are plain, quotients are Smith's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..types import DType, complex64, float32, float64
from .namespace import F


class Parts(NamedTuple):
    """A complex value, as its real and imaginary parts."""

    re: Any
    im: Any

    @property
    def whole(self) -> Any:
        """The complex value that these are both parts of, or None."""
        re, im = self.re.node, self.im.node
        if re is None or im is None or re.op is not F.real or im.op is not F.imag:
            return None
        return re.operands[0] if re.operands[0] is im.operands[0] and re.operands[0].dtype.kind == "c" else None


def join(x: Parts) -> Any:
    """The complex value: the one that these are parts of, or one that is made of them."""
    whole = x.whole
    return F.complex(x.re, x.im) if whole is None else whole


def known_number(x: Any) -> float | None:
    """The one number that a value consists of, where it is a constant that is finite."""
    while x.node is not None and x.node.op is F.broadcast_to:
        (x,) = x.node.operands
    return x.literal if x.literal is not None and math.isfinite(x.literal) else None


def part_dtype(d: DType) -> DType:
    """The dtype of a complex number's parts; a real dtype itself."""
    return d if d.kind != "c" else float32 if d is complex64 else float64


def each(op: Callable[..., Any]) -> Callable[..., Parts]:
    """The rule of an op that does the same to both parts."""

    def run(*xs: Any, **attrs: Any) -> Parts:
        return Parts(*(op(*(x[part] if isinstance(x, Parts) else x for x in xs), **attrs) for part in range(2)))

    return run


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def add(x: Parts, y: Parts) -> Parts:
    """x + y."""
    return Parts(x.re + y.re, x.im + y.im)


def subtract(x: Parts, y: Parts) -> Parts:
    """x - y."""
    return Parts(x.re - y.re, x.im - y.im)


def negate(x: Parts) -> Parts:
    """-x."""
    return Parts(-x.re, -x.im)


def conjugate(x: Parts) -> Parts:
    """The imaginary part's sign changed."""
    return Parts(x.re, -x.im)


def multiply(x: Parts, y: Parts) -> Parts:
    """x * y, by four products."""
    return Parts(x.re * y.re - x.im * y.im, x.re * y.im + y.re * x.im)


def square(x: Parts) -> Parts:
    """x * x."""
    both = x.re * x.im
    return Parts(x.re * x.re - x.im * x.im, both + both)


def divide(x: Parts, y: Parts) -> Parts:
    """x / y, by the ratio of the divisor's parts (Smith, "Algorithm 116", 1962); by 0 each part."""
    wide = F.greater_equal(F.abs(y.re), F.abs(y.im))
    large, small = F.where(wide, y.re, y.im), F.where(wide, y.im, y.re)
    zero = F.equal(large, 0.0)
    large = F.where(zero, F.abs(large), large)
    ratio = F.where(zero, 0.0, small / large)
    scale = 1.0 / (large + small * ratio)
    first, second = F.where(wide, x.re, x.im), F.where(wide, x.im, x.re)
    re = (first + F.where(zero, 0.0, second * ratio)) * scale
    im = (second - F.where(zero, 0.0, first * ratio)) * scale
    return Parts(re, F.where(wide, im, -im))


def reciprocal(x: Parts) -> Parts:
    """1 / x."""
    return divide(Parts(F.ones_like(x.re), F.zeros_like(x.re)), x)


# ---- size and direction ----------------------------------------------------------------------------------------------


def size(x: Parts) -> Any:
    """|x|."""
    return F.hypot(x.re, x.im)


def sign(x: Parts) -> Parts:
    """x / |x|; 0 of 0."""
    whole = size(x)
    zero = F.equal(whole, 0.0)
    scale = 1.0 / F.where(zero, 1.0, whole)
    return Parts(*(F.where(zero, 0.0, (a + b * 0.0) * scale) for a, b in ((x.re, x.im), (x.im, x.re))))


# ---- tests and choice ------------------------------------------------------------------------------------------------


def equal(x: Parts, y: Parts) -> Any:
    """Are both parts equal?"""
    return F.logical_and(F.equal(x.re, y.re), F.equal(x.im, y.im))


def not_equal(x: Parts, y: Parts) -> Any:
    """Does a part differ?"""
    return F.logical_or(F.not_equal(x.re, y.re), F.not_equal(x.im, y.im))


def is_nan(x: Parts) -> Any:
    """Is a part NaN?"""
    return F.logical_or(F.isnan(x.re), F.isnan(x.im))


def is_infinite(x: Parts) -> Any:
    """Is a part infinite?"""
    return F.logical_or(F.isinf(x.re), F.isinf(x.im))


def is_finite(x: Parts) -> Any:
    """Are both parts finite?"""
    return F.logical_and(F.isfinite(x.re), F.isfinite(x.im))


def where(c: Any, x: Parts, y: Parts) -> Parts:
    """Each part of x where the condition holds, else of y."""
    return Parts(F.where(c, x.re, y.re), F.where(c, x.im, y.im))


def cast(x: Any, dtype: DType) -> Any:
    """Between complex dtypes part by part; from real numbers with an imaginary part of 0, to them without it."""
    part = part_dtype(dtype)
    if not isinstance(x, Parts):
        re = F.astype(x, part)
        return Parts(re, F.zeros_like(re))
    if dtype.kind == "c":
        return Parts(F.astype(x.re, part), F.astype(x.im, part))
    return F.logical_or(F.not_equal(x.re, 0.0), F.not_equal(x.im, 0.0)) if dtype.kind == "b" else F.astype(x.re, dtype)


# ---- what is made of numbers -----------------------------------------------------------------------------------------


def constant(value: Any, dtype: DType) -> Parts:
    """A number."""
    value = complex(value)
    return Parts(*(F.constant(value=v, dtype=part_dtype(dtype)) for v in (value.real, value.imag)))


def pad(x: Parts, low: Any, high: Any, value: Any) -> Parts:
    """Each part with that of the value around it."""
    value = complex(value)
    return Parts(F.pad(x.re, low=low, high=high, value=value.real), F.pad(x.im, low=low, high=high, value=value.imag))
