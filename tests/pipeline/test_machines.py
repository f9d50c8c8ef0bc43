"""Programs compiled for machines with other numbers of threads: other chunks, other tiles, the same bits."""

from dataclasses import replace

import braze
import numpy as np
import pytest
from braze.runtime import machine

F = braze.nn.functional
RANDOM = np.random.default_rng(11)


def block(x, w, b):
    hidden = F.gelu(F.layer_norm(x, (96,)) @ w + b)
    return F.softmax(hidden, -1), hidden.sum(0), (x.T @ hidden).mean()


def train(x, w, b):
    w = w.detach().requires_grad_()
    loss = F.cross_entropy((x @ w + b).tanh(), braze.arange(300) % 96)
    loss.backward()
    return loss, w.grad


def attend(x, w, b):
    q, k, v = ((x @ w + n).reshape(300, 6, 16).permute(1, 0, 2) for n in (0.0, 0.5, 1.0))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True), b.cumsum(0)


def convolve(x, w, b):
    images = x.reshape(1, 24, 30, 40)
    return F.conv2d(images, w[:72].reshape(32, 24, 3, 3), padding=1).relu().mean((2, 3)), x.max(), b.var()


@pytest.mark.parametrize("program", [block, train, attend, convolve], ids=lambda f: f.__name__)
def test_the_number_of_threads_that_a_program_is_compiled_for_changes_no_bit(program, monkeypatch):
    given = [braze.tensor(RANDOM.standard_normal(shape).astype(np.float32)) for shape in ((300, 96), (96, 96), (96,))]
    host, seen, programs = machine.host(), set(), set()
    for threads in (1, 2, 3, 8, 64):
        monkeypatch.setattr(machine, "host", lambda threads=threads: replace(host, threads=threads))
        compiled = braze.compile(lambda *args: program(*args))
        results = compiled(*given)
        programs.add(str(compiled.ir("fused")))
        seen.add(b"".join(np.asarray(t).tobytes() for t in results))
    assert len(programs) > 1, "nothing is done otherwise: the test says nothing"
    assert len(seen) == 1
    for got, wanted in zip(results, program(*given)):
        np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=2e-4, atol=2e-5)
