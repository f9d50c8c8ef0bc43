"""Sorting, and what is built on it: gathers at the places that `argsort` gives, through which gradients flow."""

from __future__ import annotations

import math

from ..errors import ShapeError
from ..sorting import sortable, stable_order
from ..types import TensorType, bool_, int64
from . import dims
from .declare import NUMBERS, REAL, composite, general
from .manipulation import cut, from_the_end, one_axis
from .namespace import F


def _argsort(xp, x, axis, descending, start=0, count=None):
    order = stable_order(xp, x, axis, descending)
    return order if count is None else order[(slice(None),) * axis + (slice(start, start + count),)]


def _infer_argsort(types, axis, descending, start=0, count=None):
    (x,) = types
    n, count = x.shape[axis], x.shape[axis] if count is None else count
    if all(isinstance(d, int) for d in (n, start, count)) and not 0 <= start <= start + count <= n:
        raise ShapeError(f"argsort: {count} places from {start} are asked for, of {n} along axis {axis} of a tensor of "
                         f"shape {list(x.shape)}; ask for at most {n}")
    return TensorType(tuple(count if i == axis else d for i, d in enumerate(x.shape)), int64, x.device)


def _lower_argsort(c, index, types, axis, descending, start=0, count=None):
    """Each result is a position of an axis of its own that is sorted over, at a place in order."""
    size = types[0].shape[axis]
    if isinstance(size, int) and size == 1:
        return c.k.constant(0, int64)
    over, position = c.reduced_axis(size)
    x = c.read(0, [position if d == axis else i for d, i in enumerate(index)])
    return c.k.argsort("descending" if descending else "ascending", x, over, index[axis] + start)


argsort = general("argsort", "sort", _argsort, arity=1, dtypes=(bool_, *NUMBERS),
                  parameters=("axis", "descending", "start", "count"), infer=_infer_argsort,
                  lower=_lower_argsort, dims=dims.sorted_along,
                  vjp=lambda g, y, x, **attrs: (None,),
                  samples=(*(((x,), {"axis": a, "descending": d})
                             for x, a in (((7,), 0), ((3, 4), 1), ((0, 2), 0)) for d in (False, True)),
                           (((5, 4), ), {"axis": 0, "descending": True, "start": 1, "count": 3})),
                  doc="The stable order that sorts x; NaN last (first when descending). With a `count`, so many places "
                      "of it from `start` on.")


@composite
def sort(x, axis=-1, descending=False):
    """x in order along an axis; NaN last (first when descending)."""
    axis = one_axis(axis, len(x.shape))
    return F.gather_along(x, F.argsort(x, axis=axis, descending=descending), axis=axis)


@composite
def topk(x, k, axis=-1, largest=True):
    """The k largest (or smallest) along an axis in order, and their places."""
    axis = one_axis(axis, len(x.shape))
    places = F.argsort(x, axis=axis, descending=largest, start=0, count=k)
    return F.gather_along(x, places, axis=axis), places


@composite
def quantile(x, q, axis=-1):
    """The q-quantile along an axis, interpolated linearly; the size of the axis is known."""
    axis = one_axis(axis, len(x.shape))
    x = F.as_inexact(x)
    at = q * (x.shape[axis] - 1)
    low = min(math.floor(at), max(x.shape[axis] - 2, 0))
    is_between = at != low
    x = F.gather_along(x, F.argsort(x, axis=axis, descending=False, start=low, count=1 + is_between), axis=axis)
    first = F.squeeze(cut(x, axis, 0, 1), axis)
    return F.lerp(first, F.squeeze(cut(x, axis, 1, 1), axis), at - low) if is_between else first


@composite
def median(x, axis=-1):
    """The middle element along an axis, or the mean of the two in the middle."""
    return F.quantile(x, 0.5, axis)


def _searchsorted(xp, edges, x, side):
    return xp.asarray(xp.searchsorted(sortable(xp, edges), sortable(xp, x), side=side)).astype(xp.int64)


searchsorted = general("searchsorted", "library", _searchsorted, arity=2, dtypes=REAL, parameters=("side",),
                       infer=lambda types, side: TensorType(types[1].shape, int64, types[1].device),
                       vjp=lambda g, y, edges, x, side: (None, None),
                       samples=tuple((((5,), x), {"side": side}) for x in ((), (7,), (2, 3))
                                     for side in ("left", "right")),
                       doc="Where each x goes into the ascending vector `edges`, before equal ones (side \"left\") or "
                           "after (\"right\").")


@composite
def put_along(x, index, values, axis):
    """x with values[i, j] written at x[index[i, j], j] (axis 0); each place at most once."""
    axis = one_axis(axis, len(x.shape))
    index = from_the_end(index, x.shape[axis])
    size = x.shape[axis]
    written = F.scatter_along(F.ones_like(index), index, axis=axis, size=size)
    return F.where(F.greater(written, 0), F.scatter_along(F.astype(values, x.dtype), index, axis=axis, size=size), x)
