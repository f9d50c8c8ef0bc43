"""Products in a loop whose rows are known before it starts, taken out as one product of all turns.

A recurrent layer multiplies each element of its input by the same matrix: turn by turn that reads the matrix again for
a few rows, all at once it is a contraction as any other. The loop then scans the results. The left operand must be an
element of a sequence, the right one made of what does not change from turn to turn. What is made of such a product and
of what does not change, such as its sum with a bias, comes along. (What is read inside turn by turn is laid out for it
by `panels.py`.)
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import expr
from ..ir.build import GraphBuilder
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .walks import usual

MANY_ROWS = 512                          # rows of one turn that read the matrix often enough
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
    still = steady_values(body, steady)
    found = [n for n in body.nodes if n.op is F.matmul and n.operands[0] in scanned and n.operands[1] in still
             and _is_worth_it(n, operands[first])]
    attrs = {**node.attrs, "body": hoist_products(body)}
    if not found:
        return copy_node(builder, node, operands, attrs)
    outside = dict(zip(body.inputs, operands))
    ahead = _element_by_element(body, found, still)
    for n in body.nodes:                # what the matrices are made of, the products, what follows them
        if n in ahead or all(r in still for r in n.results):
            outside[n.result] = _of_all_turns(builder, n, [outside[v] for v in n.operands], n in ahead)
    used = {v for n in body.nodes if n not in ahead for v in n.operands} | set(body.outputs)
    taken = [n for n in ahead if n.result in used]
    attrs["body"] = hoist_products(_with_elements(body, taken, first + count))
    attrs["scanned"] = count + len(taken)
    made = [outside[n.result] for n in taken]
    return copy_node(builder, node, [*operands[:first + count], *made, *operands[first + count:]], attrs)


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


def steady_values(body: Graph, steady: Sequence[Value]) -> set[Value]:
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


def _with_elements(body: Graph, elements: Sequence[Node], place: int) -> Graph:
    """The body with further inputs instead of these nodes: elements of sequences, after its own."""
    builder = PassBuilder(body.name)
    builder.notes.update(body.notes)
    inputs = [builder.input(v.type, v.name) for v in body.inputs[:place]]
    given = {n: builder.input(n.results[0].type, f"product{i}") for i, n in enumerate(elements)}
    inputs += [builder.input(v.type, v.name) for v in body.inputs[place:]]
    with interpreting(builder):
        outputs = inline(body, inputs, lambda n, operands: (given[n],) if n in given
                         else copy_node(builder, n, operands))
    return dce(builder.build(outputs))
