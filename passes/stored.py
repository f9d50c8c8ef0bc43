"""Which values must exist in memory, whoever reads them: what fusion neither inlines nor computes again."""

from __future__ import annotations

from collections.abc import Collection

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.ops.namespace import F
from .phases import is_put_together

_PARTS = frozenset({F.real, F.imag, F.complex})
_MOVES = frozenset({"view", "gather", "scatter"})


def stored(graph: Graph, host: Collection[Node]) -> set[Value]:
    """The outputs, what `host` nodes read and make, and what kernels read at other places than they go along."""
    kept, uses = set(graph.outputs), graph.uses()
    for n in graph.nodes:
        if n in host or n.op.kind == "scatter":
            kept.update(n.operands)
            kept.update(n.results)
        elif picks(n):
            kept.add(n.operands[0])              # it is read at computed places
        elif _is_read_by_windows(n):
            kept.add(n.operands[0])              # it is put together once, not for each place of the window
        kept.update(v for v in n.operands if n.op.kind != "view" and len(uses[v]) > 1 and is_put_together(v))
    return {v for v in kept if v.literal is None}


def picks(n: Node) -> bool:
    """Does it read its first operand at computed places?"""
    return n.op.kind == "gather" or "picks" in n.op.traits


def has_no_kernel(n: Node) -> bool:
    """Is it for the host on all devices? Complex numbers are, but for reading, writing and moving their parts."""
    if n.op.kind in ("control", "library"):
        return True
    return n.op not in _PARTS and n.op.kind not in _MOVES and any(
        v.dtype.kind == "c" for v in (*n.operands, *n.results))


def _is_read_by_windows(n: Node) -> bool:
    """Is it a convolution of parts that are put together, which lie in different windows, or of an image that another
    shape is read as one, which no channels can be last of?
    """
    if n.op.name != "conv" or n.operands[0].node is None or expr.product(n.operands[1].shape[2:]) == 1:
        return False
    maker = n.operands[0].node
    return maker.op.name == "concat" or maker.op.name == "reshape" and len(maker.operands[0].shape) < len(
        n.operands[0].shape)
