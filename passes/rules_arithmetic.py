"""Rewrite rules of arithmetic: neutral numbers, signs, powers, integers.

What holds for floating point holds for -0.0, infinities and NaN (whose sign and payload do not count). Hence x - 0.0 is
x but x + 0.0 is not, and a difference of equal numbers is 0 only where they are finite.
"""

from __future__ import annotations

import math

from ..ir.ops.declare import INEXACT, REAL, Op
from ..ir.ops.namespace import F
from ..ir.types import FLOATS, INTEGERS, DType
from .rewrite import P, accurate, exact, finite, integer, numbers, reassociate, rule, variables

x, y = variables("x y")
c, d = numbers("c d")
SIGNED = [dtype for dtype in REAL if dtype.kind != "u"]

# ---- neutral numbers -------------------------------------------------------------------------------------------------


@rule(P.mul(x, 1), exact, on=REAL)
def multiply_by_one(x):
    return x


@rule(P.div(x, 1), exact, on=FLOATS)
def divide_by_one(x):
    return x


@rule(P.add(x, -0.0), exact, on=FLOATS)
def add_negative_zero(x):
    return x


@rule(P.sub(x, 0), exact, on=REAL)
def subtract_zero(x):
    return x


@rule(P.add(x, 0), integer, on=INTEGERS)
def add_integer_zero(x):
    return x


@rule(P.add(x, 0), finite, on=INEXACT)
def add_zero(x):
    return x


@rule(P.mul(x, 0), integer, on=INTEGERS)
def multiply_by_integer_zero(x):
    return 0


@rule(P.mul(x, 0), finite, on=INEXACT)
def multiply_by_zero(x):
    return 0


@rule(P.maximum(x, -math.inf), exact, on=FLOATS)
def maximum_with_the_least(x):
    return x


@rule(P.minimum(x, math.inf), exact, on=FLOATS)
def minimum_with_the_greatest(x):
    return x


@rule(P.floor_divide(x, 1), integer, on=INTEGERS)
def floor_divide_by_one(x):
    return x


@rule(P.remainder(x, 1), integer, on=INTEGERS)
def remainder_by_one(x):
    return 0


# ---- an operand with itself ------------------------------------------------------------------------------------------


@rule(P.sub(x, x), integer, on=INTEGERS)
def subtract_integer_itself():
    return 0


@rule(P.sub(x, x), finite, on=INEXACT)
def subtract_itself():
    return 0


@rule(P.maximum(x, x), exact)
def maximum_of_itself(x):
    return x


@rule(P.minimum(x, x), exact)
def minimum_of_itself(x):
    return x


@rule(P.copysign(x, x), exact)
def copysign_of_itself(x):
    return x


# ---- signs -----------------------------------------------------------------------------------------------------------


@rule(P.neg(P.neg(x)), exact)
def double_negation(x):
    return x


@rule(P.mul(x, -1), exact, on=REAL)
def multiply_by_minus_one(x):
    return F.neg(x)


@rule(P.sub(-0.0, x), exact, on=FLOATS)
def subtract_from_negative_zero(x):
    return F.neg(x)


@rule(P.sub(0, x), integer, on=INTEGERS)
def subtract_from_integer_zero(x):
    return F.neg(x)


@rule(P.add(x, P.neg(y)), exact)
def add_a_negative(x, y):
    return F.sub(x, y)


@rule(P.sub(x, P.neg(y)), exact)
def subtract_a_negative(x, y):
    return F.add(x, y)


@rule(P.neg(P.sub(x, y)), integer, on=INTEGERS)
def negated_difference(x, y):
    return F.sub(y, x)


@rule(P.mul(P.neg(x), P.neg(y)), exact, on=REAL)
def product_of_negatives(x, y):
    return F.mul(x, y)


@rule(P.div(P.neg(x), P.neg(y)), exact, on=FLOATS)
def quotient_of_negatives(x, y):
    return F.div(x, y)


@rule(P.mul(P.neg(x), c), exact, on=REAL, c=(3, -2))
def negative_times_number(x, c):
    return F.mul(x, _negated(c, x.dtype))


@rule(P.neg(P.mul(x, c)), exact, on=REAL, c=(3, -2))
def negated_multiple(x, c):
    return F.mul(x, _negated(c, x.dtype))


@rule(P.div(P.neg(x), c), exact, on=FLOATS, c=(3, -2))
def negative_by_number(x, c):
    return F.div(x, -c)


@rule(P.square(P.neg(x)), exact, on=REAL)
def square_of_negative(x):
    return F.square(x)


@rule(P.square(P.abs(x)), exact, on=REAL)
def square_of_absolute(x):
    return None if x.dtype.kind == "c" else F.square(x)


@rule(P.abs(P.neg(x)), exact, on=SIGNED)
def absolute_of_negative(x):
    return F.abs(x)


@rule(P.abs(P.abs(x)), exact, on=REAL)
def absolute_twice(x):
    return F.abs(x)


@rule(P.abs(P.square(x)), exact, on=FLOATS)
def absolute_of_square(x):
    return F.square(x)


