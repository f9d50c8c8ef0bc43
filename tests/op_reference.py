"""What each op computes, in the words of NumPy and SciPy: the independent reference of the op tests.

An op that is not in the table has its name in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal
import scipy.special


def reference(name: str) -> Callable[..., Any] | None:
    """The reference of an op; None where there is none (random bits)."""
    return REFERENCE[name] if name in REFERENCE else getattr(np, name)


def take_axes(x, *indices, axes):
    """x at indices along axes, their dimensions at the place of the first (by moving all to the front)."""
    rank, front = x.ndim, list(axes)
    rest = [i for i in range(rank) if i not in axes]
    y = np.transpose(x, front + rest)[indices]
    n = indices[0].ndim
    before = [i for i in rest if i < axes[0]]
    return np.moveaxis(y, list(range(n)), list(range(len(before), len(before) + n)))


def scatter(updates, *indices, axes, shape):
    out = np.zeros(shape, updates.dtype)
    moved = np.moveaxis(updates, range(axes[0], axes[0] + indices[0].ndim), range(indices[0].ndim))
    view = np.transpose(out, [*axes, *(i for i in range(len(shape)) if i not in axes)])
    for place in np.ndindex(indices[0].shape):
        view[tuple(i[place] for i in indices)] += moved[place]
    return out


def rows_at(x, places, back):
    rows = x.reshape(back.size, -1)
    out = np.zeros((places.size, rows.shape[1]), x.dtype)
    for i, p in enumerate(places.ravel()):
        if 0 <= p < len(rows):
            out[i] = rows[p]
    return out.reshape(*places.shape, *x.shape[back.ndim:])


def set_at(x, updates, *indices, axes):
    out = np.array(x)
    moved = np.moveaxis(updates, range(axes[0], axes[0] + indices[0].ndim), range(indices[0].ndim))
    view = np.transpose(out, [*axes, *(i for i in range(x.ndim) if i not in axes)])
    for place in np.ndindex(indices[0].shape):
        view[tuple(i[place] for i in indices)] = moved[place]
    return out


def scatter_line(updates, index, axis, size):
    shape = [size if i == axis else d for i, d in enumerate(updates.shape)]
    out = np.zeros(shape, updates.dtype)
    for place in np.ndindex(updates.shape):
        spot = list(place)
        spot[axis] = index[place]
        out[tuple(spot)] += updates[place]
    return out


def correlate(x, w, stride, padding, dilation, groups):
    """By SciPy's n-dimensional correlation, channel by channel."""
    rank = len(stride)
    wide = np.zeros((*w.shape[:2], *(d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:]))), w.dtype)
    wide[(..., *(slice(None, None, d) for d in dilation))] = w
    cut = (..., *(slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(padding, x.shape[2:])))
    x = np.pad(x[cut], [(0, 0), (0, 0), *((max(0, a), max(0, b)) for a, b in padding)])
    out = []
    for n in range(x.shape[0]):
        for o in range(w.shape[0]):
            group = o // (w.shape[0] // groups)
            part = x[n, group * w.shape[1]:(group + 1) * w.shape[1]]
            y = sum(scipy.signal.correlate(a, np.conj(b), "valid", "direct") for a, b in zip(part, wide[o]))
            out.append(y[tuple(slice(None, None, s) for s in stride)])
    return np.stack(out).reshape(x.shape[0], w.shape[0], *out[0].shape[-rank:])


def sliced(x, start, shape, step):
    """Index by index."""
    return x[np.ix_(*(a + s * np.arange(n) for a, n, s in zip(start, shape, step)))] if start else x


def spread(x, step):
    out = np.zeros([max(0, (n - 1) * s + 1) for n, s in zip(x.shape, step)], x.dtype)
    for place in np.ndindex(x.shape):
        out[tuple(p * s for p, s in zip(place, step))] = x[place]
    return out


def padded(x, low, high, value):
    if not x.ndim:
        return x
    cut = tuple(slice(max(0, -a), n - max(0, -b)) for a, b, n in zip(low, high, x.shape))
    return np.pad(x[cut], [(max(0, a), max(0, b)) for a, b in zip(low, high)], constant_values=value)


def all_windows(x, size, step):
    n = len(size)
    y = np.lib.stride_tricks.sliding_window_view(x, size, axis=tuple(range(x.ndim - n, x.ndim)))
    return y[(..., *(slice(None, None, s) for s in step), *[slice(None)] * n)]


def running(f):
    def run(x, axis, reverse):
        return np.flip(f.accumulate(np.flip(x, axis), axis), axis) if reverse else f.accumulate(x, axis)

    return run


def integers_only(exact, otherwise):
    """Integer division by zero is 0 by definition."""
    return lambda x, y: np.where(y == 0, 0, exact(x, np.where(y == 0, 1, y))) if x.dtype.kind in "iu" else otherwise(x,
                                                                                                                     y)


