"""Random numbers: the same bits eager and compiled, a stream that moves on, and the right statistics."""

import braze
import numpy as np
import pytest
from braze.tracer.random import Generator
from scipy import stats

DRAWS = {
    "rand": lambda g: braze.rand(1000, generator=g),
    "randn": lambda g: braze.randn(1000, generator=g),
    "rand float64": lambda g: braze.rand(100, dtype="float64", generator=g),
    "randn float64": lambda g: braze.randn(101, dtype="float64", generator=g),
    "randint": lambda g: braze.randint(3, 17, (500,), generator=g),
    "randperm": lambda g: braze.randperm(50, generator=g),
    "several": lambda g: (braze.rand(3, generator=g) + braze.rand(3, generator=g)) * braze.randn(3, generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_eager_and_compiled_draw_the_same(name):
    eager, compiled = Generator(7), Generator(7)
    f = braze.compile(lambda: DRAWS[name](compiled))
    tolerance = 1e-6 if "randn" in name or name == "several" else 0
    for _ in range(4):
        np.testing.assert_allclose(np.asarray(f()), np.asarray(DRAWS[name](eager)), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(np.asarray(eager.state), np.asarray(compiled.state))
    assert len(f.compilations) == 1


def test_each_call_draws_anew_and_a_seed_starts_again():
    f = braze.compile(lambda: braze.rand(5))
    braze.manual_seed(3)
    first, second = np.asarray(f()), np.asarray(f())
    eager_third = np.asarray(braze.rand(5))
    braze.manual_seed(3)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.asarray(braze.rand(5)))
    np.testing.assert_array_equal(second, np.asarray(braze.rand(5)))
    np.testing.assert_array_equal(eager_third, np.asarray(f()))


def test_draws_are_independent():
    g = Generator(1)
    a, b = (np.asarray(braze.randn(20000, generator=g)) for _ in range(2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03 and abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics(dtype):
    g = Generator(11)
    uniform, normal = (np.asarray(f(50000, dtype=dtype, generator=g)) for f in (braze.rand, braze.randn))
    assert uniform.min() >= 0 and uniform.max() < 1
    assert stats.kstest(uniform.astype("d"), "uniform").pvalue > 1e-4
    assert stats.kstest(normal.astype("d"), "norm").pvalue > 1e-4
    integers = np.asarray(braze.randint(0, 10, (50000,), generator=g))
    assert stats.chisquare(np.bincount(integers, minlength=10)).pvalue > 1e-4


def test_a_permutation_is_one():
    np.testing.assert_array_equal(np.sort(np.asarray(braze.randperm(100))), np.arange(100))


def test_the_state_is_not_moved_by_a_failed_trace_or_a_second_one():
    g = Generator(5)
    with pytest.raises(braze.errors.TraceError):
        braze.compile(lambda: float(braze.rand(1, generator=g)))()
    f = braze.compile(lambda: braze.rand(2, generator=g))
    f(), f(), f()
    np.testing.assert_array_equal(np.asarray(g.state), [5, 12])


def test_gradients_flow_through_what_is_scaled_by_noise():
    g, w = Generator(2), braze.ones(3, requires_grad=True)
    braze.compile(lambda: (w * braze.rand(3, generator=g)).sum().backward())()
    np.testing.assert_array_equal(np.asarray(w.grad), np.asarray(braze.rand(3, generator=Generator(2))))


def test_noise_has_the_shape_and_dtype_of_another():
    x = braze.zeros(2, 3, dtype="float64")
    assert braze.rand_like(x).dtype is braze.float64 and braze.randn_like(x).shape == (2, 3)
