"""Compiled programs that sort on the device: by kernels, save for many places of rows whose length is not known."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import HostCall, walk

GPU = "cuda:0"


def host_calls(f) -> list[HostCall]:
    return [s for s in walk(f.ir("fused").steps) if isinstance(s, HostCall)]


def routed(x, gate, weights):
    """A layer of experts: each row goes to its two likeliest, weighed by a softmax over these."""
    values, places = braze.topk(x @ gate, 2)
    shares = values.softmax(-1)
    outputs = braze.einsum("td,edf->tef", x, weights)
    chosen = braze.take_along_axis(outputs, places[:, :, None].broadcast_to(len(x), 2, outputs.shape[2]), 1)
    return (chosen * shares[:, :, None]).sum(1)


def test_routing_to_experts_makes_no_host_call():
    rng = np.random.default_rng(0)
    x, gate, weights = (rng.standard_normal(s).astype(np.float32) for s in ((12, 8), (8, 5), (5, 8, 6)))
    f = braze.compile(routed)
    got = f(*(braze.tensor(a, device=GPU) for a in (x, gate, weights))).cpu().numpy()
    assert not host_calls(f)
    scores = x.astype(np.float64) @ gate
    best = np.argsort(-scores, axis=1)[:, :2]
    share = np.exp(np.take_along_axis(scores, best, 1))
    share /= share.sum(1, keepdims=True)
    outputs = np.einsum("td,edf->tef", x.astype(np.float64), weights)
    want = (np.take_along_axis(outputs, best[:, :, None], 1) * share[:, :, None]).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape, axis", [((4, 100), 1), ((33, 5), 0), ((257,), 0), ((2, 3, 16), 1)])
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_sorting_is_stable(shape, axis, descending):
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)
    x[x == 3] = np.nan
    x[x == 0] *= -1
    f = braze.compile(lambda x: (braze.argsort(x, axis, descending), braze.sort(x, axis, descending)))
    places, y = (v.cpu().numpy() for v in f(braze.tensor(x, device=GPU)))
    assert not host_calls(f)
    want = braze.argsort(braze.tensor(x), axis, descending).numpy()
    assert (places == want).all()
    assert y.tobytes() == np.take_along_axis(x, want, axis).tobytes()


def test_gradients_go_back_through_kernels():
    x = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    f = braze.compile(braze.grad(lambda x: (braze.topk(x, 3)[0] ** 2).sum()))
    got = f(braze.tensor(x, device=GPU)).cpu().numpy()
    assert not host_calls(f)
    smallest = np.sort(x, 1)[:, -3:].min(1, keepdims=True)
    np.testing.assert_allclose(got, np.where(x >= smallest, 2 * x, 0), rtol=1e-6)


def test_medians_and_quantiles():
    x = np.random.default_rng(1).standard_normal((5, 30)).astype(np.float32)
    f = braze.compile(lambda x: (braze.median(x), braze.quantile(x, 0.8), braze.quantile(x, 1.0)))
    got = [v.cpu().numpy() for v in f(braze.tensor(x, device=GPU))]
    assert not host_calls(f)
    for a, q in zip(got, (0.5, 0.8, 1.0)):
        np.testing.assert_allclose(a, np.quantile(x, q, -1), rtol=1e-5, atol=1e-6)


def test_the_likeliest_of_a_long_row_are_found_in_turns():
    x = np.random.default_rng(4).standard_normal((3, 6000)).astype(np.float32)
    x[:, ::7] = x[:, :1]
    f = braze.compile(lambda x: (braze.topk(x, 40), braze.topk(x, 3, largest=False)[1]))
    (values, places), smallest = f(braze.tensor(x, device=GPU))
    assert not host_calls(f)
    want = np.argsort(-x, 1, kind="stable")[:, :40]
    assert (places.cpu().numpy() == want).all() and (values.cpu().numpy() == np.take_along_axis(x, want, 1)).all()
    assert (smallest.cpu().numpy() == np.argsort(x, 1, kind="stable")[:, :3]).all()


@pytest.mark.parametrize("d", [np.float64, np.int64, np.uint64, np.float32], ids=["f64", "i64", "u64", "long"])
def test_keys_of_64_bits_and_long_rows_are_sorted_by_several_kernels(d):
    x = np.random.default_rng(1).standard_normal((2, 5000 if d is np.float32 else 30)) * 100
    x = np.abs(x).astype(d) if d is np.uint64 else x.astype(d)
    f = braze.compile(lambda x: (braze.argsort(x, 1), braze.sort(x, 1, True) + x))
    places, y = (v.cpu().numpy() for v in f(braze.tensor(x, device=GPU)))
    assert not host_calls(f)
    assert (places == np.argsort(x, 1, kind="stable")).all()
    assert (y == np.sort(x, 1)[:, ::-1] + x).all()


def test_many_places_of_rows_of_unknown_length_go_by_the_host():
    x = np.random.default_rng(1).standard_normal((2, 300)).astype(np.float32)
    f = braze.compile(lambda x: braze.argsort(x, 1), dynamic=True)
    assert (f(braze.tensor(x, device=GPU)).cpu().numpy() == np.argsort(x, 1, kind="stable")).all()
    assert len(host_calls(f)) == 1
