"""Arithmetic, comparison, logic and bits, element by element."""

from __future__ import annotations

from .. import scalar as core
from ..types import bool_
from .declare import BITS, DTYPES, FLOATS, INEXACT, NUMBERS, REAL, pointwise
from .namespace import F

add = pointwise("add", lambda xp, x, y: xp.add(x, y), dtypes=NUMBERS, vjp=lambda g, z, x, y: (g, g),
                traits=("commutative", "linear"), doc="x + y; integers wrap.")
sub = pointwise("sub", lambda xp, x, y: xp.subtract(x, y), dtypes=NUMBERS, vjp=lambda g, z, x, y: (g, -g), traits=("linear",),
                doc="x - y; integers wrap.")
mul = pointwise("mul", lambda xp, x, y: xp.multiply(x, y), dtypes=NUMBERS,
                vjp=lambda g, z, x, y: (g * F.conj(y), g * F.conj(x)), traits=("commutative", "bilinear"), doc="x * y; integers wrap.")
div = pointwise("div", lambda xp, x, y: xp.divide(x, y), dtypes=INEXACT,
                vjp=lambda g, z, x, y: (g / F.conj(y), -g * F.conj(z / y)), doc="x / y; integers are divided in float32.")
neg = pointwise("neg", lambda xp, x: xp.negative(x), dtypes=NUMBERS, vjp=lambda g, y, x: (-g,), traits=("linear",), doc="-x.")
abs_ = pointwise("abs", lambda xp, x: xp.abs(x), dtypes=REAL, vjp=lambda g, y, x: (g * F.sign(x),), doc="|x|.",
                 source="d/dx |x| = sign(x), 0 at 0")
sign = pointwise("sign", lambda xp, x: xp.sign(x), dtypes=REAL, vjp=lambda g, y, x: (None,),
                 scalar=lambda s, x: s.select(s.ne(x, x), x, s.sub(s.cast(s.gt(x, 0), s.dtype_of(x)), s.cast(s.lt(x, 0), s.dtype_of(x)))),
                 doc="-1, 0 or 1; NaN for NaN.")
conj = pointwise("conj", lambda xp, x: xp.conj(x), dtypes=DTYPES, vjp=lambda g, y, x: (F.conj(g),), scalar=lambda s, x: x,
                 doc="The complex conjugate; real numbers unchanged.")


def _float_divmod(s, x, y):
    """Quotient and remainder with the divisor's sign, for quotients that are exact in the dtype; NaN for y = 0."""
    q = s.floor(s.div(x, y))
    r = s.fma(s.neg(q), y, x)
    low = s.and_(s.ne(r, 0.0), s.ne(s.lt(r, 0.0), s.lt(y, 0.0)))
    r, q = s.select(low, s.add(r, y), r), s.select(low, s.sub(q, 1.0), q)
    high = s.ge(s.abs(r), s.abs(y))
    r, q = s.select(high, s.sub(r, y), r), s.select(high, s.add(q, 1.0), q)
    return q, s.copysign(r, s.select(s.eq(r, 0.0), y, r))


floor_divide = pointwise(
    "floor_divide", lambda xp, x, y: core.evaluate("floordiv", (x, y)) if x.dtype.kind in "iu" else xp.floor_divide(x, y),
    dtypes=REAL, vjp=lambda g, z, x, y: (None, None),
    scalar=lambda s, x, y: s.floordiv(x, y) if s.dtype_of(x).is_integer else _float_divmod(s, x, y)[0],
    doc="floor(x / y); an integer divided by zero is 0.")
remainder = pointwise(
    "remainder", lambda xp, x, y: core.evaluate("mod", (x, y)) if x.dtype.kind in "iu" else xp.remainder(x, y),
    dtypes=REAL, vjp=lambda g, z, x, y: (g, -g * F.floor_divide(x, y)),
    scalar=lambda s, x, y: s.mod(x, y) if s.dtype_of(x).is_integer else _float_divmod(s, x, y)[1],
    doc="x - y * floor(x / y), with the divisor's sign; an integer modulo zero is 0.")

maximum = pointwise("maximum", lambda xp, x, y: xp.maximum(x, y), dtypes=(bool_, *REAL), scalar=lambda s, x, y: s.max(x, y),
                    vjp=lambda g, z, x, y: (_share(g, F.greater(x, y), F.equal(x, y)), _share(g, F.less(x, y), F.equal(x, y))),
                    traits=("commutative", "idempotent"), doc="The larger; NaN wins. Equal operands share the gradient.")
minimum = pointwise("minimum", lambda xp, x, y: xp.minimum(x, y), dtypes=(bool_, *REAL), scalar=lambda s, x, y: s.min(x, y),
                    vjp=lambda g, z, x, y: (_share(g, F.less(x, y), F.equal(x, y)), _share(g, F.greater(x, y), F.equal(x, y))),
                    traits=("commutative", "idempotent"), doc="The smaller; NaN wins. Equal operands share the gradient.")


def _share(g, whole, half):
    return F.where(whole, g, F.where(half, g * 0.5, 0.0))


def _comparison(name, evaluate, row, doc):
    return pointwise(name, evaluate, dtypes=DTYPES if row in ("eq", "ne") else (bool_, *REAL), result="bool",
                     vjp=lambda g, z, x, y: (None, None), scalar=lambda s, x, y: getattr(s, row)(x, y), doc=doc,
                     traits=("commutative",) if row in ("eq", "ne") else ())


