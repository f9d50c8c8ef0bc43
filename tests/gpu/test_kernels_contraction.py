"""Contractions as products on tiles, run by Triton's interpreter against the definition: layouts, prologues, epilogues,
dtypes, windows, sums cut in two, symbolic sizes, and random ones under random tiles.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

import braze
import numpy as np
import pytest
from braze.codegen.triton import emit
from braze.ir.configuration import configuration
from braze.ir.expr import floordiv, symbol
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import LEAST_DEPTH, GpuContraction
from braze.ir.kernel import Kernel
from braze.ir.types import bfloat16
from braze.passes import contraction, gpu_contraction, gpu_split
from braze.passes.gpu_schedule import plan
from kernel_zoo import Zoo, assert_close, inputs, reference
from zoo_tools import outputs

from codegen import contractions as c

from .kernel_runner import run

TARGET = GpuTarget()
M, N, K = (symbol(name, 1) for name in "MNK")


def schedule(kernel: Kernel, **changes) -> GpuContraction:
    """The kernel's schedule as a contraction, changed."""
    found = contraction.match(kernel)
    assert found is not None
    return replace(gpu_contraction.schedule(kernel, found, TARGET), **changes)


def run_like_definition(kernel: Kernel, sizes=None, plan=None, **changes) -> None:
    """The kernel gives what the definition gives, and writes nowhere else."""
    arrays = inputs(kernel, np.random.default_rng(0), sizes or {})
    plan = plan or [(kernel, schedule(kernel, **changes))]
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes or {}, plan)
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


KERNELS = {
    "plain": c.matmul(33, 40, 50),
    "all transposed": c.matmul(33, 40, 50, b="jk", a="ki", y="ji"),
    "epilogue": c.matmul(33, 18, 50, epilogue=c.biased_relu),
    "several stores": c.several_stores(20, 18, 33),
    "prologues": c.prologues(20, 33, 18),
    "batches": c.batched(3, 20, 18, 33),
    "heads": c.heads(2, 9, 3, 20, 8),
    "scores": c.scores(2, 2, 17, 9, 8),
    "two summed axes": c.tensor_product(9, 20, 5, 7),
    "bf16": c.stored_narrow(20, 30, 70, "bf16"),
    "f16": c.stored_narrow(20, 30, 70, "f16"),
    "f64": c.matmul(33, 20, 50, "f64"),
    "i8": c.narrow_matmul(20, 18, 70, "i8", "i8", "i32"),
    "i8 scaled": c.narrow_matmul(20, 18, 70, "i8", "i8", "i32", scaled=True),
    "i8 that wraps": c.matmul(20, 18, 70, "i8"),
    "u8 by i8": c.narrow_matmul(9, 18, 40, "u8", "i8", "i32"),
    "i64": c.matmul(9, 20, 30, "i64"),
    "f8": c.narrow_matmul(20, 18, 70, "f8e4m3fn", "f8e4m3fn", "f32"),
    "f8 of both formats": c.narrow_matmul(20, 18, 70, "f8e4m3fn", "f8e5m2", "f32"),
    "f8, whole tiles": c.narrow_matmul(32, 32, 64, "f8e5m2", "f8e5m2", "f32"),
    "bf16 by f8": c.narrow_matmul(20, 18, 70, "bf16", "f8e4m3fn", "f32"),
    "f8 by f16": c.narrow_matmul(20, 18, 70, "f8e5m2", "f16", "f32"),
    "f32 by f8": c.narrow_matmul(20, 18, 70, "f32", "f8e4m3fn", "f32"),
    "window of f8": c.narrow_window(2, 16, 6, 5, 7, "f8e4m3fn", "f8e4m3fn"),
    "weights of 8 bits": c.narrow_matmul(20, 18, 40, "f32", "i8", "f32"),
    "distances": c.distances(9, 20, 30),
    "any term": c.nearness(9, 20, 30),
    "window": c.window(2, 5, 6, 7, 9),
    "window of whole runs": c.window(1, 32, 6, 5, 6),
    "window, channels first, groups": c.window(2, 3, 4, 7, 5, layout="nchw", groups=2),
    "window, strided, dilated": c.window(1, 4, 5, 7, 9, step=2, dilation=2),
    "window of bf16": c.narrow_window(2, 16, 6, 5, 7),
    "weight gradient": c.weight_gradient(2, 3, 4, 5, 6),
    "image gradient": c.image_gradient(2, 3, 4, 5, 6),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name):
    run_like_definition(KERNELS[name])


