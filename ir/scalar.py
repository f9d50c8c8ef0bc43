"""The closed scalar core: the few operations on single elements that kernels are made of.

Every emitter has one row for each name in `CORE`, and knows no other. An op of the registry that is not a member says
how it is expanded, with a `ScalarBuilder`. What C leaves undefined is defined here, the same on every target (see
`Scalar.note`). The `evaluate` functions are the definition: NumPy on arrays of the result's dtype, quiet about NaN and
overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .types import DType, bool_


@dataclass(frozen=True)
class Scalar:
    """One operation: `arity`, which dtype kinds it takes, the result's dtype ("same", "bool" or "attribute")."""

    name: str
    arity: int
    kinds: str                       # of the operands: any of "b", "u", "i", "f"
    evaluate: Callable[..., Any]
    result: str = "same"
    cost: float = 1.0                # in units of an addition
    note: str = ""


def _floor_divide(x, y):
    zero = y == 0
    if x.dtype.kind == "i":          # the smallest number // -1 wraps
        y1 = np.where(zero | (y == -1), 1, y).astype(y.dtype)
        return np.where(zero, 0, np.where(y == -1, (0 - x).astype(x.dtype), x // y1)).astype(x.dtype)
    return np.where(zero, 0, x // np.where(zero, 1, y).astype(y.dtype)).astype(x.dtype)


def _remainder(x, y):
    safe = np.where((y == 0) | (y == np.array(-1).astype(y.dtype)[()]) & (x.dtype.kind == "i"), 1, y).astype(y.dtype)
    return np.where(y == 0, 0, x % safe).astype(x.dtype)


def _shift_left(x, n):
    width = x.dtype.itemsize * 8
    outside = (n < 0) | (n >= width)
    return np.where(outside, 0, np.left_shift(x, np.where(outside, 0, n).astype(x.dtype))).astype(x.dtype)


def _shift_right(x, n):
    width = x.dtype.itemsize * 8
    outside = (n < 0) | (n >= width)
    shifted = np.right_shift(x, np.where(outside, width - 1, n).astype(x.dtype))
    return np.where(outside & (x.dtype.kind == "u"), 0, shifted).astype(x.dtype)


def cast(x: Any, to: DType) -> Any:
    """x converted: float to integer rounds towards zero, saturates, and makes NaN 0; integers wrap."""
    x = _as_array(x)
    if to.is_integer and (x.dtype.kind == "f" or x.dtype.kind == "V"):
        wide = x.astype(np.float64)
        info = np.iinfo(to.numpy)
        low, high = float(info.min), float(info.max)
        inside = np.clip(np.nan_to_num(wide, nan=0.0, posinf=high, neginf=low), low, np.nextafter(high + 1, 0))
        return np.where(wide >= high, info.max, np.where(wide <= low, info.min,
                                                         inside.astype(to.numpy))).astype(to.numpy)
    if to.kind == "b":
        return x != 0
    return converted(x, to)


def converted(x: Any, to: DType) -> Any:
    """`x.astype` of an array or a number, floats rounded once (ml_dtypes may go from float64 by float32)."""
    x = _as_array(x)
    is_narrow = to.is_float and to.bits < 32 and to.numpy != np.float16
    return (to_odd(x) if is_narrow and x.dtype == np.float64 else x).astype(to.numpy)


def to_odd(x: Any) -> Any:
    """float64 as float32, towards zero and with the last digit odd where something is cut off: what is rounded again is
    then rounded as if there had been only one rounding (Boldo and Melquiond 2008).
    """
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    back = near.astype(np.float64)
    bits = near.view(np.int32) - (abs(back) > abs(x)).astype(np.int32)
    return (bits | (back != x).astype(np.int32)).view(np.float32)


def _as_array(x: Any) -> Any:
    """Numbers as arrays; arrays of any device are what they are."""
    return x if hasattr(x, "dtype") else np.asarray(x)


def _multiply_high(x, y):
    if x.dtype.itemsize == 4:
        return ((x.astype(np.uint64) * y.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)
    mask = np.uint64(0xFFFFFFFF)
    x0, x1, y0, y1 = x & mask, x >> np.uint64(32), y & mask, y >> np.uint64(32)
    low, middle, other = x0 * y0, x1 * y0, x0 * y1
    carry = (low >> np.uint64(32)) + (middle & mask) + (other & mask)
    return x1 * y1 + (middle >> np.uint64(32)) + (other >> np.uint64(32)) + (carry >> np.uint64(32))


def _elementwise(f: Callable[[float], float]) -> Callable[[Any], Any]:
    slow = np.frompyfunc(f, 1, 1)
    return lambda x: np.asarray(slow(np.asarray(x, np.float64)), np.float64).astype(np.asarray(x).dtype)


def _wide(f: Callable[..., Any]) -> Callable[..., Any]:
    """Narrow floats are computed in float32 and rounded once."""

    def run(*xs):
        xs = tuple(map(_as_array, xs))
        d = xs[0].dtype
        if d.itemsize < 4:
            return f(*(x.astype(np.float32) for x in xs)).astype(d)
        return f(*xs)

    return run


def _fused(x, y, z):
    """x * y + z rounded once: float32 in float64, float64 by exact products and sums with a last digit that is odd
    where something was cut off (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    if x.dtype == np.float32:
        return _odd_sum(x.astype(np.float64) * y, z.astype(np.float64)).astype(x.dtype)
    product, split = x * y, 2.0**27 + 1
    xh, yh = x * split - (x * split - x), y * split - (y * split - y)
    product_error = (x - xh) * (y - yh) - (product - xh * yh - (x - xh) * yh - xh * (y - yh))
    low, lost = _exact_sum(z, product_error)
    high, cut = _exact_sum(product, low)
    better = high + _odd_sum(lost, cut)
    return np.where(np.isfinite(better) & (better != 0), better, product + z)


def _exact_sum(a, b):
    """The sum and what was cut off (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _odd_sum(a, b):
    """The float64 sum, its last digit odd where something was cut off: what is rounded again is then rounded right."""
    total, cut = _exact_sum(a, b)
    digits = total.view(np.int64)
    outwards = np.where((cut > 0) == (total > 0), 1, -1)
    is_even = np.isfinite(total) & np.isfinite(cut) & (cut != 0) & (digits % 2 == 0)
    return np.where(is_even, digits + outwards, digits).view(np.float64)


def _erf(x):
    if type(x).__module__.partition(".")[0] == "cupy":
        from cupyx.scipy.special import erf as erf_on_device

        return erf_on_device(x)
    try:
        from scipy.special import erf
    except ImportError:
        return _elementwise(math.erf)(x)
    return erf(x)


def _logical(np_logical, np_bitwise):
    return lambda *xs: (np_logical if xs[0].dtype == np.bool_ else np_bitwise)(*xs)


_ALL = "buif"
CORE: dict[str, Scalar] = {
    s.name: s
    for s in (
        Scalar("add", 2, "uif", np.add, note="integers wrap"),
        Scalar("sub", 2, "uif", np.subtract, note="integers wrap"),
        Scalar("mul", 2, "uif", np.multiply, note="integers wrap"),
        Scalar("div", 2, "f", np.divide, cost=4, note="IEEE: x/0 is an infinity or NaN"),
        Scalar("floordiv", 2, "ui", _floor_divide, cost=8, note="floors; x // 0 is 0; the smallest // -1 wraps"),
        Scalar("mod", 2, "ui", _remainder, cost=8, note="has the divisor's sign; x % 0 is 0"),
        Scalar("mulhi", 2, "u", _multiply_high, cost=2, note="the upper half of the full product, 32 or 64 bits"),
        Scalar("neg", 1, "uif", lambda x: np.negative(x) if x.dtype.kind != "u" else (0 - x).astype(x.dtype)),
        Scalar("abs", 1, "uif", np.abs),
        Scalar("max", 2, _ALL, np.maximum, note="NaN wins"),
        Scalar("min", 2, _ALL, np.minimum, note="NaN wins"),
        Scalar("fma", 3, "f", _wide(_fused), note="x * y + z, rounded once"),
        Scalar("eq", 2, _ALL, np.equal, "bool"),
        Scalar("ne", 2, _ALL, np.not_equal, "bool", note="NaN != NaN"),
        Scalar("lt", 2, _ALL, np.less, "bool"),
        Scalar("le", 2, _ALL, np.less_equal, "bool"),
        Scalar("gt", 2, _ALL, np.greater, "bool"),
        Scalar("ge", 2, _ALL, np.greater_equal, "bool"),
        Scalar("select", 3, _ALL, np.where, note="select(condition, x, y): the first operand is bool"),
        Scalar("and", 2, "bui", _logical(np.logical_and, np.bitwise_and)),
        Scalar("or", 2, "bui", _logical(np.logical_or, np.bitwise_or)),
        Scalar("xor", 2, "bui", _logical(np.logical_xor, np.bitwise_xor)),
        Scalar("not", 1, "bui", _logical(np.logical_not, np.invert)),
        Scalar("shl", 2, "ui", _shift_left, note="a shift outside [0, width) gives 0"),
        Scalar("shr", 2, "ui", _shift_right, note="arithmetic on signed; a shift outside [0, width) gives the sign"),
        Scalar("cast", 1, _ALL, cast, "attribute", note="float to integer saturates, NaN is 0; integers wrap"),
        Scalar("bitcast", 1, "uif", lambda x, to: x.view(to.numpy), "attribute", note="the same width"),
        Scalar("floor", 1, "f", np.floor),
        Scalar("ceil", 1, "f", np.ceil),
        Scalar("trunc", 1, "f", np.trunc),
        Scalar("rint", 1, "f", np.rint, note="ties to even"),
        Scalar("copysign", 2, "f", np.copysign),
        Scalar("sqrt", 1, "f", np.sqrt, cost=6),
        Scalar("exp", 1, "f", np.exp, cost=12),
        Scalar("expm1", 1, "f", np.expm1, cost=16),
        Scalar("log", 1, "f", np.log, cost=14),
        Scalar("log1p", 1, "f", np.log1p, cost=16),
        Scalar("sin", 1, "f", np.sin, cost=20),
        Scalar("cos", 1, "f", np.cos, cost=20),
        Scalar("tan", 1, "f", np.tan, cost=26),
        Scalar("asin", 1, "f", np.arcsin, cost=16),
        Scalar("acos", 1, "f", np.arccos, cost=16),
        Scalar("atan", 1, "f", np.arctan, cost=16),
        Scalar("atan2", 2, "f", np.arctan2, cost=24),
        Scalar("sinh", 1, "f", np.sinh, cost=18),
        Scalar("cosh", 1, "f", np.cosh, cost=18),
        Scalar("tanh", 1, "f", np.tanh, cost=16),
        Scalar("erf", 1, "f", _wide(_erf), cost=18),
        Scalar("pow", 2, "f", np.power, cost=30),
    )
}

# Reductions and scans combine with these; the second entry is the identity for a dtype.
COMBINE: dict[str, tuple[str, Callable[[DType], Any]]] = {
    "sum": ("add", lambda d: 0),
    "prod": ("mul", lambda d: 1),
    "max": ("max", lambda d: -math.inf if d.is_float else d.kind != "b" and int(np.iinfo(d.numpy).min)),
    "min": ("min", lambda d: math.inf if d.is_float else d.kind == "b" or int(np.iinfo(d.numpy).max)),
}


def result_dtype(op: str, dtypes: tuple[DType, ...], to: DType | None = None) -> DType:
    """The dtype of a core operation's result; operands must agree, save the condition of `select`."""
    s = CORE[op]
    if s.result == "attribute":
        assert to is not None
        return to
    if s.result == "bool":
        return bool_
    return dtypes[1] if op == "select" else dtypes[0]


def evaluate(op: str, arrays: tuple[Any, ...], to: DType | None = None) -> Any:
    """The definition of a core operation, on NumPy arrays."""
    with np.errstate(all="ignore"):
        if CORE[op].result == "attribute":
            return CORE[op].evaluate(arrays[0], to)
        return CORE[op].evaluate(*arrays)


class ScalarBuilder:
    """What expansions are written with: `s.add(x, 1.0)`, `s.exp(x)`, `s.cast(x, dtype)`; numbers take the other
    operand's dtype.

    A subclass says what a value is, by `dtype_of`, `constant` and `apply`.
    """

    def dtype_of(self, x: Any) -> DType:
        """The dtype of a value of this builder."""
        raise TypeError("a subclass says what its values are")

    def constant(self, number: Any, d: DType) -> Any:
        """A constant of the given dtype."""
        raise TypeError("a subclass says what its values are")

    def number_of(self, x: Any) -> Any:
        """The number that a value is known to be, or None; where it is known, an expansion may choose another way."""
        return None

    def apply(self, op: str, args: tuple[Any, ...], to: DType | None = None) -> Any:
        """The core operation on values."""
        raise TypeError("a subclass says what its values are")

    def cast(self, x: Any, to: DType) -> Any:
        """x in another dtype; x itself if it has it already."""
        return x if self.dtype_of(x) is to else self.apply("cast", (x,), to)

    def bitcast(self, x: Any, to: DType) -> Any:
        """The bits of x read as another dtype of the same width."""
        return self.apply("bitcast", (x,), to)

    def muladd(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z, rounded once or twice, as is quicker: here once."""
        return self.apply("fma", self.lift((x, y, z)))

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """The polynomial's value by Horner's rule, lowest coefficient first."""
        result = self.lift((x, coefficients[-1]))[1]
        for c in reversed(coefficients[:-1]):
            result = self.muladd(x, result, c)
        return result

    def lift(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Numbers among the arguments become constants of the dtype that the others have."""
        dtypes = [self.dtype_of(a) for a in args if not isinstance(a, (bool, int, float))]
        return tuple(self.constant(a, dtypes[-1]) if isinstance(a, (bool, int, float)) else a for a in args)

    def __getattr__(self, op: str) -> Callable[..., Any]:
        op = op.rstrip("_")                       # and_, or_, not_
        if op not in CORE:
            raise AttributeError(f"{op} is not in the scalar core")
        return lambda *args: self.apply(op, self.lift(args))
