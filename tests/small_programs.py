"""Kernels over one axis with an emitter of their own (a plain loop of LLVM text), and programs made of them.

The emitter knows only what these tests need, so that the runtime is tested by itself; what a program should give is
found by walking it with `ir/kernel_eval.py`, or stated in NumPy.
"""

from __future__ import annotations

import numpy as np
from braze.ir import kernel_eval
from braze.ir.expr import Expr, Symbol
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.program import Launch, Program, Slot
from braze.ir.schedule import Schedule, Serial, Source
from braze.ir.types import bool_, dtype, float32, int64
from braze.runtime import executable

_TYPES = {float32: "float", int64: "i64", bool_: "i8"}
_OPS = {
    ("add", float32): "fadd", ("sub", float32): "fsub", ("mul", float32): "fmul", ("lt", float32): "fcmp olt",
    ("add", int64): "add", ("sub", int64): "sub", ("mul", int64): "mul", ("lt", int64): "icmp slt",
}  # fmt: skip


class _Text:
    def __init__(self, kernel: Kernel):
        self.kernel, self.lines, self.count = kernel, [], 0
        self.arguments = {name: n for n, name in enumerate((*kernel.buffers, *kernel.sizes))}
        self.values = {}

    def new(self, what: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {what}")
        return f"%v{self.count}"

    def size(self, x) -> str:
        if not isinstance(x, Expr):
            return str(x)
        total = "0"
        for atoms, factor in x.terms.items():
            term = str(factor)
            for a in atoms:
                assert isinstance(a, Symbol)
                term = self.new(f"mul i64 {term}, {'%i' if a.name in self.kernel.axes else f'%size.{a.name}'}")
            total = self.new(f"add i64 {total}, {term}")
        return total

    def place(self, buffer, index) -> str:
        total = "0"
        for i, stride in zip(index, buffer.strides):
            total = self.new(f"add i64 {total}, {self.new(f'mul i64 {self.size(i)}, {self.size(stride)}')}")
        return self.new(f"getelementptr {_TYPES[buffer.dtype]}, ptr %buffer.{buffer.name}, i64 {total}")

    def value(self, v) -> str:
        kind = _TYPES[v.dtype]
        if v.op == "load":
            buffer = self.kernel.buffers[v.buffer]
            return self.new(f"load {kind}, ptr {self.place(buffer, v.index)}")
        if v.op == "const":
            number = np.float32(v.number).astype(np.float64).view(np.uint64) if v.dtype is float32 else v.number
            return f"0x{int(number):016X}" if v.dtype is float32 else str(number)
        if v.op == "index":
            return self.size(v.index[0])
        left, right = (self.values[a] for a in v.args)
        made = self.new(f"{_OPS[v.op, v.args[0].dtype]} {_TYPES[v.args[0].dtype]} {left}, {right}")
        return self.new(f"zext i1 {made} to i8") if v.op == "lt" else made

    def text(self) -> str:
        for v in self.kernel.values:
            self.values[v] = self.value(v)
        for s in self.kernel.stores:
            buffer = self.kernel.buffers[s.buffer]
            self.lines.append(f"  store {_TYPES[buffer.dtype]} {self.values[s.value]}, ptr "
                              f"{self.place(buffer, s.index)}")
        loads = [f"  %a{n} = getelementptr i64, ptr %args, i64 {n}\n  " + (
            f"%buffer.{name} = load ptr, ptr %a{n}" if name in self.kernel.buffers
            else f"%size.{name} = load i64, ptr %a{n}")
            for name, n in self.arguments.items()]
        return "\n".join([
            "define void @kernel(ptr %args, i64 %start, i64 %stop, ptr %scratch) {", *loads,
            "  %some = icmp slt i64 %start, %stop", "  br i1 %some, label %loop, label %out", "loop:",
            "  %i = phi i64 [%start, %0], [%i1, %loop]", *self.lines, "  %i1 = add i64 %i, 1",
            "  %more = icmp slt i64 %i1, %stop", "  br i1 %more, label %loop, label %out", "out:", "  ret void", "}"])


def emit(kernel: Kernel, schedule: Schedule) -> Source:
    """LLVM text of a kernel over one axis, whose positions are the units."""
    (extent,) = kernel.axes.values()
    return Source(_Text(kernel).text(), "kernel", "llvm", extent, schedule.grain)


def emit_numpy(kernel: Kernel, schedule: Schedule) -> Source:
    """NumPy text of the same kernels, for positions that are whole arrays or one row of a first dimension."""
    names = [f"b{n}" for n in range(len(kernel.buffers))]
    buffers = dict(zip(kernel.buffers, names))
    lines, known = [], {}

    def region(buffer: str, index) -> str:
        return buffers[buffer] + "[" + "".join(f"{':' if str(i) == 'i' else i}, " for i in index) + "]"

    spelled = {"add": "+", "sub": "-", "mul": "*", "lt": "<"}
    for n, v in enumerate(kernel.values):
        known[v] = f"v{n}"
        if v.op == "load":
            lines.append(f"    v{n} = {region(v.buffer, v.index)}")
        elif v.op in ("const", "index"):
            lines.append(f"    v{n} = {v.number if v.op == 'const' else v.index[0]}")
        else:
            lines.append(f"    v{n} = {known[v.args[0]]} {spelled[v.op]} {known[v.args[1]]}")
    lines += [f"    {region(s.buffer, s.index)} = {known[s.value]}" for s in kernel.stores]
    return Source("\n".join([f"def kernel({', '.join([*names, *kernel.sizes])}):", *lines]), "kernel", "numpy")


def pointwise(n, expression, inputs="xy", output="out", d=float32) -> Kernel:
    """out[i] = expression(builder, *loads), over i: n."""
    k = KernelBuilder("pointwise", {"i": n})
    loads = [k.load(name, (n,), d, [k.axis("i")]) for name in inputs]
    value = expression(k, *loads)
    k.store(output, (n,), [k.axis("i")], value)
    return k.build()


def add(n) -> Kernel:
    """out = x + y."""
    return pointwise(n, lambda k, x, y: k.add(x, y))


def double_plus_one(n) -> Kernel:
    """out = 2 x + 1."""
    return pointwise(n, lambda k, x: k.add(k.mul(x, k.constant(2, float32)), k.constant(1, float32)), "x")


def launch(kernel: Kernel, grain: int = 1 << 40, zeroed: tuple[str, ...] = (), **arguments: str) -> Launch:
    """A launch whose arguments are named by the kernel's buffers."""
    return Launch(kernel, Serial(grain=grain), arguments, zeroed)


def program(slots: str, steps, inputs, outputs, sizes=None, arena=0, shapes=None) -> Program:
    """A program on slots such as "x: input n, t: temporary n at 0, out: output n takes x"; `shapes` gives "n" and so
    on.
    """
    made = {}
    for text in slots.split(","):
        name, _, rest = text.strip().partition(": ")
        role, shape, *more = rest.split()
        kind, _, letter = shape.rpartition(":")
        extra = {"takes": more[1]} if more[:1] == ["takes"] else {"offset": int(more[1])} if more else {}
        made[name] = Slot(name, shapes[letter], dtype(kind or "f32"), role, **extra)
    return Program("p", made, tuple(steps), tuple(inputs), tuple(outputs), sizes or {}, arena)


def reference(p: Program, inputs) -> list[np.ndarray]:
    """What a program gives, its kernels being evaluated by `kernel_eval`."""
    def function(kernel: Kernel):
        def run(arrays, sizes) -> None:
            given = dict(zip(kernel.buffers, arrays))
            for name, result in kernel_eval.evaluate(kernel, given, sizes).items():
                given[name][...] = result
        return run

    loaded = executable.load(p, emit_numpy)
    return loaded.walk(inputs, {s: function(s.kernel) for s in loaded.sources})
