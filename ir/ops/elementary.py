"""Elementary functions, rounding, casts."""

from __future__ import annotations

import math

from .. import scalar as core
from ..types import dtype
from .declare import BITS, FLOATS, INEXACT, NUMBERS, REAL, general, pointwise
from .namespace import F

REAL_LINE, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)


def _wide(f):
    """ml_dtypes' bfloat16 lacks some functions: compute in float32."""
    return lambda xp, *xs: f(xp, *(x.astype("float32") for x in xs)).astype(xs[0].dtype) if xs[0].dtype.itemsize == 2 else f(xp, *xs)


def function(name, evaluate, vjp, *, scalar=None, domain=REAL_LINE, source="", doc="", dtypes=INEXACT):
    """A smooth function of one variable; domain: where it is real."""
    return pointwise(name, evaluate, dtypes=dtypes, vjp=vjp, scalar=scalar, domain=domain, source=source, doc=doc)


exp = function("exp", lambda xp, x: xp.exp(x), lambda g, y, x: (g * F.conj(y),), doc="e to the x.", source="DLMF 4.2")
exp2 = function("exp2", lambda xp, x: xp.exp2(x), lambda g, y, x: (g * y * math.log(2),), dtypes=FLOATS,
                scalar=lambda s, x: s.pow(s.constant(2.0, s.dtype_of(x)), x), doc="2 to the x.")
expm1 = function("expm1", lambda xp, x: xp.expm1(x), lambda g, y, x: (g * F.conj(y + 1),), doc="exp(x) - 1, exact near 0.")
log = function("log", lambda xp, x: xp.log(x), lambda g, y, x: (g / F.conj(x),), domain=POSITIVE, doc="The natural logarithm.",
               source="DLMF 4.2")
log2 = function("log2", lambda xp, x: xp.log2(x), lambda g, y, x: (g / (F.conj(x) * math.log(2)),), domain=POSITIVE,
                scalar=lambda s, x: _logarithm(s, x, 2), doc="The logarithm to base 2.")
log10 = function("log10", lambda xp, x: xp.log10(x), lambda g, y, x: (g / (F.conj(x) * math.log(10)),), domain=POSITIVE,
                 scalar=lambda s, x: _logarithm(s, x, 10), doc="The logarithm to base 10.")
log1p = function("log1p", lambda xp, x: xp.log1p(x), lambda g, y, x: (g / F.conj(1 + x),), domain=(-1.0, math.inf),
                 doc="log(1 + x), exact near 0.")
sqrt = function("sqrt", lambda xp, x: xp.sqrt(x), lambda g, y, x: (g / (2 * F.conj(y)),), domain=POSITIVE, doc="The square root.")
rsqrt = function("rsqrt", lambda xp, x: 1 / xp.sqrt(x), lambda g, y, x: (-0.5 * g * y * y * y,), domain=POSITIVE, dtypes=FLOATS,
                 scalar=lambda s, x: s.div(1.0, s.sqrt(x)), doc="1 / sqrt(x).", source="d/dx x^(-1/2)")
square = pointwise("square", lambda xp, x: xp.square(x), dtypes=NUMBERS, vjp=lambda g, y, x: (2 * g * F.conj(x),),
                   scalar=lambda s, x: s.mul(x, x), doc="x * x.")
reciprocal = function("reciprocal", lambda xp, x: 1 / x, lambda g, y, x: (-g * F.conj(y * y),), scalar=lambda s, x: s.div(1.0, x),
                      domain=POSITIVE, doc="1 / x.")
sin = function("sin", lambda xp, x: xp.sin(x), lambda g, y, x: (g * F.conj(F.cos(x)),), doc="Sine.", source="DLMF 4.20")
cos = function("cos", lambda xp, x: xp.cos(x), lambda g, y, x: (-g * F.conj(F.sin(x)),), doc="Cosine.", source="DLMF 4.20")
tan = function("tan", lambda xp, x: xp.tan(x), lambda g, y, x: (g * F.conj(1 + y * y),), domain=(-1.4, 1.4), doc="Tangent.")
asin = function("asin", lambda xp, x: xp.arcsin(x), lambda g, y, x: (g / F.conj(F.sqrt(1 - x * x)),), domain=(-1.0, 1.0), doc="Arc sine.")
acos = function("acos", lambda xp, x: xp.arccos(x), lambda g, y, x: (-g / F.conj(F.sqrt(1 - x * x)),), domain=(-1.0, 1.0),
                doc="Arc cosine.")
