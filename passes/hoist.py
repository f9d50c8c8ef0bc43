"""Products in a loop whose rows are known before it starts, taken out as one product of all turns.

A recurrent layer multiplies each element of its input by the same matrix: turn by turn that reads the matrix again for
a few rows, all at once it is a contraction as any other. The loop then scans the results. The left operand must be an
element of a sequence, the right one made of what does not change from turn to turn. What is made of such a product and
of what does not change, such as its sum with a bias, comes along. A matrix that products inside read turn by turn is
laid out for them once: in panels, as a register tile reads it, or at least in the order in which it is read.
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
from .walks import usual

MANY_ROWS = 512                          # rows of one turn that read the matrix often enough
FEW_ROWS = 12                            # rows of one turn that read it but once, in any order
PANEL = 32                               # columns of a register tile of 32-bit floats, where vectors have 512 bits
MOST_BYTES = 1 << 28                     # of all turns' results


def hoist_products(graph: Graph) -> Graph:
    """The graph with such products before their loops; itself where there are none."""
    if not any(n.regions for n in graph.nodes):
        return graph
    builder = PassBuilder(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        if node.op is F.loop:
            return _loop(builder, node, operands)
        return copy_node(builder, node, operands, map_regions(node, hoist_products) if node.regions else None)

    with interpreting(builder):
        outputs = inline(graph, copy_inputs(graph, builder), emit)
    return dce(builder.build(outputs))


def _loop(builder: GraphBuilder, node: Node, operands: list[Value]) -> Sequence[Value]:
    body, first, count = node.attrs["body"], 1 + node.attrs["carried"], node.attrs["scanned"]
    scanned, steady = body.inputs[first:first + count], body.inputs[first + count:]
    still = _made_of(body, steady)
    found = [n for n in body.nodes if n.op is F.matmul and n.operands[0] in scanned and n.operands[1] in still
             and _is_worth_it(n, operands[first])]
    matrices = _read_each_turn(body, still, found)
    attrs = {**node.attrs, "body": hoist_products(body)}
    if not found and not matrices:
        return copy_node(builder, node, operands, attrs)
    outside = dict(zip(body.inputs, operands))
    ahead = _element_by_element(body, found, still)
    for n in body.nodes:                # what the matrices are made of, the products, what follows them
        if n in ahead or all(r in still for r in n.results):
            outside[n.result] = _of_all_turns(builder, n, [outside[v] for v in n.operands], n in ahead)
    used = {v for n in body.nodes if n not in ahead for v in n.operands} | set(body.outputs)
    taken = [n for n in ahead if n.result in used]
    attrs["body"] = hoist_products(_with_inputs(body, taken, first + count, matrices))
    attrs["scanned"] = count + len(taken)
    made = [outside[n.result] for n in taken]
    laid_out = [in_panels(outside[v]) for v in matrices]
    return copy_node(builder, node, [*operands[:first + count], *made, *operands[first + count:], *laid_out], attrs)


def in_panels(matrix: Value) -> Value:
    """[J / PANEL, K, PANEL] of a matrix [K, J]; itself where it has no whole panels."""
    deep, columns = matrix.shape
    if not has_panels(matrix):
        return matrix
    parts = F.reshape(matrix, shape=(deep, columns // PANEL, PANEL))  # type: ignore[operator]
    return F.permute(parts, axes=(1, 0, 2))


def from_panels(panels: Value, deep: Dim, columns: Dim) -> Value:
    """The matrix that was laid out so."""
    if len(panels.shape) == 2:
        return panels
    return F.reshape(F.permute(panels, axes=(1, 0, 2)), shape=(deep, columns))


def has_panels(matrix: Value) -> bool:
    columns = matrix.shape[-1]
    return isinstance(columns, int) and columns % PANEL == 0 and matrix.dtype.bits == 32 and matrix.dtype.is_float


def _element_by_element(body: Graph, products: Sequence[Node], still: set[Value]) -> list[Node]:
    """The products, and the pointwise nodes that are made of them and of what does not change."""
    found = {n.result: n for n in products}
    for n in body.nodes:
        if n.op.kind == "pointwise" and all(v in still or v in found for v in n.operands):
            if any(v in found and v.type == n.result.type for v in n.operands):
                found[n.result] = n
    return [n for n in body.nodes if any(r in found for r in n.results)]


def _of_all_turns(builder: GraphBuilder, n: Node, operands: list[Value], is_ahead: bool) -> Value:
    """A node of the body outside of it: as it is, or on sequences."""
    builder.loc = n.loc
    return builder.bind(n.op, tuple(operands), n.attrs) if is_ahead else copy_node(builder, n, operands)[0]


def _made_of(body: Graph, steady: Sequence[Value]) -> set[Value]:
    """These inputs, which are the same in all turns, and what is computed from them alone."""
    found = set(steady)
    for n in body.nodes:
        if (n.op.kind in ("view", "pointwise") or n.op is F.constant) and all(v in found for v in n.operands):
            found.update(n.results)
    return found


def _is_worth_it(n: Node, sequence: Value) -> bool:
    """Are there few rows a turn, and room for the results of all?"""
    rows = usual(expr.product(n.results[0].shape[:-1]))
    bytes_ = usual(sequence.shape[0]) * usual(expr.product(n.results[0].shape)) * n.results[0].dtype.itemsize
    return rows < MANY_ROWS and bytes_ <= MOST_BYTES


def _read_each_turn(body: Graph, still: set[Value], found: Sequence[Node]) -> list[Value]:
    """The steady matrices that products which stay inside read in another order than they lie in memory."""
    matrices = dict.fromkeys(n.operands[1] for n in body.nodes if n.op is F.matmul and n not in found
                             and FEW_ROWS < usual(expr.product(n.results[0].shape[:-1])) < MANY_ROWS)
    return [v for v in matrices if v in still and len(v.shape) == 2
            and (has_panels(v) or v.node is not None and v.node.op is F.permute)]


def _with_inputs(body: Graph, elements: Sequence[Node], place: int, matrices: Sequence[Value]) -> Graph:
    """The body with further inputs instead of these values: elements after its own sequences', matrices at the end."""
    builder = PassBuilder(body.name)
    builder.notes.update(body.notes)
    inputs = [builder.input(v.type, v.name) for v in body.inputs[:place]]
    given = {n.result: builder.input(n.results[0].type, f"product{i}") for i, n in enumerate(elements)}
    inputs += [builder.input(v.type, v.name) for v in body.inputs[place:]]
    with interpreting(builder):
        for i, v in enumerate(matrices):
            shape = (v.shape[1] // PANEL, v.shape[0], PANEL) if has_panels(v) else v.shape  # type: ignore[operator]
            given[v] = from_panels(builder.input(TensorType(shape, v.dtype), f"matrix{i}"), *v.shape)
        values = [given.get(v, x) for v, x in zip(body.inputs, inputs)]
        outputs = inline(body, values, lambda n, operands: (given[n.result],) if len(n.results) == 1
                         and n.result in given else copy_node(builder, n, operands))
    return dce(builder.build(outputs))