def power(x, y):
    """Integers wrap; a negative power of an integer is 0, of 1 and -1 itself."""
    if x.dtype.kind not in "iu":
        return np.power(x, y)

    def one(a, b):
        exact = a**b if b >= 0 else {1: 1, -1: -1 if b % 2 else 1}.get(a, 0)
        return np.uint64(exact % 2**64)

    return np.vectorize(lambda a, b: one(int(a), int(b)), otypes=[np.uint64])(x, y).astype(x.dtype)


def descending(x, axis, descending, start=0, count=None):
    order = np.argsort(-x.astype(np.float64) if descending else x, axis=axis, kind="stable")
    return order if count is None else np.take(order, range(start, start + count), axis)


def place_of(f, x, axes):
    """Line by line, the position counted in row-major order over the axes."""
    kept = [i for i in range(x.ndim) if i not in axes]
    out = np.zeros([x.shape[i] for i in kept], np.int64)
    for place in np.ndindex(out.shape):
        spot = dict(zip(kept, place))
        out[place] = f(x[tuple(spot.get(i, slice(None)) for i in range(x.ndim))])
    return out


SPECIAL = scipy.special
REFERENCE = {
    "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh, "atan2": np.arctan2, "erf": SPECIAL.erf, "erfc": SPECIAL.erfc, "erfinv": SPECIAL.erfinv,
    "lgamma": SPECIAL.gammaln,
    "digamma": SPECIAL.digamma, "trigamma": lambda x: SPECIAL.polygamma(1, x), "sigmoid": SPECIAL.expit,
    "relu": lambda x: np.where(x > 0, x, 0), "round": np.rint,
    "floor_divide": integers_only(np.floor_divide, np.floor_divide),
    "remainder": integers_only(np.remainder, np.remainder), "fmod": integers_only(np.fmod, np.fmod), "pow": power,
    "bitwise_not": np.invert, "shift_left": lambda x, n: np.where((n < 0), 0, np.left_shift(x, np.maximum(n, 0))),
    "shift_right": lambda x, n: np.where((n < 0), np.where(x < 0, -1, 0), np.right_shift(x, np.maximum(n, 0))),
    "mulhi": lambda x, y: np.vectorize(lambda a, b: int(a) * int(b) >> 8 * x.itemsize, otypes=[x.dtype])(x, y),
    "stop_gradient": lambda x: x, "complex": lambda x, y: x + 1j * y, "imag": lambda x: np.imag(x),
    "view_as_real": lambda x: np.stack([x.real, x.imag], -1), "sign": np.sign,
    "cast": lambda x, dtype: (x.real if dtype.kind not in "bc" else x).astype(dtype.numpy) if dtype.kind != "u" else
    np.where(x.real < 0, 0 if x.dtype.kind == "f" or x.dtype.kind == "c"
             else x.real.astype(np.int64).astype(dtype.numpy), x.real.astype(dtype.numpy)).astype(dtype.numpy),
    "bitcast": lambda x, dtype: np.frombuffer(x.tobytes(), dtype.numpy).reshape(x.shape),
    "sum": lambda x, axes: np.sum(x, axis=axes), "prod": lambda x, axes: np.prod(x, axis=axes),
    "max": lambda x, axes: np.max(x, axis=axes), "min": lambda x, axes: np.min(x, axis=axes),
    "any": lambda x, axes: np.any(x, axis=axes), "all": lambda x, axes: np.all(x, axis=axes),
    "argmax": lambda x, axes: place_of(np.argmax, x, axes), "argmin": lambda x, axes: place_of(np.argmin, x, axes),
    "cumsum": running(np.add), "cumprod": running(np.multiply), "cummax": running(np.maximum),
    "cummin": running(np.minimum),
    "logcumsumexp": running(np.logaddexp), "reshape": lambda x, shape: np.reshape(x, shape),
    "permute": lambda x, axes: np.einsum(x, list(range(x.ndim)), list(axes)),
    "broadcast_to": lambda x, shape: x + np.zeros(shape, x.dtype),
    "slice": sliced, "pad": padded, "dilate": spread, "concat": lambda *x, axis: np.concatenate(x, axis),
    "windows": all_windows,
    "gather": take_axes, "scatter_add": scatter, "scatter_set": set_at, "scatter_along": scatter_line,
    "matmul_chosen": lambda w, x, which, turned=False: np.einsum(
        "brk,bnk->brn" if turned else "brk,bkn->brn", x, w[which]),
    "outer_chosen": lambda x, y, which, starts, ends: np.einsum(
        "brk,brn,bq->qkn", x, y, which[:, None] == np.arange(len(ends))),
    "rows_at": rows_at,
    "gather_along": lambda x, index, axis: np.take_along_axis(x, index, axis), "argsort": descending,
    "searchsorted": lambda edges, x, side: np.searchsorted(edges, x, side), "matmul": np.matmul, "conv": correlate,
    "constant": lambda value, dtype: np.array(value, dtype.numpy), "size": lambda dim: np.int64(dim),
    "iota": lambda size: np.arange(size), "random_bits": None,
}