equal = _comparison("equal", lambda xp, x, y: xp.equal(x, y), "eq", "x == y.")
not_equal = _comparison("not_equal", lambda xp, x, y: xp.not_equal(x, y), "ne", "x != y; NaN differs from itself.")
less = _comparison("less", lambda xp, x, y: xp.less(x, y), "lt", "x < y.")
less_equal = _comparison("less_equal", lambda xp, x, y: xp.less_equal(x, y), "le", "x <= y.")
greater = _comparison("greater", lambda xp, x, y: xp.greater(x, y), "gt", "x > y.")
greater_equal = _comparison("greater_equal", lambda xp, x, y: xp.greater_equal(x, y), "ge", "x >= y.")


def _test(name, evaluate, scalar, doc):
    return pointwise(name, evaluate, dtypes=DTYPES, result="bool", vjp=lambda g, y, x: (None,), scalar=scalar, doc=doc)


isnan = _test("isnan", lambda xp, x: xp.isnan(x), lambda s, x: s.ne(x, x), "Is it NaN?")
isinf = _test("isinf", lambda xp, x: xp.isinf(x), lambda s, x: s.eq(s.abs(x), float("inf")) if s.dtype_of(x).is_float else s.ne(x, x),
              "Is it an infinity?")
isfinite = _test("isfinite", lambda xp, x: xp.isfinite(x),
                 lambda s, x: s.lt(s.abs(x), float("inf")) if s.dtype_of(x).is_float else s.eq(x, x), "Is it finite?")
signbit = pointwise("signbit", lambda xp, x: xp.signbit(x), dtypes=FLOATS, result="bool", vjp=lambda g, y, x: (None,),
                    scalar=lambda s, x: s.lt(s.copysign(s.constant(1.0, s.dtype_of(x)), x), 0.0), doc="Is the sign bit set?")

logical_and = pointwise("logical_and", lambda xp, x, y: xp.logical_and(x, y), dtypes=(bool_,), vjp=lambda g, z, x, y: (None, None),
                        scalar=lambda s, x, y: s.and_(x, y), traits=("commutative", "idempotent"), doc="Both.")
logical_or = pointwise("logical_or", lambda xp, x, y: xp.logical_or(x, y), dtypes=(bool_,), vjp=lambda g, z, x, y: (None, None),
                       scalar=lambda s, x, y: s.or_(x, y), traits=("commutative", "idempotent"), doc="Either.")
logical_xor = pointwise("logical_xor", lambda xp, x, y: xp.logical_xor(x, y), dtypes=(bool_,), vjp=lambda g, z, x, y: (None, None),
                        scalar=lambda s, x, y: s.xor(x, y), traits=("commutative",), doc="Exactly one.")
logical_not = pointwise("logical_not", lambda xp, x: xp.logical_not(x), dtypes=(bool_,), vjp=lambda g, y, x: (None,),
                        scalar=lambda s, x: s.not_(x), doc="Not.")
bitwise_and = pointwise("bitwise_and", lambda xp, x, y: xp.bitwise_and(x, y), dtypes=BITS, vjp=lambda g, z, x, y: (None, None),
                        scalar=lambda s, x, y: s.and_(x, y), traits=("commutative", "idempotent"), doc="x & y.")
bitwise_or = pointwise("bitwise_or", lambda xp, x, y: xp.bitwise_or(x, y), dtypes=BITS, vjp=lambda g, z, x, y: (None, None),
                       scalar=lambda s, x, y: s.or_(x, y), traits=("commutative", "idempotent"), doc="x | y.")
bitwise_xor = pointwise("bitwise_xor", lambda xp, x, y: xp.bitwise_xor(x, y), dtypes=BITS, vjp=lambda g, z, x, y: (None, None),
                        scalar=lambda s, x, y: s.xor(x, y), traits=("commutative",), doc="x ^ y.")
bitwise_not = pointwise("bitwise_not", lambda xp, x: xp.invert(x), dtypes=BITS, vjp=lambda g, y, x: (None,),
                        scalar=lambda s, x: s.not_(x), doc="~x.")
shift_left = pointwise("shift_left", lambda xp, x, n: core.evaluate("shl", (x, n)), dtypes=BITS[1:], vjp=lambda g, z, x, n: (None, None),
                       scalar=lambda s, x, n: s.shl(x, n), doc="x << n; 0 when n is outside [0, width).")
shift_right = pointwise("shift_right", lambda xp, x, n: core.evaluate("shr", (x, n)), dtypes=BITS[1:],
                        vjp=lambda g, z, x, n: (None, None), scalar=lambda s, x, n: s.shr(x, n),
                        doc="x >> n, arithmetic; the sign when n is outside [0, width).")


def _infer_where(types, attrs):
    from ..types import TensorType
    from .declare import broadcast_shapes

    return (TensorType(broadcast_shapes("where", [t.shape for t in types]), types[1].dtype, types[1].device),)


where = pointwise("where", lambda xp, c, x, y: xp.where(c, x, y), scalar=lambda s, c, x, y: s.select(c, x, y), infer=_infer_where,
                  vjp=lambda g, z, c, x, y: (None, F.where(c, g, F.zeros_like(g)), F.where(c, F.zeros_like(g), g)),
                  doc="x where the bool condition holds, else y.")
