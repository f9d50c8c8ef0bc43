"""Text of LLVM functions from Python: typed SSA values with operators, and structured loops and branches.

A `Module` collects functions, constants and the declarations of intrinsics, and prints them. A `Function` is written
by `let` and `do`, or by what is made of them here: index arithmetic that folds, loops with carried values, branches.
Loads, stores and lanes are in `memory.py`, whose functions are this class's methods. Nothing here knows kernels or
schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ...ir.types import DType
from .memory import Memory
from .types import BOOL, INDEX, POINTER, Type, literal, memory_type, type_of, vector
from .value import Index, X


class Module:
    """What becomes one LLVM module: `str(module)` is its text."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.declarations: dict[str, str] = {}          # name -> text
        self.constants: dict[str, str] = {}             # definition without its name -> name

    def function(self, name: str, parameters: Mapping[str, Type], **options: Any) -> Function:
        """A new function of this module; see `Function`."""
        return Function(self, name, parameters, **options)

    def declare(self, name: str, returns: Type | None, arguments: Sequence[Type]) -> None:
        """Note that a function from elsewhere is used."""
        if name not in self.declarations:
            result = returns.text if returns else "void"
            self.declarations[name] = f"declare {result} @{name}({', '.join(a.text for a in arguments)})"

    def helper(self, name: str, write: Callable[[Module], None]) -> None:
        """Have a function of this name, written by `write` when it is asked for first."""
        if all(f.name != name for f in self.functions):
            write(self)

    def table(self, element: str, numbers: Sequence[Any], align: int = 64) -> str:
        """The name of a constant array; equal arrays are one."""
        t = vector(element)
        items = ", ".join(f"{element} {literal(n, t)}" for n in numbers)
        definition = f"internal unnamed_addr constant [{len(numbers)} x {element}] [{items}], align {align}"
        return self.constants.setdefault(definition, f"@table{len(self.constants)}")

    def __str__(self) -> str:
        constants = [f"{name} = {definition}" for definition, name in self.constants.items()]
        defined = {f.name for f in self.functions}
        declared = [text for name, text in self.declarations.items() if name not in defined]
        return "\n\n".join(filter(None, ["\n".join(constants), *(f.text() for f in self.functions),
                                         "\n".join(declared)])) + "\n"


