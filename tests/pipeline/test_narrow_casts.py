"""Casts of float64 to 16 and 8 bits round once, eagerly and on each back end, numbers in the source too."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir import scalar
from braze.ir.ops import F
from braze.ir.types import FLOAT8, float64
from braze.runtime import float8
from exact_rounding import FORMATS, NARROW, assert_same, hard_numbers, rounded

narrow = pytest.mark.parametrize("d", NARROW, ids=str)


def just_above_a_tie(d):
    """A number that two roundings make 1, and what one makes of it."""
    number = 1 + 2.0 ** (-1 - FORMATS[d][1]) + 2.0**-45
    return number, 1 + 2.0 ** -FORMATS[d][1]


@narrow
def test_the_reference_rounds_to_itself_and_to_float32s_neighbours(d):
    """Against `ml_dtypes` where it rounds once in all versions: from float32."""
    x = np.random.default_rng(1).integers(0, 1 << 32, 50_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        assert_same(rounded(x.astype(np.float64), d), x.astype(d.numpy), x)


@narrow
def test_the_definition(d):
    x = hard_numbers(d)
    assert_same(scalar.cast(x, d), rounded(x, d), x)


@narrow
@pytest.mark.parametrize("how", ["eager", "llvm", "numpy"])
def test_casts_of_tensors(d, how):
    def cast(t):
        return t.astype(d)

    run = cast if how == "eager" else braze.compile(cast, backend=how)
    x = hard_numbers(d)
    with np.errstate(all="ignore"):
        assert_same(np.asarray(run(braze.tensor(x)).astype(braze.float64)), rounded(x, d).astype(np.float64), x)


@narrow
def test_arrays_and_numbers_that_become_tensors(d):
    x = hard_numbers(d)
    wide, want = just_above_a_tie(d)
    assert_same(np.asarray(braze.tensor(x, dtype=d)).astype(np.float64), rounded(x, d).astype(np.float64), x)
    for made in (lambda: braze.tensor(wide, dtype=d), lambda: braze.full((), wide, dtype=d)):
        for back_end in (None, "llvm", "numpy"):
            run = made if back_end is None else braze.compile(made, backend=back_end)
            assert float(run().astype(braze.float64)) == want


@pytest.mark.parametrize("d", FLOAT8, ids=str)
def test_devices_without_kernels_for_8_bits(d):
    class Host:
        xp = np

        def from_host(self, array):
            return array

    x = hard_numbers(d)
    assert_same(float8.evaluate(Host(), F.cast, (x,), {"dtype": d}), rounded(x, d), x)


@narrow
def test_numbers_beside_tensors(d):
    number, want = just_above_a_tie(d)
    for back_end in ("llvm", "numpy"):
        f = braze.compile(lambda x: (x + (number - 1)).astype(d), backend=back_end)
        assert f(braze.tensor([1.0], dtype=float64)).astype(float64).tolist() == [want]
