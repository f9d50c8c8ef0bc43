"""Kernels that sort rows in a tile, planned for a GPU and run by Triton's interpreter, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir import kernel_eval
from braze.passes import gpu_merge, gpu_sorted
from braze.passes.gpu_schedule import plan
from kernel_zoo import MAYBE_NONE, M, N, assert_close, inputs, sizes_of, special_inputs
from sorted_kernels import SORTED, WIDE, in_order, largest, largest_places, order
from zoo_tools import outputs

from .device_runner import target
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

# rows that are merged of sorted runs, under runs of 16
LONG = {
    "of three runs": in_order(2, 41), "a run and one more": order(1, 33, "f32", "descending"),
    "whole runs": order(2, 64, "i16"), "columns": order(45, 3, over="i"),
    "of an unknown number": order(M, 50, "bf16"), "of 64 bits": in_order(2, 61, "f64"),
    "of words of many equal halves": order(1, 70, "u64", "descending"),
    "many of the largest": largest(2, 90, 7), "the largest of 64 bits": largest_places(1, 100, 5, "i64"),
    "far places": largest(2, 45, 9, 20), "of more runs": order(2, 200, "f32"),
}  # fmt: skip


def check(kernel, make):
    for sizes in sizes_of(kernel):
        arrays = make(kernel, np.random.default_rng(0), sizes)
        with np.errstate(all="ignore"):
            want = kernel_eval.evaluate(kernel, arrays, sizes)
        assert_close(kernel, run(kernel, arrays, outputs(kernel, arrays, sizes), sizes), want, sizes)


@pytest.mark.parametrize("kernel", [*SORTED.values(), *WIDE.values()], ids=[*SORTED, *(f"wide_{n}" for n in WIDE)])
def test_sorting(kernel):
    check(kernel, inputs)
    check(kernel, special_inputs)


@pytest.mark.parametrize("name", LONG)
def test_runs_are_merged(name, monkeypatch):
    monkeypatch.setattr(gpu_merge, "RUN", 16)
    monkeypatch.setattr(gpu_sorted, "MOST_SORTED", 32)
    monkeypatch.setattr(gpu_sorted, "MOST_KEPT", 4)
    assert any(k.name.endswith("_merged") for k, _ in plan(LONG[name], target()))
    check(LONG[name], inputs)
    check(LONG[name], special_inputs)


def test_runs_as_long_as_they_are_are_merged():
    check(in_order(1, 4100, "i64"), special_inputs)


@pytest.mark.parametrize("name", LARGE)
def test_large(name):
    check(LARGE[name], special_inputs)
