"""What fusion inlines: values that each reader computes again instead of reading them from memory.

Views and positions always are; element-by-element work is where it is cheap and reads one array, or where each element
is read once at another place. All other values are *bases*, which groups compute. For each value, `reach` says from
which bases it is made, and how their dimensions show in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import expr
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from ..ir.ops.parts import part_dtype
from ..ir.scalar import CORE
from .dimension_maps import MOVED, ONE, Map, compose, operand_map
from .walks import usual

CHEAP = 3.0                     # computing this much again costs less than memory
DEAR = 256.0                    # computing this much costs more than memory in any case
FEW = 8                         # so many times fewer numbers may be read again by each reader


def cost_of(n: Node) -> float:
    """Arithmetic of one element, in additions."""
    core = CORE.get(n.op.name)
    if core is not None:
        return core.cost
    return 0.0 if "free" in n.op.traits else 12.0 if n.op.kind == "random" else 6.0


class Inliner:
    """Decides which values are computed again by each reader."""

    def __init__(self, graph: Graph, kept: set[Value]):
        self.inlined: set[Value] = set()
        self.reach: dict[Value, tuple[tuple[Value, Map], ...]] = {}
        self.weight: dict[Value, float] = {}
        self.readers, self.kept = graph.uses(), kept
        self.maps: dict[tuple[Node, int], Map] = {}
        self.elsewhere: dict[Value, bool] = {}           # of values that are read in place
        for v in graph.inputs:
            self._is_base(v)
        for n in graph.nodes:
            for r in n.results:
                if r not in kept and self._may_inline(n):
                    self._inline(n, r)
                else:
                    self._is_base(r)

    def _is_base(self, v: Value) -> None:
        self.reach[v] = ((v, tuple(ONE if d == 1 and isinstance(d, int) else i for i, d in enumerate(v.shape))),)
        self.weight[v] = 0.0

    def _may_inline(self, n: Node) -> bool:
        if n.op.kind == "view" or any(v.dtype.kind == "c" for v in n.operands) and n.op.kind == "pointwise":
            return True                          # a part of a complex number is a view of it
        if n.op.kind != "pointwise" or n.results[0].dtype.kind == "c":
            return False
        cost = cost_of(n) + sum(self.weight[v] for v in n.operands)
        if cost <= DEAR and self._is_read_once_elsewhere(n.results[0]):
            return True
        bases = {b for v in n.operands for b, _ in self.reach[v]}
        if not any(_elements(b) != 1 for b in bases):
            return cost <= (4 * CHEAP if bases else DEAR)
        big = [b for b in bases if _elements(b) != 1]
        if len(big) > 1:
            return cost <= CHEAP and _is_widened(big, n.results[0])
        return cost <= CHEAP and part_dtype(big[0].dtype).itemsize <= n.results[0].dtype.itemsize

    def _is_read_once_elsewhere(self, v: Value) -> bool:
        """Is each element read once, through views that move it? Then the reader computes it, as often as it would be
        stored.

        So is what is read once, in place, by something of which this is true.
        """
        in_place: list[Value] = []
        moved = answer = False
        while v not in self.elsewhere:
            if v in self.kept:
                answer = moved                   # the last view is what is stored
                break
            readers = self.readers.get(v, ())
            if len(readers) != 1:
                break
            (n,) = readers
            if moved and n.op.kind in ("pointwise", "reduction"):
                answer = True
                break
            if n.op.kind == "pointwise" and n.results[0].shape == v.shape and n.results[0].dtype.kind != "c":
                in_place.append(v)
            elif n.op.kind == "view" and sum(o is v for o in n.operands) == 1 and "repeats" not in n.op.traits:
                moved = moved or MOVED in self.map(n, n.operands.index(v))
            else:
                break
            v = n.results[0]
        else:
            answer = moved or self.elsewhere[v]
        self.elsewhere.update(dict.fromkeys(in_place, answer))
        return answer

    def map(self, n: Node, i: int) -> Map:
        """How the dimensions of an operand show in the result."""
        found = self.maps.get((n, i))
        if found is None:
            found = self.maps[n, i] = operand_map(n, i)
        return found

    def _inline(self, n: Node, r: Value) -> None:
        found: dict[tuple[Value, Map], None] = {}
        for i, v in enumerate(n.operands):
            outer = self.map(n, i)
            for base, inner in self.reach[v]:
                found[base, compose(inner, outer)] = None
        self.reach[r] = tuple(found)
        self.weight[r] = (cost_of(n) if n.op.kind == "pointwise" else 0.0) + sum(self.weight[v] for v in n.operands)
        self.inlined.add(r)


def _is_widened(bases: Sequence[Value], v: Value) -> bool:
    """Is v made of narrower numbers, as many, and of few others beside (quantised weights and their scales)?"""
    whole = [b for b in bases if _elements(b) == _elements(v)]
    rest = [b for b in bases if _elements(b) != _elements(v)]
    few = all(FEW * usual(_elements(b)) <= usual(_elements(v)) for b in rest)
    return len(whole) == 1 and whole[0].dtype.itemsize < v.dtype.itemsize and few


def _elements(v: Value) -> Dim:
    """How many elements a value has."""
    return expr.product(v.shape)
