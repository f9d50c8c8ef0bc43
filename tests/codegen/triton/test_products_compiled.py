"""Contractions and attention of benchmarks' sizes, compiled without a GPU: registers, spills, shared memory and which
unit multiplies, read from the machine code.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from braze.codegen.triton import emit
from braze.ir.expr import symbol
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import GpuContraction, GpuStreamed
from braze.ir.kernel import Kernel
from braze.passes import gpu_contraction
from braze.passes.gpu_schedule import plan
from braze.runtime.triton_compiler import Compiled, Request, compile_sources

from ..contractions import between, matmul, narrow_matmul
from ..streams import attention
from .products import KERNELS, TARGETS, UNITS, batched_narrow, gelu, linear, with_residual

# name: most registers and bytes of shared memory on 9.0
FIGURES = {
    "matmul 4096": (200, 192 << 10),
    "matmul 8192, right rows": (200, 192 << 10),
    "matmul 4096 f32": (136, 128 << 10),
    "GPT-2: qkv": (128, 96 << 10),
    "GPT-2: MLP, GELU": (216, 192 << 10),
    "GPT-2: MLP, residual": (128, 128 << 10),
    "ResNet: 3x3, 64": (160, 96 << 10),
    "ResNet: 3x3, 512": (104, 64 << 10),
    "ResNet: 1x1, 64 to 256": (128, 32 << 10),
    "ResNet: 7x7, 3 to 64": (184, 16 << 10),
    "ResNet: 3x3, channels first": (160, 96 << 10),
    "attention 64: forward": (208, 114 << 10),
    "attention 64: kv": (248, 96 << 10),
    "attention 64: q": (184, 96 << 10),
    "attention 128: forward": (208, 128 << 10),
    "attention 128: kv": (255, 128 << 10),
    "attention 128: q": (232, 162 << 10),
}
FAST = ("GPT-2: MLP, residual", "ResNet: 3x3, 64", "attention 64: forward", "attention 64: kv")


def squashed(k, x):
    """x erf(x)."""
    return k.mul(x, k.erf(x))


def compiled(kernel: Kernel, target: GpuTarget, is_divisible: bool = True) -> list[Compiled]:
    """The launches of a kernel."""
    sources = [source for k, s in plan(kernel, target) for source in emit(k, s, target).chain]
    return compile_sources([Request(s, target, (is_divisible,) * sum(t[0] != "*" for _, t in s.facts["arguments"]))
                            for s in sources])


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in KERNELS])
def test_hopper_multiplies_without_spills(name):
    *_, made = compiled(KERNELS[name], TARGETS["90"])
    registers, shared = FIGURES[name]
    assert made.spills == 0 and made.registers <= registers and made.shared <= shared, made
    assert UNITS["90"] in made.assembly


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["80", "100", "gfx942"])
@pytest.mark.parametrize("name", KERNELS)
def test_other_devices_multiply_without_spills(name, arch):
    made = compiled(KERNELS[name], TARGETS[arch])
    assert all(c.spills == 0 and c.shared <= TARGETS[arch].shared_bytes + (4 << 10) for c in made), made
    assert any(UNITS[arch] in c.assembly for c in made)


FORMATS = [("e4m3", "e5m2"), *(pytest.param(a, b, marks=pytest.mark.slow) for a, b in (("e4m3", "e4m3"),
                                                                                      ("e5m2", "e5m2")))]
NAMED = {"e4m3": "f8e4m3fn", "e5m2": "f8e5m2"}


@pytest.mark.parametrize("left, right", FORMATS)
def test_hopper_multiplies_8_bit_floats_as_they_are(left, right):
    """From shared memory, where they are copied without passing through registers; sums are promoted."""
    (made,) = compiled(narrow_matmul(4096, 4096, 4096, NAMED[left], NAMED[right], "f32", b="jk"), TARGETS["90"])
    assert made.spills == 0 and made.registers <= 168, made
    assert f"wgmma.mma_async.sync.aligned.m64n128k32.f32.{left}.{right}" in made.assembly
    assert "cp.async.cg.shared.global" in made.assembly and "add.rn.f32" in made.assembly


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["80", "100", "gfx942"])
def test_other_devices_multiply_8_bit_floats(arch):
    """As they are from compute capability 8.9 on, else as float16."""
    (made,) = compiled(narrow_matmul(4096, 4096, 4096, "f8e4m3fn", "f8e4m3fn", "f32", b="jk"), TARGETS[arch])
    assert made.spills == 0 and UNITS[arch] in made.assembly, made


@pytest.mark.slow
def test_descriptors_fetch_8_bit_floats():
    kernel = narrow_matmul(4096, 4096, 4096, "f8e4m3fn", "f8e4m3fn", "f32", b="jk")
    (fetched,) = (s for s in gpu_contraction.candidates(kernel, TARGETS["90"]) if s.descriptors and not s.programs)
    (made,) = compile_sources([Request(emit(kernel, fetched, TARGETS["90"]), TARGETS["90"])])
    assert made.spills == 0 and "cp.async.bulk.tensor" in made.assembly and ".f32.e4m3.e4m3" in made.assembly


@pytest.mark.parametrize("right", ["f8e4m3fn", pytest.param("i8", marks=pytest.mark.slow)])
def test_plain_float32_times_widened_numbers_does_not_spill(right):
    kernel = narrow_matmul(4096, 4096, 4096, "f32", right, "f32", b="jk")
    (made,) = compiled(kernel, replace(TARGETS["90"], precision="ieee"))
    assert made.spills == 0 and "fma.rn.f32" in made.assembly


@pytest.mark.parametrize("l, heads", [(1, 1), (1, 4), (4, 4)])
def test_decoding_multiplies_16_bits_without_spills(l, heads):
    kernel = attention(1, 32, l, 8192, 128, 128, "bf16", heads=heads)
    first, second = compiled(kernel, TARGETS["90"])
    assert first.spills == second.spills == 0 and first.registers <= 128 and first.shared <= 192 << 10, first
    assert "mma.sync" in first.assembly and ".bf16" in first.assembly and "cp.async" in first.assembly


def test_plain_float32_does_not_spill():
    (made,) = compiled(matmul(4096, 4096, 4096), replace(TARGETS["90"], precision="ieee"))
    assert made.spills == 0 and made.registers <= 208 and "fma.rn.f32" in made.assembly


@pytest.mark.slow
@pytest.mark.parametrize("kernel, precision", [
    (matmul(4096, 4096, 4096, epilogue=squashed), "ieee"), (matmul(4096, 4096, 4096, epilogue=squashed), "tf32"),
    (matmul(2048, 2048, 2048, "f64", epilogue=squashed), "ieee"), (linear(4001, 4003, 4005, gelu), "ieee")],
    ids=["ieee", "tf32", "f64", "odd bf16"])
def test_dear_epilogues_of_other_dtypes_and_of_rows_that_are_not_aligned_do_not_spill(kernel, precision):
    made = compiled(kernel, replace(TARGETS["90"], precision=precision))
    assert all(c.spills == 0 for c in made), made


@pytest.mark.slow
def test_unknown_sizes_that_16_divides_are_copied_in_whole_lines():
    m, n, k = (symbol(name, 1) for name in "MNK")
    even, odd = (compiled(linear(m, n, k), TARGETS["90"], is_divisible)[0] for is_divisible in (True, False))
    assert even.spills == 0 and odd.spills <= 64 and all(UNITS["90"] in c.assembly for c in (even, odd))
    assert "cp.async.cg.shared.global" in even.assembly and "cp.async.cg.shared.global" not in odd.assembly


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [linear(4096, 4096, 4096, b="kj"), linear(4096, 4096, 4096, gelu, b="kj"),
                                    linear(8192, 768, 3072, with_residual)], ids=["bias", "GELU", "residual"])
def test_descriptors_and_programs_that_stay_compile(kernel):
    ways = gpu_contraction.candidates(kernel, TARGETS["90"])
    (fetched,) = (s for s in ways if s.descriptors and not s.programs)
    (staying,) = (s for s in ways if s.programs and s.rest == "tiles")
    made = compile_sources([Request(emit(kernel, s, TARGETS["90"]), TARGETS["90"]) for s in (fetched, staying)])
    assert all(c.spills == 0 and "cp.async.bulk.tensor" in c.assembly for c in made)


@pytest.mark.parametrize("arch", ["90", *(pytest.param(a, marks=pytest.mark.slow) for a in ("80", "100", "gfx942"))])
def test_parts_of_k_are_copied_as_they_are(arch):
    (made,) = compiled(between(8, 1024, 2048, 3072, "bf16"), TARGETS[arch])
    assert made.spills == 0 and UNITS[arch] in made.assembly, made
    assert arch == "gfx942" or "cp.async" in made.assembly


@pytest.mark.parametrize("arch, kernel", [
    ("90", linear(4096, 4096, 4000, gelu)), pytest.param("80", linear(3000, 4096, 4000), marks=pytest.mark.slow),
    pytest.param("90", linear(3000, 4096, 4000), marks=pytest.mark.slow),
    pytest.param("100", linear(2048, 4096, 14336), marks=pytest.mark.slow)],
    ids=["GELU", "Ampere", "Hopper", "Blackwell"])
def test_shares_of_the_rest_of_the_tiles_compile(arch, kernel):
    way = next(s for s in gpu_contraction.candidates(kernel, TARGETS[arch]) if s.rest == "shares")
    first, second = compile_sources([Request(s, TARGETS[arch]) for s in emit(kernel, way, TARGETS[arch]).chain])
    assert first.spills == second.spills == 0 and second.registers <= 200, (first, second)
    assert UNITS[arch] in first.assembly and UNITS[arch] not in second.assembly


@pytest.mark.slow
def test_programs_that_stay_work_through_batches():
    kernel = batched_narrow(64, 1024, 1024, 512)
    ways = gpu_contraction.candidates(kernel, TARGETS["90"])
    (staying,) = (s for s in ways if s.programs and s.rest == "tiles")
    (made,) = compile_sources([Request(emit(kernel, staying, TARGETS["90"]), TARGETS["90"])])
    assert made.spills == 0 and made.registers <= 248 and UNITS["90"] in made.assembly


def test_kernels_of_benchmarks_are_one_but_for_images_that_are_laid_out_anew():
    for name, kernel in KERNELS.items():
        *before, (_, s) = plan(kernel, TARGETS["90"])
        assert isinstance(s, GpuStreamed if "attention" in name else GpuContraction), name
        assert len(before) == ("channels first" in name), name
