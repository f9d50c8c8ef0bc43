"""Attention (Vaswani et al. 2017): the function, the multi-head layer, and a transformer's encoder layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..ir.errors import ShapeError
from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..tracer.arguments import lift
from ..tracer.creation import zeros
from ..tracer.manipulation import permute_dims
from ..tracer.products import matmul
from ..tracer.reductions import mean
from ..tracer.tensor import Tensor
from . import init
from .activations import gelu, relu
from .dropout import Dropout, dropout
from .linear import Linear, linear
from .module import Module
from .normalisation import LayerNorm
from .parameter import Parameter


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
                                 is_causal: bool = False,
                                 scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    """softmax(query key^T * scale + mask) value over the last two dimensions. A bool mask keeps where it is true.

    `enable_gqa` lets each key and value head serve several query heads (dimension -3).
    """
    q, k, v = lift(query), lift(key), lift(value)
    mask = None if attn_mask is None else lift(attn_mask)
    if enable_gqa and k.shape[-3] != q.shape[-3]:
        k, v = (F.repeat(t, q.shape[-3] // t.shape[-3], t.ndim - 3) for t in (k, v))
    if dropout_p == 0.0:
        return F.attention(q, k, v, mask, is_causal, scale)
    return matmul(dropout(F.softmax(_scores(q, k, mask, is_causal, scale), -1), dropout_p), v)


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    scores = matmul(q, k.mT) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        rows = F.reshape(F.iota(size=as_dim(q.shape[-2])), shape=(as_dim(q.shape[-2]), 1))
        scores = F.where(F.greater_equal(rows, F.iota(size=as_dim(k.shape[-2]))), scores, -math.inf)
    if mask is None:
        return scores
    return F.where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask


class MultiheadAttention(Module):
    """Attention in several subspaces at once. Masks are PyTorch's here: a bool mask says where *not* to look."""

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None):
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(f"{embed_dim} dimensions do not divide into {num_heads} heads")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        self.packed = kdim == vdim == embed_dim
        if self.packed:
            self.in_proj_weight = Parameter(zeros(3 * embed_dim, embed_dim, dtype=dtype))
        else:
            self.q_proj_weight = Parameter(zeros(embed_dim, embed_dim, dtype=dtype))
            self.k_proj_weight = Parameter(zeros(embed_dim, kdim, dtype=dtype))
            self.v_proj_weight = Parameter(zeros(embed_dim, vdim, dtype=dtype))
        for p in list(self.parameters()):
            init.xavier_uniform_(p)
        self.in_proj_bias = Parameter(zeros(3 * embed_dim, dtype=dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
                attn_mask: Any = None,
                average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        """(result, attention weights or None)."""
        same = query is key and key is value
        batched = query.ndim == 3
        q, k, v = (self._batch_first(lift(t), batched) for t in (query, key, value))
        q, k, v = (self._heads(t) for t in self._projected(q, k, v, same))
        mask = self._mask(q, attn_mask, key_padding_mask)
        p = self.dropout if self.training else 0.0
        if need_weights:
            weights = F.softmax(_scores(q, k, mask, is_causal, None), -1)
            y = matmul(dropout(weights, p, p > 0), v)
        else:
            weights = None
            y = scaled_dot_product_attention(q, k, v, mask, p, is_causal)
        y = self.out_proj(permute_dims(y, 0, 2, 1, 3).reshape(y.shape[0], y.shape[2], self.embed_dim))
        y = y.squeeze(0) if not batched else y if self.batch_first else permute_dims(y, 1, 0, 2)
        if weights is not None:
            weights = mean(weights, 1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        return y, weights

    def _batch_first(self, t: Tensor, batched: bool) -> Tensor:
        if not batched:
            return t.unsqueeze(0)
        return t if self.batch_first else permute_dims(t, 1, 0, 2)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
        e, bias = self.embed_dim, self.in_proj_bias
        if self.packed and same:
            y = linear(q, self.in_proj_weight, bias)
            return y[..., :e], y[..., e:2 * e], y[..., 2 * e:]
        weights = [self.in_proj_weight[i * e:(i + 1) * e] for i in range(3)] if self.packed else [
            self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None if bias is None else bias[i * e:(i + 1) * e] for i in range(3)]
        return tuple(linear(t, w, b) for t, w, b in zip((q, k, v), weights, biases))  # type: ignore[return-value]

    def _heads(self, t: Tensor) -> Tensor:
        return permute_dims(t.reshape(t.shape[0], t.shape[1], self.num_heads, self.embed_dim // self.num_heads), 0, 2,
                            1, 3)

    def _mask(self, q: Tensor, attn_mask: Any, padding: Any) -> Tensor | None:
        """Both masks as one that is added to the scores."""
        total = None
        if attn_mask is not None:
            mask = _additive(lift(attn_mask), q)
            total = mask.reshape(-1, self.num_heads, *mask.shape[1:]) if mask.ndim == 3 else mask
        if padding is not None:
            hidden = _additive(lift(padding), q)
            hidden = hidden.reshape(-1, 1, 1, hidden.shape[-1])
            total = hidden if total is None else total + hidden
        return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: minus infinity where a bool mask holds."""
    return F.where(mask, -math.inf, F.full((), 0, like.dtype)) if mask.dtype.kind == "b" else mask


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, each with a residual connection and a layer norm."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[[Any], Any] = "relu",
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first = norm_first
        self.activation = {"relu": relu, "gelu": gelu}[activation] if isinstance(activation, str) else activation

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool = False) -> Tensor:
        """The layer applied to a sequence."""
        masks = (src_mask, src_key_padding_mask, is_causal)
        if self.norm_first:
            x = src + self._attend(self.norm1(src), *masks)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, *masks))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Any, padding: Any, causal: bool) -> Tensor:
        y, _ = self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask,
                              is_causal=causal and mask is None)
        return self.dropout1(y)

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
