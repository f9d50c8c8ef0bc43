"""Which steps of a program must come before which, and what that leaves free: steps that stand in no relation may be
merged into one, and the rest is put in order around them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..ir.program import HostCall, Step, walk
from .memory_plan import reads_and_writes

_HOST = "<host>"                 # what host calls do besides keeps its order, as if they all wrote this


class Dependences:
    """The relations of some steps, as sets of bits: `before[n]` are the steps that must come before step n, through
    others too. A slot may be an `alias` of another one, whose memory it is to lie in.
    """

    def __init__(self, steps: Sequence[Step], alias: Mapping[str, str]):
        self.steps = steps
        self.direct = [_set_of(found) for found in _conflicts(steps, alias)]
        self.before = [0] * len(steps)
        self.after = [0] * len(steps)
        for n, direct in enumerate(self.direct):
            for m in bits(direct):
                self.before[n] |= self.before[m] | 1 << m
        for n in reversed(range(len(steps))):
            for m in bits(self.direct[n]):
                self.after[m] |= self.after[n] | 1 << n

    def free(self, members: Iterable[int]) -> tuple[int, ...]:
        """As many of these steps as stand in no relation to one another, the first ones first."""
        chosen: list[int] = []
        related = 0
        for n in members:
            if not related >> n & 1:
                chosen.append(n)
                related |= self.before[n] | self.after[n]
        return tuple(chosen)

    def merge(self, members: tuple[int, ...]) -> None:
        """Take steps that are free for one step: what is before or after one of them is so for all."""
        mine, before, after = _set_of(members), 0, 0
        for n in members:
            before |= self.before[n]
            after |= self.after[n]
        for n in bits(after):
            self.before[n] |= before | mine
        for n in bits(before):
            self.after[n] |= after | mine
        for n in members:
            self.before[n], self.after[n] = before, after

    def order(self, merged: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """The steps in a legal order, these merged: each as early in the order that was as the others let it be."""
        group_of = {n: group for group in merged for n in group}
        nodes = list(dict.fromkeys(group_of.get(n, (n,)) for n in range(len(self.steps))))
        number = {n: k for k, node in enumerate(nodes) for n in node}
        waits = [{number[m] for n in node for m in bits(self.direct[n])} for node in nodes]
        followers: list[list[int]] = [[] for _ in nodes]
        for k, before in enumerate(waits):
            for b in before:
                followers[b].append(k)
        left = [len(before) for before in waits]
        ready = [k for k, count in enumerate(left) if not count]         # in order, so a heap
        out = []
        while ready:
            k = heapq.heappop(ready)
            out.append(nodes[k])
            for f in followers[k]:
                left[f] -= 1
                if not left[f]:
                    heapq.heappush(ready, f)
        return out


def bits(x: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while x:
        low = x & -x
        yield low.bit_length() - 1
        x ^= low


def _set_of(numbers: Iterable[int]) -> int:
    """The bits of these numbers."""
    out = 0
    for n in numbers:
        out |= 1 << n
    return out


def _conflicts(steps: Sequence[Step], alias: Mapping[str, str]) -> Iterator[set[int]]:
    """For each step those before it that wrote what it touches, or touched what it writes, since it was written."""
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for n, step in enumerate(steps):
        found = [[alias.get(name, name) for name in names] for names in reads_and_writes(step)]
        reads, writes = (set(names) for names in found)
        if any(isinstance(s, HostCall) for s in walk((step,))):
            writes.add(_HOST)
        conflicts = {writer[name] for name in reads | writes if name in writer}
        for name in writes:
            conflicts.update(readers.pop(name, ()))
        yield conflicts - {n}
        for name in writes:
            writer[name] = n
        for name in reads - writes:
            readers.setdefault(name, []).append(n)
