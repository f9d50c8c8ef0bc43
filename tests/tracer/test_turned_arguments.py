"""Arguments that lie in memory in another order of dimensions: programs read them as they lie, without a copy."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.runtime.executable import Executable

RANDOM = np.random.default_rng(0)


def draw(*shape):
    return braze.tensor(RANDOM.standard_normal(shape).astype(np.float32))


@pytest.fixture
def given(monkeypatch):
    """The arrays that programs were called with."""
    found = []
    ready = Executable._ready
    monkeypatch.setattr(Executable, "_ready", lambda self, inputs, layout: [
        found.append((a, b)) or b for a, b in zip(inputs, ready(self, inputs, layout))])
    return found


def assert_no_copy(given):
    assert given and all(a is b and a.flags.c_contiguous for a, b in given)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_transposed_matrix_is_read_as_it_lies(given, backend):
    f = braze.compile(lambda x, y: (x * 2 + y).sum(0), backend=backend)
    x, y = draw(6, 40), draw(40, 6)
    for _ in range(3):
        np.testing.assert_allclose(np.asarray(f(x.T, y)), np.asarray(x).T.sum(0) * 2 + np.asarray(y).sum(0), rtol=1e-5)
    assert f.ir("graph").inputs[0].shape == (6, 40)
    assert_no_copy(given)


def test_images_channels_last(given):
    images, weight = draw(2, 9, 8, 16), draw(20, 16, 3, 3)
    f = braze.compile(lambda x, w: braze.nn.functional.conv2d(x, w, padding=1))
    found = f(images.permute_dims(0, 3, 1, 2), weight)
    plain = f(braze.tensor(np.asarray(images).transpose(0, 3, 1, 2).copy()), weight)
    np.testing.assert_allclose(np.asarray(found), np.asarray(plain), rtol=1e-4, atol=1e-5)
    assert_no_copy(given)
    assert len(f.compilations) == 2                      # another order is another program


def test_sizes_may_vary(given):
    f = braze.compile(lambda x: x.cumsum(1) + x.shape[0])
    for n in (3, 4, 5, 6):
        x = draw(7, n)
        np.testing.assert_allclose(np.asarray(f(x.T)), np.asarray(x).T.cumsum(1) + n, rtol=1e-5, atol=1e-5)
    assert_no_copy(given)
    assert len(f.compilations) == 2


def test_what_is_returned_or_changed_is_the_argument():
    def change(x):
        y = x + 1
        x *= 2
        return y, x

    given = np.asarray(draw(5, 3)).T
    x = braze.permute_dims(braze.tensor(given.T.copy()), (1, 0))
    y, z = braze.compile(change)(x)
    np.testing.assert_allclose(np.asarray(y), given + 1, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(z), given * 2, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(x), given * 2, rtol=1e-6)
    same = braze.compile(lambda x: x)
    np.testing.assert_allclose(np.asarray(same(x.T)), np.asarray(x).T)


def test_gradients_and_gaps_are_copied():
    base = draw(6, 4)
    x = base.T
    x.requires_grad = True
    loss = braze.compile(lambda x: (x * x).sum())
    loss(x).backward()
    np.testing.assert_allclose(np.asarray(x.grad), 2 * np.asarray(base).T, rtol=1e-6)
    every = draw(8, 6)[::2, ::3]
    np.testing.assert_allclose(np.asarray(braze.compile(lambda x: x.T + 1)(every)), np.asarray(every).T + 1)
