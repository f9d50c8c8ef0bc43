"""The transcendental functions of the scalar core, as polynomials of our own, for float32 and float64 and any lanes.

Each is a function of (w, *operands). float32 results are within 4 ULP and float64 results within 8, over the whole
range; subnormals, infinities, NaN and signed zeros are as IEEE 754 and C's annex F say. No fast-math flags, so the
bits do not depend on the lanes. Straight code, but for large angles. `tests/codegen/test_llvm_ulp.py` measures it.
"""

from __future__ import annotations

from collections.abc import Callable

from .elementary_angle import cosine, sine, tangent
from .elementary_arc import arccosine, arcsine, arctangent, arctangent2
from .elementary_exp import error_function, exp, expm1, hyperbolic_cosine, hyperbolic_sine, hyperbolic_tangent
from .elementary_log import log, log1p
from .elementary_power import power
from .value import X

FUNCTIONS: dict[str, Callable[..., X]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "sin": sine,
    "cos": cosine,
    "tan": tangent,
    "asin": arcsine,
    "acos": arccosine,
    "atan": arctangent,
    "atan2": arctangent2,
    "sinh": hyperbolic_sine,
    "cosh": hyperbolic_cosine,
    "tanh": hyperbolic_tangent,
    "erf": error_function,
    "pow": power,
}
