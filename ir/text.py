"""The text of a graph: a dump and a file format. (`parse_graph` reads it back.)"""

from __future__ import annotations

from typing import Any

from .expr import Expr
from .graph import Graph, Node, Value
from .kernel_text import literal
from .types import DType

VERSION = 1


def print_graph(graph: Graph, locations: bool = True) -> str:
    """The graph as text; `locations` adds the user's line to each node."""
    return "\n".join(_lines(graph, locations, "", {}))


def _lines(graph: Graph, locations: bool, indent: str, outer: dict[Value, str]) -> list[str]:
    names = dict(outer)
    inputs = []
    for v in graph.inputs:
        names[v] = f"%{v.name}"
        note = graph.notes.get(v.name)
        inputs.append(f"%{v.name}: {v.type}" + (f" {note}" if note else ""))
    results = ", ".join(str(v.type) for v in graph.outputs)
    lines = [f"{indent}graph @{graph.name}({', '.join(inputs)}) -> {results if len(graph.outputs) == 1 else f'({results})'} {{"]
    count = 0
    for n in graph.nodes:
        if n.op.name == "constant":
            names[n.results[0]] = literal(n.attrs["value"])
            continue
        for r in n.results:
            names[r] = f"%{count}"
            count += 1
        lines += _node_lines(n, names, locations, indent + "  ")
    lines.append(f"{indent}  return {', '.join(_operand(v, None, names) for v in graph.outputs)}")
    return [*lines, indent + "}"]


def _operand(v: Value, common: DType | None, names: dict[Value, str]) -> str:
    if v.literal is None or v.dtype is common:
        return names[v]
    return f"{names[v]}:{v.dtype.name}"


def _node_lines(n: Node, names: dict[Value, str], locations: bool, indent: str) -> list[str]:
    common = n.results[0].dtype if n.results else None
    operands = ", ".join(_operand(v, common, names) for v in n.operands)
    plain = {k: v for k, v in n.attrs.items() if not isinstance(v, Graph)}
    attrs = " {" + ", ".join(f"{k}={attribute(v)}" for k, v in plain.items()) + "}" if plain else ""
    left = ", ".join(names[r] for r in n.results)
    text = f"{indent}{left} = {n.op.name} {operands}".rstrip() + attrs
    text += " : " + ", ".join(str(r.type) for r in n.results)
    if locations and n.loc is not None:
        text = f"{text:<72}  # {n.loc}"
    lines = [text]
    for key, region in n.attrs.items():
        if isinstance(region, Graph):
            inner = _lines(region, locations, indent + "  ", {})
            lines += [f"{indent}  {key} = {inner[0].strip()}", *inner[1:]]
    return lines


def attribute(x: Any) -> str:
    """An attribute's value as text."""
    if isinstance(x, DType):
        return x.name
    if isinstance(x, tuple):
        return "(" + ", ".join(map(attribute, x)) + ("," if len(x) == 1 else "") + ")"
    if isinstance(x, Expr):
        return str(x)
    if isinstance(x, str):
        return f'"{x}"'
    return literal(x)
