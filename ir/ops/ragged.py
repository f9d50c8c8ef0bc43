"""Ragged products: rows lie group by group, each is multiplied by the matrix of its group, as in a layer of experts.

Compiled they are dense: rows are laid out in blocks, each of one group only, so that a product is a batch of products
whose right operands are chosen by an index.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import expr
from ..errors import ShapeError
from ..types import int64, promote
from . import dims
from .contraction import product_sum, transpose
from .declare import NUMBERS, as_dim, composite, conjugate, general, same_size, show_shape
from .namespace import F

BLOCKS = (16, 128)              # rows of a block: as a tile of products has at least, and as fill one
USUAL_BLOCK = 64                # where the number of rows is not known


# ---- products whose right operands are chosen ------------------------------------------------------------------------


def _infer_chosen(types):
    w, x, which = types
    if (len(w.shape), len(x.shape), len(which.shape)) != (3, 3, 1) or not same_size(x.shape[2], w.shape[1]) or (
            not same_size(x.shape[0], which.shape[0])):
        raise ShapeError(f"matmul_chosen: w {show_shape(w.shape)} [G, K, N], x {show_shape(x.shape)} [B, R, K] and "
                         f"which {show_shape(which.shape)} [B] do not fit one another")
    return x.with_shape((*x.shape[:2], w.shape[2]))


def _push(op):
    """The forward derivative of what is linear in two operands and has an index besides."""

    def push(tangents, y, a, b, which, **attrs):
        terms = [*([op()(tangents[0], b, which, **attrs)] if tangents[0] is not None else []),
                 *([op()(a, tangents[1], which, **attrs)] if tangents[1] is not None else [])]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    return push


def _wide(x):
    """16-bit floats are multiplied and summed in float32."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


def _matmul_chosen(xp, w, x, which):
    out = xp.zeros((*x.shape[:2], w.shape[2]), x.dtype)
    for q in range(w.shape[0]):
        mine = which == q
        if mine.any():
            out[mine] = xp.matmul(_wide(x[mine]), _wide(w[q])).astype(x.dtype)
    return out


def _lower_chosen(c, index, types):
    b, r, n = index
    name, k = c.reduced_axis(types[1].shape[-1])
    left, at = c.read(1, (b, r, k)), c.read(2, (b,))
    return product_sum(c, left, c.gathered(0, (at, k, n)), (name,))


_CHOSEN: Any = (((3, 4, 5), (2, 6, 4), [2, 0]), {}), (((2, 3, 1), (4, 1, 3), [1, 1, 0, 1]), {}), (
    ((2, 0, 3), (2, 2, 0), [0, 1]), {})

matmul_chosen = general("matmul_chosen", "contraction", _matmul_chosen, arity=3, dtypes=NUMBERS, infer=_infer_chosen,
                        lower=_lower_chosen, traits=("narrow", "picks"), samples=_CHOSEN,
                        jvp=_push(lambda: F.matmul_chosen),
                        vjp=lambda g, y, w, x, which: (
                            F.outer_chosen(conjugate(x), g, which, count=w.shape[0]),
                            F.matmul_chosen(conjugate(transpose(w)), g, which), None),
                        doc="y[b] = x[b] @ w[which[b]]; zero where there is no such matrix.")


def _infer_outer(types, count):
    x, y, which = types
    if (len(x.shape), len(y.shape), len(which.shape)) != (3, 3, 1) or not all(
            same_size(a, b) for a, b in zip(x.shape[:2], y.shape[:2])) or not same_size(x.shape[0], which.shape[0]):
        raise ShapeError(f"outer_chosen: x {show_shape(x.shape)} [B, R, K], y {show_shape(y.shape)} [B, R, N] and "
                         f"which {show_shape(which.shape)} [B] do not fit one another")
    return x.with_shape((count, x.shape[2], y.shape[2]))


def _outer_chosen(xp, x, y, which, count):
    out = xp.zeros((count, x.shape[2], y.shape[2]), x.dtype)
    for q in range(count):
        mine = which == q
        if mine.any():
            out[q] = xp.tensordot(_wide(x[mine]), _wide(y[mine]), axes=((0, 1), (0, 1))).astype(x.dtype)
    return out


outer_chosen = general("outer_chosen", "library", _outer_chosen, arity=3, dtypes=NUMBERS, parameters=("count",),
                       infer=_infer_outer, traits=("narrow",), jvp=_push(lambda: F.outer_chosen),
                       vjp=lambda g, z, x, y, which, count: (
                           F.matmul_chosen(transpose(g), conjugate(y), which), F.matmul_chosen(g, conjugate(x), which),
                           None),
                       samples=((((2, 3, 4), (2, 3, 5), [1, 0]), {"count": 2}),
                                (((3, 1, 2), (3, 1, 2), [2, 2, 0]), {"count": 4})),
                       doc="z[q] = the sum of x[b].mT @ y[b] over the b of which[b] = q.")


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
