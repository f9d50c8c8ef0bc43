"""Initial values for parameters, in place, from Braze's random numbers; PyTorch's names and formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir.errors import ShapeError
from ..tracer import random
from ..tracer.modes import no_grad
from ..tracer.tensor import Tensor

_GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3,
          "relu": math.sqrt(2), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity (He et al. 2015)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"no gain is known for {nonlinearity!r}; use leaky_relu or one of {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def fans(t: Tensor) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input has."""
    if t.ndim < 2:
        raise ShapeError(f"fan in and fan out need two dimensions; this tensor has shape {list(t.shape)}")
    window = math.prod(t.shape[2:])
    return t.shape[1] * window, t.shape[0] * window


@no_grad()
def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return t._assign(random.rand(t.shape, dtype=t.dtype, generator=generator, device=t.device) * (b - a) + a)


@no_grad()
def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with this mean and standard deviation."""
    return t._assign(random.randn(t.shape, dtype=t.dtype, generator=generator, device=t.device) * std + mean)


@no_grad()
def trunc_normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Tensor:
    """Normal, drawn again until it lies in [a, b]."""
    values = np.array(random.randn(t.shape, generator=generator, device="cpu")) * std + mean
    while (outside := (values < a) | (values > b)).any():
        again = random.randn(int(outside.sum()), generator=generator, device="cpu")
        values[outside] = np.asarray(again) * std + mean
    return t.copy_(values)


@no_grad()
def constant_(t: Tensor, value: float) -> Tensor:
    """One number everywhere."""
    return t.fill_(value)


def zeros_(t: Tensor) -> Tensor:
    """Zeros."""
    return constant_(t, 0.0)


def ones_(t: Tensor) -> Tensor:
    """Ones."""
    return constant_(t, 1.0)


@no_grad()
def eye_(t: Tensor) -> Tensor:
    """The identity matrix."""
    return t.copy_(np.eye(*t.shape))


def xavier_uniform_(t: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform, the variance kept forwards and backwards (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(t)))
    return uniform_(t, -bound, bound, generator)


def xavier_normal_(t: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal, the variance kept forwards and backwards (Glorot and Bengio 2010)."""
    return normal_(t, 0.0, gain * math.sqrt(2 / sum(fans(t))), generator)


def _kaiming_std(t: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(t)[("fan_in", "fan_out").index(mode)])


def kaiming_uniform_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Tensor:
    """Uniform, the variance kept through a rectifier (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming_std(t, a, mode, nonlinearity)
    return uniform_(t, -bound, bound, generator)


def kaiming_normal_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Tensor:
    """Normal, the variance kept through a rectifier (He et al. 2015)."""
    return normal_(t, 0.0, _kaiming_std(t, a, mode, nonlinearity), generator)


@no_grad()
def orthogonal_(t: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix, uniformly drawn (Saxe et al. 2014)."""
    rows, columns = t.shape[0], math.prod(t.shape[1:])
    shape = max(rows, columns), min(rows, columns)
    drawn = np.asarray(random.randn(shape, generator=generator, device="cpu"), np.float64)
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diag(r))
    return t.copy_((gain * (q.T if rows < columns else q)).reshape(t.shape))


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's defaults for the weight and, where there is one, the bias of linear and convolutional layers."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        default_bias_(bias, weight)


def default_bias_(bias: Tensor, weight: Tensor) -> Tensor:
    """PyTorch's default for the bias of linear and convolutional layers."""
    inputs = fans(weight)[0]
    bound = 1 / math.sqrt(inputs) if inputs else 0.0
    return uniform_(bias, -bound, bound)