@pytest.mark.parametrize("tile", [(16, 32, 16), (64, 16, 32), (32, 64, 64)])
@pytest.mark.parametrize("together", [1, 3])
def test_tiles_cover_all_rows_and_columns(tile, together):
    run_like_definition(c.matmul(70, 90, 50, epilogue=c.biased_relu), tile=tile, together=together)


@pytest.mark.parametrize("parts, programs", [(1, 0), (2, 0), (4, 0), (2, 3)])
@pytest.mark.parametrize("kernel", [
    c.matmul(33, 16, 50, epilogue=c.biased_relu), c.several_stores(20, 18, 33), c.stored_narrow(20, 90, 70, "bf16"),
    c.matmul(M, N, K, epilogue=c.biased_relu), c.window(1, 4, 5, 40, 9)],
    ids=["epilogue", "several stores", "bf16", "symbolic", "window"])
def test_what_follows_is_written_part_by_part(kernel, parts, programs):
    sizes = {n: size for n, size in {"M": 20, "N": 77, "K": 9}.items() if n in kernel.sizes}
    run_like_definition(kernel, sizes, tile=(16, 64, 16), parts=parts, programs=programs)


def test_a_dear_epilogue_is_written_in_parts_and_a_cheap_one_whole():
    gelu = c.matmul(4096, 4096, 512, epilogue=lambda k, x: k.mul(x, k.erf(x)))
    residual = c.matmul(4096, 4096, 512, epilogue=lambda k, x: k.add(x, k.read("residual", "ij")))
    bias = c.matmul(4096, 4096, 512, epilogue=lambda k, x: k.add(x, k.read("bias", "j")))
    norm = c.matmul(4096, 4096, 512, epilogue=lambda k, x: k.mul(k.sub(x, k.read("mean", "j")), k.read("scale", "j")))
    assert [schedule(k).parts > 1 for k in (gelu, residual, norm, bias)] == [True, True, True, False]


def test_float32_is_rounded_where_the_target_says_so():
    kernel = c.matmul(33, 40, 50)
    rounded = replace(TARGET, precision="bf16")
    ((_, s),) = plan(kernel, rounded)
    arrays = inputs(kernel, np.random.default_rng(0))
    got = run(kernel, arrays, outputs(kernel, arrays), {}, [(kernel, s)])
    narrow = {n: a.astype(bfloat16.numpy).astype(np.float32) for n, a in arrays.items()}
    assert s.operand is bfloat16
    assert_close(kernel, got, reference(kernel, narrow))


@pytest.mark.parametrize("programs", [1, 4, 100])
@pytest.mark.parametrize("kernel", [c.matmul(70, 90, 33), c.batched(3, 20, 40, 33), c.batched(M, 20, N, 8)],
                         ids=["plain", "batched", "symbolic"])
def test_programs_share_all_tiles(kernel, programs):
    sizes = {n: size for n, size in {"M": 3, "N": 70}.items() if n in kernel.sizes}
    run_like_definition(kernel, sizes, tile=(16, 32, 16), programs=programs)


@pytest.mark.parametrize("programs", [2, 4, 7, 23])
@pytest.mark.parametrize("kernel", [
    c.matmul(70, 90, 33, epilogue=c.biased_relu), c.batched(3, 20, 40, 96), c.stored_narrow(40, 70, 100, "bf16"),
    c.window(2, 5, 6, 17, 9), c.several_stores(40, 33, 18),
    c.narrow_matmul(40, 70, 80, "i8", "i8", "i32", scaled=True)],
    ids=["epilogue", "batched", "bf16", "window", "several stores", "i8"])
