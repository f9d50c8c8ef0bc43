"""All kernels of the zoo, planned for a GPU and run by Triton's interpreter, against the definition."""

from __future__ import annotations

import kernel_zoo as zoo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_zoo import CASES, ZOO, assert_close, inputs, reference, sizes_of
from random_kernels import random_kernels
from zoo_tools import outputs, special_inputs

from .kernel_runner import run

CASE_IDS = ["-".join([name, *(str(n) for n in sizes.values())]) for name, sizes in CASES]


@pytest.mark.parametrize("name, sizes", CASES, ids=CASE_IDS)
def test_zoo(name, sizes):
    kernel = ZOO[name]
    arrays = inputs(kernel, np.random.default_rng(0), sizes)
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes)
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


@pytest.mark.slow
@pytest.mark.parametrize("name, sizes", CASES, ids=CASE_IDS)
def test_zoo_on_special_numbers(name, sizes):
    kernel = ZOO[name]
    arrays = special_inputs(kernel, np.random.default_rng(0), sizes)
    with np.errstate(all="ignore"):
        got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes)
        assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


def check_random(kernel, seed: int) -> None:
    for sizes in sizes_of(kernel):
        arrays = inputs(kernel, np.random.default_rng(seed), sizes)
        got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes)
        assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_kernels(), st.integers(0, 9))
def test_random_kernels(kernel, seed):
    check_random(kernel, seed)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_kernels(), st.integers(0, 9))
def test_many_random_kernels(kernel, seed):
    check_random(kernel, seed)


# sizes at which other schedules are chosen than for the small kernels of the zoo
LARGE = {
    "places in long rows": zoo.argmax(2, 70_001),
    "a tail behind whole tiles": zoo.pointwise_chain((1 << 16) + 5),
    "rows in turns": zoo.softmax(2, 20_000),
    "taken apart": zoo.softmax(1, (1 << 16) + 100),
    "a long sum": zoo.sum_long(1 << 17),
    "columns": zoo.variance_over_rows(300, 70),
    "both axes": zoo.rms_norm_gradient(600, 64),
    "a transpose": zoo.transpose(70, 100),
    "a scatter that looks ahead": zoo.embedding_gradient(2500, 40, 6),
    "a scan in pieces": zoo.cumsum_backwards(20_000),
    "scans in pieces of unequal length": zoo.running(2, 33_013),
}


@pytest.mark.parametrize("name", LARGE)
def test_large(name):
    kernel = LARGE[name]
    arrays = inputs(kernel, np.random.default_rng(0))
    assert_close(kernel, run(kernel, arrays, outputs(kernel, arrays), {}), reference(kernel, arrays))


def test_scans_of_rows_of_unknown_length_run_in_turns():
    kernel, sizes = zoo.running(zoo.M, zoo.N), {"M": 2, "N": 2500}
    arrays = inputs(kernel, np.random.default_rng(0), sizes)
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes)
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)
