"""Elementary functions, rounding, casts. Rules of complex derivatives: the cotangent times the conjugate of the
derivative.
"""

from __future__ import annotations

import functools
import math

from .. import scalar as core
from ..types import FLOAT8, dtype
from . import dims, parts
from . import parts_elementary as of_parts
from .declare import BITS, FLOATS, INEXACT, NUMBERS, REAL, conjugate, general, pointwise, widened
from .namespace import F

REAL_LINE, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)


def in_float32(f):
    """ml_dtypes' bfloat16 lacks some functions, and float16 overflows inside of others: compute in float32."""

    def run(xp, *xs):
        d = getattr(xs[0], "dtype", None)                      # a Python number beside arrays of wider floats
        if d is None or d.itemsize != 2:
            return f(xp, *xs)
        return f(xp, *(x.astype("float32") for x in xs)).astype(d)

    return run


def function(name, evaluate, vjp, *, scalar=None, domain=REAL_LINE, source="", doc="", dtypes=INEXACT, traits=(),
             parts=None):
    """A smooth function of one variable; domain: where it is real."""
    return pointwise(name, in_float32(evaluate), dtypes=dtypes, vjp=vjp, domain=domain, source=source, doc=doc,
                     scalar=scalar and widened(scalar), traits=traits, parts=parts)


# Functions that span many magnitudes, or end in poles: mixed precision computes them in float32.
steep = functools.partial(function, traits=("wide",))


# ---- exponentials and logarithms -------------------------------------------------------------------------------------


def _logarithm(s, x, base):
    """Exact at powers of the base: the result is corrected where it is near an integer."""
    y = s.mul(s.log(x), 1 / math.log(base))
    n = s.rint(y)
    near = s.lt(s.abs(s.sub(y, n)), s.mul(s.abs(y), 3e-7 if s.dtype_of(x).bits < 64 else 4e-16))
    return s.select(near, s.select(s.eq(s.pow(s.constant(float(base), s.dtype_of(x)), n), x), n, y), y)


exp = steep("exp", lambda xp, x: xp.exp(x), lambda g, y, x: (g * conjugate(y),), parts=of_parts.exp, doc="e to the x.",
               source="DLMF 4.2")
exp2 = function("exp2", lambda xp, x: xp.exp2(x), lambda g, y, x: (g * y * math.log(2),), dtypes=FLOATS,
                scalar=lambda s, x: s.pow(s.constant(2.0, s.dtype_of(x)), x), doc="2 to the x.")
expm1 = steep("expm1", lambda xp, x: xp.expm1(x), lambda g, y, x: (g * conjugate(y + 1),),
                 parts=of_parts.expm1, doc="exp(x) - 1, exact near 0.")
log = steep("log", lambda xp, x: xp.log(x), lambda g, y, x: (g / conjugate(x),), domain=POSITIVE, source="DLMF 4.2",
               parts=of_parts.log, doc="The natural logarithm.")
log2 = steep("log2", lambda xp, x: xp.log2(x), lambda g, y, x: (g / (conjugate(x) * math.log(2)),), domain=POSITIVE,
                scalar=lambda s, x: _logarithm(s, x, 2), parts=of_parts.log2, doc="The logarithm to base 2.")
log10 = steep("log10", lambda xp, x: xp.log10(x), lambda g, y, x: (g / (conjugate(x) * math.log(10)),),
                 domain=POSITIVE, scalar=lambda s, x: _logarithm(s, x, 10),
                 parts=of_parts.log10, doc="The logarithm to base 10.")
log1p = steep("log1p", lambda xp, x: xp.log1p(x), lambda g, y, x: (g / conjugate(1 + x),), domain=(-1.0, math.inf),
                 parts=of_parts.log1p, doc="log(1 + x), exact near 0.")


# ---- powers and roots ------------------------------------------------------------------------------------------------


def _cbrt_scalar(s, x):
    """One step of Newton's method mends what rounding 1/3 costs; where it can't (0, infinities) the start is exact."""
    tiny = s.lt(s.abs(x), 1e-30)                               # away from subnormal numbers
    a = s.select(tiny, s.mul(s.abs(x), 2.0**72), s.abs(x))
    y = s.pow(a, s.constant(1 / 3, s.dtype_of(x)))
    square = s.mul(y, y)
    better = s.sub(y, s.div(s.fma(square, y, s.neg(a)), s.mul(3.0, square)))
    y = s.select(s.and_(s.gt(square, 0.0), s.lt(a, float("inf"))), better, y)
    return s.copysign(s.select(tiny, s.mul(y, 2.0**-24), y), x)


