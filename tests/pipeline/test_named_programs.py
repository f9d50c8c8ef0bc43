"""Named programs and how many kernels each becomes: a change of fusion shows here.

`kernels` are launches outside loops and inside, `traffic` the bytes that they move in units of the program's inputs and
outputs (1.0: each is read or written once; kernels in between add theirs).
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze import nn
from braze.ir import expr
from braze.tracer.explain import kernel_bytes

F = nn.functional


def t(*shape):
    return braze.tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) * 0.5)


def norm_and_gradient(x, w, g):
    def loss(x, w):
        return (F.layer_norm(x, (64,), w) * g).sum()

    return braze.grad(loss, argnums=(0, 1))(x, w)


def softmax_gradient(x, g):
    return braze.grad(lambda x: (x.softmax(-1) * g).sum())(x)


def n_body(p, m):
    d = p[None, :, :] - p[:, None, :]
    inverse = ((d * d).sum(-1) + 1e-3) ** -1.5
    return (d * (m * inverse)[:, :, None]).sum(1)


def heat(u):
    return u + 0.1 * braze.pad(u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1], 1)


def black_scholes(s, k, v):
    d1 = (braze.log(s.abs() / k.abs()) + 0.5 * v * v) / v
    phi = lambda x: 0.5 * (1 + braze.erf(x * 0.5**0.5))  # noqa: E731
    return s * phi(d1) - k * phi(d1 - v), k * phi(v - d1) - s * phi(-d1)


# name: (function, shapes of the arguments, kernels, most traffic)
PROGRAMS = {
    "one op": (lambda x: x + 1, [(64, 64)], 1, 1.0),
    "chain of ten": (lambda x: ((((x * 2 + 1).exp() - 3) / 4).tanh() * x).abs().sqrt(), [(64, 64)], 1, 1.0),
    "bias and gelu": (lambda x, b: braze.gelu(x + b), [(64, 64), (64,)], 1, 1.0),
    "broadcast both ways": (lambda x, y: x[:, None] * y[None, :], [(64,), (64,)], 1, 1.0),
    "transpose and add": (lambda x: x + x.T, [(64, 64)], 1, 1.0),
    "slices": (lambda x: x[1:] - x[:-1], [(64, 64)], 1, 1.1),
    "reversed": (lambda x: x.flip(0) * x, [(64, 64)], 1, 1.0),
    "roll": (lambda x: (x * 2).roll(3, 0), [(64, 64)], 1, 1.0),
    "concatenate": (lambda x, y: braze.concat([x.exp(), y * 2], 1), [(64, 64), (64, 32)], 1, 1.0),
    "pad": (lambda x: braze.pad(x.exp(), 2), [(64, 64)], 1, 1.0),
    "where": (lambda x, y: braze.where(x > 0, x, y), [(64, 64), (64, 64)], 1, 1.0),
    "several outputs": (lambda x: (x.exp(), x.sin(), x + 1), [(64, 64)], 1, 1.0),
    "stencil": (heat, [(64, 64)], 1, 1.0),
    "options": (black_scholes, [(64, 64)] * 3, 1, 1.0),
    "row sums": (lambda x: x.exp().sum(1), [(64, 64)], 1, 1.0),
    "column sums": (lambda x: x.exp().sum(0), [(64, 64)], 1, 1.0),
    "sum of all": (lambda x: (x * x).sum(), [(64, 64)], 1, 1.1),
    "mean and variance": (lambda x: (x.mean(1), x.var(1)), [(64, 64)], 1, 1.0),
    "variance of columns": (lambda x: x.var(0), [(64, 64)], 1, 1.0),
    "logsumexp": (lambda x: x.logsumexp(1), [(64, 64)], 1, 1.0),
    "softmax": (lambda x: x.softmax(-1), [(64, 64)], 1, 1.0),
    "log softmax": (lambda x: x.log_softmax(-1), [(64, 64)], 1, 1.0),
    "softmax and its gradient": (softmax_gradient, [(64, 64), (64, 64)], 1, 1.0),
    "layer norm": (lambda x, r, w, b: F.layer_norm(x + r, (64,), w, b), [(64, 64), (64, 64), (64,), (64,)], 1, 1.0),
    "norm of rows": (lambda x: x / (x * x).sum(1, keepdims=True).sqrt(), [(64, 64)], 1, 1.0),
    "argmax": (lambda x: x.argmax(1), [(64, 64)], 1, 1.0),
    "causal mask": (lambda x: braze.tril(x), [(64, 64)], 1, 1.0),
    "running sum": (lambda x: x.cumsum(1), [(64, 64)], 1, 1.0),
    "bodies": (n_body, [(64, 3), (64,)], 1, 1.0),
    "gather": (lambda x: x[braze.arange(32) * 2] * 2, [(64, 64)], 1, 1.4),
    "matmul": (lambda x, w: x @ w, [(64, 64), (64, 64)], 1, 1.0),
    "linear and gelu": (lambda x, w, b: braze.gelu(x @ w + b), [(64, 64), (64, 64), (64,)], 1, 1.0),
    "linear of a batch": (lambda x, w, b: braze.relu(x @ w + b), [(4, 16, 64), (64, 64), (64,)], 1, 1.0),
    "linear and residual": (lambda x, w: x + x @ w.T, [(64, 64), (64, 64)], 1, 1.4),
    "two layers": (lambda x, v, w: braze.relu(x @ v) @ w, [(64, 64), (64, 64), (64, 64)], 2, 1.5),
    "heads": (lambda x, y: x.reshape(4, 16, 4, 16).permute(0, 2, 1, 3) @ y, [(4, 16, 64), (4, 4, 16, 16)], 1, 1.0),
    "convolution and relu": (lambda x, w: braze.relu(F.conv2d(x, w, padding=1)), [(2, 8, 8, 8), (8, 8, 3, 3)], 1, 1.0),
    "loop of a chain": (lambda x: braze.fori_loop(0, 5, lambda i, x: (x * 1.1).tanh() + 0.1, x), [(64, 64)], 1, 1.0),
    "scan": (lambda x: braze.scan(lambda c, r: (c * 0.9 + r, c), braze.zeros(64), x)[1], [(64, 64)], 3, 1.2),
    "gradient of a norm": (norm_and_gradient, [(64, 64), (64,), (64, 64)], 2, 2.0),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_and_traffic(name):
    function, shapes, kernels, most = PROGRAMS[name]
    arguments = [t(*s) for s in shapes]
    compiled = braze.compile(function)
    compiled(*arguments)
    program = compiled.ir("fused")
    assert len(program.kernels) == kernels, program
    ends = sum(program.slots[n].bytes for n in {*program.inputs, *program.outputs})
    moved = sum(expr.evaluate(kernel_bytes(k), {}) for k in program.kernels)
    assert moved <= most * ends + 64, program