@rule(P.abs(x), integer, on=set(REAL) - set(SIGNED))
def absolute_of_unsigned(x):
    return x


@rule(P.cos(P.neg(x)), exact, on=FLOATS)
def cosine_of_negative(x):
    return F.cos(x)


@rule(P.conj(P.conj(x)), exact)
def conjugate_twice(x):
    return x


@rule(P.conj(x), exact, on=REAL)
def conjugate_of_real(x):
    return x


def _negated(number: float, dtype: DType) -> float | None:
    """-number in the dtype, where it has it."""
    return (-number) % 2**dtype.bits if dtype.kind == "u" else -number


# ---- quotients and powers --------------------------------------------------------------------------------------------


@rule(P.div(x, c), exact, on=FLOATS, c=(2.0, -0.25, 1024.0, 2.0**-14, 2.0**40, 2.0**120))
def divide_by_power_of_two(x, c):
    """The reciprocal is exact, so both round the same real number."""
    return F.mul(x, 1 / c) if c != 1 and _is_power(c) and _is_power(_rounded(1 / c, x.dtype)) else None


@rule(P.mul(x, x), exact, on=REAL)
def product_with_itself(x):
    return F.square(x)


@rule(P.pow(x, 1), exact, on=REAL)
def first_power(x):
    return x


@rule(P.pow(x, 0), exact, on=REAL)
def power_of_zero(x):
    return 1


@rule(P.pow(x, 2), integer, on=INTEGERS)
def integer_square(x):
    return F.square(x)


@rule(P.pow(x, 2), accurate, on=FLOATS)
def second_power(x):
    """Rounded once, where `pow` may be some units in the last place away."""
    return F.square(x)


@rule(P.pow(x, -1), accurate, on=FLOATS)
def power_of_minus_one(x):
    return F.reciprocal(x)


@rule(P.div(1, x), exact, on=FLOATS)
def one_by(x):
    return F.reciprocal(x)


@rule(P.div(x, x), finite, on=FLOATS)
def divide_by_itself():
    return 1


@rule(P.div(x, c), reassociate, on=FLOATS, c=(3.0, 10.0))
def divide_by_number(x, c):
    return F.mul(x, 1 / c) if c and math.isfinite(1 / c) else None


def _is_power(number: float) -> bool:
    """Is it ± a power of two?"""
    return math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5


def _rounded(number: float, dtype: DType) -> float:
    return float(dtype.numpy.type(number))


# ---- association -----------------------------------------------------------------------------------------------------


@rule(P.add(P.add(x, c), d), integer, on=INTEGERS, c=(1, 100), d=(7,))
def add_numbers(x, c, d):
    return F.add(x, _wrapped(c + d, x.dtype))


@rule(P.mul(P.mul(x, c), d), integer, on=INTEGERS, c=(2, 100), d=(7,))
def multiply_numbers(x, c, d):
    return F.mul(x, _wrapped(c * d, x.dtype))


@rule(P.add(P.add(x, c), d), reassociate, on=FLOATS, c=(1.5,), d=(0.25,))
def add_float_numbers(x, c, d):
    return F.add(x, c + d)


@rule(P.mul(P.mul(x, c), d), reassociate, on=FLOATS, c=(1.5,), d=(0.3,))
def multiply_float_numbers(x, c, d):
    return F.mul(x, c * d)


def _wrapped(number: int, dtype: DType) -> int:
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0
    return (number - low) % (1 << dtype.bits) + low


# ---- bits ------------------------------------------------------------------------------------------------------------


@rule(P.bitwise_and(x, 0), integer, on=INTEGERS)
def and_with_zero(x):
    return 0


@rule(P.bitwise_or(x, 0), integer, on=INTEGERS)
def or_with_zero(x):
    return x


@rule(P.bitwise_xor(x, 0), integer, on=INTEGERS)
def xor_with_zero(x):
    return x


@rule(P.bitwise_xor(x, x), integer, on=INTEGERS)
def xor_with_itself():
    return 0


@rule(P.shift_left(x, 0), integer, on=INTEGERS)
def shift_left_by_zero(x):
    return x


@rule(P.shift_right(x, 0), integer, on=INTEGERS)
def shift_right_by_zero(x):
    return x


@rule(P.bitwise_not(P.bitwise_not(x)), exact)
def not_twice(x):
    return x


@rule(P.bitwise_and(x, x), exact)
def and_with_itself(x):
    return x


@rule(P.bitwise_or(x, x), exact)
def or_with_itself(x):
    return x


# ---- roundings -------------------------------------------------------------------------------------------------------

_ROUNDINGS = (F.floor, F.ceil, F.trunc, F.round)


def _keep(outer: Op) -> None:
    rule(P[outer](x), integer, on=INTEGERS, name=f"{outer.name}_of_integer")(lambda x: x)


def _keep_inner(outer: Op, inner: Op) -> None:
    rule(P[outer](P[inner](x)), exact, on=FLOATS, name=f"{outer.name}_of_{inner.name}")(lambda x: inner(x))


for _outer in _ROUNDINGS:
    _keep(_outer)
    for _inner in _ROUNDINGS:
        _keep_inner(_outer, _inner)
