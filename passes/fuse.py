"""Fusion: which nodes become one kernel.

What is cheap to compute again is *inlined* into whoever reads it (`inlining.py`). All other nodes are grouped,
producers with consumers, as long as the group is one loop nest: each value varies over all axes of the nest, or over
those that are left after the reduction, and all large reductions run over the same axes. Groups that read each other in
a circle are refused by reachability bitsets. Each refusal leaves a `WhyNot`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ..ir import expr
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from .dimension_maps import Map
from .gates import products, share_rows
from .inlining import CHEAP, Inliner, cost_of
from .pairs import pairs_of_reductions
from .reads import Read, one_each, read_axes, renamed_read
from .stored import has_no_kernel, picks, stored
from .walks import is_few
from .why_not import WhyNot

MOST_COST = 512.0               # of an element, in additions: what computes so much gains nothing by a store less
SWEEP = 16.0                    # of a reduction in a group
MOST_NODES = 64                 # of groups that are merged only because they read the same
LARGE = 1 << 10                 # elements: reading less twice costs nothing
FEW_ROWS, LONG_ROW = 64, 1 << 14


@dataclass(eq=False)
class Group:
    """Nodes of one kernel. `axes` names the axis of each dimension of each value (None: size 1)."""

    number: int
    kind: str                                         # "rows", "contraction", "streamed", "alone" or "host"
    nodes: list[Node]
    axes: dict[Value, tuple[int | None, ...]]
    extents: dict[int, Dim]
    reduced: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    summed: dict[Node, int] = field(default_factory=dict)       # a contraction that sums along an axis of the group
    reads: list[Read] = field(default_factory=list)  # what its nodes read outside, and along which axes
    cost: float = 0.0                                 # of an element, in additions

    @property
    def big_reduced(self) -> set[frozenset[int]]:
        """The sets of axes that its reductions run over, small ones left out."""
        sets = {frozenset(a for a in axes if not is_few(self.extents[a])) for axes in self.reduced.values()}
        return {s for s in sets if s}


def _row_axes(m: Node, axes: dict[Value, tuple[int | None, ...]]) -> set[int]:
    """The axes of the rows that a node sorts."""
    return {a for d, a in enumerate(axes[m.results[0]]) if a is not None and d != m.attrs["axis"]}


def _cost(n: Node) -> float:
    """What a node adds to the cost of its group: a reduction is a sweep over memory."""
    return cost_of(n) if n.op.kind == "pointwise" else SWEEP if n.op.kind == "reduction" else 0.0


def _repeats(axes: tuple[int | None, ...]) -> bool:
    named = [a for a in axes if a is not None]
    return len(set(named)) != len(named)


@dataclass
class Fusion:
    """What fusion decided: the groups in an order that can be run, which values are inlined, which are stored, and why
    not more.
    """

    groups: list[Group]
    inlined: set[Value]
    reach: dict[Value, tuple[tuple[Value, Map], ...]]
    group_of: dict[Value, Group]
    notes: list[WhyNot]


def _is_large(v: Value) -> bool:
    n = expr.product(v.shape)
    return not isinstance(n, int) or n >= LARGE


# ---- grouping --------------------------------------------------------------------------------------------------------


class _Grouper:
    def __init__(self, graph: Graph, inliner: Inliner, kept: set[Value], parts: int, host: frozenset[Node]):
        self.parts, self.host, self.pairs = parts, host, pairs_of_reductions(graph)
        self.inlined, self.reach, self.kept, self.map = inliner.inlined, inliner.reach, kept, inliner.map
        self.readers = inliner.readers
        self.groups: dict[int, Group] = {}
        self.group_of: dict[Value, Group] = {}
        self.before: dict[int, int] = {}            # bitset of the groups that a group depends on
        self.notes: list[WhyNot] = []
        self.fresh = 0

    def axis(self, extents: dict[int, Dim], extent: Dim) -> int | None:
        if isinstance(extent, int) and extent == 1:
            return None
        self.fresh += 1
        extents[self.fresh] = extent
        return self.fresh

    def single(self, n: Node) -> Group:
        """A group of one node."""
        number = len(self.before)
        extents: dict[int, Dim] = {}
        kind = "host" if n in self.host else {
            "pointwise": "rows", "view": "rows", "reduction": "rows", "gather": "rows", "random": "rows",
            "sort": "rows", "contraction": "contraction"}.get(n.op.kind, "alone")
        group = Group(number, kind, [n], {}, extents, cost=_cost(n))
        for r in n.results:
            group.axes[r] = tuple(self.axis(extents, d) for d in r.shape)
        if n.op.kind == "reduction":
            shape = n.operands[0].shape
            group.reduced[n] = tuple(a for a in (self.axis(extents, shape[d]) for d in n.attrs["axes"])
                                     if a is not None)
        group.reads = self._reads(group)
        bits = 0
        for v in n.operands:
            for base, _ in self.reach[v]:
                g = self.group_of.get(base)
                if g is not None:
                    bits |= self.before[g.number] | (1 << g.number)
        self.before[number] = bits
        self.groups[number] = group
        for r in n.results:
            self.group_of[r] = group
        return group

    def add(self, n: Node) -> None:
        """Group the node with its producers where that is one loop nest."""
        group = self.single(n)
        if group.kind in ("host", "alone") or self._waits_for_reduction(n):
            return
        tried: set[Group] = set()
        while True:
            open_ = [g for g in self._producers(group) if g not in tried]
            if not open_:
                return
            g = max(open_, key=lambda g: (g.kind == "contraction", g.number))   # its epilogue is free
            tried.add(g)
            group = self.merge(g, group, n) or group

    def _producers(self, group: Group) -> set[Group]:
        found = {self.group_of.get(read.base) for read in group.reads}
        return {g for g in found if g is not None and g is not group}

    def _waits_for_reduction(self, n: Node) -> bool:
        """What only a reduction reads, and pair values, go with the reduction, not with their own producers, which may
        run over other axes.
        """
        if n.results[0] in self.pairs:
            return True
        if n.op.kind != "pointwise" or n.results[0] in self.kept:
            return False
        readers = self.readers.get(n.results[0], ())
        return len(readers) == 1 and readers[0].op.kind == "reduction"

    def merge(self, producer: Group, consumer: Group, n: Node) -> Group | None:
        """The two as one group, or None and a note."""
        joined = self._obstacle(producer, consumer)
        if isinstance(joined, str):
            self.notes.append(WhyNot(joined, producer.nodes[-1], n))
            return None
        return self._joined(producer, consumer, joined)

    def merge_siblings(self) -> None:
        """Groups that do not depend on each other and read the same large value along the same axes become one: it is
        read once.
        """
        readers: dict[Value, dict[int, Read]] = {}
        for g in self.groups.values():
            for read in g.reads if g.kind == "rows" else ():
                if read.axes is not None and _is_large(read.base):
                    readers.setdefault(read.base, {}).setdefault(g.number, read)
        for base, found in readers.items():
            for first, second in zip(list(found), list(found)[1:]):
                one, other = (self.groups.get(number) for number in (first, second))
                if one is not None and other is not None and len(one.nodes) + len(other.nodes) <= MOST_NODES:
                    self._merge_sibling(one, other, base)

    def sum_together(self) -> None:
        """Products of the same rows run along the same axis."""
        for g in self.groups.values():
            roots = products(g)
            axis = self.axis(g.extents, roots[0].operands[0].shape[-1]) if len(roots) > 1 else None
            if axis is not None:
                g.summed = dict.fromkeys(roots, axis)

    def _merge_sibling(self, one: Group, other: Group, base: Value) -> None:
        if self.before[other.number] >> one.number & 1 or self.before[one.number] >> other.number & 1:
            return
        if any(m.op.kind == "sort" for m in (*one.nodes, *other.nodes)):
            return
        first, second = (next((r.axes for r in g.reads if r.base is base and r.axes), None) for g in (one, other))
        if first is None or second is None or any((a is None) != (b is None) for a, b in zip(first, second)):
            return
        joined = self._unify(one, other, [(a, b) for a, b in zip(first, second) if a is not None and b is not None])
        if isinstance(joined, str) or not len(joined[1]) == len(one.extents) == len(other.extents):
            return
        axes, extents, reduced, _ = joined
        if self._is_nest(axes, extents, reduced, [*one.nodes, *other.nodes]) is None:
            self._joined(one, other, joined)

    def _joined(self, producer: Group, consumer: Group, joined: Any) -> Group:
        axes, extents, reduced, reads = joined
        kind = "contraction" if "contraction" in (producer.kind, consumer.kind) else "rows"
        merged = Group(consumer.number, kind, [*producer.nodes, *consumer.nodes], axes, extents, reduced, reads=reads,
                       cost=producer.cost + consumer.cost)
        both = (1 << producer.number) | (1 << consumer.number)
        bits = (self.before[producer.number] | self.before[consumer.number]) & ~both
        self.before[merged.number] = bits
        for number in self.groups:
            old = self.before[number]
            if old & both and number != merged.number:
                self.before[number] = (old | bits | (1 << merged.number)) & ~(1 << producer.number)
        del self.groups[producer.number]
        self.groups[merged.number] = merged
        self.group_of.update(dict.fromkeys(merged.axes, merged))
        return merged

    def _obstacle(self, producer: Group, consumer: Group) -> Any:
        if producer.kind in ("alone", "host") or not self._may_join(producer, consumer):
            return "kind"
        if producer.cost + consumer.cost > MOST_COST:
            return "cost"
        if any(self.before[g.number] >> producer.number & 1 for g in self._producers(consumer)):
            return "circle"
        joined = self._unify(producer, consumer)
        if isinstance(joined, str):
            return joined
        axes, extents, reduced, _ = joined
        if "contraction" in (producer.kind, consumer.kind):
            return joined if not reduced and self._one_space(products(producer, consumer), axes) else "kind"
        why = self._is_nest(axes, extents, reduced, [*producer.nodes, *consumer.nodes])
        return joined if why is None else why

    def _unify(self, producer: Group, consumer: Group, equal: Iterable[tuple[int, int]] = ()) -> Any:
        """Axes of both with those equated that are `equal` or that the consumer's reads equate; a reason if a read is
        elsewhere.
        """
        renamed: dict[int, int] = {b: a for a, b in equal}

        def root(a: int) -> int:
            while a in renamed:
                a = renamed[a]
            return a

        def name(a: int | None) -> int | None:
            return None if a is None else root(a)

        for read in consumer.reads:
            if self.group_of.get(read.base) is not producer:
                continue
            if read.axes is None:
                return "moved"
            for mine, theirs in zip(producer.axes[read.base], read.axes):
                a, b = name(mine), name(theirs)
                if a is None or b is None:
                    if a is not b:
                        return "moved"
                elif a != b:
                    renamed[b] = a
        self._share_reads(producer, consumer, name, renamed)
        final: dict[int | None, int] = {a: root(a) for a in renamed}
        extents: dict[int, Dim] = {}
        for group in (producer, consumer):
            for a, e in group.extents.items():
                extents.setdefault(final.get(a, a), e)
        axes: dict[Value, tuple[int | None, ...]] = {}
        reduced: dict[Node, tuple[int, ...]] = {}
        reads: list[Read] = []
        for group in (producer, consumer):
            if final.keys().isdisjoint(group.extents):           # most have their names already: groups grow long
                axes, reduced, reads = {**axes, **group.axes}, {**reduced, **group.reduced}, [*reads, *group.reads]
                continue
            renewed = {v: tuple([final.get(a, a) for a in t]) for v, t in group.axes.items()}
            if any(_repeats(t) for t in renewed.values()):
                return "moved"
            axes.update(renewed)
            reduced.update({m: tuple([final.get(a, a) for a in t]) for m, t in group.reduced.items()})
            reads += [renamed_read(read, final) for read in group.reads]
        reads = [read for read in dict.fromkeys(reads) if read.base not in axes]
        return axes, extents, reduced, reads

    def _reads(self, group: Group) -> list[Read]:
        """What the nodes of a group read, and along which axes."""
        found = []
        for m in group.nodes:
            result = group.axes[m.results[0]]
            by_dim: dict[int, int | None] = {}
            if m.op.kind == "reduction":
                free = iter(group.reduced[m])
                for d in m.attrs["axes"]:
                    size = m.operands[0].shape[d]
                    by_dim[d] = None if isinstance(size, int) and size == 1 else next(free)
            for i, v in enumerate(m.operands):
                outer = self.map(m, i)
                computed = i == 0 and picks(m)
                for base, inner in self.reach[v]:
                    axes = None if computed else read_axes(inner, outer, result, by_dim)
                    found.append(Read(base, axes, frozenset(by_dim.values())))
        return found

    def _share_reads(self, producer: Group, consumer: Group, name: Any, renamed: dict[int, int]) -> None:
        """Who reduces what another node reads from memory, at the same places otherwise, runs over the same axis."""
        free = {name(a) for group in (producer, consumer) for axes in group.reduced.values() for a in axes}

        def together(a: int | None, b: int | None) -> bool:
            return any({a, b} <= {name(c) for c in t} for group in (producer, consumer) for t in group.axes.values())

        reads: dict[Value, list[Read]] = {}
        for group in (producer, consumer):
            for read in group.reads:
                if read.axes is not None and self.group_of.get(read.base) not in (producer, consumer):
                    reads.setdefault(read.base, []).append(read)
        for same in reads.values():
            for first, second in combinations(one_each(same), 2):
                pairs = [(name(a), name(b)) for a, b in zip(first.axes or (), second.axes or ())]
                if any(a is None and b is not None or b is None and a is not None for a, b in pairs):
                    continue
                differ = [(a, b) for a, b in pairs if a != b]
                taken = {a for a, _ in pairs} & {b for _, b in differ}
                if differ and not taken and all((a in free or b in free) and not together(a, b) for a, b in differ):
                    renamed.update({b: a for a, b in differ})
                    free = {name(a) for a in free}

    def _may_join(self, producer: Group, consumer: Group) -> bool:
        """May a contraction take a producer into its epilogue, which is element by element or a contraction of the same
        rows? A kernel sorts once, and multiplies no matrices then.
        """
        sorts = [m for m in (*producer.nodes, *consumer.nodes) if m.op.kind == "sort"]
        if len(sorts) > 1 or sorts and "contraction" in (producer.kind, consumer.kind):
            return False
        roots = products(consumer)
        read = {base for m in roots for v in m.operands for base, _ in self.reach[v]}
        if any(self.group_of.get(base) is producer for base in read):
            return False                             # it is what is multiplied
        if not roots or producer.kind == "contraction":
            return not roots or len(roots) < self.parts and share_rows(products(producer, consumer))
        return all(m.op.kind == "pointwise" for m in producer.nodes)

    def _one_space(self, roots: list[Node], axes: dict[Value, tuple[int | None, ...]]) -> bool:
        """Has each value all axes of the contractions' results, and have these the same?"""
        space = axes[roots[0].results[0]]
        named = {a for a in space if a is not None}
        return all(axes[m.results[0]] == space for m in roots) and all(
            {a for a in t if a is not None} == named for t in axes.values())

    def _is_nest(self, axes: dict[Value, tuple[int | None, ...]], extents: dict[int, Dim],
                 reduced: dict[Node, tuple[int, ...]], nodes: Iterable[Node]) -> str | None:
        big = {frozenset(a for a in t if not is_few(extents[a])) for t in reduced.values()}
        big.discard(frozenset())
        if len(big) > 1:
            return "reduction"
        gone: frozenset[int] = next(iter(big)) if big else frozenset()
        large = {t: frozenset(a for a in t if a is not None and not is_few(extents[a])) for t in set(axes.values())}
        space = frozenset().union(*large.values(), gone)
        if not reduced and all(axes == space for axes in large.values()):
            return None
        sets = {v: large[t] for v, t in axes.items()}
        outer = space - gone
        after: set[Value] = set()                    # values that depend on a large reduction
        for m in nodes:
            mine = sets[m.results[0]] if m.results else frozenset()
            depends = any(base in after for v in m.operands for base, _ in self.reach[v])
            reducing = m in reduced and bool(gone & set(reduced[m]))
            if reducing:
                needs = mine | gone
                if needs != space:
                    return "axes"
                after.update(m.results)
                continue
            if depends:
                after.update(m.results)
            if m.op.kind == "sort" and _row_axes(m, axes) & {a for t in reduced.values() for a in t}:
                return "axes"
            if mine == space or (depends and mine == outer):
                if depends and mine == space and gone and self._few_long_rows(outer, gone, extents):
                    return "rows"
                continue
            if depends or m in reduced or not self._cheap_to_repeat(m):
                return "axes"
        return None

    def _cheap_to_repeat(self, m: Node) -> bool:
        return m.op.kind in ("pointwise", "view") and cost_of(m) <= CHEAP and m.results[0] not in self.kept

    @staticmethod
    def _few_long_rows(outer: frozenset[int], gone: frozenset[int], extents: dict[int, Dim]) -> bool:
        rows, row = expr.product(extents[a] for a in outer), expr.product(extents[a] for a in gone)
        return isinstance(rows, int) and rows < FEW_ROWS and (not isinstance(row, int) or row > LONG_ROW)


