"""Which kernels are contractions, with which axes, and that the schedules chosen for them are legal."""

from __future__ import annotations

import pytest
from braze.ir.errors import VerifyError
from braze.ir.schedule import Contraction, Rows
from braze.ir.target import Target
from braze.passes import contraction
from braze.passes.schedule import schedule
from kernel_zoo import ZOO, K, M, N, Zoo, batched_matmul

AVX512 = Target("x86_64-unknown-linux-gnu", "znver5", "", 64, 32, 48 << 10, 1 << 20, 2)
AVX2 = Target("x86_64-unknown-linux-gnu", "haswell", "", 32, 16, 32 << 10, 256 << 10, 4)
NEON = Target("aarch64-unknown-linux-gnu", "neoverse-n1", "", 16, 32, 64 << 10, 1 << 20, 4)

ROLES = {
    "matmul": ("", "i", "j", "k"),
    "linear_silu": ("", "i", "j", "k"),
    "matmul_with_prologue": ("", "i", "j", "k"),
    "batched_matmul": ("b", "i", "j", "k"),
    "batched_matmul_shared": ("", "bi", "j", "k"),
    "convolution_nhwc": ("", "nhw", "o", "rsc"),
    "convolution_nchw": ("", "o", "nhw", "crs"),
}


@pytest.mark.parametrize("sizes, kind", [((1000, 4, 4, 4), Rows), ((1000, 1, 8, 8), Rows), ((10, 4, 4, 4), Contraction),
                                         ((1000, 16, 16, 16), Contraction)])
def test_many_tiny_products_are_plain_loops(sizes, kind):
    assert isinstance(schedule(batched_matmul(*sizes), AVX512), kind)


@pytest.mark.parametrize("name", ROLES)
def test_axes_have_their_roles(name):
    m = contraction.match(ZOO[name])
    assert ("".join(m.g), "".join(m.i), "".join(m.j), "".join(m.k)) == ROLES[name]
    assert not set(m.j) & set(m.left.axes) and not set(m.i) & set(m.right.axes)


@pytest.mark.parametrize(
    "name",
    [
        "softmax",
        "layer_norm",
        "depthwise_convolution",
        "matmul_then_softmax",
        "attention",
        "adamw",
        "variance_over_rows",
        "embedding_gradient",
        "sum_long",
        "n_body",
    ],
)
def test_what_is_no_contraction(name):
    assert contraction.match(ZOO[name]) is None


def _kernel(finish):
    k = Zoo("candidate", {"i": 8, "j": 9, "k": 10, "l": 3})
    x = k.mul(k.read("a", "ik"), k.read("b", "kj"))
    finish(k, x, k.reduce("sum", x, "k"))
    return k.build()


@pytest.mark.parametrize(
    "finish",
    [
        lambda k, x, total: (k.write("y", "ij", total), k.write("z", "ijk", x)),
        lambda k, x, total: k.write("y", "ijl", k.add(total, k.read("c", "l"))),
        lambda k, x, total: (k.write("y", "ij", total), k.write("z", "i", k.read("c", "i"))),
        lambda k, x, total: k.store("y", (20, 9), (k.load("at", (8,), "i64", (k.axis("i"),)), k.axis("j")), total),
        lambda k, x, total: k.write("y", "ij", k.add(total, k.reduce("max", k.read("c", "ijl"), "l"))),
    ],
    ids=("product used", "further axis", "store without an axis", "scatter", "second reduction"),
)
def test_refusals(finish):
    assert contraction.match(_kernel(finish)) is None


def _met(term, first="ik", second="jk"):
    """A sum over k of what a term makes of two operands."""
    k = Zoo("met", {"i": 8, "j": 9, "k": 40})
    k.write("y", "ij", k.reduce("sum", term(k, k.read("a", first), k.read("b", second)), "k"))
    return contraction.match(k.build())


def _distance(k, a, b):
    return k.mul(k.sub(a, b), k.sub(a, b))


@pytest.mark.parametrize(
    "term",
    [_distance, lambda k, a, b: k.abs(k.sub(a, b)), lambda k, a, b: k.exp(k.mul(k.sub(a, b), -0.5))],
    ids=("square", "absolute", "exponential"),
)
def test_operands_may_meet_otherwise_than_in_a_product(term):
    m = _met(term)
    assert (m.i, m.j, m.k, m.is_product) == (("i",), ("j",), ("k",), False)
    assert contraction.schedule(ZOO["matmul"], m, AVX512).variant == "tile", "few rows too run on the tile"


@pytest.mark.parametrize(
    "term,first,second",
    [
        (_distance, "ijk", "jk"),
        (_distance, "ik", "k"),
        (_distance, "ik", "j"),
        (lambda k, a, b: k.add(_distance(k, a, b), k.read("c", "k")), "ik", "jk"),
    ],
    ids=("all axes on one side", "nothing is used twice", "k on one side", "a third operand"),
)
def test_other_meetings_are_sums_over_rows(term, first, second):
    assert _met(term, first, second) is None


def test_a_scaled_sum_is_no_contraction():
    k = Zoo("scaled_sum", {"i": 8, "j": 9, "k": 10})
    k.write("y", "ij", k.reduce("sum", k.mul(k.read("x", "ijk"), k.read("scale", "j")), "k"))
    assert contraction.match(k.build()) is None


@pytest.mark.parametrize("target", [AVX512, AVX2, NEON, Target()], ids=("avx512", "avx2", "neon", "generic"))
@pytest.mark.parametrize("name", [n for n, k in ZOO.items() if contraction.match(k)])
def test_tiles_fit_into_registers(name, target):
    kernel = ZOO[name]
    s = contraction.schedule(kernel, contraction.match(kernel), target)
    s.check(kernel)
    if s.variant == "tile":
        assert s.rows * s.vectors + s.vectors + 1 <= target.registers
        assert s.block % s.rows == 0


@pytest.mark.parametrize("target,shape", [(AVX512, (14, 2)), (AVX2, (6, 2)), (NEON, (6, 4))])
def test_tile_of_unknown_sizes(target, shape):
    assert contraction.tile_shape(M, N, target.vector_bytes // 4, target) == shape


@pytest.mark.parametrize("height", range(1, 200))
def test_little_is_wasted_at_the_last_rows(height):
    rows, _ = contraction.tile_shape(height, 1024, 16, AVX512)
    wasted = -(-height // rows) * rows - height
    assert wasted == 0 or wasted <= max(5, height // 10) or height < 28


def test_symbolic_units_count_blocks():
    k = Zoo("matmul", {"i": M, "j": 64, "k": K})
    k.write("y", "ij", k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "kj")), "k"))
    kernel = k.build()
    s = contraction.schedule(kernel, contraction.match(kernel), AVX512)
    assert s.units == (M + s.block - 1) // s.block
    assert not s.keeps, "memory for a K of any size would have no bound"


def test_an_illegal_schedule_is_refused():
    kernel = ZOO["matmul"]
    with pytest.raises(VerifyError):
        Contraction(g=(), i=("i",), j=("j",), k=("k",), rows=5, block=12).check(kernel)
    with pytest.raises(VerifyError):
        Contraction(i=("i",), j=("k",), k=("j",), rows=4, block=12).check(kernel)
