"""The public functions on tensors, by the names of the Python array API standard, with PyTorch's keywords accepted too.

Elementwise ops need no function here: they are public as they are declared (`braze.exp` is `F.exp`). What stands here gives a
primitive its user-facing signature: `axis` (or `dim`), `keepdims` (or `keepdim`), negative axes, dtypes by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.errors import DTypeError, ShapeError
from ..ir.expr import product
from ..ir.interpreter import _current, current
from ..ir.ops import F
from ..ir.ops.declare import as_dim, broadcast_shapes, normalize_axes, show_shape
from ..ir.types import DType, dtype, float32, int64, promote
from .tensor import Tensor


def lift(x: Any) -> Tensor:
    """A tensor from a tensor, array or number."""
    return x if isinstance(x, Tensor) else current().lift(np.asarray(x) if isinstance(x, (list, tuple)) else x)


def dims(shape: Any) -> tuple[Any, ...]:
    """A shape as the user gives it: (2, 3), 2, symbolic sizes."""
    if isinstance(shape, (list, tuple)):
        return tuple(as_dim(d) for d in shape)
    return (as_dim(shape),)


# ---- creation ----------------------------------------------------------------------------------------------------------


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor with a copy of the data: numbers, nested lists, arrays, tensors. Python floats become float32, ints int64.

    >>> tensor([[1, 2], [3, 4]]).dtype
    braze.int64
    """
    if isinstance(data, Tensor):
        t = F.stop_gradient(data)
        t = t if dtype is None else F.astype(t, _dtype(dtype))
    else:
        plain = not isinstance(data, (np.ndarray, np.generic))
        array = np.array([np.asarray(x) for x in data] if plain and _holds_tensors(data) else data)
        if array.dtype == object:
            raise DTypeError(f"cannot make a tensor of {type(data).__name__}: its parts differ in shape or are not numbers")
        if dtype is not None:
            array = array.astype(_dtype(dtype).numpy)
        elif plain and array.dtype == np.float64:
            array = array.astype(np.float32)
        elif plain and array.dtype == np.complex128:
            array = array.astype(np.complex64)
        t = Tensor(np.ascontiguousarray(array).reshape(array.shape))
        t.dtype  # noqa: B018  (refuses what Braze has no dtype for)
    return t.requires_grad_() if requires_grad else t


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data)


def _dtype(d: Any, default: DType = float32) -> DType:
    return default if d is None else dtype(d)


