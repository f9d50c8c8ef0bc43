"""How large the blocks of a contraction are: the register tile, rows and panels of a unit, units of a chunk."""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import Dim, product
from ..ir.kernel import Kernel
from ..ir.schedule import Contraction
from ..ir.target import Target
from .walks import usual

CHUNK_WORK = 1 << 19  # multiply-adds that a thread should take at once, at least
CHUNK_ROWS = 384  # rows that pay for packing B


def blocks(n: Dim, size: int) -> Dim:
    """How many blocks of a size there are, the last perhaps smaller."""
    return (n + size - 1) // size


def tile_shape(height: Dim, width: Dim, lanes: int, target: Target) -> tuple[int, int]:
    """rows x vectors of the register tile: all fit with a row of B and one element of A; little is wasted at the edges.
    """
    vectors = 4 if lanes < 8 and target.registers >= 32 else 2
    if isinstance(width, int) and width <= lanes:
        vectors = 1
    most = min(14, (target.registers - 1 - vectors) // vectors)
    if not isinstance(height, int):
        return most, vectors
    if height < most:
        rows = max(1, height)
        wide = max(1, min((target.registers - 1) // (rows + 1), 8))
        needed = -(-width // lanes) if isinstance(width, int) else wide
        chosen = max(1, -(-needed // max(1, -(-needed // wide))))  # equal panels
        whole = max(1, 16 // lanes)  # prologues and epilogues run in 16 lanes
        return rows, chosen // whole * whole or chosen
    return _fewest_wasted(height, most, 6), vectors


def apart_shape(shape: tuple[int, int], height: Dim, width: Dim, lanes: int, target: Target) -> tuple[int, int]:
    """The register tile where rows lie pages apart, and so share their places in the first cache: few rows at a time,
    which is faster than copying them (237 against 214 GFLOP/s of 256, at 1024^3).
    """
    rows, vectors = shape
    if rows > 8 and target.registers >= 32 and vectors < 3 and usual(width) >= 4 * lanes:
        return (6, 4) if usual(width) % (4 * lanes) == 0 else (8, 3)
    return _fewest_wasted(height, min(rows, 8), 6), vectors


def _fewest_wasted(height: Dim, most: int, least: int) -> int:
    """Rows of a tile that waste little at the lower edge."""
    if not isinstance(height, int) or most <= least:
        return most
    return min(range(most, least - 1, -1), key=lambda r: -(-height // r) * (r + 0.4))


def row_blocks_of(height: Dim, rows: int, most: int, parts: int) -> tuple[Dim, int]:
    """(number of row blocks, rows of one): at most so many rows at a time, in about equal blocks, at least so many
    where that is known.
    """
    most = max(most, rows)
    if isinstance(height, int):
        wanted = max(1, parts, -(-height // most))
        block = max(1, -(-height // (wanted * rows))) * rows
    else:
        block = max(1, min(most, 128) // rows) * rows
    return blocks(height, block), block


def panels_of(panels: Dim, bytes_each: int, bytes_a_step: int, target: Target, others: int) -> tuple[int, bool]:
    """(panels of B that a unit works through, are they kept packed from unit to unit). `bytes_each` is 0 where it has
    no bound.
    """
    all_of_them = max(1, usual(panels))
    keeps = 0 < bytes_each <= target.l2_bytes
    fitting = 2 * target.l2_bytes // bytes_each if keeps else max(1, target.l2_bytes * 3 // 4 // bytes_a_step)
    width = min(fitting, all_of_them)
    if others < 2 * target.threads:
        width = min(width, max(1, -(-all_of_them // target.threads)))
    if isinstance(panels, int):
        width = -(-all_of_them // -(-all_of_them // width))
    return max(1, width), keeps


def grain_of(units: Dim, row_blocks: Dim, block: int, work: int, target: Target) -> int:
    """Units that a thread takes at once: enough work to be worth it, enough rows to pay for packing B, and the same for
    all threads.
    """
    least = max(1, CHUNK_WORK // max(1, work))
    if not isinstance(units, int):
        return max(least, -(-CHUNK_ROWS // block))
    grains = [-(-units // (turns * target.threads)) for turns in (4, 3, 2, 1)]
    pays = [g for g in grains if g >= least and (g * block >= CHUNK_ROWS or g % usual(row_blocks) == 0)]
    return min(pays or [max(1, least, grains[-1])], key=lambda g: -(-units // (g * target.threads)) * g)


def with_blocks(
    kernel: Kernel, target: Target, s: Contraction, rows: int, vectors: int, block: int, panels: int
) -> Contraction:
    """The schedule with another tile and other blocks, its units counted anew. Panels are as wide as they were."""
    panels = max(1, panels * s.vectors // vectors)
    extents, width = kernel.axes, vectors * s.lanes
    height = product(extents[a] for a in s.i[len(s.i) - s.i_flat :])
    all_panels = product([*(extents[a] for a in s.j[:-1]), blocks(extents[s.j[-1]], width)])
    row_blocks = product(extents[a] for a in s.i[: len(s.i) - s.i_flat]) * blocks(height, block)
    units = product([*(extents[a] for a in s.g), blocks(all_panels, panels), row_blocks])
    work = block * usual(product(extents[a] for a in s.k)) * panels * width * s.parts // s.deep
    grain = grain_of(units, row_blocks, block, work, target)
    return replace(s, units=units, grain=grain, rows=rows, vectors=vectors, block=block, panels=panels)
