"""Simplification in one sweep: constants are folded, rewrite rules applied, equal nodes shared, dead ones dropped.

Nodes are emitted anew in order; what a rule writes is simplified in turn, so that one sweep reaches the normal form of
every node. Gradients must have been expanded: sharing two values that a gradient tells apart would change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..ir.build import GraphBuilder
from ..ir.errors import VerifyError
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.declare import Op
from ..ir.ops.namespace import F
from ..ir.scalar import converted
from ..ir.types import TensorType
from . import rules
from .copying import assume_equal, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .rewrite import DEFAULT, Exactness, Table

__all__ = ["GRADIENT_MARKERS", "MARKERS", "dce", "simplify", "strip_markers"]

_CONSTANT = {F.constant}
_APART = frozenset({"control", "effect", "random"})              # nodes that are neither rewritten nor shared


def simplify(graph: Graph, promises: Iterable[Exactness] = DEFAULT) -> Graph:
    """The graph in normal form, regions too. By default only rules that keep every bit are applied."""
    return _simplify(graph, _table(frozenset(promises)))


GRADIENT_MARKERS = frozenset({"stop_gradient", "custom_vjp"})       # what only differentiation looks at
MARKERS = GRADIENT_MARKERS | {"barrier"}                             # and what only the partition does


def strip_markers(graph: Graph, markers: frozenset[str] = MARKERS) -> Graph:
    """The graph with the operands of markers in place of their results."""
    if not _has_any(graph, markers):
        return graph
    builder = GraphBuilder(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        if node.op.name in markers:
            return operands[:len(node.results)]
        return copy_node(builder, node, operands, map_regions(node, lambda r: strip_markers(r, markers))
                         if node.regions else None)

    return dce(builder.build(inline(graph, copy_inputs(graph, builder), emit)))


def _has_any(graph: Graph, names: frozenset[str]) -> bool:
    return any(n.op.name in names or any(_has_any(r, names) for r in n.regions) for n in graph.nodes)


@cache
def _table(promises: frozenset[Exactness]) -> Table:
    return rules.TABLE.subset(promises)


def _simplify(graph: Graph, table: Table) -> Graph:
    simplifier = Simplifier(graph.name, table)
    with interpreting(simplifier):
        outputs = inline(graph, copy_inputs(graph, simplifier), simplifier.emit)
    return dce(simplifier.build(outputs))


class Simplifier(GraphBuilder):
    """A graph builder that writes the normal form of each node."""

    decide_equal = staticmethod(assume_equal)

    def __init__(self, name: str, table: Table):
        super().__init__(name)
        self.table = table

    def emit(self, node: Node, operands: list[Value]) -> Sequence[Value]:
        """A node of the graph that is being simplified."""
        if node.op.kind == "control":
            return self._emit_control(node, operands)
        if node.op.kind in _APART:
            return copy_node(self, node, operands)
        self.loc = node.loc
        return self._find(node.op, tuple(operands), node.attrs, [r.type for r in node.results])

    def bind(self, op: Op, operands: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """A node that a rule writes."""
        if op.kind in _APART:
            return super().bind(op, operands, attrs)
        results = self._find(op, operands, attrs, None)
        return results if op.results == -1 else results[0]

    def _emit_control(self, node: Node, operands: list[Value]) -> Sequence[Value]:
        if node.op is F.gradient:
            raise VerifyError("gradient nodes must be expanded (expand_gradients) before a graph is simplified")
        if node.op is F.cond and operands[0].literal is not None:
            return inline(node.attrs["then" if operands[0].literal else "otherwise"], operands[1:], self.emit)
        return copy_node(self, node, operands, map_regions(node, lambda region: _simplify(region, self.table)))

    def _find(self, op: Op, operands: tuple[Value, ...], attrs: Mapping[str, Any],
              types: Sequence[TensorType] | None) -> tuple[Value, ...]:
        """The results of a node: those of an equal one, its normal form, or the node itself."""
        key = (op, operands, _attribute_key(attrs) if attrs else ())
        known = self._known.get(key)
        if known is None:
            types = op.infer([v.type for v in operands], attrs) if types is None else types
            simpler = self._simpler(op, operands, attrs, types[0]) if len(types) == 1 else None
            known = (simpler,) if simpler is not None else self.append(op, operands, attrs, types).results
            self._known[key] = known
        return known

    def _simpler(self, op: Op, operands: tuple[Value, ...], attrs: Mapping[str, Any], type: TensorType) -> Value | None:
        """The value that a node is rewritten to."""
        if op.kind == "pointwise":
            makers = {v.node.op if v.node is not None else None for v in operands}
            if makers == _CONSTANT:
                return self._fold(op, operands, attrs, type)
            if F.broadcast_to in makers:
                return self._before_broadcast(op, operands, attrs, type)
        out = self.table.rewrite(op, operands, attrs)
        return None if out is None else self._fit(out, type)

    def _fit(self, out: Any, type: TensorType) -> Value | None:
        """What a rule gave, in the type of the node that it replaces."""
        if not isinstance(out, Value):
            out = self.constant(out, type.dtype)
        if out.dtype is not type.dtype:
            raise VerifyError(f"a rewrite rule made {out.type} of {type}")
        return out if out.shape == type.shape else F.broadcast_to(out, shape=type.shape)

    def _fold(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any], type: TensorType) -> Value:
        """A number of numbers."""
        with np.errstate(all="ignore"):
            arrays = [converted(v.literal, v.dtype) for v in operands]
            return self.constant(np.asarray(op.evaluate(np, *arrays, **attrs)).astype(type.dtype.numpy).item(),
                                 type.dtype)

    def _before_broadcast(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any], type: TensorType) -> Value:
        """An element-by-element op on the operands as they are before they are repeated, and its result repeated."""
        sources = tuple(map(_source, operands))
        out = self.bind(op, sources, attrs)
        return out if out.shape == type.shape else F.broadcast_to(out, shape=type.shape)


def _source(v: Value) -> Value:
    return v.node.operands[0] if v.node is not None and v.node.op is F.broadcast_to else v


def _attribute_key(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Attributes as a part of a key: floats by their bits' text, as -0.0 is not 0.0."""
    return tuple((k, repr(v) if isinstance(v, (float, complex)) else v) for k, v in attrs.items())