sqrt = function("sqrt", lambda xp, x: xp.sqrt(x), lambda g, y, x: (g / (2 * conjugate(y)),), domain=POSITIVE,
                parts=of_parts.sqrt, doc="The square root.")
rsqrt = steep("rsqrt", lambda xp, x: 1 / xp.sqrt(x), lambda g, y, x: (-0.5 * g * y * y * y,), domain=POSITIVE,
                 dtypes=FLOATS, scalar=lambda s, x: s.div(1.0, s.sqrt(x)), doc="1 / sqrt(x).", source="d/dx x^(-1/2)")
cbrt = function("cbrt", lambda xp, x: xp.cbrt(x), lambda g, y, x: (g / (3 * y * y),), domain=POSITIVE, dtypes=FLOATS,
                scalar=_cbrt_scalar, doc="The cube root, of negative numbers too.")
square = pointwise("square", lambda xp, x: xp.multiply(x, x), dtypes=NUMBERS,
                   vjp=lambda g, y, x: (2 * g * conjugate(x),), scalar=lambda s, x: s.mul(x, x),
                   parts=parts.square, doc="x * x.")
reciprocal = steep("reciprocal", lambda xp, x: 1 / x, lambda g, y, x: (-g * conjugate(y * y),), domain=POSITIVE,
                      scalar=lambda s, x: s.div(1.0, x), parts=of_parts.reciprocal, doc="1 / x.")


def _root(s, x):
    """The square root as a power: of -0 it is 0, of -infinity it is infinity."""
    infinity = float("inf")
    return s.select(s.eq(x, -infinity), infinity, s.sqrt(s.add(x, 0.0)))


def _squared(s, x):
    return s.mul(x, x)


# Exponents with a shorter way: at most four roundings; no step overflows or loses digits where the power does not.
_WAYS = {
    3.0: lambda s, x: s.mul(_squared(s, x), x),
    4.0: lambda s, x: _squared(s, _squared(s, x)),
    -2.0: lambda s, x: _squared(s, s.div(1.0, x)),
    0.5: _root,
    -0.5: lambda s, x: s.div(1.0, _root(s, x)),
    1.5: lambda s, x: s.mul(s.abs(x), _root(s, x)),
    -1.5: lambda s, x: s.mul(s.div(1.0, s.abs(x)), s.div(1.0, _root(s, x))),
}


def _power_scalar(s, x, y):
    """Floats: a shorter way for some constant exponents. Integers: squares and products along the exponent's bits."""
    d = s.dtype_of(x)
    if d.is_float:
        way = _WAYS.get(s.number_of(y)) if d.bits >= 32 else None
        return way(s, x) if way else s.pow(x, y)
    result, base = s.constant(1, d), x
    for bit in range(d.bits):
        odd = s.ne(s.and_(s.shr(y, bit), 1), 0)
        result = s.select(odd, s.mul(result, base), result)
        base = s.mul(base, base)
    if d.kind == "u":
        return result
    sign = s.select(s.ne(s.and_(y, 1), 0), x, s.constant(1, d))
    inverse = s.select(s.or_(s.eq(x, 1), s.eq(x, -1)), sign, s.constant(0, d))
    return s.select(s.lt(y, 0), inverse, result)


def _power(xp, x, y):
    if xp.result_type(x, y).kind != "i":
        return xp.power(x, y)
    inverse = xp.where(x == 1, 1, xp.where(x == -1, xp.where(y % 2 != 0, -1, 1), 0))
    return xp.where(y < 0, inverse, xp.power(x, xp.maximum(y, 0))).astype(x.dtype)


def _power_vjp(g, z, x, y):
    """Towards x: 0 where y is 0; towards y: 0 where x is 0."""
    still, origin = F.equal(y, 0), F.equal(x, 0)
    to_x = F.where(still, F.zeros_like(z), g * conjugate(y * F.pow(x, F.where(still, F.ones_like(y), y - 1))))
    to_y = F.where(origin, F.zeros_like(z), g * conjugate(z * F.log(F.where(origin, F.ones_like(x), x))))
    return to_x, to_y


pow_ = pointwise("pow", _power, dtypes=NUMBERS, scalar=_power_scalar, domain=POSITIVE, source="DLMF 4.2",
                 vjp=_power_vjp, traits=("wide",), parts=of_parts.power,
                 doc="x to the y; a negative integer power of an integer is 0 (1 and -1 excepted).")


