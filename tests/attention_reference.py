"""Attention by its definition in float64, with its gradients; and what tests ask of a program that streams."""

from __future__ import annotations

import math

import numpy as np
from braze.ir.gpu_contraction import GpuStreamed
from braze.ir.program import Launch, Program, Slot, walk
from braze.ir.streamed import Streamed


def attention(q, k, v, bias=0.0, seen=True, kept=1.0):
    """softmax(q k^T / sqrt d + bias) v where seen; heads of q in groups that share those of k and v. Weights are
    multiplied by `kept`.
    """
    q, k, v = _alike(q, k, v)
    return (_weights(q, k, bias, seen) * kept) @ v


def gradients(q, k, v, given, bias=0.0, seen=True, kept=1.0):
    """Of q, k and v, for the gradient of the result, which `given` makes of the result."""
    heads = np.asarray(k).shape[1]
    q, k, v = _alike(q, k, v)
    weights = _weights(q, k, bias, seen)
    given = np.broadcast_to(given((weights * kept) @ v), (*q.shape[:-1], v.shape[-1]))
    slope = given @ _turned(v) * kept
    slope = weights * (slope - (slope * weights).sum(-1, keepdims=True)) / math.sqrt(q.shape[-1])
    return slope @ k, *(_grouped(x, heads) for x in (_turned(slope) @ q, _turned(weights * kept) @ given))


def _alike(q, k, v):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    return q, *(np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))


def _turned(x):
    return np.swapaxes(x, -1, -2)


def _weights(q, k, bias, seen):
    scores = np.where(seen, q @ _turned(k) / math.sqrt(q.shape[-1]) + bias, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _grouped(x, heads):
    """The sums over heads that share one."""
    return x.reshape(x.shape[0], heads, -1, *x.shape[2:]).sum(2)


def launches(program: Program) -> list[Launch]:
    """All kernels of a program."""
    return [s for s in walk(program.steps) if isinstance(s, Launch)]


def streams(program: Program) -> int:
    """How many kernels of a program stream."""
    return sum(isinstance(s.schedule, (Streamed, GpuStreamed)) for s in launches(program))


def squares(program: Program, t: int) -> list[Slot]:
    """The temporaries with a matrix of scores of so many positions."""
    return [s for s in program.slots.values() if s.role == "temporary" and s.shape.count(t) > 1]
