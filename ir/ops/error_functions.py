"""erfc and the inverse error function, in the scalar core.

The polynomials are our own weighted least-squares fits on Chebyshev nodes in 110 digits, by the bits of the float that
computes with them, lowest coefficient first. The comment behind a row is log2 of its largest error, relative in the
function that it serves; `tests/codegen/test_special_ulp.py` measures the functions.
"""

from __future__ import annotations

import math

from .declare import FLOATS
from .elementary import function
from .namespace import F
from .scalars import on_arrays

# (1 + 2 x) exp(x^2) erfc(x) of x / (x + 4) - 7/16
_ERFC = {
    32: (
        1.250527262687683, -0.2787139415740967, -0.0869138240814209, 1.0895960330963135, -2.8480751514434814,
        5.043798446655273, -6.835580348968506, 7.205068588256836, -5.711277008056641, 3.0295698642730713,
        -0.23288875818252563, -1.2878957986831665,
    ),  # -29.2
    64: (
        1.2505272632390394, -0.2787139806090903, -0.08691368844440636, 1.0896024112924887, -2.8480920384883572,
        5.043457198882453, -6.8351680511312285, 7.213248343829135, -5.710919942593026, 2.9387586559813914,
        -0.3257195633357989, -0.9116152820154123, 0.6943754950246716, 0.03114554991030841, -0.33188801947432567,
        0.10979158199708026, 0.13055097955118627, -0.08772538714430152, -0.04924659230513292, 0.04990775398973779,
        0.014584563164137976, -0.01813253011511774,
    ),  # -54.2
}  # fmt: skip

# erfinv(x) / x of w - 5/2, w <= 5; of w - 25/8, w <= 25/4; w = -log(1 - x^2)
_ERFINV_NEAR = {
    32: (
        1.5014094114303589, 0.24664029479026794, -0.004177500028163195, -0.001252759713679552,
        0.0002184105251217261, -4.953298230248038e-06, -3.47694208358007e-06, 4.640616850792867e-07,
        2.4252821972936545e-08, -8.643000093400133e-09,
    ),  # -24.6
    64: (
        1.6536545626831027, 0.24015818242558823, -0.006033670871427705, -0.0007407025341536554,
        0.00018673420802415075, -1.3882523396546929e-05, -1.3654691843319093e-06, 4.234788199749804e-07,
        -2.9070382829218505e-08, -4.112662575985488e-09, 1.0512184152681094e-09, -5.414214494947727e-11,
        -1.2976961425727277e-11, 2.630289887462002e-12, -8.116974857411452e-14, -3.9978556272304313e-14,
        6.594683038694945e-15, -4.4137346741556965e-17, -1.300392580703753e-16, 1.5850399053073775e-17,
        1.1444712658559928e-18, -3.612347477884082e-19, -1.0109854233663464e-21, 3.440955715013713e-21,
    ),  # -55.3
}  # fmt: skip

# the same of sqrt(w) - 3 up to 4.1; of sqrt(w) - 13/4 up to 4
_ERFINV_FAR = {
    32: (
        2.832976818084717, 1.0016752481460571, 0.009444954805076122, -0.00764299463480711, 0.005689701531082392,
        -0.0035660555586218834, 0.0014704216737300158, -0.00012161650374764577, -0.0002726995444390923,
        0.00016127550043165684, -3.1255953217623755e-05,
    ),  # -27.1
    64: (
        3.0838856104922208, 1.0052589676941592, 0.005370914553568922, -0.003751208507566296, 0.002491442096772635,
        -0.0016882755561087527, 0.0009532893702182418, -0.0003550375192903632, 2.403118432278634e-05,
        6.828484443004017e-05, -4.731856669535058e-05, 1.2475330312847278e-05, 2.924377828789711e-06,
        -4.013921119927545e-06, 1.5012077631777626e-06, 1.8298228181431654e-08, -2.737964558201569e-07,
        9.073032558595278e-08, 1.6921770900625184e-09,
    ),  # -52.9
}  # fmt: skip

# the same of sqrt(w) - 5 from 4 on
_ERFINV_FARTHEST = {
    64: (
        4.849906401408584, 1.0103004648645455, -0.00013871931836332543, -0.00021503011983191244,
        7.599527750185601e-05, -1.9681770686711782e-05, 4.526059186481386e-06, -9.93029219141494e-07,
        2.2901734023085203e-07, -6.755751536248537e-08, 2.912258469739959e-08, -1.5251227434126324e-08,
        7.644461121150509e-09, -3.476832054331136e-09, 1.4905725110501492e-09, -4.336712302209017e-10,
        -2.2968614680572653e-11, 4.1783892702389484e-11,
    ),  # -54.2
}  # fmt: skip


def _erfc(s, x):
    """exp(-x^2) times a polynomial of x / (x + 4) over 1 + 2 x, in the manner of Shepherd and Laframboise 1981; what
    the square was rounded by is multiplied in. Beyond 30 the exponential is 0; below 1/4 nothing is lost in 1 - erf(x).
    """
    size = s.min(s.abs(x), 30.0)
    square = s.mul(size, size)
    rest = s.fma(size, size, s.neg(square))
    curve = s.polynomial(s.sub(s.div(size, s.add(size, 4.0)), 0.4375), _ERFC[s.dtype_of(x).bits])
    scaled = s.div(curve, s.add(1.0, s.add(size, size)))
    right = s.mul(s.exp(s.neg(square)), s.muladd(s.neg(scaled), rest, scaled))
    return s.select(s.lt(size, 0.25), s.sub(1.0, s.erf(x)), s.select(s.lt(x, 0.0), s.sub(2.0, right), right))


def _erfinv(s, x):
    """x times a polynomial of w = -log(1 - x^2), or of its root where that is large (Giles 2010)."""
    bits, size = s.dtype_of(x).bits, s.abs(x)
    w = s.neg(s.log(s.mul(s.sub(1.0, size), s.add(1.0, size))))
    root = s.sqrt(w)
    near, far = (2.5, 3.0) if bits == 32 else (3.125, 3.25)                       # the middles of the ranges
    ratio = s.polynomial(s.sub(root, far), _ERFINV_FAR[bits])
    if bits == 64:
        ratio = s.select(s.lt(root, 4.0), ratio, s.polynomial(s.sub(root, 5.0), _ERFINV_FARTHEST[bits]))
    ratio = s.select(s.lt(w, 2 * near), s.polynomial(s.sub(w, near), _ERFINV_NEAR[bits]), ratio)
    return s.select(s.eq(size, 1.0), s.copysign(s.constant(math.inf, s.dtype_of(x)), x), s.mul(x, ratio))


erfc = function("erfc", on_arrays(_erfc), lambda g, y, x: (-2 / math.sqrt(math.pi) * g * F.exp(-x * x),), scalar=_erfc,
                dtypes=FLOATS, source="DLMF 7.2; Shepherd and Laframboise 1981, Math. Comp. 36",
                doc="1 - erf(x), with all digits where that is small.")
erfinv = function("erfinv", on_arrays(_erfinv), lambda g, y, x: (math.sqrt(math.pi) / 2 * g * F.exp(y * y),),
                  scalar=_erfinv, dtypes=FLOATS, domain=(-1.0, 1.0),
                  source="Giles 2010, Approximating the erfinv function", doc="The inverse of erf.")
