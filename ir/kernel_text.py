"""The text of a kernel, printed. (`parse_kernel` reads it back.)"""

from __future__ import annotations

from .expr import Dim
from .kernel import Index, Kernel, Value


def literal(number: object) -> str:
    """A number so that it reads back as the same bits: true, 3, 0.1, inf, nan."""
    if isinstance(number, bool):
        return "true" if number else "false"
    return repr(number)


def print_kernel(kernel: Kernel) -> str:
    """The kernel as text, constants standing where they are used."""
    names: dict[Value, str] = {}
    lines: list[str] = []

    def entry(i: Index) -> str:
        return names[i] if isinstance(i, Value) else str(i)

    def sizes(axes: dict[str, Dim]) -> str:
        return ", ".join(f"{a}: {e}" for a, e in axes.items())

    for v in kernel.values:
        if v.op == "const":
            names[v] = literal(v.number)
            continue
        names[v] = f"%{len(lines)}"
        if v.op == "load":
            text = f"load {v.buffer}[{', '.join(map(entry, v.index))}]"
            text += "" if v.fill is None else f" else {literal(v.fill)}"
        elif v.op == "index":
            text = f"index {v.index[0]}"
        else:
            args = ", ".join(f"{names[a]}:{a.dtype.name}" if a.op == "const" and a.dtype is not v.dtype else names[a]
                             for a in v.args)
            text = f"{v.combine} {args} over {', '.join(v.over)}" if v.op == "reduce" else (
                f"scan {v.combine} {args} along {v.over[0]}" if v.op == "scan" else f"{v.op} {args}")
        lines.append(f"  {names[v]}[{', '.join(v.axes)}] = {text} : {v.dtype.name}")
    for s in kernel.stores:
        verb = "store" if s.mode == "set" else "add"
        spread = f" for {', '.join(s.axes)}" if s.is_scatter else ""
        value = names[s.value] + (f":{s.value.dtype.name}" if s.value.op == "const" else "")
        lines.append(f"  {verb} {s.buffer}[{', '.join(map(entry, s.index))}], {value}{spread}")
    inputs, outputs = ", ".join(map(str, kernel.inputs)), ", ".join(map(str, kernel.outputs))
    head = f"kernel {kernel.name}({inputs}) -> ({outputs}) axes {sizes(dict(kernel.axes))} {{"
    return "\n".join([head, *lines, "}"])
