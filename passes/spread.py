"""Operands of products that stream which are the same along a side of their matrix, or mostly zero: gradients of sums,
means and parts.

A tile of such a product needs all of it, so it is put in memory: `spread` says what, for fusion to keep. What is a view
of 16-bit numbers that were widened before, or a constant that is such a number, is made of 16-bit numbers itself
(`narrow_views`), so that tensor cores can take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.types import DType, holds
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .dimension_maps import MOVED, operand_map
from .streaming import weighing
from .walks import usual


def spread(graph: Graph) -> list[Value]:
    """Values that products which stream read as matrices, and that do not vary along rows and columns, or that are put
    among zeros.
    """
    varying = _Varying()
    found: dict[Value, None] = {}
    for n in _products(graph):
        for v in n.operands:
            sides = {d for d in range(len(v.shape) - 2, len(v.shape)) if d >= 0 and v.shape[d] != 1}
            if not sides <= varying.along(v) or _is_padded(_stored(v)):
                found[_stored(v)] = None
    return list(found)


def narrow_views(graph: Graph) -> Graph:
    """The graph with operands of such products widened last, behind views; itself where there are none to change."""
    narrow = _narrow(graph)
    if not narrow and not any(n.regions for n in graph.nodes):
        return graph
    products = _products(graph)
    views = _Views(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        if node in products:
            operands = [F.cast(views.narrow(v, narrow[_source(v)]), dtype=v.dtype) if _source(v) in narrow else x
                        for v, x in zip(node.operands, operands)]
        attrs = map_regions(node, narrow_views) if node.regions else None
        results = copy_node(views.builder, node, operands, attrs)
        views.copies.update(zip(node.results, results))
        return results

    with interpreting(views.builder):
        inputs = copy_inputs(graph, views.builder)
        views.copies.update(zip(graph.inputs, inputs))
        outputs = inline(graph, inputs, emit)
    return dce(views.builder.build(outputs))


class _Views:
    """Views of narrow numbers, made anew once each; `copies` are the values of the new graph."""

    def __init__(self, name: str):
        self.builder = PassBuilder(name)
        self.copies: dict[Value, Value] = {}
        self.made: dict[tuple[Value, DType], Value] = {}

    def narrow(self, v: Value, d: DType) -> Value:
        """v in the narrower dtype that all its numbers have."""
        if (v, d) not in self.made:
            self.made[v, d] = self._narrow(v, d)
        return self.made[v, d]

    def _narrow(self, v: Value, d: DType) -> Value:
        if v.literal is not None:
            return self.builder.constant(v.literal, d)
        if v.dtype is d:
            return self.copies[v]
        n = v.node
        assert n is not None
        if _is_widening(n):
            return self.narrow(n.operands[0], d)
        self.builder.loc = n.loc
        operands = [self.narrow(x, d) for x in n.operands]
        return self.builder.append(n.op, operands, n.attrs, [replace(v.type, dtype=d)]).results[0]


def _products(graph: Graph) -> dict[Node, None]:
    """All products that stream, or that weights which do are made of."""
    return dict.fromkeys(n for outer, inner in weighing(graph).items() for n in (outer, *inner))


class _Varying:
    """Along which dimensions values vary; those of views and of arithmetic by what they are made of."""

    def __init__(self) -> None:
        self.known: dict[Value, frozenset[int]] = {}

    def along(self, v: Value) -> frozenset[int]:
        """The dimensions of v along which it may vary."""
        todo = [v]
        while todo:                                      # not by recursion: chains are long
            x = todo[-1]
            missing = [o for o in self._made_of(x) if o not in self.known]
            if missing:
                todo += missing
                continue
            todo.pop()
            if x not in self.known:
                self.known[x] = self._along(x)
        return self.known[v]

    @staticmethod
    def _made_of(v: Value) -> Sequence[Value]:
        """What a view or arithmetic is of."""
        return v.node.operands if v.node is not None and v.node.op.kind in ("view", "pointwise") else ()

    def _along(self, v: Value) -> frozenset[int]:
        everywhere = frozenset(range(len(v.shape)))
        n, operands = v.node, self._made_of(v)
        if n is None or not operands:
            return everywhere
        found: set[int] = set()
        for i, x in enumerate(operands):
            dims = operand_map(n, i)
            shown = {dims[d] for d in self.known[x]}
            if MOVED in shown:
                return everywhere
            found |= {d for d in shown if d >= 0}
        return frozenset(found)


def _stored(v: Value) -> Value:
    """What is put in memory for v: itself, or the narrower numbers that it is the widened form of, in their order."""
    while v.node is not None and (_is_widening(v.node) or v.node.op is F.permute):
        v = v.node.operands[0]
    return v


def _is_padded(v: Value) -> bool:
    """Is it a view with elements that what it views has not? (Stored behind it, numbers would be the wider ones.)"""
    if v.node is None or v.node.op.kind != "view" or len(v.node.operands) != 1:
        return False
    (x,) = v.node.operands
    return MOVED in operand_map(v.node, 0) and expr.product(x.shape) != expr.product(v.shape) \
        and usual(expr.product(x.shape)) < usual(expr.product(v.shape))


def _is_widening(n: Node) -> bool:
    return n.op is F.cast and n.results[0].dtype.is_float and n.operands[0].dtype.is_float \
        and holds(n.results[0].dtype, n.operands[0].dtype)


def _narrow(graph: Graph) -> dict[Value, DType]:
    """What operands are before they are permuted, and the narrower dtype that all its numbers have."""
    found: dict[Value, DType] = {}
    for n in _products(graph):
        for v, other in zip(n.operands, reversed(n.operands)):
            source = _source(v)
            if source.node is not None and source.node.op.kind == "view":
                leaves = _leaves(source)
                dtypes = {x.dtype for x in leaves if x.literal is None} or {_stored(other).dtype}
                (d, *more) = dtypes
                if not more and d.is_float and d.bits < v.dtype.bits and all(
                        x.literal is None or np.asarray(x.literal).astype(d.numpy) == x.literal for x in leaves):
                    found[source] = d
    return found


def _leaves(v: Value) -> list[Value]:
    """The narrow numbers and the constants that v is a view of; others as they are."""
    n = v.node
    if n is not None and _is_widening(n):
        return [_stored(v)]
    if n is None or n.op.kind != "view" or not n.operands:
        return [v]
    return [x for o in n.operands for x in _leaves(o)]


def _source(v: Value) -> Value:
    """What v is, its dimensions in another order."""
    while v.node is not None and v.node.op is F.permute:
        v = v.node.operands[0]
    return v
