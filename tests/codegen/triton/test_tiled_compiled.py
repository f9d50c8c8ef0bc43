"""Kernels that are no contractions, compiled without a GPU: registers, spills, and how wide memory is accessed, read
from the machine code.
"""

from __future__ import annotations

import re
from collections import Counter

import kernel_zoo as zoo
import pytest
import sorted_kernels
from braze.codegen.triton import emit
from braze.ir.gpu import GpuTarget
from braze.passes.gpu_schedule import plan
from braze.runtime.triton_compiler import Compiled, Request, compile_sources
from kernel_zoo import M, N

CUDA = {arch: GpuTarget(arch=arch) for arch in ("80", "90", "100")}
AMD = GpuTarget(kind="hip", arch="gfx942", warp=64)

# name: (kernel, most registers of each of its launches on 9.0, bits that the widest store of each takes: fewer than 128
# where a program has one result, or a thread two). All large loads take 128 bits.
KERNELS = {
    "pointwise": (zoo.pointwise_chain(1 << 20), [48], [128]),
    "pointwise of unknown size": (zoo.pointwise_chain(N), [56], [128]),
    "broadcasts": (zoo.broadcasts(4096, 4096), [40], [128]),
    "transpose": (zoo.transpose(4096, 4096), [40], [128]),
    "softmax": (zoo.softmax(8192, 1024), [40], [128]),
    "softmax of unknown sizes": (zoo.softmax(M, N), [56], [128]),
    "softmax bf16": (zoo.softmax(8192, 1024, "bf16"), [48], [128]),
    "layer_norm": (zoo.layer_norm(8192, 1024), [48], [128]),
    "layer_norm of long rows": (zoo.layer_norm(4096, 32768), [56], [128]),
    "rms_norm_gradient": (zoo.rms_norm_gradient(8192, 1024), [120, 32, 32], [128, 32, 32]),
    "variance down columns": (zoo.variance_over_rows(8192, 1024), [40, 32, 40, 32, 32], [32, 32, 32, 32, 128]),
    "long sum": (zoo.sum_long(1 << 24), [40, 24], [32, 32]),
    "embedding": (zoo.embedding(8192, 50_000, 768), [32], [128]),
    "places in long rows": (zoo.argmax(8, 128_256), [48, 48], [64, 64]),
    "embedding_gradient": (zoo.embedding_gradient(8192, 50_000, 768), [40], [64]),
    "cumulative": (zoo.cumulative(512, 1024), [128], [128]),
    "experts of tokens": (sorted_kernels.largest(8192, 64, 2), [32], [64]),
    "rows in order": (sorted_kernels.in_order(1024, 1024), [72], [128]),
    "largest of many": (sorted_kernels.largest(64, 4096, 50), [64], [64]),
    "largest of a vocabulary": (sorted_kernels.largest(64, 32000, 50), [96], [64]),
    "middle": (sorted_kernels.middle(2048, 512), [80], [64]),
}
FAST = ("pointwise", "pointwise of unknown size", "softmax", "rms_norm_gradient", "transpose", "embedding",
        "experts of tokens")


def compiled(kernel, target: GpuTarget) -> list[Compiled]:
    """The launches of a kernel, its sizes being multiples of 16."""
    sources = [emit(k, s, target) for k, s in plan(kernel, target)]
    return compile_sources([Request(s, target, tuple(True for _, kind in s.facts["arguments"] if kind[0] != "*"))
                            for s in sources])


def widths(text: str, access: str) -> Counter[int]:
    """How many accesses of global memory there are of each number of bits."""
    found = re.findall(rf"{access}\.global[\w.:]*?(?:\.v(\d))?\.[bfsu](\d+)\b", text)
    return Counter(int(vector or 1) * int(bits) for vector, bits in found)


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in KERNELS])
def test_registers_and_widths(name):
    kernel, registers, stores = KERNELS[name]
    made = compiled(kernel, CUDA["90"])
    assert [c.spills for c in made] == [0] * len(registers)
    assert all(c.registers <= most for c, most in zip(made, registers)), [c.registers for c in made]
    assert [max(widths(c.ptx, "st")) for c in made] == stores
    for c in made:
        assert widths(c.ptx, "ld")[128] > 0, widths(c.ptx, "ld")
        assert not re.search(r"div\.full|div\.approx|sqrt\.approx|ex2|lg2|\.ftz|atom\.|\bred\.", c.ptx)


@pytest.mark.slow
@pytest.mark.parametrize("target", [CUDA["80"], CUDA["100"], AMD], ids=lambda t: t.arch)
@pytest.mark.parametrize("name", KERNELS)
def test_nothing_spills_elsewhere(name, target):
    assert all(c.spills == 0 for c in compiled(KERNELS[name][0], target))
