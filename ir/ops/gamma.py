"""The logarithm of the gamma function and its derivatives, in the scalar core.

On [0, 4) the recurrences lead to an interval of length 1, whose polynomials keep their digits at the zeros 1, 2 and
1.46; from 4 on Stirling's formula is taken, its series fitted. Negative numbers are reflected, which leaves digits in
units of 1 near their zeros. The polynomials are our own fits, as in `error_functions`.
"""

from __future__ import annotations

import math

from .declare import FLOATS
from .elementary import function
from .namespace import F
from .scalars import on_arrays

# lgamma(y) / (y - 1) / (y - 2) of y - 8/5, 1 <= y <= 11/5
_LGAMMA_NEAR = {
    32: (
        0.46913236379623413, -0.1342541128396988, 0.05443961173295975, -0.02543233521282673, 0.012806030921638012,
        -0.0067552863620221615, 0.0036254634615033865, -0.001914391526952386, 0.0011742428177967668,
        -0.0009137278539128602, 0.0004238032561261207,
    ),  # -26.0
    64: (
        0.46913235706981576, -0.13425408899797125, 0.05443996961638191, -0.025433536502756128, 0.012800962939270345,
        -0.006737661429488084, 0.0036517546741749677, -0.0020201104363457155, 0.001134392746051826,
        -0.0006443597360444528, 0.00036933869492744565, -0.00021326074609708033, 0.0001238860663897493,
        -7.234674649634277e-05, 4.248414200872836e-05, -2.5005287046304998e-05, 1.4563830133384668e-05,
        -8.662216589439913e-06, 5.751052716948436e-06, -3.3684040285468013e-06, 9.10098584680504e-07,
        -6.051490265894195e-07, 1.5179340196271251e-06, -8.83212942548959e-07,
    ),  # -58.9
}  # fmt: skip

# x (lgamma(x) - (x - 1/2) (log x - 1) - log(2 pi) / 2 + 1/2) of 1/x^2, x >= 4
_LGAMMA_FAR = {
    32: (
        0.08333329856395721, -0.0027749903965741396, 0.0007237808895297348,
    ),  # -33.2
    64: (
        0.08333333333333204, -0.002777777777079866, 0.0007936506554443029, -0.0005952240708665303,
        0.0008409143367948547, -0.0018860783511649257, 0.005636058406307712, -0.016734503227560937,
        0.030388164057536266,
    ),  # -61.3
}  # fmt: skip

# digamma(x) / (x - x0) of x - 3/2, 1 <= x <= 2
_DIGAMMA_NEAR = {
    32: (
        0.9510558843612671, -0.42362749576568604, 0.24054184556007385, -0.14839895069599152, 0.09500052779912949,
        -0.06205471605062485, 0.04070233553647995, -0.025793544948101044, 0.017714818939566612,
        -0.016361882910132408, 0.010019377805292606,
    ),  # -26.5
    64: (
        0.9510558760318328, -0.4236274212814606, 0.24054248424080213, -0.14840492305388472, 0.09498872445132446,
        -0.06192213327522122, 0.04076083401561566, -0.02697579666900849, 0.017907246332787525,
        -0.011908219923928693, 0.007927053991323582, -0.0052799394687500474, 0.0035177710261332764,
        -0.002345477598001972, 0.0015656626569854873, -0.001036543271571973, 0.0006807059240741841,
        -0.00048569111277009725, 0.0003525658892085337, -0.00014525294764042336, 5.08832862584528e-05,
        -0.00017788771018455884, 0.00015049650310920647,
    ),  # -54.3
}  # fmt: skip

# x^2 (log x - 1 / (2 x) - digamma(x)) of 1/x^2, x >= 4
_DIGAMMA_FAR = {
    32: (
        0.08333314955234528, -0.008316760882735252, 0.0035164894070476294,
    ),  # -31.9
    64: (
        0.08333333333333164, -0.00833333333213629, 0.0039682536622283205, -0.004166626677864316,
        0.007572667837800305, -0.02094021097189318, 0.07828852106204458, -0.32786591372350676, 1.1568967096094573,
        -2.2390294449134642,
    ),  # -61.9
}  # fmt: skip

# x^3 (trigamma(x) - 1/x - 1 / (2 x^2)) of 1/x^2, x >= 4
_TRIGAMMA_FAR = {
    32: (
        0.16666661202907562, -0.033324871212244034, 0.02338813990354538, -0.024583041667938232,
    ),  # -33.1
    64: (
        0.1666666666666641, -0.033333333330914164, 0.023809523006273422, -0.03333319876098713, 0.07574428062825106,
        -0.2522698484145675, 1.1304086731768939, -5.996591147991964, 30.8341626781189, -119.23386913562784,
        236.71103274695423,
    ),  # -60.0
}  # fmt: skip

_HALF_LOG = (math.log(2 * math.pi) - 1) / 2
# The zero of digamma, in two parts.
_ZERO = {32: (1.4616321325302124, 1.2438149938918909e-08), 64: (1.4616321449683622, 9.549995429965697e-17)}


def _chosen(s, z, *pairs):
    """The value of the first bound that z is below: (bound, value), …, value."""
    result = s.lift((z, pairs[-1]))[1]
    for bound, value in reversed(pairs[:-1]):
        result = s.select(s.lt(z, bound), value, result)
    return result


def _mirrored(s, x):
    """(is x negative, 1 - x or x, the distance to the nearest integer, which is a pole where x is not positive)."""
    is_negative = s.lt(x, 0.0)
    return is_negative, s.select(is_negative, s.sub(1.0, x), x), s.sub(x, s.rint(x))