def test_the_rest_of_the_tiles_is_shared_along_their_sums(kernel, programs):
    least = LEAST_DEPTH[schedule(kernel).operand.itemsize]
    run_like_definition(kernel, tile=(32, 32, least), programs=programs, rest="shares", parts=1)
    run_like_definition(kernel, tile=(32, 64, least), programs=programs, rest="shares", parts=2)


@pytest.mark.parametrize("kernel", [
    c.between(3, 20, 18, 50), c.between(2, 20, 18, 64, "bf16"), c.between(4, 17, 33, 30, moved=5),
    c.between(3, 20, 18, 50, one_sided=True), c.between(3, M, N, K)],
    ids=["plain", "bf16", "moved", "one end", "symbolic"])
def test_a_part_of_k_is_read_where_both_sides_are_zero_outside(kernel):
    sizes = {n: size for n, size in {"M": 20, "N": 17, "K": 41}.items() if n in kernel.sizes}
    run_like_definition(kernel, sizes)
    s = schedule(kernel)
    run_like_definition(kernel, sizes, tile=(32, 16, LEAST_DEPTH[s.operand.itemsize]))
    text = emit(kernel, s, TARGET).text
    assert re.search(r"in range\((first|0), .*\blast\b", text)
    arrays = inputs(kernel, np.random.default_rng(1), sizes)
    for name in arrays.keys() & {"start", "end"}:                # NaN outside of it is not seen
        arrays[name][:] = {"start": 3, "end": 5}[name]
    arrays["a"][:, 20:], arrays["b"][20:] = np.nan, np.nan
    got = run(kernel, arrays, outputs(kernel, arrays, sizes), sizes, [(kernel, s)])
    assert np.isfinite(got["y"].astype(np.float32)).all()
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


def test_shares_are_added_in_the_order_of_their_programs():
    """The same bits each time, and those of one program after the other."""
    kernel = c.matmul(40, 40, 200)
    arrays = inputs(kernel, np.random.default_rng(0))
    way = [(kernel, schedule(kernel, tile=(16, 32, 8), programs=5, rest="shares"))]
    first, again = (run(kernel, arrays, outputs(kernel, arrays), {}, way)["y"] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    text = "".join(source.text for source in emit(*way[0], TARGET).chain)
    assert "atomic" not in text


def test_shares_are_chosen_where_a_few_tiles_would_make_all_others_wait():
    large = replace(TARGET, processors=148)
    few, many, unknown = (c.stored_narrow(m, 4096, 14336, "bf16") for m in (2048, 1024 * 37, M))
    found = {name: gpu_contraction.candidates(k, large) for name, k in (("few", few), ("many", many), ("any", unknown))}
    assert [ways[0].rest for ways in found.values()] == ["shares", "tiles", "tiles"]
    assert all(s.rest == "tiles" for s in found["any"])
    shares = found["few"][0].shares(few)
    assert shares.first % 148 == 0 and 0 < shares.rest < 148
    assert shares.length * 148 >= shares.rest * shares.steps > (shares.length - 1) * 148


def test_a_program_with_shares_runs_both_kernels_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(gpu_contraction, "SHARES_WORTH", 1e9)
    monkeypatch.setattr(gpu_contraction, "_resident", lambda *_: 1)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((203, 33), (33, 183)))
    for _ in range(2):
        f = braze.compile(lambda x, w: braze.relu(x @ w) + 1)
        got = f(*(braze.tensor(a, device="cuda:0") for a in (x, w))).cpu().numpy()
        np.testing.assert_allclose(got, np.maximum(x @ w, 0) + 1, rtol=1e-5, atol=1e-5)
        assert "_rest(" in f.ir("source")


