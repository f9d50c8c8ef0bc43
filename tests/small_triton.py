"""Triton text for the kernels of `small_programs`, and programs on the simulated device made with it.

A kernel over one axis `i`; buffers may have further dimensions, at sizes or turns of loops.
"""

from __future__ import annotations

from braze.ir import expr
from braze.ir.kernel import Kernel
from braze.ir.schedule import Schedule, Source
from braze.ir.types import bool_, float32, int64

_TYPES = {float32: "fp32", int64: "i64", bool_: "i1"}
_SPELLED = {"add": "+", "sub": "-", "mul": "*", "lt": "<"}
_TILE = 16


def emit(kernel: Kernel, schedule: Schedule | None = None) -> Source:
    """Triton text of a kernel."""
    (extent,) = kernel.axes.values() or (1,)
    lines, known = [], {}

    def place(buffer, index) -> str:
        flat = expr.as_python(sum((i * s for i, s in zip(index, buffer.strides)), start=0), str)
        return f"{buffer.name}_ptr + ({flat}) + i * 0"

    for n, v in enumerate(kernel.values):
        known[v] = f"v{n}"
        if v.op == "load":
            text = f"tl.load({place(kernel.buffers[v.buffer], v.index)}, mask=inside)"
        elif v.op == "const":
            text = repr(v.number)
        elif v.op == "index":
            text = expr.as_python(v.index[0], str)
        else:
            text = f"{known[v.args[0]]} {_SPELLED[v.op]} {known[v.args[1]]}"
        lines.append(f"v{n} = {text}")
    for s in kernel.stores:
        lines.append(f"tl.store({place(kernel.buffers[s.buffer], s.index)}, {known[s.value]}, mask=inside)")
    arguments = (*((f"{b.name}_ptr", f"*{_TYPES[b.dtype]}") for b in kernel.buffers.values()),
                 *((name, "i64") for name in kernel.sizes))
    head = ["import triton", "import triton.language as tl", "", "", "@triton.jit",
            f"def {kernel.name}({', '.join(name for name, _ in arguments)}):",
            f"    i = tl.program_id(0) * {_TILE} + tl.arange(0, {_TILE})",
            f"    inside = i < {expr.as_python(extent, str)}"]
    text = "\n".join([*head, *(f"    {line}" for line in lines), ""])
    grid = (expr.floordiv(extent + (_TILE - 1), _TILE), 1, 1)
    return Source(text, kernel.name, "triton",
                  facts={"arguments": arguments, "grid": grid, "warps": 1, "stages": 1})
