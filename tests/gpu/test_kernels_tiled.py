"""All kernels of the zoo, planned for a GPU and run by Triton's interpreter, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_zoo import CASES, ZOO, assert_close, inputs, reference
from zoo_tools import outputs, special_inputs

from .kernel_runner import run

CASE_IDS = ["-".join([name, *(str(n) for n in sizes.values())]) for name, sizes in CASES]


@pytest.mark.parametrize("name, sizes", CASES, ids=CASE_IDS)
def test_zoo(name, sizes):
    kernel = ZOO[name]
    arrays = inputs(kernel, np.random.default_rng(0), sizes)
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes)
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)
