"""Choosing how the register tile of a contraction (`matching.py`) runs: which variant, tile, blocks and units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..ir import expr
from ..ir.expr import Dim, coefficient, product
from ..ir.kernel import Kernel, Value, is_affine, made_of
from ..ir.scalar import CORE
from ..ir.schedule import DEPTHS, Contraction
from ..ir.target import Target
from ..ir.types import compute_dtype
from . import dots
from .blocking import CHUNK_WORK, apart_shape, blocks, grain_of, panels_of, row_blocks_of, tile_shape
from .matching import FEW_PLACES, MIN_RUN, is_channel, is_window, turned_channels
from .matching import Match as Match
from .matching import match as match
from .walks import contiguous_axis, linear_tail, strides, usual, walked_axis

FEW_ROWS = 12  # up to so many rows, a contraction is bound by reading B in lanes along J
TINY, MANY = 512, 64  # multiply-adds of a product, and products, that run as plain loops
FEW_ROWS_STREAM = 32  # more, where B lies in long runs and A in place
FEW_ROWS_DOTS = 8  # in lanes along K
FEW_ROWS_WIDENED = 16  # by so many multiply-adds at once, where the machine multiplies narrow numbers
FEW_ROWS_SLID = 4  # where B is read by windows, and so many times over
MOST_ROWS = 13  # so many have their sums in registers at once
LONG_RUN = 128
CHEAP = 3.0  # additions an element: dearer prologues are not evaluated again and again
PAGE = 4096  # rows this far apart share their places in the first cache
STREAM_DEPTHS = ((4, 4), (6, 8), (MOST_ROWS, 16))  # rows of B that are read side by side, for so many of A at most
ALONE_DEPTH = 256  # the same, where no other columns go by
LARGEST_WINDOW = 25  # places of a window whose weights are turned in registers at once


def schedule(kernel: Kernel, m: Match, target: Target) -> Contraction:
    """How a contraction runs on a target: which variant, tile, blocks and units."""
    rows = product(kernel.axes[a] for a in m.i)
    if m.parts == 1 and isinstance(rows, int) and rows <= _few(kernel, m, target) and m.is_product:
        return _few_rows(kernel, m, target)
    return next(tilings(kernel, m, target))


def is_tiny(kernel: Kernel, m: Match) -> bool:
    """Are there many products, each smaller than what a tile begins and ends with?"""
    each = product(kernel.axes[a] for a in (*m.i, *m.j, *m.k))
    batches = usual(product(kernel.axes[a] for a in m.g))
    return isinstance(each, int) and each <= TINY and batches >= MANY


def find(kernel: Kernel) -> Match | None:
    """The contraction that a kernel is, where loops over rows would not do it better."""
    found = match(kernel)
    return None if found is not None and _are_few_by_windows(kernel, found) else found


def _are_few_by_windows(kernel: Kernel, m: Match) -> bool:
    """Are few rows multiplied with windows of an image? Loops over rows read what windows share from the cache again,
    with an image's borders left out of most turns.
    """
    if m.parts > 1 or not m.is_product or not is_window(kernel, m.right, m.j, m.k):
        return False
    most = 1 if contiguous_axis(kernel, m.right) in m.k else FEW_ROWS_SLID
    return usual(product(kernel.axes[a] for a in m.i)) <= most


def fills_tiles(kernel: Kernel, m: Match) -> bool:
    """Are there rows and columns enough for a register tile?"""
    return min(usual(product(kernel.axes[a] for a in axes)) for axes in (m.i, m.j)) >= FEW_ROWS_SLID


def _few(kernel: Kernel, m: Match, target: Target) -> int:
    """Up to how many rows B is best read as it lies."""
    if _cost(m.left) > CHEAP:
        return -1
    if contiguous_axis(kernel, m.right) in m.k:
        return FEW_ROWS_DOTS
    dot = _with_dot(m, target).dot
    if dot:
        return FEW_ROWS_WIDENED // DEPTHS[dot]
    runs = usual(kernel.axes[_column_axis(kernel, m)]) >= LONG_RUN
    return FEW_ROWS_STREAM if runs and strides(kernel, m.left) is not None else FEW_ROWS


def _cost(v: Value) -> float:
    return sum(CORE[x.op].cost for x in made_of(v) if x.op in CORE)


def _few_rows(kernel: Kernel, m: Match, target: Target) -> Contraction:
    """All rows at once while B streams by: lanes along J, or along K where B is contiguous there."""
    extents = kernel.axes
    height = max(1, usual(product(extents[a] for a in m.i)))
    walk = contiguous_axis(kernel, m.right)
    along_k = walk in m.k
    j = _with_last(m.j, walk if walk in m.j else m.j[-1])
    turns = 1 if along_k else -(-height // min(MOST_ROWS, target.registers - 4))
    rows = -(-height // turns)
    vectors = max(1, min(8, (target.registers - 2) // (rows + 1)))
    vectors = min(4, vectors) if along_k else min(vectors, -(-max(1, usual(extents[j[-1]])) // 16))
    panels = 1 if along_k else _stream_panels(extents, m, j, height, vectors, target)
    columns = vectors * panels * (1 if along_k else 16)
    alone = not along_k and turns == panels == 1 and columns >= usual(extents[j[-1]])
    any_rows = min(1, usual(product(extents[a] for a in m.i)))
    units = product([*(extents[a] for a in (*m.g, *j[:-1])), blocks(extents[j[-1]], columns), any_rows])
    work = height * usual(product(extents[a] for a in m.k)) * columns
    k = _with_last(m.k, walk) if along_k else m.k
    return Contraction(
        units=units,
        grain=max(1, CHUNK_WORK // 4 // max(1, work)),
        g=m.g,
        i=m.i,
        j=j,
        k=k,
        rows=rows,
        vectors=vectors,
        panels=panels,
        depth=ALONE_DEPTH if alone else next(depth for most, depth in STREAM_DEPTHS if rows <= most),
        block=rows * turns,
        variant="dots" if along_k else "stream",
    )


def _stream_panels(
    extents: Mapping[str, Dim], m: Match, j: tuple[str, ...], rows: int, vectors: int, target: Target
) -> int:
    """Groups of columns of a unit: long runs of B's rows, but the sums stay in the first cache and all threads have
    work. Threads that wait for the same memory are done at the same time.
    """
    others, share = usual(product(extents[a] for a in (*m.g, *j[:-1]))), usual(extents[j[-1]])
    if others < 2 * target.threads:
        share = share * others // target.threads
    return max(1, min(share, 2048, target.l1_bytes // (8 * rows)) // (16 * vectors))


def _with_last(axes: tuple[str, ...], last: str) -> tuple[str, ...]:
    return (*(a for a in axes if a != last), last)


def _with_dot(m: Match, target: Target) -> Match:
    """The same match on the narrow numbers that are cast, where the machine multiplies these."""
    dot = dots.dot(m.total, m.left, m.right, target) if m.is_product and m.parts == 1 else ""
    return replace(m, left=m.left.args[0], right=m.right.args[0], dot=dot) if dot else m


def tilings(kernel: Kernel, m: Match, target: Target) -> Iterator[Contraction]:
    """Ways to run it on the register tile that differ in how A is read, the best first."""
    m = _with_dot(m, target)
    lanes = max(1, target.vector_bytes // compute_dtype(m.total.dtype).itemsize)
    k, j = k_order(kernel, m), _with_last(m.j, _column_axis(kernel, m))
    width = kernel.axes[j[-1]]

    def shape(height: Dim) -> tuple[int, int]:
        return tile_shape(height, width, lanes, target)

    for reading in _readings(kernel, m, k, shape):
        if reading[0] == "direct" and _lies_apart(kernel, m):
            height = product(kernel.axes[a] for a in reading[1][len(reading[1]) - reading[2] :])
            reading = (*reading[:-1], apart_shape(reading[-1], height, width, lanes, target))
        yield _tiled(kernel, m, target, lanes, k, j, reading)


def _tiled(
    kernel: Kernel, m: Match, target: Target, lanes: int, k: tuple[str, ...], j: tuple[str, ...], reading: tuple
) -> Contraction:
    extents = kernel.axes
    size, deep = m.packed.itemsize, DEPTHS[m.dot]
    rights = [m.right, *(v for _, v in m.others)]
    right = "rows" if contiguous_axis(kernel, m.right) == k[-1] and usual(extents[k[-1]]) >= MIN_RUN // 2 else "columns"
    left, i, i_flat, k_flat, (rows, vectors) = reading
    k_flat = 1 if right == "rows" or not m.divides(extents[k[-1]]) else k_flat
    height = product(extents[a] for a in i[len(i) - i_flat :])
    columns = vectors * lanes
    # panels of four vectors may lie in the second cache: as they go by, each is read but by few rows
    near = columns // 2 if left == "direct" and vectors == 4 else columns
    depth = max(lanes, target.l1_bytes * 3 // 2 // (near * size) // 32 * 32)  # as a panel goes by, the next of it comes
    run = usual(product(extents[a] for a in k[-k_flat:]))
    if run <= depth * 3 // 2:
        depth = max(1, run) if isinstance(product(extents[a] for a in k[-k_flat:]), int) else depth
    depth = -(-depth // deep) * deep
    panels = product([*(extents[a] for a in j[:-1]), blocks(extents[j[-1]], columns)])
    batches, lines = product(extents[a] for a in m.g), product(extents[a] for a in i[: len(i) - i_flat])
    alone = usual(batches) * usual(lines) == 1 and usual(panels) < 2 * target.threads
    most = target.l2_bytes // 5 // (depth * size)
    row_parts, block = row_blocks_of(height, rows, most, target.threads if alone else 1)
    row_blocks = lines * row_parts
    whole = product(extents[a] for a in k)
    in_place = right == "columns" and not m.dot and all(
        _is_laid_out(kernel, v, j, k[-k_flat:], columns) for v in rights)
    bytes_each = whole * columns * m.parts * size if isinstance(whole, int) else 0
    if in_place and left != "window":  # lines of a window go by all of K again and again, other rows by a depth of it
        bytes_each = 0
    others = usual(batches) * usual(row_blocks)
    width, keeps = panels_of(panels, bytes_each, depth * columns * m.parts * size, target, others)
    whole_runs = columns % MIN_RUN == 0 and (depth % MIN_RUN == 0 or depth >= run)
    if keeps and m.parts == 1 and whole_runs and _has_windows(kernel, m, k):
        right = "windows"
    if in_place:
        right, keeps = "direct", False
    units = product([batches, blocks(panels, width), row_blocks])
    work = block * usual(whole) * width * columns * m.parts // deep
    return Contraction(
        units=units,
        grain=grain_of(units, row_blocks, block, work, target),
        g=m.g,
        i=i,
        j=j,
        k=k,
        rows=rows,
        vectors=vectors,
        lanes=lanes,
        depth=depth,
        block=block,
        panels=width,
        left=left,
        right=right,
        i_flat=i_flat,
        k_flat=k_flat,
        keeps=keeps,
        parts=m.parts,
        dot=m.dot,
        flips=m.flips,
        outside="rows" if depth * columns * width * m.parts * size <= target.l2_bytes // 2 else "panels",
    )


def _lane_axis(kernel: Kernel, v: Value, axes: tuple[str, ...]) -> str:
    """The axis that runs in lanes: the contiguous one where it fills half of them, else the longest of the last."""
    walk = contiguous_axis(kernel, v)
    if walk in axes and min(16, 2 * usual(kernel.axes[walk])) >= max(min(16, usual(kernel.axes[a])) for a in axes):
        return walk
    return max(reversed(axes), key=lambda a: min(16, usual(kernel.axes[a])))


def _column_axis(kernel: Kernel, m: Match) -> str:
    """The axis of J that runs in lanes: B's contiguous one, else that of a store."""
    walks = [contiguous_axis(kernel, m.right)]
    walks += [walked_axis(kernel, kernel.buffers[s.buffer], s.index, s.axes) for s in kernel.stores]
    long = [a for a in walks if a in m.j and usual(kernel.axes[a]) >= MIN_RUN // 2]
    return long[0] if long else _lane_axis(kernel, m.right, m.j)


def _is_laid_out(kernel: Kernel, v: Value, j: tuple[str, ...], k: tuple[str, ...], columns: int) -> bool:
    """Does B lie in memory as it would be packed, along the axes of K that a depth is taken from?"""
    steps = strides(kernel, v) if compute_dtype(v.dtype) is v.dtype else None
    if steps is None or kernel.axes[j[-1]] != columns or steps.get(j[-1]) != 1 or steps.get(k[-1]) != columns:
        return False
    long = tuple(a for a in k if kernel.axes[a] != 1)
    return linear_tail(long, steps, kernel.axes) == len(long)


def _has_windows(kernel: Kernel, m: Match, k: tuple[str, ...]) -> bool:
    """Is B along each column one run of memory, with the rest of K between neighbours along its last axis?"""
    steps = None if m.dot or m.right.dtype is not m.packed else strides(kernel, m.right)
    inner = [a for a in k[:-1] if kernel.axes[a] != 1]
    if steps is None or not inner or not isinstance(kernel.axes[k[-1]], int) or kernel.axes[k[-1]] % MIN_RUN:
        return False
    if not all(isinstance(steps.get(a), int) and isinstance(kernel.axes[a], int) for a in inner):
        return False
    inner.sort(key=lambda a: -usual(steps[a]))
    window = product(kernel.axes[a] for a in inner)
    flat = linear_tail(tuple(inner), steps, kernel.axes) == len(inner) and steps[inner[-1]] == 1
    return flat and steps.get(k[-1]) == window and usual(window) <= LARGEST_WINDOW


def k_order(kernel: Kernel, m: Match) -> tuple[str, ...]:
    """K with the axis last along which an operand is contiguous; the rest as the left operand lies in memory."""
    steps = strides(kernel, m.left) if m.left.op == "load" else None
    order = m.k
    if steps is not None:
        order = tuple(sorted(m.k, key=lambda a: -usual(steps.get(a, 0))))
    for v in (m.left, m.right):
        walk = turned_channels(kernel, v, m.k) or contiguous_axis(kernel, v)
        if walk in m.k:
            return _with_last(order, walk)
    return order


def _readings(kernel: Kernel, m: Match, k: tuple[str, ...], shape: Callable[[Dim], tuple[int, int]]) -> Iterator[tuple]:
    """Ways to read A, the best first: (`left`, the axes of I in order, how many axes of I and of K are flattened, rows
    and vectors).
    """
    extents = kernel.axes
    flat = _in_place(kernel, m, k)
    if flat is not None:
        height = product(extents[a] for a in m.i[-flat[0] :])
        if isinstance(height, int) and height >= shape(height)[0]:
            yield "direct", m.i, *flat, shape(height)
    flat_k = _in_window(kernel, m, k)
    if flat_k and not _is_short_line(extents, m):
        yield "window", m.i, 1, flat_k, shape(extents[m.i[-1]])
    walk = contiguous_axis(kernel, m.left)
    if walk == k[-1] and (usual(extents[walk]) >= MIN_RUN or len(k) == 1):
        yield "rows", m.i, len(m.i), 1, shape(product(extents[a] for a in m.i))
    i = _with_last(m.i, _lane_axis(kernel, m.left, m.i)) if m.i else ()
    yield "columns", i, min(1, len(i)), len(k), shape(product(extents[a] for a in i[-1:]))


def _is_short_line(extents: Mapping[str, Dim], m: Match) -> bool:
    """Are there better whole tiles of several lines than of one? Where many columns read what is copied then."""
    return usual(extents[m.i[-1]]) < FEW_PLACES and len(m.i) > 1 and usual(product(extents[a] for a in m.j)) >= 128


def _in_place(kernel: Kernel, m: Match, k: tuple[str, ...]) -> tuple[int, int] | None:
    """How many axes of I and of K are flattened when A is read where it lies; None when it had better be copied."""
    steps = strides(kernel, m.left)
    if steps is None or not m.i or m.left.dtype is not m.packed or m.flips:
        return None
    i_flat, k_flat = linear_tail(m.i, steps, kernel.axes), linear_tail(k, steps, kernel.axes)
    row, deep = steps.get(m.i[-1], 0), steps.get(k[-1], 0)
    if m.dot and (deep != 1 or not m.divides(kernel.axes[k[-1]])):
        return None
    known = isinstance(row, int) and isinstance(deep, int) and 1 in (row, deep) and row != 0
    long = k_flat == len(k) or usual(product(kernel.axes[a] for a in k[-k_flat:])) >= MIN_RUN
    return (i_flat, k_flat) if known and long else None


def _lies_apart(kernel: Kernel, m: Match) -> bool:
    """Do neighbouring rows of A lie half pages apart, or whole ones?"""
    steps = strides(kernel, m.left) if m.i else None
    row = 0 if steps is None else steps.get(m.i[-1], 0)
    return isinstance(row, int) and row != 0 and row * m.left.dtype.itemsize % (PAGE // 2) == 0


def _in_window(kernel: Kernel, m: Match, k: tuple[str, ...]) -> int:
    """How many axes of K are flattened when A is a window that slides along the last axis of I over lines of channels,
    else 0.

    Lines are copied, with what lies outside the image, and are then read in place: a line once for all positions of the
    window on it.
    """
    v, extents = m.left, kernel.axes
    if v.op != "load" or not m.i or not is_affine(v.index):
        return 0
    slid = [x for x in v.index if m.i[-1] in expr.symbols(x)]
    sliding = [a for a in k if slid and a in expr.symbols(slid[0])]
    if len(slid) != 1 or not sliding or not (
        is_channel(v.index[-1], k[-1], k) or turned_channels(kernel, v, k) == k[-1] and not m.dot
    ):
        return 0
    if (
        any(set(sliding) & expr.symbols(x) for x in v.index if x is not slid[0])
        or tuple(sliding) != k[-1 - len(sliding) : -1]
    ):
        return 0
    channels, row = extents[k[-1]], coefficient(slid[0], m.i[-1])
    steps = [coefficient(slid[0], a) for a in sliding]
    whole = [s for s in steps if isinstance(s, int) and all(isinstance(extents[a], int) for a in sliding)]
    if not isinstance(channels, int) or not isinstance(row, int) or row < 1 or len(whole) < len(steps):
        return 0
    if channels < MIN_RUN or row * channels * m.packed.itemsize % PAGE == 0 or not m.divides(channels):
        return 0
    strides_ = {k[-1]: 1, **{a: s * channels for a, s in zip(sliding, whole)}}
    return linear_tail(k[-1 - len(sliding) :], strides_, extents)
