"""Products of the same rows with several matrices: the gates of a recurrent layer, of a gated feed-forward layer.

A recurrent layer multiplies its state by one matrix, cuts the result in equal parts, and combines these element by
element. The parts of one element lie far from each other in the result, so that the product would have to be stored
first. `split_products` makes as many products of it, with a part of the matrix each: the same sums, which fusion puts
in one kernel whose register tile holds all parts of some elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .walks import usual

if TYPE_CHECKING:
    from .fuse import Group

MOST_PARTS = 4                          # as many as a register tile has room for
FEW_ROWS = 12                           # up to so many rows, products are bound by reading their matrices
WHOLE = 16                              # columns of a part fill vectors


def products(*groups: Group) -> list[Node]:
    """The contractions of some groups."""
    return [n for g in groups for n in g.nodes if n.op.kind == "contraction"]


def share_rows(nodes: Sequence[Node]) -> bool:
    """Are these products of the same rows with matrices of one size, and of so many rows that it pays?"""
    first = nodes[0]
    return all(n.op is F.matmul and n.operands[0] is first.operands[0] and n.operands[1].type == first.operands[1].type
               and n.result.type == first.result.type for n in nodes) and _pays(first)


def _pays(n: Node) -> bool:
    columns, dtype = n.operands[1].shape[-1], n.result.dtype
    rows = usual(expr.product(n.result.shape[:-1]))
    return (len(n.operands[1].shape) == 2 and dtype.is_float and dtype.bits == 32 and rows > FEW_ROWS
            and isinstance(columns, int) and columns >= WHOLE)


def split_products(graph: Graph) -> Graph:
    """The graph with a product for each part where parts of a product are combined; itself where there are none."""
    uses = graph.uses()
    parts = [n for n in graph.nodes if _is_cut(n, uses, set(graph.outputs))]
    if not parts and not any(n.regions for n in graph.nodes):
        return graph
    builder = PassBuilder(graph.name)
    builder.notes.update(graph.notes)
    cut = {v for n in parts for v in _chain(n, uses)}
    chain: set[Value] = set()                   # what `cut` is in the new graph
    made: dict[tuple[Value, int], Value] = {}   # parts, by where they begin

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        if node.op is F.slice and node.operands[0] in cut:
            builder.loc = node.loc
            return (_part(operands[0], _start(node), node.attrs["shape"][-1], chain, made),)
        found = copy_node(builder, node, operands, map_regions(node, split_products) if node.regions else None)
        chain.update(new for old, new in zip(node.results, found) if old in cut)
        return found

    with interpreting(builder):
        outputs = inline(graph, copy_inputs(graph, builder), emit)
    return dce(builder.build(outputs))


def _chain(product: Node, uses: Mapping[Value, Sequence[Node]]) -> list[Value]:
    """A product, and what is made of it element by element before it is cut."""
    found, todo = [], [product.result]
    while todo:
        v = todo.pop()
        found.append(v)
        todo += [n.result for n in uses.get(v, ()) if n.op.kind == "pointwise" and n.result not in found]
    return found


def _is_cut(n: Node, uses: Mapping[Value, Sequence[Node]], outputs: set[Value]) -> bool:
    """Is a product cut in equal parts that are combined element by element, and nothing else?"""
    if n.op is not F.matmul or not _pays(n):
        return False
    chain = _chain(n, uses)
    columns = n.result.shape[-1]
    if not isinstance(columns, int) or any(v in outputs or v.shape != n.result.shape for v in chain):
        return False
    slices = [m for v in chain for m in uses.get(v, ()) if m.op.kind != "pointwise"]
    starts = sorted({_start(m) for m in slices})
    count = len(starts)
    if not 2 <= count <= MOST_PARTS or columns % count or starts != list(range(0, columns, columns // count)):
        return False
    width = columns // count
    if width % WHOLE or any(m.op is not F.slice or m.result.shape[-1] != width for m in slices):
        return False
    return _meet(slices, starts, uses)


def _start(n: Node) -> int:
    """Where a slice along the last dimension alone begins; -1 where it is none."""
    if n.op is not F.slice or n.attrs["step"] != (1,) * len(n.attrs["step"]):
        return -1
    *before, start = n.attrs["start"]
    same = n.operands[0].shape[:-1] == n.result.shape[:-1]
    return start if same and isinstance(start, int) and not any(before) else -1


def _meet(slices: Iterable[Node], starts: Sequence[int], uses: Mapping[Value, Sequence[Node]]) -> bool:
    """Is something made of all parts element by element, and nothing else of them?"""
    seen: dict[Value, set[int]] = {}
    todo = [(m.result, {_start(m)}) for m in slices]
    while todo:
        v, parts = todo.pop()
        if parts <= seen.get(v, set()):
            continue
        seen[v] = seen.get(v, set()) | parts
        todo += [(n.result, seen[v]) for n in uses.get(v, ()) if n.op.kind == "pointwise" and n.result.shape == v.shape]
    direct = [n for m in slices for n in uses.get(m.result, ())]
    return all(n.op.kind == "pointwise" for n in direct) and any(len(parts) == len(starts) for parts in seen.values())


def _part(v: Value, start: int, width: int, chain: set[Value], made: dict[tuple[Value, int], Value]) -> Value:
    """The slice of a value: of its operands, down to the product, of which it is one with a part of the matrix."""

    def of(x: Value) -> Value:
        if (x, start) not in made:
            made[x, start] = build(x)
        return made[x, start]

    def build(x: Value) -> Value:
        if x.literal is not None or not x.shape or x.shape[-1] == 1:
            return x
        if x not in chain or x.node is None:
            return _columns(x, start, width)
        if x.node.op is F.matmul:
            return F.matmul(x.node.operands[0], _columns(x.node.operands[1], start, width))
        return x.node.op(*[of(o) for o in x.node.operands], **x.node.attrs)

    return of(v)


def _columns(x: Value, start: int, width: int) -> Value:
    place = (0,) * (len(x.shape) - 1)
    return F.slice(x, start=(*place, start), shape=(*x.shape[:-1], width), step=(1,) * len(x.shape))
