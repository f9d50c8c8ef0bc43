"""Inputs, references and comparison for the kernels of the zoo and for random ones (import them from `kernel_zoo`)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from braze.ir import expr, kernel_eval
from braze.ir.kernel import Kernel, Value
from braze.ir.types import float32, float64

# The sizes that symbols take, tried together: ones, small distinct primes, and some that pass vector widths and blocks.
_TRIALS = ({"M": 1, "N": 1, "K": 1, "B": 1, "Z": 0}, {"M": 3, "N": 5, "K": 7, "B": 2, "Z": 1},
           {"M": 18, "N": 33, "K": 40, "B": 3, "Z": 35})
SPECIAL_FLOATS = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 0.5, -2.5, 127.5, 300.0)
HUGE_FLOATS = (2.0**31, -(2.0**63), 1e20, 3e38, -3e38)


def sizes_of(kernel: Kernel) -> list[dict[str, int]]:
    """Assignments of the kernel's symbolic sizes to try; a single empty one where it has none."""
    return [{s: trial[s] for s in kernel.sizes} for trial in (_TRIALS if kernel.sizes else ({},))]


def shape_of(buffer, sizes) -> tuple[int, ...]:
    """The buffer's shape in numbers."""
    return tuple(int(expr.evaluate(d, sizes)) for d in buffer.shape)


def inputs(kernel: Kernel, rng: np.random.Generator, sizes=None) -> dict[str, np.ndarray]:
    """Random arrays for the buffers that are read: normal floats, integers of some digits with zeros among them.

    Buffers that an index is computed from hold places inside the indexed dimension, distinct ones for a "set" scatter
    (as far as there are enough). The array that a "set" scatter writes into is given as well, under its name.
    """
    sizes = sizes or {}
    ranges = _index_ranges(kernel, sizes)
    arrays = {b.name: _random(b.dtype, shape_of(b, sizes), rng, ranges.get(b.name)) for b in kernel.inputs}
    for s in kernel.stores:
        if s.is_scatter and s.mode == "set":
            b = kernel.buffers[s.buffer]
            arrays[s.buffer] = _random(b.dtype, shape_of(b, sizes), rng, None)
    return arrays


def special_inputs(kernel: Kernel, rng: np.random.Generator, sizes=None) -> dict[str, np.ndarray]:
    """As `inputs`, with zeros of both signs, infinities, NaN, subnormals and the extremes of integers strewn in.

    Huge floats are left out where there are sums, whose overflow depends on the order.
    """
    is_sum = any(v.dtype.is_float and (v.op in ("add", "sub") or v.combine in ("sum", "prod")) for v in kernel.values)
    floats = SPECIAL_FLOATS if is_sum else SPECIAL_FLOATS + HUGE_FLOATS
    arrays = inputs(kernel, rng, sizes)
    places = _index_ranges(kernel, sizes or {})
    for name, a in arrays.items():
        d = kernel.buffers[name].dtype
        if name in places or d.kind == "b":
            continue
        info = np.iinfo(d.numpy) if d.is_integer else None
        values = floats if info is None else (0, 1, info.max, info.min, info.max - 1, info.bits, info.bits - 1)
        with np.errstate(all="ignore"):
            chosen = np.asarray(values).astype(d.numpy)[rng.integers(0, len(values), a.shape)]
        arrays[name] = np.where(rng.random(a.shape) < 0.3, chosen, a).astype(d.numpy)
    return arrays


def outputs(kernel: Kernel, arrays, sizes=None) -> dict[str, np.ndarray]:
    """Arrays to write into: what `arrays` has under the name, zeros where sums are scattered or places may be left out,
    else 77.
    """
    made = {}
    added = {s.buffer for s in kernel.stores if s.mode == "add"
             or not all(i in map(kernel.axis, kernel.axes) for i in s.index)}
    for b in kernel.outputs:
        shape = shape_of(b, sizes or {})
        made[b.name] = arrays[b.name].copy() if b.name in arrays else (
            np.full(shape, 0 if b.name in added else 77).astype(b.dtype.numpy))
    return made


def reference(kernel: Kernel, arrays, sizes=None) -> dict[str, np.ndarray]:
    """What the kernel should give; where it can be, float32 is computed in float64 and rounded once."""
    wide = in_float64(kernel)
    widened = {n: a.astype(wide.buffers[n].dtype.numpy) for n, a in arrays.items()}
    with np.errstate(all="ignore"):
        wanted = kernel_eval.evaluate(wide, widened, sizes)
        return {n: a.astype(kernel.buffers[n].dtype.numpy) for n, a in wanted.items()}


