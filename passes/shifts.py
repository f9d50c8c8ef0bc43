"""Maxima that a softmax written out subtracts: exp(x - max x) / sum of the same. It is the same for any other number
in place of the maximum, so no gradient runs through it (`jax.nn.softmax` stops it by hand).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..ir.expr import Dim
from ..ir.graph import Node, Value
from ..ir.ops.namespace import F

Uses = Mapping[Value, Sequence[Node]]


def maxima_of_softmaxes(nodes: Sequence[Node]) -> set[Node]:
    """The maxima that are used in softmaxes alone."""
    uses: dict[Value, list[Node]] = {}
    for n in nodes:
        for v in dict.fromkeys(n.operands):
            uses.setdefault(v, []).append(n)
    return {n for n in nodes if n.op is F.max and _only_shifts(n, uses)}


def _only_shifts(peak: Node, uses: Uses) -> bool:
    """Is a maximum only subtracted from what becomes a softmax along its axes?"""
    readers = list(_readers(peak.result, uses))
    return bool(readers) and all(
        n.op is F.sub and n.operands[1] is v and n.result.shape == n.operands[0].shape
        and v.shape == _one_along(n.result.shape, peak) and uses.get(n.result)
        and all(e.op is F.exp and _is_normalised(e, peak, uses) for e in uses.get(n.result, ()))
        for v, n in readers)


def _is_normalised(e: Node, peak: Node, uses: Uses) -> bool:
    """Is an exponential only divided by its own sum?"""
    readers = uses.get(e.result, ())
    sums = [n for n in readers if n.op is F.sum and n.attrs["axes"] == peak.attrs["axes"]]
    quotients = [n for n in readers if n.op is F.div and n.operands[0] is e.result and n.operands[1] is not e.result]
    if len(sums) != 1 or not quotients or len(readers) != len(quotients) + 1:
        return False
    whole = all(n.operands[1].shape == _one_along(e.result.shape, peak) for n in quotients)
    return whole and set(_readers(sums[0].result, uses)) == {(n.operands[1], n) for n in quotients}


def _one_along(shape: Sequence[Dim], peak: Node) -> tuple[Dim, ...]:
    """The shape with 1 along the axes of the maximum."""
    return tuple(1 if d in peak.attrs["axes"] else n for d, n in enumerate(shape))


def _readers(v: Value, uses: Uses) -> Iterator[tuple[Value, Node]]:
    """What reads v, as it is or in another shape: (the value as it is read, the node)."""
    for n in uses.get(v, ()):
        if n.op is F.reshape:
            yield from _readers(n.result, uses)
        else:
            yield v, n
