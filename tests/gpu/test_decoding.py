"""Attention of few queries on a cache of keys and values, compiled for the device: two kernels, NumPy's figures."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from attention_reference import attention, launches
from braze import nn
from braze.ir.gpu_contraction import GpuStreamed

GPU = "cuda:0"


def attend(q, k, v):
    return nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def expanded(q, k, v):
    """Heads of keys and values repeated by views, as Llama's code does."""
    b, h, s, _ = k.shape
    n = q.shape[1] // h
    k, v = (x[:, :, None].expand(b, h, n, s, x.shape[-1]).reshape(b, h * n, s, x.shape[-1]) for x in (k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v)


def tensors(heads, groups, queries, keys, dtype):
    rng = np.random.default_rng(0)
    shapes = [(2, heads, queries, 40), (2, groups, keys, 40), (2, groups, keys, 24)]
    return [braze.tensor(rng.standard_normal(s).astype(np.float32)).astype(dtype).to(GPU) for s in shapes]


def kinds(f):
    return [type(s.schedule) is GpuStreamed for s in launches(f.ir("fused"))]


@pytest.mark.parametrize("function", [attend, expanded])
@pytest.mark.parametrize("heads, groups, queries", [(4, 4, 1), (6, 2, 1), (4, 2, 3)])
def test_two_kernels_give_what_the_definition_gives(heads, groups, queries, function):
    inputs = tensors(heads, groups, queries, 2100, braze.bfloat16)
    f = braze.compile(function)
    found = f(*inputs)
    assert kinds(f) == [True, False]
    wanted = attention(*(x.cpu().astype(braze.float32).numpy() for x in inputs))
    np.testing.assert_allclose(found.cpu().astype(braze.float32).numpy(), wanted, rtol=2e-2, atol=2e-3)


def test_a_cache_that_grows_takes_one_program():
    f = braze.compile(attend)
    for n in (700, 701, 702, 715):
        q, k, v = tensors(4, 2, 1, n, braze.float32)
        np.testing.assert_allclose(f(q, k, v).cpu().numpy(), attention(*(x.cpu().numpy() for x in (q, k, v))),
                                   rtol=1e-4, atol=1e-5)
    assert len(f.compilations) <= 2 and kinds(f) == [True, False]


def test_only_what_was_written_of_a_cache_is_seen():
    """A cache of fixed size, of which the positions up to `last` count."""

    def step(q, k, v, last):
        seen = braze.arange(k.shape[2], device=q.device) <= last
        return nn.functional.scaled_dot_product_attention(q, k, v, seen, enable_gqa=True)

    f = braze.compile(step)
    q, k, v = tensors(4, 2, 1, 1025, braze.float32)
    for last in (0, 511, 1024):
        found = f(q, k, v, braze.tensor(last).to(GPU))
        wanted = attention(*(x.cpu().numpy() for x in (q, k, v)), seen=np.arange(1025) <= last)
        np.testing.assert_allclose(found.cpu().numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert kinds(f)[-2:] == [True, False]
