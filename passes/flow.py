"""Which values depend on which."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.graph import Graph, Node, Value


def dependents(nodes: Iterable[Node], start: Iterable[Value]) -> set[Value]:
    """The inexact values that are computed from the given ones, and these: where tangents may flow."""
    flowing = set(start)
    for node in nodes:
        if any(v in flowing for v in node.operands):
            flowing.update(r for r in node.results if r.dtype.is_inexact)
    return flowing


def needed(graph: Graph, outputs: Iterable[int]) -> set[int]:
    """The positions of the inputs that some outputs, or an effect, depend on."""
    live = {graph.outputs[i] for i in outputs}
    for node in reversed(graph.nodes):
        if node.op.kind == "effect" or not live.isdisjoint(node.results):
            live.update(node.operands)
    return {i for i, v in enumerate(graph.inputs) if v in live}
