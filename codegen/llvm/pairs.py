"""Pairs that lie next to each other in memory, the parts of complex numbers: where a kernel runs along them in lanes,
they are read as whole vectors that are sifted, and written as whole vectors that are interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...ir.kernel import Store, Value, pair_part
from ...ir.types import DType
from .value import X

if TYPE_CHECKING:
    from .body import Scope


def load_part(scope: Scope, v: Value, base: X, mask: X | None, fill: Any) -> X:
    """A part of pairs, the one in lane 0 being at `base`: both are read at once, and found again by the other part."""
    key = ("pairs", v.buffer, v.index[:-1], repr(fill))
    part = pair_part(scope.kernel, v)
    assert part is not None
    found = scope.find(key)
    if found is None:
        w, d, lanes = scope.w, v.dtype, scope.lanes
        first = w.at(base, -part, d)
        halves = [w.at(first, start, d) for start in (0, lanes)]
        read = [w.load(d, p, lanes) if mask is None else w.masked_load(d, p, on, fill)
                for p, on in zip(halves, _masks(scope, mask))]
        found = scope.known[key] = tuple(w.shuffle(read[0], read[1], range(p, 2 * lanes, 2)) for p in range(2))
    return found[part]


def store_all(scope: Scope, stores: Sequence[Store]) -> None:
    """Write what some stores write here, the two parts of pairs together, when both are known: they may take the place
    of what they are made of.
    """
    left = [*stores]
    while left:
        s = left.pop(0)
        other = next((t for t in left if _is_other_part(scope, s, t)), None)
        if other is None:
            scope.store(s)
            continue
        left.remove(other)
        parts = sorted((s, other), key=lambda t: pair_part(scope.kernel, t) or 0)
        values = [scope.vector(t.value) if scope.varies(t) else scope.value(t.value) for t in parts]
        base = _first_pair(scope, s)
        if base is None:
            for t, x in zip(parts, values):
                scope.store(t, x)
        else:
            _write(scope, values, base, scope.writing_mask(s), s.value.dtype)


def _is_other_part(scope: Scope, s: Store, t: Store) -> bool:
    """Do two stores write both parts of the same pairs?"""
    parts = {pair_part(scope.kernel, s), pair_part(scope.kernel, t)}
    return (s.buffer, s.index[:-1], s.axes, s.mode) == (t.buffer, t.index[:-1], t.axes, "set") and parts == {0, 1}


def _first_pair(scope: Scope, s: Store) -> X | None:
    """Where the pair in lane 0 is, where the lanes run along pairs; else None."""
    if not scope.varies(s):
        return None
    buffer = scope.kernel.buffers[s.buffer]
    where = scope.place(buffer, (*s.index[:-1], 0))
    if where.lanes is not None or where.step != 2:
        return None
    return scope.w.at(scope.pointers[s.buffer], where.start, buffer.dtype)


def _write(scope: Scope, parts: Sequence[X], base: X, mask: X | None, d: DType) -> None:
    w, lanes = scope.w, scope.lanes
    for half, on in enumerate(_masks(scope, mask)):
        picked = [i // 2 + (i % 2) * lanes for i in range(half * lanes, (half + 1) * lanes)]
        x, place = w.shuffle(parts[0], parts[1], picked), w.at(base, half * lanes, d)
        if mask is None:
            w.store(x, place)
        else:
            w.masked_store(x, place, on)


def _masks(scope: Scope, mask: X | None) -> list[Any]:
    """Which elements of both halves of the memory of pairs are on."""
    if mask is None:
        return [None, None]
    lanes = scope.lanes
    return [scope.w.shuffle(mask, mask, [(half * lanes + i) // 2 for i in range(lanes)]) for half in range(2)]
