"""Normalisation over features, batches, groups: functions and layers. Statistics are computed in two passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ir.errors import ShapeError
from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..ir.precision import in_full_precision
from ..tracer.arguments import lift
from ..tracer.creation import ones, tensor, zeros
from ..tracer.modes import no_grad
from ..tracer.reductions import mean as mean_over
from ..tracer.tensor import Tensor
from .module import Module
from .parameter import Parameter

_lifted = in_full_precision(lift)


def _sizes(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _last_axes(name: str, x: Tensor, normalized_shape: Any) -> tuple[int, ...]:
    wanted = _sizes(normalized_shape)
    if tuple(x.shape[x.ndim - len(wanted):]) != wanted:
        raise ShapeError(f"{name} over {list(wanted)}: the last dimensions of the input {list(x.shape)} are others")
    return tuple(range(x.ndim - len(wanted), x.ndim))


def _per_channel(v: Tensor | None, x: Tensor) -> Tensor | None:
    """A vector laid along the channels (dimension 1)."""
    return None if v is None else F.reshape(v, shape=(1, as_dim(v.shape[0]), *(1,) * (x.ndim - 2)))


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def layer_norm(input: Any, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions (Ba, Kiros and Hinton 2016)."""
    x = lift(input)
    return F.layer_norm(x, _last_axes("layer_norm", x, normalized_shape), weight, bias, eps)


@in_full_precision
def rms_norm(input: Any, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang and Sennrich 2019)."""
    x = lift(input)
    axes = _last_axes("rms_norm", x, normalized_shape)
    eps = _machine_epsilon(x) if eps is None else eps
    return _scaled(x * F.rsqrt(mean_over(F.square(x), axes, keepdims=True) + eps), weight, None)


def _machine_epsilon(x: Tensor) -> float:
    return {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23}.get(x.dtype.name, 2.0**-52)


@in_full_precision
def group_norm(input: Any, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Each group of channels of each example normalised (Wu and He 2018)."""
    x = lift(input)
    channels = x.shape[1]
    if channels % num_groups:
        raise ShapeError(f"group_norm: {channels} channels do not divide into {num_groups} groups")
    parts = x.reshape(x.shape[0], num_groups, channels // num_groups * math.prod(x.shape[2:]))
    y = F.layer_norm(parts, (2,), None, None, eps).reshape(x.shape)
    return _scaled(y, _per_channel(weight, x), _per_channel(bias, x))


@in_full_precision
def instance_norm(input: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Each channel of each example normalised."""
    x = lift(input)
    y = F.layer_norm(x, tuple(range(2, x.ndim)), None, None, eps)
    return _scaled(y, _per_channel(weight, x), _per_channel(bias, x))


def batch_norm(input: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: Any = 0.1, eps: float = 1e-5) -> Tensor:
    """Each channel normalised over the batch (Ioffe and Szegedy 2015), or by running statistics, which training
    updates in place."""
    x = _lifted(input)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    if not training and running_mean is not None and running_var is not None:
        centred = x - _per_channel(running_mean, x)
        scale = F.rsqrt(running_var + eps)
        return _scaled(centred * _per_channel(scale, x), _per_channel(weight, x), _per_channel(bias, x))
    mean = mean_over(x, axes)
    centred = x - _per_channel(mean, x)
    spread = mean_over(F.square(centred), axes)
    if running_mean is not None and running_var is not None:
        _update_statistics(running_mean, running_var, mean, spread, math.prod([x.shape[a] for a in axes]), momentum)
    return _scaled(centred * _per_channel(F.rsqrt(spread + eps), x), _per_channel(weight, x), _per_channel(bias, x))


@no_grad()
def _update_statistics(running_mean: Tensor, running_var: Tensor, mean: Tensor, spread: Tensor, count: Any,
                       momentum: Any) -> None:
    """Running statistics move towards the batch's; the variance without bias."""
    if count == 1:
        raise ShapeError("batch_norm in training needs more than one value per channel")
    unbiased = spread * (count / (count - 1)) if isinstance(count, int) else spread * count / (count - 1)
    running_mean.copy_(running_mean + (mean - running_mean) * momentum)
    running_var.copy_(running_var + (unbiased - running_var) * momentum)


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along a dimension divided by their p-norm."""
    x = lift(input)
    return x / F.maximum(F.expand_dims(F.norm(x, (dim,), p), dim), eps)


class LayerNorm(Module):
    """`functional.layer_norm` with learned scale and shift."""

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape), eps
        self.weight = Parameter(ones(self.normalized_shape, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(zeros(self.normalized_shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, input: Any) -> Tensor:
        """The normalised input."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """normalized_shape, eps."""
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """`functional.rms_norm` with a learned scale."""

    def __init__(self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape), eps
        self.weight = Parameter(ones(self.normalized_shape, dtype=dtype)) if elementwise_affine else None

    def forward(self, input: Any) -> Tensor:
        """The normalised input."""
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """normalized_shape, eps."""
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """`functional.group_norm` with a learned scale and shift for each channel."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, input: Any) -> Tensor:
        """The normalised input."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """num_groups, num_channels, eps."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class _BatchNorm(Module):
    """`functional.batch_norm` with running statistics, and a learned scale and shift for each channel."""

    ranks: tuple[int, ...] = ()

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_features, dtype=dtype)) if affine else None
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def forward(self, input: Any) -> Tensor:
        """The normalised input; in training the running statistics move."""
        x = lift(input)
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            ranks = " or ".join(map(str, self.ranks))
            raise ShapeError(f"{type(self).__name__}({self.num_features}) takes {ranks} dimensions with "
                             f"{self.num_features} channels in dimension 1, not {list(x.shape)}")
        momentum: Any = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if momentum is None:                   # the average of all batches
                momentum = 1.0 / F.astype(self.num_batches_tracked, x.dtype)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                          self.training or self.running_mean is None, momentum, self.eps)

    def extra_repr(self) -> str:
        """num_features, eps, momentum."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Batch norm of [N, C] or [N, C, L]."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of [N, C, H, W]."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch norm of [N, C, D, H, W]."""

    ranks = (5,)
