"""Convolutions over one, two and three dimensions, their transposes, and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.errors import ShapeError
from ..ir.ops import F
from ..ir.precision import in_low_precision
from ..tracer.arguments import lift
from ..tracer.creation import zeros
from ..tracer.manipulation import concat
from ..tracer.manipulation import pad as pad_dimensions
from ..tracer.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def each(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each spatial dimension."""
    out = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(out) != rank:
        raise ShapeError(f"{value} should be one number or {rank}")
    return out


def _margins(padding: Any, kernel: Sequence[Any], stride: Sequence[int],
             dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(low, high) for each spatial dimension; "same" puts an odd one at the end, as PyTorch does."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError("padding='same' needs stride 1")
        whole = [d * (k - 1) for d, k in zip(dilation, kernel)]
        return tuple((w // 2, w - w // 2) for w in whole)
    return tuple((p, p) for p in each(padding, len(kernel)))


def _biased(y: Tensor, bias: Tensor | None, rank: int) -> Tensor:
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)


def _convolution(rank: int) -> Any:
    @in_low_precision
    def conv(input: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
             dilation: Any = 1, groups: int = 1) -> Tensor:
        x = lift(input)
        if x.ndim == rank + 1:                     # one example without a batch
            return conv(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
        stride, dilation = each(stride, rank), each(dilation, rank)
        margins = _margins(padding, weight.shape[2:], stride, dilation)
        return _biased(F.conv(x, weight, stride=stride, padding=margins, dilation=dilation, groups=groups), bias, rank)

    conv.__name__ = conv.__qualname__ = f"conv{rank}d"
    conv.__doc__ = f"Cross-correlation of input [N, C, *S] with weight [O, C / groups, *K] over {rank} dimensions."
    return conv


conv1d, conv2d, conv3d = map(_convolution, (1, 2, 3))


def _transposed(rank: int) -> Any:
    @in_low_precision
    def conv_transpose(input: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                       output_padding: Any = 0,
                       groups: int = 1, dilation: Any = 1) -> Tensor:
        x = lift(input)
        if x.ndim == rank + 1:
            return conv_transpose(x.unsqueeze(0), weight, bias, stride, padding, output_padding, groups,
                                  dilation).squeeze(0)
        stride, padding, extra, dilation = (each(v, rank) for v in (stride, padding, output_padding, dilation))
        size = weight.shape[2:]
        spread = F.dilate(x, step=(1, 1, *stride)) if any(s != 1 for s in stride) else x
        reach = [d * (k - 1) for d, k in zip(dilation, size)]
        margins = tuple((r - p, r - p + e) for r, p, e in zip(reach, padding, extra))
        inputs, outputs = weight.shape[0] // groups, weight.shape[1]
        back = F.flip(weight, tuple(range(2, 2 + rank))).reshape(groups, inputs, outputs, *size)
        back = F.permute(back, axes=(0, 2, 1, *range(3, 3 + rank))).reshape(groups * outputs, inputs, *size)
        return _biased(F.conv(spread, back, stride=(1,) * rank, padding=margins, dilation=dilation, groups=groups),
                       bias, rank)

    conv_transpose.__name__ = conv_transpose.__qualname__ = f"conv_transpose{rank}d"
    conv_transpose.__doc__ = f"The transpose of conv{rank}d: input [N, C, *S] with weight [C, O / groups, *K]."
    return conv_transpose


conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_transposed, (1, 2, 3))


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """(low, high) pairs from the last dimension backwards, as PyTorch lists them; mode "constant", "reflect",
    "replicate" or "circular"."""
    x = lift(input)
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if mode == "constant":
        return pad_dimensions(x, widths, value)
    for axis, (low, high) in enumerate(widths):
        if low or high:
            x = _extended(x, axis, low, high, mode)
    return x


def _extended(x: Tensor, axis: int, low: int, high: int, mode: str) -> Tensor:
    n, head = x.shape[axis], (slice(None),) * axis
    if mode == "replicate":
        before = [x[(*head, slice(0, 1))]] * low
        after = [x[(*head, slice(n - 1, n))]] * high
    elif mode == "circular":
        before, after = [x[(*head, slice(n - low, n))]][: low], [x[(*head, slice(0, high))]][: high]
    elif mode == "reflect":
        before = [F.flip(x[(*head, slice(1, low + 1))], (axis,))][: low]
        after = [F.flip(x[(*head, slice(n - 1 - high, n - 1))], (axis,))][: high]
    else:
        raise ValueError(f"mode must be constant, reflect, replicate or circular, not {mode!r}")
    return concat([*before, x, *after], axis)


class _Convolution(Module):
    """Weights [out_channels, in_channels / groups, *kernel_size] and a bias, with PyTorch's initial values."""

    rank = 2
    transposed = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1,
                 groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None):
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ShapeError(f"{in_channels} input and {out_channels} output channels do not divide into {groups} "
                             "groups")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.padding_mode = groups, padding_mode
        self.kernel_size, self.stride, self.dilation = (each(v, self.rank) for v in (kernel_size, stride, dilation))
        self.padding = padding if isinstance(padding, str) else each(padding, self.rank)
        shape = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(zeros(*shape, *self.kernel_size, dtype=dtype))
        self.bias = Parameter(zeros(out_channels, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        """The convolution."""
        function = (conv1d, conv2d, conv3d)[self.rank - 1]
        if self.padding_mode == "zeros":
            return function(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        margins = _margins(self.padding, self.kernel_size, self.stride, self.dilation)
        x = pad(input, [n for pair in reversed(margins) for n in pair], self.padding_mode)
        return function(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Channels, kernel_size, stride and what is not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        usual = {"padding": (0,) * self.rank, "dilation": (1,) * self.rank, "groups": 1}
        return text + "".join(f", {k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v)


class Conv1d(_Convolution):
    """Convolution of [N, C, L]."""

    rank = 1


class Conv2d(_Convolution):
    """Convolution of [N, C, H, W]."""

    rank = 2


class Conv3d(_Convolution):
    """Convolution of [N, C, D, H, W]."""

    rank = 3


class _TransposedConvolution(_Convolution):
    """Weights [in_channels, out_channels / groups, *kernel_size]."""

    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0,
                 groups: int = 1, bias: bool = True, dilation: Any = 1, device: Any = None, dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, dtype=dtype)
        self.output_padding = each(output_padding, self.rank)

    def forward(self, input: Any) -> Tensor:
        """The transposed convolution."""
        function = (conv_transpose1d, conv_transpose2d, conv_transpose3d)[self.rank - 1]
        return function(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
                        self.dilation)


class ConvTranspose1d(_TransposedConvolution):
    """The transpose of Conv1d."""

    rank = 1


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of Conv2d."""

    rank = 2


class ConvTranspose3d(_TransposedConvolution):
    """The transpose of Conv3d."""

    rank = 3