# ---- circular and hyperbolic functions -------------------------------------------------------------------------------


def _asinh_scalar(s, x):
    a = s.abs(x)
    small = s.log1p(s.add(a, s.div(s.mul(a, a), s.add(1.0, s.sqrt(s.add(1.0, s.mul(a, a)))))))
    return s.copysign(s.select(s.gt(a, 1e8), s.add(s.log(a), math.log(2)), small), x)


def _acosh_scalar(s, x):
    t = s.sub(x, 1.0)
    small = s.log1p(s.add(t, s.sqrt(s.add(s.mul(2.0, t), s.mul(t, t)))))
    y = s.select(s.gt(x, 1e8), s.add(s.log(x), math.log(2)), small)
    return s.select(s.lt(x, 1.0), s.constant(math.nan, s.dtype_of(x)), y)


def _atanh_scalar(s, x):
    a = s.abs(x)
    return s.copysign(s.mul(0.5, s.log1p(s.div(s.mul(2.0, a), s.sub(1.0, a)))), x)


sin = function("sin", lambda xp, x: xp.sin(x), lambda g, y, x: (g * conjugate(F.cos(x)),),
                parts=of_parts.sin, doc="Sine.",
               source="DLMF 4.20")
cos = function("cos", lambda xp, x: xp.cos(x), lambda g, y, x: (-g * conjugate(F.sin(x)),),
                parts=of_parts.cos, doc="Cosine.",
               source="DLMF 4.20")
tan = steep("tan", lambda xp, x: xp.tan(x), lambda g, y, x: (g * conjugate(1 + y * y),), domain=(-1.4, 1.4),
               parts=of_parts.tan, doc="Tangent.")
asin = steep("asin", lambda xp, x: xp.arcsin(x), lambda g, y, x: (g / conjugate(F.sqrt(1 - x * x)),),
                domain=(-1.0, 1.0), parts=of_parts.asin, doc="Arc sine.")
acos = steep("acos", lambda xp, x: xp.arccos(x), lambda g, y, x: (-g / conjugate(F.sqrt(1 - x * x)),),
                domain=(-1.0, 1.0), parts=of_parts.acos, doc="Arc cosine.")
atan = function("atan", lambda xp, x: xp.arctan(x), lambda g, y, x: (g / conjugate(1 + x * x),),
                parts=of_parts.atan, doc="Arc tangent.")
sinh = steep("sinh", lambda xp, x: xp.sinh(x), lambda g, y, x: (g * conjugate(F.cosh(x)),),
                parts=of_parts.sinh, doc="Hyperbolic sine.")
cosh = steep("cosh", lambda xp, x: xp.cosh(x), lambda g, y, x: (g * conjugate(F.sinh(x)),),
                parts=of_parts.cosh, doc="Hyperbolic cosine.")
tanh = function("tanh", lambda xp, x: xp.tanh(x), lambda g, y, x: (g * conjugate(1 - y * y),),
                parts=of_parts.tanh, doc="Hyperbolic tangent.", source="DLMF 4.35")
asinh = function("asinh", lambda xp, x: xp.arcsinh(x), lambda g, y, x: (g / conjugate(F.sqrt(x * x + 1)),),
                 scalar=_asinh_scalar, parts=of_parts.asinh, doc="Inverse hyperbolic sine.", source="DLMF 4.37")
acosh = function("acosh", lambda xp, x: xp.arccosh(x), lambda g, y, x: (g / conjugate(F.sqrt(x - 1) * F.sqrt(x + 1)),),
                 domain=(1.0, math.inf), scalar=_acosh_scalar,
                 parts=of_parts.acosh, doc="Inverse hyperbolic cosine.", source="DLMF 4.37")
atanh = function("atanh", lambda xp, x: xp.arctanh(x), lambda g, y, x: (g / conjugate(1 - x * x),), domain=(-1.0, 1.0),
                 scalar=_atanh_scalar, parts=of_parts.atanh, doc="Inverse hyperbolic tangent.", source="DLMF 4.37")
atan2 = pointwise("atan2", lambda xp, y, x: xp.arctan2(y, x), dtypes=FLOATS, doc="The angle of (x, y), in radians.",
                  vjp=lambda g, z, y, x: (g * x / (x * x + y * y), -g * y / (x * x + y * y)))


# ---- what networks need ----------------------------------------------------------------------------------------------