@pytest.mark.parametrize("a", ["ik", "ki"])
@pytest.mark.parametrize("b", ["kj", "jk"])
@pytest.mark.parametrize("programs", [0, 2])
def test_descriptors_fetch_operands(a, b, programs):
    kernel = c.matmul(48, 36, 40, a=a, b=b, epilogue=c.biased_relu)
    run_like_definition(kernel, tile=(16, 16, 32), descriptors=("left", "right"), programs=programs)


def test_descriptors_are_made_once_for_all_tiles_of_a_program():
    s = schedule(c.matmul(64, 64, 64), tile=(16, 16, 32), descriptors=("left", "right"), programs=2)
    text = emit(c.matmul(64, 64, 64), s, TARGET).text
    assert 0 < text.rindex("make_tensor_descriptor") < text.index("in tl.range(")


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (16, 16, 16), (17, 5, 3), (40, 33, 70)])
def test_symbolic_sizes(m, n, k):
    run_like_definition(c.matmul(M, N, K, epilogue=c.biased_relu), {"M": m, "N": n, "K": k}, tile=(16, 16, 32))


def test_symbolic_batches():
    run_like_definition(c.batched(M, 20, N, 8), {"M": 3, "N": 21})


@pytest.mark.parametrize("kernel", [c.matmul(20, 18, 512, epilogue=c.biased_relu), c.stored_narrow(9, 8, 1024, "bf16"),
                                    c.weight_gradient(4, 3, 4, 16, 16)], ids=lambda k: k.name)
def test_long_sums_are_cut_in_two(kernel):
    found = contraction.match(kernel)
    halves = gpu_split.split_depth(kernel, found, replace(TARGET, processors=10_000))
    assert halves is not None and contraction.match(halves[0]) is not None
    run_like_definition(kernel)


def test_groups_of_channels_become_an_axis():
    k = Zoo("grouped", {"n": 2, "o": 12, "h": 6, "w": 5, "c": 4, "r": 3, "s": 3})
    at = {a: k.axis(a) for a in k.axes}
    channel = at["c"] + 4 * floordiv(at["o"], 6)
    image = k.load("x", (2, 8, 6, 5), "f32", (at["n"], channel, at["h"] + at["r"] - 1, at["w"] + at["s"] - 1), 0.0)
    k.write("y", "nohw", k.reduce("sum", k.mul(image, k.read("f", "ocrs")), "crs"))
    kernel = k.build()
    ((cut, s),) = plan(kernel, TARGET)
    assert isinstance(s, GpuContraction) and cut.axes["group"] == 2 and len(s.g) == 1
    run_like_definition(kernel, plan=[(cut, s)])


@pytest.mark.parametrize("options", [dict(layout="nchw"), dict(layout="nhwc"), dict(layout="nchw", step=2, groups=2)],
                         ids=lambda o: "-".join(map(str, o.values())))
def test_channels_are_laid_out_last(options):
    kernel = c.window(2, 16, 20, 9, 7, **options)
    parts = plan(kernel, TARGET)
    assert [k.name for k, _ in parts] == ["window_pack"] * (2 if options["layout"] == "nchw" else 1) + ["window"]
    run_like_definition(kernel, plan=parts)


def random_schedule(kernel: Kernel, seed: int) -> GpuContraction:
    """Any tile of small sizes."""
    r, base = random.Random(seed), schedule(kernel)
    least = LEAST_DEPTH[base.operand.itemsize] if base.variant == "dot" else 1
    tile = (r.choice([16, 32]), r.choice([16, 32]), max(least, r.choice([1, 8, 16, 32])))
    parts = r.choice([1, 2, 4]) if base.variant == "dot" else 1
    return replace(base, tile=tile, together=r.choice([1, 2, 8]), parts=parts)


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels(seed):
    kernel = c.random_contraction(seed, narrow=seed % 4 == 3)
    found = kernel and contraction.match(kernel)
    if found is None or not gpu_contraction.suits(kernel, found):
        pytest.skip("nothing is contracted")
    run_like_definition(kernel, plan=[(kernel, random_schedule(kernel, seed))])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_more_random_kernels(seed):
    test_random_kernels(seed)
