"""Shapes and places: functions written with the views. Sizes may be symbolic; axes count from the end where they are
negative.
"""

from __future__ import annotations

import math

from .. import expr
from ..errors import ShapeError
from ..types import int64
from .declare import as_dim, composite, element_count, normalize_axes
from .namespace import F


def one_axis(axis, rank):
    """One axis, checked and made positive."""
    return normalize_axes(axis, rank)[0]


def cut(x, axis, start, size, step=1):
    """x from `start` along one axis."""
    rank = len(x.shape)
    return F.slice(x, start=tuple(start if i == axis else 0 for i in range(rank)),
                   shape=tuple(size if i == axis else d for i, d in enumerate(x.shape)),
                   step=tuple(step if i == axis else 1 for i in range(rank)))


def along(vector, axis, rank):
    """A vector as a tensor of this rank that varies along one axis."""
    return F.reshape(vector, shape=tuple(vector.shape[0] if i == axis else 1 for i in range(rank)))


# ---- ranks and orders ------------------------------------------------------------------------------------------------


@composite
def expand_dims(x, axis):
    """x with dimensions of size 1 at `axis` (places in the result)."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    places = normalize_axes(axes, len(x.shape) + len(axes))
    rest = iter(x.shape)
    return F.reshape(x, shape=tuple(1 if i in places else next(rest) for i in range(len(x.shape) + len(axes))))


@composite
def squeeze(x, axis=None):
    """x without the dimensions of size 1 at `axis` (None: all of them)."""
    if axis is None:
        axes = tuple(i for i, d in enumerate(x.shape) if isinstance(d, int) and d == 1)
    else:
        axes = normalize_axes(axis, len(x.shape))
    for a in axes:
        if isinstance(x.shape[a], int) and x.shape[a] != 1:
            raise ShapeError(f"squeeze: dimension {a} has size {x.shape[a]}, not 1")
    return F.reshape(x, shape=tuple(d for i, d in enumerate(x.shape) if i not in axes))


@composite
def flatten(x, start=0, stop=-1):
    """The dimensions from start to stop (inclusive) as one."""
    if not x.shape:
        return F.reshape(x, shape=(1,))
    first, last = one_axis(start, len(x.shape)), one_axis(stop, len(x.shape))
    return F.reshape(x, shape=(*x.shape[:first], element_count(x.shape[first:last + 1]), *x.shape[last + 1:]))


@composite
def moveaxis(x, source, destination):
    """Axes moved to other places, the rest in their order."""
    rank = len(x.shape)
    pick = (source,) if isinstance(source, int) else tuple(source)
    put = (destination,) if isinstance(destination, int) else tuple(destination)
    moved = dict(zip((one_axis(a, rank) for a in put), (one_axis(a, rank) for a in pick)))
    rest = iter(i for i in range(rank) if i not in moved.values())
    return F.permute(x, axes=tuple(moved[i] if i in moved else next(rest) for i in range(rank)))


@composite
def swapaxes(x, a, b):
    """Two axes exchanged."""
    order = list(range(len(x.shape)))
    a, b = one_axis(a, len(order)), one_axis(b, len(order))
    order[a], order[b] = order[b], order[a]
    return F.permute(x, axes=tuple(order))


@composite
def matrix_transpose(x):
    """The last two dimensions exchanged."""
    return F.swapaxes(x, -1, -2)


# ---- joining and cutting ---------------------------------------------------------------------------------------------


@composite
def stack(tensors, axis=0):
    """Tensors of one shape beside each other along a new axis."""
    axis = one_axis(axis, len(tensors[0].shape) + 1)
    return F.concat(*(F.expand_dims(t, axis) for t in tensors), axis=axis)


@composite
def unstack(x, axis=0):
    """The tensors along an axis, as a tuple."""
    axis = one_axis(axis, len(x.shape))
    return tuple(F.squeeze(cut(x, axis, i, 1), axis) for i in range(x.shape[axis]))


@composite
def split(x, sizes, axis=0):
    """Pieces along an axis: of one size (the last may be smaller), or of the sizes listed."""
    axis = one_axis(axis, len(x.shape))
    total = x.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    out, start = [], 0
    for size in map(as_dim, sizes):
        out.append(cut(x, axis, start, size))
        start = start + size
    if isinstance(start, int) and isinstance(total, int) and start != total:
        raise ShapeError(f"split: the sizes {list(sizes)} make {start}, but dimension {axis} has size {total}")
    return tuple(out)


@composite
def chunk(x, count, axis=0):
    """`count` pieces along an axis; the first ones have the larger size where it does not divide evenly."""
    axis = one_axis(axis, len(x.shape))
    size = x.shape[axis]
    if isinstance(size, int):
        return F.split(x, [size // count + (i < size % count) for i in range(count)], axis)
    return F.split(x, [expr.floordiv(size + count - 1 - i, count) for i in range(count)], axis)


# ---- repetition ------------------------------------------------------------------------------------------------------


@composite
def tile(x, counts):
    """x repeated as a whole, `counts` times along its last dimensions."""
    counts = (counts,) if isinstance(counts, int) else tuple(counts)
    rank = max(len(x.shape), len(counts))
    shape = (*(1 for _ in range(rank - len(x.shape))), *x.shape)
    counts = (*(1 for _ in range(rank - len(counts))), *counts)
    x = F.reshape(x, shape=tuple(s for d in shape for s in (1, d)))
    x = F.broadcast_to(x, shape=tuple(s for n, d in zip(counts, shape) for s in (n, d)))
    return F.reshape(x, shape=tuple(d * n for n, d in zip(counts, shape)))


@composite
def repeat(x, count, axis):
    """Each element `count` times after each other; or a tuple with a count for each place."""
    axis = one_axis(axis, len(x.shape))
    if not isinstance(count, (tuple, list)):
        wide = F.expand_dims(x, axis + 1)
        wide = F.broadcast_to(wide, shape=tuple(count if i == axis + 1 else d for i, d in enumerate(wide.shape)))
        return F.reshape(wide, shape=tuple(d * count if i == axis else d for i, d in enumerate(x.shape)))
    pieces = [F.repeat(cut(x, axis, i, 1), n, axis) for i, n in enumerate(count) if n]
    return F.concat(*pieces, axis=axis) if pieces else cut(x, axis, 0, 0)


@composite
def roll(x, shift, axis):
    """Elements moved along an axis; what leaves at the end enters at the start. Several axes with a shift each, too."""
    if not isinstance(axis, int):
        for s, a in zip(shift, axis):
            x = F.roll(x, s, a)
        return x
    axis = one_axis(axis, len(x.shape))
    size = x.shape[axis]
    if isinstance(size, int) and size == 0:
        return x
    first = expr.mod(-shift, size)
    return F.concat(cut(x, axis, first, size - first), cut(x, axis, 0, first), axis=axis)


@composite
def flipud(x):
    """The first axis backwards."""
    return F.flip(x, (0,))


@composite
def rot90(x, times=1, axes=(0, 1)):
    """Turned by right angles in the plane of two axes, from the first towards the second."""
    a, b = (one_axis(i, len(x.shape)) for i in axes)
    times %= 4
    if times == 2:
        return F.flip(x, tuple(sorted((a, b))))
    if times == 1:
        return F.swapaxes(F.flip(x, (b,)), a, b)
    return F.flip(F.swapaxes(x, a, b), (b,)) if times == 3 else x


# ---- triangles and diagonals -----------------------------------------------------------------------------------------


def _below(rows, columns, k):
    """Is the column at most the row plus k?"""
    i, j = F.reshape(F.iota(size=rows), shape=(rows, 1)), F.iota(size=columns)
    return F.less_equal(j, i + k)


@composite
def tril(x, k=0):
    """The lower triangle of the last two dimensions, zeros above the k-th diagonal."""
    return F.where(_below(*x.shape[-2:], k), x, F.zeros_like(x))


@composite
def triu(x, k=0):
    """The upper triangle of the last two dimensions, zeros below the k-th diagonal."""
    return F.where(_below(*x.shape[-2:], k - 1), F.zeros_like(x), x)


@composite
def eye(rows, columns, k, dtype):
    """Ones on the k-th diagonal."""
    i, j = F.reshape(F.iota(size=rows), shape=(rows, 1)), F.iota(size=columns)
    return F.cast(F.equal(j, i + k), dtype=dtype)


def _diagonal_size(rows, columns, k):
    return expr.maximum(0, expr.minimum(rows + min(k, 0), columns - max(k, 0)))


@composite
def diagonal(x, k=0, axis1=0, axis2=1):
    """The k-th diagonal of two axes, as the last dimension."""
    x = F.moveaxis(x, (axis1, axis2), (-2, -1))
    n, rank = _diagonal_size(*x.shape[-2:], k), len(x.shape)
    i = F.iota(size=n)
    return F.gather(x, i - min(k, 0), i + max(k, 0), axes=(rank - 2, rank - 1))


@composite
def diag_embed(x, k=0):
    """The last dimension as the k-th diagonal of matrices, zeros elsewhere."""
    n = x.shape[-1] + abs(k)
    on = F.eye(n, n, k, _bool())
    wide = F.pad(x, low=(*(0 for _ in x.shape[1:]), max(k, 0)), high=(*(0 for _ in x.shape[1:]), max(-k, 0)), value=0)
    return F.where(on, F.expand_dims(wide, -2), F.full((), 0, x.dtype))


def _bool():
    from ..types import bool_

    return bool_


@composite
def trace(x, k=0, axis1=0, axis2=1):
    """The sum of the k-th diagonal."""
    d = F.diagonal(x, k, axis1, axis2)
    return F.sum(d, axes=(len(d.shape) - 1,))


# ---- picking ---------------------------------------------------------------------------------------------------------


@composite
def take(x, index, axis):
    """x at indices along one axis; negative ones count from the end."""
    axis = one_axis(axis, len(x.shape))
    return F.gather(x, from_the_end(index, x.shape[axis]), axes=(axis,))


@composite
def take_along(x, index, axis):
    """y[i, j] = x[index[i, j], j] (axis 0), other dimensions broadcast; negative indices count from the end."""
    axis = one_axis(axis, len(x.shape))
    x, index = _alike_but(x, index, axis)
    return F.gather_along(x, from_the_end(index, x.shape[axis]), axis=axis)


def from_the_end(index, size):
    """Indices as int64, negative ones resolved."""
    index = F.astype(index, int64)
    return F.where(F.less(index, 0), index + size, index)


def _alike_but(x, index, axis):
    """Both broadcast to each other in all dimensions but one."""
    both = [tuple(b if isinstance(a, int) and a == 1 else a for a, b in zip(s, t))
            for s, t in ((x.shape, index.shape), (index.shape, x.shape))]
    shapes = [tuple(own.shape[i] if i == axis else d for i, d in enumerate(both[0])) for own in (x, index)]
    return tuple(t if t.shape == s else F.broadcast_to(t, shape=s) for t, s in zip((x, index), shapes))


@composite
def one_hot(index, size, dtype):
    """1 at the index along a new last dimension, else 0."""
    return F.cast(F.equal(F.expand_dims(F.astype(index, int64), -1), F.iota(size=size)), dtype=dtype)


@composite
def bincount(index, size, weights=None):
    """How often each of 0 … size - 1 occurs in a vector, or the sum of its weights."""
    ones = F.ones_like(F.astype(index, int64)) if weights is None else weights
    return F.scatter_add(ones, F.astype(index, int64), axes=(0,), shape=(size,))


@composite
def isin(x, among):
    """Is each element one of a vector?"""
    hits = F.equal(F.expand_dims(x, -1), F.reshape(among, shape=(element_count(among.shape),)))
    return F.any(hits, axes=(len(hits.shape) - 1,))


# ---- differences and grids -------------------------------------------------------------------------------------------


@composite
def diff(x, axis=-1, times=1):
    """Differences of neighbours along an axis."""
    axis = one_axis(axis, len(x.shape))
    for _ in range(times):
        size = expr.maximum(0, x.shape[axis] - 1)
        x = cut(x, axis, 1, size) - cut(x, axis, 0, size) if size != 0 else cut(x, axis, 0, 0)
    return x


@composite
def linspace(start, stop, count, dtype):
    """`count` numbers evenly from start to stop, both included."""
    i = F.astype(F.iota(size=count), dtype)
    step = (stop - start) / (count - 1) if isinstance(count, int) and count > 1 else 0.0
    line = i * step + start
    return F.where(F.equal(i, count - 1), stop, line) if isinstance(count, int) and count > 1 else line


@composite
def logspace(start, stop, count, base, dtype):
    """base to the power of `count` numbers evenly from start to stop."""
    return F.exp(F.linspace(start, stop, count, dtype) * math.log(base))


@composite
def meshgrid(vectors, indexing="xy"):
    """Coordinates on the grid of vectors, one tensor for each; "xy" exchanges the first two axes."""
    n = len(vectors)
    place = list(range(n))
    if indexing == "xy" and n > 1:
        place[0], place[1] = 1, 0
    shape: list = [0] * n
    for v, p in zip(vectors, place):
        shape[p] = v.shape[0]
    return tuple(F.broadcast_to(along(v, p, n), shape=tuple(shape)) for v, p in zip(vectors, place))
