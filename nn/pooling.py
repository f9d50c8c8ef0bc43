"""Pooling. A maximum is a chain of comparisons over the places of the window, which notes the place it found: the first
of equal elements gets the gradient, as in PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir.errors import ShapeError
from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..ir.types import int32
from ..tracer.arguments import lift
from ..tracer.manipulation import pad, stack
from ..tracer.reductions import amax, mean
from ..tracer.tensor import Tensor
from ..tracer.transforms import Function
from .convolution import each
from .module import Module


def _padded(x: Tensor, low: tuple[int, ...], high: tuple[int, ...], value: float) -> Tensor:
    if not any(low) and not any(high):
        return x
    outer = ((0, 0),) * (x.ndim - len(low))
    return pad(x, (*outer, *zip(low, high)), value)


class _Windows:
    """Where the windows of a pooling over the last dimensions lie."""

    def __init__(self, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, rank: int):
        self.rank, self.kernel = rank, each(kernel, rank)
        self.stride = self.kernel if stride is None else each(stride, rank)
        self.low, self.dilation = each(padding, rank), each(dilation, rank)
        if any(2 * p > k for p, k in zip(self.low, self.kernel)):
            raise ShapeError(f"pooling: padding {self.low} is more than half of the window {self.kernel}")
        self.count, high = [], []
        for n, k, s, p, d in zip(x.shape[x.ndim - rank:], self.kernel, self.stride, self.low, self.dilation):
            span = n + 2 * p - d * (k - 1) - 1
            count = -(-span // s) + 1 if ceil else span // s + 1
            if ceil and (count - 1) * s >= n + p:          # the last window must begin inside
                count -= 1
            if isinstance(count, int) and count < 1:
                raise ShapeError(f"pooling: the window {self.kernel} is larger than the input {list(x.shape)}")
            self.count.append(count)
            high.append((count - 1) * s + d * (k - 1) + 1 - n - p if ceil else p)
        self.high = tuple(high)

    @property
    def tiles(self) -> bool:
        """Do the windows lie side by side?"""
        return self.stride == self.kernel and not any(self.low) and all(d == 1 for d in self.dilation)

    def places(self, x: Tensor) -> list[Tensor]:
        """For each place in the window its elements, one for each window."""
        outer = x.ndim - self.rank
        shape = (*map(as_dim, x.shape[:outer]), *map(as_dim, self.count))
        step = (*(1,) * outer, *self.stride)
        return [F.slice(x, start=(*(0,) * outer, *(a * d for a, d in zip(place, self.dilation))), shape=shape,
                        step=step)
                for place in np.ndindex(*self.kernel)]

    @property
    def turns(self) -> tuple[int, ...]:
        """How many windows an element lies in at most, along each dimension."""
        return tuple(-(-(d * (k - 1) + 1) // s) for k, s, d in zip(self.kernel, self.stride, self.dilation))

    def codes(self) -> list[int]:
        """A number for each place in the window: its offset, counted in the window made up to whole strides."""
        spans = [t * s for t, s in zip(self.turns, self.stride)]
        return [int(np.ravel_multi_index([a * d for a, d in zip(place, self.dilation)], spans))
                for place in np.ndindex(*self.kernel)]

    def block_codes(self, turn: tuple[int, ...]) -> Tensor:
        """For the elements of a block of strides their places in the window that began `turn` blocks before."""
        spans = [t * s for t, s in zip(self.turns, self.stride)]
        total: Any = None
        for axis, (t, s) in enumerate(zip(turn, self.stride)):
            at = (F.cast(F.iota(size=s), dtype=int32) + t * s) * math.prod(spans[axis + 1:])
            at = F.reshape(at, shape=tuple(s if i == 2 * axis + 1 else 1 for i in range(2 * self.rank)))
            total = at if total is None else total + at
        return total

    def tiled(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """x with each dimension split into windows and places, and the axes of the places; what does not fill a window
        is cut off."""
        outer = x.ndim - self.rank
        whole = [n * k for n, k in zip(self.count, self.kernel)]
        if any(a != b for a, b in zip(whole, x.shape[outer:])):
            x = x[(..., *(slice(0, n) for n in whole))]
        pairs = [d for pair in zip(self.count, self.kernel) for d in pair]
        return x.reshape(*x.shape[:outer], *pairs), tuple(range(outer + 1, outer + 2 * self.rank, 2))


class _Maximum(Function):
    """The largest element of each window; its place is kept for the gradient, which each element then collects from the
    windows that it lies in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: _Windows) -> Tensor:
        """The maxima."""
        ctx.windows, ctx.shape = w, x.shape
        best: Any = None
        place: Any = None
        for code, other in zip(w.codes(), w.places(_padded(x, w.low, w.high, -math.inf))):
            here = F.constant(value=code, dtype=int32)
            if best is None:
                best, place = other, here
                continue
            wins = F.logical_or(F.greater(other, best), F.isnan(other))
            best, place = F.where(wins, other, best), F.where(wins, here, place)
        ctx.save_for_backward(F.broadcast_to(place, shape=tuple(map(as_dim, best.shape))))
        return best

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None]:
        """Elements are taken as blocks of one stride: those of block b lie in the windows b, b - 1, … that reach so
        far.
        """
        (g,), (place,), w = cotangents, ctx.saved_tensors, ctx.windows
        outer = g.ndim - w.rank
        total: Any = None
        for turn in np.ndindex(*w.turns):
            margins = ((0, 0),) * outer + tuple((t, n - 1 - t) for t, n in zip(turn, w.turns))
            mine = F.equal(_blocks(_shifted(place, margins, -1), w.rank), w.block_codes(turn))
            part = F.where(mine, _blocks(_shifted(g, margins, 0), w.rank), 0.0)
            total = part if total is None else total + part
        sizes = [(c + t - 1) * s for c, t, s in zip(w.count, w.turns, w.stride)]
        low = (*(0,) * outer, *(-p for p in w.low))
        high = (*(0,) * outer, *(as_dim(d + p - n) for d, p, n in zip(ctx.shape[outer:], w.low, sizes)))
        total = total.reshape(*g.shape[:outer], *sizes)
        return _shifted(total, tuple(zip(low, high)), 0), None


