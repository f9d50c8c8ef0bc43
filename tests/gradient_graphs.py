"""Graphs that are differentiated: straight ones, branches and loops, in float64; how they are built, and arrays for
them.
"""

from __future__ import annotations

import numpy as np
from braze.ir.build import GraphBuilder
from braze.ir.expr import symbol
from braze.ir.graph import Graph
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, bool_, float64, int64

N = symbol("N", 1)
INT = TensorType((), int64)


def build(function, *types, name="test"):
    """The graph of a Python function of values; a type is a TensorType or the shape of a float64 tensor."""
    b = GraphBuilder(name)
    with interpreting(b):
        inputs = [b.input(t if isinstance(t, TensorType) else TensorType(t, float64), f"x{n}")
                  for n, t in enumerate(types)]
        out = function(*inputs)
    return b.build(list(out) if isinstance(out, (tuple, list)) else [out])


def gradient(output, *wrt, cotangent=None):
    """A `gradient` node of a 0-d output."""
    return F.gradient(output, F.ones_like(output) if cotangent is None else cotangent, *wrt, count=len(wrt))


def region(function, *types, name="body", notes=None):
    graph = build(function, *types, name=name)
    return Graph(graph.name, graph.inputs, graph.nodes, graph.outputs, notes or {})


RANDOM = np.random.default_rng(0)


def draw(*shape):
    return RANDOM.uniform(0.3, 1.2, shape)


STRAIGHT = {
    "a product used twice": (lambda x, y: x * y + F.sin(x * y), (3, 4), (4,)),
    "broadcasting both ways": (lambda x, y: (x + y) / (x * 2.0), (3, 1), (1, 4)),
    "matmul with broadcast batches": (lambda a, b: F.tanh(F.matmul(a, b)), (2, 3, 4), (4, 5)),
    "softmax": (lambda x: F.softmax(x, -1), (3, 5)),
    "log_softmax": (lambda x: F.log_softmax(x, 0), (3, 5)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (1,), w, b), (3, 5), (5,), (5,)),
    "attention": (lambda q, k, v: F.attention(q, k, v, causal=True), (2, 3, 4), (2, 3, 4), (2, 3, 2)),
    "gelu": (lambda x: F.gelu(x), (4,)),
    "views": (lambda x: F.flip(F.permute(F.reshape(F.pad(x, low=(1, 0), high=(0, 2), value=3.0), shape=(4, 6)),
                                         axes=(1, 0)), (0,)) * 2.0, (3, 4)),
    "two outputs": (lambda x: (F.exp(x), F.sum(x * x, axes=(0,))), (3,)),
    "an output that is another's operand": (lambda x: ((y := F.exp(x)), y * y), (3,)),
    "an output given twice": (lambda x: ((y := F.exp(x)), y), (3,)),
    "an input that is an output": (lambda x: (x, x * x), (3,)),
    "convolution": (lambda x, w: F.conv(x, w, stride=(2,), padding=((1, 2),), dilation=(1,), groups=2), (2, 4, 7),
                    (6, 2, 3)),
    "cumprod and prod": (lambda x: F.cumprod(x, axis=1, reverse=True) * F.prod(x, axes=(0,)), (3, 4)),
}


def turns(n):
    return F.constant(value=n, dtype=int64)


def branch():
    then = region(lambda x, y: (x * y, F.sum(y, axes=(0,))), (3,), (3,))
    otherwise = region(lambda x, y: (F.exp(x), F.sum(x * x, axes=(0,))), (3,), (3,))
    return build(lambda c, x, y: F.cond(c, x * 2.0, y, then=then, otherwise=otherwise), TensorType((), bool_), (3,),
                 (3,))


SCAN = region(lambda i, c, x, w: (F.tanh(F.matmul(c, w) + x), F.sum(c * x, axes=(1,))), INT, (2, 3), (2, 3), (3, 3))


def recurrence(count, size, reverse=False):
    return build(lambda c, xs, w: F.loop(count(), c, xs, w, body=SCAN, carried=1, scanned=1, reverse=reverse), (2, 3),
                 (size, 2, 3), (3, 3))


def counted():
    """A loop whose body uses the position, with a carried integer."""
    body = region(lambda i, c, k, w: (c * w + F.cast(i, dtype=float64), k + i), INT, (3,), INT, (3,))
    return build(lambda c, w: F.loop(turns(5), c, turns(1), w, body=body, carried=2, scanned=0, reverse=False)[0], (3,),
                 (3,))


def nested():
    inner = region(lambda i, c, w: F.sin(c * w), INT, (2,), (2,))
    outer = region(lambda i, c, x, w: F.loop(turns(3), c + x, w, body=inner, carried=1, scanned=0, reverse=False)[0],
                   INT, (2,), (2,), (2,))
    way = region(lambda c, xs, w: F.loop(turns(2), c, xs, w, body=outer, carried=1, scanned=1, reverse=False)[0] * w,
                 (2,), (2, 2), (2,))
    other = region(lambda c, xs, w: c, (2,), (2, 2), (2,))
    return build(lambda p, c, xs, w: F.cond(p, c, xs, w, then=way, otherwise=other), TensorType((), bool_), (2,),
                 (2, 2), (2,))


GRAPHS_WITH_REGIONS = {
    "a branch": branch,
    "a recurrence": lambda: recurrence(lambda: turns(4), 4),
    "a recurrence from the end": lambda: recurrence(lambda: turns(4), 4, reverse=True),
    "no turns": lambda: recurrence(lambda: turns(0), 0),
    "a symbolic number of turns": lambda: recurrence(lambda: F.size(dim=N), N),
    "a counted loop": counted,
    "a loop in a loop in a branch": nested,
}


def arrays_for(graph, truth=True):
    """Random arrays for a graph's inputs; symbolic sizes are 4."""
    return [np.asarray(truth) if v.dtype is bool_ else draw(*(4 if d == N else d for d in v.shape))
            for v in graph.inputs]


