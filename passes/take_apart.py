"""Complex arithmetic as arithmetic on real and imaginary parts, which kernels are made of.

Each op says how it is written with real ops on the parts of its complex operands (`ir/ops/parts.py`); what moves
elements moves both parts. Complex values that are left are those in memory: inputs and outputs, what the host computes
(Fourier transforms, matrices' decompositions), what loops carry, what is scattered into, and views of these. `real` and
`imag` read their parts from there, and `complex` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.ops.parts import Parts, each, join
from .copying import PassBuilder, copy_inputs, copy_node, map_regions
from .dce import dce

MOVES = frozenset({"view", "gather"})                       # what moves elements, and computes none
SUMS = frozenset({"reduction", "scan"})                     # what is linear adds up each part


def take_apart(graph: Graph) -> Graph:
    """The graph without complex arithmetic; itself where there is none. Gradients must have been expanded."""
    return _Halves(graph).result() if _is_complex(graph) else graph


def _is_complex(graph: Graph) -> bool:
    """Has it complex values, in its regions too?"""
    values = [*graph.inputs, *(r for n in graph.nodes for r in n.results)]
    return any(v.dtype.kind == "c" for v in values) or any(_is_complex(r) for n in graph.nodes for r in n.regions)


class _Halves:
    """The new graph: real values are values of it, complex ones are in memory, or `Parts`."""

    def __init__(self, graph: Graph):
        self.graph, self.builder = graph, PassBuilder(graph.name)
        self.made: dict[Value, Value | Parts] = {}

    def result(self) -> Graph:
        """The whole graph."""
        with interpreting(self.builder):
            self.made.update(zip(self.graph.inputs, copy_inputs(self.graph, self.builder)))
            for node in self.graph.nodes:
                self.builder.loc = node.loc
                self.made.update(zip(node.results, self._emit(node)))
            return dce(self.builder.build([self._whole(v) for v in self.graph.outputs]))

    def _whole(self, v: Value) -> Value:
        """A value that is one of the new graph."""
        x = self.made[v]
        return join(x) if isinstance(x, Parts) else x

    def _parts(self, v: Value) -> Value | Parts:
        """A complex value's parts, or a real value."""
        x = self.made[v]
        return Parts(F.real(x), F.imag(x)) if isinstance(x, Value) and x.dtype.kind == "c" else x

    def _emit(self, node: Node) -> Sequence[Value | Parts]:
        operands = [self.made[v] for v in node.operands]
        is_complex = any(v.dtype.kind == "c" for v in (*node.operands, *node.results))
        rule = self._rule(node, operands) if is_complex else None
        found = rule(*map(self._parts, node.operands), **node.attrs) if rule else None
        if found is not None:
            return (_fit(found, node.result),)
        attrs: Mapping[str, Any] | None = map_regions(node, take_apart) if node.regions else None
        return copy_node(self.builder, node, [self._whole(v) for v in node.operands], attrs)  # type: ignore[arg-type]

    def _rule(self, node: Node, operands: Sequence[Value | Parts]) -> Any:
        """How the node's result is made of its operands' parts; None where it is made in memory."""
        op = node.op
        in_memory = bool(operands) and not any(isinstance(x, Parts) for x in operands)
        if op.kind in MOVES and (in_memory or op is F.view_as_real):
            return None
        if op.parts is not None:
            return op.parts
        return each(op) if op.kind in MOVES or op.kind in SUMS and "linear" in op.traits else None


def _fit(x: Value | Parts, v: Value) -> Value | Parts:
    """What a rule gave, in the shape of the result."""
    if isinstance(x, Parts):
        return Parts(*(_fit(part, v) for part in x))
    return x if x.shape == v.shape else F.broadcast_to(x, shape=v.shape)
