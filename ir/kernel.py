"""The kernel IR: what fusion makes and emitters read. A kernel is a small SSA program over *named axes*.

Each value knows the axes that it varies over; operands are broadcast by name. Loads and stores index buffers by one
entry per dimension: an expression of axes and sizes (`expr.Dim`), or a value (gather, scatter). A load outside its
buffer gives its fill. A reduction removes axes, a scan keeps its axis, an argsort puts places in order for positions.
Nothing here says how a kernel runs: that is the `Schedule`'s. The definition of what a kernel computes is
`kernel_eval.evaluate`.

    kernel softmax(x: f32[8192, 1024]) -> (y: f32[8192, 1024]) axes i: 8192, j: 1024 {
      %0[i, j] = load x[i, j] : f32
      %1[i] = max %0 over j : f32
      ...
      store y[i, j], %5
    }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeGuard, Union

from . import expr
from .errors import VerifyError
from .expr import Dim, Expr
from .scalar import COMBINE, CORE, ScalarBuilder, result_dtype
from .types import DType, dtype, int64

FOLDS = ("reduce", "scan", "argsort")    # values that are made of all positions of an axis
DIRECTIONS = ("ascending", "descending")


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel reads or writes: row-major and contiguous. `is_output` buffers are written, never read."""

    name: str
    shape: tuple[Dim, ...]
    dtype: DType
    is_output: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.name}[{', '.join(map(str, self.shape))}]"

    @property
    def strides(self) -> tuple[Dim, ...]:
        """Elements between neighbours along each dimension."""
        out: list[Dim] = []
        step: Dim = 1
        for d in reversed(self.shape):
            out.append(step)
            step = d * step
        return tuple(reversed(out))


@dataclass(frozen=True, eq=False)
class Value:
    """One result. `op` is "load", "const", "index", a name of the scalar core, or one of `FOLDS`."""

    op: str
    args: tuple[Value, ...]
    axes: tuple[str, ...]            # in the kernel's order
    dtype: DType
    buffer: str = ""                 # load
    # load: an entry per dimension; "index": one expression, the value itself; argsort: one, the place in order
    index: tuple[Index, ...] = ()
    fill: Any = None                 # load: the value outside the buffer; None promises that it is never outside
    number: Any = None               # const
    combine: str = ""                # reduce, scan: a key of COMBINE; argsort: one of DIRECTIONS
    over: tuple[str, ...] = ()       # reduce: the axes removed; scan: the one axis; argsort: the one axis removed

    @property
    def inputs(self) -> tuple[Value, ...]:
        """All values that this one is made of, those in its index too."""
        return self.args + tuple(i for i in self.index if isinstance(i, Value))


Index = Union[int, Expr, Value]


def made_of(*values: Value, without: Value | None = None) -> set[Value]:
    """Values with all that they are made of, short of one that is left out with what only it is made of."""
    found: set[Value] = set()
    todo = [*values]
    while todo:
        x = todo.pop()
        if x not in found and x is not without:
            found.add(x)
            todo += x.inputs
    return found


def is_affine(index: Sequence[Index]) -> TypeGuard[Sequence[Dim]]:
    """Are all entries expressions of axes and sizes, none a computed value?"""
    return not any(isinstance(i, Value) for i in index)


