"""Loss functions and their modules: PyTorch's names, reductions and conventions.

A class is picked by comparing its number with the classes', not by gathering: comparison, logarithm and sum fuse, and
the gradient needs no scatter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.errors import DTypeError, IndexingError, ShapeError
from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..tracer.arguments import lift
from ..tracer.devices import work_beside
from ..tracer.reductions import mean
from ..tracer.reductions import sum as total
from ..tracer.tensor import Tensor
from .module import Module


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A loss per element as its mean, its sum, or as it is."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return total(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(f"{name}: input {list(input.shape)} and target {list(target.shape)} must have one shape")


# ---- classification --------------------------------------------------------------------------------------------------


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Minus the log-probability (input) of the target classes; classes are along dimension 1 (0 without a batch)."""
    return _class_loss(lift(input), lift(target), weight, ignore_index, reduction, 0.0)


def cross_entropy(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """Minus the log-probability of the target under softmax(input); the target is classes, or probabilities of input's
    shape.

    Classes are along dimension 1 (0 without a batch). The mean is over the targets that are not `ignore_index`,
    weighted. A target that is no class is an error; in compiled code, where no value is looked at, it has no
    log-probability: its loss is 0, as a read outside of a tensor gives 0 there, and it counts in the mean.
    """
    input, target = lift(input), lift(target)
    log_p = F.log_softmax(input, _class_axis(input))
    if target.dtype.is_inexact:
        return _probability_loss(log_p, target, weight, reduction, label_smoothing)
    return _class_loss(log_p, target, weight, ignore_index, reduction, label_smoothing)


def _class_axis(log_p: Tensor) -> int:
    return 1 if log_p.ndim > 1 else 0


def _along_classes(v: Any, log_p: Tensor) -> Tensor:
    """A vector with an entry for each class, laid along the class axis."""
    axis = _class_axis(log_p)
    return F.reshape(lift(v), shape=tuple(as_dim(d) if i == axis else 1 for i, d in enumerate(log_p.shape)))


def _class_loss(log_p: Tensor, target: Tensor, weight: Any, ignore_index: int, reduction: str,
                smoothing: float) -> Tensor:
    axis = _class_axis(log_p)
    if not target.dtype.is_integer:
        raise DTypeError(f"target classes must be integers, not {target.dtype.long_name}")
    if target.ndim != log_p.ndim - 1:
        raise ShapeError(f"target classes of shape {list(target.shape)} for input {list(log_p.shape)}: the target has "
                         f"input's shape without the class dimension")
    wanted = [d for n, d in enumerate(log_p.shape) if n != axis]
    if any(a != b for a, b in zip(target.shape, wanted)):
        raise ShapeError(f"target classes of shape {list(target.shape)} for input {list(log_p.shape)}, whose "
                         f"classes are along dimension {axis}, so that the target has shape {wanted}; where the "
                         f"classes are along the last dimension, give input.moveaxis(-1, {axis})")
    _check_classes(target, log_p.shape[axis], ignore_index, axis)
    kept = F.not_equal(target, ignore_index)
    classes = _along_classes(F.iota(size=as_dim(log_p.shape[axis])), log_p)
    is_target = F.logical_and(F.equal(F.expand_dims(target, axis), classes), F.expand_dims(kept, axis))
    weighted = log_p if weight is None else log_p * _along_classes(weight, log_p)
    loss = -F.sum(F.where(is_target, weighted, 0.0), axes=(axis,))
    if smoothing:
        spread = -F.sum(weighted, axes=(axis,)) / log_p.shape[axis]
        loss = (1.0 - smoothing) * loss + smoothing * F.where(kept, spread, 0.0)
    if reduction != "mean":
        return reduced(loss, reduction)
    if weight is None:
        return total(loss) / total(F.cast(kept, dtype=loss.dtype))
    weights = F.where(is_target, F.broadcast_to(_along_classes(weight, log_p), shape=tuple(map(as_dim, log_p.shape))),
                      0.0)
    return total(loss) / total(weights)


def _check_classes(target: Tensor, count: Any, ignore_index: int, axis: int) -> None:
    """Classes whose values are known must exist."""
    if target._array is None or not isinstance(count, int):
        return
    work_beside(target._array, lambda: _check_known_classes(target._array, count, ignore_index, axis),
                "the target classes")


def _check_known_classes(target: Any, count: int, ignore_index: int, axis: int) -> None:
    classes = target[target != ignore_index]
    if classes.size and not (0 <= classes.min() and classes.max() < count):
        bad = classes[(classes < 0) | (classes >= count)][0]
        raise IndexingError(f"target class {bad} is outside the {count} classes of the input, which are along its "
                            f"dimension {axis}")


def _probability_loss(log_p: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float) -> Tensor:
    _same_shape("cross_entropy", log_p, target)
    axis = _class_axis(log_p)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / log_p.shape[axis]
    weighted = log_p if weight is None else log_p * _along_classes(weight, log_p)
    return reduced(-F.sum(target * weighted, axes=(axis,)), reduction)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)), logarithms kept above -100 as PyTorch does."""
    input, target = lift(input), lift(target)
    _same_shape("binary_cross_entropy", input, target)
    loss = (target - 1.0) * F.maximum(F.log1p(-input), -100.0) - target * F.maximum(F.log(input), -100.0)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None, reduction: str = "mean",
                                     pos_weight: Any = None) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without overflow."""
    input, target = lift(input), lift(target)
    _same_shape("binary_cross_entropy_with_logits", input, target)
    loss = F.binary_cross_entropy_with_logits(input, target, 1.0 if pos_weight is None else pos_weight)
    return reduced(loss if weight is None else loss * weight, reduction)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target (log target - input), the input being log-probabilities; reduction="batchmean" divides by the batch
    size."""
    input, target = lift(input), lift(target)
    loss = F.exp(target) * (target - input) if log_target else F.kl_divergence(input, target)
    return total(loss) / input.shape[0] if reduction == "batchmean" else reduced(loss, reduction)


# ---- regression ------------------------------------------------------------------------------------------------------


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    return reduced(F.squared_error(lift(input), lift(target)), reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    return reduced(F.absolute_error(lift(input), lift(target)), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half the squared error up to delta, beyond it linear."""
    return reduced(F.huber(lift(input), lift(target), delta), reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` with delta = beta, divided by beta; `l1_loss` for beta = 0."""
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) / beta


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle of vectors along a dimension."""
    return F.cosine_similarity(lift(x1), lift(x2), dim, eps)


# ---- modules ---------------------------------------------------------------------------------------------------------


class _Loss(Module):
    """A loss function with its options kept."""

    function: Callable[..., Tensor]

    def __init__(self, **options: Any):
        super().__init__()
        tensors = {name: v for name, v in options.items() if isinstance(v, (Tensor, np.ndarray))}
        for name, v in tensors.items():
            self.register_buffer(name, lift(v))
        self.options = {name: v for name, v in options.items() if name not in tensors}

    def forward(self, input: Any, target: Any) -> Tensor:
        """The loss."""
        return type(self).function(input, target, **self.options, **self._buffers)

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{k}={v!r}" for k, v in self.options.items() if v is not None)


class CrossEntropyLoss(_Loss):
    """`functional.cross_entropy` as a module."""

    function = staticmethod(cross_entropy)

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)


class NLLLoss(_Loss):
    """`functional.nll_loss` as a module."""

    function = staticmethod(nll_loss)

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)


class BCELoss(_Loss):
    """`functional.binary_cross_entropy` as a module."""

    function = staticmethod(binary_cross_entropy)

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(_Loss):
    """`functional.binary_cross_entropy_with_logits` as a module."""

    function = staticmethod(binary_cross_entropy_with_logits)

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)


class KLDivLoss(_Loss):
    """`functional.kl_div` as a module."""

    function = staticmethod(kl_div)

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__(reduction=reduction, log_target=log_target)


class MSELoss(_Loss):
    """`functional.mse_loss` as a module."""

    function = staticmethod(mse_loss)

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)


class L1Loss(_Loss):
    """`functional.l1_loss` as a module."""

    function = staticmethod(l1_loss)

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)


class HuberLoss(_Loss):
    """`functional.huber_loss` as a module."""

    function = staticmethod(huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction, delta=delta)


class SmoothL1Loss(_Loss):
    """`functional.smooth_l1_loss` as a module."""

    function = staticmethod(smooth_l1_loss)

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction=reduction, beta=beta)
