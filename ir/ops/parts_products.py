"""Products of complex matrices and convolutions, as real ones (`parts.py`), and of many numbers.

A row of complex numbers in memory is a row of twice as many real ones. Its product with a column of complex numbers is
that with two columns of real ones, (re, -im) and (im, re) pair by pair: two real products of the same rows, which
fusion puts in one kernel, or one where there are few columns. They take as many operations as four products of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import expr
from ..expr import Dim
from .dims import is_one
from .namespace import F
from .parts import Parts, join, known_number, multiply, pad

FEW = 8                                          # columns that one product has room for twice


def _is_real(x: Parts) -> bool:
    """Is the imaginary part known to be zero?"""
    return known_number(x.im) == 0


def _source(x: Parts) -> tuple[Any, bool]:
    """What a value is in memory, and whether the value is its conjugate."""
    made = x.im.node
    if made is not None and made.op is F.neg:
        whole = Parts(x.re, made.operands[0]).whole
        if whole is not None:
            return whole, True
    return join(x), False


def _pairs(x: Parts, axis: int) -> Any:
    """Both parts of each element next to each other along an axis, which becomes twice as long."""
    shape = tuple(2 * d if i == axis else d for i, d in enumerate(x.re.shape))
    return F.reshape(F.stack(list(x), axis + 1), shape=shape)


def matmul(a: Parts, b: Parts) -> Parts:
    """a @ b, by two real products."""
    if _is_real(b):
        return Parts(F.matmul(a.re, b.re), F.matmul(a.im, b.re))
    if _is_real(a) or 0 in a.re.shape:
        return Parts(F.matmul(a.re, b.re), F.matmul(a.re, b.im))
    if _is_small(a, b):
        return _by_sums(a, b)
    whole, conjugated = _source(a)
    rows = F.reshape(F.view_as_real(whole), shape=(*whole.shape[:-1], 2 * whole.shape[-1]))
    columns = [_pairs(c, len(b.re.shape) - 2) for c in (Parts(b.re, b.im if conjugated else -b.im),
                                                        Parts(b.im, -b.re if conjugated else b.re))]
    if not _is_few(b.re.shape[-1]):
        return Parts(*(F.matmul(rows, c) for c in columns))
    y = F.matmul(rows, F.concat(*columns, axis=len(b.re.shape) - 1))
    return _both(F.reshape(y, shape=(*y.shape[:-1], 2, b.re.shape[-1])), len(y.shape) - 1)


def _is_few(d: Dim) -> bool:
    """Are there so few rows or columns?"""
    return isinstance(d, int) and d <= FEW


def _is_small(a: Parts, b: Parts) -> bool:
    """Is it a product with a vector, or one of a few rows that are short?"""
    (rows, depth), columns = a.re.shape[-2:], b.re.shape[-1]
    return is_one(rows) or is_one(columns) or _is_few(rows) and _is_few(depth)


def _by_sums(a: Parts, b: Parts) -> Parts:
    """The product by sums of complex products: bound by reading the operands, which are read once for both parts."""
    left = Parts(*(F.expand_dims(x, len(x.shape)) for x in a))
    right = Parts(*(F.expand_dims(x, len(x.shape) - 2) for x in b))
    return Parts(*(F.sum(x, axes=(len(x.shape) - 2,)) for x in multiply(left, right)))


def prod(x: Parts, axes: Sequence[int]) -> Parts | None:
    """The product over axes, by halves; None where their size is not known."""
    shape = x.re.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    count = expr.product([shape[a] for a in axes])
    if not isinstance(count, int):
        return None
    width = 1 << max(0, count - 1).bit_length()
    rows = [shape[i] for i in kept]
    z = Parts(*(F.reshape(F.permute(part, axes=(*kept, *axes)), shape=(*rows, count)) for part in x))
    zeros = (0,) * len(rows)
    z = pad(z, (*zeros, 0), (*zeros, width - count), 1)
    while width > 1:
        width //= 2
        z = multiply(*(Parts(*(F.slice(part, start=(*zeros, start), shape=(*rows, width), step=(1,) * (len(rows) + 1))
                               for part in z)) for start in (0, width)))
    return Parts(*(F.reshape(part, shape=tuple(rows)) for part in z))


def bilinear(op: Callable[[], Callable[..., Any]]) -> Callable[..., Parts]:
    """The rule for an op that is linear in each of its first two operands: four of real ones."""

    def of_parts(a: Parts, b: Parts, *others: Any, **attrs: Any) -> Parts:
        def f(x: Any, y: Any) -> Any:
            return op()(x, y, *others, **attrs)

        return Parts(f(a.re, b.re) - f(a.im, b.im), f(a.re, b.im) + f(a.im, b.re))

    return of_parts


def conv(x: Parts, w: Parts, **attrs: Any) -> Parts:
    """The convolution of x with w, by one with twice as many channels on both sides."""
    if _is_real(w):
        return Parts(F.conv(x.re, w.re, **attrs), F.conv(x.im, w.re, **attrs))
    if _is_real(x):
        return Parts(F.conv(x.re, w.re, **attrs), F.conv(x.re, w.im, **attrs))
    groups = attrs["groups"]
    channels, *window = w.re.shape
    each = expr.floordiv(channels, groups)
    grouped = [F.reshape(_pairs(c, 1), shape=(groups, each, 2 * window[0], *window[1:]))
               for c in (Parts(w.re, -w.im), Parts(w.im, w.re))]
    both = F.reshape(F.concat(*grouped, axis=1), shape=(2 * channels, 2 * window[0], *window[1:]))
    y = F.conv(_pairs(x, 1), both, **attrs)
    batch, _, *spots = y.shape
    y = F.reshape(y, shape=(batch, groups, 2, each, *spots))
    return Parts(*(F.reshape(part, shape=(batch, channels, *spots)) for part in _both(y, 2)))


def _both(y: Any, axis: int) -> Parts:
    """The two places along an axis of 2, without it."""
    shape = y.shape

    def taken(part: int) -> Any:
        start = tuple(part if d == axis else 0 for d in range(len(shape)))
        one = F.slice(y, start=start, shape=tuple(1 if d == axis else n for d, n in enumerate(shape)),
                      step=(1,) * len(shape))
        return F.reshape(one, shape=(*shape[:axis], *shape[axis + 1:]))

    return Parts(taken(0), taken(1))
