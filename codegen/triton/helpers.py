"""Helper functions in Triton's language, printed into the modules that use them: integer operations whose corner cases
C leaves undefined, roundings, and (by `elementary`) the elementary functions.
"""

from __future__ import annotations

import re
from functools import cache

HELPERS = {
    "floor_floordiv": """
def floor_floordiv(x, y):
    quotient = x // y
    return tl.where((x - quotient * y) < 0, quotient - 1, quotient)
""",
    "floor_mod": """
def floor_mod(x, y):
    rest = x % y
    return tl.where(rest < 0, rest + y, rest)
""",
    "divide_signed": """
def divide_signed(x, y):
    safe = tl.where((y == 0) | (y == -1), 1, y)
    quotient = x // safe
    rest = x - quotient * safe
    floored = tl.where((rest != 0) & ((rest ^ safe) < 0), quotient - 1, quotient)
    return tl.where(y == 0, 0, tl.where(y == -1, 0 - x, floored))
""",
    "divide_unsigned": """
def divide_unsigned(x, y):
    return tl.where(y == 0, 0, x // tl.where(y == 0, 1, y))
""",
    "remainder_signed": """
def remainder_signed(x, y):
    safe = tl.where((y == 0) | (y == -1), 1, y)
    rest = x - x // safe * safe
    floored = tl.where((rest != 0) & ((rest ^ safe) < 0), rest + safe, rest)
    return tl.where((y == 0) | (y == -1), 0, floored)
""",
    "remainder_unsigned": """
def remainder_unsigned(x, y):
    safe = tl.where(y == 0, 1, y)
    return tl.where(y == 0, 0, x - x // safe * safe)
""",
    "copysign_f32": """
def copysign_f32(x, sign):
    size = tl.abs(x)
    return tl.where(sign.to(tl.int32, bitcast=True) < 0, size * -1.0, size)
""",
    "copysign_f64": """
def copysign_f64(x, sign):
    size = tl.abs(x)
    return tl.where(sign.to(tl.int64, bitcast=True) < 0, size * -1.0, size)
""",
    "truncate": """
def truncate(x):
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))
""",
    "round_even_f32": """
def round_even_f32(x):
    size = tl.abs(x)
    rounded = copysign_f32((size + 8388608.0) - 8388608.0, x)
    return tl.where(size < 8388608.0, rounded, x)
""",
    "round_even_f64": """
def round_even_f64(x):
    size = tl.abs(x)
    rounded = copysign_f64((size + 4503599627370496.0) - 4503599627370496.0, x)
    return tl.where(size < 4503599627370496.0, rounded, x)
""",
    "nan_max": """
def nan_max(x, y):
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
""",
    "nan_min": """
def nan_min(x, y):
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
""",
    "larger": """
def larger(x, y):
    return tl.maximum(x, y)
""",
    "smaller": """
def smaller(x, y):
    return tl.minimum(x, y)
""",
    "any_lane": """
def any_lane(x):
    return tl.max(tl.expand_dims(x.to(tl.int32), 0), None) > 0
""",
    "product": """
def product(x, y):
    return x * y
""",
}
_SATURATE = """
def {name}(x):
    zero = tl.full((), 0, {type})
    inside = (x > {low}) & (x < {high})
    edge = tl.where(x >= {high}, tl.full((), {most}, {type}), tl.where(x <= {low}, tl.full((), {least}, {type}), zero))
    return tl.where(inside, tl.where(inside, x, 0.0).to({type}), edge)
"""


@cache
def helper_text(name: str) -> tuple[str, tuple[str, ...]]:
    """The text of a helper, and the helpers that it calls itself."""
    text = HELPERS.get(name) or _saturating(name) or _written(name)
    called = dict.fromkeys(re.findall(r"(?<![.\w])\w+(?=\()", text))
    others = tuple(h for h in called if h != name and (h in HELPERS or h.startswith("large_angle_")))
    return "@triton.jit" + text.rstrip(), others


def _written(name: str) -> str:
    """`exp_f32`, `half_from_f8e5m2`, `f8e5m2_from_single`: what is written by the same formulas as on a CPU."""
    from . import elementary

    return elementary.conversion_text(name) if "_from_" in name else elementary.function_text(name)


def _saturating(name: str) -> str:
    """`to_i32_from_f64`: rounds towards zero, saturates, makes NaN 0."""
    found = re.fullmatch(r"to_([ui])(\d+)_from_f(32|64)", name)
    if found is None:
        return ""
    kind, bits = found[1], int(found[2])
    least, most = (0, (1 << bits) - 1) if kind == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    wide = f"tl.{'uint' if kind == 'u' else 'int'}{bits}"
    return _SATURATE.format(name=name, low=float(least) if least else -1.0, high=float(most + 1), most=most,
                            least=least, type=wide)
