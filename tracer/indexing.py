"""`x[key]` and `x[key] = v`: NumPy's indexing in terms of slice, reshape, flip, gather and scatter.

A slice is a value of its own, not an alias of its base.
"""

from __future__ import annotations

from functools import partial
from operator import index
from typing import Any

import numpy as np

from ..ir.errors import DeviceError, IndexingError, ShapeError, TraceError
from ..ir.interpreter import _current
from ..ir.ops import F
from ..ir.ops.declare import as_dim, show_shape
from ..ir.scalar import converted
from ..ir.types import bool_, int64
from .aliasing import is_sole_owner, mark_view
from .devices import CPU, Unplaced, copied, moved, of, unplaced, words, work_beside, work_on_words
from .elsewhere import common_device
from .modes import _grad_enabled
from .tensor import Tensor

_BASIC = (int, slice, type(None), type(Ellipsis), np.integer)


def get(x: Tensor, key: Any) -> Tensor:
    """x[key]."""
    if x._array is not None and _current.get() is None and not ((x._requires_grad or x._node is not None)
                                                                and _grad_enabled.get()):
        return _get_at_once(x, key)
    keys = key if isinstance(key, tuple) else (key,)
    keys = _expanded(x, keys)
    if any(_is_mask(k) for k in keys):
        keys = _masks_as_indices(x, keys)
    basic = tuple(k if isinstance(k, (slice, type(None))) or _is_int(k) else slice(None) for k in keys)
    y = _basic(x, basic)
    if all(isinstance(k, (slice, type(None))) or _is_int(k) for k in keys):
        return y
    axis, axes, indices = 0, [], []
    for k in keys:
        if _is_int(k):
            continue
        if not isinstance(k, (slice, type(None))):
            axes.append(axis)
            indices.append(_as_index(k))
        axis += 1
    return _gather(y, tuple(axes), indices, _stand_apart(keys))


def _stand_apart(keys: tuple[Any, ...]) -> bool:
    """Do slices stand between index tensors (and integers, which count as such)? Then NumPy puts their dimensions in
    front.
    """
    places = [n for n, k in enumerate(keys) if not isinstance(k, (slice, type(None)))]
    return places != list(range(places[0], places[0] + len(places)))


def _get_at_once(x: Tensor, key: Any) -> Tensor:
    keys = key if isinstance(key, tuple) else (key,)
    is_view = True
    for k in keys:
        if not isinstance(k, _BASIC):
            is_view = False
            keys = _native_keys(x, keys)
            break
    try:
        array = x._array[keys] if type(x._array) is np.ndarray else _taken(x._array, keys)
    except IndexError as error:
        raise IndexingError(f"{error} (shape {show_shape(x.shape)})") from None
    result = Tensor(array if type(array) is np.ndarray or not isinstance(array, np.generic) else np.asarray(array))
    return mark_view(result, x) if is_view else result


def _moves_bytes(x: Tensor) -> bool:
    """Does it lie on a device whose library may know nothing of its dtype but how to view it?"""
    return type(x._array) is not np.ndarray and words(x._array) is not x._array


def _taken(array: Any, keys: tuple[Any, ...]) -> Any:
    return work_on_words(array, lambda given: given[keys], "what an index takes")


