"""The order in which groups run: what frees memory runs as soon as it can.

Groups come in the order of the graph, where an optimiser's updates stand last and hold what each layer has kept for
them until then. A group after which more temporary memory is free than before is run at once, others in the graph's
order. What is written into the memory of an input waits for all who read that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir import expr
from ..ir.graph import Graph, Value
from .fuse import Fusion, Group
from .streaming import outside
from .walks import usual

LITTLE = 1 << 12                         # bytes


def ordered(graph: Graph, fusion: Fusion, donated: Mapping[Value, Value]) -> Fusion:
    """The same groups in another order. `donated`: outputs, and the inputs whose memory they are to be written into."""
    groups = _Order(graph, fusion, donated).found()
    return fusion if groups is None else replace(fusion, groups=groups)


class _Order:
    def __init__(self, graph: Graph, fusion: Fusion, donated: Mapping[Value, Value]):
        self.groups = fusion.groups
        number = {g: n for n, g in enumerate(self.groups)}
        kept = {*graph.outputs}
        self.reads = [list(dict.fromkeys(outside(g, fusion))) for g in self.groups]
        self.readers: dict[Value, set[int]] = {}
        for n, values in enumerate(self.reads):
            for v in values:
                self.readers.setdefault(v, set()).add(n)
        self.before: list[set[int]] = [set() for _ in self.groups]
        self.makes = [0] * len(self.groups)
        self.bytes: dict[Value, int] = {}
        for v, readers in self.readers.items():
            maker = number.get(fusion.group_of[v]) if v in fusion.group_of else None
            if maker is None:
                continue
            self.bytes[v] = 0 if v in kept else usual(expr.product(v.shape)) * v.dtype.itemsize
            self.makes[maker] += self.bytes[v]
            for n in readers - {maker}:
                self.before[n].add(maker)
        for output, given in donated.items():
            maker = number.get(fusion.group_of[output]) if output in fusion.group_of else None
            if maker is not None:
                self.before[maker] |= self.readers.get(given, set()) - {maker}
        hosts = [n for n, g in enumerate(self.groups) if g.kind == "host"]
        for first, second in zip(hosts, hosts[1:]):           # what they do besides is in the order of the graph
            self.before[second].add(first)

    def found(self) -> list[Group] | None:
        """The groups in order; None where some wait for each other."""
        after: list[list[int]] = [[] for _ in self.groups]
        for n, before in enumerate(self.before):
            for m in before:
                after[m].append(n)
        waits = [len(b) for b in self.before]
        ready = {n for n, count in enumerate(waits) if not count}
        out: list[int] = []
        while ready:
            n = min(ready, key=lambda n: (min(0, self.grows(n)), n))
            ready.remove(n)
            out.append(n)
            for v in self.reads[n]:
                self.readers[v].discard(n)
            for m in after[n]:
                waits[m] -= 1
                if not waits[m]:
                    ready.add(m)
        return [self.groups[n] for n in out] if len(out) == len(self.groups) else None

    def grows(self, n: int) -> int:
        """How many bytes more are taken after a group than before; a little less where it makes next to nothing, which
        others may wait for.
        """
        if self.makes[n] < LITTLE:
            return -1 - self.frees(n)
        return self.makes[n] - self.frees(n)

    def frees(self, n: int) -> int:
        """The bytes that only it still reads."""
        return sum(self.bytes.get(v, 0) for v in self.reads[n] if len(self.readers[v]) == 1)
