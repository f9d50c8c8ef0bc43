"""Sorting, and what is built on it. `argsort` is a library call; gradients flow through the gather."""

from __future__ import annotations

import math

from ..types import TensorType, int64
from .declare import REAL, composite, general
from .indexing import sortable
from .manipulation import cut, from_the_end, one_axis
from .namespace import F


@composite
def sort(x, axis=-1, descending=False):
    """x in order along an axis; NaN last (first when descending)."""
    axis = one_axis(axis, len(x.shape))
    return F.gather_along(x, F.argsort(x, axis=axis, descending=descending), axis=axis)


@composite
def topk(x, k, axis=-1, largest=True):
    """The k largest (or smallest) along an axis in order, and their places."""
    axis = one_axis(axis, len(x.shape))
    places = cut(F.argsort(x, axis=axis, descending=largest), axis, 0, k)
    return F.gather_along(x, places, axis=axis), places


@composite
def quantile(x, q, axis=-1):
    """The q-quantile along an axis, interpolated linearly; the size of the axis is known."""
    axis = one_axis(axis, len(x.shape))
    x = F.sort(F.as_inexact(x), axis)
    at = q * (x.shape[axis] - 1)
    low = min(math.floor(at), max(x.shape[axis] - 2, 0))
    first = F.squeeze(cut(x, axis, low, 1), axis)
    if at == low:
        return first
    return F.lerp(first, F.squeeze(cut(x, axis, low + 1, 1), axis), at - low)


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