atan = function("atan", lambda xp, x: xp.arctan(x), lambda g, y, x: (g / F.conj(1 + x * x),), doc="Arc tangent.")
sinh = function("sinh", lambda xp, x: xp.sinh(x), lambda g, y, x: (g * F.conj(F.cosh(x)),), doc="Hyperbolic sine.")
cosh = function("cosh", lambda xp, x: xp.cosh(x), lambda g, y, x: (g * F.conj(F.sinh(x)),), doc="Hyperbolic cosine.")
tanh = function("tanh", lambda xp, x: xp.tanh(x), lambda g, y, x: (g * F.conj(1 - y * y),), doc="Hyperbolic tangent.", source="DLMF 4.35")
asinh = function("asinh", lambda xp, x: xp.arcsinh(x), lambda g, y, x: (g / F.conj(F.sqrt(x * x + 1)),),
                 scalar=lambda s, x: _asinh(s, x), doc="Inverse hyperbolic sine.", source="DLMF 4.37")
acosh = function("acosh", lambda xp, x: xp.arccosh(x), lambda g, y, x: (g / F.conj(F.sqrt(x * x - 1)),), domain=(1.0, math.inf),
                 scalar=lambda s, x: _acosh(s, x), doc="Inverse hyperbolic cosine.", source="DLMF 4.37")
atanh = function("atanh", lambda xp, x: xp.arctanh(x), lambda g, y, x: (g / F.conj(1 - x * x),), domain=(-1.0, 1.0),
                 scalar=lambda s, x: s.mul(0.5, s.log1p(s.div(s.mul(2.0, x), s.sub(1.0, x)))), doc="Inverse hyperbolic tangent.",
                 source="DLMF 4.37")
erf = function("erf", lambda xp, x: core.evaluate("erf", (x,)), lambda g, y, x: (g * F.exp(-x * x) * (2 / math.sqrt(math.pi)),),
               dtypes=FLOATS, doc="The error function.", source="DLMF 7.2")
sigmoid = function("sigmoid", lambda xp, x: _stable_sigmoid(xp, x), lambda g, y, x: (g * y * (1 - y),), dtypes=FLOATS,
                   scalar=lambda s, x: s.div(1.0, s.add(1.0, s.exp(s.neg(x)))), doc="1 / (1 + exp(-x)).")
relu = pointwise("relu", lambda xp, x: xp.maximum(x, x.dtype.type(0)), dtypes=REAL, vjp=lambda g, y, x: (F.where(y > 0, g, F.zeros_like(g)),),
                 scalar=lambda s, x: s.max(x, 0), traits=("idempotent",), doc="max(x, 0); NaN stays.")
atan2 = pointwise("atan2", lambda xp, y, x: xp.arctan2(y, x), dtypes=FLOATS, doc="The angle of (x, y), in radians.",
                  vjp=lambda g, z, y, x: (g * x / (x * x + y * y), -g * y / (x * x + y * y)))


def _stable_sigmoid(xp, x):
    e = xp.exp(-x)
    return 1 / (1 + e)


def _logarithm(s, x, base):
    """Exact at powers of the base: the result is corrected where it is near an integer."""
    y = s.mul(s.log(x), 1 / math.log(base))
    n = s.rint(y)
    return s.select(s.lt(s.abs(s.sub(y, n)), s.mul(s.abs(y), 3e-7 if s.dtype_of(x).bits < 64 else 4e-16)),
                    s.select(s.eq(s.pow(s.constant(float(base), s.dtype_of(x)), n), x), n, y), y)


def _asinh(s, x):
    a = s.abs(x)
    small = s.log1p(s.add(a, s.div(s.mul(a, a), s.add(1.0, s.sqrt(s.add(1.0, s.mul(a, a)))))))
    return s.copysign(s.select(s.gt(a, 1e8), s.add(s.log(a), math.log(2)), small), x)


def _acosh(s, x):
    t = s.sub(x, 1.0)
    small = s.log1p(s.add(t, s.sqrt(s.add(s.mul(2.0, t), s.mul(t, t)))))
    return s.select(s.gt(x, 1e8), s.add(s.log(x), math.log(2)), small)


