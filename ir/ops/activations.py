"""Activation functions: composites that fusion makes one kernel of."""

from __future__ import annotations

import math

from ..precision import in_full_precision
from .declare import composite
from .namespace import F
from .rounding import rounded_once


@composite
@rounded_once
def gelu(x, approximate="none"):
    """x * Phi(x); `approximate="tanh"` is the usual approximation (Hendrycks and Gimpel 2016)."""
    if approximate == "tanh":
        return 0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + F.erf(x * math.sqrt(0.5)))


@composite
@rounded_once
def silu(x):
    """x * sigmoid(x)."""
    return x * F.sigmoid(x)


@composite
@in_full_precision
@rounded_once
def softplus(x):
    """log(1 + exp(x)), without overflow."""
    return F.maximum(x, 0.0) + F.log1p(F.exp(-F.abs(x)))


@composite
@rounded_once
def log_sigmoid(x):
    """log(sigmoid(x)), without overflow."""
    return -F.softplus(-x)


@composite
@rounded_once
def mish(x):
    """x * tanh(softplus(x)) (Misra 2019)."""
    return x * F.tanh(F.softplus(x))


@composite
def leaky_relu(x, slope=0.01):
    """x where it is positive, else slope * x."""
    return F.where(F.greater(x, 0), x, x * slope)


@composite
def elu(x, alpha=1.0):
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return F.where(F.greater(x, 0), x, alpha * F.expm1(F.minimum(x, 0.0)))


@composite
def celu(x, alpha=1.0):
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    return F.where(F.greater(x, 0), x, alpha * F.expm1(F.minimum(x, 0.0) / alpha))


@composite
def selu(x):
    """The self-normalising elu (Klambauer et al. 2017)."""
    return 1.0507009873554805 * F.elu(x, 1.6732632423543772)


@composite
def relu6(x):
    """x kept between 0 and 6."""
    return F.clip(x, 0.0, 6.0)


@composite
def hardtanh(x, low=-1.0, high=1.0):
    """x kept between low and high."""
    return F.clip(x, low, high)


@composite
def hardsigmoid(x):
    """x / 6 + 1/2, kept between 0 and 1."""
    return F.clip(x / 6.0 + 0.5, 0.0, 1.0)


@composite
def hardswish(x):
    """x * hardsigmoid(x) (Howard et al. 2019)."""
    return x * F.hardsigmoid(x)


@composite
def softsign(x):
    """x / (1 + |x|)."""
    return x / (1.0 + F.abs(x))


@composite
def tanhshrink(x):
    """x - tanh(x)."""
    return x - F.tanh(x)


@composite
def softshrink(x, threshold=0.5):
    """x moved towards 0 by the threshold, and 0 within it."""
    return F.sign(x) * F.maximum(F.abs(x) - threshold, 0.0)


@composite
def hardshrink(x, threshold=0.5):
    """x where it is further from 0 than the threshold, else 0."""
    return F.where(F.greater(F.abs(x), threshold), x, F.zeros_like(x))


@composite
def prelu(x, slope):
    """x where it is positive, else slope * x, with a learned slope."""
    return F.where(F.greater(x, 0), x, x * slope)


@composite
def glu(x, axis=-1):
    """The first half along an axis times the sigmoid of the second."""
    a, b = F.chunk(x, 2, axis)
    return a * F.sigmoid(b)
