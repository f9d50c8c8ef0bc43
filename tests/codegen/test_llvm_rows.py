"""Kernels under rows and serial schedules against the definition: every kernel of the zoo, odd sizes, bits that may not
differ.
"""

from __future__ import annotations

import kernel_zoo
import numpy as np
import pytest
from braze.ir import expr, kernel_eval
from braze.ir.kernel import Kernel
from braze.ir.scalar import CORE
from braze.ir.schedule import Rows, Schedule, Serial
from braze.passes.collapse import collapse
from braze.passes.schedule import rows
from hypothesis import HealthCheck, given, settings
from kernel_zoo import ZOO, assert_close, inputs, reference, sizes_of, special_inputs
from random_kernels import random_kernels
from zoo_tools import outputs

from .kernel_runner import Runner

ODD = (0, 1, 2, 15, 16, 17, 31, 63, 64, 65, 100, 1000)


def best(kernel: Kernel) -> Schedule:
    """Rows where they are legal, also for what would run as a contraction."""
    return rows(kernel) or Serial()


def run_like_definition(kernel: Kernel, schedule: Schedule | None = None, trials=None, arrays_of=inputs,
                        wanted=reference) -> None:
    """The kernel gives what the definition gives, and the same bits when its units are cut."""
    runner = Runner(kernel, schedule or best(kernel))
    for sizes in trials or sizes_of(kernel):
        arrays = arrays_of(kernel, np.random.default_rng(0), sizes)
        empty = {name: arrays.get(name, np.zeros_like(a)) for name, a in outputs(kernel, arrays, sizes).items()}
        got = runner(arrays, empty, sizes)
        assert_close(kernel, got, wanted(kernel, arrays, sizes), sizes)
        for parts in (2, 5):
            for name, array in runner(arrays, empty, sizes, parts).items():
                assert array.tobytes() == got[name].tobytes(), f"{name} differs when cut into {parts}"


@pytest.mark.parametrize("name", ZOO)
def test_rows_compute_what_is_defined(name):
    run_like_definition(ZOO[name])


@pytest.mark.parametrize("name", ZOO)
def test_serial_computes_what_is_defined(name):
    run_like_definition(ZOO[name], Serial())


@pytest.mark.parametrize("name", [n for n, k in ZOO.items() if len(collapse(k).axes) < len(k.axes)])
def test_collapsed_kernels_compute_the_same(name):
    run_like_definition(collapse(ZOO[name]))


def in_own_dtypes(kernel, arrays, sizes):
    """The definition without widening: what overflows in float32 overflows here too."""
    with np.errstate(all="ignore"):
        return kernel_eval.evaluate(kernel, arrays, sizes)


def is_exact(kernel: Kernel) -> bool:
    """Is each operation rounded once, in an order that is given? (Functions have tests of their own.)"""
    return not any(v.op in ("reduce", "scan") or v.op in CORE and CORE[v.op].cost >= 12 for v in kernel.values)


@pytest.mark.parametrize("name", [n for n, k in ZOO.items() if is_exact(k)])
def test_special_numbers(name):
    run_like_definition(ZOO[name], arrays_of=special_inputs, wanted=in_own_dtypes)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_kernels())
def test_random_kernels(kernel):
    run_like_definition(kernel)
    run_like_definition(collapse(kernel))
    run_like_definition(kernel, Serial())


@pytest.mark.parametrize("n", ODD)
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "variance_over_rows", "transpose", "several_outputs",
                                  "cumulative", "argmax"])
def test_odd_sizes(name, n):
    make = getattr(kernel_zoo, name)
    run_like_definition(make(3, n) if n else make(3, kernel_zoo.MAYBE_NONE), trials=None if n else [{"Z": 0}])
    if n:
        run_like_definition(make(n, 5))
        run_like_definition(collapse(make(n, 20)))


def test_static_and_symbolic_sizes_give_the_same_bits():
    m = expr.symbol("M", 1)
    for n in (1, 5, 40, 100, 1000, 10_000):
        static, symbolic = kernel_zoo.layer_norm(3, n), kernel_zoo.layer_norm(3, m)
        arrays = inputs(static, np.random.default_rng(0))
        a = Runner(static, rows(static))(arrays, outputs(static, arrays))
        b = Runner(symbolic, rows(symbolic))(arrays, outputs(static, arrays), {"M": n})
        assert all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_long_sums_stay_accurate():
    n = 1_000_003
    kernel = kernel_zoo.sum_long(n)
    x = np.random.default_rng(0).random(n, np.float32)
    arrays = {b.name: x for b in kernel.inputs}
    for got in Runner(kernel, rows(kernel))(arrays, outputs(kernel, arrays)).values():
        np.testing.assert_allclose(got, x.astype(np.float64).sum(), rtol=3e-7)


def test_n_body_needs_no_memory_of_quadratic_size():
    kernel = kernel_zoo.n_body(4096)
    found = rows(kernel)
    assert isinstance(found, Rows) and found.vector and found.unrolled
    assert Runner(kernel, found).source.scratch == 0


@pytest.mark.parametrize("place", ["lt", "le", "gt", "ge"])
@pytest.mark.parametrize("bound", (0, 1, 15, 40, 70, 98, 99))
def test_one_comparison_of_positions_chooses_what_a_load_beyond_the_edge_does_not_give(place, bound):
    k = kernel_zoo.Zoo("rolled", {"i": 100})
    i = k.axis("i")
    moved = k.load("x", (100,), "f32", (i - bound if place in ("lt", "le") else i + 100 - bound,), 0)
    k.write("y", "i", k.select(getattr(k, place)(k.index(i), bound), k.read("v", "i"), moved))
    run_like_definition(k.build())
