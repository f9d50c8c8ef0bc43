"""Differential fuzzing: random graphs through the whole pipeline, each back end against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.types import float64
from braze.tracer.pipeline import lower
from hypothesis import HealthCheck, given, settings
from random_graphs import random_graph

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
CHECKS = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def agree(graph, arrays, backend: str, tolerance: float) -> None:
    """Compiled results equal the reference interpreter's, relative to the largest element."""
    expected = graph.eval(*arrays)
    found = lower(graph, backend, {}, {}).executable([np.asarray(a) for a in arrays])
    for a, b in zip(expected, found):
        assert a.shape == b.shape and a.dtype == b.dtype, str(graph)
        if a.dtype.kind == "f":
            scale = max(1.0, float(np.abs(a).max()) if a.size else 0.0)
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * scale, err_msg=str(graph))
        else:
            np.testing.assert_array_equal(a, b, err_msg=str(graph))


@settings(max_examples=60, **CHECKS)
@given(random_graph())
def test_llvm_agrees(drawn):
    agree(*drawn, "llvm", 2e-4)


@settings(max_examples=25, **CHECKS)
@given(random_graph(dtypes=(float64,)))
def test_llvm_agrees_in_double(drawn):
    agree(*drawn, "llvm", 1e-11)


@settings(max_examples=40, **CHECKS)
@given(random_graph())
def test_numpy_agrees(drawn):
    agree(*drawn, "numpy", 2e-4)


@pytest.mark.slow
@settings(max_examples=3000, **CHECKS)
@given(random_graph(nodes=30))
def test_llvm_agrees_on_many(drawn):
    agree(*drawn, "llvm", 2e-4)
