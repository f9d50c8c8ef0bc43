"""What the source of a kernel looks like: it is read by people."""

from __future__ import annotations

import kernel_zoo as zoo
import pytest
from braze.codegen.triton import emit
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_tiled import Block, Tiled
from braze.passes.gpu_schedule import plan
from kernel_zoo import M, N


def body(kernel, schedule=None) -> str:
    """The kernel's function, without its helpers."""
    if schedule is None:
        ((kernel, schedule),) = plan(kernel, GpuTarget())
    text = emit(kernel, schedule, GpuTarget()).text
    return text[text.rindex("@triton.jit"):]


def test_rows_that_are_held_whole():
    assert body(zoo.softmax(8192, 1000)) == """\
@triton.jit
def softmax(x, y):
    at = tl.program_id(0)
    i = at * 2 + tl.arange(0, 2)[:, None]
    j = tl.arange(0, 1024)[None, :]
    j_in = j < 1000
    v0 = tl.load(x + i * 1000 + j, mask=j_in)
    v0_1 = tl.where(j_in, v0, float('-inf'))
    v1 = tl.reduce(v0_1, 1, nan_max, keep_dims=True)
    v2 = v0 - v1
    v3 = exp_f32(v2)
    v3_1 = tl.where(j_in, v3, 0.0)
    v4 = tl.sum(v3_1, 1, keep_dims=True)
    v5 = tl.div_rn(v3, v4)
    tl.store(y + i * 1000 + j, v5, mask=j_in)
"""


def test_sums_down_columns_run_through_their_rows_in_turns():
    schedule = Tiled(grid=(Block(("j",), 64),), turns=Block(("i",), 16))
    kernel = zoo.Zoo("total", {"i": M, "j": 128})
    kernel.write("y", "j", kernel.reduce("sum", kernel.read("x", "ij"), "i"))
    assert body(kernel.build(), schedule) == """\
@triton.jit
def total(x, y, M):
    at = tl.program_id(0).to(tl.int64)
    j = at * 64 + tl.arange(0, 64)[:, None]
    v1 = tl.full([64, 16], 0.0, tl.float32)
    for i0 in range(0, M, 16):
        i = i0 + tl.arange(0, 16)[None, :]
        i_in = i < M
        v0 = tl.load(x + i * 128 + j, mask=i_in)
        v0_1 = tl.where(i_in, v0, 0.0)
        v1 = v1 + v0_1
    v1_1 = tl.sum(v1, 1, keep_dims=True)
    tl.store(y + j, v1_1)
"""


def test_a_scatter_is_done_in_order_by_the_program_that_owns_the_place():
    text = body(zoo.embedding_gradient(20, 1000, 128))
    assert "mine = (v0 // 4 == at" in text and "tl.debug_barrier()" in text and "atomic" not in text


@pytest.mark.parametrize("n, is_wide", [(1 << 20, False), (1 << 31, True), (N, True), (symbol("N", 1, 1 << 20), False)])
def test_offsets_have_64_bits_where_32_may_not_do(n, is_wide):
    source = emit(zoo.pointwise_chain(n), Tiled(grid=(Block(("i",), 256),)), GpuTarget())
    assert ("tl.int64" in source.text) == is_wide
    assert all(kind == ("i64" if is_wide else "i32") for name, kind in source.facts["arguments"] if kind[0] != "*")


@pytest.mark.parametrize("schedule, why", [
    (Tiled(grid=(Block(("i",)), Block(("j",), 8))), "cut among programs"),
    (Tiled(grid=(Block(("i",)),)), "are not the kernel's axes"),
    (Tiled(grid=(Block(("i",), 3),), whole=(Block(("j",), 8),)), "no power of two"),
    (Tiled(grid=(Block(("i",)),), whole=(Block(("j",), 4),)), "not held whole"),
    (Tiled(turns=Block(("i", "j"), 8)), "takes a part of"),
])  # fmt: skip
def test_a_schedule_that_breaks_the_kernel_is_refused(schedule, why):
    with pytest.raises(VerifyError, match=why):
        emit(zoo.softmax(3, 5), schedule, GpuTarget())
