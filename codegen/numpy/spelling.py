"""The scalar core in NumPy's words: one row an operation. What NumPy does otherwise is a function of `helpers`
(`bz`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.kernel import Value
from ...ir.scalar import converted
from ...ir.types import DType, float64

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
         "ge": ">=",
         "and": "&", "or": "|", "xor": "^"}  # fmt: skip
PREFIX = {"neg": "-", "not": "~"}
# Operations that take `out=`.
UFUNC = {
    "add": "np.add", "sub": "np.subtract", "mul": "np.multiply", "div": "np.divide", "and": "np.bitwise_and",
    "or": "np.bitwise_or", "xor": "np.bitwise_xor", "not": "np.invert", "neg": "np.negative", "abs": "np.abs",
    "max": "np.maximum",
    "min": "np.minimum", "floor": "np.floor", "ceil": "np.ceil", "trunc": "np.trunc", "rint": "np.rint",
    "copysign": "np.copysign", "sqrt": "np.sqrt", "exp": "np.exp", "expm1": "np.expm1", "log": "np.log",
    "log1p": "np.log1p",
    "sin": "np.sin", "cos": "np.cos", "tan": "np.tan", "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan",
    "atan2": "np.arctan2", "sinh": "np.sinh", "cosh": "np.cosh", "tanh": "np.tanh", "pow": "np.power",
    "eq": "np.equal", "ne": "np.not_equal", "lt": "np.less", "le": "np.less_equal", "gt": "np.greater",
    "ge": "np.greater_equal",
}  # fmt: skip
HELPER = {op: f"bz.{op}" for op in ("floordiv", "mod", "mulhi", "shl", "shr", "fma", "erf")}
# NumPy's own, where the constant is harmless
BY_CONSTANT = {"floordiv": "//", "mod": "%", "shl": "<<", "shr": ">>"}
OTHER = ("select", "cast", "bitcast")
REDUCE = {"sum": "np.add", "prod": "np.multiply", "max": "np.maximum", "min": "np.minimum"}


def dtype_name(d: DType) -> str:
    """The dtype as the source names it."""
    return "np.bool_" if d.kind == "b" else f"{'np' if is_known(d) else 'bz'}.{d.long_name}"


def is_known(d: DType) -> bool:
    """Is the dtype NumPy's own, which takes Python's numbers as they are?"""
    return hasattr(np, d.long_name)


def number(x: Any) -> str:
    """A Python number that takes the dtype of what it meets."""
    if isinstance(x, float) and not math.isfinite(x):
        return "np.nan" if math.isnan(x) else "np.inf" if x > 0 else "-np.inf"
    return repr(x)


def typed(x: Any, d: DType) -> str:
    """A number with its dtype."""
    exact = x if is_known(d) else float(converted(float(x), d))
    return f"{dtype_name(d)}({number(exact)})"


def call(v: Value, operands: list[str]) -> str:
    """The source of a core operation on operands that are spelled and aligned already."""
    source = v.args[0].dtype
    if v.op == "cast":
        if v.dtype.kind == "b":
            return f"{operands[0]} != 0"
        saturates = source.is_float and v.dtype.is_integer
        rounds_twice = source is float64 and v.dtype.is_float and not is_known(v.dtype)
        x, to = operands[0], dtype_name(v.dtype)
        return f"bz.cast({x}, {to})" if saturates or rounds_twice else f"{x}.astype({to})"
    if v.op == "bitcast":
        return f"{operands[0]}.view({dtype_name(v.dtype)})"
    if v.op == "select":
        return f"np.where({', '.join(operands)})"
    if v.op in BY_CONSTANT and _is_harmless(v):
        return f"{operands[0]} {BY_CONSTANT[v.op]} {operands[1]}"
    if v.op in INFIX:
        return f"{operands[0]} {INFIX[v.op]} {operands[1]}"
    if v.op in PREFIX:
        return f"{PREFIX[v.op]}{operands[0]}"
    return f"{UFUNC.get(v.op) or HELPER[v.op]}({', '.join(operands)})"


def _is_harmless(v: Value) -> bool:
    left, right = v.args
    if right.op != "const" or left.op == "const":
        return False
    return right.number > 0 if v.op in ("floordiv", "mod") else 0 <= right.number < v.dtype.bits
