"""Attention of few queries on a cache of keys and values, on a CPU: heads that share keys read them once, and caches
that grow take one program.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from attention_reference import attention, launches
from braze.ir.expr import product
from braze.ir.schedule import Contraction
from braze.nn import functional
from braze.runtime.machine import host

DTYPES = {"f32": (braze.float32, 2e-4), "bf16": (braze.bfloat16, 2e-2)}


def attend(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def tensors(heads, groups, queries, keys, dtype, batch=2):
    rng = np.random.default_rng(keys)
    shapes = [(batch, heads, queries, 40), (batch, groups, keys, 40), (batch, groups, keys, 24)]
    return [braze.tensor(rng.standard_normal(s).astype(np.float32)).astype(dtype) for s in shapes]


def close(found, given, tolerance):
    wanted = attention(*(np.asarray(x.astype(braze.float32)) for x in given))
    np.testing.assert_allclose(np.asarray(found.astype(braze.float32)), wanted, rtol=tolerance, atol=tolerance / 5)


def rows(compiled):
    """The rows of the products, and how many times the matrix of each is read."""
    kernels = [x for x in launches(compiled.ir("fused")) if isinstance(x.schedule, Contraction)]
    return [product(x.kernel.axes[a] for a in x.schedule.i) for x in kernels]


@pytest.mark.parametrize("of", DTYPES)
@pytest.mark.parametrize("heads, groups, queries, together", [
    (64, 16, 1, 4), (64, 8, 1, 8), (64, 32, 3, 6), (64, 64, 1, 1), (64, 32, 7, 14)])
def test_heads_that_share_keys_read_them_once(heads, groups, queries, together, of):
    dtype, tolerance = DTYPES[of]
    given, compiled = tensors(heads, groups, queries, 301, dtype), braze.compile(attend)
    close(compiled(*given), given, tolerance)
    assert rows(compiled) == [together if 2 * groups >= host().threads else queries] * 2


@pytest.mark.parametrize("of", DTYPES)
def test_a_cache_that_grows_takes_one_program(of):
    dtype, tolerance = DTYPES[of]
    compiled = braze.compile(attend)
    for keys in (300, 301, 302, 17, 2, 999):
        given = tensors(8, 2, 1, keys, dtype)
        close(compiled(*given), given, tolerance)
    assert len(compiled.compilations) == 2