@dataclass(frozen=True, eq=False)
class Store:
    """`buffer[index] = value` for all points of `axes`; an index outside is dropped. `mode` is "set" or "add"
    (scatter).
    """

    buffer: str
    index: tuple[Index, ...]
    value: Value
    axes: tuple[str, ...]
    mode: str = "set"

    @property
    def is_scatter(self) -> bool:
        """Is the place computed by a value?"""
        return any(isinstance(i, Value) for i in self.index)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The stored value and those in the index."""
        return (self.value, *(i for i in self.index if isinstance(i, Value)))


def flat_index(buffer: Buffer, index: Sequence[Index]) -> tuple[Dim, list[tuple[Value, Dim]]]:
    """The number of an element as an expression, plus the index entries that are values, each with its stride."""
    flat: Dim = 0
    gathered = []
    for i, stride in zip(index, buffer.strides):
        if isinstance(i, Value):
            gathered.append((i, stride))
        else:
            flat = flat + stride * i
    return flat, gathered


def step_along(kernel: Kernel, access: Value | Store, axis: str) -> Dim | None:
    """Elements from one position of an axis to the next in the memory that a load or a store goes to; None where that
    is not the same everywhere, or an index is a computed value.
    """
    flat, gathered = flat_index(kernel.buffers[access.buffer], access.index)
    return None if gathered else expr.coefficient(flat, axis)


def pair_part(kernel: Kernel, access: Value | Store) -> int | None:
    """Which of two neighbours in memory a load or a store is always of, such as a part of complex numbers; else
    None.
    """
    shape, index = kernel.buffers[access.buffer].shape, access.index
    of_two = bool(shape) and isinstance(shape[-1], int) and shape[-1] == 2
    is_part = of_two and isinstance(index[-1], int) and 0 <= index[-1] < 2
    return int(index[-1]) if is_part else None  # type: ignore[arg-type]


def fresh_axis(axes: Mapping[str, Dim], name: str) -> str:
    """The name, with a number if an axis has it."""
    return next(n for n in (f"{name}_{k}" if k else name for k in count()) if n not in axes)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A program over `axes` (name to extent, in loop order), on `buffers`; `values` in order, then `stores`.

    A buffer that is written by an "add" scatter starts as zeros, one written by a "set" scatter must also be an input
    of the same place in the program (the emitters write only what is stored).
    """

    name: str
    axes: Mapping[str, Dim]
    buffers: Mapping[str, Buffer]
    values: tuple[Value, ...]
    stores: tuple[Store, ...]
    origin: tuple[Any, ...] = field(default=())   # locations of the user's lines it came from

    @property
    def inputs(self) -> tuple[Buffer, ...]:
        """Buffers that are read."""
        return tuple(b for b in self.buffers.values() if not b.is_output)

    @property
    def outputs(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        return tuple(b for b in self.buffers.values() if b.is_output)

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the symbolic sizes that it needs at run time, sorted."""
        found: set[str] = set()
        for d in [*self.axes.values(), *(d for b in self.buffers.values() for d in b.shape)]:
            found |= expr.symbols(d)
        for i in [i for v in self.values for i in v.index] + [i for s in self.stores for i in s.index]:
            if isinstance(i, Expr):
                found |= expr.symbols(i)
        return tuple(sorted(found - set(self.axes)))

    def axis(self, name: str) -> Expr:
        """The expression for an axis' position, with its range."""
        return expr.symbol(name, 0, self.axes[name] - 1)

    def fresh_axis(self, name: str) -> str:
        """The name, with a number if an axis has it."""
        return fresh_axis(self.axes, name)

    def __str__(self) -> str:
        from .kernel_text import print_kernel

        return print_kernel(self)


def replaced(kernel: Kernel, old: Value, new: Sequence[Value]) -> tuple[tuple[Value, ...], tuple[Store, ...]]:
    """The values and stores of a kernel with a value replaced by the last of new ones, which the others lead to; what
    only the old one was made of is left out.
    """
    made: dict[Value, Value] = {old: new[-1]}

    def entries(index: tuple[Index, ...]) -> tuple[Index, ...]:
        return tuple(made[i] if isinstance(i, Value) else i for i in index)

    wanted = made_of(*(v for s in kernel.stores for v in s.inputs), without=old)
    values: list[Value] = []
    for v in kernel.values:
        if v is old:
            values += new
        elif v in wanted:
            made[v] = Value(v.op, tuple(made[a] for a in v.args), v.axes, v.dtype, v.buffer, entries(v.index), v.fill,
                            v.number, v.combine, v.over)
            values.append(made[v])
    stores = tuple(Store(s.buffer, entries(s.index), made[s.value], s.axes, s.mode) for s in kernel.stores)
    return tuple(values), stores


class KernelBuilder(ScalarBuilder):
    """Builds a kernel: `k.load`, `k.reduce`, `k.store`, `k.index`, and the scalar core as methods (`k.exp(x)`,
    `k.add(x, 1.0)`).

    >>> k = KernelBuilder("double", {"i": 4})
    >>> x = k.load("x", (4,), "f32", (k.axis("i"),))
    >>> k.store("y", (4,), (k.axis("i"),), k.mul(x, 2.0))
    >>> print(k.build())
    kernel double(x: f32[4]) -> (y: f32[4]) axes i: 4 {
      %0[i] = load x[i] : f32
      %1[i] = mul %0, 2.0 : f32
      store y[i], %1
    }
    """

    def __init__(self, name: str, axes: Mapping[str, Dim]):
        self.name, self.axes = name, dict(axes)
        self.buffers: dict[str, Buffer] = {}
        self.values: list[Value] = []
        self.stores: list[Store] = []
        self._known: dict[Any, Value] = {}

    def axis(self, name: str) -> Expr:
        """The position along an axis, as an index expression."""
        return expr.symbol(name, 0, self.axes[name] - 1)

    def add_axis(self, name: str, extent: Dim) -> Expr:
        """A further axis, innermost."""
        self.axes[name] = extent
        return self.axis(name)

    def _ordered(self, axes: Iterable[str]) -> tuple[str, ...]:
        wanted = set(axes)
        return tuple(a for a in self.axes if a in wanted)

    def _axes_of(self, index: Sequence[Index]) -> set[str]:
        found: set[str] = set()
        for i in index:
            found |= set(i.axes) if isinstance(i, Value) else expr.symbols(i) & set(self.axes)
        return found

    def _append(self, key: Any, value: Value) -> Value:
        old = self._known.get(key)
        if old is not None:
            return old
        self._known[key] = value
        self.values.append(value)
        return value

    def _buffer(self, name: str, shape: Sequence[Dim], d: DType, is_output: bool) -> None:
        new = Buffer(name, tuple(shape), d, is_output)
        if self.buffers.setdefault(name, new) != new:
            raise VerifyError(f"kernel {self.name}: buffer {name} is declared as {self.buffers[name]} and as {new}")

    def load(self, buffer: str, shape: Sequence[Dim], d: DType | str, index: Sequence[Index],
             fill: Any = None) -> Value:
        """buffer[index]; `fill` is the value outside the buffer (None: it is never outside)."""
        self._buffer(buffer, shape, dtype(d), False)
        axes = self._ordered(self._axes_of(index))
        new = Value("load", (), axes, dtype(d), buffer=buffer, index=tuple(index), fill=fill)
        return self._append(("load", buffer, tuple(index), repr(fill)), new)

    def index(self, position: Dim) -> Value:
        """An index expression as an i64 value (the position along an axis, a size)."""
        return self._append(("index", position), Value(
            "index", (), self._ordered(self._axes_of((position,))), int64, index=(position,)))

    def dtype_of(self, x: Value) -> DType:
        """The dtype of a value."""
        return x.dtype

    def number_of(self, x: Value) -> Any:
        """The number of a constant; None of any other value."""
        return x.number

    def constant(self, number: Any, d: DType) -> Value:
        """A constant; its number is converted to the dtype's Python kind."""
        number = bool(number) if d.kind == "b" else int(number) if d.is_integer else float(number)
        return self._append(("const", repr(number), d), Value("const", (), (), d, number=number))

    def apply(self, op: str, args: tuple[Value, ...], to: DType | None = None) -> Value:
        """A core operation, broadcast by axis names; equal expressions are one value."""
        new = Value(op, args, self._ordered(a for x in args for a in x.axes),
                    result_dtype(op, tuple(x.dtype for x in args), to))
        return self._append((op, args, to), new)

    def reduce(self, combine: str, value: Value, over: Sequence[str]) -> Value:
        """sum, prod, max or min over axes; values that do not vary over an axis count once per position of it."""
        axes = self._ordered(a for a in value.axes if a not in over)
        new = Value("reduce", (value,), axes, value.dtype, combine=combine, over=self._ordered(over))
        return self._append(("reduce", combine, value, tuple(over)), new)

    def scan(self, combine: str, value: Value, over: str) -> Value:
        """The inclusive cumulative sum, prod, max or min along an axis, from position 0 upwards."""
        axes = self._ordered({*value.axes, over})
        new = Value("scan", (value,), axes, value.dtype, combine=combine, over=(over,))
        return self._append(("scan", combine, value, over), new)

    def argsort(self, direction: str, value: Value, over: str, at: Dim) -> Value:
        """The position along an axis of what stands at place `at` of the stable order; NaN is larger than all else."""
        axes = self._ordered({*value.axes, *self._axes_of((at,))} - {over})
        new = Value("argsort", (value,), axes, int64, index=(at,), combine=direction, over=(over,))
        return self._append(("argsort", direction, value, over, at), new)

    def store(self, buffer: str, shape: Sequence[Dim], index: Sequence[Index], value: Value, mode: str = "set") -> None:
        """buffer[index] = value, or += under mode "add"."""
        self._buffer(buffer, shape, value.dtype, True)
        axes = self._ordered({*self._axes_of(index), *value.axes})
        self.stores.append(Store(buffer, tuple(index), value, axes, mode))

    def build(self, origin: tuple[Any, ...] = ()) -> Kernel:
        """The frozen, verified kernel: dead values are dropped."""
        live: set[Value] = set()
        todo = [v for s in self.stores for v in s.inputs]
        while todo:
            v = todo.pop()
            if v not in live:
                live.add(v)
                todo.extend(v.inputs)
        values = tuple(v for v in self.values if v in live)
        read = {v.buffer for v in values if v.op == "load"}
        buffers = {n: b for n, b in self.buffers.items() if b.is_output or n in read}
        kernel = Kernel(self.name, self.axes, buffers, values, tuple(self.stores), origin)
        verify(kernel)
        return kernel


def verify(kernel: Kernel) -> None:
    """Raise VerifyError where the kernel breaks a rule of the IR."""

    def fail(what: str) -> None:
        raise VerifyError(f"kernel {kernel.name}: {what}")

    position = {a: n for n, a in enumerate(kernel.axes)}
    seen: set[Value] = set()
    for n, v in enumerate(kernel.values):
        if any(x not in seen for x in v.inputs):
            fail(f"%{n} is used before it is made, or its operand is not in the kernel")
        seen.add(v)
        if list(v.axes) != sorted(v.axes, key=lambda a: position.get(a, -1)) or not set(v.axes) <= set(position):
            fail(f"%{n} has axes {v.axes}, of {tuple(position)}")
        if v.op == "load":
            b = kernel.buffers.get(v.buffer)
            if b is None or len(b.shape) != len(v.index) or b.dtype is not v.dtype:
                fail(f"%{n} loads {v.buffer} with {len(v.index)} index entries as {v.dtype}, which is {b}")
        elif v.op == "argsort":
            if v.combine not in DIRECTIONS or len(v.over) != 1 or len(v.index) != 1 or v.dtype is not int64:
                fail(f"%{n} sorts {v.combine!r} over {v.over} at {v.index} into {v.dtype}")
            if set(v.over) & {*v.axes, *(expr.symbols(v.index[0]) if is_affine(v.index) else v.over)}:
                fail(f"%{n} keeps the axis {v.over[0]} that it sorts over, or its place varies with it")
        elif v.op in ("reduce", "scan"):
            if v.combine not in COMBINE or not set(v.over) <= set(position):
                fail(f"%{n} reduces by {v.combine!r} over {v.over}")
            if v.op == "reduce" and set(v.over) & set(v.axes):
                fail(f"%{n} keeps the axes {v.over} that it reduces")
        elif v.op not in ("const", "index"):
            if v.op not in CORE:
                fail(f"%{n} is {v.op!r}, which is not in the scalar core")
            args = v.args[1:] if v.op == "select" else v.args
            if len(v.args) != CORE[v.op].arity or len({x.dtype for x in args}) > 1:
                fail(f"%{n} = {v.op} has operands of {', '.join(str(x.dtype) for x in v.args)}")
            if args[0].dtype.kind not in CORE[v.op].kinds:
                fail(f"%{n} = {v.op} does not take {args[0].dtype}")
    for s in kernel.stores:
        b = kernel.buffers.get(s.buffer)
        if b is None or not b.is_output or len(b.shape) != len(s.index) or b.dtype is not s.value.dtype:
            fail(f"a store of {s.value.dtype} with {len(s.index)} index entries to {b}")
        if any(x not in seen for x in s.inputs):
            fail(f"the store to {s.buffer} uses a value that is not in the kernel")
