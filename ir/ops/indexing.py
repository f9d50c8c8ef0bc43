"""Gather and scatter. Indices are int64 tensors of one common shape; negative ones are resolved before.

An index outside its dimension raises in eager mode; in kernels a gather gives 0 and a scatter drops the element.
Scatters have an order (sums of floats, the last one wins) that devices' libraries do not keep: eagerly they go by the
host.
"""

from __future__ import annotations

from typing import Any

from ..errors import IndexingError
from ..expr import Dim
from . import dims
from .declare import NUMBERS, general, show_shape
from .namespace import F

_GATHERS: Any = (
    (((5,), [0, 4, 4]), {"axes": (0,)}),
    (((4, 3), [[0, 3], [1, 1]]), {"axes": (0,)}),
    (((2, 3, 4), [1, 0]), {"axes": (1,)}),
    (((4, 3), [0, 3, 1], [2, 0, 1]), {"axes": (0, 1)}),
    (((2, 3, 4), [0, 1], [3, 3]), {"axes": (0, 2)}),
    (((2, 3, 4), [[0], [2]], [[3], [1]]), {"axes": (1, 2)}),
    (((5, 2), []), {"axes": (0,)}),
)
_SCATTERS = (
    (((3,), [0, 4, 4]), {"axes": (0,), "shape": (5,)}),
    (((2, 2, 3), [[0, 3], [1, 1]]), {"axes": (0,), "shape": (4, 3)}),
    (((2, 2, 4), [1, 0]), {"axes": (1,), "shape": (2, 3, 4)}),
    (((3,), [0, 3, 0], [2, 0, 2]), {"axes": (0, 1), "shape": (4, 3)}),
)
_SETS = (
    (((5,), (2,), [0, 4]), {"axes": (0,)}),
    (((4, 3), (2, 3), [3, 1]), {"axes": (0,)}),
    (((2, 3, 4), (2, 2, 4), [2, 0]), {"axes": (1,)}),
    (((4, 3), (2,), [0, 3], [2, 0]), {"axes": (0, 1)}),
)
_ALONG = (
    (((5,), [4, 0, 0]), {"axis": 0}),
    (((3, 2), [[0, 2], [1, 1]]), {"axis": 0}),
    (((2, 4), [[0, 3, 3], [1, 2, 0]]), {"axis": 1}),
)
_SCATTERS_ALONG = (
    (((3,), [4, 0, 0]), {"axis": 0, "size": 5}),
    (((2, 2), [[0, 2], [1, 2]]), {"axis": 0, "size": 3}),
    (((2, 3), [[0, 3, 3], [1, 2, 0]]), {"axis": 1, "size": 4}),
)


def _check_bounds(x_shape, indices, axes) -> None:
    for i, a in zip(indices, axes):
        if i.size and (i.min() < 0 or i.max() >= x_shape[a]):
            bad = int(i.max()) if i.max() >= x_shape[a] else int(i.min())
            raise IndexingError(f"index {bad} is outside dimension {a} of size {x_shape[a]} (shape "
                                f"{show_shape(x_shape)})")


def _full_index(xp, x_shape, indices, axes):
    """Index arrays for all dimensions: gathered ones together at the place of the first."""
    rank, shape = len(x_shape), indices[0].shape
    first = axes[0]
    out, position = [], 0
    total = rank - len(axes) + len(shape)
    for d in range(rank):
        if d == first:
            position += len(shape)
        if d in axes:
            i = indices[axes.index(d)]
            out.append(i.reshape(*shape, *(1,) * (total - first - len(shape))))
        else:
            out.append(xp.arange(x_shape[d]).reshape([-1 if p == position else 1 for p in range(total)]))
            position += 1
    return tuple(out)


def _infer_gather(types, axes):
    x, index = types[0], types[1]
    kept = [d for i, d in enumerate(x.shape) if i not in axes]
    return x.with_shape((*kept[: axes[0]], *index.shape, *kept[axes[0]:]))


def _gather(xp, x, *indices, axes):
    _check_bounds(x.shape, indices, axes)
    if len(axes) == 1:
        return xp.take(x, indices[0], axis=axes[0])
    return x[_full_index(xp, x.shape, indices, axes)]


def _lower_gather(c, index, types, axes):
    shape, first = types[1].shape, axes[0]
    at = index[first:first + len(shape)]
    kept = iter((*index[:first], *index[first + len(shape):]))
    spots = {a: c.read(1 + n, at) for n, a in enumerate(axes)}
    return c.gathered(0, [spots[d] if d in spots else next(kept) for d in range(len(types[0].shape))])


