"""The elementary functions, and conversions of 8-bit floats, as helpers in Triton's language, written by the same
formulas as on a CPU (`codegen/llvm/elementary.py`, `codegen/llvm/float8.py`): the same polynomials, reductions and
cases, operation by operation, so that the bits are the same too. A `Formula` is what the formulas take for a writer.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from ..llvm import elementary, float8, narrow
from ..llvm.coefficients import TWO_OVER_PI
from ..llvm.types import Type, vector
from ..llvm.value import X

_ELEMENT = {"f32": "float", "f64": "double"}
_TYPES = {"half": "tl.float16", "float": "tl.float32", "double": "tl.float64", "i1": "tl.int1", "i8": "tl.uint8",
          "i16": "tl.int16", "i32": "tl.int32", "i64": "tl.int64"}
_INFIX = {"fadd": "+", "fsub": "-", "fmul": "*", "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^",
          "shl": "<<", "ashr": ">>"}
_COMPARE = {"oeq": "==", "une": "!=", "olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "eq": "==", "ne": "!=",
            "slt": "<"}
_WORDS = {"float": 3, "double": 17}         # how many words of 2 / pi an angle may start in


def function_text(name: str) -> str:
    """The definition of a helper such as `exp_f32`, or of the reduction of large angles."""
    op, _, d = name.rpartition("_")
    if op == "large_angle":
        return _large_angle(name, _ELEMENT[d])
    formula = elementary.FUNCTIONS[op]
    operands = list(inspect.signature(formula).parameters)[1:]
    w = Formula()
    result = formula(w, *(X(w, vector(_ELEMENT[d]), x) for x in operands))            # type: ignore[arg-type]
    about = (formula.__doc__ or op).splitlines()[0]
    lines = [f"def {name}({', '.join(operands)}):", f"# {about}", *w.lines, f"return {result.name}"]
    return "\n" + "\n    ".join(lines)


def conversion_text(name: str) -> str:
    """The definition of `half_from_f8e5m2`, `f8e5m2_from_single` (an 8-bit float is a byte), or `odd_from_double`."""
    to, _, given = name.partition("_from_")
    w = Formula()
    if to == "odd":
        result = narrow.to_odd(w, X(w, vector(given), "x"))                           # type: ignore[arg-type]
    elif given == "single":
        bits = float8.narrowed(w, X(w, vector("float"), "x"), to)                     # type: ignore[arg-type]
        result = w.convert("trunc", bits, "i8")
    else:
        result = float8.widened(w, X(w, vector(given), "x"), to)                      # type: ignore[arg-type]
    return "\n    ".join([f"\ndef {name}(x):", *w.lines, f"return {result.name}"])


class Formula:
    """Writes the lines of one function: the part of the LLVM writer's interface that formulas use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.count = 0

    def do(self, text: str) -> None:
        """A line."""
        self.lines.append("    " * self.depth + text)

    def let(self, t: Type, text: str) -> X:
        """A line that names a value of a type."""
        name = f"t{self.count}"
        self.count += 1
        self.do(f"{name} = {text}")
        return X(self, t, name)                                                       # type: ignore[arg-type]

    def constant(self, number: Any, t: Type) -> X:
        """A number as a value."""
        return X(self, t, _number(number, t), number)                                 # type: ignore[arg-type]

    def lift(self, x: Any, t: Type) -> X:
        """x itself, or a number as a constant of a type."""
        return x if isinstance(x, X) else self.constant(x, t)

    def binary(self, op: str, a: Any, b: Any) -> X:
        """An instruction of two operands, one of which may be a number."""
        t = a.type if isinstance(a, X) else b.type
        left, right = self.lift(a, t).name, self.lift(b, t).name
        if op == "fdiv":
            return self.let(t, _division(t, left, right))
        if op == "lshr":
            wide = _TYPES[t.element]
            return self.let(t, f"({left}.to({wide.replace('int', 'uint')}, bitcast=True) >> {right})"
                               f".to({wide}, bitcast=True)")
        return self.let(t, f"{left} {_INFIX[op]} {right}")

    def compare(self, predicate: str, a: Any, b: Any) -> X:
        """A comparison by LLVM's predicates; "one" is ordered and different."""
        t = a.type if isinstance(a, X) else b.type
        left, right = self.lift(a, t).name, self.lift(b, t).name
        text = f"({left} < {right}) | ({left} > {right})" if predicate == "one" else (
            f"{left} {_COMPARE[predicate]} {right}")
        return self.let(t.of("i1"), text)

    def select(self, condition: X, a: Any, b: Any) -> X:
        """a where the condition holds, else b."""
        t = a.type if isinstance(a, X) else b.type
        left, right = self.lift(a, t), self.lift(b, t)
        first = left.name
        if left.number is not None and right.number is not None:
            first = f"tl.full((), {first}, {_TYPES[t.element]})"
        return self.let(t, f"tl.where({condition.name}, {first}, {right.name})")

    def convert(self, op: str, x: X, element: str) -> X:
        """A conversion to another element."""
        bitcast = ", bitcast=True" if op == "bitcast" else ""
        return self.let(x.type.of(element), f"{x.name}.to({_TYPES[element]}{bitcast})")

    def bits_of(self, x: X) -> X:
        """The bits of a float."""
        return self.convert("bitcast", x, f"i{x.type.bits}")

    def intrinsic(self, name: str, *args: X) -> X:
        """fabs, copysign, sqrt, floor."""
        x, is_double = args[0], args[0].type.element == "double"
        names = ", ".join(self.lift(a, x.type).name for a in args)
        function = {"fabs": "tl.abs", "floor": "tl.floor", "sqrt": "tl.sqrt" if is_double else "tl.sqrt_rn",
                    "copysign": "copysign_f64" if is_double else "copysign_f32"}[name]
        return self.let(x.type, f"{function}({names})")

    def fma(self, a: Any, b: Any, c: Any) -> X:
        """a * b + c, rounded once."""
        t = next(x.type for x in (a, b, c) if isinstance(x, X))
        return self.let(t, f"tl.fma({', '.join(self._typed(self.lift(x, t)) for x in (a, b, c))})")

    def _typed(self, x: X) -> str:
        """A value where nothing beside it gives a number its type: Triton's functions take it for a float32."""
        return x.name if x.number is None or x.type.element == "float" else f"tl.full((), {x.name}, tl.float64)"

    def neg(self, x: X) -> X:
        """-x."""
        return self.let(x.type, f"{x.name} * -1.0" if x.type.is_float else f"0 - {x.name}")

    def add(self, a: Any, b: Any) -> X:
        """a + b."""
        return self._arithmetic("add", a, b)

    def sub(self, a: Any, b: Any) -> X:
        """a - b."""
        return self._arithmetic("sub", a, b)

    def mul(self, a: Any, b: Any) -> X:
        """a * b."""
        return self._arithmetic("mul", a, b)

    def _arithmetic(self, op: str, a: Any, b: Any) -> X:
        t = a.type if isinstance(a, X) else b.type
        return self.binary(f"f{op}" if t.is_float else op, a, b)

    def any(self, mask: X) -> X:
        """Does any lane hold?"""
        return self.let(mask.type, f"any_lane({mask.name})")

    def when(self, condition: X, then: Callable[[], tuple[X, ...]],
             otherwise: Callable[[], tuple[X, ...]]) -> tuple[X, ...]:
        """What `then` makes if the condition holds, else what `otherwise` does."""
        results = [self.let(x.type, x.name) for x in otherwise()]
        self.do(f"if {condition.name}:")
        self.depth += 1
        for old, new in zip(results, then()):
            self.do(f"{old.name} = {new.name}")
        self.depth -= 1
        return tuple(results)

    def large_angle(self, x: X) -> tuple[X, X]:
        """Quarter turns and rest of an angle, exactly."""
        quarters = self.let(x.type.of(f"i{x.type.bits}"), "0")
        rest = X(self, x.type, f"rest_{quarters.name}")                               # type: ignore[arg-type]
        d = "f64" if x.type.element == "double" else "f32"
        self.lines[-1] = "    " * self.depth + f"{quarters.name}, {rest.name} = large_angle_{d}({x.name})"
        return quarters, rest


