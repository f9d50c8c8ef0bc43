"""Integer operations whose corner cases C leaves undefined: division by zero, the smallest number by -1, shifts past
the width.
"""

from __future__ import annotations

from ...ir.types import DType
from .types import type_of, vector
from .value import X
from .writer import Function


def floor_divide(w: Function, d: DType, x: X, y: X) -> X:
    """Floors; x // 0 is 0, and the smallest number // -1 wraps."""
    quotient, is_zero = _quotient(w, d, x, y)
    return quotient if is_zero is None else w.select(is_zero, w.constant(0, x.type), quotient)


def remainder(w: Function, d: DType, x: X, y: X) -> X:
    """Has the divisor's sign; x % 0 is 0."""
    quotient, is_zero = _quotient(w, d, x, y)
    rest = x - quotient * y
    return rest if is_zero is None else w.select(is_zero, w.constant(0, x.type), rest)


def _quotient(w: Function, d: DType, x: X, y: X) -> tuple[X, X | None]:
    """The floored quotient, which may be anything where the second value, if any, holds: where y is 0."""
    if y.number is not None and y.number not in (0, -1):           # LLVM multiplies instead
        return _by_instructions(w, d, x, y), None
    is_zero = w.compare("eq", y, 0)
    safe = w.select(is_zero, w.constant(1, y.type), y)
    if d.bits <= 32:
        return _in_float64(w, d, x, safe), is_zero
    if d.kind == "u":
        return w.binary("udiv", x, safe), is_zero
    by_minus_one = w.compare("eq", y, -1)                          # the smallest number / -1 traps
    quotient = _by_instructions(w, d, x, w.select(by_minus_one, w.constant(1, y.type), safe))
    return w.select(by_minus_one, w.binary("sub", 0, x), quotient), is_zero


def _by_instructions(w: Function, d: DType, x: X, y: X) -> X:
    if d.kind == "u":
        return w.binary("udiv", x, y)
    truncated = w.binary("sdiv", x, y)
    rest = x - truncated * y
    signs_differ = w.compare("slt", rest ^ y, 0)
    wrong = w.binary("and", w.compare("ne", rest, 0), signs_differ)
    return w.binary("add", truncated, w.convert("sext", wrong, x.type.element))


def _in_float64(w: Function, d: DType, x: X, y: X) -> X:
    """No vector unit divides integers. The floor of the rounded float64 quotient is exact: where x / y is no
    integer, it is at least 1 / y away from one, which is more than the rounding error as long as x < 2^53.
    """
    convert = "sitofp" if d.kind == "i" else "uitofp"
    quotient = w.intrinsic("floor", w.convert(convert, x, "double") / w.convert(convert, y, "double"))
    return w.convert("trunc", w.convert("fptosi", quotient, "i64"), x.type.element)


def upper_product(w: Function, d: DType, x: X, y: X) -> X:
    """The upper half of the full product of unsigned numbers."""
    double = f"i{2 * d.bits}"
    product = w.binary("mul", w.convert("zext", x, double), w.convert("zext", y, double))
    return w.convert("trunc", w.binary("lshr", product, d.bits), x.type.element)


def absolute(w: Function, x: X) -> X:
    """|x| of signed numbers; the smallest stays."""
    result = w.call(f"llvm.abs.{x.type.mangled}", x.type, x, w.constant(False, vector("i1")))
    assert result is not None
    return result


def shift_left(w: Function, d: DType, x: X, n: X) -> X:
    """A shift outside [0, width) gives 0."""
    return w.select(w.compare("uge", n, d.bits), w.constant(0, type_of(d, x.lanes)), x << n)


def shift_right(w: Function, d: DType, x: X, n: X) -> X:
    """Arithmetic on signed numbers; a shift outside [0, width) gives the sign, which is 0 of unsigned ones."""
    if d.kind == "i":
        return w.binary("ashr", x, w.intrinsic("umin", n, d.bits - 1))
    return w.select(w.compare("uge", n, d.bits), w.constant(0, type_of(d, x.lanes)), w.binary("lshr", x, n))
