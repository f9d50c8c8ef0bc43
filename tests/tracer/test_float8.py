"""8-bit floats: cast exactly and rounded once, bit by bit, eagerly and by each back end; moved, compared, printed,
saved; refused where something is computed.
"""

from __future__ import annotations

import copy
import pickle

import braze
import ml_dtypes
import numpy as np
import pytest
from braze.ir.errors import DTypeError
from braze.ir.types import FLOATS, dtype, holds
from exact_rounding import rounded

FORMATS = ["float8_e4m3fn", "float8_e5m2"]
RUN = {"eager": lambda f: f, "compiled": braze.compile, "numpy": lambda f: braze.compile(f, backend="numpy")}


def every(name):
    """All 256 bit patterns."""
    return np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name))


def awkward(name) -> np.ndarray:
    """Numbers of the format, those halfway between neighbours and just beside these, and a sample of all float32."""
    exact = np.unique(every(name).astype(np.float64))
    exact = exact[np.isfinite(exact)]
    middle = (exact[1:] + exact[:-1]) / 2
    beside = [middle * (1 + sign * 2.0**-n) for n in (20, 23, 40) for sign in (1, -1)]
    largest = exact[-1] * np.array([1, 1.03, 1.0357142, 1.0357143, 1.04, 1.07, 1.125, 1.2, 2, 1e30])
    special = [0.0, np.inf, np.nan, 1e-40, 2.0**-10, 2.0**-10 * 1.001, 2.0**-17, 2.0**-17 * 1.001]
    sample = np.arange(0, 2**32, 104_729, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        return np.concatenate([exact, middle, *beside, largest, -largest, special, np.negative(special), sample])


def assert_same(got, want):
    """Equal bits, NaN apart."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    with np.errstate(all="ignore"):
        wide = want.astype(np.float64)
        np.testing.assert_array_equal(got.astype(np.float64), wide)
    known = ~np.isnan(wide)
    np.testing.assert_array_equal(np.signbit(got.astype(np.float64))[known], np.signbit(wide)[known])


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("to", ["float16", "bfloat16", "float32", "float64", *FORMATS])
@pytest.mark.parametrize("name", FORMATS)
def test_every_bit_pattern_widens_as_ml_dtypes_does(name, to, how):
    d = getattr(braze, to)
    with np.errstate(all="ignore"):
        want = every(name).astype(d.numpy)
    assert_same(RUN[how](lambda x: x.astype(d))(braze.tensor(every(name))), want)


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("given", [d.long_name for d in FLOATS])
@pytest.mark.parametrize("name", FORMATS)
def test_floats_are_rounded_to_nearest_even(name, given, how):
    d = getattr(braze, name)
    with np.errstate(all="ignore"):
        x = awkward(name).astype(dtype(given).numpy)
        want = rounded(x.astype(np.float64), d)
    assert_same(RUN[how](lambda x: x.astype(d))(braze.tensor(x)), want)


@pytest.mark.parametrize("name, last, first, beyond", [("float8_e4m3fn", 464.0, 464.0001, np.nan),
                                                       ("float8_e5m2", 61439.99, 61440.0, np.inf)])
def test_nothing_saturates(name, last, first, beyond):
    x = braze.tensor([last, first, -first]).to(getattr(braze, name))
    np.testing.assert_array_equal(np.asarray(x.float32()), [float(ml_dtypes.finfo(name).max), beyond, -beyond])


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("name", FORMATS)
def test_integers_and_bools(name, how):
    d = getattr(braze, name)
    numbers = np.array([0, 1, -1, 9, 15, 17, 100, 465, -500, 2**20, -2**40])
    assert_same(RUN[how](lambda x: x.astype(d))(braze.tensor(numbers)), numbers.astype(d.numpy))
    wide = every(name).astype(np.float64)
    back = RUN[how](lambda x: (x.astype("int16"), x.astype("uint8"), x.astype("bool")))(braze.tensor(every(name)))
    for got, (low, high) in zip(back, ((-2**15, 2**15 - 1), (0, 255))):
        np.testing.assert_array_equal(np.asarray(got), np.trunc(np.clip(np.nan_to_num(wide), low, high)))
    np.testing.assert_array_equal(np.asarray(back[2]), wide != 0)


MOVES = {
    "views": lambda x: x.reshape(16, 16).T[2:9, ::3],
    "pad": lambda x: braze.pad(x, ((3, 2),), value=1.5),
    "concat": lambda x: braze.concat([x[200:], x[:5]]),
    "where": lambda x: braze.where(x < 1.0, x, braze.flip(x, 0)),
    "constant": lambda x: braze.where(braze.isnan(x), 2.25, x),
    "gather": lambda x: x[braze.tensor([3, 250, 3])],
    "broadcast": lambda x: braze.broadcast_to(x[:, None], (256, 3)),
}


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", FORMATS)
def test_what_moves_numbers_keeps_bits(name, move, how):
    """Against the same on float32, which holds them all."""
    x = braze.tensor(every(name))
    wide = MOVES[move](x.float32())
    with np.errstate(all="ignore"):
        assert_same(RUN[how](MOVES[move])(x), np.asarray(wide).astype(x.numpy().dtype))


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("test", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
@pytest.mark.parametrize("name", FORMATS)
def test_comparisons(name, test, how):
    x = every(name)
    f, want = RUN[how](lambda x, y: getattr(braze, test)(x, y)), getattr(np, test)
    wide = x.astype(np.float64)
    np.testing.assert_array_equal(np.asarray(f(braze.tensor(x[:, None].copy()), braze.tensor(x))),
                                  want(wide[:, None], wide))


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("test", ["isnan", "isinf", "isfinite"])
@pytest.mark.parametrize("name", FORMATS)
def test_tests(name, test, how):
    got = RUN[how](lambda x: getattr(braze, test)(x))(braze.tensor(every(name)))
    np.testing.assert_array_equal(np.asarray(got), getattr(np, test)(every(name).astype(np.float64)))


COMPUTING = {"add": lambda x: x + x, "scale": lambda x: x * 2.0, "negative": lambda x: -x, "exp": braze.exp,
             "sum": lambda x: x.sum(), "mean": lambda x: x.mean(0), "cumsum": lambda x: x.cumsum(0),
             "largest": lambda x: x.max(), "sort": lambda x: x.sort(), "product": lambda x: x @ x}


@pytest.mark.parametrize("how", ["eager", "compiled"])
@pytest.mark.parametrize("name", COMPUTING)
def test_computing_is_refused(name, how):
    with pytest.raises(DTypeError, match=r"does not compute with float8_e5m2, .*x\.astype\(braze\.float32\)"):
        RUN[how](COMPUTING[name])(braze.ones(2, 2, dtype=braze.float8_e5m2))


@pytest.mark.parametrize("other", [d for d in ("float32", "bfloat16", "int64", "bool", "float8_e4m3fn")])
def test_nothing_is_promoted(other):
    x, y = braze.ones(2, dtype=braze.float8_e5m2), braze.ones(2, dtype=other)
    for f in (lambda: x + y, lambda: y < x, lambda: braze.concat([x, y])):
        with pytest.raises(DTypeError, match="float8_e5m2.*no common dtype|no common dtype.*float8_e5m2"):
            f()


def test_which_dtypes_hold_them():
    four, five = braze.float8_e4m3fn, braze.float8_e5m2
    for wide in FLOATS:
        assert holds(wide, four) and holds(wide, five) and not holds(four, wide) and not holds(five, wide)
    assert not holds(four, five) and not holds(five, four) and not holds(five, braze.int8)


@pytest.mark.parametrize("name", FORMATS)
def test_made_printed_saved_and_assigned(name):
    d = getattr(braze, name)
    x = braze.tensor([0.1, 2.0, -3.0], dtype=d)
    assert x.dtype is d and x.itemsize == 1 and braze.zeros(2, dtype=name).tolist() == [0, 0]
    assert f"dtype={name}" in repr(x) and "2" in repr(x) and x[1].item() == 2.0
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), x.clone(), braze.empty_like(x)):
        assert y.dtype is d
    x[1:] = 5.0
    x[0] = braze.tensor(1.0)
    assert x.tolist() == [1, 5, 5] and braze.full((2,), 0.3, dtype=d).tolist() == [float(d.numpy.type(0.3))] * 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_module_keeps_them(name):
    layer = braze.nn.Linear(4, 3)
    layer.register_buffer("quantised", layer.weight.detach().to(name))
    state = layer.state_dict()
    other = braze.nn.Linear(4, 3)
    other.register_buffer("quantised", braze.zeros(3, 4, dtype=name))
    other.load_state_dict(state)
    assert_same(other.quantised, layer.weight.detach().to(name))


@pytest.mark.parametrize("how", ["eager", "compiled"])
@pytest.mark.parametrize("name", FORMATS)
def test_gradients_that_pass_are_rounded_too(name, how):
    """The cotangent of an 8-bit float is one, as in PyTorch."""
    d = getattr(braze, name)
    x, by = braze.tensor([0.3, -2.0, 1.7]), braze.tensor([0.11, 3.3, -7.77])

    def towards(x, by):
        x = x.detach().requires_grad_()
        (x.to(d).float32() * by).sum().backward()
        return x.grad

    assert_same(RUN[how](towards)(x, by), by.numpy().astype(d.numpy).astype(np.float32))


def test_autocast_widens_the_operands_of_products():
    x, w = (braze.randn(8, 8).to(braze.float8_e4m3fn) for _ in range(2))
    with braze.autocast(braze.bfloat16):
        y = x @ w
    assert y.dtype is braze.bfloat16
    exact = x.numpy().astype(np.float64) @ w.numpy().astype(np.float64)
    np.testing.assert_allclose(y.numpy().astype(np.float64), exact, rtol=1e-2, atol=1e-2)
