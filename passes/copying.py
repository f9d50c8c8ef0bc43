"""Copying graphs node by node: what the passes that emit a graph anew share.

A copy keeps types, attributes and source lines as they are: nothing is inferred again, and nothing is shared that was
not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.build import GraphBuilder
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value

Emit = Callable[[Node, list[Value]], Sequence[Value]]


def assume_equal(a: Dim, b: Dim) -> bool:
    """Sizes that a pass needs to be equal are: the trace has compared them, with a guard where they are not the same
    expression.
    """
    return True


class PassBuilder(GraphBuilder):
    """What passes emit nodes with that they write themselves: sizes that such a node needs to be equal are."""

    decide_equal = staticmethod(assume_equal)


def copy_inputs(graph: Graph, builder: GraphBuilder) -> list[Value]:
    """The graph's inputs, and their notes, as inputs of the builder."""
    builder.notes.update(graph.notes)
    return [builder.input(v.type, v.name) for v in graph.inputs]


def copy_node(builder: GraphBuilder, node: Node, operands: Sequence[Value],
              attrs: dict[str, Any] | None = None) -> tuple[Value, ...]:
    """The same operation on other operands (and with other attributes)."""
    builder.loc = node.loc
    return builder.append(node.op, operands, node.attrs if attrs is None else attrs,
                          [r.type for r in node.results]).results


def map_regions(node: Node, change: Callable[[Graph], Graph]) -> dict[str, Any]:
    """The node's attributes with its regions changed."""
    return {k: change(a) if isinstance(a, Graph) else a for k, a in node.attrs.items()}


def inline(graph: Graph, arguments: Sequence[Value], emit: Emit) -> list[Value]:
    """The graph's outputs for other values in place of its inputs; `emit(node, operands)` writes a node and gives its
    results.
    """
    values = dict(zip(graph.inputs, arguments))
    for node in graph.nodes:
        values.update(zip(node.results, emit(node, [values[v] for v in node.operands])))
    return [values[v] for v in graph.outputs]