def in_float64(kernel: Kernel) -> Kernel:
    """The kernel with float64 for float32; itself where that would change its meaning (bits are looked at, or values
    are rounded to integers or narrower floats on the way, or overflow)."""
    if any(v.op in ("bitcast", "cast", "floor", "ceil", "rint", "trunc") for v in kernel.values):
        return kernel
    if not any(v.dtype is float32 for v in kernel.values):
        return kernel
    new: dict[Value, Value] = {}

    def wide(d):
        return float64 if d is float32 else d

    for v in kernel.values:
        number = float(np.float32(v.number)) if v.op == "const" and v.dtype is float32 else v.number
        index = tuple(new[i] if isinstance(i, Value) else i for i in v.index)
        new[v] = dataclasses.replace(v, args=tuple(new[a] for a in v.args), index=index, dtype=wide(v.dtype),
                                     number=number)
    stores = tuple(dataclasses.replace(s, value=new[s.value],
                                       index=tuple(new[i] if isinstance(i, Value) else i for i in s.index))
                   for s in kernel.stores)
    buffers = {n: dataclasses.replace(b, dtype=wide(b.dtype)) for n, b in kernel.buffers.items()}
    return Kernel(kernel.name, kernel.axes, buffers, tuple(new.values()), stores)


def _index_ranges(kernel: Kernel, sizes) -> dict[str, tuple[int, bool]]:
    """For each integer buffer that an index is computed from: how many places there are, and whether they must
    differ.
    """
    found: dict[str, tuple[int, bool]] = {}

    def follow(v: Value, places: int, distinct: bool) -> None:
        if v.op == "load" and v.dtype.is_integer:
            old, old_distinct = found.get(v.buffer, (places, False))
            found[v.buffer] = (min(old, places), distinct or old_distinct)
        for a in v.args:
            follow(a, places, distinct)

    for user in (*kernel.values, *kernel.stores):
        if any(isinstance(i, Value) for i in user.index):
            for i, places in zip(user.index, shape_of(kernel.buffers[user.buffer], sizes)):
                if isinstance(i, Value):
                    follow(i, places, getattr(user, "mode", "") == "set")
    return found


def _random(d, shape, rng, places) -> np.ndarray:
    if places is not None:
        count, distinct = places
        n = math.prod(shape)
        drawn = rng.permutation(count)[:n] if distinct and n <= count else rng.integers(0, count, n)
        return drawn.reshape(shape).astype(d.numpy)
    if d.kind == "b":
        return rng.random(shape) < 0.5
    if d.is_integer:
        return rng.integers(0 if d.kind == "u" else -9, 10, shape).astype(d.numpy)
    return rng.standard_normal(shape).astype(d.numpy)


def terms(kernel: Kernel, sizes=None) -> int:
    """How many numbers go into one output at most: the product of the extents that reductions and scans run over."""
    axes = {a for v in kernel.values if v.op in ("reduce", "scan") for a in v.over}
    axes |= {a for s in kernel.stores if s.mode == "add" for a in s.axes}
    return math.prod(int(expr.evaluate(kernel.axes[a], sizes or {})) for a in axes)


_EPS = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52}


def assert_close(kernel: Kernel, got, wanted, sizes=None) -> None:
    """All outputs agree: integers, bools and 8-bit floats (which nothing is computed with) exactly; NaN and infinities
    in the same places; floats within eps * (32 + 2 * terms) of the value, or of the largest one where sums may cancel
    (the bound on the error of a sum of n terms is n * eps * sum|x|, Higham, Accuracy and Stability, 4.2). 16-bit
    kernels: 8 eps, each operation rounding.
    """
    assert set(got) == {b.name for b in kernel.outputs}
    for b in kernel.outputs:
        g, w = np.asarray(got[b.name]), np.asarray(wanted[b.name])
        alike = g.shape == w.shape and g.dtype == w.dtype == b.dtype.numpy
        assert alike, f"{b}: got {g.dtype}{g.shape}, wanted {w.dtype}{w.shape}"
        if b.dtype.is_storage:
            g, w = g.astype(np.float64), w.astype(np.float64)
        if not b.dtype.is_float or b.dtype.is_storage:
            np.testing.assert_array_equal(g, w, err_msg=f"{kernel}\n{b}")
            continue
        g, w = g.astype(np.float64), w.astype(np.float64)
        finite = np.isfinite(w)
        largest = float(np.abs(w[finite]).max(initial=0.0))
        widest = max(_EPS[v.dtype.name] for v in (*kernel.values, b) if v.dtype.name in _EPS)
        bound = 8 * widest if b.dtype.bits == 16 else widest * (32 + 2 * terms(kernel, sizes))
        scale = largest if terms(kernel, sizes) > 1 else min(1.0, largest)
        np.testing.assert_allclose(g, w, rtol=bound, atol=bound * scale, equal_nan=True, err_msg=f"{kernel}\n{b}")