def _shifted(t: Tensor, margins: Any, value: int) -> Tensor:
    if all(isinstance(n, int) and n == 0 for pair in margins for n in pair):
        return t
    return F.pad(t, low=tuple(a for a, _ in margins), high=tuple(b for _, b in margins), value=value)


def _blocks(t: Tensor, rank: int) -> Tensor:
    """A dimension of size 1 after each of the last ones, to be broadcast over a stride."""
    outer = t.ndim - rank
    return t.reshape(*t.shape[:outer], *(d for n in t.shape[outer:] for d in (n, 1)))


def _max_pool(rank: int) -> Any:
    def max_pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 ceil_mode: bool = False) -> Tensor:
        x = lift(input)
        return _Maximum.apply(x, _Windows(x, kernel_size, stride, padding, dilation, ceil_mode, rank))

    max_pool.__name__ = max_pool.__qualname__ = f"max_pool{rank}d"
    max_pool.__doc__ = (f"The largest element of each window over the last {rank} dimensions; NaN wins, the first of "
                        f"equal ones has the gradient.")
    return max_pool


max_pool1d, max_pool2d, max_pool3d = map(_max_pool, (1, 2, 3))


def _avg_pool(rank: int) -> Any:
    def avg_pool(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> Tensor:
        x = lift(input)
        w = _Windows(x, kernel_size, stride, padding, 1, ceil_mode, rank)
        if w.tiles and not ceil_mode:
            parts, axes = w.tiled(x)
            return mean(parts, axes)
        total = _sum_of(w.places(_padded(x, w.low, w.high, 0.0)))
        if not ceil_mode and (count_include_pad or not any(w.low)):
            return total / math.prod(w.kernel)
        return total / _sum_of(w.places(_counted(x, w, count_include_pad)))

    avg_pool.__name__ = avg_pool.__qualname__ = f"avg_pool{rank}d"
    avg_pool.__doc__ = f"The mean of each window over the last {rank} dimensions."
    return avg_pool


def _sum_of(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for p in parts[1:]:
        total = total + p
    return total


def _counted(x: Tensor, w: _Windows, with_padding: bool) -> Tensor:
    """1 where an element counts: inside, and in the padding that was asked for if it is to be counted."""
    ones = F.full(tuple(map(as_dim, x.shape[x.ndim - w.rank:])), 1, x.dtype)
    if not with_padding:
        return _padded(ones, w.low, w.high, 0.0)
    ones = _padded(ones, w.low, tuple(min(p, h) for p, h in zip(w.low, w.high)), 1.0)
    return _padded(ones, (0,) * w.rank, tuple(max(0, h - p) for p, h in zip(w.low, w.high)), 0.0)


avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool, (1, 2, 3))


def _adaptive(rank: int, reduce: Any, name: str) -> Any:
    def pool(input: Any, output_size: Any) -> Tensor:
        x = lift(input)
        wanted = (output_size,) * rank if output_size is None or isinstance(output_size, int) else tuple(output_size)
        for axis, n in zip(range(x.ndim - rank, x.ndim), wanted):
            if n is not None and n != x.shape[axis]:
                x = _adapted(x, axis, n, reduce)
        return x

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = f"Pooling over the last {rank} dimensions to a given size; None keeps a dimension."
    return pool


def _adapted(x: Tensor, axis: int, count: int, reduce: Any) -> Tensor:
    """Windows of about equal size along one dimension (both reductions are separable)."""
    n = x.shape[axis]
    if count == 1:
        return reduce(x, axis, keepdims=True)
    if n % count == 0:
        return reduce(x.reshape(*x.shape[:axis], count, n // count, *x.shape[axis + 1:]), axis + 1)
    head = (slice(None),) * axis
    return stack([reduce(x[(*head, slice(i * n // count, -(-(i + 1) * n // count)))], axis) for i in range(count)],
                 axis)


adaptive_avg_pool1d = _adaptive(1, mean, "adaptive_avg_pool1d")
adaptive_avg_pool2d = _adaptive(2, mean, "adaptive_avg_pool2d")
adaptive_max_pool2d = _adaptive(2, amax, "adaptive_max_pool2d")


class _Pool(Module):
    """A pooling function with its options kept."""

    function: Any
    names: tuple[str, ...] = ()

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, **options: Any):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.options = kernel_size, stride, padding, options

    def forward(self, input: Any) -> Tensor:
        """The pooled input."""
        return type(self).function(input, self.kernel_size, self.stride, self.padding, **self.options)

    def extra_repr(self) -> str:
        """kernel_size, stride, padding."""
        return f"kernel_size={self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class _AdaptivePool(Module):
    """An adaptive pooling function with its size kept."""

    function: Any

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        """The pooled input."""
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        """output_size."""
        return f"output_size={self.output_size}"


def _module(name: str, base: type[Module], function: Any) -> Any:
    text = f"`functional.{function.__name__}` as a module. {function.__doc__}"
    return type(name, (base,), {"function": staticmethod(function), "__doc__": text, "__module__": __name__})


MaxPool1d = _module("MaxPool1d", _Pool, max_pool1d)
MaxPool2d = _module("MaxPool2d", _Pool, max_pool2d)
MaxPool3d = _module("MaxPool3d", _Pool, max_pool3d)
AvgPool1d = _module("AvgPool1d", _Pool, avg_pool1d)
AvgPool2d = _module("AvgPool2d", _Pool, avg_pool2d)
AvgPool3d = _module("AvgPool3d", _Pool, avg_pool3d)
AdaptiveAvgPool1d = _module("AdaptiveAvgPool1d", _AdaptivePool, adaptive_avg_pool1d)
AdaptiveAvgPool2d = _module("AdaptiveAvgPool2d", _AdaptivePool, adaptive_avg_pool2d)
AdaptiveMaxPool2d = _module("AdaptiveMaxPool2d", _AdaptivePool, adaptive_max_pool2d)
