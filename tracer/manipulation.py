"""Shapes changed and tensors put together. Names of the array API standard, with PyTorch's as aliases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..ir.errors import ShapeError
from ..ir.expr import product
from ..ir.ops import F
from ..ir.ops.declare import as_dim, broadcast_shapes, normalize_axes, show_shape
from ..ir.types import promote
from .arguments import dims, lift, unpacked
from .tensor import Tensor


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    x, given = lift(x), dims(unpacked(shape))
    if -1 not in given:
        return F.reshape(x, shape=given)
    wanted = list(given)
    holes = [i for i, d in enumerate(wanted) if isinstance(d, int) and d == -1]
    if len(holes) > 1:
        raise ShapeError(f"reshape to {show_shape(wanted)}: only one size can be -1")
    if holes:
        total, known = product(dims(x.shape)), product(d for i, d in enumerate(wanted) if i not in holes)
        if isinstance(total, int) and isinstance(known, int) and (known == 0 or total % known):
            raise ShapeError(f"reshape: {total} elements of shape {show_shape(x.shape)} do not fit "
                             f"{show_shape(wanted)}")
        wanted[holes[0]] = total // known
    return F.reshape(x, shape=tuple(wanted))


view = reshape


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from start to end made one."""
    x = lift(x)
    a, b = start_dim % max(x.ndim, 1), end_dim % max(x.ndim, 1)
    return reshape(x, (*x.shape[:a], -1, *x.shape[b + 1:]))


def permute_dims(x: Any, *axes: Any) -> Tensor:
    """Dimensions in another order."""
    x, order = lift(x), unpacked(axes)
    order = _permutation((order,) if isinstance(order, int) else tuple(order), x.ndim)
    if order is None:
        raise ShapeError(f"permute: axes {unpacked(axes)} do not name each dimension of {show_shape(x.shape)} once")
    return F.permute(x, axes=order)


@lru_cache(maxsize=1024)
def _permutation(order: tuple[int, ...], rank: int) -> tuple[int, ...] | None:
    """The axes counted from the front; None where they do not name each dimension once."""
    order = tuple([a % max(rank, 1) for a in order])
    return order if sorted(order) == list(range(rank)) else None


permute = permute_dims


def transpose(x: Any, a: int | None = None, b: int | None = None) -> Tensor:
    """Two dimensions exchanged (all reversed when none are named, as NumPy does)."""
    x = lift(x)
    order = list(range(x.ndim))
    if a is None or b is None:
        return F.permute(x, axes=tuple(reversed(order)))
    order[a], order[b] = order[b], order[a]
    return F.permute(x, axes=tuple(order))


swapaxes = transpose


def matrix_transpose(x: Any) -> Tensor:
    """The last two dimensions exchanged."""
    return lift(x).mT