def _native_keys(x: Tensor, keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """The indices of `x` as its array takes them."""
    if type(x._array) is np.ndarray:
        return tuple([np.asarray(k) if isinstance(k, Tensor) else k for k in keys])
    found = tuple([_moved_key(k, x) for k in _expanded(x, keys)])
    work_beside(x._array, lambda: _check_bounds(x.shape, found), "the least and the greatest index")
    return found


def _moved_key(k: Any, x: Tensor) -> Any:
    """An index on the device of `x`: what is read of other devices would be slow, and is refused."""
    if isinstance(k, Tensor):
        k = k._concrete("an index", "index inside the function that made it")
        if of(k) == CPU and k.ndim:
            raise DeviceError(f"an index on {CPU} of a tensor on {x.device} ({x.type}): move it there first, "
                              f"index.to({str(x.device)!r})")
    elif isinstance(k, list):
        k = np.asarray(k, None if k else np.int64)
    is_array = hasattr(k, "dtype") and k.ndim > 0
    return moved(k, of(x._array)) if is_array else k


def _check_bounds(shape: tuple[int, ...], keys: tuple[Any, ...]) -> None:
    """Devices' libraries do not notice an index that is outside."""
    axis = 0
    for k in keys:
        array_of_indices = hasattr(k, "ndim") and k.ndim and k.dtype.kind in "iu" and k.size
        if array_of_indices and not (-shape[axis] <= int(k.min()) and int(k.max()) < shape[axis]):
            raise IndexingError(f"an index is outside dimension {axis} of size {shape[axis]} (shape "
                                f"{show_shape(shape)})")
        is_mask = hasattr(k, "ndim") and k.dtype.kind == "b"
        axis += k.ndim if is_mask else int(k is not None)


def _native_value(value: Any, x: Tensor) -> Any:
    """What is assigned to elements of `x`, as its array takes it."""
    if isinstance(x._array, np.ndarray) and type(x._array) in (np.ndarray, Unplaced):
        return np.asarray(value) if isinstance(value, Tensor) else value
    if isinstance(value, Tensor):
        return moved(value._array, common_device("an assignment", (x, value)))
    return value if isinstance(value, (bool, int, float, complex)) else moved(np.asarray(value), of(x._array))


def _is_int(k: Any) -> bool:
    return isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)) or hasattr(k, "expression")


def _is_mask(k: Any) -> bool:
    return isinstance(k, (bool, np.bool_)) or (isinstance(k, (Tensor, np.ndarray))
                                               and k.dtype in (np.bool_, bool_)) or (
        isinstance(k, list) and bool(k) and isinstance(k[0], bool))


