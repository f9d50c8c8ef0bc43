"""Contractions on the register tile against the definition: sizes, layouts, dtypes, prologues, epilogues, targets,
cuts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from braze.ir.expr import floordiv, mod, symbol
from braze.ir.kernel import Kernel
from braze.ir.target import Target
from braze.passes import contraction
from braze.passes.grouping import split_groups
from kernel_zoo import MAYBE_NONE, ZOO, Zoo, assert_close, inputs, reference, sizes_of
from zoo_tools import outputs

from . import contractions as make
from .kernel_runner import Runner, host

M, N, K, B = (symbol(name, 0) for name in "MNKB")
MATCHING = [name for name, kernel in ZOO.items() if contraction.match(kernel)]


def run_like_definition(kernel: Kernel, trials=None, target: Target | None = None, **changes) -> Runner:
    """The kernel is a contraction, gives what the definition gives, and the same bits however its units are cut."""
    found = contraction.match(kernel)
    assert found is not None
    schedule = dataclasses.replace(contraction.schedule(kernel, found, target or host()), **changes)
    runner = Runner(kernel, schedule, level=1)
    for sizes in trials or sizes_of(kernel):
        arrays = inputs(kernel, np.random.default_rng(0), sizes)
        empty = outputs(kernel, arrays, sizes)
        got = runner(arrays, empty, sizes)
        assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)
        for parts in (2, 5):
            for name, array in runner(arrays, empty, sizes, parts).items():
                assert array.tobytes() == got[name].tobytes(), f"{name} differs when cut into {parts}"
    return runner


@pytest.mark.parametrize("name", MATCHING)
def test_zoo(name):
    run_like_definition(ZOO[name])


@pytest.mark.parametrize(
    "m,n,k",
    [
        (1, 1, 1),
        (1, 40, 7),
        (40, 1, 7),
        (3, 5, 2),
        (4, 130, 33),
        (5, 16, 100),
        (13, 17, 19),
        (14, 32, 16),
        (15, 33, 17),
        (29, 31, 300),
        (64, 64, 64),
        (100, 100, 1),
        (200, 7, 60),
        (7, 200, 60),
        (170, 150, 290),
        (16, 16, 1024),
        (0, 5, 3),
        (5, 0, 3),
        (5, 6, 0),
        (1, 9, 0),
    ],
)
@pytest.mark.parametrize("a,b", [("ik", "kj"), ("ik", "jk"), ("ki", "kj"), ("ki", "jk")])
def test_sizes_and_layouts(m, n, k, a, b):
    run_like_definition(make.matmul(m, n, k, a=a, b=b))


SYMBOLIC = [
    dict(M=m, N=n, K=k)
    for m, n, k in [(0, 3, 2), (3, 0, 2), (3, 5, 0), (1, 1, 1), (2, 40, 30), (40, 2, 300), (17, 33, 65), (150, 170, 20)]
]


@pytest.mark.parametrize("a,b", [("ik", "kj"), ("ki", "jk")])
def test_symbolic_sizes(a, b):
    run_like_definition(make.matmul(M, N, K, a=a, b=b, epilogue=make.biased_relu), SYMBOLIC)


@pytest.mark.parametrize("m,n,k", [(M, 24, 40), (20, N, 40), (20, 24, K), (1, N, K), (M, 1, K), (2, N, 30), (3, 40, K)])
def test_partly_symbolic_sizes(m, n, k):
    for b in ("kj", "jk"):
        run_like_definition(make.matmul(m, n, k, b=b), [dict(M=p, N=p, K=p) for p in (0, 1, 7, 16, 33, 100)])


@pytest.mark.parametrize("m,n,k", [(1, 40, 17), (40, 1, 16), (15, 33, 64), (64, 64, 300), (0, 5, 20), (20, 35, 40)])
@pytest.mark.parametrize("layout", [("ik", "jk", "ij"), ("ki", "kj", "ji")], ids=("rows", "columns"))
def test_operands_that_meet_in_a_difference(m, n, k, layout):
    run_like_definition(make.distances(m, n, k, "f32", *layout))
    run_like_definition(make.distances(m, n, k, "f64", *layout))


def test_terms_of_several_operations():
    run_like_definition(make.nearness(30, 37, 50))
    run_like_definition(make.nearness(M, N, K), SYMBOLIC)


def test_symbolic_batches():
    run_like_definition(make.batched(B, M, N, K), [dict(B=b, **s) for b, s in zip((0, 1, 3, 2, 2, 1, 2, 2), SYMBOLIC)])


@pytest.mark.parametrize("d", ["f64", "f32", "i64", "i32", "i16", "i8", "u8", "u16", "u32", "u64"])
@pytest.mark.parametrize("m", [1, 3, 30])
def test_dtypes(d, m):
    for b in ("kj", "jk"):
        run_like_definition(make.matmul(m, 37, 50, d, b=b, epilogue=make.biased_relu if m > 1 else None))


@pytest.mark.parametrize("d", ["f16", "bf16"])
@pytest.mark.parametrize("m", [1, 4, 20])
def test_narrow_operands_are_summed_in_float32(d, m):
    run_like_definition(make.stored_narrow(m, 35, 60, d))


def test_narrow_sums_are_rounded_once():
    kernel = make.matmul(20, 33, 400, "bf16")
    arrays = inputs(kernel, np.random.default_rng(0))
    schedule = contraction.schedule(kernel, contraction.match(kernel), host())
    got = Runner(kernel, schedule)(arrays, outputs(kernel, arrays))["y"]
    exact = arrays["a"].astype(np.float64) @ arrays["b"].astype(np.float64)
    np.testing.assert_allclose(got.astype(np.float64), exact, rtol=2.0**-8, atol=1e-3)


@pytest.mark.parametrize(
    "kernel",
    [
        make.several_stores(20, 37, 30),
        make.several_stores(M, N, K),
        make.prologues(20, 37, 30),
        make.prologues(3, 40, 33),
        make.matmul(30, 40, 50, y="ji", epilogue=make.biased_relu),
        make.matmul(33, 47, 600, epilogue=make.biased_relu),
        make.heads(2, 9, 3, 24, 8),
        make.heads(2, 20, 2, 33, 40),
        make.scores(2, 3, 17, 19, 16),
        make.tensor_product(17, 35, 4, 9),
        make.tensor_product(15, 33, 40, 20),
    ],
    ids=lambda k: k.name,
)
def test_prologues_and_epilogues(kernel):
    trials = SYMBOLIC if kernel.sizes else None
    run_like_definition(kernel, trials)


@pytest.mark.parametrize(
    "left,right,y",
    [
        ("bik", "bkj", "bij"),
        ("ibk", "bjk", "bij"),
        ("bki", "kj", "bij"),
        ("ik", "bkj", "bij"),
        ("bik", "bkj", "ibj"),
        ("bik", "bjk", "bji"),
        ("kbi", "kbj", "bij"),
        ("bk", "bkj", "bj"),
    ],
)
def test_batches(left, right, y):
    run_like_definition(make.batched(3, 18, 35, 20, left, right, y))


def test_rows_a_page_apart_are_read_few_at_a_time():
    kernel = make.matmul(90, 200, 1024)
    schedule = contraction.schedule(kernel, contraction.match(kernel), host())
    assert schedule.left == "direct" and schedule.rows <= 8
    run_like_definition(kernel)


@pytest.mark.parametrize("m", [13, 14, 16, 19, 26, 29, 32])
@pytest.mark.parametrize("n,p", [(128, 40), (203, 37), (333, 1), (150, 0)])
def test_some_rows_read_long_runs_as_they_lie(m, n, p):
    for a in ("ik", "ki"):
        kernel = make.matmul(m, n, p, a=a, epilogue=make.biased_relu)
        assert contraction.schedule(kernel, contraction.match(kernel), host()).variant == "stream"
        run_like_definition(kernel)


@pytest.mark.parametrize("m,parts,p", [(32, 3, 40), (20, 1, 16), (33, 5, 700), (16, 2, K), (M, 2, 30)])
@pytest.mark.parametrize("lanes", [16, 8])
def test_panels_are_read_in_place(m, parts, p, lanes):
    kernel = make.panels(m, parts, 2 * lanes, p, make.biased_panels)
    target = dataclasses.replace(host(), vector_bytes=4 * lanes, registers=32)
    assert contraction.schedule(kernel, contraction.match(kernel), target).right == "direct"
    run_like_definition(kernel, target=target)


@pytest.mark.parametrize("m,n,p", [(32, 48, 40), (13, 35, 17), (70, 64, 300), (M, 40, 30), (20, N, K), (1, 5, 3)])
@pytest.mark.parametrize("parts,a,b", [(2, "ik", "kj"), (3, "ki", "jk"), (4, "ik", "kj")])
def test_several_sums_of_the_same_rows(m, n, p, parts, a, b):
    run_like_definition(make.gates(m, n, p, parts, a, b))


@pytest.mark.parametrize("lanes", [16, 8])
@pytest.mark.parametrize("d", ["f32", "f64"])
def test_several_sums_on_other_vectors(lanes, d):
    target = dataclasses.replace(host(), vector_bytes=4 * lanes, registers=32 if lanes == 16 else 16)
    run_like_definition(make.gates(33, 50, 40, 3, d=d), target=target)


def test_several_sums_in_panels():
    kernel = make.gates(32, 64, 300, 4, b="lkj", columns="lj")
    target = dataclasses.replace(host(), vector_bytes=64, registers=32)
    found = contraction.schedule(kernel, contraction.match(kernel), target)
    assert (found.right, found.parts, found.vectors) == ("direct", 4, 1)
    run_like_definition(kernel, target=target)


def test_panels_of_another_width_are_packed():
    kernel = make.panels(30, 3, 24, 40)
    assert contraction.schedule(kernel, contraction.match(kernel), host()).right == "columns"
    run_like_definition(kernel)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize(
    "sizes",
    [
        dict(n=2, c=3, o=5, h=9, w=7),
        dict(n=1, c=16, o=33, h=6, w=20),
        dict(n=2, c=18, o=16, h=15, w=15, step=2),
        dict(n=1, c=4, o=8, h=12, w=11, dilation=2),
        dict(n=2, c=5, o=4, h=6, w=6, groups=3),
        dict(n=1, c=20, o=40, h=3, w=30, r=1, s=5),
        dict(n=1, c=1, o=1, h=5, w=5),
        dict(n=2, c=32, o=32, h=14, w=14),
    ],
    ids=str,
)
def test_convolutions(layout, sizes):
    run_like_definition(make.window(layout=layout, **sizes))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_convolution_of_any_batch_and_width(layout):
    run_like_definition(
        make.window(B, 17, 20, 5, N + 1, layout=layout), [dict(B=b, N=n) for b, n in ((0, 3), (1, 0), (2, 20), (1, 40))]
    )


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize(
    "sizes", [(2, 32, 32, 9, 15, 2), (1, 16, 40, 5, 20, 3), (2, 5, 7, 6, 6, 4), (3, 48, 16, 3, 4, 2)]
)
def test_groups_side_by_side_become_a_batch(layout, sizes):
    kernel = make.grouped(*sizes, layout=layout)
    found = split_groups(kernel, contraction.fills_tiles)
    assert found is not None and contraction.match(found).g == ("group",)
    arrays = inputs(kernel, np.random.default_rng(0))
    assert_close(kernel, reference(found, arrays), reference(kernel, arrays))
    run_like_definition(found)
    if sizes[4] >= 15:
        assert contraction.schedule(found, contraction.match(found), host()).left == "window"


def test_an_axis_that_is_summed_has_no_groups():
    """A product that reads a flattened image: its sum would be cut into one of each channel."""
    k = Zoo("flattened", {"i": 20, "j": 40, "k": 5 * 8})
    at = k.axis("k")
    left = k.load("x", (20, 5, 8), "f32", (k.axis("i"), floordiv(at, 8), mod(at, 8)))
    k.write("y", "ij", k.reduce("sum", k.mul(left, k.read("w", "kj")), "k"))
    assert split_groups(k.build(), contraction.fills_tiles) is None


def test_channels_of_small_groups_stay_side_by_side():
    assert split_groups(make.grouped(1, 3, 2, 9, 9, 8), contraction.fills_tiles) is None
    assert split_groups(make.window(1, 3, 2, 9, 9), contraction.fills_tiles) is None


@pytest.mark.parametrize("kernel,few", [
    (make.window(1, 16, 1, 20, 20, layout="nchw"), True),
    (make.window(1, 16, 4, 20, 20, layout="nchw"), True),
    (make.window(1, 1, 64, 20, 20, layout="nchw"), False),
    (make.window(1, 16, 16, 20, 20, layout="nchw"), False),
    (make.weight_gradient(2, 1, 32, 20, 20, layout="nchw"), False),
    (make.weight_gradient(2, 8, 1, 20, 20, layout="nchw"), True),
    (make.matmul(1, 64, 64), False),
], ids=["1 output", "4 outputs", "1 input", "16 of each", "1 input's weights", "1 output's weights", "no window"])
def test_few_channels_in_windows_are_for_rows(kernel, few):
    assert contraction.match(kernel) is not None
    assert (contraction.find(kernel) is None) is few


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("sizes", [(2, 3, 5, 6, 7), (2, 18, 20, 8, 8), (1, 40, 16, 5, 33)])
def test_gradients_of_convolutions(layout, sizes):
    run_like_definition(make.weight_gradient(*sizes, layout=layout))
    if layout == "nhwc":
        run_like_definition(make.image_gradient(*sizes))


@pytest.mark.parametrize(
    "kernel",
    [
        make.window(2, 32, 20, 6, 18),
        make.window(1, 16, 20, 9, 40, step=3),
        make.window(B, 24, 20, 5, N + 1),
        make.window(2, 16, 33, 7, 15, r=5, s=2),
        make.image_gradient(2, 20, 16, 9, 17),
    ],
    ids=("plain", "strided", "symbolic", "oblong", "backwards"),
)
def test_a_sliding_window_reads_copied_lines(kernel):
    assert contraction.schedule(kernel, contraction.match(kernel), host()).left == "window"
    run_like_definition(kernel, [dict(B=b, N=n) for b, n in ((0, 3), (1, 0), (2, 20))] if kernel.sizes else None)


@pytest.mark.parametrize("outside", ["rows", "panels"])
@pytest.mark.parametrize(
    "kernel",
    [
        make.window(2, 16, 32, 6, 18, layout="nchw"),
        make.window(1, 48, 40, 9, 40, step=2, layout="nchw"),
        make.window(2, 16, 65, 5, 31, r=3, s=5, dilation=2, layout="nchw"),
        make.window(B, 32, 33, 5, N + 14, layout="nchw"),
        make.window(2, 16, 33, 7, 50, r=1, s=3, step=3, layout="nchw"),
    ],
    ids=("plain", "strided", "dilated", "symbolic", "oblong"),
)
def test_lines_of_channels_that_lie_first_are_turned(kernel, outside):
    """As are the results, which are stored along lines."""
    assert contraction.schedule(kernel, contraction.match(kernel), host()).left == "window"
    sizes = [dict(B=b, N=n) for b, n in ((0, 3), (1, 0), (2, 20))] if kernel.sizes else None
    run_like_definition(kernel, sizes, outside=outside)


@pytest.mark.parametrize(
    "kernel",
    [
        make.window(2, 48, 40, 6, 18),
        make.window(2, 160, 33, 3, 4),
        make.window(3, 32, 130, 5, 5, r=2, s=5, step=2),
        make.window(2, 16, 20, 6, 7, groups=3),
        make.window(B, 32, 24, 5, N + 1),
    ],
    ids=("lines", "flattened", "oblong", "groups", "symbolic"),
)
@pytest.mark.parametrize("lanes", [16, 8])
def test_weights_are_turned_as_they_lie(kernel, lanes):
    target = dataclasses.replace(host(), vector_bytes=4 * lanes)
    assert contraction.schedule(kernel, contraction.match(kernel), target).right == "windows"
    run_like_definition(kernel, [dict(B=b, N=n) for b, n in ((1, 0), (2, 20))] if kernel.sizes else None, target)


@pytest.mark.parametrize("m,n,k", [(40, 70, 100), (3, 70, 100)])
@pytest.mark.parametrize(
    "changes",
    [
        dict(vector_bytes=32, registers=16),
        dict(vector_bytes=16, registers=32),
        dict(vector_bytes=16, registers=16),
        dict(l1_bytes=2048, l2_bytes=16384),
        dict(threads=16),
    ],
    ids=str,
)
def test_other_targets(changes, m, n, k):
    for d in ("f32", "f64", "i8"):
        for b in ("kj", "jk"):
            run_like_definition(make.matmul(m, n, k, d, b=b), target=dataclasses.replace(host(), **changes))


@pytest.mark.parametrize("changes", [dict(keeps=False), dict(depth=7), dict(depth=32, keeps=False),
                                     dict(outside="rows", depth=32), dict(outside="panels")], ids=str)
@pytest.mark.parametrize(
    "kernel",
    [make.matmul(90, 130, 75), make.matmul(90, 130, 75, a="ki", b="jk"), make.window(2, 20, 40, 7, 9)],
    ids=("plain", "transposed", "window"),
)
def test_blocks_do_not_change_what_is_computed(kernel, changes):
    run_like_definition(kernel, **changes)


def test_an_empty_sum_is_zero():
    run_like_definition(make.matmul(5, 20, MAYBE_NONE, epilogue=make.biased_relu), [dict(Z=0), dict(Z=3)])


def test_a_sum_starts_anew_at_infinities_and_nan():
    kernel = make.matmul(20, 40, 300)
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["a"][3, 7], arrays["a"][5, 9], arrays["b"][11, 30] = np.inf, np.nan, -np.inf
    schedule = contraction.schedule(kernel, contraction.match(kernel), host())
    got = Runner(kernel, schedule)(arrays, outputs(kernel, arrays))
    assert_close(kernel, got, reference(kernel, arrays))


def _random(seeds) -> None:
    for seed in seeds:
        kernel = make.random_contraction(seed)
        if kernel is None or contraction.match(kernel) is None:
            continue
        changes: dict = {}
        if seed % 3 == 0:
            lanes = (16, 32, 64)[seed // 3 % 3]
            caches = dict(l1_bytes=(1024, 4096)[seed % 2], l2_bytes=(8192, 65536)[seed % 2])
            changes = dict(vector_bytes=lanes, registers=(16, 32)[seed % 2], threads=1 + seed % 7, **caches)
        run_like_definition(kernel, target=dataclasses.replace(host(), **changes))


@pytest.mark.parametrize("part", range(8))
def test_random_contractions(part):
    _random(range(part * 20, part * 20 + 20))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(50))
def test_many_random_contractions(part):
    _random(range(1000 + part * 100, 1100 + part * 100))