def fuse(graph: Graph, materialised: Iterable[Value] = (), parts: int = 1,
         may_run: Callable[[Node], bool] = lambda n: True) -> Fusion:
    """Group the nodes of a graph. `materialised` values must exist in memory besides the outputs and what host calls
    read. One kernel holds at most so many `parts` that are products of the same rows. `may_run` says whether there is a
    kernel for what has one on some targets.
    """
    host = frozenset(n for n in graph.nodes if has_no_kernel(n) or not may_run(n))
    kept = stored(graph, host) | {v for v in materialised if v.literal is None}
    inliner = Inliner(graph, kept)
    grouper = _Grouper(graph, inliner, kept, parts, host)
    for n in graph.nodes:
        if not all(r in inliner.inlined for r in n.results) and n.op.name != "constant":
            grouper.add(n)
    grouper.merge_siblings()
    grouper.sum_together()
    groups = _ordered(grouper)
    return Fusion(groups, inliner.inlined, inliner.reach, grouper.group_of, grouper.notes)


def _ordered(grouper: _Grouper) -> list[Group]:
    """Groups so that each comes after those it reads."""
    out: list[Group] = []
    done: set[int] = set()

    def before(g: Group) -> Iterator[Group]:
        for n in g.nodes:
            for v in n.operands:
                for base, _ in grouper.reach[v]:
                    other = grouper.group_of.get(base)
                    if other is not None and other.number not in done:
                        yield other

    for g in sorted(grouper.groups.values(), key=lambda g: g.number):
        todo = [(g, before(g))] if g.number not in done else []
        done.add(g.number)
        while todo:
            last, rest = todo[-1]
            other = next(rest, None)
            if other is None:
                out.append(last)
                todo.pop()
            else:
                done.add(other.number)
                todo.append((other, before(other)))
    return out