def _lgamma(s, x):
    """(y - 1) (y - 2) R(y) on [1, 2.2], up and down by gamma(z + 1) = z gamma(z)."""
    bits = s.dtype_of(x).bits
    is_negative, z, distance = _mirrored(s, x)
    less, twice_less = s.sub(z, 1.0), s.sub(z, 2.0)
    e = _chosen(s, z, (1.0, z), (2.2, less), (3.2, twice_less), s.sub(z, 3.0))                            # y - 1
    factor = _chosen(s, z, (1.0, z), (2.2, 1.0), (3.2, less), (4.0, s.mul(less, twice_less)), z)
    logarithm = s.log(factor)
    near = s.muladd(s.mul(e, s.sub(e, 1.0)), s.polynomial(s.sub(e, 0.6), _LGAMMA_NEAR[bits]),
                 s.select(s.lt(z, 1.0), s.neg(logarithm), logarithm))
    inverse = s.div(1.0, z)
    series = s.muladd(s.polynomial(s.mul(inverse, inverse), _LGAMMA_FAR[bits]), inverse, _HALF_LOG)
    right = s.select(s.lt(z, 4.0), near, s.muladd(s.sub(z, 0.5), s.sub(logarithm, 1.0), series))
    sine = s.abs(s.sin(s.mul(distance, math.pi)))
    left = s.select(s.eq(distance, 0.0), math.inf, s.sub(s.sub(math.log(math.pi), s.log(sine)), right))
    return s.select(is_negative, s.select(s.eq(x, -math.inf), x, left), right)


def _digamma(s, x):
    """(y - y0) P(y) on [1, 2], up and down by digamma(z + 1) = digamma(z) + 1/z; far away log z - 1/(2 z) - ..."""
    bits = s.dtype_of(x).bits
    is_negative, z, distance = _mirrored(s, x)
    less, twice_less = s.sub(z, 1.0), s.sub(z, 2.0)
    y = _chosen(s, z, (1.0, s.add(z, 1.0)), (2.0, z), (3.0, less), twice_less)
    above = _chosen(s, z, (1.0, -1.0), (2.0, 0.0), (3.0, 1.0), (4.0, s.add(less, twice_less)), 1.0)
    below = _chosen(s, z, (1.0, z), (2.0, 1.0), (3.0, less), (4.0, s.mul(less, twice_less)), z)
    step = s.div(above, below)                            # far away 1/z
    high, low = _ZERO[bits]
    near = s.muladd(s.sub(s.sub(y, high), low), s.polynomial(s.sub(y, 1.5), _DIGAMMA_NEAR[bits]), step)
    square = s.mul(step, step)
    series = s.muladd(step, 0.5, s.mul(square, s.polynomial(square, _DIGAMMA_FAR[bits])))
    right = s.select(s.lt(z, 4.0), near, s.sub(s.log(z), series))
    size = s.abs(distance)
    is_far = s.gt(size, 0.25)                             # the cotangent is the tangent of the rest
    tangent = s.tan(s.mul(s.select(is_far, s.sub(0.5, size), size), math.pi))
    slope = s.select(is_far, s.mul(tangent, math.pi), s.div(math.pi, tangent))
    left = s.select(s.eq(distance, 0.0), math.nan, s.sub(right, s.copysign(slope, distance)))
    return s.select(is_negative, left, right)


def _trigamma(s, x):
    """Up to 4 and beyond by trigamma(z) = trigamma(z + 1) + 1/z^2, the later three terms over one denominator."""
    is_negative, z, distance = _mirrored(s, x)
    first = s.div(1.0, z)
    above, below = (s.constant(number, s.dtype_of(x)) for number in (0.0, 1.0))
    y = s.select(s.lt(z, 4.0), s.add(z, 1.0), z)
    for n in (1.0, 2.0, 3.0):
        is_low, square = s.lt(z, 4.0 - n), s.mul(y, y)
        above = s.select(is_low, s.muladd(above, square, below), above)
        below = s.select(is_low, s.mul(below, square), below)
        y = s.select(is_low, s.add(z, n + 1.0), y)
    steps = s.select(s.lt(z, 4.0), s.muladd(first, first, s.div(above, below)), 0.0)
    inverse = s.div(1.0, y)
    square = s.mul(inverse, inverse)
    curve = s.polynomial(square, _TRIGAMMA_FAR[s.dtype_of(x).bits])
    series = s.muladd(square, 0.5, s.mul(s.mul(square, inverse), curve))
    right = s.add(steps, s.add(inverse, series))
    ratio = s.div(math.pi, s.sin(s.mul(distance, math.pi)))
    is_pole = s.or_(s.eq(distance, 0.0), s.eq(x, -math.inf))
    left = s.select(is_pole, math.inf, s.sub(s.mul(ratio, ratio), right))
    return s.select(is_negative, left, right)


lgamma = function("lgamma", on_arrays(_lgamma), lambda g, y, x: (g * F.digamma(x),), scalar=_lgamma, dtypes=FLOATS,
                  domain=(0.0, math.inf), source="DLMF 5.2, 5.5, 5.11", doc="log |gamma(x)|.")
digamma = function("digamma", on_arrays(_digamma), lambda g, y, x: (g * F.trigamma(x),), scalar=_digamma,
                   dtypes=FLOATS, domain=(0.0, math.inf), source="DLMF 5.2, 5.5, 5.11", doc="The derivative of lgamma.")
trigamma = function("trigamma", on_arrays(_trigamma), None, scalar=_trigamma, dtypes=FLOATS, domain=(0.0, math.inf),
                    source="DLMF 5.15", doc="The derivative of digamma.")
