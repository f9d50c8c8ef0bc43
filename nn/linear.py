"""Affine maps and tables: `linear`, `embedding`, `one_hot`, and their layers."""

from __future__ import annotations

import math
from typing import Any

from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..ir.precision import in_low_precision
from ..ir.types import int64
from ..tracer.arguments import lift
from ..tracer.creation import zeros
from ..tracer.modes import no_grad
from ..tracer.products import matmul
from ..tracer.reductions import max as largest
from ..tracer.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


@in_low_precision
def linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, over the last dimension."""
    y = matmul(input, weight.T if weight.ndim == 2 else weight)
    return y if bias is None else y + bias


@in_low_precision
def bilinear(a: Any, b: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """a weight[k] b for each k."""
    y = (matmul(a, weight.permute(1, 0, 2).reshape(weight.shape[1], -1)).reshape(*a.shape[:-1], *weight.shape[::2])
         * b.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of weight at integer indices; no gradient flows to row `padding_idx`."""
    index = lift(input)
    rows = F.gather(weight, F.astype(index, int64), axes=(0,))
    if padding_idx is None:
        return rows
    keep = F.expand_dims(F.not_equal(index, padding_idx % weight.shape[0]), -1)
    return F.where(keep, rows, F.stop_gradient(rows))


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """int64: 1 at the class, 0 elsewhere, along a new last dimension."""
    index = lift(input)
    if num_classes < 0:
        num_classes = int(largest(index)) + 1
    return F.one_hot(index, as_dim(num_classes), int64)


class Linear(Module):
    """y = x @ weight.T + bias; weight is [out_features, in_features]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(zeros(out_features, in_features, dtype=dtype))
        self.bias = Parameter(zeros(out_features, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        """The affine map over the last dimension."""
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """in_features, out_features, bias."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y[k] = a weight[k] b + bias[k]."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        bound = 1 / math.sqrt(in1_features)
        self.weight = Parameter(zeros(out_features, in1_features, in2_features, dtype=dtype))
        self.bias = Parameter(zeros(out_features, dtype=dtype)) if bias else None
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, a: Any, b: Any) -> Tensor:
        """The bilinear map over the last dimensions."""
        return bilinear(a, b, self.weight, self.bias)


class Embedding(Module):
    """A table of `num_embeddings` rows; called with integers it gives their rows."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(zeros(num_embeddings, embedding_dim, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values; the padding row is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Any) -> Tensor:
        """The rows."""
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """num_embeddings, embedding_dim, padding_idx."""
        extra = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{extra}"


class Flatten(Module):
    """Dimensions from start to end made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The reshaped tensor."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """start_dim, end_dim."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension made several."""

    def __init__(self, dim: int, unflattened_size: Any):
        super().__init__()
        self.dimension, self.sizes = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """The reshaped tensor."""
        at = self.dimension % input.ndim
        return input.reshape(*input.shape[:at], *self.sizes, *input.shape[at + 1:])


class Identity(Module):
    """The argument itself."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The argument itself."""
        return input
