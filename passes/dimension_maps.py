"""How an operand's dimensions show in a node's result: the facts that fusion unifies axes by.

A map has an entry for each dimension of the operand: the result's dimension with the same position, `ONE` (its index is always 0), or
`FREE` (a dimension that the node reduces), or `MOVED` (the positions differ: a slice, a gather, a split).
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import Node
from ..ir.ops.views import matching_groups

ONE, FREE, MOVED = -1, -2, -3
Map = tuple[int, ...]


def _is_one(d: object) -> bool:
    return isinstance(d, int) and d == 1


def _pointwise(n: Node, i: int) -> Map:
    x, rank = n.operands[i], len(n.results[0].shape)
    extra = rank - len(x.shape)
    return tuple(ONE if _is_one(d) else extra + p for p, d in enumerate(x.shape))


def _reduction(n: Node, i: int) -> Map:
    axes = n.attrs["axes"]
    out, kept = [], 0
    for p, d in enumerate(n.operands[0].shape):
        out.append(FREE if p in axes else ONE if _is_one(d) else kept)
        kept += p not in axes
    return tuple(out)


def _reshape(n: Node, i: int) -> Map:
    source, target = n.operands[0].shape, n.attrs["shape"]
    out = [ONE if _is_one(d) else MOVED for d in source]
    for mine, theirs in matching_groups(source, target):
        a = [p for p in mine if not _is_one(source[p])]
        b = [p for p in theirs if not _is_one(target[p])]
        if len(a) == 1 and len(b) == 1 and source[a[0]] == target[b[0]]:
            out[a[0]] = b[0]
    return tuple(out)


def _permute(n: Node, i: int) -> Map:
    axes = n.attrs["axes"]
    return tuple(ONE if _is_one(d) else axes.index(p) for p, d in enumerate(n.operands[0].shape))


def _slice(n: Node, i: int) -> Map:
    x, a = n.operands[0], n.attrs
    return tuple(
        ONE if _is_one(d) else p if (isinstance(s, int) and s == 0 and c == d and e == 1) else MOVED
        for p, (d, s, c, e) in enumerate(zip(x.shape, a["start"], a["shape"], a["step"])))


def _pad(n: Node, i: int) -> Map:
    x, a = n.operands[0], n.attrs
    same = [isinstance(low, int) and isinstance(high, int) and low == 0 == high for low, high in zip(a["low"], a["high"])]
    return tuple(p if ok else MOVED for p, ok in enumerate(same)) if all(same) else tuple(MOVED for _ in x.shape)


def _gather(n: Node, i: int) -> Map:
    axes, first = n.attrs["axes"], n.attrs["axes"][0]
    if i > 0:
        return tuple(ONE if _is_one(d) else first + p for p, d in enumerate(n.operands[i].shape))
    return tuple(MOVED for _ in n.operands[0].shape)


def _same(n: Node, i: int) -> Map:
    return tuple(ONE if _is_one(d) else p for p, d in enumerate(n.operands[i].shape))


def _moved(n: Node, i: int) -> Map:
    return tuple(MOVED for _ in n.operands[i].shape)


_VIEWS: dict[str, Callable[[Node, int], Map]] = {}


def operand_map(n: Node, i: int) -> Map:
    """The map of operand i of a node."""
    if n.op.kind == "pointwise":
        return _pointwise(n, i)
    if n.op.kind == "reduction":
        return _reduction(n, i)
    if n.op.kind == "scan":
        return _same(n, i)
    if n.op.kind == "gather" and "axes" in n.attrs:
        return _gather(n, i)
    if n.op.kind == "gather" and i == 1:
        return _same(n, i)
    if n.op.kind == "view":
        return _view(n, i)
    return _moved(n, i)


def _view(n: Node, i: int) -> Map:
    a = n.attrs
    if "axes" in a:
        return _permute(n, i)
    if "low" in a:
        return _pad(n, i)
    if "start" in a:
        return _slice(n, i)
    if "shape" in a and n.operands:
        extra = len(a["shape"]) - len(n.operands[0].shape)
        broadcast = extra >= 0 and all(_is_one(d) or d == t for d, t in zip(n.operands[0].shape, a["shape"][extra:]))
        return _pointwise(n, i) if broadcast and n.op.name not in RESHAPING else _reshape(n, i)
    return _moved(n, i)


RESHAPING = frozenset({"reshape"})


def compose(inner: Map, outer: Map) -> Map:
    """inner: base to operand, outer: operand to result; the map from base to result."""
    return tuple(d if d < 0 else outer[d] for d in inner)
