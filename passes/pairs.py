"""Values of all pairs are computed again by whoever sums them up: distances, kernel functions, forces.

What is made element by element of arrays that are much smaller (x[:, None] - x[None, :], and all that follows from it)
can be computed in registers where it is reduced. Reductions along different axes, as a gradient has them, are no one
loop nest, and what they share would be stored, n x n elements. So the reductions along each set of axes get pair values
of their own: by the same operations, so with the same bits, and in memory of n elements.

The product of a matrix of pairs with few columns is written as such a reduction, and so is one that makes a matrix of
pairs (distances by scalar products, the gradient of a matrix that was multiplied by a vector).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.ops.declare import Op
from ..ir.ops.namespace import F
from ..ir.types import float32, float64
from .copying import PassBuilder, copy_inputs, copy_node, map_regions
from .inlining import DEAR, cost_of
from .walks import WRITTEN_OUT, is_few, usual

SMALLEST = 1 << 15              # elements: fewer stay in cache
SMALL = 16                      # what has so many times fewer elements is few: it may be stored, and read again

Key = tuple[int, tuple[int, ...]]           # of reductions that may be one loop nest: how many come before, their axes
_REST: Key = (-1, ())                       # of all other readers


def recompute_pairs(graph: Graph) -> Graph:
    """The graph with pair values of their own for the reductions along each set of axes."""
    pairs = _Pairs(graph)
    if not pairs.classes and not any(n.regions for n in graph.nodes):
        return graph
    builder = _Emitter(graph.name, pairs)
    values = dict(zip(graph.inputs, copy_inputs(graph, builder)))
    for n in graph.nodes:
        if not any(r in pairs.classes for r in n.results):
            values.update(zip(n.results, builder.emit(n, values)))
    return builder.build([values[v] for v in graph.outputs])


def pairs_of_reductions(graph: Graph) -> frozenset[Value]:
    """The pair values that only reductions need."""
    return frozenset(_Pairs(graph).classes)


def is_short(n: Node) -> bool:
    """Is it a reduction along axes of a few elements alone?"""
    if n.op.kind != "reduction":
        return False
    length = expr.product(n.operands[0].shape[d] for d in n.attrs["axes"])
    return isinstance(length, int) and length <= WRITTEN_OUT


# ---- what they are ---------------------------------------------------------------------------------------------------


class _Pairs:
    """The pair values of a graph that nothing but reductions needs, each with the kinds of these: `classes`."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.levels: dict[Value, int] = {}                       # how many reductions come before
        stored: set[Value] = set(graph.outputs)
        while True:
            self.made_of = self._found(stored)
            self.classes = self._classes() if self.made_of else {}
            wanted = {v for v, keys in self.classes.items() if _REST in keys or len(keys) == 1 and _is_dear(v)}
            if not wanted:
                return
            stored |= wanted                                     # and what is made of them reads memory

    def _found(self, stored: set[Value]) -> dict[Value, frozenset[Node]]:
        """What is made element by element of few others, each with all the nodes that this takes."""
        found: dict[Value, frozenset[Node]] = {}
        for n in self.graph.nodes:
            if len(n.results) != 1 or n.result in stored or not _is_repeatable(n):
                continue
            size = _elements(n.result)
            operands = [v for v in n.operands if v.literal is None]
            if size < SMALLEST or not operands or any(v not in found and _elements(v) * SMALL > size for v in operands):
                continue
            nodes = frozenset([n]).union(*(found[v] for v in operands if v in found))
            if sum(map(_cost, nodes)) <= DEAR:
                found[n.result] = nodes
        return found

    def _classes(self) -> dict[Value, set[Key]]:
        levels: dict[Value, int] = {}
        for n in self.graph.nodes:
            level = max((levels.get(v, 0) for v in n.operands), default=0)
            levels.update(dict.fromkeys(n.results, level + (self.reduction(n) is not None)))
        classes: dict[Value, set[Key]] = {v: set() for v in self.made_of}
        for n in reversed(self.graph.nodes):
            key = self.key(n, levels)
            for v in n.operands:
                if v in classes:
                    classes[v] |= classes[n.result] if len(n.results) == 1 and n.result in classes else {key}
        self.levels = levels
        return {v: keys for v, keys in classes.items() if keys}

    def key(self, n: Node, levels: dict[Value, int] | None = None) -> Key:
        """The kind of a reader."""
        axes = self.reduction(n)
        levels = self.levels if levels is None else levels
        return _REST if axes is None else (max(levels.get(v, 0) for v in n.operands), axes)

    def reduction(self, n: Node) -> tuple[int, ...] | None:
        """The long axes of pair values along which a node reduces them; None where it does not."""
        if n.op.kind == "reduction" and n.operands[0] in self.made_of and n.result not in self.made_of:
            return tuple(d for d in n.attrs["axes"] if not is_few(n.operands[0].shape[d]))
        product = self.product(n)
        return None if product is None else (product[2],)

    def product(self, n: Node) -> tuple[Value, Value, int, bool] | None:
        """(pairs, few columns, the axis of the pairs that is summed along, are the columns the left operand?) of such a
        product.
        """
        if n.op is not F.matmul or len(n.results) != 1 or not _multiplies(n):
            return None
        for i, (v, other) in enumerate(zip(n.operands, reversed(n.operands))):
            turned = v.node is not None and v.node.op is F.permute and v.node.operands[0] in self.made_of
            source = v.node.operands[0] if turned and v.node is not None else v
            if source in self.made_of and other not in self.made_of and is_few(other.shape[1 - i]):
                return source, other, (1 - i) ^ turned, i == 1
        return None