def _sigmoid(xp, x):
    """With exp(-|x|), so that small results are not lost to an infinity."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1) / (1 + e)


def _sigmoid_scalar(s, x):
    e = s.exp(s.neg(s.abs(x)))
    return s.div(s.select(s.lt(x, 0.0), e, s.constant(1.0, s.dtype_of(x))), s.add(1.0, e))


erf = function("erf", lambda xp, x: core.evaluate("erf", (x,)), dtypes=FLOATS, doc="The error function.",
               source="DLMF 7.2", vjp=lambda g, y, x: (g * F.exp(-x * x) * (2 / math.sqrt(math.pi)),))
sigmoid = function("sigmoid", _sigmoid, lambda g, y, x: (g * y * (1 - y),), dtypes=FLOATS,
                   scalar=_sigmoid_scalar, doc="1 / (1 + exp(-x)).")
relu = pointwise("relu", lambda xp, x: xp.maximum(x, x.dtype.type(0)), dtypes=REAL, scalar=lambda s, x: s.max(x, 0),
                 vjp=lambda g, y, x: (F.where(F.greater(y, 0), g, F.zeros_like(g)),), traits=("idempotent",),
                 doc="max(x, 0); NaN stays.")


# ---- rounding --------------------------------------------------------------------------------------------------------


def _rounding(name, evaluate, row, doc):
    return pointwise(name, lambda xp, x: x if x.dtype.kind in "bui" else evaluate(xp, x), dtypes=REAL,
                     scalar=lambda s, x: getattr(s, row)(x) if s.dtype_of(x).is_float else x, traits=("idempotent",),
                     doc=doc, vjp=lambda g, y, x: (None,))


floor = _rounding("floor", lambda xp, x: xp.floor(x), "floor", "The largest integer that is not larger.")
ceil = _rounding("ceil", lambda xp, x: xp.ceil(x), "ceil", "The smallest integer that is not smaller.")
trunc = _rounding("trunc", lambda xp, x: xp.trunc(x), "trunc", "Towards zero.")
round_ = _rounding("round", lambda xp, x: xp.rint(x), "rint", "The nearest integer, ties to even.")

copysign = pointwise("copysign", lambda xp, x, y: xp.copysign(x, y), dtypes=FLOATS,
                     vjp=lambda g, z, x, y: (g * F.copysign(F.ones_like(x), x) * F.copysign(F.ones_like(y), y), None),
                     doc="|x| with the sign of y.")


# ---- casts -----------------------------------------------------------------------------------------------------------


def _cast(xp, x, dtype):
    if x.dtype == dtype.numpy:
        return x
    if dtype.kind == "b" or dtype.kind == "c" or x.dtype.kind != "c":
        return core.cast(x, dtype)
    return core.cast(x.real, dtype)


def _cast_vjp(g, y, x, dtype):
    return (F.cast(g, dtype=x.dtype) if x.dtype.is_inexact and dtype.is_inexact else None,)


cast = general("cast", "pointwise", _cast, arity=1, parameters=("dtype",),
               infer=lambda types, dtype: types[0].with_dtype(dtype), vjp=_cast_vjp,
               jvp=lambda tangents, y, x, dtype: F.cast(tangents[0], dtype=dtype),
               scalar=lambda s, x, dtype: s.cast(x, dtype), dims=dims.same, traits=("linear",), parts=parts.cast,
               source="ir/scalar.py: cast",
               doc="Another dtype; float to integer saturates and NaN becomes 0, integers wrap, complex numbers lose "
                   "what is imaginary.")
bitcast = general("bitcast", "pointwise", lambda xp, x, dtype: x.view(dtype.numpy), arity=1, parameters=("dtype",),
                  dtypes=(*BITS[1:], *FLOATS, *FLOAT8), infer=lambda types, dtype: types[0].with_dtype(dtype),
                  vjp=lambda g, y, x, dtype: (None,), scalar=lambda s, x, dtype: s.bitcast(x, dtype), dims=dims.same,
                  doc="The same bits read as another dtype of the same width.")
mulhi = pointwise("mulhi", lambda xp, x, y: core.evaluate("mulhi", (x, y)), dtypes=(dtype("u32"), dtype("u64")),
                  vjp=lambda g, z, x, y: (None, None), doc="The upper half of the full product of unsigned integers.")
stop_gradient = pointwise("stop_gradient", lambda xp, x: x, vjp=lambda g, y, x: (None,), scalar=lambda s, x: x,
                          traits=("idempotent", "free"),
                          parts=lambda x: x, doc="x itself, with no gradient through it (`detach`, `no_grad`).")
