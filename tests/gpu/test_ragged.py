"""Ragged products on the device: one contraction, whose right operands are chosen by an index that is made there."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.gpu_contraction import GpuContraction
from braze.ir.program import HostCall, Launch, walk

GPU = "cuda:0"


@pytest.mark.parametrize("d", [braze.float32, braze.bfloat16], ids=["f32", "bf16"])
def test_a_ragged_product_is_one_contraction_and_no_host_call(d):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((60, 20)).astype(np.float32), rng.standard_normal((3, 20, 24)).astype(np.float32)
    x, w = braze.tensor(x).astype(d), braze.tensor(w).astype(d)
    sizes = np.array([25, 0, 30])
    f = braze.compile(lambda x, w, s: braze.relu(braze.ragged_dot(x, w, s)))
    got = f(x.to(GPU), w.to(GPU), braze.tensor(sizes, device=GPU)).cpu().float().numpy()
    want, at = np.zeros((60, 24)), 0
    for q, size in enumerate(sizes):
        want[at:at + size] = x.double().numpy()[at:at + size] @ w.double().numpy()[q]
        at += size
    bound = 1e-5 if d is braze.float32 else 2**-6
    np.testing.assert_allclose(got, np.maximum(want, 0), rtol=bound, atol=bound)
    steps = list(walk(f.ir("fused").steps))
    assert not any(isinstance(s, HostCall) for s in steps)
    assert sum(isinstance(s, Launch) and isinstance(s.schedule, GpuContraction) for s in steps) == 1


def test_gradients_on_the_device():
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 6), (2, 6, 5)))
    s = [30, 8]
    f = braze.grad(lambda x, w, s: (braze.ragged_dot(x, w, s) ** 2).sum(), (0, 1))
    here = f(braze.tensor(x), braze.tensor(w), braze.tensor(s))
    g = braze.compile(f)
    there = g(*(braze.tensor(a, device=GPU) for a in (x, w, s)))
    assert not any(isinstance(step, HostCall) for step in walk(g.ir("fused").steps))
    for a, b in zip(here, there):
        np.testing.assert_allclose(b.cpu().numpy(), a.numpy(), rtol=1e-5, atol=1e-5)