def _is_repeatable(n: Node) -> bool:
    """Is it element by element, or a short sum?"""
    if n.op.kind == "pointwise":
        return n.result.dtype.kind != "c"
    return n.op.kind == "view" or is_short(n) or n.op is F.matmul and _multiplies(n) and is_few(n.operands[0].shape[1])


def _multiplies(n: Node) -> bool:
    """Is it a product of two matrices, whose sums need no wider numbers?"""
    return all(len(v.shape) == 2 and v.dtype in (float32, float64) for v in n.operands)


def _is_dear(v: Value) -> bool:
    """Is it a product that the register tile makes faster than loops, unless it is stored for several readers?"""
    return v.node is not None and v.node.op is F.matmul and v.node.operands[0].shape[1] != 1


def _cost(n: Node) -> float:
    if n.op.kind == "pointwise":
        return cost_of(n)
    if n.op.kind == "reduction":
        return float(usual(expr.product(n.operands[0].shape[d] for d in n.attrs["axes"])))
    return 2.0 * usual(n.operands[0].shape[1]) if n.op is F.matmul else 0.0


def _elements(v: Value) -> int:
    return usual(expr.product(v.shape))


# ---- what becomes of them --------------------------------------------------------------------------------------------


class _Emitter(PassBuilder):
    """Emits a graph with pair values of their own for each kind of readers. What it appends is shared with nothing."""

    def __init__(self, name: str, pairs: _Pairs):
        super().__init__(name)
        self.pairs = pairs
        self.made: dict[tuple[Key, Value], Value] = {}

    def emit(self, n: Node, values: dict[Value, Value]) -> Sequence[Value]:
        """A node that is no pair value."""
        product = self.pairs.product(n)
        key = self.pairs.key(n)
        if product is None or product[0] not in self.pairs.classes:
            operands = [self.copy(v, key, values) for v in n.operands]
            return copy_node(self, n, operands, map_regions(n, recompute_pairs) if n.regions else None)
        self.loc = n.loc
        matrix, columns, axis, is_left = product
        pairs, few = self.copy(matrix, key, values), self.copy(columns, key, values)
        return [self.summed(pairs, few, axis, is_left)]

    def copy(self, v: Value, key: Key, values: dict[Value, Value]) -> Value:
        """A value for a kind of readers."""
        if v not in self.pairs.classes:
            return values[v]
        todo = [v]
        while todo:                                              # not by recursion: chains are long
            x = todo[-1]
            assert x.node is not None
            missing = [o for o in x.node.operands if o in self.pairs.classes and (key, o) not in self.made]
            todo += missing
            if not missing:
                todo.pop()
                if (key, x) not in self.made:
                    operands = [self.made.get((key, o)) or values[o] for o in x.node.operands]
                    self.made[key, x] = self.written_out(x.node, operands)
        return self.made[key, v]

    def written_out(self, n: Node, operands: Sequence[Value]) -> Value:
        """The node of a pair value; a product as the sum of those of columns with rows."""
        if n.op is not F.matmul:
            return copy_node(self, n, operands)[0]
        self.loc = n.loc
        left, right = operands
        total: Value | None = None
        for k in range(usual(right.shape[0])):
            column = self.new(F.slice, left, start=(0, k), shape=(left.shape[0], 1), step=(1, 1))
            row = self.new(F.slice, right, start=(k, 0), shape=(1, right.shape[1]), step=(1, 1))
            product = self.new(F.mul, column, row)
            total = product if total is None else self.new(F.add, total, product)
        assert total is not None
        return total

    def summed(self, pairs: Value, few: Value, axis: int, is_left: bool) -> Value:
        """The product of a matrix of pairs with few columns (rows, where they are the left operand), as a sum along an
        axis of the pairs.
        """
        few = self.new(F.permute, few, axes=(1, 0)) if is_left else few
        length, count = few.shape
        kept = pairs.shape[1 - axis]
        if count == 1:
            one = self.new(F.reshape, few, shape=(1, length) if axis else (length, 1))
            made = self.new(F.reshape, self.new(F.sum, self.new(F.mul, pairs, one), axes=(axis,)), shape=(kept, 1))
        else:
            wide = self.new(F.reshape, pairs, shape=(*pairs.shape, 1))
            many = self.new(F.reshape, few, shape=(1, length, count) if axis else (length, 1, count))
            made = self.new(F.sum, self.new(F.mul, wide, many), axes=(axis,))
        return self.new(F.permute, made, axes=(1, 0)) if is_left else made

    def new(self, op: Op, *operands: Value, **attrs: object) -> Value:
        """A node of its own."""
        return self.append(op, operands, attrs, op.infer([v.type for v in operands], attrs)).result
