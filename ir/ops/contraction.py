"""Contractions: matmul and convolution. Whole in the graph; sums of products over axes in kernel IR."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import expr
from ..errors import ShapeError
from ..expr import Dim
from ..types import accumulator
from .declare import NUMBERS, broadcast_shapes, conjugate, general, same_size, show_shape, sum_to
from .namespace import F
from .parts_products import conv as conv_parts
from .parts_products import matmul as matmul_parts


def _infer_matmul(types):
    a, b = types
    if len(a.shape) < 2 or len(b.shape) < 2 or not same_size(a.shape[-1], b.shape[-2]):
        raise ShapeError(f"matmul: {show_shape(a.shape)} @ {show_shape(b.shape)}: both need two dimensions, and the "
                         f"last size of the left operand must be the last but one of the right operand")
    batch = broadcast_shapes("matmul", [a.shape[:-2], b.shape[:-2]])
    return a.with_shape((*batch, a.shape[-2], b.shape[-1]))


EXACT = 2.0**53                          # float64 holds every integer up to here


def accumulated(f):
    """16-bit floats are multiplied and summed in float32, and rounded once. Integers are multiplied by BLAS where
    float64 holds their sums, since NumPy has nothing as fast.
    """

    def run(xp, a, b, *others, **attrs):
        d = a.dtype
        if d.itemsize == 2 and d.kind not in "iu":
            return f(xp, a.astype(np.float32), b.astype(np.float32), *others, **attrs).astype(d)
        if d.kind in "iu" and a.size and b.size and _largest(a) * _largest(b) * a.size < EXACT:
            return f(xp, a.astype(np.float64), b.astype(np.float64), *others, **attrs).astype(np.int64).astype(d)
        return f(xp, a, b, *others, **attrs)

    return run


def _largest(a):
    """The largest size of an integer in an array, as a float, which does not wrap."""
    return max(abs(float(a.min())), abs(float(a.max())))


def transpose(x):
    """The last two dimensions exchanged."""
    n = len(x.shape)
    return F.permute(x, axes=(*range(n - 2), n - 1, n - 2))


def _matmul_vjp(g, y, a, b):
    # the rows of all batches are one long dimension of the weight's gradient
    if len(b.shape) == 2 and len(a.shape) > 2:
        rows = expr.product(a.shape[:-1])
        flat, cotangent = F.reshape(a, shape=(rows, a.shape[-1])), F.reshape(g, shape=(rows, g.shape[-1]))
        return F.matmul(g, F.conj(transpose(b))), F.matmul(F.conj(transpose(flat)), cotangent)
    return sum_to(F.matmul(g, conjugate(transpose(b))), a.shape), sum_to(F.matmul(conjugate(transpose(a)), g), b.shape)


def _batch_index(index, shape, rank):
    """The index of an operand whose batch dimensions may be broadcast."""
    own = index[rank - len(shape):]
    return tuple(0 if isinstance(d, int) and d == 1 else i for d, i in zip(shape, own))


def product_sum(c, left, right, over):
    """sum(left * right) over axes, kept in the accumulator's dtype."""
    d = c.k.dtype_of(left)
    wide = accumulator(d) if d.is_float else d
    return c.k.cast(c.k.reduce("sum", c.k.mul(c.k.cast(left, wide), c.k.cast(right, wide)), over), d)


_MATMUL_SAMPLES: Any = tuple((shapes, {}) for shapes in (
    ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((2, 3, 4), (4, 2)), ((5, 1, 2, 3), (2, 3, 4)), ((2, 0), (0, 3)),
    ((0, 2), (2, 3))))


def _lower_matmul(c, index, types):
    a, b = types
    *batch, i, j = index
    name, k = c.reduced_axis(a.shape[-1])
    left = c.read(0, (*_batch_index(batch, a.shape[:-2], len(batch)), i, k))
    right = c.read(1, (*_batch_index(batch, b.shape[:-2], len(batch)), k, j))
    return product_sum(c, left, right, (name,))


matmul = general("matmul", "contraction", accumulated(lambda xp, a, b: xp.matmul(a, b)), infer=_infer_matmul, arity=2,
                 dtypes=NUMBERS, samples=_MATMUL_SAMPLES, vjp=_matmul_vjp, lower=_lower_matmul,
                 traits=("bilinear", "narrow"), parts=matmul_parts,
                 doc="[..., M, K] @ [..., K, N], batches broadcast; 16-bit floats accumulate in float32.")


# ---- convolution -----------------------------------------------------------------------------------------------------


