"""Streamed kernels against the definition: sizes, masks, layouts, several products, targets; cuts of units, canaries,
special values.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.streamed import Streamed
from braze.ir.target import Target
from braze.ir.types import dtype as type_named
from braze.ir.types import float32
from braze.passes import streamed
from kernel_zoo import ZOO, Zoo, assert_close, inputs, reference, sizes_of
from zoo_tools import outputs

from .kernel_runner import Runner, host

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
B, M, N = symbol("B", 0), symbol("M", 1), symbol("N", 1)


def schedule(kernel: Kernel, target: Target | None = None) -> Streamed:
    """The kernel's schedule; it must stream."""
    found = streamed.match(kernel)
    assert found is not None
    return streamed.schedule(kernel, *found, target or host())


def run_like_definition(kernel: Kernel, trials=None, target: Target | None = None, arrays=None, **changes) -> None:
    """The kernel gives what the definition gives, and the same bits however its units are cut."""
    runner = Runner(kernel, dataclasses.replace(schedule(kernel, target), **changes), level=1)
    for sizes in trials or sizes_of(kernel):
        given = arrays or inputs(kernel, np.random.default_rng(0), sizes)
        empty = outputs(kernel, given, sizes)
        got = runner(given, empty, sizes)
        assert_close(kernel, got, reference(kernel, given, sizes), sizes)
        for parts in (2, 5):
            for name, array in runner(given, empty, sizes, parts).items():
                assert array.tobytes() == got[name].tobytes(), f"{name} differs when cut into {parts}"


def attention(b, m, n, p, q, causal=None, dtype="f32", mask=False, bias=False, keys="bjk", queries="bik"):
    """softmax(x y^T / sqrt(p)) z for n keys; row i sees the keys up to i + causal. 16-bit floats are summed in
    float32.
    """
    k = Zoo("attention", {"b": b, "i": m, "j": n, "k": p, "d": q})
    s = k.mul(k.reduce("sum", k.mul(wide(k, "query", queries, dtype), wide(k, "key", keys, dtype)), "k"),
              1 / math.sqrt(p))
    if bias:
        s = k.add(s, wide(k, "bias", "bij", dtype))
    if mask:
        s = k.select(k.read("mask", "ij", "b1"), s, -math.inf)
    if causal is not None:
        s = k.select(k.ge(k.index(k.axis("i") + causal), k.index(k.axis("j"))), s, -math.inf)
    e = k.exp(k.sub(s, k.reduce("max", s, "j")))
    weights = k.div(e, k.reduce("sum", e, "j"))
    y = k.reduce("sum", k.mul(weights, wide(k, "value", "bjd", dtype)), "j")
    k.write("y", "bid", k.cast(y, type_named(dtype)))
    return k.build()


def wide(k, name, axes, dtype):
    """A load, 16-bit floats as float32."""
    x = k.read(name, axes, dtype)
    return k.cast(x, float32) if x.dtype.bits == 16 else x


@pytest.mark.parametrize("name", [name for name, kernel in ZOO.items() if streamed.match(kernel)])
def test_zoo(name):
    run_like_definition(ZOO[name])


SIZES = [(1, 1), (7, 7), (63, 63), (65, 65), (200, 200), (130, 70), (70, 130), (40, 1100), (600, 600)]


@pytest.mark.parametrize("m,n", SIZES)
@pytest.mark.parametrize("causal", [None, 0, -3, 5])
def test_sizes(m, n, causal):
    run_like_definition(attention(2, m, n, 16, 32, causal))


@pytest.mark.parametrize("p,q", [(1, 1), (3, 17), (8, 40), (64, 64), (80, 96), (128, 128), (256, 31)])
def test_head_sizes(p, q):
    run_like_definition(attention(2, 70, 90, p, q, 0))


TRIALS = [dict(B=b, M=m, N=n) for b, m, n in [(0, 5, 5), (2, 1, 1), (1, 7, 63), (2, 65, 64), (1, 200, 530),
                                              (3, 64, 65)]]


