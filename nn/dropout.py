"""Dropout: elements (or whole channels) set to zero at random while training, the rest scaled up."""

from __future__ import annotations

from typing import Any

from ..ir.ops import F
from ..tracer import random
from ..tracer.arguments import lift
from ..tracer.tensor import Tensor
from .module import Module


def _dropped(x: Tensor, p: float, shape: tuple[Any, ...]) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"a probability must be in [0, 1], not {p}")
    if p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    keep = F.greater_equal(random.rand(shape, device=x.device), p)
    return F.where(keep, x * (1.0 / (1.0 - p)), 0.0)


def dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p."""
    x = lift(input)
    return _dropped(x, p, x.shape) if training else x


def channel_dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Each channel (dimension 1) of each example 0 with probability p, else divided by 1 - p."""
    x = lift(input)
    return _dropped(x, p, (*x.shape[:2], *(1,) * (x.ndim - 2))) if training else x


class Dropout(Module):
    """`functional.dropout`, in training mode."""

    function = staticmethod(dropout)

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        self.p = p

    def forward(self, input: Any) -> Tensor:
        """The input, with elements dropped."""
        return type(self).function(input, self.p, self.training)

    def extra_repr(self) -> str:
        """p."""
        return f"p={self.p}"


class Dropout1d(Dropout):
    """`functional.channel_dropout`, in training mode."""

    function = staticmethod(channel_dropout)


class Dropout2d(Dropout1d):
    """`functional.channel_dropout`, in training mode."""


class Dropout3d(Dropout1d):
    """`functional.channel_dropout`, in training mode."""