def _power_scalar(s, x, y):
    if s.dtype_of(x).is_float:
        return s.pow(x, y)
    one, result, base = s.constant(1, s.dtype_of(x)), s.constant(1, s.dtype_of(x)), x
    negative = s.lt(y, 0)
    for bit in range(s.dtype_of(x).bits.bit_length() + (s.dtype_of(x).bits > 32)):
        odd = s.ne(s.and_(s.shr(y, bit), 1), 0)
        result = s.select(odd, s.mul(result, base), result)
        base = s.mul(base, base)
    unit = s.or_(s.eq(x, 1), s.eq(s.mul(x, x), 1))
    odd = s.ne(s.and_(y, 1), 0)
    return s.select(negative, s.select(unit, s.select(odd, x, one), s.constant(0, s.dtype_of(x))), result)


def _power(xp, x, y):
    if x.dtype.kind in "fc":
        return xp.power(x, y)
    if x.dtype.kind == "u":
        return xp.power(x, y)
    return xp.where(y < 0, xp.where(x == 1, 1, xp.where(x == -1, xp.where(y % 2 != 0, -1, 1), 0)),
                    xp.power(x, xp.maximum(y, 0))).astype(x.dtype)


pow_ = pointwise("pow", _power, dtypes=NUMBERS, scalar=_power_scalar, domain=POSITIVE, source="DLMF 4.2",
                 vjp=lambda g, z, x, y: (g * F.conj(y * F.pow(x, y - 1)),
                                         F.where(F.equal(x, 0), F.zeros_like(z), g * F.conj(z * F.log(F.where(F.equal(x, 0), F.ones_like(x), x))))),
                 doc="x to the y; a negative integer power of an integer is 0 (1 and -1 excepted).")


def _rounding(name, evaluate, row, doc):
    return pointwise(name, lambda xp, x: x if x.dtype.kind in "bui" else evaluate(xp, x), dtypes=REAL, vjp=lambda g, y, x: (None,),
                     scalar=lambda s, x: getattr(s, row)(x) if s.dtype_of(x).is_float else x, traits=("idempotent",), doc=doc)


floor = _rounding("floor", lambda xp, x: xp.floor(x), "floor", "The largest integer that is not larger.")
ceil = _rounding("ceil", lambda xp, x: xp.ceil(x), "ceil", "The smallest integer that is not smaller.")
trunc = _rounding("trunc", lambda xp, x: xp.trunc(x), "trunc", "Towards zero.")
round_ = _rounding("round", lambda xp, x: xp.rint(x), "rint", "The nearest integer, ties to even.")

copysign = pointwise("copysign", lambda xp, x, y: xp.copysign(x, y), dtypes=FLOATS,
                     vjp=lambda g, z, x, y: (g * F.copysign(F.ones_like(x), x) * F.copysign(F.ones_like(y), y), None),
                     doc="|x| with the sign of y.")


def _cast(xp, x, dtype):
    return x if x.dtype == dtype.numpy else core.cast(x, dtype) if x.dtype.kind != "c" or dtype.kind == "c" else core.cast(x.real, dtype)


cast = general("cast", "pointwise", _cast, arity=1, parameters=("dtype",), results=1,
               infer=lambda types, dtype: types[0].with_dtype(dtype),
               vjp=lambda g, y, x, dtype: (F.cast(g, dtype=x.dtype) if x.dtype.is_inexact and dtype.is_inexact else None,),
               scalar=lambda s, x, dtype: s.cast(x, dtype), traits=("linear",), source="ir/scalar.py: cast",
               doc="Another dtype; float to integer saturates and NaN becomes 0, integers wrap.")
bitcast = general("bitcast", "pointwise", lambda xp, x, dtype: x.view(dtype.numpy), arity=1, parameters=("dtype",), dtypes=(*BITS[1:], *FLOATS),
                  infer=lambda types, dtype: types[0].with_dtype(dtype), vjp=lambda g, y, x, dtype: (None,),
                  scalar=lambda s, x, dtype: s.bitcast(x, dtype), doc="The same bits read as another dtype of the same width.")
mulhi = pointwise("mulhi", lambda xp, x, y: core.evaluate("mulhi", (x, y)), dtypes=(dtype("u32"), dtype("u64")),
                  vjp=lambda g, z, x, y: (None, None), doc="The upper half of the full product of unsigned integers.")
stop_gradient = pointwise("stop_gradient", lambda xp, x: x, vjp=lambda g, y, x: (None,), scalar=lambda s, x: x, traits=("idempotent",),
                          doc="x itself, with no gradient through it (`detach`, `no_grad`).")
