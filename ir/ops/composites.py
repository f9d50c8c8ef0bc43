"""Functions written with other ops: manipulation helpers and what networks are made of."""

from __future__ import annotations

import math

from ..precision import in_full_precision, in_low_precision
from .declare import composite, normalize_axes
from .namespace import F
from .reductions import expand
from .rounding import rounded_once


@composite
def flip(x, axes=None):
    """x backwards along axes (None: all)."""
    rank = len(x.shape)
    axes = normalize_axes(axes, rank)
    start = tuple(x.shape[i] - 1 if i in axes else 0 for i in range(rank))
    return F.slice(x, start=start, shape=x.shape, step=tuple(-1 if i in axes else 1 for i in range(rank)))


@composite
def clip(x, low=None, high=None):
    """x kept between low and high; NaN stays."""
    x = x if low is None else F.maximum(x, low)
    return x if high is None else F.minimum(x, high)


@composite
@in_full_precision
@rounded_once
def softmax(x, axis):
    """exp(x) / sum(exp(x)) along an axis, without overflow."""
    (axis,) = normalize_axes(axis, len(x.shape))
    x = F.as_inexact(x)
    e = F.exp(x - expand(F.stop_gradient(F.max(x, axes=(axis,))), (axis,)))
    return e / expand(F.sum(e, axes=(axis,)), (axis,))


@composite
@in_full_precision
@rounded_once
def log_softmax(x, axis):
    """log(softmax(x)), exact for small probabilities."""
    (axis,) = normalize_axes(axis, len(x.shape))
    x = F.as_inexact(x)
    centred = x - expand(F.stop_gradient(F.max(x, axes=(axis,))), (axis,))
    return centred - expand(F.log(F.sum(F.exp(centred), axes=(axis,))), (axis,))


@composite
@in_full_precision
@rounded_once
def layer_norm(x, axes, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(variance + eps) * weight + bias over axes (Ba, Kiros and Hinton 2016)."""
    centred = x - expand(F.mean(x, axes), axes)
    spread = F.mean(F.square(centred), axes)
    y = centred * expand(F.rsqrt(spread + eps), axes)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@composite
@in_low_precision
@rounded_once
def attention(q, k, v, mask=None, causal=False, scale=None):
    """softmax(q k^T * scale + mask) v over the last two dimensions (Vaswani et al. 2017). A bool mask keeps where it is
    true.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    n = len(k.shape)
    scores = F.matmul(q, F.permute(k, axes=(*range(n - 2), n - 1, n - 2))) * scale
    if causal:
        rows = F.reshape(F.iota(size=q.shape[-2]), shape=(q.shape[-2], 1))
        keep = F.greater_equal(rows, F.iota(size=k.shape[-2]))
        scores = F.where(keep, scores, -math.inf)
    if mask is not None:
        scores = F.where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    return F.matmul(F.softmax(scores, -1), v)
