"""Matrices that a loop's products read turn by turn, laid out for them once, before the loop.

A register tile reads its right operand in panels: so many columns, row after row. Packing it so costs as much as
reading it for some rows, which a product of a recurrent layer has only a few of. A steady matrix is therefore packed
before the loop, where it has whole panels; and else at least turned, if it is read in another order than it lies in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import expr
from ..ir.build import GraphBuilder
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.types import TensorType
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .gates import split_products
from .hoist import MANY_ROWS, hoist_products, steady_values
from .walks import usual

FEW_ROWS = 12                            # rows of one turn that read a matrix but once, in any order
PANEL = 32                               # columns of a register tile of 32-bit floats, where vectors have 512 bits


def arrange_loops(graph: Graph) -> Graph:
    """The graph with what its loops' products need done before the loops, and with gates as products of their own."""
    return lay_out_matrices(split_products(hoist_products(graph)))


def lay_out_matrices(graph: Graph) -> Graph:
    """The graph with such matrices laid out before their loops; itself where there are no loops."""
    if not any(n.regions for n in graph.nodes):
        return graph
    builder = PassBuilder(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        attrs = map_regions(node, lay_out_matrices) if node.regions else node.attrs
        if node.op is not F.loop:
            return copy_node(builder, node, operands, attrs)
        return _loop(builder, node, operands, attrs["body"])

    with interpreting(builder):
        outputs = inline(graph, copy_inputs(graph, builder), emit)
    return dce(builder.build(outputs))


def _loop(builder: GraphBuilder, node: Node, operands: list[Value], body: Graph) -> Sequence[Value]:
    first = 1 + node.attrs["carried"] + node.attrs["scanned"]
    still = steady_values(body, body.inputs[first:])
    matrices = _read_each_turn(body, still)
    outside = dict(zip(body.inputs, operands))
    for n in body.nodes if matrices else ():
        if all(r in still for r in n.results):
            outside[n.result] = copy_node(builder, n, [outside[v] for v in n.operands])[0]
    laid_out = [in_panels(outside[v], width) if width else outside[v] for v, width in matrices.items()]
    return copy_node(builder, node, [*operands, *laid_out], {**node.attrs, "body": _with_matrices(body, matrices)})


def _read_each_turn(body: Graph, still: set[Value]) -> dict[Value, int]:
    """The steady matrices that products of some rows read; and how wide their panels are, 0 where they have none."""
    readers = [n for n in body.nodes if n.op is F.matmul and n.operands[1] in still
               and FEW_ROWS < usual(expr.product(n.results[0].shape[:-1])) < MANY_ROWS]
    found = {}
    for matrix in (n.operands[1] for n in readers):
        if len(matrix.shape) != 2 or _is_laid_out(matrix):
            continue
        whole = has_panels(matrix)
        if whole or matrix.node is not None and matrix.node.op is F.permute:
            found[matrix] = PANEL if whole else 0
    return found


def _is_laid_out(matrix: Value) -> bool:
    """Is it read from an input that has it in panels?"""
    turned = matrix.node.operands[0] if matrix.node is not None and matrix.node.op is F.reshape else None
    return (turned is not None and turned.node is not None and turned.node.op is F.permute
            and turned.node.operands[0].node is None and turned.node.attrs["axes"] == (1, 0, 2))


def has_panels(matrix: Value, width: int = PANEL) -> bool:
    """Are its columns whole panels, which a tile of 32-bit floats reads?"""
    columns = matrix.shape[-1]
    return isinstance(columns, int) and columns % width == 0 and matrix.dtype.bits == 32 and matrix.dtype.is_float


def in_panels(matrix: Value, width: int = PANEL) -> Value:
    """[J / width, K, width] of a matrix [K, J]."""
    deep, columns = matrix.shape
    return F.permute(F.reshape(matrix, shape=(deep, expr.floordiv(columns, width), width)), axes=(1, 0, 2))


def from_panels(panels: Value, deep: Dim, columns: Dim) -> Value:
    """The matrix [K, J] that was laid out so."""
    return F.reshape(F.permute(panels, axes=(1, 0, 2)), shape=(deep, columns))


def _with_matrices(body: Graph, matrices: dict[Value, int]) -> Graph:
    """The body with further inputs at the end, which these matrices are read from."""
    if not matrices:
        return body
    builder = PassBuilder(body.name)
    builder.notes.update(body.notes)
    inputs = [builder.input(v.type, v.name) for v in body.inputs]
    given: dict[Value, Value] = {}
    with interpreting(builder):
        for i, (v, width) in enumerate(matrices.items()):
            shape = (expr.floordiv(v.shape[1], width), v.shape[0], width) if width else v.shape
            x = builder.input(TensorType(shape, v.dtype), f"matrix{i}")
            given[v] = from_panels(x, *v.shape) if width else x
        values = [given.get(v, x) for v, x in zip(body.inputs, inputs)]
        outputs = inline(body, values, lambda n, operands: (given[n.result],) if len(n.results) == 1
                         and n.result in given else copy_node(builder, n, operands))
    return dce(builder.build(outputs))
