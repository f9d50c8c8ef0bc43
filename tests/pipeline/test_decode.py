"""Decoding one token after the other with a cache of keys and values: a moving position is no reason to compile."""

import braze
import numpy as np
import pytest
from braze.ir import expr

HEADS, ROOM, WIDTH, STEPS = 4, 32, 16, 20


class Attention(braze.nn.Module):
    """One step: the new key and value go into the cache at a position; the query meets what is there so far."""

    def __init__(self, meet):
        super().__init__()
        self.meet = meet
        self.keys, self.values = (braze.zeros(1, HEADS, ROOM, WIDTH) for _ in range(2))

    def forward(self, q, k, v, position):
        self.keys[:, :, position:position + 1] = k
        self.values[:, :, position:position + 1] = v
        return self.meet(q, self.keys, self.values, position)


def meet_a_slice(q, keys, values, position):
    seen = slice(None, position + 1)
    return braze.nn.functional.scaled_dot_product_attention(q, keys[:, :, seen], values[:, :, seen])


def meet_a_mask(q, keys, values, position):
    return braze.nn.functional.scaled_dot_product_attention(q, keys, values, braze.arange(ROOM) <= position)


@pytest.mark.parametrize("meet", [meet_a_slice, meet_a_mask])
def test_a_cache_written_at_a_moving_position(meet):
    step = braze.compile(Attention(meet))
    random = np.random.default_rng(3)
    given = random.standard_normal((STEPS, 3, 1, HEADS, 1, WIDTH)).astype(np.float32)
    for n in range(STEPS):
        with braze.no_grad():
            got = np.asarray(step(*map(braze.tensor, given[n]), n))
        q, k, v = given[n, 0].astype(np.float64), *np.moveaxis(given[:n + 1, 1:, 0, :, 0].astype(np.float64), 0, 2)
        scores = np.einsum("hd,htd->ht", q[0, :, 0], k) / np.sqrt(WIDTH)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        want = np.einsum("ht,htd->hd", weights / weights.sum(-1, keepdims=True), v)
        np.testing.assert_allclose(got[0, :, 0], want, rtol=2e-5, atol=2e-6)
    assert len(step.compilations) <= 3, [str(r) for r in step.compilations]


def test_only_the_new_part_of_the_cache_is_written():
    cache = braze.zeros(4, 256, 32)

    def write(x, position):
        cache[:, position:position + 1] = x

    f = braze.compile(write)
    for n in range(3):
        f(braze.ones(4, 1, 32), n)
    copy, part = f.ir("fused").kernels
    sizes = {"n3": 2}
    assert copy.name == "copy" and [expr.evaluate(n, sizes) for n in part.axes.values()] == [4, 1, 32]
    np.testing.assert_array_equal(np.asarray(cache)[0, :5, 0], [1, 1, 1, 0, 0])