@pytest.mark.parametrize("causal", [None, 0, N - M])
def test_symbolic_sizes(causal):
    run_like_definition(attention(B, M, N, 24, 24, causal), TRIALS)


@pytest.mark.parametrize("keys", ["bjk", "bkj", "jbk", "kbj"])
@pytest.mark.parametrize("queries", ["bik", "bki", "ibk"])
def test_layouts(queries, keys):
    run_like_definition(attention(2, 70, 50, 20, 32, 0, keys=keys, queries=queries))


@pytest.mark.parametrize("changes", [dict(mask=True), dict(bias=True), dict(mask=True, bias=True, causal=2),
                                     dict(dtype="f64", causal=0)])
def test_masks_and_types(changes):
    run_like_definition(attention(2, 90, 75, 16, 32, **changes))


NARROW = ("bf16", "f16")


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_floats(dtype):
    """Statistics and sums are of float32; weights are rounded where the machine multiplies bfloat16."""
    for m, n in SIZES:
        for causal in (None, 0, 5):
            run_like_definition(attention(2, m, n, 16, 32, causal, dtype))
    for p, q in [(1, 1), (3, 17), (9, 40), (64, 64), (80, 97), (256, 31)]:
        run_like_definition(attention(2, 70, 91, p, q, 0, dtype))
    for keys in ("bkj", "jbk"):
        run_like_definition(attention(2, 70, 51, 20, 33, 0, dtype, keys=keys, queries="bki"))
    for changes in (dict(mask=True), dict(bias=True), dict(mask=True, bias=True, causal=2)):
        run_like_definition(attention(2, 90, 75, 16, 32, dtype=dtype, **changes))
    run_like_definition(attention(B, M, N, 24, 24, N - M, dtype), TRIALS)
    run_like_definition(attention(2, 100, 700, 16, 24, 0, dtype), span=64)


def test_bfloat16_is_multiplied_as_it_is():
    target = dataclasses.replace(host(), vector_bytes=64, features="+avx512bf16")
    found = schedule(attention(2, 70, 51, 16, 16, 0, "bf16"), target)
    assert (found.inner_dots, found.outer_dots) == (("bf16",), ("bf16",))
    found = schedule(attention(2, 70, 51, 16, 16, 0, "f16"), target)
    assert (found.inner_dots, found.outer_dots) == (("",), ("",))


TARGETS = {"AVX2": Target(vector_bytes=32, registers=16), "SSE": Target(),
           "many threads": Target(vector_bytes=64, registers=32, threads=64)}


@pytest.mark.parametrize("name", TARGETS)
def test_other_targets(name):
    run_like_definition(attention(3, 100, 120, 24, 40, 0), target=TARGETS[name])


@pytest.mark.parametrize("span", [32, 64, 96, 160])
def test_short_spans_rescale_often(span):
    run_like_definition(attention(1, 80, 300, 16, 16, 5), span=span)


def test_growing_and_falling_scores_over_many_tiles():
    kernel = attention(1, 10, 2000, 4, 8)
    given = inputs(kernel, np.random.default_rng(0))
    given["query"][0, :5], given["query"][0, 5:] = 1.0, -1.0
    given["key"][0] = np.linspace(-60, 60, 2000)[:, None]
    run_like_definition(kernel, arrays=given)


# ---- special values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e38])
@pytest.mark.parametrize("name", ["query", "key"])
def test_what_is_not_finite_spreads_as_in_the_definition(name, number):
    kernel = attention(1, 70, 600, 8, 16)
    given = {b: np.abs(a) for b, a in inputs(kernel, np.random.default_rng(0)).items()}
    given[name][0, 65, 3] = number
    run_like_definition(kernel, arrays=given)


