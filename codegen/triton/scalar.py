"""One row for each name of the scalar core: how it is written in Triton's language. `spell` is the way in.

A row is a text with the operands' names, one for floats and one for integers, or a function. Arithmetic on 16-bit
floats is done in float32 and rounded at each step. Division and square root are those of IEEE 754 (Triton's `/` and
`sqrt` are not), a NaN wins in `max` and `min`, and elementary functions are helpers with polynomials of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

from ...ir.scalar import CORE
from ...ir.types import DType, float16, float32, float64
from .names import TYPES, is_narrow

Use = Callable[[str], str]
Special = Callable[[Use, DType, DType, Sequence[str]], str]    # (use of helpers, operands' dtype, result's, operands)
Row = Union[str, tuple[str, str], Special]                     # one text; texts for floats and for integers

ELEMENTARY = ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh",
              "tanh", "erf", "pow")
ANY_DTYPE = ("eq", "ne", "lt", "le", "gt", "ge", "select", "and", "or", "xor", "not", "cast", "bitcast")
WITH_LITERALS = ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "select", "and", "or", "xor", "shl", "shr")
IN_FUNCTIONS = ("max", "min", "fma")


def takes_literals(op: str, d: DType) -> bool:
    """Does a bare number get the dtype beside it? Before Triton 3.9 functions take it for a float32."""
    return op in WITH_LITERALS or op in IN_FUNCTIONS and (d is float32 or is_narrow(d))


def spell(use: Use, op: str, d: DType, to: DType, args: Sequence[str]) -> str:
    """The expression for a core operation on operands of dtype d (the condition of `select` aside), made `to`."""
    row = ROWS[op]
    if is_narrow(d) and op not in ("select", "cast", "bitcast"):
        wide = [widened(use, a, d) for a in args]
        inner = _expand(use, row, float32, float32 if to is d else to, wide)
        return _cast(use, float32, d, [f"({inner})"]) if to is d else inner
    return _expand(use, row, d, to, args)


def widened(use: Use, text: str, d: DType) -> str:
    """A narrow float as float32; a number is one already."""
    if not text.isidentifier():
        return text
    return f"{_half(use, text, d) if d.is_storage else text}.to(tl.float32)"


def _half(use: Use, x: str, d: DType) -> str:
    """An 8-bit float as a float16, which has all its numbers."""
    return f"{use(f'half_from_{d.name}')}({x})"


def _expand(use: Use, row: Row, d: DType, to: DType, args: Sequence[str]) -> str:
    if callable(row):
        return row(use, d, to, args)
    text = row if isinstance(row, str) else row[0 if d.is_float else 1]
    return text.format(*args)


def _helper(name: str) -> Special:
    return lambda use, d, to, args: f"{use(f'{name}_{d.name}')}({', '.join(args)})"


def _by_sign(signed: str, unsigned: str) -> Special:
    return lambda use, d, to, args: f"{use(signed if d.kind == 'i' else unsigned)}({', '.join(args)})"


def _extreme(name: str, of_bools: str) -> Special:
    def row(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
        if d.kind == "b":
            return f"{args[0]} {of_bools} {args[1]}"
        nan = ", propagate_nan=tl.PropagateNan.ALL" if d.is_float else ""
        return f"tl.{name}imum({args[0]}, {args[1]}{nan})"

    return row


def _comparison(sign: str) -> Special:
    def row(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
        if d.kind == "b":
            return f"{args[0]}.to(tl.int8) {sign} {args[1]}.to(tl.int8)"
        return f"{args[0]} {sign} {args[1]}"

    return row


def _divide(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    return f"tl.div_rn({args[0]}, {args[1]})" if d is float32 else f"{args[0]} / {args[1]}"


def _square_root(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    return f"tl.sqrt_rn({args[0]})" if d is float32 else f"tl.sqrt({args[0]})"


def _absolute(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    return args[0] if d.kind == "u" else f"tl.abs({args[0]})"


def _shift_left(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    x, n = args
    return f"tl.where(({n} < 0) | ({n} >= {d.bits}), 0, {x} << {n})"


def _shift_right(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    x, n = args
    outside = f"{x} >> {d.bits - 1}" if d.kind == "i" else "0"
    return f"tl.where(({n} < 0) | ({n} >= {d.bits}), {outside}, {x} >> {n})"


def _cast(use: Use, d: DType, to: DType, args: Sequence[str]) -> str:
    (x,) = args
    if d is to:
        return x
    if d.is_storage:
        x, d = _half(use, x, d), float16
        if to is float16:
            return x
    if is_narrow(d):
        x, d = f"{x}.to(tl.float32)", float32
        if to is float32:
            return x
    if to.kind == "b":
        return f"{x} != 0"
    if d.is_float and to.is_integer:
        return f"{use(f'to_{to.name}_from_{d.name}')}({x})"
    if d is float64 and is_narrow(to) and to is not float16:
        x, d = f"{use('odd_from_double')}({x})", float32
    if to.is_storage:
        return f"{use(f'{to.name}_from_single')}({x if d is float32 else f'{x}.to(tl.float32)'})"
    if is_narrow(to) and d is not float32 and (to.name == "bf16" or not d.is_float):
        x = f"{x}.to(tl.float32)"
    return f"{x}.to({TYPES[to.name]})"


ROWS: dict[str, Row] = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": _divide,
    "floordiv": _by_sign("divide_signed", "divide_unsigned"),
    "mod": _by_sign("remainder_signed", "remainder_unsigned"),
    "mulhi": "tl.umulhi({}, {})",
    "neg": ("{} * -1.0", "0 - {}"),
    "abs": _absolute,
    "max": _extreme("max", "|"),
    "min": _extreme("min", "&"),
    "fma": "tl.fma({}, {}, {})",
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "select": "tl.where({}, {}, {})",
    "and": "{} & {}",
    "or": "{} | {}",
    "xor": "{} ^ {}",
    "not": "~{}",
    "shl": _shift_left,
    "shr": _shift_right,
    "cast": _cast,
    "bitcast": lambda use, d, to, args: f"{args[0]}.to({TYPES[to.name]}, bitcast=True)",
    "floor": "tl.floor({})",
    "ceil": "tl.ceil({})",
    "trunc": lambda use, d, to, args: f"{use('truncate')}({args[0]})",
    "rint": _helper("round_even"),
    "copysign": _helper("copysign"),
    "sqrt": _square_root,
    **{name: _helper(name) for name in ELEMENTARY},
}
assert set(ROWS) <= set(CORE)
