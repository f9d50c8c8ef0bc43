"""Arithmetic, comparison, logic and bits, element by element."""

from __future__ import annotations

from .. import scalar as core
from ..types import COMPLEX, DTYPES, FLOAT8, TensorType, bool_
from . import parts
from .declare import BITS, FLOATS, INEXACT, NUMBERS, REAL, broadcast_shapes, conjugate, pointwise, widened
from .namespace import F
from .parts import part_dtype

NO_GRADIENT = (None, None)

add = pointwise("add", lambda xp, x, y: xp.add(x, y), dtypes=NUMBERS, vjp=lambda g, z, x, y: (g, g),
                traits=("commutative", "linear"), parts=parts.add, doc="x + y; integers wrap.")
sub = pointwise("sub", lambda xp, x, y: xp.subtract(x, y), dtypes=NUMBERS, vjp=lambda g, z, x, y: (g, -g),
                traits=("linear",), parts=parts.subtract, doc="x - y; integers wrap.")
mul = pointwise("mul", lambda xp, x, y: xp.multiply(x, y), dtypes=NUMBERS,
                vjp=lambda g, z, x, y: (g * conjugate(y), g * conjugate(x)), traits=("commutative", "bilinear"),
                parts=parts.multiply, doc="x * y; integers wrap.")
div = pointwise("div", lambda xp, x, y: xp.divide(x, y), dtypes=INEXACT,
                vjp=lambda g, z, x, y: (g / conjugate(y), -g * conjugate(z / y)),
                parts=parts.divide, doc="x / y; integers are divided in float32.")
neg = pointwise("neg", lambda xp, x: xp.negative(x), dtypes=NUMBERS, vjp=lambda g, y, x: (-g,), traits=("linear",),
                parts=parts.negate, doc="-x.")


# ---- size and direction ----------------------------------------------------------------------------------------------


def _infer_real_part(types, attrs):
    (x,) = types
    return (TensorType(x.shape, part_dtype(x.dtype), x.device),)


def _sign(xp, x):
    if x.dtype.kind != "c":
        return xp.sign(x) if x.dtype.itemsize > 2 else xp.sign(x.astype(xp.float32)).astype(x.dtype)
    size = xp.abs(x)
    return xp.where(size == 0, 0, x / xp.where(size == 0, 1, size)).astype(x.dtype)


def _sign_scalar(s, x):
    d = s.dtype_of(x)
    return s.select(s.ne(x, x), x, s.sub(s.cast(s.gt(x, 0), d), s.cast(s.lt(x, 0), d)))


def _abs_jvp(tangents, y, x):
    t = tangents[0]
    return t * F.sign(x) if x.dtype.kind != "c" else F.real(t * F.conj(F.sign(x)))


def _sign_vjp(g, y, x):
    """Of a complex number: what is left of g at a right angle to x, over |x|."""
    if x.dtype.kind != "c":
        return (None,)
    along = F.real(F.conj(g) * y)
    size = F.abs(x)
    zero = F.equal(size, 0)
    return (F.where(zero, F.zeros_like(x), (g - y * F.astype(along, x.dtype)) / F.astype(F.where(zero, 1.0, size),
                                                                                         x.dtype)),)


abs_ = pointwise("abs", lambda xp, x: xp.abs(x), dtypes=(*REAL, *COMPLEX), infer=_infer_real_part, jvp=_abs_jvp,
                 vjp=lambda g, y, x: (F.astype(g, x.dtype) * F.sign(x),), doc="|x|; real for complex numbers.",
                 parts=parts.size, source="d/dx |x| = sign(x), 0 at 0")
sign = pointwise("sign", _sign, dtypes=(*REAL, *COMPLEX), vjp=_sign_vjp, scalar=_sign_scalar,
                 jvp=lambda tangents, y, x: _sign_vjp(tangents[0], y, x)[0], parts=parts.sign,
                 doc="-1, 0 or 1; NaN for NaN; x / |x| for complex numbers.")
conj = pointwise("conj", lambda xp, x: xp.conj(x) if x.dtype.kind == "c" else x, vjp=lambda g, y, x: (F.conj(g),),
                 scalar=lambda s, x: x, traits=("free",), parts=parts.conjugate,
                 doc="The complex conjugate; real numbers unchanged.")


# ---- division with remainder -----------------------------------------------------------------------------------------


def _divided(s, x, y):
    """A whole quotient and what is left of x, at most |y| / 2 (a bit more) in size.

    Each step is exact (correctly rounded quotient, fused multiply-add) and takes off as many bits as the dtype has, so
    that quotients below 2^44 (2^100 in float64) are right. Beyond, where neighbours of x are further apart than y, 0 is
    left.
    """
    first = s.rint(s.div(x, y))
    r = s.fma(s.neg(first), y, x)
    second = s.rint(s.div(r, y))
    r = s.fma(s.neg(second), y, r)
    endless = s.and_(s.eq(s.abs(y), float("inf")), s.lt(s.abs(x), float("inf")))
    finite = s.and_(s.lt(s.abs(x), float("inf")), s.and_(s.ne(y, 0.0), s.eq(y, y)))
    lost = s.and_(s.not_(s.le(s.abs(r), s.abs(y))), finite)
    r = s.select(lost, s.constant(0.0, s.dtype_of(x)), r)
    q = s.select(s.or_(endless, lost), first, s.add(first, second))
    return q, s.select(endless, x, r)