def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places."""
    x = lift(x)
    from_ = [s % x.ndim for s in ((source,) if isinstance(source, int) else source)]
    to = [d % x.ndim for d in ((destination,) if isinstance(destination, int) else destination)]
    order = [i for i in range(x.ndim) if i not in from_]
    for d, s in sorted(zip(to, from_)):
        order.insert(d, s)
    return F.permute(x, axes=tuple(order))


def expand_dims(x: Any, axis: Any = 0, dim: Any = None) -> Tensor:
    """A dimension of size 1 more."""
    x = lift(x)
    axis = axis if dim is None else dim
    shape = list(dims(x.shape))
    for a in normalize_axes(axis, x.ndim + (1 if isinstance(axis, int) else len(axis))):
        shape.insert(a, 1)
    return F.reshape(x, shape=tuple(shape))


unsqueeze = expand_dims


def squeeze(x: Any, axis: Any = None, dim: Any = None) -> Tensor:
    """Without dimensions of size 1 (all of them, or those named)."""
    x = lift(x)
    axis = axis if dim is None else dim
    ones = [i for i, d in enumerate(x.shape) if isinstance(d, int) and d == 1]
    gone = ones if axis is None else normalize_axes(axis, x.ndim)
    for a in gone:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: dimension {a} of {show_shape(x.shape)} has size {x.shape[a]}, not 1")
    return F.reshape(x, shape=tuple(as_dim(d) for i, d in enumerate(x.shape) if i not in gone))


def broadcast_to(x: Any, *shape: Any) -> Tensor:
    """Repeated along dimensions of size 1; -1 keeps a size (`expand`)."""
    x, wanted = lift(x), list(dims(unpacked(shape)))
    extra = len(wanted) - x.ndim
    wanted = [as_dim(x.shape[i - extra]) if isinstance(d, int) and d == -1 and i >= extra else d
              for i, d in enumerate(wanted)]
    return F.broadcast_to(x, shape=tuple(wanted))


expand = broadcast_to


def broadcast_arrays(*xs: Any) -> list[Tensor]:
    """Tensors of one common shape."""
    tensors = [lift(x) for x in xs]
    shape = broadcast_shapes("broadcast_arrays", [dims(t.shape) for t in tensors])
    return [F.broadcast_to(t, shape=shape) for t in tensors]


def concat(xs: Sequence[Any], axis: int | None = 0, dim: int | None = None) -> Tensor:
    """Tensors one after the other along an axis (flattened first when it is None)."""
    tensors = [lift(x) for x in xs]
    if not tensors:
        raise ShapeError("concat needs at least one tensor")
    axis = axis if dim is None else dim
    if axis is None:
        tensors, axis = [reshape(t, -1) for t in tensors], 0
    common = tensors[0].dtype
    for t in tensors[1:]:
        common = promote(common, t.dtype)
    tensors = [F.astype(t, common) for t in tensors]
    return tensors[0] if len(tensors) == 1 else F.concat(*tensors, axis=normalize_axes(axis, tensors[0].ndim)[0])


cat = concatenate = concat


def stack(xs: Sequence[Any], axis: int = 0, dim: int | None = None) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    axis = axis if dim is None else dim
    return concat([expand_dims(x, axis) for x in xs], axis if axis >= 0 else axis)


def split(x: Any, sections: Any, axis: int = 0, dim: int | None = None) -> list[Tensor]:
    """Pieces along an axis: of `sections` elements each (the last may be smaller), or of the sizes listed, as PyTorch
    does.
    """
    x = lift(x)
    (a,) = normalize_axes(axis if dim is None else dim, x.ndim)
    size = x.shape[a]
    if isinstance(sections, int):
        sizes = [min(sections, size - at) for at in range(0, size, sections)]
    else:
        sizes = list(sections)
        if sum(sizes) != size:
            raise ShapeError(f"split: sizes {sizes} do not add up to dimension {a} of {show_shape(x.shape)}")
    out, at = [], 0
    for n in sizes:
        out.append(x[(slice(None),) * a + (slice(at, at + n),)])
        at += n
    return out


def chunk(x: Any, chunks: int, axis: int = 0, dim: int | None = None) -> list[Tensor]:
    """About equal pieces along an axis, `chunks` at most."""
    x = lift(x)
    (a,) = normalize_axes(axis if dim is None else dim, x.ndim)
    return split(x, -(-x.shape[a] // chunks), a)


def flip(x: Any, axis: Any = None, dims: Any = None) -> Tensor:
    """Backwards along axes (all by default)."""
    x = lift(x)
    return F.flip(x, normalize_axes(axis if dims is None else dims, x.ndim))


def roll(x: Any, shift: Any, axis: Any = None, dims: Any = None) -> Tensor:
    """Elements moved on by `shift`, those that fall off come back at the start."""
    x, axis = lift(x), axis if dims is None else dims
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.shape)
    for s, a in zip((shift,) if isinstance(shift, int) else shift, (axis,) if isinstance(axis, int) else axis):
        n, a = x.shape[a], a % x.ndim
        s = s % n if n else 0
        if s:
            last, first = (*(slice(None),) * a, slice(n - s, None)), (*(slice(None),) * a, slice(None, n - s))
            x = concat([x[last], x[first]], a)
    return x


def pad(x: Any, pad_width: Any, value: float = 0.0) -> Tensor:
    """`value` around: ((low, high), …) for each dimension."""
    x = lift(x)
    widths = [(w, w) if isinstance(w, int) else tuple(w) for w in ([pad_width] * x.ndim if isinstance(pad_width, int)
                                                                   else pad_width)]
    return F.pad(x, low=tuple(as_dim(a) for a, _ in widths), high=tuple(as_dim(b) for _, b in widths),
                 value=float(value))


def _triangle(x: Tensor, keep: Any) -> Tensor:
    rows = F.reshape(F.iota(size=as_dim(x.shape[-2])), shape=(as_dim(x.shape[-2]), 1))
    return F.where(keep(rows, F.iota(size=as_dim(x.shape[-1]))), x, 0)


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of matrices, up to the k-th diagonal; zeros elsewhere."""
    return _triangle(lift(x), lambda i, j: F.greater_equal(i + k, j))


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of matrices, from the k-th diagonal; zeros elsewhere."""
    return _triangle(lift(x), lambda i, j: F.less_equal(i + k, j))