def _number(number: Any, t: Type) -> str:
    if not t.is_float:
        return str(int(number)) if number >= 0 else f"({int(number)})"
    if not math.isfinite(number):
        return f"float('{float(number)}')"
    return repr(float(number)) if math.copysign(1, number) > 0 else f"({float(number)!r})"


def _division(t: Type, left: str, right: str) -> str:
    return f"{left} / {right}" if t.element == "double" else f"tl.div_rn({left}, {right})"


_LARGE_ANGLE = """
def {name}(angle):
    # Payne and Hanek 1983: the significand times the 192 bits of 2 / pi that matter, modulo 4 turns of a quarter
    x = angle.to(tl.float64)
    size = tl.abs(x).to(tl.uint64, bitcast=True)
    significand = (size & 4503599627370495) | 4503599627370496
    exponent = (size >> 52).to(tl.int64)
    skipped = tl.maximum(exponent - 1013, 0)
    word, shift = skipped >> 6, (skipped & 63).to(tl.uint64)
    a = significand * 0
    b, c, d = a, a, a
{words}
    first = (a << shift) | (b >> 1 >> (63 - shift))
    second = (b << shift) | (c >> 1 >> (63 - shift))
    third = (c << shift) | (d >> 1 >> (63 - shift))
    product = significand * second
    low = product + tl.umulhi(significand, third)
    high = significand * first + tl.umulhi(significand, second) + (low < product).to(tl.uint64)
    count = (high + 2305843009213693952) >> 62
    upper = (high - (count << 62)).to(tl.int64, bitcast=True).to(tl.float64)
    rest = tl.fma(low.to(tl.float64), tl.full((), {small}, tl.float64), upper) * {scale}
    turned = count.to(tl.int64, bitcast=True)
    is_negative = x < 0
    rest = tl.where(is_negative, rest * -1.0, rest)
    return tl.where(is_negative, 0 - turned, turned).to({integer}), rest.to({float})
"""


def _large_angle(name: str, element: str) -> str:
    lines = []
    for k in range(_WORDS[element]):
        lines.append(f"    here = word == {k}")
        lines += [f"    {letter} = tl.where(here, {TWO_OVER_PI[k + n]}, {letter})" for n, letter in enumerate("abcd")]
    integer = "tl.int64" if element == "double" else "tl.int32"
    return _LARGE_ANGLE.format(name=name, words="\n".join(lines), small=2.0**-64, scale=math.pi / 2 * 2.0**-62,
                               integer=integer, float=_TYPES[element])

