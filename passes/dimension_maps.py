"""How an operand's dimensions show in a node's result: the maps that ops declare (`ir/ops/dims.py`), asked for and
composed.
"""

from __future__ import annotations

from ..ir.graph import Node
from ..ir.ops.dims import FREE, MOVED, ONE, Map

__all__ = ["FREE", "MOVED", "ONE", "Map", "compose", "operand_map"]


def operand_map(n: Node, i: int) -> Map:
    """The map of operand i of a node."""
    shapes = [v.shape for v in n.operands]
    return n.op.dims(i, shapes, n.results[0].shape, **n.attrs) if n.op.dims is not None else (MOVED,) * len(shapes[i])


def compose(inner: Map, outer: Map) -> Map:
    """inner: base to operand, outer: operand to result; the map from base to result."""
    return tuple(d if d < 0 else outer[d] for d in inner)
