"""Products of narrow numbers through the whole pipeline: one kernel with what stands before and behind, right against
NumPy in float64, the same bits for any number of threads.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import Launch
from braze.ir.streamed import Streamed
from braze.nn import functional

RNG = np.random.default_rng(0)


def integers(*shape, dtype="int8"):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


def launches(f):
    return [step for step in f.ir("fused").steps if isinstance(step, Launch)]


def wide(x):
    return np.asarray(x).astype(np.float64)


@pytest.mark.parametrize("left", ["int8", "uint8"])
@pytest.mark.parametrize("right", ["int8", "uint8"])
def test_integers_summed_in_int32_are_exact(left, right):
    a, b = integers(70, 300, dtype=left), integers(300, 90, dtype=right)
    f = braze.compile(lambda a, b: braze.matmul(a, b, dtype=braze.int32))
    exact = a.astype(np.int64) @ b.astype(np.int64)
    for product in (f, lambda a, b: braze.matmul(a, b, dtype=braze.int32)):
        found = product(braze.tensor(a), braze.tensor(b))
        assert found.dtype is braze.int32
        np.testing.assert_array_equal(np.asarray(found), exact)
    assert len(launches(f)) == 1


def test_without_a_dtype_integers_wrap_as_numpy_has_it():
    a, b = integers(20, 30), integers(30, 40)
    np.testing.assert_array_equal(np.asarray(braze.tensor(a) @ braze.tensor(b)), a @ b)


def test_dequantising_bias_and_activation_are_the_epilogue():
    x, w = integers(100, 256), integers(256, 96)
    by_row, by_column, bias = (RNG.random(s).astype("float32") / 100 for s in ((100, 1), (96,), (96,)))

    def layer(x, w, by_row, by_column, bias):
        y = braze.matmul(x, w, dtype=braze.int32).astype(braze.float32)
        return functional.relu(y * (by_row * by_column) + bias)

    f = braze.compile(layer)
    found = f(*map(braze.tensor, (x, w, by_row, by_column, bias)))
    exact = np.maximum(wide(x) @ wide(w) * (wide(by_row) * wide(by_column)) + wide(bias), 0)
    np.testing.assert_allclose(wide(found), exact, rtol=1e-5, atol=1e-5)
    assert len(launches(f)) == 1


@pytest.mark.parametrize("rows", [1, 9, 60])
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_quantised_weights_are_widened_while_they_are_packed(rows, dtype, tolerance):
    d = getattr(braze, dtype)
    x, w, scale = braze.randn(rows, 256).astype(d), braze.tensor(integers(256, 160)), braze.rand(160).astype(d)
    f = braze.compile(lambda x, w, scale: x @ (w.astype(x.dtype) * scale))
    found, exact = wide(f(x, w, scale)), wide(x) @ (wide(w) * wide(scale))
    np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
    assert len(launches(f)) == 1


FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


@pytest.mark.parametrize("left", FLOAT8)
@pytest.mark.parametrize("right", FLOAT8)
@pytest.mark.parametrize("rows", [1, 9, 70])
def test_products_of_8_bit_floats_are_summed_in_float32(left, right, rows):
    a, b = braze.randn(rows, 300).to(left), braze.randn(300, 90).to(right)
    f = braze.compile(lambda a, b: braze.matmul(a, b, dtype=braze.float32))
    exact = wide(a) @ wide(b)
    for product in (f, lambda a, b: braze.matmul(a, b, dtype=braze.float32)):
        found = product(a, b)
        assert found.dtype is braze.float32
        np.testing.assert_allclose(wide(found), exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())
    assert len(launches(f)) == 1


@pytest.mark.parametrize("rows", [1, 9, 60])
@pytest.mark.parametrize("of", FLOAT8)
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_weights_of_8_bit_floats_are_widened_while_they_are_packed(rows, of, dtype, tolerance):
    d = getattr(braze, dtype)
    x, w, scale = braze.randn(rows, 256).astype(d), braze.randn(160, 256).to(of), braze.rand(160).astype(d)
    for layer, weight in ((lambda x, w, scale: x @ (w.astype(x.dtype) * scale[:, None]).T, wide(w)),
                          (lambda x, w, scale: (x @ w.astype(x.dtype).T) * scale, wide(w))):
        f = braze.compile(layer)
        found, exact = wide(f(x, w, scale)), wide(x) @ (weight.T * wide(scale))
        np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
        assert len(launches(f)) == 1


@pytest.mark.parametrize("of", FLOAT8)
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 1.5e-2)])
def test_attention_streams_keys_and_values_of_8_bit_floats(of, dtype, tolerance):
    q, k, v = braze.randn(1, 4, 130, 32).to(dtype), *(braze.randn(1, 4, 130, 32).to(of) for _ in range(2))
    f = braze.compile(lambda q, k, v: functional.scaled_dot_product_attention(q, k.to(q), v.to(q), is_causal=True))
    found = wide(f(q, k, v))
    exact, *_ = attention_and_gradients(*map(wide, (q, k, v, v)))
    np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
    (step,) = launches(f)
    assert isinstance(step.schedule, Streamed)


def test_a_layer_of_8_bit_floats_is_quantised_anew_behind():
    """Scales, bias, activation and rounding to 8 bits are the epilogue."""
    x, w, bias = braze.randn(70, 256).to(FLOAT8[0]), braze.randn(96, 256).to(FLOAT8[0]), braze.randn(96)

    def layer(x, w, bias):
        return (functional.relu(braze.matmul(x, w.T, dtype=braze.float32) * 0.01 + bias) * 16).to(FLOAT8[0])

    f = braze.compile(layer)
    exact = np.maximum(wide(x) @ wide(w).T * 0.01 + wide(bias), 0) * 16
    found = wide(f(x, w, bias))
    np.testing.assert_allclose(found, exact, rtol=2.0**-4 * 1.001, atol=2.0**-10 * 1.001)
    assert len(launches(f)) == 1


def test_bfloat16_layers_are_one_kernel_each():
    x, w, b = (braze.randn(*s).astype(braze.bfloat16) for s in ((50, 128), (128, 200), (200,)))
    f = braze.compile(lambda x, w, b: functional.gelu(x @ w + b))
    found = wide(f(x, w, b))
    y = wide(x) @ wide(w) + wide(b)
    exact = wide(functional.gelu(braze.tensor(y)))
    np.testing.assert_allclose(found, exact, rtol=2e-2, atol=2e-2 * np.abs(exact).max())
    assert len(launches(f)) == 1


def test_the_same_bits_for_any_number_of_threads():
    x, w = (braze.randn(300, 300).astype(braze.bfloat16) for _ in range(2))
    f = braze.compile(lambda x, w: braze.matmul(x, w, dtype=braze.float32))
    before, found = braze.get_num_threads(), set()
    try:
        for count in (1, 2, 3):
            braze.set_num_threads(count)
            found.add(np.asarray(f(x, w)).tobytes())
    finally:
        braze.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_softmax_and_layer_norm_are_rounded_once(dtype):
    x = braze.randn(20, 300).astype(getattr(braze, dtype)) * 4
    ulp = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    e = np.exp(wide(x) - wide(x).max(-1, keepdims=True))
    np.testing.assert_allclose(wide(functional.softmax(x)), e / e.sum(-1, keepdims=True), rtol=1.01 * ulp, atol=2e-7)
    normal = (wide(x) - wide(x).mean(-1, keepdims=True)) / np.sqrt(wide(x).var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(wide(functional.layer_norm(x, 300)), normal, rtol=1.01 * ulp, atol=1e-5)


@pytest.mark.parametrize("dtype,tolerance", [("float16", 2e-3), ("bfloat16", 1.5e-2)])
@pytest.mark.parametrize("heads", [4, 2])
def test_gradients_of_attention_stream(dtype, tolerance, heads):
    """Against the formulas in float64; some query heads may share keys and values."""
    q, g = (braze.randn(1, 4, 300, 32).astype(getattr(braze, dtype)) for _ in range(2))
    k, v = (braze.randn(1, heads, 300, 32).astype(getattr(braze, dtype)) for _ in range(2))

    def step(*inputs):
        q, k, v = (t.detach().requires_grad_() for t in inputs[:3])
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        (y * inputs[3]).sum().backward()
        return y, q.grad, k.grad, v.grad

    f = braze.compile(step)
    for found, exact in zip(f(q, k, v, g), attention_and_gradients(*map(wide, (q, k, v, g)))):
        np.testing.assert_allclose(wide(found), exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
    assert sum(isinstance(step.schedule, Streamed) for step in launches(f)) == 3


def attention_and_gradients(q, k, v, g):
    groups, scale = q.shape[1] // k.shape[1], q.shape[-1] ** -0.5
    k, v = (np.repeat(x, groups, 1) for x in (k, v))
    s = np.where(np.tri(q.shape[2], k.shape[2], dtype=bool), q @ k.swapaxes(2, 3) * scale, -np.inf)
    e = np.exp(s - s.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    towards = g @ v.swapaxes(2, 3)
    ds = p * (towards - (towards * p).sum(-1, keepdims=True)) * scale
    dk, dv = (x.reshape(1, -1, groups, *x.shape[2:]).sum(2) for x in (ds.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ g))
    return p @ v, ds @ k, dk, dv