def _expanded(x: Tensor, keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """The ellipsis, and what is missing at the end, written out."""
    used = sum(1 if not _is_mask(k) else np.ndim(k) if not isinstance(k, Tensor) else k.ndim for k in keys
               if k is not None and k is not Ellipsis)
    if used > x.ndim:
        raise IndexingError(f"{used} indices for a tensor of {x.ndim} dimensions (shape {show_shape(x.shape)})")
    rest = (slice(None),) * (x.ndim - used)
    if not any(k is Ellipsis for k in keys):
        return (*keys, *rest)
    at = next(i for i, k in enumerate(keys) if k is Ellipsis)
    return (*keys[:at], *rest, *keys[at + 1:])


def slice_bounds(k: slice, size: Any) -> tuple[Any, Any, int]:
    """(start, count, step) of a slice on a dimension, cut to the dimension as Python has it. Where an end or the size
    is symbolic, what has to be asked (is it negative, is it outside?) becomes a guard, and nothing else.
    """
    step = 1 if k.step is None else int(k.step)
    if step == 0:
        raise IndexingError("a slice's step cannot be zero")
    if not any(hasattr(x, "expression") for x in (k.start, k.stop, size)):
        start, stop, step = slice(k.start, k.stop, step).indices(size)
        return start, len(range(start, stop, step)), step
    first, last = (0, size) if step > 0 else (size - 1, -1)
    stop = last if k.stop is None else _end(k.stop, size, step)
    start = first if k.start is None else _end(k.start, size, step)
    distance = stop - start if step > 0 else start - stop
    if distance < 0:
        return start, 0, step
    return start, (distance + abs(step) - 1) // abs(step), step


def _end(x: Any, size: Any, step: int) -> Any:
    """An end of a slice as a position of the dimension, or the one beyond it."""
    x = x if hasattr(x, "expression") else index(x)
    low, high = (0, size) if step > 0 else (-1, size - 1)
    if x < 0:
        x = x + size
        if x < 0:
            return low
    return high if x > high else x


def _plan(x: Tensor, keys: tuple[Any, ...]) -> tuple[list[Any], list[Any], list[int], list[Any]]:
    """start, count and step for each dimension, and the shape with integers dropped and None inserted."""
    start, count, step, shape = [], [], [], []
    sizes = iter(enumerate(x.shape))
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        axis, size = next(sizes)
        if isinstance(k, slice):
            a, n, s = slice_bounds(k, size)
            shape.append(n)
        else:
            a, n, s = k, 1, 1
            if not -size <= a < size:
                raise IndexingError(f"index {a} is outside dimension {axis} of size {size} (shape "
                                    f"{show_shape(x.shape)})")
            a = a + size if a < 0 else a
        start.append(a)
        count.append(n)
        step.append(s)
    return start, count, step, shape


def _dims(values: Any) -> tuple[Any, ...]:
    return tuple(as_dim(v) for v in values)


def _basic(x: Tensor, keys: tuple[Any, ...]) -> Tensor:
    start, count, step, shape = _plan(x, keys)
    y = x
    whole = (0,) * x.ndim, _dims(x.shape), (1,) * x.ndim
    if (_dims(start), _dims(count), tuple(step)) != whole:
        y = F.slice(x, start=_dims(start), shape=_dims(count), step=tuple(step))
    if len(shape) != len(count) or any(k is None or _is_int(k) for k in keys):
        y = F.reshape(y, shape=_dims(shape))
    if y is not x and y._array is not None:
        mark_view(y, x)
    return y


def _as_index(k: Any) -> Tensor:
    t = k if isinstance(k, Tensor) else Tensor(unplaced(np.asarray(k, np.int64)))
    if not t.dtype.is_integer:
        raise IndexingError(f"an index must be an integer or bool tensor, not {t.type}")
    return t if t.dtype.name == "i64" else F.cast(t, dtype=int64)


def resolve(index: Tensor, size: Any) -> Tensor:
    """Negative positions counted from the end."""
    if index._array is not None and _current.get() is None:
        array = index._array
        if not index.size or work_beside(array, lambda: bool(array.min() >= 0), "the least index"):
            return index
    return F.where(F.less(index, 0), F.add(index, as_dim(size)), index)


def _gather(y: Tensor, axes: tuple[int, ...], indices: list[Tensor], in_front: bool) -> Tensor:
    indices = broadcast([resolve(i, y.shape[a]) for i, a in zip(indices, axes)])
    out = F.gather(y, *indices, axes=axes)
    if not in_front or axes[0] == 0:
        return out
    n, first = indices[0].ndim, axes[0]
    order = (*range(first, first + n), *range(first), *range(first + n, out.ndim))
    return F.permute(out, axes=order)


def broadcast(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors of a common shape."""
    from ..ir.ops.declare import broadcast_shapes

    shape = broadcast_shapes("index", [_dims(t.shape) for t in tensors])
    return [t if _dims(t.shape) == shape else F.broadcast_to(t, shape=shape) for t in tensors]


def _masks_as_indices(x: Tensor, keys: tuple[Any, ...]) -> tuple[Any, ...]:
    out: list[Any] = []
    for k in keys:
        if not _is_mask(k):
            out.append(k)
            continue
        if isinstance(k, Tensor) and k._array is None:
            raise TraceError("a mask as an index gives a result whose size depends on values; inside a compiled "
                             "function write braze.where(mask, x, fill)")
        mask = k._array if isinstance(k, Tensor) else np.asarray(k)
        out += [Tensor(i) for i in work_beside(mask, partial(np.nonzero, mask), "the places of a mask")]
    return tuple(out)


# ---- assignment ------------------------------------------------------------------------------------------------------


def put(x: Tensor, key: Any, value: Any) -> None:
    """x[key] = value: the handle x gets a new value."""
    keys = key if isinstance(key, tuple) else (key,)
    wants = x.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
    is_here = x._array is not None and _current.get() is None and not _moves_bytes(x)
    if is_here and not (wants and _grad_enabled.get()):
        _put_at_once(x, keys, value)
        return
    value = value if isinstance(value, Tensor) else _constant(value, x)
    value = value if value.dtype is x.dtype else F.cast(value, dtype=x.dtype)
    keys = _expanded(x, keys)
    if len(keys) == 1 and _is_mask(keys[0]) and keys[0].shape == x.shape and value.ndim == 0:
        x._assign(F.where(keys[0], value, x))
        return
    if any(_is_mask(k) for k in keys):
        keys = _masks_as_indices(x, keys)
    if all(isinstance(k, (slice, type(None))) or _is_int(k) for k in keys):
        x._assign(_put_slice(x, keys, value))
    else:
        x._assign(_put_gathered(x, keys, value))


def _constant(value: Any, x: Tensor) -> Tensor:
    if isinstance(value, (bool, int, float, complex)):
        return F.constant(value=value, dtype=x.dtype)
    return Tensor(unplaced(converted(np.asarray(value), x.dtype)))


def _put_at_once(x: Tensor, keys: tuple[Any, ...], value: Any) -> None:
    keys = _native_keys(x, keys)
    value = _native_value(value, x)
    old = x._array
    x._array = None                                # so that the count below is of others
    try:
        new = old if is_sole_owner(old, 1) and getattr(old.flags, "writeable", True) else copied(old)
        work_beside(new, lambda: new.__setitem__(keys, value), "an assignment")
    except (IndexError, ValueError) as error:
        x._array = old
        kind = IndexingError if isinstance(error, IndexError) else ShapeError
        raise kind(f"{error} (assigning to shape {show_shape(old.shape)})") from None
    x._array = old
    x._assign(Tensor(new))


def _put_slice(x: Tensor, keys: tuple[Any, ...], value: Tensor) -> Tensor:
    start, count, step, shape = _plan(x, keys)
    value = value if _dims(value.shape) == _dims(shape) else F.broadcast_to(_drop_leading(value, len(shape)),
                                                                            shape=_dims(shape))
    if 0 in _dims(count):
        return x
    value = F.reshape(value, shape=_dims(count))
    back = tuple(i for i, s in enumerate(step) if s < 0)
    if back:
        value = F.flip(value, back)
        start = [a + (n - 1) * s if s < 0 else a for a, n, s in zip(start, count, step)]
        step = [abs(s) for s in step]
    if all(isinstance(a, int) and a == 0 and s == 1 for a, s in zip(start, step)) and _dims(count) == _dims(x.shape):
        return value
    return F.update_slice(x, value, tuple(_dims(start)), tuple(step))


def _drop_leading(value: Tensor, rank: int) -> Tensor:
    while value.ndim > rank and value.shape[0] == 1:
        value = F.reshape(value, shape=_dims(value.shape[1:]))
    return value


def _put_gathered(x: Tensor, keys: tuple[Any, ...], value: Tensor) -> Tensor:
    if any(k is None or _is_int(k) for k in keys):
        keys = tuple(np.asarray(k) if _is_int(k) else k for k in keys if k is not None)
    axes = tuple(i for i, k in enumerate(keys) if not isinstance(k, slice))
    slices = [i for i, k in enumerate(keys) if isinstance(k, slice) and k != slice(None)]
    if slices:
        raise TraceError("assigning through index tensors and slices at once is not supported while tracing or "
                         "recording; split it into two assignments")
    indices = broadcast([resolve(_as_index(keys[a]), x.shape[a]) for a in axes])
    kept = [d for i, d in enumerate(x.shape) if i not in axes]
    n, first = indices[0].ndim, 0 if _stand_apart(keys) else axes[0]
    shape = _dims((*kept[:first], *indices[0].shape, *kept[first:]))
    value = value if _dims(value.shape) == shape else F.broadcast_to(value, shape=shape)
    if first != axes[0]:
        value = F.permute(value, axes=(*range(n, n + axes[0]), *range(n), *range(n + axes[0], value.ndim)))
    return F.scatter_set(x, value, *indices, axes=axes)

