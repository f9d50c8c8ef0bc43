"""What the emitted source calls as `bz`, beside NumPy: loads with a fill, stores that drop, strided views,
contractions, and the scalar operations that NumPy leaves undefined (the definitions are in ir/scalar.py). CuPy may
stand in NumPy's place (runtime/device_numpy.py): only what it has, too, is used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn, float8_e5m2  # noqa: F401  (names of the source)

from ...ir import scalar
from ...ir.sorting import stable_order
from ...ir.types import dtype


def _core(op: str):
    def call(*arrays: Any) -> Any:
        return scalar.evaluate(op, tuple(np.asarray(a) for a in arrays))

    call.__name__, call.__doc__ = op, scalar.CORE[op].note
    return call


floordiv, mod, mulhi, shl, shr, fma, erf = map(_core, ("floordiv", "mod", "mulhi", "shl", "shr", "fma", "erf"))


def cast(x: Any, to: Any) -> Any:
    """x in another dtype: floats saturate, NaN becomes 0."""
    return scalar.evaluate("cast", (x,), dtype(to))


def argsort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """The stable order along an axis, which is then the last."""
    return np.moveaxis(stable_order(np, x, axis, descending), axis, -1)


def padded(x: np.ndarray, *ranges: tuple[int, int], fill: Any) -> np.ndarray:
    """x[start:stop] in each dimension, where start may be negative and stop beyond the end: `fill` stands outside."""
    shape = [max(stop - start, 0) for start, stop in ranges]
    inside = [(max(start, 0), min(stop, n)) for (start, stop), n in zip(ranges, x.shape)]
    part = x[tuple(slice(start, max(start, stop)) for start, stop in inside)]
    if list(part.shape) == shape:
        return part
    out = np.full(shape, fill, x.dtype)
    if part.size:
        out[tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(inside, ranges))] = part
    return out


def strided(x: np.ndarray, start: tuple[int, ...], shape: tuple[int, ...],
            steps: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """A view v of x: v[i, j, …] = x[start + i*steps[0] + j*steps[1] + …], steps being vectors of the dimensions of
    x.
    """
    if 0 in shape:
        return np.empty(shape, x.dtype)
    strides = [sum(n * s for n, s in zip(step, x.strides)) for step in steps]
    corner = x[tuple(slice(n, None) for n in start)]
    words = corner.view(np.uint8) if x.itemsize == 1 else corner         # `as_strided` knows no 8-bit floats
    return np.lib.stride_tricks.as_strided(words, shape, strides).view(x.dtype)      # only read: no one's result


def _inside(x: np.ndarray, index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, Any]:
    inside = np.ones(shape, bool)
    for i, n in zip(index, x.shape):
        inside &= (i >= 0) & (i < n)
    return inside, tuple(np.minimum(np.maximum(i, 0), max(n - 1, 0)) for i, n in zip(index, x.shape))


def take(x: np.ndarray, index: tuple[Any, ...], fill: Any) -> Any:
    """x[index], with `fill` where a place is outside."""
    shape = np.broadcast_shapes(*(np.shape(i) for i in index))
    inside, clipped = _inside(x, index, shape)
    if x.size == 0:
        return np.full(shape, fill, x.dtype)
    return np.where(inside, x[clipped], np.asarray(fill).astype(x.dtype))


def _scattered(x: np.ndarray, index: tuple[Any, ...], value: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...],
                                                                           np.ndarray]:
    if x.ndim == 0:                                        # NumPy assigns no array through an empty index
        x, index = x.reshape(1), (np.int64(0),)
    shape = np.broadcast_shapes(*(np.shape(i) for i in index), np.shape(value))
    inside, _ = _inside(x, index, shape)
    return x, tuple(np.broadcast_to(i, shape)[inside] for i in index), np.broadcast_to(value, shape)[inside]


def put(x: np.ndarray, index: tuple[Any, ...], value: Any) -> None:
    """x[index] = value, where a place outside is dropped."""
    target, places, values = _scattered(x, index, value)
    target[places] = values


def add_at(x: np.ndarray, index: tuple[Any, ...], value: Any) -> None:
    """x[index] += value for each place in turn, where one outside is dropped."""
    target, places, values = _scattered(x, index, value)
    np.add.at(target, places, values)


def contract(subscripts: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.einsum of two arrays by one np.matmul: batches, then rows of a, then columns of b, over what is summed."""
    left, right, result = subscripts.replace("->", ",").split(",")
    batch = [x for x in left if x in right and x in result]
    rows, columns = [x for x in left if x not in right], [x for x in right if x not in left]
    summed = [x for x in left if x in right and x not in result]
    size = {**dict(zip(left, a.shape)), **dict(zip(right, b.shape))}

    def matrices(array: np.ndarray, names: str, first: list[str], second: list[str]) -> np.ndarray:
        flat = [math.prod(size[x] for x in group) for group in (first, second)]
        return array.transpose([names.index(x) for x in batch + first + second]).reshape([size[x]
                                                                                          for x in batch] + flat)

    product = np.matmul(matrices(a, left, rows, summed), matrices(b, right, summed, columns))
    order = batch + rows + columns
    return product.reshape([size[x] for x in order]).transpose([order.index(x) for x in result])