def _floored(s, x, y):
    """The quotient rounded down and the remainder with the divisor's sign."""
    q, r = _divided(s, x, y)
    other_side = s.and_(s.ne(r, 0.0), s.ne(s.lt(r, 0.0), s.lt(y, 0.0)))
    r = s.select(other_side, s.add(r, y), r)
    return s.select(other_side, s.sub(q, 1.0), q), s.copysign(r, s.select(s.eq(r, 0.0), y, r))


def _remainder_scalar(s, x, y):
    return s.mod(x, y) if s.dtype_of(x).is_integer else _floored(s, x, y)[1]


def _floor_divide_scalar(s, x, y):
    if s.dtype_of(x).is_integer:
        return s.floordiv(x, y)
    q, _ = _floored(s, x, y)
    exact = s.div(x, y)
    q = s.select(s.eq(q, 0.0), s.copysign(s.constant(0.0, s.dtype_of(x)), exact), q)
    return s.select(s.eq(y, 0.0), exact, q)


def _fmod_scalar(s, x, y):
    if s.dtype_of(x).is_integer:
        r = s.mod(x, y)
        return s.select(s.and_(s.ne(r, 0), s.ne(s.lt(r, 0), s.lt(x, 0))), s.sub(r, y), r)
    size = s.abs(y)
    _, r = _divided(s, s.abs(x), size)
    return s.copysign(s.select(s.lt(r, 0.0), s.add(r, size), r), x)


def _is_integer(xp, x, y):
    """Is this integer arithmetic? One of them may be a Python number."""
    return xp.result_type(x, y).kind in "iu"


def _fmod(xp, x, y):
    if _is_integer(xp, x, y):
        r = core.evaluate("mod", (x, y))
        return xp.where((r != 0) & ((r < 0) != (x < 0)), r - y, r).astype(x.dtype)
    return xp.fmod(x, y)


floor_divide = pointwise(
    "floor_divide", lambda xp, x, y: core.evaluate("floordiv", (x, y)) if _is_integer(xp, x, y)
    else xp.floor_divide(x, y), dtypes=REAL, vjp=lambda g, z, x, y: NO_GRADIENT, scalar=widened(_floor_divide_scalar),
    doc="floor(x / y); an integer divided by zero is 0.")
remainder = pointwise(
    "remainder", lambda xp, x, y: core.evaluate("mod", (x, y)) if _is_integer(xp, x, y) else xp.remainder(x, y),
    dtypes=REAL, vjp=lambda g, z, x, y: (g, -g * F.floor_divide(x, y)), scalar=widened(_remainder_scalar),
    doc="x - y * floor(x / y), with the divisor's sign; an integer modulo zero is 0.")
fmod = pointwise(
    "fmod", _fmod, dtypes=REAL, vjp=lambda g, z, x, y: (g, -g * F.trunc(x / y)), scalar=widened(_fmod_scalar),
    doc="x - y * trunc(x / y), with the dividend's sign (C's fmod); an integer modulo zero is 0.")


# ---- the larger and the smaller --------------------------------------------------------------------------------------


def _share(g, whole, half):
    return F.where(whole, g, F.where(half, g * 0.5, 0.0))


maximum = pointwise(
    "maximum", lambda xp, x, y: xp.maximum(x, y), dtypes=(bool_, *REAL), scalar=lambda s, x, y: s.max(x, y),
    vjp=lambda g, z, x, y: (_share(g, F.greater(x, y), F.equal(x, y)), _share(g, F.less(x, y), F.equal(x, y))),
    traits=("commutative", "idempotent"), doc="The larger; NaN wins. Equal operands share the gradient.")
minimum = pointwise(
    "minimum", lambda xp, x, y: xp.minimum(x, y), dtypes=(bool_, *REAL), scalar=lambda s, x, y: s.min(x, y),
    vjp=lambda g, z, x, y: (_share(g, F.less(x, y), F.equal(x, y)), _share(g, F.greater(x, y), F.equal(x, y))),
    traits=("commutative", "idempotent"), doc="The smaller; NaN wins. Equal operands share the gradient.")


# ---- comparison and tests --------------------------------------------------------------------------------------------


def _comparison(name, evaluate, row, doc, parts=None):
    return pointwise(name, evaluate, dtypes=DTYPES if row in ("eq", "ne") else (bool_, *REAL, *FLOAT8), result="bool",
                     vjp=lambda g, z, x, y: NO_GRADIENT, scalar=lambda s, x, y: getattr(s, row)(x, y), doc=doc,
                     traits=("commutative",) if row in ("eq", "ne") else (), parts=parts)


equal = _comparison("equal", lambda xp, x, y: xp.equal(x, y), "eq", "x == y.", parts.equal)
not_equal = _comparison("not_equal", lambda xp, x, y: xp.not_equal(x, y), "ne", "x != y; NaN differs from itself.",
                        parts.not_equal)
