"""Products whose rows are flattened afterwards: computed on flattened rows from the start.

A loss flattens a batch of sequences of logits, `[B, T, V]` to `[B * T, V]`. Fusion sees through views that split or
permute dimensions, not through those that merge them: the reductions over logits would each read them in a kernel of
their own. The product of the flattened rows is the same product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from .copying import PassBuilder, copy_inputs, copy_node, inline
from .dce import dce


def flatten_products(graph: Graph) -> Graph:
    """The graph with such products flattened, and what is added to them; itself where there are none."""
    uses, outputs = graph.uses(), set(graph.outputs)
    found: set[Value] = set()
    for n in graph.nodes:
        chain = _chain(n, uses, outputs) if n.op is F.matmul else []
        found.update(chain)
    if not found:
        return graph
    builder = PassBuilder(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        builder.loc = node.loc
        if len(node.results) == 1 and node.result in found:
            return (_flat(node, operands, node.result),)
        if node.op is F.reshape and node.operands[0] in found:
            return (operands[0],)
        return copy_node(builder, node, operands)

    with interpreting(builder):
        outputs_ = inline(graph, copy_inputs(graph, builder), emit)
    return dce(builder.build(outputs_))


def _chain(product: Node, uses: Mapping[Value, Sequence[Node]], outputs: set[Value]) -> list[Value]:
    """A product and its sums with vectors, if in the end all of it is flattened; else nothing."""
    v, found = product.result, []
    if len(v.shape) < 3 or len(product.operands[1].shape) != 2:
        return []
    while v not in outputs:
        found.append(v)
        readers = uses.get(v, ())
        if readers and all(_flattens(n) for n in readers):
            return found
        if len(readers) != 1 or not _adds_a_vector(readers[0], v):
            return []
        v = readers[0].result
    return []


def _flattens(n: Node) -> bool:
    """Does a node merge all dimensions of its operand but the last?"""
    if n.op is not F.reshape:
        return False
    *rows, columns = n.operands[0].shape
    return n.result.shape == (expr.product(rows), columns)


def _adds_a_vector(n: Node, v: Value) -> bool:
    other = n.operands[1] if n.op is F.add and n.operands[0] is v else None
    return other is not None and other is not v and len(other.shape) <= 1 and n.result.type == v.type


def _flat(node: Node, operands: Sequence[Value], v: Value) -> Value:
    """A value of a chain as a matrix."""
    if node.op is not F.matmul:
        return F.add(*operands)
    rows = expr.product(v.shape[:-1])
    left = F.reshape(operands[0], shape=(rows, operands[0].shape[-1]))
    return F.matmul(left, operands[1], **node.attrs)
