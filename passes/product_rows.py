"""Choosing how the product runs in a kernel that goes on with whole rows of it (`ir/product_rows.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..ir.expr import Dim, product
from ..ir.kernel import FOLDS, Kernel, Value
from ..ir.product_rows import PRODUCT, take_apart
from ..ir.schedule import Contraction
from ..ir.target import Target
from ..ir.types import compute_dtype
from . import contraction
from .blocking import blocks, with_blocks
from .walks import usual

SHALLOW = 256                    # K, by which rows are better made in pieces than read back
LEAST_ROWS = 14                  # of a tile, that all columns of are in the cache


def tiled(kernel: Kernel, target: Target) -> tuple[Contraction, Kernel] | None:
    """How the product runs, all columns in a unit, and the rest of the kernel; None where there is no such product, or
    its rows and what they are multiplied with do not stay in the cache.
    """
    for m, folded in _matches(kernel):
        for one in (m, _with_pieces(m, folded)):
            product_ = take_apart(kernel, m.total, (*one.g, *one.i), one.j).product
            chosen = _all_columns(product_, next(contraction.tilings(product_, one, target)), target)
            if chosen is not None:
                panel = chosen.vectors * chosen.lanes
                return chosen, take_apart(kernel, m.total, (*one.g, *one.i), chosen.j, panel).rest
    return None


def pieces_of_columns(kernel: Kernel, target: Target) -> tuple[str, int] | None:
    """An axis of columns that are too many for the cache, and how many pieces of them are not."""
    for m, folded in _matches(kernel):
        long = [kernel.axes[a] for a in (*m.k, *folded)]
        if len(folded) == 1 and all(isinstance(n, int) for n in long) and usual(product(long[:-1])) <= SHALLOW:
            size = compute_dtype(m.total.dtype).itemsize
            packed = usual(product(long)) * size
            row = usual(kernel.axes[folded[0]]) * size
            return folded[0], max(-(-packed // target.l2_bytes), -(-row * LEAST_ROWS // (target.l2_bytes // 2)))
    return None


def _matches(kernel: Kernel) -> Iterator[tuple[contraction.Match, tuple[str, ...]]]:
    """The contractions of which rows are folded, and the axes that are."""
    for total in private_sums(kernel):
        over = {a for v in kernel.values if v.op in FOLDS and v is not total for a in v.over}
        folded = tuple(a for a in total.axes if a in over)
        m = _match(kernel, total, set(folded)) if folded else None
        if m is not None:
            yield m, folded


def _with_pieces(m: contraction.Match, folded: tuple[str, ...]) -> contraction.Match:
    """The same with columns that are not folded as a batch."""
    return replace(m, g=(*(a for a in m.j if a not in folded), *m.g), j=tuple(a for a in m.j if a in folded))


def private_sums(kernel: Kernel) -> Iterator[Value]:
    """Sums beside other folds, over axes that nothing else runs over."""
    folds = [v for v in kernel.values if v.op in FOLDS]
    kept = {a for s in kernel.stores for a in s.axes}
    for v in folds if len(folds) > 1 else ():
        alone = not any(set(v.over) & set(w.over) for w in folds if w is not v) and not set(v.over) & kept
        if v.op == "reduce" and v.combine == "sum" and alone:
            yield v


def _match(kernel: Kernel, total: Value, folded: set[str]) -> contraction.Match | None:
    """The contraction, what is folded of its result being columns."""
    rows = [a for a in total.axes if a not in folded]
    m = contraction.match(take_apart(kernel, total, rows, tuple(a for a in total.axes if a in folded)).product)
    if m is None or m.parts > 1:
        return None
    if not folded <= set(m.j):
        m = replace(m, left=m.right, right=m.left, i=m.j, j=m.i)
    kept = all({*m.g, *m.i} <= set(s.axes) for s in kernel.stores)
    return m if kept and m.i and folded <= set(m.j) else None


def _all_columns(kernel: Kernel, s: Contraction, target: Target) -> Contraction | None:
    """The schedule with all columns in a unit, in which rows are finished one tile after the other."""
    extents, columns = kernel.axes, s.vectors * s.lanes
    size = compute_dtype(kernel.buffers[PRODUCT].dtype).itemsize
    panels = product([*(extents[a] for a in s.j[:-1]), blocks(extents[s.j[-1]], columns)])
    deep = product(extents[a] for a in s.k)
    if not isinstance(panels, int) or not isinstance(deep, int) or panels < 1 or s.flips:
        return None
    if s.right != "direct" and panels * columns * deep * size > 2 * target.l2_bytes:
        return None
    most = target.l2_bytes // 2 // (panels * columns * size) // s.rows * s.rows
    block = s.block if deep <= s.depth else min(s.block, most)
    height: Dim = product(extents[a] for a in s.i[len(s.i) - s.i_flat :])
    others = usual(product(extents[a] for a in (*s.g, *s.i[: len(s.i) - s.i_flat])))
    share = -(-usual(height) * others // (2 * target.threads * s.rows)) * s.rows
    block = min(block, max(s.rows, share))
    if most < s.rows:
        return None
    whole = replace(s, panels=panels, keeps=s.right != "direct", outside="rows")
    return with_blocks(kernel, target, whole, s.rows, s.vectors, block, panels)
