"""Activation functions and their modules: each function is one line, each module is made from its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..ir.ops import F
from ..tracer.arguments import lift
from ..tracer.creation import zeros
from ..tracer.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def relu(input: Any) -> Tensor:
    """max(x, 0)."""
    return F.relu(lift(input))


def relu6(input: Any) -> Tensor:
    """x kept between 0 and 6."""
    return F.relu6(lift(input))


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    return F.leaky_relu(lift(input), negative_slope)


def elu(input: Any, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return F.elu(lift(input), alpha)


def celu(input: Any, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    return F.celu(lift(input), alpha)


def selu(input: Any) -> Tensor:
    """The self-normalising elu (Klambauer et al. 2017)."""
    return F.selu(lift(input))


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x); approximate="tanh" is the usual approximation."""
    return F.gelu(lift(input), approximate)


def silu(input: Any) -> Tensor:
    """x * sigmoid(x)."""
    return F.silu(lift(input))


def mish(input: Any) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return F.mish(lift(input))


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return F.sigmoid(lift(input))


def logsigmoid(input: Any) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return F.log_sigmoid(lift(input))


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    return F.tanh(lift(input))


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    x = lift(input)
    return F.where(F.greater(x * beta, threshold), x, F.softplus(x * beta) / beta)


def softsign(input: Any) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(lift(input))


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x kept between two numbers."""
    return F.hardtanh(lift(input), min_val, max_val)


def hardsigmoid(input: Any) -> Tensor:
    """x / 6 + 1/2, kept between 0 and 1."""
    return F.hardsigmoid(lift(input))


def hardswish(input: Any) -> Tensor:
    """x * hardsigmoid(x) (Howard et al. 2019)."""
    return F.hardswish(lift(input))


def softmax(input: Any, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dimension; with a `dtype`, of x cast to it."""
    return lift(input).softmax(dim, dtype=dtype)


def log_softmax(input: Any, dim: int = -1, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along a dimension; with a `dtype`, of x cast to it."""
    return lift(input).log_softmax(dim, dtype=dtype)


def glu(input: Any, dim: int = -1) -> Tensor:
    """The first half along a dimension times the sigmoid of the second."""
    a, b = lift(input).chunk(2, dim)
    return a * F.sigmoid(b)


def prelu(input: Any, weight: Tensor) -> Tensor:
    """x where it is positive, else weight * x; one weight, or one for each channel (dimension 1)."""
    x = lift(input)
    if weight.size != 1:
        weight = weight.reshape(1, -1, *(1,) * (x.ndim - 2))
    return F.prelu(x, weight)


class _Activation(Module):
    """A module that applies a function; its options are the function's."""

    function: Callable[..., Tensor]

    def __init__(self, *values: Any, inplace: bool = False, **options: Any):
        super().__init__()
        names = list(inspect.signature(type(self).function).parameters)[1:]
        bound = dict(zip(names, values)) | options
        unknown = [name for name in bound if name not in names]
        if unknown or len(values) > len(names):
            raise TypeError(f"{type(self).__name__} takes the options {', '.join(names) or 'none'}, not "
                            f"{', '.join(unknown) or values}")
        self.options = bound

    def forward(self, input: Any) -> Tensor:
        """The function of the input."""
        return type(self).function(input, **self.options)

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{k}={v!r}" for k, v in self.options.items())


def _module(name: str, function: Callable[..., Tensor]) -> type[_Activation]:
    text = f"`functional.{function.__name__}` as a module. {function.__doc__}"
    return type(name, (_Activation,), {"function": staticmethod(function), "__doc__": text, "__module__": __name__})


ReLU = _module("ReLU", relu)
ReLU6 = _module("ReLU6", relu6)
LeakyReLU = _module("LeakyReLU", leaky_relu)
ELU = _module("ELU", elu)
CELU = _module("CELU", celu)
SELU = _module("SELU", selu)
GELU = _module("GELU", gelu)
SiLU = _module("SiLU", silu)
Mish = _module("Mish", mish)
Sigmoid = _module("Sigmoid", sigmoid)
LogSigmoid = _module("LogSigmoid", logsigmoid)
Tanh = _module("Tanh", tanh)
Softplus = _module("Softplus", softplus)
Softsign = _module("Softsign", softsign)
Hardtanh = _module("Hardtanh", hardtanh)
Hardsigmoid = _module("Hardsigmoid", hardsigmoid)
Hardswish = _module("Hardswish", hardswish)
Softmax = _module("Softmax", softmax)
LogSoftmax = _module("LogSoftmax", log_softmax)
GLU = _module("GLU", glu)


class PReLU(Module):
    """`functional.prelu` with a learned slope."""

    def __init__(self, num_parameters: int = 1, init_value: float = 0.25, **named: Any):
        super().__init__()
        self.weight = Parameter(zeros(num_parameters))
        init.constant_(self.weight, named.get("init", init_value))

    def forward(self, input: Any) -> Tensor:
        """The function of the input."""
        return prelu(input, self.weight)