gather = general("gather", "gather", _gather, arity=None, lower=_lower_gather, infer=_infer_gather,
                 parameters=("axes",), traits=("linear",), dims=dims.gathered,
                 vjp=lambda g, y, x, *indices, axes: (
                     F.scatter_add(g, *indices, axes=axes, shape=x.shape), *(None for _ in indices)),
                 samples=_GATHERS,
                 doc="x at `indices` along `axes`; the indices' shape stands at the place of the first of them. "
                     "`axes` are ascending, and the first one is where the result's index dimensions go.")


def _scatter_add(xp, updates, *indices, axes, shape):
    _check_bounds(shape, indices, axes)
    out = xp.zeros(shape, updates.dtype)
    xp.add.at(out, _full_index(xp, shape, indices, axes), updates)
    return out


def _scatter_places(c, point, updates, indices, axes, rank):
    """Where the update at a point goes: an entry for each dimension of the result."""
    shape, first = indices[0].shape, axes[0]
    at = point[first:first + len(shape)]
    kept = iter((*point[:first], *point[first + len(shape):]))
    spots = {a: c.read(updates + 1 + n, at) for n, a in enumerate(axes)}
    return [spots[d] if d in spots else next(kept) for d in range(rank)]


scatter_add = general("scatter_add", "scatter", _scatter_add, arity=None,
                      lower=lambda c, point, types, axes, shape: _scatter_places(c, point, 0, types[1:], axes,
                                                                                 len(shape)),
                      dtypes=NUMBERS, parameters=("axes", "shape"), traits=("linear", "host"),
                      infer=lambda types, axes, shape: types[0].with_shape(shape),
                      vjp=lambda g, y, updates, *indices, axes, shape: (
                          F.gather(g, *indices, axes=axes), *(None for _ in indices)),
                      samples=_SCATTERS,
                      doc="Zeros of `shape`, with `updates` added at `indices` along `axes`, in order (the transpose "
                          "of gather).")


def _scatter_set(xp, x, updates, *indices, axes):
    _check_bounds(x.shape, indices, axes)
    out = xp.array(x)
    out[_full_index(xp, x.shape, indices, axes)] = updates
    return out


def _scatter_set_vjp(g, y, x, updates, *indices, axes):
    zeros = F.zeros_like(updates)
    return (F.scatter_set(g, zeros, *indices, axes=axes), F.gather(g, *indices, axes=axes), *(None for _ in indices))


scatter_set = general("scatter_set", "scatter", _scatter_set, arity=None,
                      lower=lambda c, point, types, axes: _scatter_places(c, point, 1, types[2:], axes,
                                                                          len(types[0].shape)),
                      parameters=("axes",), vjp=_scatter_set_vjp, traits=("linear", "overwrites", "host"),
                      infer=lambda types, axes: types[0], samples=_SETS,
                      doc="x with `updates` written at `indices` along `axes`, the last one wins.")


# ---- along one axis --------------------------------------------------------------------------------------------------


def _gather_along(xp, x, index, axis):
    _check_bounds(x.shape, (index,), (axis,))
    return xp.take_along_axis(x, index, axis=axis)


gather_along = general("gather_along", "gather", _gather_along, arity=2,
                       lower=lambda c, index, types, axis: c.gathered(
                           0, [c.read(1, index) if d == axis else i for d, i in enumerate(index)]),
                       parameters=("axis",), traits=("linear",), dims=dims.gathered_along,
                       infer=lambda types, axis: types[0].with_shape(types[1].shape),
                       vjp=lambda g, y, x, index, axis: (F.scatter_along(g, index, axis=axis, size=x.shape[axis]),
                                                         None),
                       samples=_ALONG, doc="y[i, j] = x[index[i, j], j] (axis 0): `take_along_axis`.")


def _scatter_along(xp, updates, index, axis, size: Dim):
    shape = tuple(size if i == axis else d for i, d in enumerate(updates.shape))
    _check_bounds(shape, (index,), (axis,))
    out = xp.zeros(shape, updates.dtype)
    spots = [xp.arange(d).reshape([-1 if p == i else 1 for p in range(updates.ndim)])
             for i, d in enumerate(updates.shape)]
    spots[axis] = index
    xp.add.at(out, tuple(spots), updates)
    return out


scatter_along = general("scatter_along", "scatter", _scatter_along, arity=2,
                        lower=lambda c, point, types, axis, size: [
                            c.read(1, point) if d == axis else i for d, i in enumerate(point)],
                        dtypes=NUMBERS, parameters=("axis", "size"),
                        infer=lambda types, axis, size: types[0].with_shape(
                            size if i == axis else d for i, d in enumerate(types[0].shape)),
                        traits=("linear", "host"),
                        vjp=lambda g, y, updates, index, axis, size: (F.gather_along(g, index, axis=axis), None),
                        samples=_SCATTERS_ALONG,
                        doc="Zeros with `size` places along the axis, `updates` added at `index` (the transpose of "
                            "gather_along).")
