"""Choosing how a contraction runs on a GPU: which tile, how many warps and stages, and whether K is cut.

A cost model orders the candidates; `mode="max-autotune"` measures the best of them. The model, for tiles of I x J and
steps of K:

- A processor multiplies at its share of the target's peak, times what tiles leave of it: operands are read from shared
  memory, which takes as long as multiplying them by `OPERAND_COST` columns more (a Hopper processor reads 128 bytes and
  multiplies 4096 16-bit pairs in a cycle: NVIDIA H100 white paper, 2022). Fewer than `BUSY_WARPS` warps do not hide
  latencies.
- All tiles of operands come through the L2 cache, at `L2_RATIO` times the memory's bandwidth (A100 white paper: 5120
  bytes a cycle, 4.6 times its memory). Operands and results pass through memory once.
- Programs run in waves: the processor that gets most of them decides. Starting, filling the pipeline and storing costs
  `PROGRAM` nanoseconds, a step of K `STEP`, a kernel `LAUNCH`.
- Tiles that are left when all programs have as many may be shared along K (Stream-K): then all processors have equal
  work, sums of shares go through the L2 cache, and a second kernel starts. It must be `SHARES_WORTH` in the model's
  eyes.
- Operand tiles of all stages must fit in shared memory, and sums in `MOST_SUMS` registers a thread: `FEWER_SUMS` where
  operands have not 16 bits in memory, or pass through registers while an epilogue is dear; `FEW_SUMS` where they are
  copied by registers since their rows are not aligned, where plain float32 products are made of computed numbers, or
  where a dear epilogue has float64. Found by compiling.
- A dear epilogue (an elementary function, a further operand as large as the result, or several along columns) has so
  many values beside each sum that ptxas, which interleaves all elements, spills: it is written on parts of the tile's
  columns, `PART_SUMS` of a thread in each. Found by compiling too: on parts of 16, none of the benchmarks spills.

Nothing that must be right depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ..ir.expr import Dim, evaluate, product, symbols
from ..ir.gpu import GpuTarget, rounded_up
from ..ir.gpu_contraction import (
    LEAST_DEPTH,
    GpuContraction,
    common_operand,
    epilogue,
    is_given_as,
    narrow_source,
)
from ..ir.kernel import Kernel, Value, made_of
from ..ir.scalar import CORE
from ..ir.types import DType, bfloat16, float32, float64, int8
from . import contraction
from .contraction import Match, match
from .walks import usual

__all__ = ["candidates", "estimate", "match", "operand", "schedule", "suits"]

OPERAND_COST = 24
BUSY_WARPS = 8
L2_RATIO = 4.0
HIDDEN = 0.15                             # of the smaller of computing and moving that is not hidden by the larger
PROGRAM, STEP, LAUNCH = 1_500.0, 80.0, 3_000.0        # nanoseconds
MOST_SUMS, FEWER_SUMS, FEW_SUMS = 128, 64, 32     # registers a thread that hold sums
PART_SUMS, PART_COLUMNS = 16, 32          # of a part of a dear epilogue: a thread's registers for sums; least columns
DEAR = 12.0                               # additions that an elementary function costs at least
LIKELY = 2048                             # what a symbolic size is taken for
ALIGNED = 16                              # bytes that rows of operands are multiples of, to be copied as they are
MOST_STAGES = 4
SHARES_WORTH = 0.92                       # of the time of whole tiles
SIDES = (16, 32, 64, 128, 256)            # of tiles
DEPTH_BYTES = (64, 128)                   # of a row of an operand's tile
SUM_TILES = ((8, 64, 8), (16, 32, 8), (64, 8, 8), (1, 64, 32))
SUM_SLOWER = 8.0                          # than the peak: a term is made, moved and added
EXACT_BYTE_SUMS = 1 << 17                 # products of bytes whose sum surely fits in 32 bits
CANDIDATES = 8
REACH = 1 << 31                           # elements: descriptors take places of 32 bits
FEW_ROWS = 1                              # up to so many, rows of a reduction do as well


@dataclass(frozen=True)
class _Sizes:
    """What the model asks of a contraction: extents, bytes of an operand's element and of each result, bytes of all
    buffers, how many sums a thread may hold, whether what follows them is dear, whether all extents are known.
    """

    g: int
    i: int
    j: int
    k: int
    operand: int
    result: int
    moved: int
    sums: int
    is_dear: bool
    is_static: bool


def suits(kernel: Kernel, m: Match) -> bool:
    """Is a contraction worth tiles of products? One row, or one column, is a reduction that reads an operand once."""
    return min(usual(product(kernel.axes[a] for a in axes)) for axes in (m.i, m.j)) > FEW_ROWS


def schedule(kernel: Kernel, m: Match, target: GpuTarget) -> GpuContraction:
    """The best way that the model knows."""
    return candidates(kernel, target, m)[0]


def candidates(kernel: Kernel, target: GpuTarget, m: Match | None = None) -> list[GpuContraction]:
    """Ways to run a contraction, the best first: what autotuning measures. None for other kernels."""
    m = m or match(kernel)
    if m is None:
        return []
    base = _base(kernel, m, target)
    ways = _best(base, _sizes(kernel, m, base, target), target)
    static = all(isinstance(n, int) for n in kernel.axes.values())
    return [*ways, *(_with_descriptors(kernel, m, ways[0], target) if static else ())]


def _base(kernel: Kernel, m: Match, target: GpuTarget) -> GpuContraction:
    """All but the tile."""
    of = operand(kernel, m, target)
    precision = target.precision if of is float32 and target.precision != "bf16" else "ieee"
    single = tuple(a for a in kernel.axes if a not in (*m.g, *m.i, *m.j, *m.k))       # axes of one position
    return GpuContraction(
        g=(*single, *m.g), i=m.i, j=m.j, k=_k_order(kernel, m), variant="sum" if of is None else "dot",
        operand=of or m.total.dtype, precision=precision)


def operand(kernel: Kernel, m: Match, target: GpuTarget) -> DType | None:
    """What tensor cores are given: the dtype that both sides' numbers already have, or that the target rounds float32
    to; None where they cannot.
    """
    if not m.is_product:
        return None
    left, right = (narrow_source(v).dtype for v in (m.left, m.right))
    narrow = common_operand(left, right) if m.total.dtype is float32 else None
    if narrow is not None:
        return left if target.has_float8 and left.is_storage and right.is_storage else narrow
    if {left, right} == {int8} and (m.total.dtype.bits <= 32 or _is_short(kernel, m)):
        return int8
    if m.total.dtype is float32 and target.precision == "bf16":
        return bfloat16
    return m.total.dtype if m.total.dtype in (float32, float64) else None


def _is_short(kernel: Kernel, m: Match) -> bool:
    extent = product(kernel.axes[a] for a in m.k)
    return isinstance(extent, int) and extent < EXACT_BYTE_SUMS


def _k_order(kernel: Kernel, m: Match) -> tuple[str, ...]:
    """K with the axes of a window first, so that a step of K stays at one place of the window."""
    order, outer = contraction.k_order(kernel, m), {*m.i, *m.j}
    entries = [x for v in made_of(m.total.args[0]) if v.op == "load" for x in v.index if not isinstance(x, Value)]
    slid = {a for a in order if any(a in symbols(x) and outer & symbols(x) for x in entries)}
    return (*(a for a in order if a in slid), *(a for a in order if a not in slid))


def estimate(kernel: Kernel, m: Match, target: GpuTarget, pieces: int = 1) -> float:
    """Nanoseconds that a contraction is thought to take, when its sum is cut into so many pieces."""
    base = _base(kernel, m, target)
    sizes = _sizes(kernel, m, base, target)
    if pieces > 1:
        sizes = replace(sizes, g=sizes.g * pieces, k=max(1, sizes.k // pieces), result=m.total.dtype.itemsize)
    return nanoseconds(_best(base, sizes, target)[0], sizes, target)


# ---- the model -------------------------------------------------------------------------------------------------------


def _sizes(kernel: Kernel, m: Match, base: GpuContraction, target: GpuTarget) -> _Sizes:
    g, i, j, k = (max(1, _likely(product(kernel.axes[a] for a in axes))) for axes in (m.g, m.i, m.j, m.k))
    stored = sum(kernel.buffers[s.buffer].dtype.itemsize for s in kernel.stores)
    moved = sum(_likely(product(b.shape)) * b.dtype.itemsize for b in kernel.buffers.values())
    is_dear = base.variant == "dot" and _is_dear(kernel, m)
    is_narrow = base.operand.itemsize == 2 and not any(narrow_source(v).dtype.is_storage for v in (m.left, m.right))
    most = MOST_SUMS if is_narrow and (target.multiplies_from_shared or not is_dear) else FEWER_SUMS
    few = not _is_aligned(kernel, m) or _is_made_in_registers(m, base) or (is_dear and base.operand is float64)
    is_static = all(isinstance(n, int) for n in kernel.axes.values())
    return _Sizes(g, i, j, k, base.operand.itemsize, stored, moved, FEW_SUMS if few else most, is_dear, is_static)


def _likely(x: Dim) -> int:
    """A size as a number."""
    return x if isinstance(x, int) else int(evaluate(x, dict.fromkeys(symbols(x), LIKELY)))


def _is_dear(kernel: Kernel, m: Match) -> bool:
    """Does what follows the sum take many registers beside it: for an elementary function, or for operands? In the
    layout of a sum, a thread has two rows of each column, so that two operands along columns count as one of the whole.
    """
    after = epilogue(kernel, m.total)
    rows, columns = ({a for a in axes if kernel.axes[a] != 1} for axes in (m.i, m.j))
    loads = [v for v in after if v.op == "load" and columns & {*v.axes}]
    halves = sum(2 if rows <= {*v.axes} else 1 for v in loads)
    return halves >= 2 or any(v.op in CORE and CORE[v.op].cost >= DEAR for v in after)


def _is_aligned(kernel: Kernel, m: Match) -> bool:
    """Are rows of the operands surely multiples of so many bytes?"""
    loads = {v for v in made_of(m.total.args[0]) if v.op == "load" and {*v.axes} & {*m.k}}
    shapes = (([n for n in kernel.buffers[v.buffer].shape if n != 1][-1:], v.dtype.itemsize) for v in loads)
    return all(isinstance(n, int) and n * size % ALIGNED == 0 for shape, size in shapes for n in shape)


def _is_made_in_registers(m: Match, base: GpuContraction) -> bool:
    """Are operands of plain float32 products computed or converted, so that registers hold them beside the sums?"""
    return base.operand is float32 and base.precision == "ieee" and any(v.op != "load" for v in (m.left, m.right))


@lru_cache(maxsize=256)
def _best(base: GpuContraction, sizes: _Sizes, target: GpuTarget) -> tuple[GpuContraction, ...]:
    """The candidates that fit, the best first."""
    found = sorted(_fitting(base, sizes, target), key=lambda s: nanoseconds(s, sizes, target))
    smallest = replace(base, tile=(SIDES[0], SIDES[0], LEAST_DEPTH[sizes.operand]), stages=1)
    each = {(s.tile, s.rest): s for s in reversed(found)}      # the best stages of a tile
    best = [s for s in found if each[s.tile, s.rest] is s]
    shared = [s for s in best[CANDIDATES:] if s.rest == "shares"][:1]
    return (*best[:CANDIDATES], *shared) or (smallest,)


def _fitting(base: GpuContraction, sizes: _Sizes, target: GpuTarget) -> Iterator[GpuContraction]:
    if base.variant == "sum":
        yield from (replace(base, tile=tile, warps=4, stages=1) for tile in SUM_TILES)
        return
    for tile, warps in _tiles(sizes):
        most = _stages(tile, sizes, target)
        for stages in range(most, max(0, min(most, MOST_STAGES - 1) - 1), -1):
            s = replace(base, tile=tile, warps=warps, stages=stages, together=8 if sizes.i > 8 * tile[0] else 4,
                        parts=_parts(tile, warps, sizes, target))
            yield s
            programs = target.processors * _resident(s, sizes, target)
            if _may_share(s, sizes, target) and _tile_count(s, sizes) > programs and _tile_count(s, sizes) % programs:
                yield replace(s, programs=programs, rest="shares")


def _may_share(s: GpuContraction, sizes: _Sizes, target: GpuTarget) -> bool:
    """Are there registers for what a share needs to know, beside the sums?"""
    sums = s.tile[0] * s.tile[1] * _words(sizes) // (s.warps * target.warp)
    return sizes.is_static and (target.multiplies_from_shared or sums <= FEWER_SUMS)


def _tile_count(s: GpuContraction, sizes: _Sizes) -> int:
    return sizes.g * -(-sizes.i // s.tile[0]) * -(-sizes.j // s.tile[1])


def _parts(tile: tuple[int, int, int], warps: int, sizes: _Sizes, target: GpuTarget) -> int:
    """How many parts of the columns what follows the sums is written on."""
    if not sizes.is_dear:
        return 1
    sums = tile[0] * tile[1] * _words(sizes) // (warps * target.warp)
    return max(1, min(sums // PART_SUMS, tile[1] * _words(sizes) // PART_COLUMNS))


def _tiles(sizes: _Sizes) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Tiles that are not much larger than the result, with the warps that can hold their sums."""
    least = LEAST_DEPTH[sizes.operand]
    words = _words(sizes)
    few = min(sizes.sums, FEWER_SUMS) if sizes.is_dear else FEWER_SUMS      # that four warps hold
    for i in _sides(sizes.i):
        for j in _sides(sizes.j):
            warps = 8 if i * j * words >= 8 * 32 * few else 4
            if i * j * words // (warps * 32) > sizes.sums:
                continue
            for depth in DEPTH_BYTES if sizes.sums > FEW_SUMS else DEPTH_BYTES[:1]:
                k = max(least, min(depth // sizes.operand, rounded_up(sizes.k)))
                yield (i, j, k), warps


def _words(sizes: _Sizes) -> int:
    """Registers of a sum."""
    return max(1, sizes.operand // 4)


def _sides(extent: int) -> tuple[int, ...]:
    return tuple(n for n in SIDES if n <= max(SIDES[0], rounded_up(extent)))


def _stages(tile: tuple[int, int, int], sizes: _Sizes, target: GpuTarget) -> int:
    """As many as fit in shared memory; 0 if not even one does."""
    i, j, k = tile
    each = (i + j) * k * sizes.operand
    return min(MOST_STAGES, target.shared_bytes // each, max(1, -(-sizes.k // k)))


def nanoseconds(s: GpuContraction, sizes: _Sizes, target: GpuTarget) -> float:
    """What a way to run a contraction is thought to take."""
    i, j, k = s.tile
    tiles = _tile_count(s, sizes)
    steps = -(-sizes.k // k)
    resident = min(_resident(s, sizes, target), -(-tiles // target.processors))
    busy = min(1.0, (resident * s.warps + BUSY_WARPS / 2) / (1.5 * BUSY_WARPS))
    kept = i * j / (i * j + OPERAND_COST * (i + j))
    multiply = 2.0 * i * j * k / (peak(s, target) / target.processors * kept * busy)
    fetch = (i + j) * k * sizes.operand / (L2_RATIO * target.bandwidth / target.processors)
    store = i * j * sizes.result / (target.bandwidth / target.processors)
    turns = -(-tiles // target.processors)
    each, beside = steps * max(multiply, fetch), (PROGRAM + STEP * steps + store) / resident
    memory = sizes.moved / target.bandwidth
    if s.rest == "tiles":
        return _together(turns * (each + beside), memory)
    partials = 4.0 * i * j * (s.programs + tiles % s.programs)
    added = LAUNCH + 2 * PROGRAM + 2 * partials / (L2_RATIO * target.bandwidth)
    return (_together(tiles / target.processors * each + turns * beside, memory) + added) / SHARES_WORTH


def _together(compute: float, memory: float) -> float:
    """A kernel that takes so long to compute and to move."""
    return LAUNCH + max(compute, memory) + HIDDEN * min(compute, memory)


def peak(s: GpuContraction, target: GpuTarget) -> float:
    """Operations per nanosecond of this kind of product."""
    if s.variant == "sum":
        return target.flops / SUM_SLOWER
    if s.operand is float32:
        return target.dot_flops / {"tf32": 2.0, "tf32x3": 6.0}[s.precision] if s.precision != "ieee" else target.flops
    return target.flops / 2 if s.operand is float64 else target.dot_flops * 2 / s.operand.itemsize


def _resident(s: GpuContraction, sizes: _Sizes, target: GpuTarget) -> int:
    """Programs that a processor holds at the same time."""
    i, j, k = s.tile
    shared = max(1, s.stages * (i + j) * k * sizes.operand)
    registers = s.warps * 32 * min(255, i * j // (s.warps * 32) + 96)
    return max(1, min(target.shared_bytes // shared, target.registers // registers, 4))


def _with_descriptors(kernel: Kernel, m: Match, best: GpuContraction, target: GpuTarget) -> Iterator[GpuContraction]:
    """The best way with its operands fetched by tensor descriptors, and with a program for each processor."""
    short = all(usual(product(b.shape)) < REACH for b in kernel.buffers.values())
    sides = tuple(side for side, v, axes in (("left", m.left, m.i), ("right", m.right, m.j))
                  if target.has_descriptors and short and is_fetched(kernel, v, axes, best))
    if sides:
        yield replace(best, descriptors=sides)
    tiles = best.tiles(kernel) * product(kernel.axes[a] for a in best.g)
    if best.variant == "dot" and tiles > target.processors:                               # type: ignore[operator]
        yield replace(best, programs=target.processors, descriptors=sides)


def is_fetched(kernel: Kernel, v: Value, axes: tuple[str, ...], s: GpuContraction) -> bool:
    """Can a tensor descriptor fetch this operand? A matrix in memory, rows of multiples of 16 bytes."""
    load = narrow_source(v)
    if load.op != "load" or load.fill is not None or not is_given_as(load.dtype, s.operand) or s.g:
        return False
    shape, wanted = kernel.buffers[load.buffer].shape, [kernel.axis(a) for a in (*axes, *s.k)]
    plain = len(wanted) == 2 and sorted(map(str, load.index)) == sorted(map(str, wanted))
    return plain and isinstance(shape[-1], int) and shape[-1] * load.dtype.itemsize % 16 == 0
