"""The definition of what a kernel computes: slow, obvious, bounds-checked. Every emitter is tested against it.

Each value is an array over all axes of the kernel, of extent 1 where it does not vary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import expr, scalar
from .errors import VerifyError
from .kernel import Index, Kernel, Value
from .scalar import COMBINE
from .sorting import stable_order


def evaluate(kernel: Kernel, buffers: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The outputs of the kernel, as new arrays by buffer name. `sizes` gives the symbolic sizes.

    A buffer written by a "set" scatter starts from `buffers[its name]` where given, else from zeros.
    """
    known = dict(sizes or {})
    extents = {a: int(expr.evaluate(e, known)) for a, e in kernel.axes.items()}
    position = {a: i for i, a in enumerate(extents)}
    ranges: dict[str, Any] = {
        a: np.arange(e).reshape([-1 if i == position[a] else 1 for i in range(len(position))])
        for a, e in extents.items()
    }
    point = {**known, **ranges}
    got: dict[Value, Any] = {}

    def at(i: Index) -> Any:
        return np.asarray(got[i] if isinstance(i, Value) else expr.evaluate(i, point))

    def places(name: str, index: tuple[Index, ...], shape: tuple[int, ...]) -> tuple[list[Any], Any]:
        spots, inside = [], np.asarray(True)
        for i, size in zip(index, shape):
            spot = at(i)
            inside = inside & (spot >= 0) & (spot < size)
            spots.append(np.clip(spot, 0, max(size - 1, 0)))
        return spots, inside

    for v in kernel.values:
        got[v] = _value(kernel, v, got, buffers, extents, position, places, at)

    out: dict[str, Any] = {}
    for s in kernel.stores:
        shape = tuple(int(expr.evaluate(d, known)) for d in kernel.buffers[s.buffer].shape)
        if s.buffer not in out:
            start = buffers.get(s.buffer) if s.mode == "set" and s.is_scatter else None
            out[s.buffer] = np.zeros(shape, s.value.dtype.numpy) if start is None else np.array(start)
        spots, inside = places(s.buffer, s.index, shape)
        whole = tuple(e if a in s.axes else 1 for a, e in extents.items())
        inside = np.broadcast_to(inside, whole).ravel()
        spot = tuple(np.broadcast_to(x, whole).ravel()[inside] for x in spots)
        value = np.broadcast_to(got[s.value], whole).ravel()[inside]
        target = out[s.buffer]
        if not shape:                            # NumPy assigns no array through an empty index
            target, spot = target.reshape(1), (np.zeros(value.size, int),)
        if s.mode == "add":
            np.add.at(target, spot, value)
        else:
            target[spot] = value
    return out


def _value(kernel, v, got, buffers, extents, position, places, at) -> Any:
    if v.op == "const":
        return scalar.converted(np.asarray(v.number), v.dtype)
    if v.op == "index":
        return at(v.index[0]).astype(np.int64)
    if v.op == "load":
        data = np.asarray(buffers[v.buffer])
        spots, inside = places(v.buffer, v.index, data.shape)
        if v.fill is None:
            if not np.all(inside) and all(extents[a] for a in v.axes):
                raise VerifyError(f"kernel {kernel.name} reads outside {kernel.buffers[v.buffer]}")
            fill: Any = 0
        else:
            fill = v.fill
        if data.size == 0:
            shape = np.broadcast_shapes(*(np.shape(x) for x in spots), np.shape(inside))
            return scalar.converted(np.full(shape, fill), v.dtype)
        return np.where(inside, data[tuple(spots)], scalar.converted(np.asarray(fill), v.dtype))
    if v.op == "argsort":
        return _argsort(v, got[v.args[0]], extents, position, at)
    if v.op in ("reduce", "scan"):
        core, identity = COMBINE[v.combine]
        f = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[core]
        axes = tuple(position[a] for a in v.over)
        full = np.broadcast_to(got[v.args[0]], [
            extents[a] if i in axes else n for (a, i), n in zip(position.items(),
                                                                np.shape(got[v.args[0]]) or [1] * len(position))
        ])
        with np.errstate(all="ignore"):
            if v.op == "scan":
                return f.accumulate(full, axis=axes[0], dtype=v.dtype.numpy)
            start = np.asarray(identity(v.dtype)).astype(v.dtype.numpy)
            empty = any(extents[a] == 0 for a in v.over)
            if empty:
                return np.full([1 if i in axes else n for i, n in enumerate(full.shape)], start)
            return f.reduce(full, axis=axes, keepdims=True, dtype=v.dtype.numpy)
    return scalar.evaluate(v.op, tuple(got[a] for a in v.args), v.dtype)


def _argsort(v: Value, x: Any, extents: Mapping[str, int], position: Mapping[str, int], at: Any) -> Any:
    """The stable order of each row, read at the place that is asked for."""
    axis, extent = position[v.over[0]], extents[v.over[0]]
    rows = np.broadcast_to(x, [extent if i == axis else n for i, n in enumerate(np.shape(x))])
    order, place = stable_order(np, rows, axis, v.combine == "descending"), at(v.index[0])
    if place.size and (place.min() < 0 or place.max() >= extent):
        raise VerifyError(f"place {v.index[0]} is not one of the {extent} positions of {v.over[0]}")
    spots = [np.arange(n).reshape([-1 if k == i else 1 for k in range(order.ndim)]) for i, n in enumerate(order.shape)]
    spots[axis] = place
    return order[tuple(spots)]
