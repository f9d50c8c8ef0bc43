"""Ragged products: rows lie group by group, each is multiplied by the matrix of its group, as in a layer of experts.

Compiled they are dense: rows are laid out in blocks, each of one group only, so that a product is a batch of products
whose right operands are chosen by an index.
"""

from __future__ import annotations

from typing import Any

from .. import expr
from ..errors import ShapeError
from ..types import int64, promote
from . import dims
from .contraction import accumulated, product_sum
from .declare import NUMBERS, as_dim, composite, conjugate, general, same_size, show_shape
from .namespace import F
from .parts_products import bilinear

BLOCKS = (16, 128)              # rows of a block: as a tile of products has at least, and as fill one
USUAL_BLOCK = 64                # where the number of rows is not known


# ---- products whose right operands are chosen ------------------------------------------------------------------------


def _infer_chosen(types, turned=False):
    w, x, which = types
    depth, width = w.shape[-2:][::-1] if turned else w.shape[-2:]
    if (len(w.shape), len(x.shape), len(which.shape)) != (3, 3, 1) or not same_size(x.shape[2], depth) or (
            not same_size(x.shape[0], which.shape[0])):
        raise ShapeError(f"matmul_chosen: w {show_shape(w.shape)} [G, K, N], x {show_shape(x.shape)} [B, R, K] and "
                         f"which {show_shape(which.shape)} [B] do not fit one another")
    return x.with_shape((*x.shape[:2], width))


def _matmul_chosen(xp, w, x, which, turned=False):
    w = xp.swapaxes(w, 1, 2) if turned else w
    out = xp.zeros((*x.shape[:2], w.shape[2]), x.dtype)
    for q in range(w.shape[0]):
        mine = which == q
        if mine.any():
            out[mine] = xp.matmul(x[mine], w[q])
    return out


def _lower_chosen(c, index, types, turned=False):
    b, r, n = index
    name, k = c.reduced_axis(types[1].shape[-1])
    left, at = c.read(1, (b, r, k)), c.read(2, (b,))
    return product_sum(c, left, c.gathered(0, (at, n, k) if turned else (at, k, n)), (name,))


def _chosen_vjp(g, y, w, x, which, turned=False):
    sides = (g, conjugate(x)) if turned else (conjugate(x), g)
    return (F.outer_chosen(*sides, which, *_ranges(which, w.shape[0], x.shape[1])),
            F.matmul_chosen(conjugate(w), g, which, turned=not turned), None)


_CHOSEN: Any = ((((3, 4, 5), (2, 6, 4), [0, 2]), {}), (((2, 3, 1), (4, 1, 3), [0, 1, 1, 1]), {}),
                (((2, 0, 3), (2, 2, 0), [0, 1]), {}), (((3, 5, 4), (2, 6, 4), [1, 1]), {"turned": True}))

matmul_chosen = general("matmul_chosen", "contraction", accumulated(_matmul_chosen), arity=3, dtypes=NUMBERS,
                        infer=_infer_chosen, lower=_lower_chosen, traits=("bilinear", "narrow", "picks"),
                        samples=_CHOSEN, parameters=("turned",), vjp=_chosen_vjp,
                        parts=bilinear(lambda: F.matmul_chosen),
                        doc="y[b] = x[b] @ w[which[b]], which ascend; zero where there is no such matrix. Those that "
                            "are `turned` are transposed.")


def _ranges(which, count, height):
    """For each matrix the rows that it is chosen for, in blocks of this height: the first, and the one behind the last.
    """
    q, height = F.expand_dims(F.iota(size=as_dim(count)), 1), as_dim(height)
    before = (F.sum(F.cast(f(F.expand_dims(which, 0), q), dtype=int64), axes=(1,)) for f in (F.less, F.less_equal))
    return [n * height for n in before]


def _infer_outer(types):
    x, y, which, starts, ends = types
    fits = [(3, 3, 1, 1, 1)] == [tuple(len(t.shape) for t in types)] and all(
        same_size(a, b) for a, b in (*zip(x.shape[:2], y.shape[:2]), (x.shape[0], which.shape[0]),
                                     (starts.shape[0], ends.shape[0])))
    if not fits:
        raise ShapeError(f"outer_chosen: x {show_shape(x.shape)} [B, R, K], y {show_shape(y.shape)} [B, R, N], which "
                         f"{show_shape(which.shape)} [B] and ends {show_shape(ends.shape)} [G] do not fit one another")
    return x.with_shape((starts.shape[0], x.shape[2], y.shape[2]))


def _outer_chosen(xp, x, y, which, starts, ends):
    out = xp.zeros((len(starts), x.shape[2], y.shape[2]), x.dtype)
    for q in range(len(starts)):
        mine = which == q
        if mine.any():
            out[q] = xp.tensordot(x[mine], y[mine], axes=((0, 1), (0, 1)))
    return out


def _lower_outer(c, index, types):
    q, k, n = index
    name, row = c.reduced_axis(expr.product(types[0].shape[:2]))
    at, height = c.k.index(row), types[0].shape[1]
    inside = c.k.and_(c.k.le(c.read(3, (q,)), at), c.k.lt(at, c.read(4, (q,))))
    sides = (c.read(side, (expr.floordiv(row, height), expr.mod(row, height), i)) for side, i in ((0, k), (1, n)))
    return product_sum(c, *(c.k.select(inside, x, c.k.constant(0, c.k.dtype_of(x))) for x in sides), (name,))


