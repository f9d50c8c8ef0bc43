"""Chains of many steps: compiled in time that grows with their length, without recursion, and right."""

import braze
import numpy as np
import pytest
from braze.ir.parse import parse_graph

LONG = 1000

STEPS = {
    "multiply and add": lambda x, y: x * 0.999 + y,
    "sine": lambda x, y: x.sin(),
    "choice": lambda x, y: braze.where(x > y, x - 0.25, x + 0.125),
    "reversed": lambda x, y: braze.flip(x, (0,)) * 0.5 + y,
    "maximum": lambda x, y: x - x.max() * 0.5 + y,
    "gathered": lambda x, y: x[(y * 8).long()] * 0.5 + y,
}


def chain(name, length, x, y):
    for _ in range(length):
        x = STEPS[name](x, y)
    return x


def values():
    random = np.random.default_rng(0)
    return (braze.tensor(random.random(16).astype(np.float32) * 0.99) for _ in range(2))


@pytest.mark.parametrize("name, length", [("multiply and add", LONG), ("sine", LONG), ("choice", LONG),
                                          ("reversed", 300), ("maximum", 200), ("gathered", 300)])
def test_a_long_chain_is_what_it_is_eagerly(name, length):
    x, y = values()
    f = braze.compile(lambda x, y: chain(name, length, x, y))
    np.testing.assert_allclose(np.asarray(f(x, y)), np.asarray(chain(name, length, x, y)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["multiply and add", "sine"])
def test_the_gradient_of_a_long_chain(name):
    x, y = values()

    def gradient(x, y):
        x = x.detach().requires_grad_()
        chain(name, LONG, x, y).sum().backward()
        return x.grad

    want, at = np.ones(16), np.asarray(x).astype(np.float64)
    for _ in range(LONG):
        want, at = (want * np.cos(at), np.sin(at)) if name == "sine" else (want * 0.999, at)
    np.testing.assert_allclose(np.asarray(gradient(x, y)), want, rtol=2e-4)
    np.testing.assert_allclose(np.asarray(braze.compile(gradient)(x, y)), want, rtol=2e-4)


def test_a_compiled_forward_half_of_a_long_chain_has_a_backward_half():
    x, y = values()
    x.requires_grad_()
    braze.compile(lambda x, y: chain("sine", LONG, x, y))(x, y).sum().backward()
    got, x.grad = x.grad, None
    chain("sine", LONG, x, y).sum().backward()
    np.testing.assert_allclose(np.asarray(got), np.asarray(x.grad), rtol=2e-4)


def test_a_long_chain_prints_and_reads_back():
    x, y = values()
    f = braze.compile(lambda x, y: chain("multiply and add", LONG, x, y))
    f(x, y)
    assert parse_graph(str(f.ir("graph"))) == f.ir("graph")
    assert len(str(f.ir("fused")).splitlines()) > LONG and "kernel 0" in str(f.explain())


def test_kernels_stay_small_and_alike():
    x, y = values()
    f = braze.compile(lambda x, y: chain("sine", LONG, x, y))
    f(x, y)
    kernels = f.ir("fused").kernels
    assert 1 < len(kernels) <= LONG // 20 and len({str(k) for k in kernels}) <= 3
    assert any(note.kind == "cost" for note in f.ir("fused").notes)


def test_numpy_too():
    x, y = values()
    f = braze.compile(lambda x, y: chain("multiply and add", LONG, x, y), backend="numpy")
    np.testing.assert_allclose(np.asarray(f(x, y)), np.asarray(chain("multiply and add", LONG, x, y)), rtol=1e-6)


def test_attention_to_what_a_long_chain_made():
    random = np.random.default_rng(1)
    q, k, v = (braze.tensor(random.standard_normal((512, 16)).astype(np.float32)) for _ in range(3))
    mask = braze.zeros(512)

    def attend(q, k, v, mask):
        for _ in range(LONG):
            mask = mask * 0.5 + 0.25
        return braze.softmax(q @ k.T + mask, -1) @ v

    np.testing.assert_allclose(np.asarray(braze.compile(attend)(q, k, v, mask)), np.asarray(attend(q, k, v, mask)),
                               rtol=1e-4, atol=1e-5)
