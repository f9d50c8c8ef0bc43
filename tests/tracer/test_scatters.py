"""What is written at computed places, running maxima, counts: against NumPy, eagerly and compiled, and the gradients
against finite differences.
"""

import braze
import numpy as np
import pytest
from braze.ir.errors import IndexingError, ShapeError, TraceError
from scipy.special import logsumexp

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((4, 5, 3))
SOURCE = RANDOM.standard_normal((3, 6, 3))


def index(*shape, size):
    return RANDOM.integers(-size, size, shape)


def written(x, axis, places, source, combine):
    """Element after element, as PyTorch's documentation says it."""
    out = x.copy()
    for at in np.ndindex(places.shape):
        spot = list(at)
        spot[axis] = places[at]
        out[tuple(spot)] = combine(out[tuple(spot)], source[at])
    return out


ROWS, COLUMNS, DISTINCT = index(3, 5, 3, size=4), index(3, 6, 2, size=5), np.argsort(X, 1)[:3, :4]
VECTOR = index(6, size=5)
PART = RANDOM.standard_normal((4, 6, 3))

CASES = {
    "scatter_add rows": (lambda x, s: braze.scatter_add(x, 0, ROWS, s),
                         lambda x, s: written(x, 0, ROWS, s, np.add), SOURCE),
    "scatter_add columns": (lambda x, s: x.scatter_add(-2, braze.tensor(COLUMNS), s),
                            lambda x, s: written(x, 1, COLUMNS, s, np.add), SOURCE),
    "scatter": (lambda x, s: x.scatter(1, braze.tensor(DISTINCT), s),
                lambda x, s: written(x, 1, DISTINCT, s, lambda old, new: new), SOURCE),
    "scatter a number": (lambda x, s: x.scatter(1, braze.tensor(DISTINCT), 2.5) * s,
                         lambda x, s: written(x, 1, DISTINCT, np.full(DISTINCT.shape, 2.5), lambda old, new: new) * s,
                         X[::-1].copy()),
    "index_add": (lambda x, s: x.index_add(1, braze.tensor(VECTOR), s, alpha=0.5),
                  lambda x, s: written(x, 1, np.broadcast_to(VECTOR[:, None], PART.shape), 0.5 * s, np.add), PART),
    "put_along_axis": (lambda x, s: braze.put_along_axis(x, braze.tensor(DISTINCT), s[:3, :4], axis=1),
                       lambda x, s: written(x, 1, DISTINCT, s, lambda old, new: new), SOURCE),
    "cummax": (lambda x, s: braze.cummax(x, 1) * s, lambda x, s: np.maximum.accumulate(x, 1) * s, X[::-1].copy()),
    "cummin": (lambda x, s: x.cummin(dim=-1) * s, lambda x, s: np.minimum.accumulate(x, 2) * s, X[::-1].copy()),
    "logcumsumexp": (lambda x, s: x.logcumsumexp(0) * s,
                     lambda x, s: np.stack([logsumexp(x[:n + 1], axis=0) for n in range(4)]) * s, X[::-1].copy()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_against_numpy(name, wrap):
    ours, numpys, source = CASES[name]
    got = wrap(ours)(braze.tensor(X), braze.tensor(source))
    np.testing.assert_allclose(np.asarray(got), numpys(X, source), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_gradients(name, wrap):
    ours, numpys, source = CASES[name]
    weights = RANDOM.standard_normal(X.shape)
    x, s = braze.tensor(X, requires_grad=True), braze.tensor(source, requires_grad=True)
    wrap(lambda x, s: (ours(x, s) * braze.tensor(weights)).sum())(x, s).backward()
    step = 1e-6
    for t, of in ((x, X), (s, source)):
        for at in list(np.ndindex(of.shape))[::7]:
            values = []
            for sign in (1, -1):
                moved = of.copy()
                moved[at] += sign * step
                values.append((numpys(*((moved, source) if t is x else (X, moved))) * weights).sum())
            wanted = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(np.asarray(t.grad)[at], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    edges, x = np.array([1.0, 2.0, 2.0, 5.0]), np.array([[0.0, 1.0, 2.0], [3.0, 5.0, 9.0]])
    for f in (braze.searchsorted, braze.compile(lambda e, x: braze.searchsorted(e, x, side))):
        got = f(braze.tensor(edges), braze.tensor(x), *([side] if f is braze.searchsorted else []))
        np.testing.assert_array_equal(np.asarray(got), np.searchsorted(edges, x, side))


def test_the_last_one_wins():
    places, source = np.array([1, 1, 0]), np.array([1.0, 2.0, 3.0])
    for f in (braze.scatter, braze.compile(braze.scatter)):
        got = f(braze.zeros(3, dtype="float64"), 0, braze.tensor(places), braze.tensor(source))
        np.testing.assert_array_equal(np.asarray(got), [3.0, 2.0, 0.0])


def test_bincount():
    x = np.array([3, 0, 3, 1])
    np.testing.assert_array_equal(np.asarray(braze.bincount(braze.tensor(x))), np.bincount(x))
    for n in (0, 3, 7):
        np.testing.assert_array_equal(np.asarray(braze.tensor(x).bincount(minlength=n)), np.bincount(x, minlength=n))
    np.testing.assert_array_equal(np.asarray(braze.bincount(braze.tensor(x[:0]), minlength=2)), [0, 0])
    weights = np.array([0.5, 1.0, 2.0, 4.0])
    got = braze.bincount(braze.tensor(x), weights=braze.tensor(weights), minlength=6)
    np.testing.assert_array_equal(np.asarray(got), np.bincount(x, weights, 6))
    np.testing.assert_array_equal(np.asarray(braze.compile(lambda x: braze.bincount(x, 5))(braze.tensor(x))),
                                  np.bincount(x, minlength=5))
    with pytest.raises(TraceError, match="give the size"):
        braze.compile(lambda x: braze.bincount(x, minlength=5))(braze.tensor(x))


@pytest.mark.parametrize("call, error, words", [
    (lambda x: x.scatter_add(0, braze.tensor(np.zeros((5, 5, 3), int)), braze.tensor(SOURCE)), ShapeError, "nowhere"),
    (lambda x: x.scatter_add(0, braze.tensor([0, 1]), braze.ones(2)), ShapeError, "nowhere"),
    (lambda x: x.index_add(1, braze.tensor([0, 1]), braze.ones(4, 3, 3)), ShapeError, "the index is a vector"),
    (lambda x: x.scatter(0, braze.tensor([[[4]]]), 1.0), IndexingError, "outside"),
    (lambda x: braze.searchsorted(x[0, :, 0], x, side="middle"), ShapeError, "side"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(braze.tensor(X))


def test_what_is_overwritten_is_written_where_the_result_is():
    x, v = RANDOM.standard_normal((100, 64)), RANDOM.standard_normal((2, 64))

    def f(x, v):
        y = x * 2.0
        y[braze.tensor([3, 5])] = v
        y[braze.tensor([5, 7])] = v + 1.0
        return y

    compiled = braze.compile(f)
    got = np.asarray(compiled(braze.tensor(x), braze.tensor(v)))
    want = x * 2.0
    want[[3, 5]], want[[5, 7]] = v, v + 1.0
    np.testing.assert_array_equal(got, want)
    names = [k.name for k in compiled.ir("fused").kernels]
    assert "copy" not in names and names.count("scatter_set") == 2


def test_what_is_overwritten_and_read_later_is_copied():
    x, v = RANDOM.standard_normal((10, 4)), RANDOM.standard_normal((2, 4))

    def f(x, v, put):
        y = x * 2.0
        z = put(y, v)
        return z, y.sum(), y[::-1].T * 1.5

    rows = braze.tensor([[1] * 4] * 2)
    compiled = braze.compile(lambda x, v: f(x, v, lambda y, v: braze.put_along_axis(y, rows, v, 0)))
    z, total, back = (np.asarray(t) for t in compiled(braze.tensor(x), braze.tensor(v)))
    want = x * 2.0
    np.testing.assert_allclose(total, want.sum(), rtol=1e-12)
    np.testing.assert_array_equal(back, want[::-1].T * 1.5)
    want[1] = v[1]
    np.testing.assert_array_equal(z, want)


def test_a_clone_in_compiled_code_is_the_value_that_there_is():
    state = braze.zeros(3)

    @braze.compile
    def f(x):
        state.add_(x)
        return state.clone()

    for n in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(np.asarray(f(braze.ones(3))), n)
    assert np.signbit(np.asarray(braze.compile(lambda x: x.clone())(braze.tensor([-0.0])))[0])
    assert braze.compile(lambda x: x.clone())(braze.tensor([True])).dtype is braze.bool_


def test_what_is_overwritten_does_not_destroy_what_is_read_later():
    start, v = RANDOM.standard_normal((64, 8)), RANDOM.standard_normal((1, 8))
    state = braze.tensor(start)

    @braze.compile
    def f(v):
        old = state.clone()
        new = state * 2.0
        new[braze.tensor([3])] = v
        state.copy_(new)
        return old.flip(0).cumsum(0) * v, old.T @ new

    want = start
    for _ in range(3):
        old, want = want, want * 2.0
        want[3] = v
        first, second = f(braze.tensor(v))
        np.testing.assert_allclose(np.asarray(first), old[::-1].cumsum(0) * v, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(second), old.T @ want, rtol=1e-10)
        np.testing.assert_array_equal(np.asarray(state), want)
