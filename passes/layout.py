"""In which order the dimensions of temporaries lie in memory: convolutions hand over channels last.

A convolution's register tile reads neighbouring positions as rows and runs along channels; where these lie last, its
window is one run of memory, no matter how small the image is, and its columns are whole vectors. What a user sees stays
channels first: only values that no one outside looks at, those between the kernels of one program, are laid out
otherwise, so that nothing is moved at all: each kernel reads and writes by the order that is chosen. No sum changes but
those of convolutions, whose order follows their operands' layout (as it does for other sizes or strides).

The estimate counts elements: each convolution that reads or writes a value along enough channels speaks for channels
last; what reads it as another shape, or together with a value whose order is given, speaks against it. A value of which
no one speaks follows those that it is computed from or with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from ..ir.ops.namespace import F
from .fuse import Fusion, Group
from .walks import usual

ENOUGH = 16  # channels that fill a vector
AGAINST = 2.0  # an element that is read across its order, in elements that a convolution reads along it
ROUNDS = 3  # times that values ask those around them

Order = tuple[int, ...]


def storage_orders(graph: Graph, fusion: Fusion, stored: Collection[Value]) -> dict[Value, Order]:
    """The order of dimensions in memory of those `stored` values that lie otherwise than they are written."""
    if not any(n.op is F.conv for n in graph.nodes):
        return {}
    free = _free(graph, fusion, stored)
    wishes = dict.fromkeys(free, 0.0)
    around: dict[Value, list[Value]] = {v: [] for v in free}
    stacked = set(_stacked(graph))
    for group in fusion.groups:
        touched = dict.fromkeys([*_outside(group, fusion), *(r for r in _results(group) if r in stored)])
        alike = [v for v in touched if len(v.shape) > 2 or v in free]
        for v in alike:
            if v in free:
                given = [x for x in alike if x not in free]
                wishes[v] += _wish(group, fusion, v, given, v in stacked)
                around[v] += [x for x in alike if x in free and x is not v and x.shape[:2] == v.shape[:2]]
    for _ in range(ROUNDS):
        asked = {v: sum(wishes[x] for x in around[v]) for v, wish in wishes.items() if not wish}
        wishes.update(asked)
    return {v: _channels_last(len(v.shape)) for v, wish in wishes.items() if wish > 0}


def _channels_last(rank: int) -> Order:
    return (0, *range(2, rank), 1)


def _free(graph: Graph, fusion: Fusion, stored: Collection[Value]) -> set[Value]:
    """Values that lie as we like: those that kernels alone write and read, with channels and positions."""
    found = {v for v in stored if len(v.shape) > 2} - set(graph.outputs)
    for group in fusion.groups:
        if group.kind in ("host", "alone"):
            found -= {*_results(group), *(v for n in group.nodes for v in n.operands), *_outside(group, fusion)}
    return found


def _stacked(graph: Graph) -> Iterator[Value]:
    """Values that are put together along a new dimension."""
    for part in (v for n in graph.nodes if n.op is F.concat for v in n.operands):
        if part.node is not None and part.node.op is F.reshape and part.shape == (1, *part.node.operands[0].shape):
            yield part.node.operands[0]


def _results(group: Group) -> Iterator[Value]:
    for n in group.nodes:
        yield from n.results


def _outside(group: Group, fusion: Fusion) -> Iterator[Value]:
    """The bases that a group reads from memory."""
    for n in group.nodes:
        for v in n.operands:
            for base, _ in fusion.reach[v]:
                if fusion.group_of.get(base) is not group:
                    yield base


def _wish(group: Group, fusion: Fusion, v: Value, given: list[Value], is_stacked: bool) -> float:
    """How much a group speaks for channels last: in elements. `given` values lie channels first; what is stacked is
    read by those who interleave it, best channel by channel.
    """
    elements = float(usual(expr.product(v.shape)))
    roots = _convolutions_of(group, fusion, v)
    if any(_has_short_groups(n) for n in roots):
        return -elements
    if any(_is_depthwise(n) for n in roots) and any(x.shape[:2] == v.shape[:2] for x in given) and not is_stacked:
        return -AGAINST * elements
    if roots:
        return elements if usual(v.shape[1]) >= ENOUGH else 0.0
    if any(x.shape == v.shape for x in given) or any(_is_reshaped(n, fusion, v) for n in group.nodes):
        return -AGAINST * elements
    return 0.0


def _convolutions_of(group: Group, fusion: Fusion, v: Value) -> list[Node]:
    """The convolutions of the group that sum over v's elements, or make them."""
    roots = [n for n in group.nodes if n.op is F.conv]
    if fusion.group_of.get(v) is group:
        return roots
    return [n for n in roots if any(base is v for o in n.operands for base, _ in fusion.reach[o])]


def _has_short_groups(n: Node) -> bool:
    """Are there groups of several channels that fill no vector? (A depthwise convolution runs along all of them.)"""
    return n.attrs["groups"] != 1 and 1 < usual(n.operands[1].shape[1]) < ENOUGH


def _is_depthwise(n: Node) -> bool:
    """Does each channel go with one of the result? It is read in the order in which it is written."""
    return n.attrs["groups"] != 1 and n.operands[1].shape[1] == 1


def _is_reshaped(n: Node, fusion: Fusion, v: Value) -> bool:
    """Does a node read v as another shape?"""
    todo = [o for o in n.operands if any(base is v for base, _ in fusion.reach[o])]
    while todo:
        x = todo.pop()
        if x is v or x.node is None or x not in fusion.inlined:
            continue
        if x.node.op is F.reshape and len(x.shape) < len(v.shape):
            return True
        todo += x.node.operands
    return False
