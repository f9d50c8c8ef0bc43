"""`constant_weights=True`: what is made of captured tensors alone is computed once, and the results stay the same."""

import braze
import numpy as np
import pytest
from braze import nn
from braze.ir.program import Launch, walk
from braze.ir.schedule import Contraction
from braze.tracer import pytree

F = nn.functional


def random(*shape, scale=0.5):
    values = np.random.default_rng(sum(shape)).standard_normal(shape) * scale
    return braze.tensor(values.astype(np.float32))


class Block(nn.Module):
    """A convolution with its norm, and another one that is added."""

    def __init__(self, inputs, outputs, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups)
        self.norm = nn.BatchNorm2d(outputs)
        self.side = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norm.running_mean.copy_(random(outputs, scale=0.1))
        self.norm.running_var.copy_(random(outputs).abs() + 0.5)
        self.norm.weight = nn.Parameter(random(outputs))

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)) + self.side(x))


def net(*layers):
    return nn.Sequential(*layers).eval()


# name: (module, shape of the argument)
MODULES = {
    "a block": (lambda: net(Block(16, 32)), (2, 16, 9, 7)),
    "blocks": (lambda: net(Block(3, 32, 2), Block(32, 64), Block(64, 40, 2)), (2, 3, 20, 17)),
    "groups": (lambda: net(Block(16, 32, groups=4), Block(32, 32, groups=32)), (2, 16, 9, 7)),
    "one dimension": (lambda: net(nn.Conv1d(20, 64, 5), nn.BatchNorm1d(64)), (2, 20, 30)),
    "a norm in front": (lambda: net(nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3)), (2, 8, 9, 7)),
    "layers of many rows": (lambda: net(nn.Linear(40, 64), nn.GELU(), nn.Linear(64, 33)), (30, 40)),
    "layers of few rows": (lambda: net(nn.Linear(40, 64), nn.GELU(), nn.Linear(64, 33)), (3, 40)),
    "a recurrent layer": (lambda: nn.LSTM(16, 32).eval(), (9, 20, 16)),
}  # fmt: skip


def arrays(result):
    return [np.asarray(t.detach()) for t in pytree.flatten(result)[0]]


@pytest.mark.parametrize("name", MODULES)
def test_results_are_those_of_the_module(name):
    make, shape = MODULES[name]
    module, x = make(), random(*shape)
    fixed = braze.compile(lambda x: module(x), constant_weights=True)
    with braze.no_grad():
        for n in (1, 2, 3):
            for a, b in zip(arrays(module(x * n)), arrays(fixed(x * n))):
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(a).max()))


def test_norms_are_folded_and_weights_laid_out_before():
    module = net(nn.Conv2d(3, 16, 3, bias=False), Block(16, 64), nn.Conv2d(64, 8, 1))
    fixed = braze.compile(lambda x: module(x), constant_weights=True)
    with braze.no_grad():
        fixed(random(2, 3, 16, 18))
    kernels = fixed.ir("fused").kernels
    assert [k.name for k in kernels] == ["conv", "conv_add", "conv_add_relu", "conv_add"]
    schedules = [s.schedule for s in fixed.ir("fused").steps]
    assert [s.right for s in schedules[1:3]] == ["direct", "direct"]


def test_matrices_of_loops_are_laid_out_before():
    layer = nn.LSTM(64, 64).eval()
    fixed = braze.compile(lambda x: layer(x)[0], constant_weights=True)
    with braze.no_grad():
        fixed(random(9, 20, 64))
    schedules = [s.schedule for s in walk(fixed.ir("fused").steps) if isinstance(s, Launch)]
    products = [s for s in schedules if isinstance(s, Contraction)]
    assert [s.right for s in products] == ["direct", "direct"] and products[1].parts == 4
    assert len(schedules) == 3                           # the third makes the first state


def test_weights_are_constant():
    layer = nn.Linear(4, 4)
    fixed = braze.compile(lambda x: layer(x) * 2, constant_weights=True)
    x = random(3, 4)
    before = np.asarray(fixed(x))
    with braze.no_grad():
        layer.weight.copy_(layer.weight * 3)
    assert np.array_equal(np.asarray(fixed(x)), before)


def test_gradients_reach_arguments_alone():
    layer = nn.Linear(4, 5)
    fixed = braze.compile(lambda x: (layer(x) ** 2).sum(), constant_weights=True)
    x = random(3, 4).requires_grad_()
    fixed(x).backward()
    assert layer.weight.grad is None
    y = random(3, 4).requires_grad_()
    (layer(y) ** 2).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), np.asarray(y.grad), rtol=1e-5)


def test_what_a_function_changes_is_not_constant():
    count, scale = braze.tensor(0.0), random(3)

    @braze.compile(constant_weights=True)
    def step(x):
        nonlocal count
        count += 1.0
        return x * scale.exp() + count

    x = random(3)
    for n in (1, 2, 3):
        np.testing.assert_allclose(np.asarray(step(x)), np.asarray(x) * np.exp(np.asarray(scale)) + n, rtol=1e-6)


def test_sizes_may_vary():
    layer = nn.Conv2d(16, 32, 3, padding=1)
    fixed = braze.compile(lambda x: layer(x), constant_weights=True, dynamic=True)
    with braze.no_grad():
        for n in (2, 3, 5):
            x = random(n, 16, n + 4, 9)
            np.testing.assert_allclose(np.asarray(fixed(x)), np.asarray(layer(x)), rtol=1e-4, atol=1e-5)
    assert len(fixed.compilations) == 1
