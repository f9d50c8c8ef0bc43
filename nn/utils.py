"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..ir.errors import GradientError
from ..ir.ops import F
from ..ir.types import float32
from ..tracer.manipulation import concat
from ..tracer.modes import no_grad
from ..tracer.tensor import Tensor


def _with_gradients(parameters: Any) -> list[Tensor]:
    return [p for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]


@no_grad()
def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients so that their common norm is at most `max_norm`; returns the norm they had."""
    chosen = _with_gradients(parameters)
    total = _total_norm([p.grad for p in chosen], float(norm_type))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradientError("the norm of the gradients is not finite")
    factor = F.minimum(max_norm / (total + 1e-6), 1.0)
    for p in chosen:
        g = p.grad
        assert g is not None
        p.grad = g * F.astype(factor, g.dtype)
    return total


def _total_norm(grads: list[Any], p: float) -> Tensor:
    if not grads:
        return F.full((), 0, float32)
    if math.isinf(p):
        out = F.max(F.abs(grads[0]), axes=tuple(range(grads[0].ndim)))
        for g in grads[1:]:
            out = F.maximum(out, F.max(F.abs(g), axes=tuple(range(g.ndim))))
        return out
    powers = [F.sum(F.square(g) if p == 2 else F.pow(F.abs(g), p), axes=tuple(range(g.ndim))) for g in grads]
    total = powers[0]
    for s in powers[1:]:
        total = total + s
    return F.sqrt(total) if p == 2 else F.pow(total, 1 / p)


@no_grad()
def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Keep each element of the gradients between -clip_value and clip_value."""
    for p in _with_gradients(parameters):
        p.grad = F.clip(p.grad, -float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters as one vector."""
    return concat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Take over the parts of one vector, in place."""
    at = 0
    for p in parameters:
        p._assign(vector[at:at + p.size].reshape(p.shape))
        at += p.size
