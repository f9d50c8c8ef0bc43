"""Attention as users write it: masks, biases, windows, casts, einsum, heads of all layouts. Each streams, on a CPU and
on a GPU, forward and backward, and gives what NumPy gives in float64.
"""

from __future__ import annotations

import math

import braze
import numpy as np
import pytest
from attention_reference import attention, gradients, launches, squares, streams
from braze.ir.gpu import GpuTarget
from braze.nn import functional
from braze.passes.assemble import assemble

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
T, D, HEADS = 190, 32, 4
ROWS = np.arange(T)[:, None]
CAUSAL = ROWS >= np.arange(T)
WINDOW = CAUSAL & (ROWS - np.arange(T) < 40)
SLOPES = 2.0 ** -np.arange(1, HEADS + 1)[:, None, None]
PADDED = np.arange(T) < np.array([[[[T]]], [[[131]]]])
ADDED = np.where(CAUSAL, 0.0, np.finfo(np.float32).min)


LOOKED_UP = np.sin(np.multiply.outer(np.arange(1, HEADS + 1), np.arange(T) - ROWS + T - 1))


def tensor(x):
    return braze.tensor(np.asarray(x, np.float32 if np.asarray(x).dtype != bool else bool))


def additive(q, k, v):
    return braze.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + tensor(ADDED), -1) @ v


def hidden(q, k, v):
    later = braze.triu(braze.ones(T, T, dtype=braze.bool_), 1)
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    return functional.softmax(braze.where(later, -math.inf, scores), dim=-1) @ v


def tril_buffer(q, k, v):
    """minGPT's: a buffer of ones, compared with zero."""
    bias = braze.tril(braze.ones(256, 256)).reshape(1, 1, 256, 256)
    att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.shape[-1]))
    att = braze.where(bias[:, :, :T, :T] == 0, -math.inf, att)
    return functional.softmax(att, dim=-1) @ v


def where_infinite(q, k, v):
    i = braze.arange(T)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return braze.softmax(braze.where(i[:, None] >= i[None, :], scores, -math.inf), -1) @ v


def padding(q, k, v):
    """A bool mask of keys for each sequence."""
    scores = braze.where(tensor(PADDED), q @ k.mT / math.sqrt(q.shape[-1]), -1e30)
    return scores.softmax(-1) @ v


def float32_softmax(q, k, v):
    """As models are written that run in 16 bits: the softmax in float32, the weights rounded."""
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    scores = scores + tensor(ADDED).astype(scores.dtype)
    weights = functional.softmax(scores.float(), dim=-1).to(q.dtype)
    return weights @ v


def float_and_back(q, k, v):
    scores = (q @ k.transpose(2, 3)).float() / math.sqrt(q.shape[-1])
    scores = scores + tensor(ADDED)
    return functional.softmax(scores, dim=-1).astype(q.dtype) @ v


def alibi(q, k, v):
    i = braze.arange(T)
    distance = (i[None, :] - i[:, None]).astype(q.dtype)
    scores = q @ k.mT / math.sqrt(q.shape[-1]) + tensor(SLOPES) * distance
    return braze.where(i[:, None] >= i, scores, -math.inf).softmax(-1) @ v


def learned_bias(q, k, v):
    """Relative positions looked up in a table, as T5 and Swin do."""
    i = braze.arange(T)
    table = tensor(np.sin(np.arange(2 * T - 1.0)[:, None] * np.arange(1, HEADS + 1)))
    bias = table[i[None, :] - i[:, None] + T - 1].permute(2, 0, 1)
    return (q @ k.mT / math.sqrt(q.shape[-1]) + bias).softmax(-1) @ v


def window(q, k, v):
    i = braze.arange(T)
    back = i[:, None] - i[None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return braze.where((back >= 0) & (back < 40), scores, -math.inf).softmax(-1) @ v


def einsum(q, k, v):
    scores = braze.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return braze.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)


def einsum_heads_last(q, k, v):
    """[batch, position, head, depth], as JAX code has it."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = braze.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return braze.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).transpose(1, 2)


def batched(q, k, v):
    """Heads beside the batch, three dimensions."""
    b, h, t, d = q.shape
    q, k, v = (x.reshape(b * h, t, d) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) * d ** -0.5
    return (scores.softmax(-1) @ v).reshape(b, h, t, d)


def repeated(q, k, v):
    k, v = (braze.repeat(x, q.shape[1] // k.shape[1], 1) for x in (k, v))
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v


def expanded(q, k, v):
    """Llama's `repeat_kv`."""
    b, h, t, d = k.shape
    n = q.shape[1] // h
    k, v = (x[:, :, None, :, :].expand(b, h, n, t, d).reshape(b, h * n, t, d) for x in (k, v))
    return (q @ k.mT / math.sqrt(d)).softmax(-1) @ v


def by_hand(q, k, v):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    return (e / e.sum(-1, keepdim=True)) @ v


def scaled_before(q, k, v):
    scale = math.sqrt(math.sqrt(q.shape[-1]))
    return ((q / scale) @ (k / scale).mT).softmax(-1) @ v