outer_chosen = general("outer_chosen", "contraction", accumulated(_outer_chosen), arity=5, dtypes=NUMBERS,
                       infer=_infer_outer, lower=_lower_outer, traits=("bilinear", "narrow", "ranged"),
                       vjp=lambda g, z, x, y, which, starts, ends: (
                           F.matmul_chosen(g, conjugate(y), which, turned=True),
                           F.matmul_chosen(g, conjugate(x), which), None, None, None),
                       samples=((((2, 3, 4), (2, 3, 5), [0, 1], [0, 3], [3, 6]), {}),
                                (((3, 1, 2), (3, 1, 2), [1, 1, 3], [0, 0, 2, 2], [0, 2, 2, 3]), {})),
                       doc="z[q] = the sum of x[b].mT @ y[b] over the b of which[b] = q, which ascend: they are rows "
                           "starts[q] to ends[q] of all blocks.")


# ---- rows in another order -------------------------------------------------------------------------------------------


def _infer_rows(types):
    x, places, back = types
    n = len(back.shape)
    if not all(same_size(a, b) for a, b in zip(x.shape, back.shape)) or n > len(x.shape):
        raise ShapeError(f"rows_at: the places {show_shape(back.shape)} of rows are not one for each row of "
                         f"{show_shape(x.shape)}")
    return x.with_shape((*places.shape, *x.shape[n:]))


def _rows_at(xp, x, places, back):
    rows = x.reshape(back.size, *x.shape[back.ndim:])
    if not back.size:
        return xp.zeros((*places.shape, *rows.shape[1:]), x.dtype)
    inside = (places >= 0) & (places < back.size)
    y = rows[xp.where(inside, places, 0)]
    y[~inside] = 0
    return y


def _lower_rows(c, index, types):
    x, places, back = types
    n, place, entries = len(places.shape), c.read(1, index[:len(places.shape)]), []
    for size in reversed(back.shape[1:]):
        entries.insert(0, c.k.mod(place, c.k.index(size)))
        place = c.k.floordiv(place, c.k.index(size))
    return c.gathered(0, (place, *entries, *index[n:]))


def _dims_of_rows(i, shapes, result):
    return dims.gathered(i, shapes, result, (0,)) if i < 2 else (dims.MOVED,) * len(shapes[i])


rows_at = general("rows_at", "gather", _rows_at, arity=3, traits=("linear",), infer=_infer_rows, lower=_lower_rows,
                  dims=_dims_of_rows, vjp=lambda g, y, x, places, back: (F.rows_at(g, back, places), None, None),
                  samples=((((4, 3), [2, -1, 0], [2, 9, 0, -1]), {}), (((2,), [5, 1, 0, -1], [2, 1]), {}),
                           (((2, 2, 3), [2, 0], [[1, -1], [0, -1]]), {}), (((3,), [[2, -1], [0, 5]], [2, 4, 0]), {})),
                  doc="y[i] = x[places[i]], zero where there is no such row; `back` are the places in y of the rows of "
                      "x, each of which is asked for once at most. Rows of several dimensions are numbered through.")


# ---- ragged ----------------------------------------------------------------------------------------------------------


@composite
def ragged_dot(x, w, sizes):
    """[M, K] by [G, K, N]: the first sizes[0] rows times w[0], the next sizes[1] times w[1]; zero behind the last."""
    if (len(x.shape), len(w.shape), len(sizes.shape)) != (2, 3, 1) or not same_size(x.shape[1], w.shape[1]) or (
            not same_size(w.shape[0], sizes.shape[0])):
        raise ShapeError(f"ragged_dot: x {show_shape(x.shape)} [M, K], w {show_shape(w.shape)} [G, K, N] and sizes "
                         f"{show_shape(sizes.shape)} [G] do not fit one another")
    d = promote(x.dtype, w.dtype)
    x, w = F.astype(x, d), F.astype(w, d)
    m, groups = as_dim(x.shape[0]), as_dim(w.shape[0])
    block = _block(m, groups)
    count = expr.floordiv(m + block - 1, block) + groups         # at most: each group may leave a block unfilled
    sizes = F.astype(sizes, int64)
    ends, last = F.cumsum(sizes, axis=0), F.cumsum(F.floor_divide(sizes + (block - 1), block), axis=0)
    starts, first = ends - sizes, last - F.floor_divide(sizes + (block - 1), block)

    def group_of(position: Any, ends: Any) -> Any:
        """In which group a position is, `groups` behind all of them."""
        return F.sum(F.cast(F.less_equal(F.expand_dims(ends, 0), F.expand_dims(position, 1)), dtype=int64), axes=(1,))

    def at(values: Any, which: Any) -> Any:
        return F.gather(values, F.minimum(which, groups - 1), axes=(0,))

    blocks, rows = F.iota(size=count), F.iota(size=m)
    which, mine = group_of(blocks, last), group_of(rows, ends)
    row = F.expand_dims(at(starts, which) + (blocks - at(first, which)) * block, 1) + F.iota(size=block)
    exists = F.logical_and(F.expand_dims(F.less(which, groups), 1), F.less(row, F.expand_dims(at(ends, which), 1)))
    places = F.where(exists, row, -1)
    back = F.where(F.less(mine, groups), at(first, mine) * block + rows - at(starts, mine), -1)
    return F.rows_at(F.matmul_chosen(w, F.rows_at(x, places, back), which), back, places)


def _block(rows, groups):
    """Rows of a block: few where groups are small, since each may leave a part of one empty."""
    if not isinstance(rows, int) or not isinstance(groups, int):
        return USUAL_BLOCK
    low, high = BLOCKS
    return min(high, max(low, 1 << (rows // max(1, groups)).bit_length()))