less = _comparison("less", lambda xp, x, y: xp.less(x, y), "lt", "x < y.")
less_equal = _comparison("less_equal", lambda xp, x, y: xp.less_equal(x, y), "le", "x <= y.")
greater = _comparison("greater", lambda xp, x, y: xp.greater(x, y), "gt", "x > y.")
greater_equal = _comparison("greater_equal", lambda xp, x, y: xp.greater_equal(x, y), "ge", "x >= y.")


def _test(name, evaluate, scalar, parts, doc):
    return pointwise(name, evaluate, dtypes=DTYPES, result="bool", vjp=lambda g, y, x: (None,), scalar=scalar,
                     parts=parts, doc=doc)


def _is_infinite_scalar(s, x):
    return s.eq(s.abs(x), float("inf")) if s.dtype_of(x).is_float else s.ne(x, x)


def _is_finite_scalar(s, x):
    return s.lt(s.abs(x), float("inf")) if s.dtype_of(x).is_float else s.eq(x, x)


isnan = _test("isnan", lambda xp, x: xp.isnan(x), lambda s, x: s.ne(x, x), parts.is_nan, "Is it NaN?")
isinf = _test("isinf", lambda xp, x: xp.isinf(x), widened(_is_infinite_scalar), parts.is_infinite, "Is it an infinity?")
isfinite = _test("isfinite", lambda xp, x: xp.isfinite(x), widened(_is_finite_scalar), parts.is_finite, "Is it finite?")
signbit = pointwise("signbit", lambda xp, x: xp.signbit(x), dtypes=FLOATS, result="bool", vjp=lambda g, y, x: (None,),
                    scalar=lambda s, x: s.lt(s.copysign(s.constant(1.0, s.dtype_of(x)), x), 0.0),
                    doc="Is the sign bit set?")


# ---- logic and bits --------------------------------------------------------------------------------------------------


def _bitwise(name, evaluate, row, dtypes, doc, traits=("commutative",)):
    return pointwise(name, evaluate, dtypes=dtypes, vjp=lambda g, z, x, y: NO_GRADIENT,
                     scalar=lambda s, x, y: getattr(s, row)(x, y), traits=traits, doc=doc)


_SYMMETRIC = ("commutative", "idempotent")

logical_and = _bitwise("logical_and", lambda xp, x, y: xp.logical_and(x, y), "and_", (bool_,), "Both.", _SYMMETRIC)
logical_or = _bitwise("logical_or", lambda xp, x, y: xp.logical_or(x, y), "or_", (bool_,), "Either.", _SYMMETRIC)
logical_xor = _bitwise("logical_xor", lambda xp, x, y: xp.logical_xor(x, y), "xor", (bool_,), "Exactly one.")
logical_not = pointwise("logical_not", lambda xp, x: xp.logical_not(x), dtypes=(bool_,), vjp=lambda g, y, x: (None,),
                        scalar=lambda s, x: s.not_(x), doc="Not.")
bitwise_and = _bitwise("bitwise_and", lambda xp, x, y: xp.bitwise_and(x, y), "and_", BITS, "x & y.", _SYMMETRIC)
bitwise_or = _bitwise("bitwise_or", lambda xp, x, y: xp.bitwise_or(x, y), "or_", BITS, "x | y.", _SYMMETRIC)
bitwise_xor = _bitwise("bitwise_xor", lambda xp, x, y: xp.bitwise_xor(x, y), "xor", BITS, "x ^ y.")
bitwise_not = pointwise("bitwise_not", lambda xp, x: xp.invert(x), dtypes=BITS, vjp=lambda g, y, x: (None,),
                        scalar=lambda s, x: s.not_(x), doc="~x.")
shift_left = _bitwise("shift_left", lambda xp, x, n: core.evaluate("shl", (x, n)), "shl", BITS[1:],
                      "x << n; 0 when n is outside [0, width).", ())
shift_right = _bitwise("shift_right", lambda xp, x, n: core.evaluate("shr", (x, n)), "shr", BITS[1:],
                       "x >> n, arithmetic; the sign when n is outside [0, width).", ())


# ---- choice ----------------------------------------------------------------------------------------------------------


def _infer_where(types, attrs):
    return (TensorType(broadcast_shapes("where", [t.shape for t in types]), types[1].dtype, types[1].device),)


def _where_jvp(tangents, z, c, x, y):
    _, s, t = tangents
    chosen = F.where(c, F.zeros_like(x) if s is None else s, F.zeros_like(y) if t is None else t)
    return chosen if chosen.shape == z.shape else F.broadcast_to(chosen, shape=z.shape)


where = pointwise("where", lambda xp, c, x, y: xp.where(c, x, y), scalar=lambda s, c, x, y: s.select(c, x, y),
                  infer=_infer_where,
                  vjp=lambda g, z, c, x, y: (None, F.where(c, g, F.zeros_like(g)), F.where(c, F.zeros_like(g), g)),
                  jvp=_where_jvp, traits=("choice",), parts=parts.where,
                  doc="x where the bool condition holds, else y.")
