"""Functions that write at computed places, under PyTorch's and NumPy's names; running maxima, places in sorted vectors.

Tensors are values: each function returns a new one. An index may count from the end; one that is outside raises, in
compiled code what it would write is dropped.
"""

from __future__ import annotations

from typing import Any

from ..ir.errors import ShapeError, TraceError
from ..ir.ops import F
from ..ir.ops.declare import as_dim, normalize_axes, show_shape
from ..ir.types import int64
from .arguments import lift
from .indexing import resolve
from .reductions import _scanned
from .tensor import Tensor


def _index(index: Any, size: Any) -> Tensor:
    return resolve(F.astype(lift(index), int64), size)


def _shape(x: Tensor) -> tuple[Any, ...]:
    return tuple(as_dim(d) for d in x.shape)


def _source(what: str, x: Tensor, index: Tensor, src: Any, axis: int) -> Tensor:
    """The part of a source that an index has places for, in the dtype of what is written to."""
    src = F.astype(lift(src), x.dtype)
    if src.ndim == 0:
        return F.broadcast_to(src, shape=_shape(index))
    fits = index.ndim == x.ndim == src.ndim and all(
        i <= s and (d == axis or i <= n) for d, (i, s, n) in enumerate(zip(index.shape, src.shape, x.shape)))
    if not fits:
        raise ShapeError(f"{what}: an index of shape {show_shape(index.shape)} for a source of shape "
                         f"{show_shape(src.shape)} and a tensor of shape {show_shape(x.shape)}: it may be nowhere "
                         f"larger than these, but along dimension {axis} than the tensor")
    return src[tuple(slice(0, n) for n in index.shape)]


def scatter_add(x: Any, dim: int, index: Any, src: Any) -> Tensor:
    """x with src[i, j] added at x[index[i, j], j] (dim 0), and so on, in order.

    >>> braze.scatter_add(braze.zeros(3), 0, braze.tensor([0, 2, 2]), braze.tensor([1.0, 2.0, 3.0]))
    tensor([1., 0., 5.])
    """
    x = lift(x)
    (axis,) = normalize_axes(dim, x.ndim)
    index = _index(index, x.shape[axis])
    src = _source("scatter_add", x, index, src, axis)
    added = F.scatter_along(src, index, axis=axis, size=as_dim(x.shape[axis]))
    missing = tuple(as_dim(n) - as_dim(m) for n, m in zip(x.shape, added.shape))
    if any(not isinstance(n, int) or n for n in missing):
        added = F.pad(added, low=(0,) * x.ndim, high=missing, value=0)
    return x + added


def scatter(x: Any, dim: int, index: Any, src: Any) -> Tensor:
    """x with src[i, j] (or a number) written at x[index[i, j], j] (dim 0), and so on; the last one wins.

    >>> braze.scatter(braze.zeros(2, 3), 1, braze.tensor([[2], [0]]), 7.0)
    tensor([[0., 0., 7.],
            [7., 0., 0.]])
    """
    x = lift(x)
    (axis,) = normalize_axes(dim, x.ndim)
    index = _index(index, x.shape[axis])
    src = _source("scatter", x, index, src, axis)
    shape = _shape(index)
    places = [index if d == axis else F.broadcast_to(
        F.reshape(F.iota(size=n), shape=tuple(n if e == d else 1 for e in range(x.ndim))), shape=shape)
        for d, n in enumerate(shape)]
    return F.scatter_set(x, src, *places, axes=tuple(range(x.ndim)))


def index_add(x: Any, dim: int, index: Any, source: Any, alpha: float = 1) -> Tensor:
    """x with the slices of alpha * source added to those of x that a vector of positions names, in order.

    >>> braze.index_add(braze.zeros(3, 2), 0, braze.tensor([2, 2]), braze.ones(2, 2))
    tensor([[0., 0.],
            [0., 0.],
            [2., 2.]])
    """
    x, index, source = lift(x), lift(index), lift(source)
    (axis,) = normalize_axes(dim, x.ndim)
    wanted = tuple(n if d != axis else index.shape[0] for d, n in enumerate(x.shape)) if index.ndim == 1 else None
    if wanted is None or source.ndim != x.ndim or any(a != b for a, b in zip(source.shape, wanted)):
        raise ShapeError(f"index_add: an index of shape {show_shape(index.shape)} and a source of shape "
                         f"{show_shape(source.shape)} for a tensor of shape {show_shape(x.shape)}: the index is a "
                         f"vector, and the source has the tensor's shape but for its length along dimension {axis}")
    source = F.astype(source if isinstance(alpha, int) and alpha == 1 else source * alpha, x.dtype)
    return x + F.scatter_add(source, _index(index, x.shape[axis]), axes=(axis,), shape=_shape(x))


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """x with values[i, j] written at x[indices[i, j], j] (axis 0), and so on: `take_along_axis` the other way round.

    >>> braze.put_along_axis(braze.zeros(2, 2), braze.tensor([[1], [0]]), 5.0, axis=1)
    tensor([[0., 5.],
            [5., 0.]])
    """
    indices = lift(indices)
    return scatter(x, axis, indices, F.broadcast_to(lift(values), shape=_shape(indices)))


def searchsorted(edges: Any, x: Any, side: str = "left") -> Tensor:
    """Where each x goes into the ascending vector `edges`, before equal ones (side "left") or after ("right").

    >>> braze.searchsorted(braze.tensor([1.0, 2.0, 3.0]), braze.tensor([0.5, 2.0, 9.0]))
    tensor([0, 1, 3])
    """
    if side not in ("left", "right"):
        raise ShapeError(f"searchsorted: side is 'left' or 'right', not {side!r}")
    return F.searchsorted(lift(edges), lift(x), side=side)


def cummax(x: Any, axis: int | None = None, dim: int | None = None) -> Tensor:
    """The running maximum along an axis (of the flattened tensor by default); NaN wins.

    >>> braze.cummax(braze.tensor([1.0, 3.0, 2.0]))
    tensor([1., 3., 3.])
    """
    return _scanned(lift(x), F.cummax, axis if dim is None else dim)


def cummin(x: Any, axis: int | None = None, dim: int | None = None) -> Tensor:
    """The running minimum along an axis (of the flattened tensor by default); NaN wins.

    >>> braze.cummin(braze.tensor([2.0, 3.0, 1.0]))
    tensor([2., 2., 1.])
    """
    return _scanned(lift(x), F.cummin, axis if dim is None else dim)


def logcumsumexp(x: Any, axis: int | None = None, dim: int | None = None) -> Tensor:
    """log of the running sum of exponentials along an axis (of the flattened tensor by default), without overflow.

    >>> braze.logcumsumexp(braze.tensor([1000.0, 1000.0]))
    tensor([1000.    , 1000.6931])
    """
    return _scanned(lift(x), F.logcumsumexp, axis if dim is None else dim)


def bincount(x: Any, size: int | None = None, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0 … size - 1 occurs in a vector, or the sum of its weights. Without a size it goes up to the
    largest number there is, and to `minlength` at least; a compiled function needs the size.

    >>> braze.bincount(braze.tensor([0, 2, 2]), minlength=5)
    tensor([1, 0, 2, 0, 0])
    """
    x = lift(x)
    if size is None and x._array is None:
        raise TraceError("bincount: how long the result is depends on values, which are not known while the function "
                         "is being traced; give the size, bincount(x, size)")
    if size is None:
        size = max(int(x.max()) + 1 if x.size else 0, minlength)
    return F.bincount(x, size, None if weights is None else lift(weights))
