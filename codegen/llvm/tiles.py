"""Transposed loads: where memory runs along the axis of a plain loop, and not along the lanes, 16 x 16 tiles are
turned in registers.

A tile is read in whole cache lines, transposed by four rounds of exchanging blocks of 8, 4, 2 and 1, and waits in
scratch for the turns of the loop, each of which finds its lanes side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...ir.claims import open_ends
from ...ir.kernel import Value, is_affine, step_along
from .body import Scope
from .writer import Function, Index, X

SIDE = 16


def transposed_loads(scope: Scope, axis: str, wanted: Iterable[Value]) -> list[Value]:
    """The loads that a loop over an axis should read by tiles."""
    if not scope.lane or scope.mask is not None or scope.lanes % SIDE:
        return []
    return [v for v in wanted if v.op == "load" and _is_transposed(scope, axis, v)]


def _is_transposed(scope: Scope, axis: str, v: Value) -> bool:
    buffer = scope.kernel.buffers[v.buffer]
    if not {axis, scope.lane} <= set(v.axes) or not all(a == axis or a in scope.point for a in v.axes):
        return False
    if not is_affine(v.index):
        return False
    if v.fill is not None and any(any(open_ends(i, size)) for i, size in zip(v.index, buffer.shape)):
        return False
    return step_along(scope.kernel, v, axis) == 1 and step_along(scope.kernel, v, scope.lane) not in (None, 0, 1)


def write_tile(scope: Scope, v: Value, tile: X) -> None:
    """Read a load's tile from where the scope is, SIDE positions of its axis on, and write it to scratch, lanes side by
    side.
    """
    w, d = scope.w, v.dtype
    where = scope.place(scope.kernel.buffers[v.buffer], v.index)
    first = w.at(scope.pointers[v.buffer], where.start, d)

    def block(lane: Index) -> None:
        rows = [w.load(d, w.at(first, w.mul(where.step, w.add(lane, k)), d), SIDE) for k in range(SIDE)]
        for k, x in enumerate(transpose(w, rows)):
            w.store(x, w.at(tile, w.add(lane, k * scope.lanes), d))

    w.loop(0, scope.lanes, SIDE, block)


def read_tile(scope: Scope, v: Value, tile: X, turn: Index) -> X:
    """The lanes of a turn."""
    return scope.w.load(v.dtype, scope.w.at(tile, scope.w.mul(turn, scope.lanes), v.dtype), scope.lanes)


def transpose(w: Function, rows: Sequence[X]) -> list[X]:
    """As many vectors as they have lanes, rows and columns exchanged."""
    rows, size = list(rows), len(rows)
    reach = size // 2
    while reach:
        low = [k if not k & reach else size + k - reach for k in range(size)]
        high = [k + reach if not k & reach else size + k for k in range(size)]
        for k in range(size):
            if not k & reach:
                a, b = rows[k], rows[k + reach]
                rows[k], rows[k + reach] = w.shuffle(a, b, low), w.shuffle(a, b, high)
        reach //= 2
    return rows
