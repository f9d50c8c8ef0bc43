"""Kernels that stream, run by Triton's interpreter against the definition: attention under masks, layouts and sizes,
its gradients, long streams cut in two, and kernels taken apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from braze.ir.expr import symbol
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import GpuStreamed
from braze.ir.kernel import Kernel
from braze.passes import gpu_split_stream, gpu_streamed
from braze.passes.gpu_schedule import plan
from kernel_zoo import assert_close, inputs, reference
from zoo_tools import outputs

from ..codegen.streams import attention, gradient
from .kernel_runner import run

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
TARGET = GpuTarget()
B, M, N = symbol("B", 0), symbol("M", 2), symbol("N", 1)
TILES = [(16, 16), (32, 16), (16, 64)]


def schedule(kernel: Kernel, **changes) -> GpuStreamed:
    """The kernel's schedule as one that streams, changed."""
    (best, *_) = gpu_streamed.candidates(kernel, TARGET)
    return replace(best, **changes)


def run_like_definition(kernel: Kernel, sizes=None, arrays=None, parts=None, **changes) -> None:
    """The kernel gives what the definition gives, and writes nowhere else."""
    arrays = arrays or inputs(kernel, np.random.default_rng(0), sizes or {})
    parts = parts or [(kernel, schedule(kernel, **changes))]
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes or {}, parts)
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("causal", [None, 0, -3, 5])
@pytest.mark.parametrize("l, m", [(33, 33), (65, 40), (40, 70)])
def test_attention(l, m, causal, tile):
    run_like_definition(attention(1, 2, l, m, 16, 32, causal=causal, keeps=True), tile=tile)


@pytest.mark.parametrize("d, e", [(3, 17), (40, 8), (80, 96)])
def test_depths_that_are_no_powers_of_two(d, e):
    run_like_definition(attention(1, 1, 20, 33, d, e, causal=0), tile=(16, 16))


@pytest.mark.parametrize("options", [dict(mask="qk"), dict(mask="bk"), dict(bias="bhqk"), dict(heads=2), dict(of="f64"),
                                     dict(mask="qk", bias="hqk", causal=2), dict(of="bf16", causal=0), dict(of="f16")],
                         ids=lambda o: "-".join(map(str, o.values())))
def test_masks_biases_heads_and_dtypes(options):
    run_like_definition(attention(2, 2, 20, 33, 16, 32, **options), tile=(16, 16))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("window", [1, 20, 50])
def test_windows_bound_the_stream_on_both_sides(window, tile):
    kernel = attention(1, 2, 90, 90, 8, 16, window=window)
    _, _, found = gpu_streamed.match(kernel)
    assert len(found.limits) == 2
    run_like_definition(kernel, tile=tile)


@pytest.mark.parametrize("causal", [None, 0, N - M])
@pytest.mark.parametrize("b, m, n", [(0, 5, 5), (1, 7, 40), (2, 37, 32)])
def test_symbolic_sizes(causal, b, m, n):
    run_like_definition(attention(B, 1, M, N, 8, 16, causal=causal), {"B": b, "M": m, "N": n}, tile=(16, 16))


@pytest.mark.parametrize("tile", [(16, 32), (32, 16)])
@pytest.mark.parametrize("causal", [None, 0])
@pytest.mark.parametrize("towards", ["kv", "q"])
def test_gradients(towards, causal, tile):
    run_like_definition(gradient(1, 2, 40, 40, 16, 16, towards, causal=causal), tile=tile)
    run_like_definition(gradient(1, 1, 35, 50, 24, 16, towards, causal=causal), tile=tile)


@pytest.mark.parametrize("of", ["bf16", "f64"])
@pytest.mark.parametrize("towards", ["kv", "q"])
def test_gradients_in_other_dtypes(towards, of):
    kernel = gradient(1, 1, 35, 50, 16, 16, towards, of, 0)
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["norm"] = np.abs(arrays["norm"]) + 1
    arrays["peak"] = np.abs(arrays["peak"]) + 4
    run_like_definition(kernel, arrays=arrays, tile=(16, 32))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["query", "key"])
