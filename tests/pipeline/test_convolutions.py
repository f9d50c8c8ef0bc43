"""Convolutions that are not plain (grouped, depthwise, few channels, strided, transposed) and their gradients, through
the whole pipeline: right against direct sums in float64, the same bits for any number of threads.
"""

from __future__ import annotations

import itertools

import braze
import numpy as np
import pytest
from braze.nn import functional as F

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def taps(x, size, spots, stride, dilation):
    """(position in the window, what lies below it for all positions of the window) of a padded image."""
    for at in itertools.product(*map(range, size)):
        first = [r * d for r, d in zip(at, dilation)]
        yield at, x[(..., *(slice(a, a + s * (p - 1) + 1, s) for a, s, p in zip(first, stride, spots)))]


def direct(x, w, g, stride, padding, dilation, groups):
    """A convolution and its gradients for the cotangent g (None: ones of its shape), by their definition in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    size = w.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    spots = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], size, stride, dilation)]
    y = np.zeros((x.shape[0], groups, w.shape[0] // groups, *spots))
    g = np.ones((x.shape[0], w.shape[0], *spots)) if g is None else g.astype(np.float64)
    parts, weights = padded.reshape(len(x), groups, -1, *padded.shape[2:]), w.reshape(groups, -1, *w.shape[1:])
    cotangent = g.reshape(y.shape)
    towards_x, towards_w = np.zeros(parts.shape), np.zeros(weights.shape)
    below = taps(parts, size, spots, stride, dilation), taps(towards_x, size, spots, stride, dilation)
    for (at, seen), (_, changed) in zip(*below):
        weight = weights[(slice(None), slice(None), slice(None), *at)]
        y += np.einsum("ngc...,goc->ngo...", seen, weight)
        towards_w[(..., *at)] = np.einsum("ngop,ngcp->goc", flat(cotangent), flat(seen))
        changed += np.einsum("ngo...,goc->ngc...", cotangent, weight)
    inside = (..., *(slice(p, p + n) for p, n in zip(padding, x.shape[2:])))
    gx = towards_x.reshape(padded.shape)[inside]
    return y.reshape(g.shape), gx, towards_w.reshape(w.shape)


def flat(x):
    return x.reshape(*x.shape[:3], -1)


def close(found, exact):
    found = np.asarray(found.detach()).astype(np.float64)
    assert found.shape == exact.shape
    assert np.abs(found - exact).max(initial=0) <= 3e-6 * max(1.0, np.abs(exact).max(initial=0))


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_right(x, w, stride, padding, dilation, groups, transposed=False):
    rank = len(stride)
    apply = (TRANSPOSED if transposed else CONVOLUTIONS)[rank - 1]
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    if transposed:
        extra = tuple(min(s, d) - 1 for s, d in zip(stride, dilation))
        options["output_padding"] = extra
        spots = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1
                 for n, s, p, d, k, e in zip(x.shape[2:], stride, padding, dilation, w.shape[2:], extra)]
        image = numbers(5, x.shape[0], groups * w.shape[1], *spots)
        # the transpose is the gradient towards the image; its own gradients are a convolution, and that towards w
        back, exact, gw = direct(image, w, x, stride, padding, dilation, groups)
        g, wanted = image, (exact, back, gw)
    else:
        g = numbers(5, *direct(x, w, None, stride, padding, dilation, groups)[0].shape)
        wanted = direct(x, w, g, stride, padding, dilation, groups)
    forward = braze.compile(lambda x, w: apply(x, w, **options))
    backward = braze.compile(braze.grad(lambda x, w, g: (apply(x, w, **options) * g).sum(), (0, 1)))
    tensors = [braze.tensor(a) for a in (x, w, g)]
    results = []
    for threads in (1, 2, 3):
        braze.set_num_threads(threads)
        results.append((forward(*tensors[:2]), *backward(*tensors)))
    for found, exact in zip(results[0], wanted):
        close(found, exact)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert np.asarray(a.detach()).tobytes() == np.asarray(b.detach()).tobytes()


@pytest.fixture(autouse=True)
def same_threads():
    threads = braze.get_num_threads()
    yield
    braze.set_num_threads(threads)


@pytest.mark.parametrize("batch,channels,outputs,size,window,groups", [
    (2, 6, 6, (9, 11), (3, 3), 6),
    (1, 24, 48, (7, 20), (7, 7), 24),
    (2, 64, 64, (6, 17), (3, 3), 2),
    (1, 32, 96, (5, 15), (3, 2), 2),
    (2, 16, 8, (9, 9), (3, 3), 4),
    (3, 1, 32, (12, 12), (3, 3), 1),
    (2, 32, 1, (12, 12), (5, 5), 1),
    (2, 3, 16, (10, 18), (3, 3), 1),
    (1, 40, 20, (33,), (3,), 2),
    (1, 34, 34, (4, 5, 15), (2, 3, 3), 2),
], ids=str)
@pytest.mark.parametrize("stride,padding", [(1, 1), (2, 1), (3, 0)])
def test_groups_and_few_channels(batch, channels, outputs, size, window, groups, stride, padding):
    rank = len(size)
    x, w = numbers(1, batch, channels, *size), numbers(2, outputs, channels // groups, *window)
    each = (stride,) * rank, (padding,) * rank, (1,) * rank
    if all(n + 2 * padding >= k for n, k in zip(size, window)):
        assert_right(x, w, *each, groups)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("transposed", [False, True], ids=("plain", "transposed"))
def test_random_convolutions(seed, transposed):
    random = np.random.default_rng(seed)
    rank = int(random.choice([1, 2, 2, 2, 3]))
    groups = int(random.choice([1, 1, 2, 4]))
    inputs, outputs = (groups * int(random.choice([1, 2, 3, 5, 8, 16, 18])) for _ in range(2))
    stride, dilation = (tuple(int(n) for n in random.integers(1, most, rank)) for most in (4, 3))
    window = tuple(int(n) for n in random.integers(1, 6, rank))
    padding = tuple(int(random.integers(0, d * (k - 1) + 1)) for k, d in zip(window, dilation))
    size = tuple(int(random.integers(d * (k - 1) + 1, d * (k - 1) + (20 if rank < 3 else 6)))
                 for k, d in zip(window, dilation))
    x = numbers(seed + 100, int(random.integers(1, 4)), inputs, *size)
    shape = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    assert_right(x, numbers(seed + 200, *shape, *window), stride, padding, dilation, groups, transposed)
