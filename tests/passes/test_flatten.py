"""Products that are flattened afterwards: which ones are flattened from the start, and that values stay."""

import braze
import numpy as np
import pytest
from braze import nn
from braze.ir.ops import F
from braze.passes.flatten import flatten_products

from .test_hoist import build

B, T, C, V = 2, 3, 4, 5


def flat(x):
    return F.reshape(x, shape=(B * T, x.shape[-1]))


# name: (function of rows, a matrix and a vector; dimensions of the product then)
CASES = {
    "flattened": (lambda x, w, b: F.exp(flat(F.matmul(x, w))), 2),
    "with a bias": (lambda x, w, b: F.exp(flat(F.matmul(x, w) + b)), 2),
    "flattened twice": (lambda x, w, b: flat(F.matmul(x, w)) * F.exp(flat(F.matmul(x, w))), 2),
    "read otherwise too": (lambda x, w, b: (lambda y: (flat(y), F.sum(y, axes=(1,))))(F.matmul(x, w)), 3),
    "a result": (lambda x, w, b: (lambda y: (flat(y), y))(F.matmul(x, w)), 3),
    "flattened otherwise": (lambda x, w, b: F.reshape(F.matmul(x, w), shape=(B, T * V)), 3),
    "activated first": (lambda x, w, b: flat(F.exp(F.matmul(x, w))), 3),
}


@pytest.mark.parametrize("name", CASES)
def test_products_and_results(name):
    function, rank = CASES[name]
    graph = build(function, (B, T, C), (C, V), (V,))
    changed = flatten_products(graph)
    assert {len(n.result.shape) for n in changed.nodes if n.op is F.matmul} == {rank}
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape).astype(np.float32) for v in graph.inputs]
    for want, got in zip(graph.eval(*arrays), changed.eval(*arrays)):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_loss_of_sequences_and_its_gradient_are_one_kernel_with_the_product():
    """Logits and probabilities are in memory nowhere; what is, is read by the product of the gradient."""
    x, w, labels = braze.randn(4, 32, 16), braze.randn(64, 16), braze.arange(128) % 64

    def loss(x):
        return nn.functional.cross_entropy(nn.functional.linear(x, w).reshape(-1, 64), labels)

    compiled = braze.compile(lambda x: braze.value_and_grad(loss)(x))
    value, gradient = compiled(x)
    program = compiled.ir("fused")
    readers = [k for k in program.kernels if any(b.shape == (128, 64) and not b.is_output for b in k.buffers.values())]
    assert [sum(v.op == "max" or v.combine == "max" for v in k.values) for k in readers] == [0], program
    expected, slope = braze.value_and_grad(loss)(x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)