def test_what_is_not_finite_spreads_as_in_the_definition(name, number):
    kernel = attention(1, 1, 20, 40, 8, 16)
    arrays = {b: np.abs(a) for b, a in inputs(kernel, np.random.default_rng(0)).items()}
    arrays[name][0, 0, 17, 3] = number
    run_like_definition(kernel, arrays=arrays, tile=(16, 16))


def test_growing_and_falling_scores_rescale():
    kernel = attention(1, 1, 20, 300, 8, 16, keeps=True)
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["query"][0, 0, :10], arrays["query"][0, 0, 10:] = 1.0, -1.0
    arrays["key"][0, 0] = np.linspace(-60, 60, 300)[:, None]
    run_like_definition(kernel, arrays=arrays, tile=(16, 32))


@pytest.mark.parametrize("causal", [None, -5])
def test_rows_that_see_nothing_are_nan(causal):
    kernel = attention(1, 1, 20, 40, 8, 16, causal=causal, keeps=True, mask="qk")
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["mask"][7:9] = False
    arrays["mask"][12, :30] = False
    run_like_definition(kernel, arrays=arrays, tile=(16, 16))


@pytest.mark.parametrize("causal", [None, -3, 500])
def test_long_streams_are_cut_in_two(causal):
    kernel = attention(1, 1, 16, 1030, 8, 16, causal=causal, keeps=True)
    row, stream, found = gpu_streamed.match(kernel)
    halves = gpu_split_stream.split_stream(kernel, row, stream, found, TARGET)
    assert halves is not None and gpu_streamed.match(halves[0]) is not None
    run_like_definition(kernel, parts=plan(kernel, TARGET))


DECODING = [dict(), dict(of="bf16"), dict(of="f16", causal=96), dict(mask="bk"), dict(mask="k", bias="hqk"),
            dict(keeps=True, causal=-90), dict(bias="bhqk", of="bf16")]


@pytest.mark.parametrize("options", DECODING, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("l", [1, 3])
def test_few_queries(l, heads, options):
    """One tile holds the queries of all heads that share keys."""
    kernel = attention(2, 6, l, 97, 24, 40, heads=heads, **options)
    (part, s), = parts = plan(kernel, TARGET)
    assert isinstance(s, GpuStreamed) and part.axes[s.row] == (16 if heads * l == 1 else heads * l)
    run_like_definition(kernel, parts=parts)


@pytest.mark.parametrize("options", DECODING[:4], ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("l, heads", [(1, 1), (1, 4), (3, 2), (7, 1)])
def test_few_queries_on_many_keys_are_cut_in_two(l, heads, options):
    kernel = attention(1, 4, l, 2051, 16, 32, heads=heads, **options)
    (_, first), (second, _) = parts = plan(kernel, TARGET)
    assert isinstance(first, GpuStreamed)
    assert {math.prod(b.shape[1:]) for b in second.inputs} == {4 * l, 4 * l * 32}, second     # no padding is stored
    run_like_definition(kernel, parts=parts)


@pytest.mark.parametrize("l, heads", [(1, 1), (2, 2)])
@pytest.mark.parametrize("n", [1, 40, 300])
def test_a_cache_that_grows(n, l, heads):
    kernel = attention(2, 4, l, N, 8, 16, heads=heads, of="bf16")
    parts = plan(kernel, TARGET)
    assert len(parts) == 2
    run_like_definition(kernel, {"N": n}, parts=parts)


def test_what_does_not_fit_is_taken_apart():
    kernel = attention(1, 2, 20, 33, 16, 32, causal=0)
    small = replace(TARGET, shared_bytes=1 << 12)
    parts = plan(kernel, small)
    assert gpu_streamed.candidates(kernel, small) == [] and len(parts) > 2
    run_like_definition(kernel, parts=parts)
