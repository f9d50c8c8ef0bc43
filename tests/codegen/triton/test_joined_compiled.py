"""Joined kernels, compiled without a GPU: registers, spills, and how wide memory is accessed, read from the machine
code; and their text.
"""

from __future__ import annotations

import pytest
from braze.codegen.triton import emit
from braze.ir import expr
from braze.ir.gpu import GpuTarget
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.types import bfloat16, dtype, float32
from braze.passes.gpu_schedule import joined_schedule
from braze.runtime.triton_compiler import compile_source

from .test_tiled_compiled import AMD, CUDA, widths

NUMBERS = ("lr", "beta1", "beta2", "eps", "decay", "size", "correction")


def adamw(most: int | None = 1 << 30, is_computed: bool = False) -> Kernel:
    """AdamW as `optim` writes it; its corrections are read, or computed from the step by each program."""
    n = expr.symbol("n", 0, most)
    k = KernelBuilder("adamw", {"i": n})
    p, g, m, v = (k.load(name, (n,), "f32", [k.axis("i")]) for name in "pgmv")
    lr, beta1, beta2, eps, decay, size, correction = (k.load(s, (), "f64", []) for s in NUMBERS)
    if is_computed:
        step = k.cast(k.load("step", (), "f32", []), dtype("f64"))
        size = k.div(lr, k.sub(1.0, k.pow(beta1, step)))
        correction = k.div(1.0, k.sqrt(k.sub(1.0, k.pow(beta2, step))))
    beta1, beta2 = k.cast(k.sub(1.0, beta1), float32), k.cast(beta2, float32)
    mean = k.add(m, k.mul(k.sub(g, m), beta1))
    square = k.add(k.mul(v, beta2), k.mul(k.mul(g, g), k.sub(1.0, beta2)))
    root = k.add(k.mul(k.sqrt(square), k.cast(correction, float32)), k.cast(eps, float32))
    kept = k.mul(p, k.cast(k.sub(1.0, k.mul(lr, decay)), float32))
    k.store("m_new", (n,), [k.axis("i")], mean)
    k.store("v_new", (n,), [k.axis("i")], square)
    k.store("p_new", (n,), [k.axis("i")], k.sub(kept, k.div(k.mul(mean, k.cast(size, float32)), root)))
    return k.build()


def casts() -> Kernel:
    n = expr.symbol("n", 0, 1 << 30)
    k = KernelBuilder("casts", {"i": n})
    k.store("y", (n,), [k.axis("i")], k.cast(k.load("x", (n,), "f32", [k.axis("i")]), bfloat16))
    return k.build()


# name: (kernel, extents of parts, most registers on 9.0)
KERNELS = {
    "AdamW": (adamw(), [512, 512 * 512], 48),
    "AdamW of odd sizes": (adamw(), [513, 512 * 512], 56),
    "AdamW that computes its corrections": (adamw(is_computed=True), [512, 1001], 104),
    "AdamW of any size": (adamw(None), [1 << 33, 512], 64),
    "casts": (casts(), [768, 768 * 3072], 32),
}


def source(name: str, target: GpuTarget):
    kernel, extents, _ = KERNELS[name]
    shared = tuple(b.name for b in kernel.inputs if not b.shape)
    return emit(kernel, joined_schedule(kernel, target, extents, shared), target)


@pytest.mark.parametrize("name", KERNELS)
def test_registers_and_widths(name):
    made = compile_source(source(name, CUDA["90"]), CUDA["90"])
    assert made.spills == 0 and made.registers <= KERNELS[name][2], made.registers
    loads, stores = widths(made.ptx, "ld"), widths(made.ptx, "st")
    arrays = 1 if name == "casts" else 4
    assert loads[128] >= arrays and stores[128] >= max(1, arrays - 1), (loads, stores)
    if not any(n % 16 for n in KERNELS[name][1]):        # no other accesses than wide ones, of words and of numbers
        assert set(stores) == {128}


@pytest.mark.slow
@pytest.mark.parametrize("target", [CUDA["80"], CUDA["100"], AMD], ids=lambda t: t.arch)
@pytest.mark.parametrize("name", KERNELS)
def test_nothing_spills_elsewhere(name, target):
    assert compile_source(source(name, target), target).spills == 0


def test_the_text_of_a_joined_kernel():
    lines = source("casts", GpuTarget()).text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("def"))
    assert lines[start:] == [
        "def casts(table, places):",
        "    at = tl.program_id(0)",
        "    row = table + tl.load(places + at * 2) * 3",
        "    piece = tl.load(places + at * 2 + 1)",
        "    n = tl.multiple_of(tl.load(row).to(tl.int32), 16)",
        "    x = tl.multiple_of(tl.load(row + 1).to(tl.pointer_type(tl.float32)), 16)",
        "    y = tl.multiple_of(tl.load(row + 2).to(tl.pointer_type(tl.bfloat16)), 16)",
        "    start = piece * 1024",
        "    i = start + tl.arange(0, 1024)",
        "    i_in = i < n",
        "    v0 = tl.load(x + i, mask=i_in)",
        "    v1 = v0.to(tl.bfloat16)",
        "    tl.store(y + i, v1, mask=i_in)",
    ]


def test_arguments_are_the_tables_and_what_is_shared():
    made = source("AdamW", GpuTarget())
    assert made.facts["arguments"] == (("table", "*i64"), ("places", "*i32"), *((n, "*fp64") for n in NUMBERS))
    assert str(made.facts["grid"][0]) == "programs"
