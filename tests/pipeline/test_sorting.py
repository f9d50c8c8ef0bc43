"""Programs that sort, compiled: no host calls, NumPy's stable order in all dtypes and along all axes, gradients."""

from __future__ import annotations

import math

import braze
import numpy as np
import pytest
from braze.ir.program import HostCall, Launch, walk
from braze.ir.types import DTYPES

REAL = [d for d in DTYPES if d.kind != "c" and not d.is_storage]


def launches(f) -> int:
    """How many kernels a compiled function runs; nothing else may be among its steps."""
    steps = list(walk(f.ir("fused").steps))
    assert not any(isinstance(s, HostCall) for s in steps), f.ir("fused")
    return sum(isinstance(s, Launch) for s in steps)


def array(shape, d=np.float32, seed=0):
    """Random numbers with equal ones, zeros of both signs, infinities and NaN among them."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal(shape) * 3, 1)
    special = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, 1.0])
    x = np.where(rng.random(shape) < 0.4, special[rng.integers(0, len(special), shape)], x)
    if np.dtype(d).kind in "iub":
        info = None if np.dtype(d).kind == "b" else np.iinfo(d)
        return rng.integers(0, 2, shape).astype(d) if info is None else np.where(
            rng.random(shape) < 0.5, rng.integers(0, 5, shape), rng.integers(info.min, info.max, shape, d,
                                                                             endpoint=True)).astype(d)
    return x.astype(d)


def stable(x, axis, descending=False):
    """The order by Python's sort of tuples, row by row; NaN is larger than all."""

    def one(row):
        sign = -1 if descending else 1
        keys = [(sign, 0) if v != v else (0, sign * v) for v in row.tolist()]
        return np.array(sorted(range(len(row)), key=keys.__getitem__), np.int64)

    wide = x.astype(np.float64) if x.dtype.kind not in "iub" else x.astype(object).astype(np.int64 if x.dtype.kind
                                                                                          in "ib" else np.uint64)
    if x.size == 0:
        return np.zeros(x.shape, np.int64)
    return np.apply_along_axis(one, axis, wide).astype(np.int64)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("d", REAL, ids=str)
def test_argsort_and_sort_are_stable(d, descending, backend):
    for shape, axis in (((5, 40), 1), ((30, 4), 0), ((300,), 0), ((2, 3, 7), 1), ((4, 1), 1), ((0, 3), 1), ((3, 0), 1)):
        both = braze.compile(lambda x, axis=axis: (braze.argsort(x, axis, descending), braze.sort(x, axis, descending)),
                             backend=backend)
        x = array(shape, d.numpy)
        places, y = (np.asarray(v.numpy()) for v in both(braze.tensor(x)))
        want = stable(x, axis, descending)
        assert (places == want).all(), (shape, axis)
        assert y.tobytes() == np.take_along_axis(x, want, axis).tobytes(), (shape, axis)
        launches(both)
        eager = braze.argsort(braze.tensor(x), axis, descending).numpy()
        assert (np.asarray(eager) == want).all(), "what is compiled and what runs at once agree"


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_sizes_may_change(backend):
    f = braze.compile(lambda x: (braze.argsort(x), braze.sort(x, 0)), backend=backend)
    for n in (3, 4, 9, 100, 1, 1000):
        x = array((7, n), seed=n)
        a, b = f(braze.tensor(x))
        assert (a.numpy() == stable(x, 1)).all()
        assert b.numpy().tobytes() == np.take_along_axis(x, stable(x, 0), 0).tobytes()
    assert len(f.compilations) < 5


