"""The text of a kernel: `print_kernel` and `parse_kernel`, so that what is read back prints the same.

    kernel head(x: f32[N, 64]) -> (y: f32[N]) axes i: N, j: 64 where 1 <= N {
      %0[i, j] = load x[i, j] : f32
      %1[i, j] = mul %0, 0.5 : f32             # a constant stands where it is used, with its dtype where that is
      another
      %2[i] = sum %1 over j : f32              # also: prod, max, min; scan sum %1 along j
      %3[i, p] = argsort ascending %0 over j at p : i64          # also: descending
      store y[i], %2                           # or `add`; a store by computed places says over which axes: ... for i, j
    }
"""

from __future__ import annotations

import json
from typing import Any

from . import expr
from .expr import Dim, Expr, Symbol
from .kernel import DIRECTIONS, Buffer, Index, Kernel, Store, Value, verify
from .reader import DTYPE_NAMES, Reader
from .scalar import COMBINE, CORE
from .types import DType, int64


def literal(number: object) -> str:
    """A number so that it reads back as the same bits: true, 3, 0.1, inf, nan."""
    if isinstance(number, bool):
        return "true" if number else "false"
    return repr(number)


def _plain(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def print_kernel(kernel: Kernel) -> str:
    """The kernel as text, constants standing where they are used."""
    names: dict[Value, str] = {}
    lines: list[str] = []

    def entry(i: Index) -> str:
        return names[i] if isinstance(i, Value) else str(i)

    def place(buffer: str, index: tuple[Index, ...]) -> str:
        return f"{_plain(buffer)}[{', '.join(map(entry, index))}]"

    for v in kernel.values:
        if v.op == "const":
            names[v] = literal(v.number)
            continue
        names[v] = f"%{len(lines)}"
        if v.op == "load":
            text = f"load {place(v.buffer, v.index)}" + ("" if v.fill is None else f" else {literal(v.fill)}")
        elif v.op == "index":
            text = f"index {v.index[0]}"
        else:
            args = ", ".join(f"{names[a]}:{a.dtype.name}" if a.op == "const" and a.dtype is not v.dtype else names[a]
                             for a in v.args)
            text = {"reduce": f"{v.combine} {args} over {', '.join(v.over)}",
                    "scan": f"scan {v.combine} {args} along {', '.join(v.over)}",
                    "argsort": f"argsort {v.combine} {args} over {', '.join(v.over)} at {' '.join(map(entry, v.index))}"
                    }.get(v.op, f"{v.op} {args}")
        lines.append(f"  {names[v]}[{', '.join(v.axes)}] = {text} : {v.dtype.name}")
    for s in kernel.stores:
        verb = "store" if s.mode == "set" else "add"
        spread = f" for {', '.join(s.axes)}" if s.is_scatter and s.axes else ""
        value = names[s.value] + (f":{s.value.dtype.name}" if s.value.op == "const" else "")
        lines.append(f"  {verb} {place(s.buffer, s.index)}, {value}{spread}")
    return "\n".join([_header(kernel), *lines, "}"])


def _header(kernel: Kernel) -> str:
    def buffers(some: tuple[Buffer, ...]) -> str:
        return ", ".join(f"{_plain(b.name)}: {b.dtype.name}[{', '.join(map(str, b.shape))}]" for b in some)

    axes = ", ".join(f"{a}: {e}" for a, e in kernel.axes.items())
    parts = [f"kernel {_plain(kernel.name)}({buffers(kernel.inputs)}) -> ({buffers(kernel.outputs)})"]
    parts += [f"axes {axes}"] * bool(axes)
    ranges = [f"{s.low} <= {s.name}" + ("" if s.high is None else f" <= {s.high}")
              for s in _size_symbols(kernel) if s.low != 0 or s.high is not None]
    parts += [f"where {', '.join(ranges)}"] * bool(ranges)
    return " ".join([*parts, "{"])


def _size_symbols(kernel: Kernel) -> list[Symbol]:
    """The symbols of the kernel's sizes, each after those in its upper bound."""
    found: dict[Symbol, None] = {}

    def collect(x: Any) -> None:
        for atom in (a for m in x.terms for a in m) if isinstance(x, Expr) else ():
            if not isinstance(atom, Symbol):
                collect(atom.left)
                collect(atom.right)
            elif atom.name not in kernel.axes and atom not in found:
                collect(atom.high)
                found[atom] = None

    for d in [*kernel.axes.values(), *(d for b in kernel.buffers.values() for d in b.shape)]:
        collect(d)
    for index in (*(v.index for v in kernel.values), *(s.index for s in kernel.stores)):
        for i in index:
            collect(i)
    return list(found)


def parse_kernel(text: str) -> Kernel:
    """The kernel that a text says; ParseError with the line and a caret where it is damaged, VerifyError where it
    breaks a rule.

    >>> print(parse_kernel("kernel twice(x: f32[4]) -> (y: f32[4]) axes i: 4 { %0[i] = load x[i] : f32"
    ...                    " %1[i] = add %0, %0 : f32 store y[i], %1 }"))
    kernel twice(x: f32[4]) -> (y: f32[4]) axes i: 4 {
      %0[i] = load x[i] : f32
      %1[i] = add %0, %0 : f32
      store y[i], %1
    }
    """
    reader = _KernelReader(text)
    kernel = reader.kernel()
    if reader.token.kind != "end":
        reader.fail("the end of the text")
    verify(kernel)
    return kernel


class _KernelReader(Reader):
    """Headers, values and stores. An operand is a value, or a number whose dtype may only be known at the end of its
    line.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.axes: dict[str, Dim] = {}
        self.buffers: dict[str, Buffer] = {}
        self.names: dict[str, Value] = {}
        self.constants: dict[tuple[str, DType], Value] = {}
        self.values: list[Value] = []
        self.stores: list[Store] = []

    def kernel(self) -> Kernel:
        """The whole text."""
        self.read_ranges_ahead()
        self.expect("kernel")
        name = self.word_or_string("the kernel's name")
        self.declarations(is_output=False)
        self.expect("->")
        self.declarations(is_output=True)
        if self.accept("axes"):
            self.axes = dict(self.separated(self.extent))
            self.symbols.update({a: expr.symbol(a, 0, e - 1) for a, e in self.axes.items()})
        if self.accept("where"):
            self.ranges()
        self.expect("{")
        while not self.accept("}"):
            if self.token.kind == "value":
                self.value()
            else:
                self.store()
        return Kernel(name, self.axes, self.buffers, tuple(self.values), tuple(self.stores))

    # ---- pieces ----

    def word_or_string(self, wanted: str) -> str:
        if self.token.kind == "string":
            return str(json.loads(self.take("string", wanted).text))
        return self.take("word", wanted).text

    def separated(self, item, closing: str = "") -> list[Any]:
        """Items with commas between them, up to the closing mark."""
        items: list[Any] = []
        while not (closing and self.accept(closing)):
            if items:
                if not closing and self.token.text != ",":
                    break
                self.expect(",")
            items.append(item())
        return items

    def declarations(self, is_output: bool) -> None:
        self.expect("(")
        for name, kind in self.separated(self.declaration, ")"):
            self.buffers[name] = Buffer(name, kind.shape, kind.dtype, is_output)

    def declaration(self) -> tuple[str, Any]:
        start = self.token.start
        name = self.word_or_string("a buffer's name")
        if name in self.buffers:
            self.error(f"there are two buffers named {name}", start)
        self.expect(":")
        return name, self.type()

    def extent(self) -> tuple[str, Dim]:
        name = self.take("word", "an axis, such as i: 64").text
        self.expect(":")
        return name, self.dim()

    def axis(self) -> str:
        t = self.take("word", "an axis")
        if t.text not in self.axes:
            self.error(f"there is no axis {t.text!r}; axes are {', '.join(self.axes) or 'none'}", t.start)
        return t.text

    def dtype(self) -> DType:
        t = self.take("word", "a dtype, such as f32")
        if t.text not in DTYPE_NAMES:
            self.error(f"there is no dtype {t.text!r}; dtypes are {', '.join(DTYPE_NAMES)}", t.start)
        return DTYPE_NAMES[t.text]

    def place(self) -> tuple[str, tuple[Index, ...]]:
        start = self.token.start
        buffer = self.word_or_string("a buffer")
        if buffer not in self.buffers:
            self.error(f"there is no buffer {buffer!r}; buffers are {', '.join(self.buffers)}", start)
        self.expect("[")
        return buffer, tuple(self.separated(lambda: self.known() if self.token.kind == "value" else self.dim(), "]"))

    def known(self) -> Value:
        """A value that was made above."""
        t = self.take("value", "a value, such as %0")
        if t.text not in self.names:
            self.error(f"{t.text} is not made above", t.start)
        return self.names[t.text]

    def operand(self) -> Value | tuple[Any, DType | None]:
        if self.token.kind == "value":
            return self.known()
        number = self.number_of_any_kind()
        return number, self.dtype() if self.token.text == ":" and self.is_annotation() and self.accept(":") else None

    def is_annotation(self) -> bool:
        """`0.5:f32` is a number with its dtype, `0.5 : f32` the end of a line."""
        return self.text[self.token.start - 1] != " "

    def number_of_any_kind(self) -> bool | int | float:
        start = self.token.start
        number = self.unary()
        if not isinstance(number, (bool, int, float)):
            self.error("expected a number or a value such as %0", start)
        return number

    def constant(self, x: Value | tuple[Any, DType | None], default: DType) -> Value:
        if isinstance(x, Value):
            return x
        number, d = x[0], x[1] or default
        key = (repr(number), d)
        if key not in self.constants:
            self.constants[key] = Value("const", (), (), d, number=number)
            self.values.append(self.constants[key])
        return self.constants[key]

    # ---- lines ----

    def value(self) -> None:
        t = self.take("value", "a value")
        if t.text in self.names:
            self.error(f"{t.text} is made twice", t.start)
        self.expect("[")
        axes = tuple(self.separated(self.axis, "]"))
        self.expect("=")
        self.names[t.text] = new = self.right_side(axes)
        self.values.append(new)

    def right_side(self, axes: tuple[str, ...]) -> Value:
        t = self.take("word", "an operation")
        if t.text == "load":
            buffer, index = self.place()
            fill = self.number_of_any_kind() if self.accept("else") else None
            return Value("load", (), axes, self.result(), buffer=buffer, index=index, fill=fill)
        if t.text == "index":
            position = self.dim()
            if self.result() is not int64:
                self.error("the dtype of an index is i64", t.start)
            return Value("index", (), axes, int64, index=(position,))
        if t.text == "scan":
            return self.scan(axes)
        if t.text == "argsort":
            return self.argsort(axes)
        if t.text not in CORE and t.text not in COMBINE:
            self.error(f"{t.text} is not an operation of the scalar core, and no load, index, scan or reduction",
                       t.start)
        args = self.separated(self.operand)
        if t.text in COMBINE and self.accept("over"):
            over = tuple(self.separated(self.axis)) if self.token.text != ":" else ()
            return self.made("reduce", args[:1], axes, combine=t.text, over=over)
        return self.made(t.text, args, axes)

    def scan(self, axes: tuple[str, ...]) -> Value:
        t = self.take("word", "sum, prod, max or min")
        if t.text not in COMBINE:
            self.error(f"a scan is by one of {', '.join(COMBINE)}", t.start)
        arg = self.operand()
        self.expect("along")
        return self.made("scan", [arg], axes, combine=t.text, over=(self.axis(),))

    def argsort(self, axes: tuple[str, ...]) -> Value:
        t = self.take("word", "ascending or descending")
        if t.text not in DIRECTIONS:
            self.error(f"an argsort is {' or '.join(DIRECTIONS)}", t.start)
        arg = self.operand()
        if not isinstance(arg, Value):
            self.error("what is sorted is a value such as %0", t.start)
        self.expect("over")
        over = self.axis()
        self.expect("at")
        place = self.dim()
        return Value("argsort", (arg,), axes, self.result(), index=(place,), combine=t.text, over=(over,))

    def made(self, op: str, args: list[Any], axes: tuple[str, ...], **more: Any) -> Value:
        result = self.result()
        return Value(op, tuple(self.constant(a, result) for a in args), axes, result, **more)

    def result(self) -> DType:
        self.expect(":")
        return self.dtype()

    def store(self) -> None:
        t = self.take("word", "a value such as %0, `store`, `add` or '}'")
        if t.text not in ("store", "add"):
            self.error("expected a value such as %0, `store`, `add` or '}'", t.start)
        buffer, index = self.place()
        self.expect(",")
        value = self.constant(self.operand(), self.buffers[buffer].dtype)
        used = set(value.axes).union(*(i.axes if isinstance(i, Value) else expr.symbols(i) for i in index))
        axes = tuple(self.separated(self.axis)) if self.accept("for") else tuple(a for a in self.axes if a in used)
        self.stores.append(Store(buffer, index, value, axes, "set" if t.text == "store" else "add"))
