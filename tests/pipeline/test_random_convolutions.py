"""Random convolutions (ranks, groups, depths, strides, dilations, paddings, dtypes) with work before and behind them:
forward against SciPy in float64, gradients by what bilinear functions must satisfy.
"""

import random

import braze
import numpy as np
import pytest
from op_reference import correlate

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def case(seed):
    """Shapes and attributes of one convolution."""
    r = random.Random(seed)
    rank, groups = r.choice([1, 2, 2, 2, 3]), r.choice([1, 1, 2, 3, 4])
    inputs, outputs = groups * r.choice([1, 2, 3, 5, 8, 16]), groups * r.choice([1, 2, 4, 7, 16])
    if r.random() < 0.15:
        groups, outputs = inputs, inputs * r.choice([1, 2])
    choices = [1, 2, 3, 4, 5], [1, 1, 2, 3], [1, 1, 2, 3], [0, 1, 2]
    size, stride, dilation, padding = ([r.choice(some) for _ in range(rank)] for some in choices)
    extents = [max(1, (k - 1) * d + 1 - 2 * p) + r.choice([0, 1, 3, 6, 13] if rank < 3 else [0, 1, 3])
               for k, d, p in zip(size, dilation, padding)]
    x, w = (r.choice([1, 2, 3]), inputs, *extents), (outputs, inputs // groups, *size)
    return x, w, tuple(stride), tuple(padding), tuple(dilation), groups, r.choice(["float32", "float32", "float64"])


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.slow] if n >= 12 else []) for n in range(200)])
def test_a_convolution_and_its_gradients(seed):
    shape, window, stride, padding, dilation, groups, dtype = case(seed)
    numbers = np.random.default_rng(seed)
    x, dx = (numbers.standard_normal(shape).astype(dtype) for _ in range(2))
    w, dw = (numbers.standard_normal(window).astype(dtype) for _ in range(2))
    convolve = getattr(braze.nn.functional, f"conv{len(shape) - 2}d")

    def reference(x, w):
        pads = tuple((p, p) for p in padding)
        return correlate(x.astype(np.float64), w.astype(np.float64), stride, pads, dilation, groups)

    wanted = reference(x * 1.5, w)
    seeds = numbers.standard_normal(wanted.shape).astype(dtype)

    def program(x, w, seeds):
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        y = convolve(x * 1.5, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        (y * seeds).sum().backward()
        return y.relu() + 1.0, x.grad, w.grad

    y, gx, gw = (np.asarray(t).astype(np.float64) for t in braze.compile(program)(*map(braze.tensor, (x, w, seeds))))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(y, np.maximum(wanted, 0) + 1, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
    for gradient, towards, moved in ((gx, dx, reference(dx * 1.5, w)), (gw, dw, reference(x * 1.5, dw))):
        scale = np.linalg.norm(gradient) * np.linalg.norm(towards) + 1e-30
        assert abs((gradient * towards).sum() - (moved * seeds).sum()) < tolerance * scale