# what is written over sorting: the function, NumPy's, and how many kernels it is
ON_TOP = {
    "sort": (braze.sort, lambda x: np.sort(x), 1),
    "argsort": (braze.argsort, lambda x: np.argsort(x, kind="stable"), 1),
    "topk": (lambda x: braze.topk(x, 4)[0], lambda x: -np.sort(-x)[:, :4], 1),
    "places of the smallest": (lambda x: braze.topk(x, 4, largest=False)[1],
                               lambda x: np.argsort(x, kind="stable")[:, :4], 1),
    "median": (braze.median, lambda x: np.median(x, -1), 2),
    "median of columns": (lambda x: braze.median(x, 0), lambda x: np.median(x, 0), 2),
    "quantile": (lambda x: braze.quantile(x, 0.3), lambda x: np.quantile(x, 0.3, -1), 2),
    "gates of experts": (lambda x: braze.topk(x, 4)[0].softmax(-1), lambda x: softmax(-np.sort(-x)[:, :4]), 1),
    "ranks": (lambda x: braze.argsort(braze.argsort(x)), lambda x: np.argsort(np.argsort(x, kind="stable")), 2),
    "sums of sorted rows": (lambda x: braze.sort(x).sum(0), lambda x: np.sort(x).sum(0), 2),
    "of what is computed": (lambda x: braze.sort(x * 2 + 1), lambda x: np.sort(x * 2 + 1), 2),
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", ON_TOP)
def test_what_is_written_over_sorting(name):
    f, numpys, kernels = ON_TOP[name]
    for n in (24, 171):
        compiled = braze.compile(f)
        x = np.random.default_rng(n).standard_normal((6, n)).astype(np.float32)
        np.testing.assert_allclose(compiled(braze.tensor(x)).numpy(), numpys(x), rtol=2e-6, atol=1e-7)
        assert launches(compiled) <= kernels


def test_sampling_sorts_in_kernels():
    """The nucleus of a distribution: the likeliest of each row whose probabilities add up to p."""

    def nucleus(x):
        p = x.softmax(-1)
        order = braze.argsort(p, -1, descending=True)
        ranked = braze.take_along_axis(p, order, -1)
        return braze.where(ranked.cumsum(-1) - ranked < 0.9, ranked, 0.0), order

    f = braze.compile(nucleus)
    x = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    kept, order = (v.numpy() for v in f(braze.tensor(x)))
    launches(f)
    p = softmax(x.astype(np.float64))
    want = np.take_along_axis(p, order, 1)
    assert (np.diff(want) <= 1e-9).all()
    np.testing.assert_allclose(kept, np.where(np.cumsum(want, 1) - want < 0.9, want, 0), atol=1e-6)


@pytest.mark.parametrize("name", ["sort", "topk", "median", "quantile", "gates of experts"])
def test_gradients_go_where_elements_came_from(name):
    f = ON_TOP[name][0]
    x = np.random.default_rng(2).permutation(np.linspace(-2, 2, 60)).reshape(4, 15)
    weights = braze.tensor(np.random.default_rng(3).standard_normal(np.shape(f(braze.tensor(x)).numpy())))
    gradient = braze.compile(braze.grad(lambda x: (f(x) * weights).sum()))
    got = gradient(braze.tensor(x)).numpy()
    launches(gradient)
    for i in np.ndindex(x.shape):                    # elements are 0.068 apart: none passes another
        step = np.zeros_like(x)
        step[i] = 1e-4
        rise = [float((f(braze.tensor(x + s)) * weights).sum()) for s in (step, -step)]
        assert abs((rise[0] - rise[1]) / 2e-4 - got[i]) < 1e-6


def test_sorting_in_a_loop():
    def settle(x):
        return braze.fori_loop(0, 3, lambda i, x: braze.sort(x, 0) + braze.sort(x, 1), x)

    f = braze.compile(settle)
    x = np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)
    want = x
    for _ in range(3):
        want = np.sort(want, 0) + np.sort(want, 1)
    assert f(braze.tensor(x)).numpy().tobytes() == want.tobytes()
    launches(f)


def test_random_permutations_are_permutations():
    f = braze.compile(lambda: braze.randperm(1000))
    assert sorted(f().tolist()) == list(range(1000))
    launches(f)


def test_donated_rows_are_read_before_they_are_written():
    x = braze.tensor(array((40, 300)))
    before = x.numpy().copy()

    @braze.compile
    def in_place():
        x[...] = braze.sort(x, 1)

    in_place()
    assert x.numpy().tobytes() == np.take_along_axis(before, stable(before, 1), 1).tobytes()


def test_threads_do_not_change_the_order():
    x = braze.tensor(array((500, 700)))
    f = braze.compile(lambda x: braze.argsort(x, 1))
    found = []
    for count in (1, 2, 3):
        braze.set_num_threads(count)
        found.append(f(x).numpy().tobytes())
    braze.set_num_threads(1)
    assert len(set(found)) == 1


def test_more_than_there_are():
    with pytest.raises(braze.errors.ShapeError, match="5 places from 0 are asked for, of 3"):
        braze.topk(braze.ones(3), 5)
