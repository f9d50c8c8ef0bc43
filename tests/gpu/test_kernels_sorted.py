"""Kernels that sort rows in a tile, planned for a GPU and run by Triton's interpreter, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir import kernel_eval
from kernel_zoo import MAYBE_NONE, M, N, assert_close, inputs, sizes_of, special_inputs
from sorted_kernels import SORTED, in_order, largest, largest_places, order
from zoo_tools import outputs

from .kernel_runner import run

# sizes at which other tiles are chosen than for the small kernels
LARGE = {
    "rows of many": in_order(3, 1024), "rows of no power": in_order(2, 700), "many rows": in_order(1000, 16),
    "few of many": largest(3, 1000, 8), "rows of unknown number": order(M, 40), "maybe no row": order(MAYBE_NONE, 12),
    "columns": order(100, 40, over="i"), "the first": largest(40, 100, 1), "down": order(5, 300, "f32", "descending"),
    "in turns": largest(2, 9000, 50), "one row in turns": largest(1, 5000, 3),
    "the first in turns": largest(3, 5000, 1),
    "in turns of unknown number": largest(3, N + 3, 4), "many in turns of unknown number": largest(M, N + 40, 20),
    "small numbers in turns": largest_places(2, 6000, 9, "i8"), "narrow ones": largest_places(2, 6000, 64, "bf16"),
}  # fmt: skip


def check(kernel, make):
    for sizes in sizes_of(kernel):
        arrays = make(kernel, np.random.default_rng(0), sizes)
        with np.errstate(all="ignore"):
            want = kernel_eval.evaluate(kernel, arrays, sizes)
        assert_close(kernel, run(kernel, arrays, outputs(kernel, arrays, sizes), sizes), want, sizes)


@pytest.mark.parametrize("name", SORTED)
def test_sorting(name):
    check(SORTED[name], inputs)
    check(SORTED[name], special_inputs)


@pytest.mark.parametrize("name", LARGE)
def test_large(name):
    check(LARGE[name], special_inputs)
