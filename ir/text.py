"""The text of a graph: a dump and a file format. `parse_graph(print_graph(g)) == g`; equality of graphs is equality of
this text.

    graph @mlp(%x: f32[B, 64], %w: f32[64, 128] capture "model.0.weight") -> f32[B, 128] where 1 <= B <= 512 {
      %0 = matmul %x, %w : f32[B, 128]                                        # model.py:14 in 0
      %1 = mul %0, 0.5 : f32[B, 128]                                          # model.py:15
      return %1
    }

Constants stand where they are used, with their dtype where it is not the result's. `where` gives the ranges of symbolic
sizes (without one: at least 0). A region stands below its node as `body = graph …`; it sees nothing from outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from .expr import Dim, Expr, Symbol
from .graph import Graph, Node, Value
from .kernel_text import literal
from .parse import VERSION, parse_graph
from .reader import quoted
from .types import DType, TensorType

__all__ = ["VERSION", "attribute", "parse_graph", "print_graph", "print_node", "symbols_of"]


def print_graph(graph: Graph, locations: bool = True) -> str:
    """The graph as text; `locations` adds the user's line to each node."""
    return "\n".join(_Printer(locations).lines(graph, "", _ranges(graph)))


def print_node(graph: Graph, node: Node) -> str:
    """One node of a graph as a line of its text."""
    return _Printer(locations=False).node(node, number(graph), "")[0]


def attribute(x: Any) -> str:
    """An attribute's value as text."""
    if isinstance(x, DType):
        return x.name
    if isinstance(x, tuple):
        return "(" + ", ".join(map(attribute, x)) + ("," if len(x) == 1 else "") + ")"
    if isinstance(x, str):
        return json.dumps(x, ensure_ascii=False)
    return str(x) if isinstance(x, Expr) else _number(x)


def _number(x: Any) -> str:
    return literal(x.item() if isinstance(x, np.generic) else x)


class _Printer:
    """Prints one graph with its regions; the text of each type is made once."""

    def __init__(self, locations: bool):
        self.locations = locations
        self.types: dict[int, str] = {}

    def type(self, t: TensorType) -> str:
        text = self.types.get(id(t))
        if text is None:
            text = self.types[id(t)] = str(t)
        return text

    def lines(self, graph: Graph, indent: str, ranges: str = "") -> list[str]:
        names = number(graph)
        lines = [indent + self.header(graph, names) + ranges + " {"]
        for n in graph.nodes:
            if not is_inline(n):
                lines += self.node(n, names, indent + "  ")
        outputs = ", ".join(_operand(v, None, names) for v in graph.outputs)
        return [*lines, f"{indent}  return {outputs}".rstrip(), indent + "}"]

    def header(self, graph: Graph, names: dict[Value, str]) -> str:
        inputs = []
        for v in graph.inputs:
            note = graph.notes.get(v.name)
            inputs.append(f"{names[v]}: {self.type(v.type)}" + (f" {note}" if note else ""))
        own = {v.name for v in graph.inputs}
        notes = ", ".join(f"{k} = {attribute(x)}" for k, x in graph.notes.items() if k not in own)
        results = ", ".join(self.type(v.type) for v in graph.outputs)
        results = results if len(graph.outputs) == 1 else f"({results})"
        return f"{quoted('graph @', graph.name)}({', '.join(inputs)}) -> {results}" + (f" with {notes}" if notes
                                                                                       else "")

    def node(self, n: Node, names: dict[Value, str], indent: str) -> list[str]:
        common = n.results[0].type.dtype if n.results else None
        text = f"{indent}{', '.join([names[r] for r in n.results]) or '()'} = {n.op.name}"
        if n.operands:
            text += " " + ", ".join([_operand(v, common, names) for v in n.operands])
        regions = []
        if n.attrs:
            attrs = [(k, n.attrs[k]) for k in in_order(n)]
            plain = ", ".join([f"{k}={attribute(v)}" for k, v in attrs if not isinstance(v, Graph)])
            text += f" {{{plain}}}" if plain else ""
            regions = [(k, v) for k, v in attrs if isinstance(v, Graph)]
        text += " : " + (", ".join([self.type(r.type) for r in n.results]) or "()")
        if self.locations and n.loc is not None:
            text = f"{text:<72}  # {n.loc}"
        lines = [text]
        for key, region in regions:
            first, *rest = self.lines(region, indent + "  ")
            lines += [f"{indent}  {key} = {first.strip()}", *rest]
        return lines