class Function(Memory):
    """One function, written from its entry on. `parameters` maps names to types and afterwards is a tuple of values.

    Pointers named in `noalias` are promised to be the only way to their memory. `linkage` is "internal" or
    "external"; it `returns` a type or nothing: end it by `ret` if it does.
    """

    def __init__(self, module: Module, name: str, parameters: Mapping[str, Type], *, returns: Type | None = None,
                 noalias: Sequence[str] = (), linkage: str = "internal", attributes: str = "nounwind"):
        self.module, self.name, self.returns = module, name, returns
        self.parameters = tuple(X(self, t, f"%{n}") for n, t in parameters.items())
        self.lines: list[str] = []
        self.entry_lines: list[str] = []
        self.block = "entry"
        self._fresh = count()
        self._ended = False
        written = ", ".join(f"{t.text}{' noalias' * (n in noalias)} %{n}" for n, t in parameters.items())
        linkage = "" if linkage == "external" else linkage + " "
        self._header = f"define {linkage}{returns.text if returns else 'void'} @{name}({written}) {attributes} {{"
        module.functions.append(self)

    def text(self) -> str:
        """The function as LLVM reads it."""
        end = [] if self._ended else ["  ret void"]
        return "\n".join([self._header, "entry:", *self.entry_lines, *self.lines, *end, "}"])

    # ---- instructions ---------------------------------------------------------------------------------------------

    def let(self, t: Type, code: str) -> X:
        """A new register of a type, with the instruction that makes it."""
        name = f"%t{next(self._fresh)}"
        self.lines.append(f"  {name} = {code}")
        return X(self, t, name)

    def do(self, code: str) -> None:
        """An instruction without a result."""
        self.lines.append("  " + code)

    def ret(self, x: X) -> None:
        """End the function with a result."""
        self.do(f"ret {x}")
        self._ended = True

    def constant(self, number: Any, t: Type) -> X:
        """A number as a value, in each lane."""
        return X(self, t, literal(number, t), number)

    def lift(self, x: Any, like: Type = INDEX) -> X:
        """x itself, or a Python number as a constant of a type."""
        return x if isinstance(x, X) else X(self, like, literal(x, like), x)

    def number(self, n: Any, d: DType, lanes: int = 1) -> X:
        """A number of a dtype, in each lane."""
        return self.constant(n, type_of(d, lanes))

    def binary(self, op: str, a: Any, b: Any) -> X:
        """Any two-operand instruction ("fadd", "and", "lshr", "add nsw", …); one operand may be a Python number."""
        t = a.type if isinstance(a, X) else b.type
        return self.let(t, f"{op} {t.text} {self.lift(a, t).name}, {self.lift(b, t).name}")

    def compare(self, predicate: str, a: Any, b: Any) -> X:
        """`fcmp` or `icmp`, as the operands are, with a predicate ("slt", "oeq", …): lanes of i1."""
        t = a.type if isinstance(a, X) else b.type
        kind = "fcmp" if t.is_float else "icmp"
        return self.let(t.of("i1"), f"{kind} {predicate} {t.text} {self.lift(a, t).name}, {self.lift(b, t).name}")

    def select(self, condition: X | bool, a: Any, b: Any) -> Any:
        """a where the condition holds, else b; a condition of one lane chooses between whole vectors."""
        if isinstance(condition, bool):
            return a if condition else b
        t = a.type if isinstance(a, X) else b.type if isinstance(b, X) else INDEX
        return self.let(t, f"select {condition}, {self.lift(a, t)}, {self.lift(b, t)}")

    def convert(self, op: str, x: X, element: str) -> X:
        """A conversion instruction ("sext", "fptrunc", "bitcast", …) to another element."""
        t = x.type.of(element)
        return self.let(t, f"{op} {x} to {t.text}")

    def bits_of(self, x: X) -> X:
        """The bits of floats as integers."""
        return self.convert("bitcast", x, f"i{x.type.bits}")

    def call(self, callee: str | X, returns: Type | None, *args: Any) -> X | None:
        """Call a function by name, or by its address; Python ints are passed as i64."""
        values = [self.lift(a) for a in args]
        target = callee.name if isinstance(callee, X) else f"@{callee}"
        if isinstance(callee, str):
            self.module.declare(callee, returns, [v.type for v in values])
        code = f"call {returns.text if returns else 'void'} {target}({', '.join(map(str, values))})"
        if returns is None:
            self.do(code)
            return None
        return self.let(returns, code)

    def intrinsic(self, name: str, *args: Any, returns: Type | None = None) -> X:
        """`llvm.<name>` overloaded on the type of its first value argument, which others take and which it returns."""
        t = next(a.type for a in args if isinstance(a, X))
        result = self.call(f"llvm.{name}.{t.mangled}", returns or t, *(self.lift(a, t) for a in args))
        assert result is not None
        return result

    def prefetch(self, place: X, level: int = 1, writes: bool = False) -> None:
        """Ask for the cache line of an address, which need not be ours, into a level of the caches; to write to it."""
        self.module.declare("llvm.prefetch.p0", None, [POINTER, *[vector("i32")] * 3])
        self.do(f"call void @llvm.prefetch.p0({place}, i32 {int(writes)}, i32 {4 - level}, i32 1)")

    def fma(self, a: Any, b: Any, c: Any) -> X:
        """a * b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def alloca(self, t: Type, number: int = 1, align: int = 64) -> X:
        """Memory in the frame of this call; made once, however often the code that asks for it runs."""
        name = f"%t{next(self._fresh)}"
        self.entry_lines.append(f"  {name} = alloca {memory_type(t).text}, i64 {number}, align {align}")
        return X(self, POINTER, name)

    # ---- index arithmetic: Python ints fold -----------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Any:
        """a + b, of indices or of any values."""
        if not isinstance(a, X) and not isinstance(b, X):
            return a + b
        t = a.type if isinstance(a, X) else b.type
        if t.is_float:
            return self.binary("fadd", a, b)
        return b if _is(a, 0) else a if _is(b, 0) else self.binary("add", a, b)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b, of indices or of any values."""
        if not isinstance(a, X) and not isinstance(b, X):
            return a - b
        t = a.type if isinstance(a, X) else b.type
        if t.is_float:
            return self.binary("fsub", a, b)
        return a if _is(b, 0) else 0 if a is b and t is INDEX else self.binary("sub", a, b)

    def mul(self, a: Any, b: Any) -> Any:
        """a * b, of indices or of any values."""
        if not isinstance(a, X) and not isinstance(b, X):
            return a * b
        t = a.type if isinstance(a, X) else b.type
        if t.is_float:
            return self.binary("fmul", a, b)
        if t is INDEX and (_is(a, 0) or _is(b, 0)):
            return 0
        return b if _is(a, 1) else a if _is(b, 1) else self.binary("mul", a, b)

    def neg(self, x: X) -> Any:
        """-x, of floats and integers."""
        return self.let(x.type, f"fneg {x}") if x.type.is_float else self.sub(0, x)

    def floordiv(self, a: Index, b: Index) -> Index:
        """a // b of indices, b positive, with floor semantics."""
        if not isinstance(a, X) and not isinstance(b, X):
            return a // b
        if _is(b, 1):
            return a
        if isinstance(b, int) and b & (b - 1) == 0:
            return self.binary("ashr", a, b.bit_length() - 1)
        quotient = self.binary("sdiv", a, b)
        rest = self.sub(a, self.mul(quotient, b))
        return self.add(quotient, self.binary("ashr", rest, 63))

    def mod(self, a: Index, b: Index) -> Index:
        """a % b of indices, b positive, with the divisor's sign."""
        if not isinstance(a, X) and not isinstance(b, X):
            return a % b
        if _is(b, 1):
            return 0
        if isinstance(b, int) and b & (b - 1) == 0:
            return self.binary("and", a, b - 1)
        rest = self.binary("srem", a, b)
        return self.add(rest, self.binary("ashr", rest, 63) & self.lift(b))

    def min(self, a: Index, b: Index) -> Index:
        """The smaller of two indices."""
        if not isinstance(a, X) and not isinstance(b, X):
            return min(a, b)
        return a if a is b else self.intrinsic("smin", a, b)

    def max(self, a: Index, b: Index) -> Index:
        """The larger of two indices."""
        if not isinstance(a, X) and not isinstance(b, X):
            return max(a, b)
        return a if a is b else self.intrinsic("smax", a, b)

    def less(self, a: Index, b: Index) -> X | bool:
        """a < b of indices."""
        return self.compare("slt", a, b) if isinstance(a, X) or isinstance(b, X) else a < b

    def less_equal(self, a: Index, b: Index) -> X | bool:
        """a <= b of indices."""
        return self.compare("sle", a, b) if isinstance(a, X) or isinstance(b, X) else a <= b

    def equal(self, a: Index, b: Index) -> X | bool:
        """a == b of indices."""
        return self.compare("eq", a, b) if isinstance(a, X) or isinstance(b, X) else a == b

    def both(self, a: X | bool, b: X | bool) -> X | bool:
        """a and b; either may be known."""
        if isinstance(a, bool):
            return b if a else False
        if isinstance(b, bool):
            return a if b else False
        return a & b

    # ---- control --------------------------------------------------------------------------------------------------

    def _label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def loop(self, start: Index, stop: Index, step: Index, body: Callable[..., Any], *carried: Any) -> tuple:
        """for i in range(start, stop, step): carried = body(i, *carried). The step is positive; no turn is fine.

        Carried values may have any type; the body returns as many as came (one alone, or a tuple, or None for none).
        The result is what they are after the last turn.
        """
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and stop - start <= step:
            return _tuple(body(start, *carried)) if start < stop else carried
        n, before = next(self._fresh), self.block
        entering = [self.lift(start), *map(self.lift, carried)]
        phis = [X(self, x.type, f"%l{n}_{k}") for k, x in enumerate(entering)]
        self.do(f"br label %head{n}")
        self._label(f"head{n}")
        place = len(self.lines)
        self.do(f"br i1 {self.compare('slt', phis[0], stop).name}, label %body{n}, label %done{n}")
        self._label(f"body{n}")
        after = _tuple(body(*phis))
        assert len(after) == len(carried), "the body of a loop returns as many values as it carries"
        following = [self.add(phis[0], step), *(self.lift(a, p.type) for a, p in zip(after, phis[1:]))]
        self.lines[place:place] = [
            f"  {p.name} = phi {p.type.text} [{a.name}, %{before}], [{b.name}, %{self.block}]"
            for p, a, b in zip(phis, entering, following)
        ]
        self.do(f"br label %head{n}")
        self._label(f"done{n}")
        return tuple(phis[1:])

    def when(self, condition: X | bool, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None) -> tuple:
        """Run `then` if the condition holds, else `otherwise`. What they return (alike) is merged and returned as a
        tuple.
        """
        if isinstance(condition, bool):
            taken = then if condition else otherwise
            return _tuple(taken()) if taken else ()
        n = next(self._fresh)
        self.do(f"br i1 {condition.name}, label %then{n}, label %{'else' if otherwise else 'endif'}{n}")
        results, ends = [], []
        for name, body in (("then", then), ("else", otherwise)):
            if body is None:
                continue
            self._label(f"{name}{n}")
            results.append(_tuple(body()))
            ends.append(self.block)
            self.do(f"br label %endif{n}")
        self._label(f"endif{n}")
        if otherwise is None:
            assert not results[0], "a branch with results needs its other half"
            return ()
        merged = []
        for a, b in zip(*results):
            t = a.type if isinstance(a, X) else b.type if isinstance(b, X) else INDEX
            a, b = self.lift(a, t), self.lift(b, t)
            merged.append(self.let(t, f"phi {t.text} [{a.name}, %{ends[0]}], [{b.name}, %{ends[1]}]"))
        return tuple(merged)

    def large_angle(self, x: X) -> tuple[X, X]:
        """Quarter turns and rest of an angle, exactly."""
        from .large_angle import reduce

        return reduce(self, x)

    def any(self, mask: X) -> X:
        """Does any lane hold?"""
        if mask.lanes == 1:
            return mask
        narrow = vector(f"i{mask.lanes}") if mask.lanes >= 8 else None
        if narrow is None:
            return self.intrinsic("vector.reduce.or", mask, returns=BOOL)
        return self.compare("ne", self.let(narrow, f"bitcast {mask} to {narrow.text}"), 0)


def _is(x: Any, number: int) -> bool:
    return not isinstance(x, X) and x == number


def _tuple(x: Any) -> tuple:
    return () if x is None else tuple(x) if isinstance(x, (tuple, list)) else (x,)
