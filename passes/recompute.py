"""What is cheaper to compute again than to keep: elementwise results that one kernel would store for a later one.

A training step in one graph has its backward half read what the forward half made: an activation's `tanh` beside the
sum that it is made of, the exponentials of a softmax beside its logits. Where a later group could compute such a value
from others that are in memory anyway, reading no more than before, it does, with the same operations and so the same
bits: the value is stored nowhere, which saves the memory, one write, and mostly a read. (What a forward half keeps for
a backward half of its own is decided by `partition.py`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace

from ..ir import expr
from ..ir.graph import Graph, Node, Value
from .dimension_maps import Map, compose, operand_map
from .fuse import Fusion, Group
from .inlining import cost_of
from .pairs import SMALL, SMALLEST
from .walks import usual

MOST_COST = 64.0                # additions an element, for all who compute it again: about what memory would take
MOST_COST_OF_PLACES = 32.0      # the same, where neighbours are computed again, too, whose operands are loaded again


def recompute(graph: Graph, fusion: Fusion, donated: Iterable[Value] = ()) -> Fusion:
    """The same groups, some of whose values their later readers compute again. `donated` inputs are not read later
    than they would be.
    """
    return _Keeper(graph, fusion, frozenset(donated)).decided()


@dataclass
class _Made:
    """What a value is made of: `leaves` in memory, through `nodes` of its group that are not stored; and what that
    costs.
    """

    leaves: set[Value]
    nodes: list[Node]
    cost: float


class _Keeper:
    def __init__(self, graph: Graph, fusion: Fusion, donated: frozenset[Value]):
        self.graph, self.fusion, self.donated = graph, fusion, donated
        self.position = {n: i for i, n in enumerate(graph.nodes)}
        self.again: dict[Value, tuple[tuple[Value, Map], ...]] = {}      # what is not stored, and what it is made of
        self.readers: dict[Value, set[Group]] = {}           # of values in memory, the groups that load them
        self.fixed: set[Value] = set(graph.outputs)          # what must be stored
        self.uses = graph.uses()
        for g in fusion.groups:
            for n in g.nodes:
                for base in self.bases(n):
                    if fusion.group_of.get(base) is not g and base.literal is None:
                        self.readers.setdefault(base, set()).add(g)
                        if g.kind not in ("rows", "contraction") or n.op.kind not in ("pointwise", "reduction"):
                            self.fixed.add(base)

    def bases(self, n: Node) -> Iterator[Value]:
        return (base for v in n.operands for base, _ in self.fusion.reach[v])

    def decided(self) -> Fusion:
        """The fusion with all that is computed again taken out of memory: what comes first is decided first."""
        for n in self.graph.nodes:
            v = n.results[0] if len(n.results) == 1 else None
            if v is None or v in self.fixed or v not in self.readers or n.op.kind != "pointwise":
                continue
            made = self.made(v)
            if made is not None and self.is_worth_it(v, made):
                for m in sorted(made.nodes, key=self.position.__getitem__):
                    self.again[m.results[0]] = self.made_from(m)
                self.forget(v, made.leaves)
        if not self.again:
            return self.fusion
        reach = {v: self.in_memory(found) for v, found in self.fusion.reach.items()}
        return replace(self.fusion, reach=reach)

    def made(self, v: Value) -> _Made | None:
        """What a value is made of; None where that is not elementwise work on what is in memory, or small and of its
        group.
        """
        group, made = self.fusion.group_of[v], _Made(set(), [], 0.0)
        seen: set[Value] = set()
        computed: list[Node] = []
        todo = [v]
        while todo:
            x = todo.pop()
            if x in seen or x.literal is not None:
                continue
            seen.add(x)
            is_passed = x is v or x in self.fusion.inlined or x in self.again
            mine = self.fusion.group_of.get(x) is group and not _is_small(x, v)
            if not is_passed and (x.node is None or x in self.readers or not mine):
                made.leaves.add(x)
                continue
            if x.node is None or x.node.op.kind not in ("pointwise", "view"):
                return None
            if x not in self.fusion.inlined and x not in self.again:
                made.nodes.append(x.node)
            computed.append(x.node)
            todo += x.node.operands
        made.cost = self.cost(v, computed)
        return made

    def cost(self, v: Value, nodes: list[Node]) -> float:
        """Of the nodes that a value is made of, an element of its readers: neighbours are computed for each place that
        reads them.
        """
        times: dict[Value, int] = {v: self.places(v)}
        total = 0.0
        for n in sorted(nodes, key=self.position.__getitem__, reverse=True):
            mine = times[n.results[0]]
            total += cost_of(n) * mine if n.op.kind == "pointwise" else 0.0
            for x in dict.fromkeys(n.operands):
                times[x] = times.get(x, 0) + mine
        return total

    def places(self, v: Value) -> int:
        """How many of its elements an element of its readers is made of: neighbours are read by slices of their own."""
        users = self.uses.get(v, ())
        moved = {(n.op.name, repr(n.attrs)) for n in users if n.op.kind == "view"}
        return max(1, len(moved) + any(n.op.kind != "view" for n in users))

    def is_worth_it(self, v: Value, made: _Made) -> bool:
        """Do its readers read no more than before, for a price below that of memory?"""
        most = MOST_COST if self.places(v) == 1 else MOST_COST_OF_PLACES
        if usual(expr.product(v.shape)) < SMALLEST or made.cost * len(self.readers[v]) > most:
            return False
        for g in self.readers[v]:
            fresh = [x for x in made.leaves
                     if g not in self.readers.get(x, ()) and self.fusion.group_of.get(x) is not g]
            if any(x in self.donated for x in fresh):
                return False
            if sum(_bytes(x) for x in fresh if not _is_small(x, v)) > _bytes(v):
                return False
        return True

    def made_from(self, n: Node) -> tuple[tuple[Value, Map], ...]:
        """What its operands are made of, as their dimensions show in it."""
        found: dict[tuple[Value, Map], None] = {}
        for i, o in enumerate(n.operands):
            outer = operand_map(n, i)
            for base, inner in self.in_memory(self.fusion.reach[o]):
                found[base, compose(inner, outer)] = None
        return tuple(found)

    def in_memory(self, found: Iterable[tuple[Value, Map]]) -> tuple[tuple[Value, Map], ...]:
        """What a value is made of, going through what is not stored."""
        out: dict[tuple[Value, Map], None] = {}
        for base, inner in found:
            for deeper, map_ in self.again.get(base, ((base, ()),)):
                out[deeper, compose(map_, inner) if deeper is not base else inner] = None
        return tuple(out)

    def forget(self, v: Value, leaves: Set[Value]) -> None:
        """Its readers read what it is made of instead."""
        for g in self.readers.pop(v):
            for x in leaves:
                if self.fusion.group_of.get(x) is not g:
                    self.readers.setdefault(x, set()).add(g)


def _bytes(v: Value) -> int:
    return usual(expr.product(v.shape)) * v.dtype.itemsize


def _is_small(x: Value, v: Value) -> bool:
    return usual(expr.product(x.shape)) * SMALL <= usual(expr.product(v.shape))
