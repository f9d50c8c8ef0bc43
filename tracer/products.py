"""Products, indexing by tensors, sorting, selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.errors import DTypeError, ShapeError
from ..ir.expr import product
from ..ir.ops import F
from ..ir.ops.declare import as_dim, normalize_axes, show_shape
from ..ir.types import bool_, int64, promote
from .arguments import as_dtype, lift
from .manipulation import expand_dims, permute_dims, reshape, squeeze
from .tensor import Tensor


def matmul(a: Any, b: Any, dtype: Any = None) -> Tensor:
    """The matrix product, batches broadcast; vectors as NumPy treats them.

    With a `dtype`, operands are taken for numbers of that type, which products are summed in: `dtype=braze.int32` of
    8-bit integers is exact, and compiled it runs on the machine's instructions for them.
    """
    a, b = lift(a), lift(b)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul does not take 0-d tensors; use *")
    if dtype is not None or a.dtype is not b.dtype:
        d = promote(a.dtype, b.dtype) if dtype is None else as_dtype(dtype)
        a, b = F.astype(a, d), F.astype(b, d)
    if a.ndim == b.ndim:
        return F.matmul(a, b) if a.ndim > 1 else squeeze(F.matmul(expand_dims(a, 0), expand_dims(b, 1)))
    row, column = a.ndim == 1, b.ndim == 1
    a = expand_dims(a, 0) if row else a
    b = expand_dims(b, 1) if column else b
    y = F.matmul(a, b)
    y = squeeze(y, -2 if not column else -2) if row else y
    return squeeze(y, -1) if column else y


def bmm(a: Any, b: Any) -> Tensor:
    """Matrix products of two batches: [b, n, k] by [b, k, m] gives [b, n, m], with no broadcasting."""
    a, b = lift(a), lift(b)
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ShapeError(f"bmm: shapes {show_shape(a.shape)} and {show_shape(b.shape)} are not two batches [b, n, k] "
                         "and [b, k, m] of as many matrices; matmul broadcasts")
    return matmul(a, b)


def dot(a: Any, b: Any) -> Tensor:
    """The sum of products of two vectors (matmul otherwise)."""
    return matmul(a, b)


def outer(a: Any, b: Any) -> Tensor:
    """All products of two vectors."""
    return F.mul(expand_dims(lift(a), 1), lift(b))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """The sum of products over pairs of axes."""
    a, b = lift(a), lift(b)
    left, right = (list(range(a.ndim - axes, a.ndim)), list(range(axes))) if isinstance(axes, int) else (
        [x % a.ndim for x in np.atleast_1d(axes[0]).tolist()], [x % b.ndim for x in np.atleast_1d(axes[1]).tolist()])
    rest_a, rest_b = [i for i in range(a.ndim) if i not in left], [i for i in range(b.ndim) if i not in right]
    n = product(as_dim(a.shape[i]) for i in left)
    x = reshape(permute_dims(a, (*rest_a, *left)), (-1 if rest_a else 1, n))
    y = reshape(permute_dims(b, (*right, *rest_b)), (n, -1 if rest_b else 1))
    return reshape(matmul(x, y), (*(a.shape[i] for i in rest_a), *(b.shape[i] for i in rest_b)))


def take(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """x at integer indices along an axis."""
    x = lift(x)
    (a,) = normalize_axes(axis, x.ndim)
    return x[(slice(None),) * a + (lift(indices),)]


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """y[i, j] = x[indices[i, j], j] for axis 0, and so on (`torch.gather`)."""
    from .indexing import resolve

    x, indices = lift(x), lift(indices)
    (a,) = normalize_axes(axis, x.ndim)
    return F.gather_along(x, resolve(F.astype(indices, int64), x.shape[a]), axis=a)


def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The positions that sort x along an axis."""
    x = lift(x)
    return F.argsort(x, axis=normalize_axes(axis, x.ndim)[0], descending=bool(descending))


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """x sorted along an axis; NaN last."""
    x = lift(x)
    return F.sort(x, normalize_axes(axis, x.ndim)[0], bool(descending))


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds, else y."""
    condition = lift(condition)
    return F.where(condition if condition.dtype.kind == "b" else F.not_equal(condition, 0), x, y)


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """x with a value, a number or a 0-d tensor, where the mask holds; the mask broadcasts to x, whose dtype stays."""
    x, mask = lift(x), lift(mask)
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_fill: the mask has dtype {mask.dtype}; give one of bool, such as mask != 0")
    value = lift(value)
    if value.ndim:
        raise ShapeError(f"masked_fill: the value has shape {show_shape(value.shape)}, not that of one number; use "
                         "where")
    return F.where(mask, F.astype(value, x.dtype), x)


def repeat_interleave(x: Any, repeats: Any, dim: int | None = None) -> Tensor:
    """Each element along a dimension so many times after each other (of x flattened without a `dim`); `repeats` is a
    number, or a sequence with one for each place.
    """
    x = lift(x)
    return F.repeat(F.reshape(x, shape=(as_dim(x.size),)) if dim is None else x, repeats, 0 if dim is None else dim)


def type_as(x: Any, other: Tensor) -> Tensor:
    """x in the dtype of another tensor."""
    return F.astype(lift(x), other.dtype)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
    """x kept between min and max."""
    return F.clip(lift(x), min, max)


clamp = clip


def astype(x: Any, dtype: Any) -> Tensor:
    """x in another dtype."""
    return F.astype(lift(x), as_dtype(dtype))


def softmax(x: Any, axis: int = -1, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis; with a `dtype`, of x cast to it."""
    return F.softmax(_cast(x, dtype), axis if dim is None else dim)


def log_softmax(x: Any, axis: int = -1, dim: int | None = None, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along an axis; with a `dtype`, of x cast to it."""
    return F.log_softmax(_cast(x, dtype), axis if dim is None else dim)


def _cast(x: Any, dtype: Any) -> Tensor:
    return lift(x) if dtype is None else F.astype(lift(x), as_dtype(dtype))