def split_heads(q, k, v):
    """Heads of one projection, side by side in the last dimension."""
    b, h, t, d = q.shape
    qkv = braze.concat([x.transpose(1, 2).reshape(b, t, h * d) for x in (q, k, v)], -1)
    q, k, v = (x.reshape(b, t, h, d).transpose(1, 2) for x in braze.split(qkv, h * d, -1))
    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(b, t, h * d).reshape(b, t, h, d).transpose(1, 2)


def gqa(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


VARIANTS = {                     # function, heads of keys, what NumPy adds, what it sees
    "additive mask": (additive, HEADS, 0.0, CAUSAL),
    "hidden": (hidden, HEADS, 0.0, CAUSAL),
    "tril buffer": (tril_buffer, HEADS, 0.0, CAUSAL),
    "where": (where_infinite, HEADS, 0.0, CAUSAL),
    "padding": (padding, HEADS, 0.0, PADDED),
    "alibi": (alibi, HEADS, SLOPES * (np.arange(T) - ROWS), CAUSAL),
    "learned bias": (learned_bias, HEADS, LOOKED_UP, True),
    "window": (window, HEADS, 0.0, WINDOW),
    "einsum": (einsum, HEADS, 0.0, True),
    "heads last": (einsum_heads_last, HEADS, 0.0, True),
    "three dimensions": (batched, HEADS, 0.0, True),
    "by hand": (by_hand, HEADS, 0.0, True),
    "scaled before": (scaled_before, HEADS, 0.0, True),
    "float32 softmax": (float32_softmax, HEADS, 0.0, CAUSAL),
    "float and back": (float_and_back, HEADS, 0.0, CAUSAL),
    "one projection": (split_heads, HEADS, 0.0, CAUSAL),
    "repeated heads": (repeated, 2, 0.0, True),
    "expanded heads": (expanded, 2, 0.0, True),
    "grouped heads": (gqa, 1, 0.0, CAUSAL),
}
DTYPES = {"f32": (braze.float32, 2e-4), "bf16": (braze.bfloat16, 3e-2), "f16": (braze.float16, 4e-3)}
ONLY = {"by hand": ["f32"]}      # 16-bit numbers are rounded at each step there, which no sum that runs along can do
CASES = pytest.mark.parametrize("name, of", [
    (n, d) for n in VARIANTS for d in ONLY.get(n, DTYPES) if d != "f16" or "float" in n])


def inputs(heads, dtype):
    rng = np.random.default_rng(0)
    arrays = (rng.standard_normal((2, h, T, D)).astype(np.float32) for h in (HEADS, heads, heads))
    return [braze.tensor(x).astype(dtype).requires_grad_() for x in arrays]


def array(x):
    return np.asarray(x.detach().astype(braze.float32))


def check(compiled, count):
    """It streams so many times on a CPU and on a GPU, and stores no square of scores."""
    for program in (compiled.ir("fused"), assemble(compiled.ir("optimized"), GpuTarget())):
        table = [s for s in squares(program, T) if s.shape[:2] == (T, T)]         # that is looked up
        assert streams(program) == count and squares(program, T) == table, [str(x.kernel) for x in launches(program)]


def close(found, wanted, tolerance):
    np.testing.assert_allclose(array(found), wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@CASES
def test_it_streams(name, of):
    (function, heads, bias, seen), (dtype, tolerance) = VARIANTS[name], DTYPES[of]
    given, compiled = inputs(heads, dtype), braze.compile(function)
    with braze.no_grad():
        found = compiled(*given)
    check(compiled, 1)
    close(found, attention(*map(array, given), bias, seen), tolerance)


@CASES
def test_its_gradients_stream(name, of):
    (function, heads, bias, seen), (dtype, tolerance) = VARIANTS[name], DTYPES[of]
    given = inputs(heads, dtype)

    def step(q, k, v):
        y = function(q, k, v).float()
        (y * y).sum().backward()
        return q.grad, k.grad, v.grad

    compiled = braze.compile(step)
    found = compiled(*given)
    check(compiled, 3)
    for x, wanted in zip(found, gradients(*map(array, given), lambda y: 2 * y, bias, seen)):
        close(x, wanted, tolerance)


# ---- dropout --------------------------------------------------------------------------------------------------------


def dropped_by_name(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=0.2)


def dropped_by_hand(q, k, v):
    weights = functional.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
    return functional.dropout(weights, 0.2) @ v


@pytest.mark.parametrize("of", ["f32", "bf16"])
@pytest.mark.parametrize("function", [dropped_by_name, dropped_by_hand])
def test_dropout_is_drawn_on_the_tiles(function, of):
    """The same weights are dropped in all three kernels: those that `dropout` drops by itself from the same seed."""
    dtype, tolerance = DTYPES[of]
    given = inputs(HEADS, dtype)

    def step(q, k, v):
        y = function(q, k, v)
        (y.float() * y.float()).sum().backward()
        return y, q.grad, k.grad, v.grad

    braze.manual_seed(3)
    kept = array(functional.dropout(braze.ones(2, HEADS, T, T), 0.2)).astype(np.float64)
    braze.manual_seed(3)
    compiled = braze.compile(step)
    found = compiled(*given)
    check(compiled, 3)
    assert 0.15 < (kept == 0).mean() < 0.25
    wanted = (attention(*map(array, given), kept=kept), *gradients(*map(array, given), lambda y: 2 * y, kept=kept))
    for x, w in zip(found, wanted):
        close(x, w, tolerance)
