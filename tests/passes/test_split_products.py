"""Products with few results of long sums, cut in pieces: what they give, when they are cut, the same bits by any number
of threads.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from attention_reference import launches
from braze.ir import kernel_eval
from braze.ir.expr import symbol
from braze.ir.kernel import Kernel
from braze.ir.schedule import Contraction
from braze.ir.types import float32
from braze.passes import contraction
from braze.passes.split import split_product
from kernel_zoo import Zoo, assert_close, inputs, reference


def product(m, n, p, a="ik", b="kj", d="f32", epilogue=True, y="ij") -> Kernel:
    k = Zoo("product", {"i": m, "j": n, "k": p})
    x, w = k.read("a", a, d), k.read("b", b, d)
    if d != "f32":
        x, w = k.cast(x, float32), k.cast(w, float32)
    total = k.reduce("sum", k.mul(x, w), "k")
    k.write("y", y, k.tanh(k.add(k.mul(total, 0.01), k.read("bias", "j"))) if epilogue else total)
    return k.build()


def parts(kernel: Kernel):
    found = contraction.match(kernel)
    assert found is not None
    return split_product(kernel, found)


@pytest.mark.parametrize("p", [8192, 10_000, 9001, 10_007])
@pytest.mark.parametrize("a,b", [("ik", "kj"), ("ki", "kj"), ("ik", "jk")])
def test_pieces_compute_the_same(p, a, b):
    kernel = product(20, 17, p, a, b)
    both = parts(kernel)
    assert both is not None and len(contraction.match(both[0]).g) == 1
    arrays = inputs(kernel, np.random.default_rng(0))
    partial = kernel_eval.evaluate(both[0], arrays)
    assert_close(kernel, kernel_eval.evaluate(both[1], {**arrays, **partial}), reference(kernel, arrays))


@pytest.mark.parametrize("d", ["bf16", "f16"])
def test_narrow_elements_beyond_the_end_are_zero(d):
    kernel = product(20, 17, 9001, d=d)
    both = parts(kernel)
    assert both is not None
    arrays = inputs(kernel, np.random.default_rng(0))
    partial = kernel_eval.evaluate(both[0], arrays)
    assert_close(kernel, kernel_eval.evaluate(both[1], {**arrays, **partial}), reference(kernel, arrays))


def part_of_a_buffer(p) -> Kernel:
    """What lies beyond the sum's end is there, and is not to be added."""
    k = Zoo("part", {"i": 20, "j": 17, "k": p})
    a = k.load("a", (20, p + 5000), "f32", (k.axis("i"), k.axis("k") + 3))
    k.write("y", "ij", k.reduce("sum", k.mul(a, k.read("b", "kj")), "k"))
    return k.build()


def test_a_part_of_a_buffer_is_cut_where_pieces_are_equal():
    assert parts(part_of_a_buffer(8192)) is not None
    assert parts(part_of_a_buffer(9001)) is None


@pytest.mark.parametrize("m,n,p", [(20, 17, 2000), (4, 4, 8192), (1024, 1024, 8192), (512, 512, 4096),
                                   (20, 17, symbol("K", 0)), (symbol("M", 0), 17, 20_000)])
def test_short_sums_and_many_results_are_left(m, n, p):
    assert parts(product(m, n, p)) is None


def tensors(*shapes):
    rng = np.random.default_rng(len(shapes))
    return [braze.tensor(rng.standard_normal(s).astype(np.float32)) for s in shapes]


def is_cut(compiled) -> bool:
    """Is a product made in pieces?"""
    return any(isinstance(x.schedule, Contraction) and "piece" in x.schedule.g for x in launches(compiled.ir("fused")))


def loss(x, w, b):
    return ((x @ w + b) ** 2).mean()


PROGRAMS = {
    "few results": (lambda a, b: a @ b, [(8, 100_000), (100_000, 8)]),
    "across": (lambda a, b: a.mT @ b, [(65_536, 32), (65_536, 16)]),
    "a prime number": (lambda a, b: a.mT @ b, [(65_521, 32), (65_521, 16)]),
    "a row": (lambda a, b: a @ b, [(1, 65_536), (65_536, 64)]),
    "a vector": (lambda a, b: a @ b, [(65_536,), (65_536, 64)]),
    "dots": (lambda a, b: a @ b.mT, [(8, 50_000), (9, 50_000)]),
    "no rows": (lambda a, b: a @ b, [(0, 65_536), (65_536, 64)]),
    "strided": (lambda a, b: a[:, ::2] @ b[1:], [(20, 60_000), (30_001, 16)]),
    "a batch": (lambda a, b: a @ b, [(3, 20, 20_000), (3, 20_000, 16)]),
    "an epilogue": (lambda a, b, c: braze.tanh(0.01 * (a @ b) + c), [(20, 20_000), (20_000, 16), (16,)]),
    "a gradient": (lambda x, w, b: braze.grad(loss, argnums=(1, 2))(x, w, b), [(20_000, 24), (24, 16), (16,)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_and_threads(name):
    function, shapes = PROGRAMS[name]
    given, before, found = tensors(*shapes), braze.get_num_threads(), set()
    wide = function(*(x.astype(braze.float64) for x in given))
    try:
        for threads in (1, 2, 3):
            braze.set_num_threads(threads)
            compiled = braze.compile(lambda *a: function(*a))
            results = compiled(*given)
            results = results if isinstance(results, tuple) else (results,)
            found.add(b"".join(np.asarray(x).tobytes() for x in results))
            for x, y in zip(results, wide if isinstance(wide, tuple) else (wide,), strict=True):
                scale = np.abs(np.asarray(y)).max(initial=1e-30)
                np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-4, atol=1e-5 * scale)
    finally:
        braze.set_num_threads(before)
    assert len(found) == 1
    assert name == "no rows" or is_cut(compiled)


@pytest.mark.parametrize("deep", [16_000, 16_001])
@pytest.mark.parametrize("across", [False, True], ids=["along", "across"])
def test_narrow_products(across, deep):
    """Words of several elements end with a piece, or are filled up with zeros."""
    rng = np.random.default_rng(deep)
    a = rng.integers(-128, 128, (deep, 40) if across else (40, deep), np.int8)
    b = rng.integers(-128, 128, (deep, 17), np.int8)

    def run(dtype, to):
        turned = (lambda x: x.mT) if across else (lambda x: x)
        given = braze.tensor(a).astype(dtype), braze.tensor(b).astype(dtype)
        compiled = braze.compile(lambda x, y: braze.matmul(turned(x), y, dtype=to))
        found = np.asarray(compiled(*given))
        assert is_cut(compiled)
        return found

    exact = (a.T if across else a).astype(np.int64) @ b.astype(np.int64)
    assert (run(braze.int8, braze.int32) == exact).all()
    np.testing.assert_allclose(run(braze.bfloat16, braze.float32), exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
