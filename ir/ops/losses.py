"""The pieces of loss functions, without reduction: one number per element or per example."""

from __future__ import annotations

from ..precision import in_full_precision
from .declare import composite
from .manipulation import one_axis
from .namespace import F


@composite
def cross_entropy(logits, target, axis=-1, label_smoothing=0.0):
    """-log softmax(logits) at the target classes (int64, without the axis), per example."""
    axis = one_axis(axis, len(logits.shape))
    log_p = F.log_softmax(logits, axis)
    loss = F.nll(log_p, target, axis)
    if label_smoothing:
        loss = (1.0 - label_smoothing) * loss - label_smoothing * F.mean(log_p, (axis,))
    return loss


@composite
@in_full_precision
def nll(log_p, target, axis=-1):
    """Minus the log-probability of the target class, per example."""
    axis = one_axis(axis, len(log_p.shape))
    return -F.squeeze(F.take_along(log_p, F.expand_dims(target, axis), axis), axis)


@composite
def soft_cross_entropy(logits, target, axis=-1):
    """-sum(target * log softmax(logits)) along the axis; the target is a distribution."""
    axis = one_axis(axis, len(logits.shape))
    return -F.sum(target * F.log_softmax(logits, axis), axes=(axis,))


@composite
@in_full_precision
def binary_cross_entropy_with_logits(logits, target, positive_weight=1.0):
    """-(w * target * log sigmoid(logits) + (1 - target) * log sigmoid(-logits)), without overflow."""
    if isinstance(positive_weight, float) and positive_weight == 1.0:
        return F.softplus(logits) - target * logits
    return (1.0 - target) * logits + (1.0 + (positive_weight - 1.0) * target) * F.softplus(-logits)


@composite
@in_full_precision
def squared_error(x, y):
    """(x - y)^2."""
    return F.square(x - y)


@composite
@in_full_precision
def absolute_error(x, y):
    """|x - y|."""
    return F.abs(x - y)


@composite
@in_full_precision
def huber(x, y, delta=1.0):
    """Half the squared error up to delta, beyond it linear (Huber 1964)."""
    d = F.abs(x - y)
    return F.where(F.less(d, delta), 0.5 * d * d, delta * (d - 0.5 * delta))


@composite
@in_full_precision
def kl_divergence(log_p, target):
    """target * (log target - log_p), 0 where the target is."""
    return F.xlogy(target, target) - target * log_p


@composite
@in_full_precision
def cosine_similarity(x, y, axis=-1, eps=1e-8):
    """The cosine of the angle of vectors along an axis."""
    axis = one_axis(axis, len(x.shape))
    lengths = F.norm(x, (axis,)) * F.norm(y, (axis,))
    return F.sum(x * y, axes=(axis,)) / F.maximum(lengths, eps)


@composite
@in_full_precision
def hinge(x, target):
    """max(0, 1 - target * x), the target being -1 or 1."""
    return F.maximum(1.0 - target * x, 0.0)
