"""Contractions of narrow numbers, which run on the machine's dot products where it has them, against the definition:
sizes, layouts, signs, extremes, special numbers, other targets. Machines without them widen, and agree as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from braze.ir.expr import symbol
from braze.passes import contraction, dots
from kernel_zoo import inputs
from zoo_tools import outputs

from . import contractions as make
from .kernel_runner import Runner, host
from .test_llvm_contraction import run_like_definition

M, N, K = (symbol(name, 0) for name in "MNK")
LAYOUTS = [("ik", "kj"), ("ik", "jk"), ("ki", "kj"), ("ki", "jk")]
SIZES = [
    (20, 1, 7), (15, 17, 1), (16, 32, 2), (13, 33, 3), (40, 130, 33), (29, 31, 301), (64, 64, 64), (100, 20, 1200),
    (33, 40, 2500), (200, 7, 61), (0, 5, 3), (20, 0, 3), (20, 6, 0),
]  # fmt: skip


def scheduled(kernel):
    return contraction.schedule(kernel, contraction.match(kernel), host())


@pytest.mark.parametrize("wide,left,right", make.NARROW)
@pytest.mark.parametrize("a,b", LAYOUTS)
def test_sizes_layouts_and_signs(wide, left, right, a, b):
    for sizes in SIZES:
        run_like_definition(make.narrow_matmul(*sizes, left, right, wide, a, b))


@pytest.mark.parametrize("wide,left,right", make.NARROW)
@pytest.mark.parametrize("a,b", LAYOUTS)
def test_symbolic_sizes(wide, left, right, a, b):
    trials = [dict(M=m, N=n, K=k) for m, n, k in [(20, 33, 0), (0, 3, 2), (13, 40, 1), (40, 2, 301), (17, 33, 66)]]
    run_like_definition(make.narrow_matmul(M, N, K, left, right, wide, a, b), trials)


@pytest.mark.parametrize("wide,left,right", make.NARROW[1:])
@pytest.mark.parametrize("a,b", LAYOUTS)
def test_integers_are_exact_at_their_extremes(wide, left, right, a, b):
    kernel = make.narrow_matmul(30, 37, 2307, left, right, wide, a, b)
    runner, arrays = Runner(kernel, scheduled(kernel)), inputs(kernel, np.random.default_rng(0))
    for pick in (lambda d: d.min, lambda d: d.max, None):
        for name, x in arrays.items():
            limits = np.iinfo(x.dtype)
            random = np.random.default_rng(1).integers(limits.min, limits.max + 1, x.shape)
            x[...] = pick(limits) if pick else random
        left_, right_ = (arrays[n].astype(np.int64) for n in "ab")
        exact = (left_ if a == "ik" else left_.T) @ (right_ if b == "kj" else right_.T)
        np.testing.assert_array_equal(runner(arrays, outputs(kernel, arrays))["y"], exact)


def test_sums_of_bfloat16_products_have_float32s_precision():
    kernel = make.narrow_matmul(40, 50, 3000, "bf16", "bf16", "f32")
    arrays = inputs(kernel, np.random.default_rng(0))
    got = Runner(kernel, scheduled(kernel))(arrays, outputs(kernel, arrays))["y"]
    a, b = (arrays[n].astype(np.float64) for n in "ab")
    assert np.abs(got - a @ b).max() <= 2.0**-21 * (np.abs(a) @ np.abs(b)).max()


@pytest.mark.parametrize("p", [5, 64, 700])
def test_infinities_and_nan_of_bfloat16(p):
    """They stay where IEEE 754 has them: what is padded is zero on both sides."""
    kernel = make.narrow_matmul(20, 40, p, "bf16", "bf16", "f32")
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["a"][3, p - 1], arrays["a"][5, 2], arrays["b"][p - 1, 30] = np.inf, np.nan, -np.inf
    got = Runner(kernel, scheduled(kernel))(arrays, outputs(kernel, arrays))["y"]
    with np.errstate(invalid="ignore"):
        wanted = arrays["a"].astype(np.float64) @ arrays["b"].astype(np.float64)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_subnormal_bfloat16_counts_as_zero_or_as_it_is():
    """`vdpbf16ps` takes subnormal numbers for zero: results differ by no more than what those add."""
    kernel = make.narrow_matmul(20, 40, 64, "bf16", "bf16", "f32")
    arrays = inputs(kernel, np.random.default_rng(0))
    arrays["a"][:, ::2] = 2.0**-130
    got = Runner(kernel, scheduled(kernel))(arrays, outputs(kernel, arrays))["y"]
    a, b = (arrays[n].astype(np.float64) for n in "ab")
    np.testing.assert_allclose(got, a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wide,left,right", make.NARROW)
def test_scales_and_biases_behind(wide, left, right):
    run_like_definition(make.narrow_matmul(33, 47, 200, left, right, wide, scaled=True))


@pytest.mark.parametrize("wide,left,right", make.NARROW)
@pytest.mark.parametrize("sizes", [(2, 16, 40, 7, 9), (1, 32, 17, 5, 20), (2, 3, 20, 6, 6), (1, 20, 33, 4, 15)])
def test_windows(wide, left, right, sizes):
    run_like_definition(make.narrow_window(*sizes, left, right, wide))


@pytest.mark.parametrize("changes", [dict(keeps=False), dict(depth=32), dict(depth=32, keeps=False)], ids=str)
@pytest.mark.parametrize("wide,left,right", make.NARROW)
def test_blocks_do_not_change_what_is_computed(wide, left, right, changes):
    run_like_definition(make.narrow_matmul(90, 130, 175, left, right, wide), **changes)


@pytest.mark.parametrize("wide,left,right", make.NARROW)
def test_other_targets(wide, left, right):
    kernel = make.narrow_matmul(40, 70, 101, left, right, wide)
    for changes in (dict(vector_bytes=32, registers=16), dict(vector_bytes=16), dict(features=""), dict(threads=16),
                    dict(l1_bytes=2048, l2_bytes=16384)):
        run_like_definition(kernel, target=dataclasses.replace(host(), **changes))


def test_narrow_products_are_recognised():
    target = dataclasses.replace(host(), vector_bytes=64, features="+avx512bf16,+avx512vnni")
    for wide, left, right in make.NARROW:
        kernel = make.narrow_matmul(20, 30, 40, left, right, wide)
        found = contraction.match(kernel)
        named = dots.dot(found.total, found.left, found.right, target)
        assert named == ("bf16" if left == "bf16" else "i8")
        assert contraction.schedule(kernel, found, dataclasses.replace(target, features="")).dot == ""
    wide = contraction.match(make.narrow_matmul(20, 30, 40, "f16", "f16", "f32"))
    assert dots.dot(wide.total, wide.left, wide.right, target) == ""


def _random(seeds) -> None:
    for seed in seeds:
        kernel = make.random_contraction(seed, narrow=True)
        if kernel is not None and contraction.match(kernel) is not None:
            changes = dict(l1_bytes=(1024, 4096)[seed % 2], l2_bytes=8192) if seed % 3 == 0 else {}
            run_like_definition(kernel, target=dataclasses.replace(host(), **changes))


@pytest.mark.parametrize("part", range(8))
def test_random_contractions(part):
    _random(range(part * 20, part * 20 + 20))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(50))
def test_many_random_contractions(part):
    _random(range(1000 + part * 100, 1100 + part * 100))
