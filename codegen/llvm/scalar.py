"""One row for each name of the scalar core: how it is written in LLVM, for scalars and for vectors of any lanes, with
the same bits.

`emit` is the way in. No fast-math flag is used: what is to be fused says so by `fma`, hence scalar and vector code
agree. The definition of each operation is in `ir/scalar.py`; the transcendental functions are in `elementary.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.types import DType
from . import elementary, integers
from .narrow import is_narrow, round_to, widen
from .types import type_of
from .value import X
from .writer import Function

Row = Callable[..., X]                       # (w, dtype of the operands, dtype of the result, *operands)


def emit(w: Function, op: str, args: Sequence[X], dtype: DType, to: DType | None = None) -> X:
    """Write a core operation on operands of a dtype (the condition of `select` aside); `to` is the dtype that `cast`
    and `bitcast` make.
    """
    return ROWS[op](w, dtype, to or dtype, *args)


# ---- rows from simpler things ----------------------------------------------------------------------------------------


def _in_float32(f: Callable[..., X]) -> Callable[..., X]:
    """Narrow floats are widened, computed on, and rounded once; what is not a float result stays."""

    def run(w: Function, *args: X) -> X:
        if not is_narrow(args[0]):
            return f(w, *args)
        result = f(w, *(widen(w, x) for x in args))
        return round_to(w, result, args[0].type.element) if result.type.is_float else result

    return run


def _instruction(of_float: str, of_integer: str = "") -> Row:
    floating = _in_float32(lambda w, x, y: w.binary(of_float, x, y))

    def row(w: Function, d: DType, to: DType, x: X, y: X) -> X:
        return floating(w, x, y) if d.is_float else w.binary(of_integer, x, y)

    return row


def _floating(f: Callable[..., X]) -> Row:
    """A row from a function of (w, *operands) for float32 and float64."""
    wide = _in_float32(f)
    return lambda w, d, to, *args: wide(w, *args)


def _intrinsic(name: str) -> Row:
    return _floating(lambda w, *args: w.intrinsic(name, *args))


def _comparison(of_float: str, of_signed: str, of_unsigned: str) -> Row:
    floating = _in_float32(lambda w, x, y: w.compare(of_float, x, y))

    def row(w: Function, d: DType, to: DType, x: X, y: X) -> X:
        return floating(w, x, y) if d.is_float else w.compare(of_signed if d.kind == "i" else of_unsigned, x, y)

    return row


def _integer(f: Callable[..., X]) -> Row:
    return lambda w, d, to, *args: f(w, d, *args)


# ---- rows of their own -----------------------------------------------------------------------------------------------


def _extreme(beyond: str, of_signed: str, of_unsigned: str, of_bool: str) -> Row:
    """max or min; of equal zeros the first stays. A NaN wins: x stays if it is one, and y is asked unless it is a
    constant.

    Two comparisons and two selections, three instructions where there are masks; `llvm.maximum` also orders zeros,
    for five more.
    """

    @_in_float32
    def floating(w: Function, x: X, y: X) -> X:
        best = w.select(w.compare(beyond, y, x), y, x)
        return best if y.number is not None and y.number == y.number else w.select(w.compare("uno", y, y), y, best)

    def row(w: Function, d: DType, to: DType, x: X, y: X) -> X:
        if d.is_float:
            return floating(w, x, y)
        return w.binary(of_bool, x, y) if d.kind == "b" else w.intrinsic(of_signed if d.kind == "i" else of_unsigned, x,
                                                                         y)

    return row


def _sign_bit(x: X) -> int:
    return 1 << (x.type.bits - 1)


def _negate(w: Function, d: DType, to: DType, x: X) -> X:
    if is_narrow(x):
        return w.convert("bitcast", w.bits_of(x) ^ _sign_bit(x), x.type.element)
    return -x


def _absolute(w: Function, d: DType, to: DType, x: X) -> X:
    if is_narrow(x):
        return w.convert("bitcast", w.bits_of(x) & (_sign_bit(x) - 1), x.type.element)
    if d.is_float:
        return w.intrinsic("fabs", x)
    return integers.absolute(w, x) if d.kind == "i" else x


def _copysign(w: Function, d: DType, to: DType, x: X, sign: X) -> X:
    if is_narrow(x):
        # bit masks alone make LLVM 22 form a copysign of bfloat, which it cannot lower
        size = w.bits_of(x) & (_sign_bit(x) - 1)
        bits = w.select(w.compare("slt", w.bits_of(sign), 0), size | _sign_bit(x), size)
        return w.convert("bitcast", bits, x.type.element)
    return w.intrinsic("copysign", x, sign)


def _select(w: Function, d: DType, to: DType, condition: X, x: X, y: X) -> X:
    return w.select(condition, x, y)


def _not(w: Function, d: DType, to: DType, x: X) -> X:
    return x ^ (1 if d.kind == "b" else -1)


def _bitcast(w: Function, d: DType, to: DType, x: X) -> X:
    element = type_of(to).element
    return x if element == x.type.element else w.convert("bitcast", x, element)


def _cast(w: Function, d: DType, to: DType, x: X) -> X:
    if d is to:
        return x
    if to.kind == "b":
        return w.compare("une", widen(w, x), 0.0) if d.is_float else w.compare("ne", x, 0)
    if d.is_float:
        return _float_to_float(w, d, to, x) if to.is_float else _float_to_integer(w, to, widen(w, x))
    if to.is_float:
        wide = "double" if to.bits == 64 else "float"
        return round_to(w, w.convert("sitofp" if d.kind == "i" else "uitofp", x, wide), type_of(to).element)
    if d.bits < to.bits:
        return w.convert("sext" if d.kind == "i" else "zext", x, type_of(to).element)
    return w.convert("trunc", x, type_of(to).element) if d.bits > to.bits else x


def _float_to_float(w: Function, d: DType, to: DType, x: X) -> X:
    x = widen(w, x)
    if to.bits < 32:
        return round_to(w, x, type_of(to).element)
    element = type_of(to).element
    return x if x.type.element == element else w.convert("fpext" if to.bits == 64 else "fptrunc", x, element)


def _float_to_integer(w: Function, to: DType, x: X) -> X:
    result = type_of(to, x.lanes)
    kind = "fptosi" if to.kind == "i" else "fptoui"
    converted = w.call(f"llvm.{kind}.sat.{result.mangled}.{x.type.mangled}", result, x)
    assert converted is not None
    return converted


ROWS: dict[str, Row] = {
    "add": _instruction("fadd", "add"),
    "sub": _instruction("fsub", "sub"),
    "mul": _instruction("fmul", "mul"),
    "div": _instruction("fdiv"),
    "floordiv": _integer(integers.floor_divide),
    "mod": _integer(integers.remainder),
    "mulhi": _integer(integers.upper_product),
    "neg": _negate,
    "abs": _absolute,
    "max": _extreme("ogt", "smax", "umax", "or"),
    "min": _extreme("olt", "smin", "umin", "and"),
    "fma": _intrinsic("fma"),
    "eq": _comparison("oeq", "eq", "eq"),
    "ne": _comparison("une", "ne", "ne"),
    "lt": _comparison("olt", "slt", "ult"),
    "le": _comparison("ole", "sle", "ule"),
    "gt": _comparison("ogt", "sgt", "ugt"),
    "ge": _comparison("oge", "sge", "uge"),
    "select": _select,
    "and": _instruction("", "and"),
    "or": _instruction("", "or"),
    "xor": _instruction("", "xor"),
    "not": _not,
    "shl": _integer(integers.shift_left),
    "shr": _integer(integers.shift_right),
    "cast": _cast,
    "bitcast": _bitcast,
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
    "rint": _intrinsic("roundeven"),
    "copysign": _copysign,
    "sqrt": _intrinsic("sqrt"),
    **{name: _floating(function) for name, function in elementary.FUNCTIONS.items()},
}
