"""Views: elements of the operands at other places. No kernel of their own: fusion turns them into index expressions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import expr
from ..errors import ShapeError
from ..expr import Dim
from ..types import TensorType
from . import dims
from .declare import composite, same_size, show_shape, sum_to, view
from .namespace import F
from .parts import pad as pad_parts


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise ShapeError(message)


def _cases(parameter: str, *pairs):
    """Samples of an op with one operand and one parameter."""
    return tuple(((shape,), {parameter: value}) for shape, value in pairs)


_SLICES = tuple(((x,), {"start": start, "shape": shape, "step": step}) for x, start, shape, step in (
    ((7,), (2,), (4,), (1,)), ((7,), (1,), (3,), (2,)), ((7,), (6,), (7,), (-1,)), ((7,), (5,), (2,), (-3,)),
    ((3, 5), (1, 4), (2, 3), (1, -2)), ((3, 5), (0, 0), (3, 0), (1, 1)), ((), (), (), ())))
_PADS = tuple(((x,), {"low": low, "high": high, "value": value}) for x, low, high, value in (
    ((3,), (1,), (2,), 0), ((2, 3), (0, 1), (2, 0), 1), ((4,), (-1,), (-2,), 0), ((4, 2), (-1, 2), (1, -1), 1),
              ((0,), (2,), (1,), 1),
    ((), (), (), 0)))
_CONCATS = tuple((shapes, {"axis": axis}) for shapes, axis in (
    (((2,), (3,)), 0), (((2, 3), (2, 1)), 1), (((2, 3), (0, 3), (1, 3)), 0), (((2, 2),), 1)))
_WINDOWS = tuple(((x,), {"size": size, "step": step}) for x, size, step in (
    ((5,), (3,), (1,)), ((2, 7), (2,), (2,)), ((2, 5, 6), (2, 3), (1, 2)), ((4,), (1,), (3,)),
    ((5, 5), (2, 2), (3, 2))))


# ---- reshape ---------------------------------------------------------------------------------------------------------


def _infer_reshape(types: Sequence[TensorType], shape: tuple[Dim, ...]) -> TensorType:
    (x,) = types
    have, want = expr.product(x.shape), expr.product(shape)
    _check(same_size(have, want), f"reshape: {show_shape(x.shape)} has {have} elements, {show_shape(shape)} has {want}")
    return x.with_shape(shape)


def flat_index(index: Sequence[Dim], shape: Sequence[Dim]) -> Dim:
    """The position in row-major order."""
    at: Dim = 0
    for i, d in zip(index, shape):
        at = at * d + i
    return at


def split_index(at: Dim, shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """The index of a position in row-major order."""
    out: list[Dim] = []
    for n, d in enumerate(reversed(shape)):
        last = n == len(shape) - 1
        if isinstance(d, int) and d <= 1:
            out.append(0)
        else:
            out.append(at if last else expr.mod(at, d))
            at = at if last else expr.floordiv(at, d)
    return tuple(reversed(out))


def matching_groups(a: Sequence[Dim], b: Sequence[Dim]) -> list[tuple[range, range]]:
    """Runs of dimensions of two shapes with equal products, as short as possible; what is left over is one run."""
    groups, i, j = [], 0, 0
    while i < len(a) or j < len(b):
        i0, j0 = i, j
        pa: Dim = a[i] if i < len(a) else 1
        pb: Dim = b[j] if j < len(b) else 1
        i, j = min(i + 1, len(a)), min(j + 1, len(b))
        while pa != pb:
            if isinstance(pa, int) and isinstance(pb, int) and pa > 0 and pb > 0:
                grow_a = pa < pb
            else:
                grow_a = len(expr.symbols(pa)) <= len(expr.symbols(pb)) and i < len(a)
            if grow_a and i < len(a):
                pa, i = a[i] * pa, i + 1
            elif j < len(b):
                pb, j = b[j] * pb, j + 1
            elif i < len(a):
                pa, i = a[i] * pa, i + 1
            else:
                break
        groups.append((range(i0, i), range(j0, j)))
    return groups


def _pull_reshape(read, index, types, shape):
    source = types[0].shape
    out: list[Dim] = []
    for mine, theirs in matching_groups(source, shape):
        sizes = [source[i] for i in mine]
        at = flat_index([index[j] for j in theirs], [shape[j] for j in theirs])
        out += split_index(at, sizes)
    return read(0, tuple(out))


def _reshaped_dims(i, shapes, result, shape):
    """A dimension that is alone in its run of equal products, on both sides, stays."""
    source = shapes[0]
    out = [dims.ONE if dims.is_one(d) else dims.MOVED for d in source]
    for mine, theirs in matching_groups(source, shape):
        a = [p for p in mine if not dims.is_one(source[p])]
        b = [p for p in theirs if not dims.is_one(shape[p])]
        if len(a) == 1 and len(b) == 1 and source[a[0]] == shape[b[0]]:
            out[a[0]] = b[0]
    return tuple(out)


reshape = view("reshape", lambda xp, x, shape: xp.reshape(x, shape), infer=_infer_reshape, pull=_pull_reshape,
               parameters=("shape",), dims=_reshaped_dims,
               vjp=lambda g, y, x, shape: (F.reshape(g, shape=x.shape),),
               samples=_cases("shape", ((6,), (2, 3)), ((2, 3, 4), (4, 6)), ((), (1, 1)), ((0, 3), (3, 0)),
                              ((4, 6), (3, 8))),
               doc="The same elements in row-major order, another shape.")


# ---- permute, broadcast ----------------------------------------------------------------------------------------------


def _infer_permute(types, axes):
    (x,) = types
    _check(sorted(axes) == list(range(len(x.shape))),
           f"permute: axes {axes} do not name each dimension of {show_shape(x.shape)} once")
    return x.with_shape(x.shape[a] for a in axes)


permute = view("permute", lambda xp, x, axes: xp.transpose(x, axes), infer=_infer_permute, parameters=("axes",),
               dims=dims.permuted,
               pull=lambda read, index, types, axes: read(0, tuple(index[axes.index(i)] for i in range(len(axes)))),
               vjp=lambda g, y, x, axes: (F.permute(g, axes=tuple(axes.index(i) for i in range(len(axes)))),),
               samples=_cases("axes", ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((), ()), ((2, 0, 3), (1, 2, 0))),
               doc="Dimensions in another order.")


def _infer_broadcast(types, shape):
    (x,) = types
    extra = len(shape) - len(x.shape)
    _check(extra >= 0 and all((isinstance(d, int) and d == 1) or same_size(d, s)
                              for d, s in zip(x.shape, shape[max(extra, 0):])),
           f"broadcast_to: {show_shape(x.shape)} does not broadcast to {show_shape(shape)}")
    return x.with_shape(shape)


def _pull_broadcast(read, index, types, shape):
    source = types[0].shape
    extra = len(shape) - len(source)
    return read(0, tuple(0 if isinstance(d, int) and d == 1 else i for d, i in zip(source, index[extra:])))


broadcast_to = view("broadcast_to", lambda xp, x, shape: xp.broadcast_to(x, shape), infer=_infer_broadcast,
                    pull=_pull_broadcast, dims=dims.broadcast, traits=("linear", "repeats"),
                    parameters=("shape",), vjp=lambda g, y, x, shape: (sum_to(g, x.shape),),
                    samples=_cases("shape", ((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 3, 1), (2, 3, 4)),
                                   ((1,), (0,))),
                    doc="Repeated along dimensions of size 1.")


# ---- slice, pad ------------------------------------------------------------------------------------------------------


def _infer_slice(types, start, shape, step):
    (x,) = types
    for d, a, n, s in zip(x.shape, start, shape, step):
        inside = all(isinstance(v, int) for v in (d, a, n, s))
        if inside and n > 0:
            _check(0 <= a < d and 0 <= a + (n - 1) * s < d,
                   f"slice: start {a}, size {n}, step {s} leaves a dimension of size {d}")
    return x.with_shape(shape)


def _evaluate_slice(xp, x, start, shape, step):
    return x[tuple(slice(a, None if s < 0 and a + n * s < 0 else a + n * s, s) if n else slice(0, 0)
                   for a, n, s in zip(start, shape, step))]


def _slice_vjp(g, y, x, start, shape, step):
    if 0 in shape:
        return (F.zeros_like(x),)
    axes = tuple(i for i, s in enumerate(step) if s < 0)
    if axes:                                   # a reversed slice is the flip of a forward one
        g = F.flip(g, axes)
        start = tuple(a + (n - 1) * s if s < 0 else a for a, n, s in zip(start, shape, step))
        step = tuple(abs(s) for s in step)
    spread = tuple((n - 1) * s + 1 for n, s in zip(shape, step))
    high = tuple(d - a - w for d, a, w in zip(x.shape, start, spread))
    if all(s == 1 for s in step):
        return (F.pad(g, low=start, high=high, value=0.0),)
    return (F.pad(F.dilate(g, step=step), low=start, high=high, value=0.0),)


slice_ = view("slice", _evaluate_slice, infer=_infer_slice, parameters=("start", "shape", "step"), vjp=_slice_vjp,
              pull=lambda read, index, types, start, shape, step: read(
                  0, tuple(i * s + a for i, a, s in zip(index, start, step))),
              dims=dims.sliced, samples=_SLICES,
              doc="`shape` elements from `start`, every `step`-th; a negative step walks backwards.")


def _infer_pad(types, low, high, value):
    (x,) = types
    return x.with_shape(d + a + b for d, a, b in zip(x.shape, low, high))


def _evaluate_pad(xp, x, low, high, value):
    if not low:
        return x
    keep = tuple(slice(max(0, -a), n - max(0, -b)) for a, b, n in zip(low, high, x.shape))
    return xp.pad(x[keep], [(max(0, a), max(0, b)) for a, b in zip(low, high)], constant_values=value)


def _pull_pad(read, index, types, low, high, value):
    inside = [(i - a, d) for i, a, b, d in zip(index, low, high, types[0].shape) if a != 0 or b != 0]
    return read(0, tuple(i - a for i, a in zip(index, low)), inside, value)


pad = view("pad", _evaluate_pad, infer=_infer_pad, pull=_pull_pad, parameters=("low", "high", "value"), traits=(),
           jvp=lambda tangents, y, x, low, high, value: F.pad(tangents[0], low=low, high=high, value=0),
           vjp=lambda g, y, x, low, high, value: (_unpad(g, low, high, x.shape),),
           dims=dims.padded, samples=_PADS, parts=pad_parts,
           doc="`low` and `high` elements of `value` more at the ends of each dimension; negative ones cut away.")


def _unpad(g, low, high, shape):
    if all(a >= 0 and b >= 0 if isinstance(a, int) and isinstance(b, int) else True for a, b in zip(low, high)):
        return F.slice(g, start=low, shape=shape, step=(1,) * len(shape))
    return F.pad(g, low=tuple(-a for a in low), high=tuple(-b for b in high), value=0.0)


def _pull_dilate(read, index, types, step):
    inside = [(i - expr.floordiv(i, s) * s, 1) for i, s in zip(index, step) if s != 1]
    return read(0, tuple(expr.floordiv(i, s) for i, s in zip(index, step)), inside, 0)


def _evaluate_dilate(xp, x, step):
    out = xp.zeros([(n - 1) * s + 1 if n else 0 for n, s in zip(x.shape, step)], x.dtype)
    out[tuple(slice(None, None, s) for s in step)] = x
    return out


def _infer_dilate(types, step):
    return types[0].with_shape(expr.maximum(0, (n - 1) * s + 1) for n, s in zip(types[0].shape, step))


dilate = view("dilate", _evaluate_dilate, infer=lambda types, step: _infer_dilate(types, step),
              pull=_pull_dilate, parameters=("step",),
              samples=_cases("step", ((4,), (2,)), ((2, 3), (1, 3)), ((0, 2), (2, 2)), ((), ())),
              doc="`step - 1` zeros between neighbours.",
              vjp=lambda g, y, x, step: (F.slice(g, start=(0,) * len(step), shape=x.shape, step=step),))


# ---- several operands ------------------------------------------------------------------------------------------------


def _infer_concat(types, axis):
    first = types[0]
    for t in types[1:]:
        _check(len(t.shape) == len(first.shape) and all(i == axis or same_size(a, b)
                                                        for i, (a, b) in enumerate(zip(first.shape, t.shape))),
               f"concat along axis {axis}: shapes {' and '.join(show_shape(t.shape) for t in types)} differ elsewhere")
    total: Dim = 0
    for t in types:
        total = t.shape[axis] + total
    return first.with_shape(total if i == axis else d for i, d in enumerate(first.shape))


def _pull_concat(read, index, types, axis):
    """The operands laid over each other: each is zero where another one is."""
    parts, start = [], 0
    for n, t in enumerate(types):
        at = tuple(i - start if d == axis else i for d, i in enumerate(index))
        parts.append(read(n, at, [(at[axis], t.shape[axis])], None))
        start = start + t.shape[axis]
    return parts


def _concat_vjp(g, y, *operands, axis):
    out, start = [], 0
    for x in operands:
        at = tuple(start if i == axis else 0 for i in range(len(x.shape)))
        out.append(F.slice(g, start=at, shape=x.shape, step=(1,) * len(x.shape)))
        start = start + x.shape[axis]
    return tuple(out)


concat = view("concat", lambda xp, *xs, axis: xp.concatenate(xs, axis=axis), infer=_infer_concat, pull=_pull_concat,
              arity=None,
              parameters=("axis",), vjp=_concat_vjp, samples=_CONCATS, doc="One after the other along an axis.")


def _infer_windows(types, size, step):
    (x,) = types
    outer = x.shape[: len(x.shape) - len(size)]
    counts = [(d - n) // s + 1 for d, n, s in zip(x.shape[len(outer):], size, step)]
    return x.with_shape((*outer, *counts, *size))


def _evaluate_windows(xp, x, size, step):
    n = len(size)
    words = x.view("uint8") if x.dtype.itemsize == 1 else x           # NumPy's views of windows know no 8-bit floats
    out = xp.lib.stride_tricks.sliding_window_view(words, size, axis=tuple(range(x.ndim - n, x.ndim)))
    at = (..., *(slice(None, None, s) for s in step), *(slice(None),) * n)
    return out[at].view(x.dtype)


def _pull_windows(read, index, types, size, step):
    n = len(size)
    outer = index[: len(index) - 2 * n]
    spots = [o * s + w for o, w, s in zip(index[len(outer):len(outer) + n], index[len(outer) + n:], step)]
    return read(0, (*outer, *spots))


def _windows_vjp(g, y, x, size, step):
    """The sum over window positions of dilated, shifted gradients."""
    n, rank = len(size), len(x.shape)
    outer = tuple(range(rank - n))
    total = None
    for place in np.ndindex(*size):
        start = (*(0 for _ in range(rank)), *place)
        shape = (*y.shape[:rank], *(1,) * n)
        part = F.reshape(F.slice(g, start=start, shape=shape, step=(1,) * (rank + n)), shape=y.shape[:rank])
        part = F.dilate(part, step=(*(1 for _ in outer), *step)) if any(s != 1 for s in step) else part
        low = (*(0 for _ in outer), *place)
        part = F.pad(part, low=low, high=tuple(d - p - a for d, p, a in zip(x.shape, part.shape, low)), value=0.0)
        total = part if total is None else total + part
    return (total,)


windows = view("windows", _evaluate_windows, infer=_infer_windows, pull=_pull_windows, parameters=("size", "step"),
               vjp=_windows_vjp, traits=("linear", "repeats"), samples=_WINDOWS,
               doc="[..., H, W] to [..., h, w, *size]: all windows over the last dimensions, every `step`-th "
                   "(pooling).")


@composite
def update_slice(x, value, start, step):
    """x with `value` written from `start`, every `step`-th place."""
    rank = len(x.shape)
    shape = value.shape
    if any(s != 1 for s in step):
        value = F.dilate(value, step=step)
    high = tuple(d - a - n for d, a, n in zip(x.shape, start, value.shape))
    mask = None
    for axis in range(rank):
        if isinstance(start[axis], int) and start[axis] == 0 and shape[axis] == x.shape[axis]:
            continue
        at = F.iota(size=x.shape[axis]) - start[axis]
        inside = F.logical_and(F.greater_equal(at, 0), F.less(at, (shape[axis] - 1) * step[axis] + 1))
        if step[axis] != 1:
            inside = F.logical_and(inside, F.equal(F.remainder(at, step[axis]), 0))
        inside = F.reshape(inside, shape=tuple(x.shape[axis] if i == axis else 1 for i in range(rank)))
        mask = inside if mask is None else F.logical_and(mask, inside)
    value = F.pad(value, low=start, high=high, value=0.0)
    return value if mask is None else F.where(mask, value, x)
