"""Sorting as native code: kernels with an argsort against the definition, rows of all lengths against Python's sort."""

from __future__ import annotations

import math

import numpy as np
import pytest
from braze.ir.schedule import Serial
from braze.ir.sorted_rows import SortedRows
from braze.passes.collapse import collapse
from braze.passes.schedule import schedule
from kernel_zoo import N, inputs, special_inputs
from sorted_kernels import REAL, SORTED, SYMBOLIC, in_order, largest_places, order

from .kernel_runner import Runner, host
from .test_llvm_rows import in_own_dtypes, run_like_definition

KERNELS = {**SORTED, **{f"symbolic_{name}": k for name, k in SYMBOLIC.items()}}
LENGTHS = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 24, 25, 100, 159, 160, 161, 255, 256, 257, 1000, 2499, 2500, 2501, 5000)


@pytest.mark.parametrize("name", KERNELS)
def test_sorted_rows_compute_what_is_defined(name):
    kernel = KERNELS[name]
    chosen = schedule(kernel, host())
    assert isinstance(chosen, SortedRows)
    run_like_definition(kernel, chosen, wanted=in_own_dtypes)
    run_like_definition(kernel, chosen, arrays_of=special_inputs, wanted=in_own_dtypes)


@pytest.mark.parametrize("name", KERNELS)
def test_serial_sorting_computes_what_is_defined(name):
    run_like_definition(KERNELS[name], Serial(), wanted=in_own_dtypes)


@pytest.mark.parametrize("name", [n for n, k in KERNELS.items() if len(collapse(k).axes) < len(k.axes)])
def test_collapsed_kernels_sort_the_same(name):
    kernel = collapse(KERNELS[name])
    run_like_definition(kernel, schedule(kernel, host()), wanted=in_own_dtypes)


def python_order(row: np.ndarray, direction: str) -> list[int]:
    """By Python's own stable sort; NaN is larger than all."""
    values = [float(x) if row.dtype.kind not in "iub" else int(x) for x in row]
    sign = 1 if direction == "ascending" else -1
    keys = [(sign, 0) if isinstance(x, float) and math.isnan(x) else (0, sign * x) for x in values]
    return sorted(range(len(row)), key=keys.__getitem__)


@pytest.mark.parametrize("direction", ["ascending", "descending"])
@pytest.mark.parametrize("d", REAL, ids=str)
def test_rows_of_all_lengths(d, direction):
    kernel = order(2, N, d, direction)
    runner = Runner(kernel, schedule(kernel, host()))
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        for make in (inputs, special_inputs):
            x = make(kernel, rng, {"N": n})["x"]
            got = runner({"x": x}, {"y": np.full((2, n), 77)}, {"N": n})["y"]
            assert got.tolist() == [python_order(row, direction) for row in x], (n, make.__name__)


@pytest.mark.parametrize("n", [40, 300, 3000])
def test_equal_elements_stay_in_order(n):
    kernel = in_order(3, n)
    x = np.random.default_rng(1).integers(-2, 2, (3, n)).astype(np.float32)
    x[1] = 0.0
    x[1, ::3] = -0.0
    x[2, ::2] = np.nan
    x[2, 1::4] = -np.float32(np.nan)
    got = Runner(kernel, schedule(kernel, host()))({"x": x}, {"y": np.zeros((3, n), np.float32),
                                                              "places": np.zeros((3, n), np.int64)})
    want = np.argsort(x, axis=1, kind="stable")
    assert (got["places"] == want).all()
    assert got["y"].tobytes() == np.take_along_axis(x, want, 1).tobytes(), "zeros keep their signs, NaNs their bits"


def test_digits_in_common_are_passed_over():
    """Keys that differ in one digit, each of them: runs of scratch are changed an odd or an even number of times."""
    kernel = order(1, 1000, "u32")
    runner = Runner(kernel, schedule(kernel, host()))
    rng = np.random.default_rng(0)
    for shift in (0, 8, 16, 24):
        for width in (0, 1, 8, 16, 24):
            x = (rng.integers(0, 1 << width, (1, 1000)) << shift).astype(np.uint32)
            got = runner({"x": x}, {"y": np.zeros((1, 1000), np.int64)})["y"]
            assert (got == np.argsort(x, axis=1, kind="stable")).all(), (shift, width)


@pytest.mark.parametrize("d", ["f32", "u8", "bf16", "f64", "i64"])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 50, 130])
def test_the_first_few_of_many(count, d):
    """They are picked one by one, chosen by their highest digit, or what comes first of all in order."""
    kernel = largest_places(2, N, count, d)
    runner = Runner(kernel, schedule(kernel, host()))
    rng = np.random.default_rng(0)
    for n in (130, 511, 512, 519, 520, 600, 3000, 20_000):
        for make in (inputs, special_inputs):
            x = make(kernel, rng, {"N": n})["x"]
            got = runner({"x": x}, {"y": np.full((2, count), 77)}, {"N": n})["y"]
            assert got.tolist() == [python_order(row, "descending")[:count] for row in x], (n, make.__name__)
