"""What is computed again instead of stored: how many large arrays remain between kernels, and that results stay."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze import nn
from braze.passes import recompute
from braze.testing import assert_close

F = nn.functional
ROWS, WIDTH = 512, 128
RANDOM = np.random.default_rng(0)


def draw(*shape):
    return braze.tensor(RANDOM.standard_normal(shape).astype(np.float32) * 0.3)


def gradients(loss):
    """The loss and its gradients by all arguments."""
    return lambda *args: braze.value_and_grad(loss, argnums=tuple(range(len(args))))(*args)


def gelu_layers(x, v, w):
    return (F.gelu(x @ v, approximate="tanh") @ w).square().sum()


def silu_layers(x, v, w):
    return (F.silu(x @ v) @ w).square().sum()


def normed_layers(x, v, w):
    return (F.layer_norm(x, (WIDTH,)) @ v @ w).square().sum()


def logits_loss(x, v, w):
    h = x @ v
    return F.cross_entropy(h, braze.arange(ROWS) % h.shape[1]) + w.sum()


# name: (loss, shapes, large arrays between kernels)
PROGRAMS = {
    "gelu keeps what it is of": (gelu_layers, [(ROWS, WIDTH), (WIDTH, ROWS), (ROWS, WIDTH)], 5),
    "silu keeps what it is of": (silu_layers, [(ROWS, WIDTH), (WIDTH, ROWS), (ROWS, WIDTH)], 5),
    "a loss keeps its logits": (logits_loss, [(ROWS, WIDTH), (WIDTH, ROWS), (4,)], 2),
}


def large(program):
    return [s for s in program.slots.values() if s.role == "temporary" and s.bytes >= 4 * ROWS * WIDTH]


@pytest.mark.parametrize("name", PROGRAMS)
def test_large_arrays_between_kernels(name):
    loss, shapes, most = PROGRAMS[name]
    arguments = [draw(*s) for s in shapes]
    compiled = braze.compile(gradients(loss))
    value, results = compiled(*arguments)
    assert len(large(compiled.ir("fused"))) <= most, compiled.ir("fused")
    expected, eager = gradients(loss)(*arguments)
    assert_close(value, expected, rtol=1e-4)
    for got, want in zip(results, eager):
        assert_close(got, want, rtol=1e-3, atol=1e-4 * float(abs(np.asarray(want)).max()))


@pytest.mark.parametrize("loss", [gelu_layers, silu_layers, normed_layers], ids=lambda f: f.__name__)
def test_same_bits_as_stored(loss, monkeypatch):
    arguments = [draw(*s) for s in ((ROWS, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH))]

    def results():
        value, found = braze.compile(gradients(loss))(*arguments)
        return [np.asarray(x) for x in (value, *found)]

    monkeypatch.setattr(braze.ir.configuration.configuration, "cache_directory", "")
    again = results()
    monkeypatch.setattr(recompute, "MOST_COST", 0.0)
    for a, b in zip(again, results()):
        np.testing.assert_array_equal(a, b)


def test_what_a_product_reads_is_stored():
    """Its operand would be computed again for each block of columns."""
    compiled = braze.compile(gradients(gelu_layers))
    compiled(*[draw(*s) for s in PROGRAMS["gelu keeps what it is of"][1]])
    program = compiled.ir("fused")
    assert sum(v.op == "tanh" for k in program.kernels for v in k.values) == 2, program


def laplacian(u):
    inner = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1]
    return braze.pad(inner, 1)


def heat_steps(u):
    for _ in range(6):
        u = u + 0.1 * laplacian(u)
    return u


def runge_kutta_step(u, dt=0.1):
    k1 = laplacian(u)
    k2 = laplacian(u + dt / 2 * k1)
    k3 = laplacian(u + dt / 2 * k2)
    return u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + laplacian(u + dt * k3))


def rising_edges(u):
    y = braze.exp(u) + 3 * braze.exp(-u)
    return y + braze.pad(y[1:] - y[:-1], ((1, 0), (0, 0)))


@pytest.mark.parametrize("program, most", [(heat_steps, 40), (runge_kutta_step, 100), (rising_edges, 20)])
def test_what_neighbours_read_is_not_computed_for_each_of_them(program, most):
    u = draw(256, 256)
    compiled = braze.compile(program)
    np.testing.assert_allclose(np.asarray(compiled(u)), np.asarray(program(u)), rtol=1e-5, atol=1e-5)
    assert max(len(k.values) for k in compiled.ir("fused").kernels) <= most