def asarray(data: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor from data; a tensor of the right dtype is returned as it is."""
    if isinstance(data, Tensor) and not copy:
        return data if dtype is None else F.astype(data, _dtype(dtype))
    return tensor(data, dtype)


def from_numpy(array: Any) -> Tensor:
    """A tensor with a copy of a NumPy array."""
    return tensor(array)


def full(shape: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of one number."""
    d = {bool: "bool", int: "int64", float: "float32", complex: "complex64"}.get(type(fill_value), "float32") if dtype is None else dtype
    t = F.full(dims(shape), fill_value, _dtype(d))
    if _current.get() is None:
        t = Tensor(np.ascontiguousarray(t._array))
    return t.requires_grad_() if requires_grad else t


def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros, float32 unless said otherwise."""
    return full(_shape(shape), 0, _dtype(dtype), requires_grad)


def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Ones, float32 unless said otherwise."""
    return full(_shape(shape), 1, _dtype(dtype), requires_grad)


def empty(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros (memory is never handed out uninitialised)."""
    return full(_shape(shape), 0, _dtype(dtype), requires_grad)


def _shape(shape: tuple[Any, ...]) -> Any:
    return shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros of the shape and dtype of x."""
    return full(x.shape, 0, x.dtype if dtype is None else dtype)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones of the shape and dtype of x."""
    return full(x.shape, 1, x.dtype if dtype is None else dtype)


def full_like(x: Tensor, fill_value: Any, dtype: Any = None) -> Tensor:
    """One number in the shape and dtype of x."""
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


empty_like = zeros_like


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """start, start + step, … below stop; `arange(n)` starts at 0."""
    start, stop = (0, start) if stop is None else (start, stop)
    return F.arange(start, stop, step, None if dtype is None else _dtype(dtype))


def linspace(start: float, stop: float, num: int, dtype: Any = None, endpoint: bool = True, device: Any = None) -> Tensor:
    """`num` evenly spaced numbers from start to stop."""
    return tensor(np.linspace(start, stop, num, endpoint=endpoint), _dtype(dtype))


def eye(n: int, m: int | None = None, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the k-th diagonal."""
    m = n if m is None else m
    rows = F.reshape(F.iota(size=as_dim(n)), shape=(as_dim(n), 1))
    return F.astype(F.equal(rows + k, F.iota(size=as_dim(m))), _dtype(dtype))


# ---- reductions ----------------------------------------------------------------------------------------------------------


def _reduced(x: Any, f: Any, axis: Any, keepdims: bool, dim: Any, keepdim: bool) -> Tensor:
    axes = normalize_axes(axis if dim is None else dim, x.ndim)
    y = f(x, axes)
    if keepdims or keepdim:
        y = F.reshape(y, shape=tuple(1 if i in axes else as_dim(d) for i, d in enumerate(x.shape)))
    return y


def _summed_dtype(x: Tensor, d: Any) -> Tensor:
    if d is not None:
        return F.astype(x, _dtype(d))
    small = x.dtype.kind == "b" or (x.dtype.is_integer and x.dtype.bits < 64)
    return F.cast(x, dtype=dtype("uint64") if x.dtype.kind == "u" else int64) if small else x


def sum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """The sum over axes (all by default); small integers are summed in int64."""
    return _reduced(_summed_dtype(lift(x), dtype), lambda x, a: F.sum(x, axes=a), axis, keepdims, dim, keepdim)


def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The product over axes; small integers are multiplied in int64."""
    return _reduced(_summed_dtype(lift(x), dtype), lambda x, a: F.prod(x, axes=a), axis, keepdims, dim, keepdim)


def _plain_reduction(name: str, doc: str) -> Any:
    def reduction(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
        return _reduced(lift(x), lambda x, a: F[name](x, a) if not hasattr(F[name], "kind") else F[name](x, axes=a), axis, keepdims, dim, keepdim)

    reduction.__name__, reduction.__doc__ = name, doc
    return reduction


mean = _plain_reduction("mean", "The mean over axes (all by default); integers in float32.")
logsumexp = _plain_reduction("logsumexp", "log(sum(exp(x))) over axes, without overflow.")


def max(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """The largest element over axes; NaN wins."""
    return _reduced(_nonempty(lift(x), "max", axis if dim is None else dim), lambda x, a: F.max(x, axes=a), axis, keepdims, dim, keepdim)


def min(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """The smallest element over axes; NaN wins."""
    return _reduced(_nonempty(lift(x), "min", axis if dim is None else dim), lambda x, a: F.min(x, axes=a), axis, keepdims, dim, keepdim)


def _nonempty(x: Tensor, name: str, axis: Any) -> Tensor:
    for a in normalize_axes(axis, x.ndim):
        if isinstance(x.shape[a], int) and x.shape[a] == 0:
            raise ShapeError(f"{name} over dimension {a} of shape {show_shape(x.shape)}, which has no elements")
    return x


amax, amin = max, min


def var(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The variance over axes, in two passes; `correction=1` for the unbiased one (PyTorch's default)."""
    return _reduced(lift(x), lambda x, a: F.variance(x, a, correction), axis, keepdims, dim, keepdim)


def std(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The standard deviation over axes."""
    return F.sqrt(var(x, axis, correction, keepdims, dim, keepdim))


def any(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """Is one element true?"""
    return _reduced(F.astype(lift(x), dtype("bool")), lambda x, a: F.any(x, axes=a), axis, keepdims, dim, keepdim)


def all(x: Any, axis: Any = None, keepdims: bool = False, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
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


# ---- manipulation ----------------------------------------------------------------------------------------------------------


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    x = lift(x)
    wanted = list(dims(_shape(shape)))
    holes = [i for i, d in enumerate(wanted) if isinstance(d, int) and d == -1]
    if len(holes) > 1:
        raise ShapeError(f"reshape to {show_shape(wanted)}: only one size can be -1")
    if holes:
        total, known = product(dims(x.shape)), product(d for i, d in enumerate(wanted) if i not in holes)
        if isinstance(total, int) and isinstance(known, int) and (known == 0 or total % known):
            raise ShapeError(f"reshape: {total} elements of shape {show_shape(x.shape)} do not fit {show_shape(wanted)}")
        wanted[holes[0]] = total // known
    return F.reshape(x, shape=tuple(wanted))


view = reshape


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from start to end made one."""
    x = lift(x)
    a, b = start_dim % builtin_max(x.ndim, 1), end_dim % builtin_max(x.ndim, 1)
    return reshape(x, (*x.shape[:a], -1, *x.shape[b + 1:]))


def permute_dims(x: Any, *axes: Any) -> Tensor:
    """Dimensions in another order."""
    x, order = lift(x), _shape(axes)
    order = (order,) if isinstance(order, int) else order
    if sorted(a % builtin_max(x.ndim, 1) for a in order) != list(range(x.ndim)):
        raise ShapeError(f"permute: axes {tuple(order)} do not name each dimension of {show_shape(x.shape)} once")
    return F.permute(x, axes=tuple(a % x.ndim for a in order))


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
    gone = [i for i, d in enumerate(x.shape) if isinstance(d, int) and d == 1] if axis is None else normalize_axes(axis, x.ndim)
    for a in gone:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: dimension {a} of {show_shape(x.shape)} has size {x.shape[a]}, not 1")
    return F.reshape(x, shape=tuple(as_dim(d) for i, d in enumerate(x.shape) if i not in gone))


def broadcast_to(x: Any, *shape: Any) -> Tensor:
    """Repeated along dimensions of size 1; -1 keeps a size (`expand`)."""
    x, wanted = lift(x), list(dims(_shape(shape)))
    extra = len(wanted) - x.ndim
    wanted = [as_dim(x.shape[i - extra]) if isinstance(d, int) and d == -1 and i >= extra else d for i, d in enumerate(wanted)]
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
    """Pieces along an axis: of `sections` elements each (the last may be smaller), or of the sizes listed, as PyTorch does."""
    x = lift(x)
    (a,) = normalize_axes(axis if dim is None else dim, x.ndim)
    size = x.shape[a]
    if isinstance(sections, int):
        sizes = [builtin_min(sections, size - at) for at in range(0, size, sections)]
    else:
        sizes = list(sections)
        if builtin_sum(sizes) != size:
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
            head = (slice(None),) * a
            x = concat([x[(*head, slice(n - s, None))], x[(*head, slice(None, n - s))]], a)
    return x


def pad(x: Any, pad_width: Any, value: float = 0.0) -> Tensor:
    """`value` around: ((low, high), …) for each dimension."""
    x = lift(x)
    widths = [(w, w) if isinstance(w, int) else tuple(w) for w in ([pad_width] * x.ndim if isinstance(pad_width, int) else pad_width)]
    return F.pad(x, low=tuple(as_dim(a) for a, _ in widths), high=tuple(as_dim(b) for _, b in widths), value=float(value))


def _triangle(x: Tensor, keep: Any) -> Tensor:
    rows = F.reshape(F.iota(size=as_dim(x.shape[-2])), shape=(as_dim(x.shape[-2]), 1))
    return F.where(keep(rows, F.iota(size=as_dim(x.shape[-1]))), x, 0)


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of matrices, up to the k-th diagonal; zeros elsewhere."""
    return _triangle(lift(x), lambda i, j: F.greater_equal(i + k, j))


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of matrices, from the k-th diagonal; zeros elsewhere."""
    return _triangle(lift(x), lambda i, j: F.less_equal(i + k, j))


# ---- products ----------------------------------------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product, batches broadcast; vectors as NumPy treats them."""
    a, b = lift(a), lift(b)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul does not take 0-d tensors; use *")
    d = promote(a.dtype, b.dtype)
    a, b = F.astype(a, d), F.astype(b, d)
    row, column = a.ndim == 1, b.ndim == 1
    a = expand_dims(a, 0) if row else a
    b = expand_dims(b, 1) if column else b
    if b.ndim == 2 and a.ndim > 2 and as_dim(a.shape[-1]) == as_dim(b.shape[0]):     # one large product instead of a batch of small ones
        rows = product(dims(a.shape[:-1]))
        y = F.matmul(F.reshape(a, shape=(rows, as_dim(a.shape[-1]))), b)
        y = F.reshape(y, shape=(*dims(a.shape[:-1]), as_dim(b.shape[1])))
    else:
        y = F.matmul(a, b)
    y = squeeze(y, -2 if not column else -2) if row else y
    return squeeze(y, -1) if column else y


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


# ---- indexing, sorting ---------------------------------------------------------------------------------------------------


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
    return take_along_axis(x, argsort(x, axis, descending), axis)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds, else y."""
    condition = lift(condition)
    return F.where(condition if condition.dtype.kind == "b" else F.not_equal(condition, 0), x, y)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
    """x kept between min and max."""
    return F.clip(lift(x), min, max)


clamp = clip


def astype(x: Any, dtype: Any) -> Tensor:
    """x in another dtype."""
    return F.astype(lift(x), _dtype(dtype))


def softmax(x: Any, axis: int = -1, dim: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis."""
    return F.softmax(lift(x), axis if dim is None else dim)


def log_softmax(x: Any, axis: int = -1, dim: int | None = None) -> Tensor:
    """log(softmax(x)) along an axis."""
    return F.log_softmax(lift(x), axis if dim is None else dim)


import builtins  # noqa: E402

builtin_max, builtin_min, builtin_sum = builtins.max, builtins.min, builtins.sum
