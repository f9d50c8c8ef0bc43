"""Reductions and scans as the user calls them: `axis` (or `dim`), `keepdims` (or `keepdim`), negative axes, dtypes by
name.
"""

from __future__ import annotations

from typing import Any

from ..ir.errors import ShapeError
from ..ir.expr import product
from ..ir.ops import F
from ..ir.ops.declare import as_dim, normalize_axes, show_shape
from ..ir.types import dtype, int64
from .arguments import as_dtype, dims, lift
from .tensor import Tensor


def _reduced(x: Any, f: Any, axis: Any, keepdims: bool, dim: Any, keepdim: bool) -> Tensor:
    axes = normalize_axes(axis if dim is None else dim, x.ndim)
    y = f(x, axes)
    if keepdims or keepdim:
        y = F.reshape(y, shape=tuple([1 if i in axes else as_dim(d) for i, d in enumerate(x.shape)]))
    return y


def _summed_dtype(x: Tensor, d: Any) -> Tensor:
    if d is not None:
        return F.astype(x, as_dtype(d))
    have = x.dtype
    if have.is_inexact or have.bits == 64:
        return x
    return F.cast(x, dtype=dtype("uint64") if have.kind == "u" else int64)


def sum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, dim: Any = None,
        keepdim: bool = False) -> Tensor:  # noqa: A001
    """The sum over axes (all by default); small integers are summed in int64."""
    return _reduced(_summed_dtype(lift(x), dtype), lambda x, a: F.sum(x, axes=a), axis, keepdims, dim, keepdim)


def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, dim: Any = None,
         keepdim: bool = False) -> Tensor:
    """The product over axes; small integers are multiplied in int64."""
    return _reduced(_summed_dtype(lift(x), dtype), lambda x, a: F.prod(x, axes=a), axis, keepdims, dim, keepdim)


def _plain_reduction(name: str, doc: str) -> Any:
    def reduction(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
        return _reduced(lift(x), lambda x, a: F[name](x, a) if not hasattr(F[name], "kind") else F[name](x, axes=a),
                        axis, keepdims, dim, keepdim)

    reduction.__name__, reduction.__doc__ = name, doc
    return reduction


mean = _plain_reduction("mean", "The mean over axes (all by default); integers in float32.")
logsumexp = _plain_reduction("logsumexp", "log(sum(exp(x))) over axes, without overflow.")


def max(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest element over axes; NaN wins."""
    return _reduced(_nonempty(lift(x), "max", axis if dim is None else dim), lambda x, a: F.max(x, axes=a), axis,
                    keepdims, dim, keepdim)


def min(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest element over axes; NaN wins."""
    return _reduced(_nonempty(lift(x), "min", axis if dim is None else dim), lambda x, a: F.min(x, axes=a), axis,
                    keepdims, dim, keepdim)


def _nonempty(x: Tensor, name: str, axis: Any) -> Tensor:
    shape = x.shape
    for a in normalize_axes(axis, len(shape)):
        if type(shape[a]) is int and not shape[a]:
            raise ShapeError(f"{name} over dimension {a} of shape {show_shape(x.shape)}, which has no elements")
    return x


amax, amin = max, min


def var(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False, dim: Any = None,
        keepdim: bool = False) -> Tensor:
    """The variance over axes, in two passes; `correction=1` for the unbiased one (PyTorch's default)."""
    return _reduced(lift(x), lambda x, a: F.variance(x, a, correction), axis, keepdims, dim, keepdim)


def std(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False, dim: Any = None,
        keepdim: bool = False) -> Tensor:
    """The standard deviation over axes."""
    return F.sqrt(var(x, axis, correction, keepdims, dim, keepdim))


def any(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Is one element true?"""
    return _reduced(F.astype(lift(x), dtype("bool")), lambda x, a: F.any(x, axes=a), axis, keepdims, dim, keepdim)


def all(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Are all elements true?"""
    return _reduced(F.astype(lift(x), dtype("bool")), lambda x, a: F.all(x, axes=a), axis, keepdims, dim, keepdim)


def argmax(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The position of the first largest element along an axis (of the flattened tensor by default)."""
    return _arg(lift(x), F.argmax, axis if dim is None else dim, keepdims or keepdim)


def argmin(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The position of the first smallest element along an axis (of the flattened tensor by default)."""
    return _arg(lift(x), F.argmin, axis if dim is None else dim, keepdims or keepdim)


def _arg(x: Tensor, op: Any, axis: Any, keepdims: bool) -> Tensor:
    rank = x.ndim
    flat = x if axis is not None else F.reshape(x, shape=(product(dims(x.shape)),))
    (a,) = normalize_axes(0 if axis is None else axis, flat.ndim)
    y = op(_nonempty(flat, op.name, a), axes=(a,))
    if not keepdims:
        return y
    shape = (1,) * rank if axis is None else tuple(1 if i == a else as_dim(d) for i, d in enumerate(x.shape))
    return F.reshape(y, shape=shape)


def cumsum(x: Any, axis: int | None = None, dtype: Any = None, dim: int | None = None) -> Tensor:
    """The running sum along an axis (of the flattened tensor by default)."""
    return _scanned(_summed_dtype(lift(x), dtype), F.cumsum, axis if dim is None else dim)


def cumprod(x: Any, axis: int | None = None, dtype: Any = None, dim: int | None = None) -> Tensor:
    """The running product along an axis (of the flattened tensor by default)."""
    return _scanned(_summed_dtype(lift(x), dtype), F.cumprod, axis if dim is None else dim)


def _scanned(x: Tensor, op: Any, axis: int | None) -> Tensor:
    x = x if axis is not None else F.reshape(x, shape=(product(dims(x.shape)),))
    (a,) = normalize_axes(0 if axis is None else axis, x.ndim)
    return op(x, axis=a, reverse=False)