def output_size(size: Dim, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> Dim:
    """The number of window positions along one dimension."""
    return expr.floordiv(size + padding[0] + padding[1] - dilation * (kernel - 1) - 1, stride) + 1


def _infer_conv(types, stride, padding, dilation, groups):
    x, w = types
    rank = len(stride)
    if len(x.shape) != rank + 2 or len(w.shape) != rank + 2:
        raise ShapeError(f"conv: {rank} spatial dimensions need x [N, C, …] and w [O, C / groups, …], not "
                         f"{show_shape(x.shape)} and {show_shape(w.shape)}")
    if not same_size(x.shape[1], w.shape[1] * groups) or (isinstance(w.shape[0], int) and w.shape[0] % groups):
        raise ShapeError(f"conv: {x.shape[1]} input channels in {groups} groups do not fit weights "
                         f"{show_shape(w.shape)}")
    spatial = [output_size(*a) for a in zip(x.shape[2:], w.shape[2:], stride, padding, dilation)]
    if any(isinstance(s, int) and s < 0 for s in spatial):
        raise ShapeError(f"conv: the window {show_shape(w.shape[2:])} is larger than the padded input "
                         f"{show_shape(x.shape[2:])}")
    return x.with_shape((x.shape[0], w.shape[0], *spatial))


def _conv(xp, x, w, stride, padding, dilation, groups):
    rank = len(stride)
    x = xp.pad(x, [(0, 0), (0, 0), *padding])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:]))
    view = xp.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    view = view[(slice(None), slice(None), *(slice(None, None, s) for s in stride),
                 *(slice(None, None, d) for d in dilation))]
    out = []
    for n in range(groups):
        c, o = w.shape[1], w.shape[0] // groups
        part, weight = view[:, n * c:(n + 1) * c], w[n * o:(n + 1) * o]
        y = xp.tensordot(part, weight, axes=([1, *range(2 + rank, 2 + 2 * rank)], [1, *range(2, 2 + rank)]))
        out.append(xp.moveaxis(y, -1, 1))
    return out[0] if groups == 1 else xp.concatenate(out, axis=1)


def _conv_vjp(g, y, x, w, stride, padding, dilation, groups):
    rank = len(stride)
    spatial, size = range(rank), w.shape[2:]
    spread = F.dilate(g, step=(1, 1, *stride)) if any(s != 1 for s in stride) else g
    # towards x: the spread gradient with the flipped kernel, input and output channels exchanged within each group
    o, c = w.shape[0] // groups, w.shape[1]
    back = F.reshape(F.flip(w, tuple(range(2, 2 + rank))), shape=(groups, o, c, *size))
    back = F.reshape(F.permute(back, axes=(0, 2, 1, *range(3, 3 + rank))), shape=(groups * c, o, *size))
    back = conjugate(back)
    reach = [dilation[i] * (size[i] - 1) for i in spatial]
    low = [reach[i] - padding[i][0] for i in spatial]
    high = [x.shape[2 + i] + reach[i] - low[i] - spread.shape[2 + i] for i in spatial]
    gx = F.conv(spread, back, stride=(1,) * rank, padding=tuple(zip(low, high)), dilation=dilation, groups=groups)
    # towards w: each group's channels as the batch, the batch as its channels, the gradient as the window
    need = [stride[i] * (g.shape[2 + i] - 1) + reach[i] + 1 for i in spatial]
    pad = tuple((padding[i][0], need[i] - x.shape[2 + i] - padding[i][0]) for i in spatial)
    order = (1, 0, *range(2, 2 + rank))
    gw = F.conv(conjugate(_batch_inside(x, groups)), F.permute(g, axes=order), stride=dilation, padding=pad,
                dilation=stride, groups=groups)
    return gx, F.permute(gw, axes=order)


def _batch_inside(x, groups):
    """[C / groups, groups * N, *S] of x [N, C, *S]."""
    batch, channels, *size = x.shape
    spatial = range(3, 3 + len(size))
    parts = F.permute(F.reshape(x, shape=(batch, groups, channels // groups, *size)), axes=(2, 1, 0, *spatial))
    return F.reshape(parts, shape=(channels // groups, groups * batch, *size))


def _lower_conv(c, index, types, stride, padding, dilation, groups):
    x, w = types
    n, o, *spots = index
    names, inner = [], []
    for size in w.shape[1:]:
        name, e = c.reduced_axis(size)
        names.append(name)
        inner.append(e)
    channel = inner[0] if groups == 1 else inner[0] + expr.floordiv(o, w.shape[0] // groups) * w.shape[1]
    at = [p * s + r * d - low for p, s, r, d, (low, _) in zip(spots, stride, inner[1:], dilation, padding)]
    inside = [(a, d) for a, d, (low, high) in zip(at, x.shape[2:], padding) if low or high]
    left = c.read(0, (n, channel, *at), inside, 0)
    return product_sum(c, left, c.read(1, (o, *inner)), tuple(names))


def _evaluate_conv(xp, x, w, stride, padding, dilation, groups):
    """Negative padding (of gradients) cuts away."""
    cut = (slice(None), slice(None), *(slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(padding, x.shape[2:])))
    grow = tuple((max(0, a), max(0, b)) for a, b in padding)
    return _conv(xp, x[cut], w, stride, grow, dilation, groups)


def _sample(x, w, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1):
    return (x, w), {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


_CONV_SAMPLES = (
    _sample((1, 1, 5), (1, 1, 3)),
    _sample((2, 3, 7), (4, 3, 3), (2,), ((1, 2),)),
    _sample((2, 4, 9), (6, 2, 2), (1,), ((0, 1),), (3,), 2),
    _sample((1, 2, 5, 6), (3, 2, 3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2)),
    _sample((1, 3, 4, 4), (3, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    _sample((1, 1, 6), (1, 1, 2), (1,), ((-1, -2),)),
)

conv = general("conv", "contraction", accumulated(_evaluate_conv), infer=_infer_conv, arity=2, dtypes=NUMBERS,
               samples=_CONV_SAMPLES, vjp=_conv_vjp, lower=_lower_conv, parts=conv_parts,
               parameters=("stride", "padding", "dilation", "groups"), traits=("bilinear", "narrow"),
               doc="Cross-correlation of x [N, C, *S] with w [O, C / groups, *K]; padding is (low, high) for each "
                   "dimension.")