@pytest.mark.parametrize("causal", [None, -3])
def test_rows_that_see_nothing_are_nan(causal):
    """In the result, divided or not, and in the sum; the maximum is minus infinity."""
    k = KernelBuilder("attention", {"i": 70, "j": 80, "k": 8, "d": 16})
    at = {a: k.axis(a) for a in k.axes}
    q, keys, v = (k.load(n, [k.axes[a] for a in axes], "f32", [at[a] for a in axes]) for n, axes in
                  (("q", "ik"), ("k", "jk"), ("v", "jd")))
    s = k.select(k.load("mask", (70, 80), "b1", (at["i"], at["j"])), k.reduce("sum", k.mul(q, keys), ("k",)), -math.inf)
    if causal is not None:
        s = k.select(k.ge(k.index(at["i"] + causal), k.index(at["j"])), s, -math.inf)
    peak = k.reduce("max", s, ("j",))
    e = k.exp(k.sub(s, peak))
    norm = k.reduce("sum", e, ("j",))
    k.store("y", (70, 16), (at["i"], at["d"]), k.reduce("sum", k.mul(e, v), ("j",)))
    k.store("z", (70, 16), (at["i"], at["d"]), k.reduce("sum", k.mul(k.div(e, norm), v), ("j",)))
    k.store("peak", (70,), (at["i"],), peak)
    k.store("norm", (70,), (at["i"],), norm)
    kernel = k.build()
    given = inputs(kernel, np.random.default_rng(0))
    given["mask"][:] = True
    given["mask"][[0, 13, 69]] = False
    given["mask"][20, :65] = False
    run_like_definition(kernel, arrays=given)
    assert np.isnan(reference(kernel, given, {})["z"]).all(1)[[0, 13, 69]].all()


# ---- without a softmax: gradients ------------------------------------------------------------------------------------


def gradient(b, m, n, p, q, causal=True, dtype="f32"):
    """What attention's gradient towards queries, and towards keys and values, is made of: P = exp(s - l), dS = P (g v^T
    - delta).
    """
    d = type_named(dtype)

    for by_rows in (True, False):
        k = Zoo("gradient", {"b": b, "i": m, "j": n, "k": p, "d": q, "e": p, **({} if by_rows else {"c": q})})
        s = k.mul(k.reduce("sum", k.mul(wide(k, "query", "bik", dtype), wide(k, "key", "bjk", dtype)), "k"), 0.25)
        if causal:
            s = k.select(k.ge(k.index(k.axis("i")), k.index(k.axis("j"))), s, -math.inf)
        weights = k.exp(k.sub(s, k.read("l", "bi")))
        towards = k.reduce("sum", k.mul(wide(k, "g", "bid", dtype), wide(k, "value", "bjd", dtype)), "d")
        difference = k.mul(weights, k.sub(towards, k.read("delta", "bi")))
        axes = {a: k.axis(a) for a in k.axes}
        if by_rows:
            key = k.cast(k.load("key", (b, n, p), dtype, (axes["b"], axes["j"], axes["e"])), float32)
            k.write("dq", "bie", k.cast(k.mul(k.reduce("sum", k.mul(difference, key), "j"), 0.25), d))
        else:
            query = k.cast(k.load("query", (b, m, p), dtype, (axes["b"], axes["i"], axes["e"])), float32)
            g = k.cast(k.load("g", (b, m, q), dtype, (axes["b"], axes["i"], axes["c"])), float32)
            k.write("dk", "bje", k.cast(k.reduce("sum", k.mul(difference, query), "i"), d))
            k.write("dv", "bjc", k.cast(k.reduce("sum", k.mul(weights, g), "i"), d))
        yield k.build()


@pytest.mark.parametrize("m,n", [(1, 1), (63, 65), (200, 200), (150, 90), (64, 700), (700, 64)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["f32", *NARROW])
def test_gradients(m, n, causal, dtype):
    for kernel in gradient(2, m, n, 16, 32, causal, dtype):
        given = inputs(kernel, np.random.default_rng(0))
        given["l"] += 5
        run_like_definition(kernel, arrays=given)


# ---- legality --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [dict(block=60), dict(span=500), dict(units=3), dict(row="j", stream="i"),
                                     dict(packs=()), dict(inner_dots=("bf16",)), dict(outer_dots=("bf16",))])
def test_schedules_that_do_not_fit_are_refused(changes):
    kernel = attention(2, 70, 50, 16, 16)
    with pytest.raises(VerifyError):
        dataclasses.replace(schedule(kernel), **changes).check(kernel)
