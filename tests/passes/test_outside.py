"""Choices by position that a load's own filling makes needless: where they go, where they stay, and the results."""

import braze
import numpy as np
import pytest
from braze.nn import functional as F

X = np.random.default_rng(0).standard_normal((3, 5, 6)).astype(np.float32)


def padded(f, value=0.0):
    return lambda x: F.pad(f(x), (2, 0, 0, 1, 1, 2), value=value) + 1


# name: (program, does it choose?)
CASES = {
    "scaled": (padded(lambda x: 2 * x), False),
    "a function of zero": (padded(lambda x: braze.tanh(x) * x), False),
    "the number that zero becomes": (padded(lambda x: x + 1, 1.0), False),
    "another number": (padded(lambda x: x + 1), True),
    "minus zero": (padded(lambda x: -x), True),
    "no number": (padded(lambda x: 1 / x), True),
    "times what is loaded elsewhere": (padded(lambda x: x * braze.sum(x, axis=0)), True),
}


@pytest.mark.parametrize("name", CASES)
def test_choices_by_position(name):
    f, chooses = CASES[name]
    compiled = braze.compile(f)
    x = braze.tensor(X)
    np.testing.assert_allclose(np.asarray(compiled(x)), np.asarray(f(x)), rtol=1e-6, atol=1e-6)
    ops = {v.op for kernel in compiled.ir("fused").kernels for v in kernel.values}
    assert ("select" in ops) is chooses


def test_the_gradient_of_a_convolution_chooses_nothing():
    def loss(x, w):
        return (F.conv2d(x, w, padding=2, groups=3) ** 2).sum()

    rng = np.random.default_rng(1)
    x, w = (braze.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((2, 3, 9, 9), (3, 1, 5, 5)))
    slope = braze.compile(braze.grad(loss, argnums=(0, 1)))
    for got, want in zip(slope(x, w), braze.grad(loss, argnums=(0, 1))(x, w)):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=2e-4, atol=2e-4)
    assert not any(v.op == "select" for kernel in slope.ir("fused").kernels for v in kernel.values)
