"""Other ways to run a kernel that give the same bits: what `mode="max-autotune"` measures on the machine.

`candidates(kernel, target, around)` are schedules one step away from another: a caller that goes to the best of them as
long as there is a better one climbs to a good place. Whatever decides the order of a sum is left as the default has it:
a contraction's order and depths of K, the axis and lanes of a reduction, the span of a stream. So a tuned program
gives what an untuned one gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..ir.expr import product
from ..ir.kernel import FOLDS, Kernel
from ..ir.product_rows import ProductRows
from ..ir.schedule import Contraction, Rows, Schedule
from ..ir.streamed import Streamed, roles
from ..ir.target import Target
from .blocking import blocks, with_blocks
from .contraction import match, tilings
from .schedule import alternatives, is_legal
from .walks import usual

VECTORS = (1, 2, 3, 4, 6)
ROWS = (4, 6, 8, 9, 10, 12, 14)
STREAM_VECTORS = (1, 2, 4, 8)
LANES = (16, 32, 64, 128, 256)
STREAMED_ROWS = (4, 6, 8, 12, 14)
STREAMED_BLOCKS = (32, 64, 96, 128, 192)


def candidates(kernel: Kernel, target: Target, around: Schedule) -> list[Schedule]:
    """Legal schedules one step away from `around`, each once; none where nothing can be chosen."""
    steps: dict[type[Schedule], Any] = {
        Contraction: _contractions, ProductRows: _product_rows, Rows: _rows, Streamed: _streams}
    found = steps.get(type(around), _nothing)(kernel, target, around)
    return [s for s in dict.fromkeys(found) if s != around and is_legal(s, kernel)]


def _nothing(kernel: Kernel, target: Target, s: Schedule) -> Iterator[Schedule]:
    return iter(())


def _grains(s: Any) -> Iterator[Any]:
    """Chunks of half and of twice as many units."""
    for grain in (s.grain // 2, s.grain * 2):
        if 1 <= grain <= 2 * usual(s.units):
            yield replace(s, grain=grain)


# ---- contractions ----------------------------------------------------------------------------------------------------


def _contractions(kernel: Kernel, target: Target, s: Contraction) -> Iterator[Contraction]:
    if s.variant != "tile":
        yield from _few_rows(kernel, s)
        return
    for vectors in VECTORS:
        for rows in ROWS:
            if _fits(rows, vectors, s, target) and _wastes_little(kernel, rows, vectors, s):
                yield with_blocks(kernel, target, s, rows, vectors, -(-s.block // rows) * rows, s.panels)
    for block in (s.block // 2, s.block * 2):
        if block >= s.rows:
            yield with_blocks(kernel, target, s, s.rows, s.vectors, -(-block // s.rows) * s.rows, s.panels)
    for panels in (s.panels // 2, s.panels * 2):
        if panels >= 1:
            yield with_blocks(kernel, target, s, s.rows, s.vectors, s.block, panels)
    yield replace(s, outside="rows" if s.outside == "panels" else "panels")
    yield from _readings(kernel, target, s)
    yield from _grains(s)


def _product_rows(kernel: Kernel, target: Target, s: ProductRows) -> Iterator[ProductRows]:
    """Other tiles and blocks of the product; what goes on with its rows stays."""
    for other in _contractions(s.apart(kernel).product, target, s.product):
        yield replace(s, units=other.units, grain=other.grain, product=other)


def _fits(rows: int, vectors: int, s: Contraction, target: Target) -> bool:
    """Do the sums leave registers for a row of B and an element of A, and do they hide a multiply-add's latency?"""
    return 8 <= rows * vectors <= target.registers - 1 - vectors and (vectors * s.lanes) % min(16, s.lanes) == 0


def _wastes_little(kernel: Kernel, rows: int, vectors: int, s: Contraction) -> bool:
    """Is hardly more computed beyond the edges than by the present tile?"""
    def computed(rows: int, vectors: int) -> int:
        height, width = _height(kernel, s), usual(kernel.axes[s.j[-1]])
        return -(-height // rows) * rows * -(-width // (vectors * s.lanes)) * vectors
    return computed(rows, vectors) <= 1.15 * computed(s.rows, s.vectors)


def _height(kernel: Kernel, s: Contraction) -> int:
    return usual(product(kernel.axes[a] for a in s.i[len(s.i) - s.i_flat :]))


def _readings(kernel: Kernel, target: Target, s: Contraction) -> Iterator[Contraction]:
    """A read in another way, K cut in the same pieces."""
    found = match(kernel)
    for other in tilings(kernel, found, target) if found else ():
        if (other.k, other.k_flat, other.right) == (s.k, s.k_flat, s.right) and other.left != s.left:
            yield replace(other, depth=s.depth)


def _few_rows(kernel: Kernel, s: Contraction) -> Iterator[Contraction]:
    """More or fewer columns at once."""
    lanes = 16 if s.variant == "stream" else 1
    outer = [kernel.axes[a] for a in (*s.g, *s.j[:-1])]
    any_rows = min(1, usual(product(kernel.axes[a] for a in s.i)))
    shapes = {(v, s.panels) for v in STREAM_VECTORS if v * s.rows <= 24}
    if s.variant == "stream":
        shapes |= {(s.vectors, n) for n in (s.panels // 2, s.panels * 2) if n >= 1}
    for vectors, panels in sorted(shapes):
        units = product([*outer, blocks(kernel.axes[s.j[-1]], vectors * panels * lanes), any_rows])
        yield replace(s, units=units, vectors=vectors, panels=panels)
    yield from _grains(s)


# ---- rows and streams ------------------------------------------------------------------------------------------------


def _rows(kernel: Kernel, target: Target, s: Rows) -> Iterator[Rows]:
    """Other lanes and blocks where no fold runs along the lanes; other axes in lanes where nothing is folded."""
    folds = [v for v in kernel.values if v.op in FOLDS]
    if not folds:
        yield from alternatives(kernel)
    if s.vector and not any(s.vector in v.over for v in folds):
        for lanes in LANES:
            if lanes != s.lanes:
                yield _with_lanes(kernel, s, lanes, -(-s.block // lanes) * lanes)
        for block in (s.block // 2, s.block * 2, s.block * 4):
            if s.block and block and block % s.lanes == 0:
                yield _with_lanes(kernel, s, s.lanes, block)
    yield from _grains(s)


def _with_lanes(kernel: Kernel, s: Rows, lanes: int, block: int) -> Rows:
    units = product(kernel.axes[a] for a in s.parallel)
    if block:
        units = units * blocks(kernel.axes[s.vector], block)
    chunk = s.grain * max(1, usual(s.units)) // max(1, usual(units))
    return replace(s, units=units, grain=max(1, chunk), lanes=lanes, block=block)


def _streams(kernel: Kernel, target: Target, s: Streamed) -> Iterator[Streamed]:
    """Other tiles and blocks of rows; the span of the stream stays."""
    g = roles(kernel, s.row, s.stream).g
    shapes = {(rows, s.block) for rows in STREAMED_ROWS} | {(s.rows, block) for block in STREAMED_BLOCKS}
    for rows, block in sorted(shapes):
        whole = -(-block // rows) * rows
        if (rows + 1) * s.vectors < target.registers:
            units = product([*(kernel.axes[a] for a in g), blocks(kernel.axes[s.row], whole)])
            yield replace(s, units=units, rows=rows, block=whole, grain=max(1, s.grain * s.block // whole))
    yield from _grains(s)