def number(graph: Graph) -> dict[Value, str]:
    """How each value is called in the text: %x, %0, or a number for a constant."""
    names: dict[Value, str] = {v: quoted("%", v.name) for v in graph.inputs}
    count = 0
    for n in graph.nodes:
        if is_inline(n):
            names[n.results[0]] = _number(n.attrs["value"])
            continue
        for r in n.results:
            names[r] = f"%{count}"
            count += 1
    return names


def is_inline(n: Node) -> bool:
    """Is this a constant that prints as a number where it is used?"""
    return n.op.name == "constant" and n.results[0].type.device == "cpu" and n.results[0].type.dtype is n.attrs["dtype"]


def in_order(n: Node) -> list[str]:
    """The names of a node's attributes, in the order of its op's parameters."""
    known = [k for k in n.op.parameters or () if k in n.attrs]
    return known if len(known) == len(n.attrs) else [*known, *sorted(k for k in n.attrs if k not in known)]


def _operand(v: Value, common: DType | None, names: dict[Value, str]) -> str:
    name = names.get(v)
    if name is None:
        return f"%<undefined {v.type}>"              # a broken graph still prints; `verify` says what is wrong
    if name[0] == "%" or v.type.dtype is common:
        return name
    return f"{name}:{v.type.dtype.name}"


# ---- symbolic sizes --------------------------------------------------------------------------------------------------


def symbols_of(graph: Graph) -> dict[str, set[Symbol]]:
    """All symbols in the types and attributes of a graph and its regions, those in the ranges of others too."""
    found: dict[str, set[Symbol]] = {}
    for e in _expressions(graph):
        _collect(e, found)
    return found


def _collect(x: Dim | None, found: dict[str, set[Symbol]]) -> None:
    if not isinstance(x, Expr):
        return
    for monomial in x.terms:
        for a in monomial:
            if not isinstance(a, Symbol):
                _collect(a.left, found)
                _collect(a.right, found)
            elif a not in found.get(a.name, ()):
                _collect(a.high, found)
                found.setdefault(a.name, set()).add(a)


def _expressions(x: Any) -> Iterator[Expr]:
    if isinstance(x, Expr):
        yield x
    elif isinstance(x, tuple):
        for y in x:
            yield from _expressions(y)
    elif isinstance(x, Graph):
        for v in x.inputs:
            yield from _expressions(v.type.shape)
        yield from _expressions(tuple(x.notes.values()))
        for n in x.nodes:
            for r in n.results:
                yield from _expressions(r.type.shape)
            for a in n.attrs.values():
                if isinstance(a, (tuple, Graph, Expr)):
                    yield from _expressions(a)


def _ranges(graph: Graph) -> str:
    parts: list[str] = []
    shown: set[Symbol] = set()

    def show(alike: set[Symbol]) -> None:
        for s in sorted(alike - shown, key=lambda s: (s.low, str(s.high))):
            shown.add(s)
            inner: dict[str, set[Symbol]] = {}
            _collect(s.high, inner)
            for name in sorted(inner):
                show(inner[name])
            if s.low != 0 or s.high is not None:
                parts.append(f"{s.low} <= {s.name}" + ("" if s.high is None else f" <= {s.high}"))

    found = symbols_of(graph)
    for name in sorted(found):
        show(found[name])
    return f" where {', '.join(parts)}" if parts else ""
