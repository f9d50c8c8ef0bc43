"""Which schedule kernels get, that illegal ones are refused, and that collapsing and splitting keep what is
computed.
"""

from __future__ import annotations

import dataclasses

import kernel_zoo
import numpy as np
import pytest
from braze.ir import expr, kernel_eval
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import Kernel
from braze.ir.product_rows import ProductRows
from braze.ir.schedule import Contraction, Rows, Serial, are_disjoint, independent_axes
from braze.ir.streamed import Streamed
from braze.ir.target import Target
from braze.ir.types import int64
from braze.passes.collapse import collapse
from braze.passes.schedule import is_legal, rows, schedule
from braze.passes.split import needs_split, pieces, split_reduction
from kernel_zoo import ZOO, Zoo, assert_close, inputs, reference

N = symbol("N", 1)

# kernel -> what its rows schedule must have
CHOICES = {
    "softmax": (kernel_zoo.softmax(8192, 1024), {"parallel": ("i",), "vector": "j", "block": 0}),
    "variance_over_rows": (kernel_zoo.variance_over_rows(4096, 2048), {"vector": "j", "inner": ("i",)}),
    "n_body": (kernel_zoo.n_body(4096), {"inner": ("j",), "vector": "i", "unrolled": ("c",)}),
    "pointwise": (collapse(kernel_zoo.pointwise_chain(N)), {"parallel": (), "vector": "i", "inner": ()}),
    "transpose": (kernel_zoo.transpose(512, 512), {"vector": "j", "inner": ("i",)}),
    "embedding_gradient": (kernel_zoo.embedding_gradient(1000, 500, 256), {"unrolled": ()}),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_axes_run_where_they_should(name):
    kernel, wanted = CHOICES[name]
    found = rows(kernel)
    assert found is not None
    assert {field: getattr(found, field) for field in wanted} == wanted


def test_heads_of_whole_vectors_are_contiguous():
    """[rows, heads, 32] stored as [heads, rows, 32] runs in lanes along what both have in one piece."""
    k = Zoo("merge_heads", {"i": 64, "j": 256})
    j = k.axis("j")
    x = k.load("x", (8, 64, 32), "f32", (expr.floordiv(j, 32), k.axis("i"), expr.mod(j, 32)))
    k.write("y", "ij", k.exp(x))
    assert rows(k.build()).vector == "j"


@pytest.mark.parametrize("name", ZOO)
def test_every_kernel_gets_a_legal_schedule(name):
    found = schedule(ZOO[name], Target())
    assert isinstance(found, (Rows, Serial, Contraction, Streamed, ProductRows))
    found.check(ZOO[name])
    assert found.grain >= 1


def test_the_target_does_not_change_what_decides_bits():
    for name, kernel in ZOO.items():
        a = schedule(kernel, Target(vector_bytes=16, threads=1))
        b = schedule(kernel, Target(vector_bytes=64, threads=64))
        if isinstance(a, Rows):
            assert isinstance(b, Rows) and (a.vector, a.lanes, a.inner) == (b.vector, b.lanes, b.inner), name


def test_illegal_schedules_are_refused():
    kernel = kernel_zoo.softmax(64, 64)
    good = rows(kernel)
    assert good is not None
    for change in ({"parallel": ("i", "j"), "inner": ()}, {"lanes": 12}, {"inner": ()}, {"vector": "k"},
                   {"parallel": (), "vector": "i"}, {"block": 24}):
        bad = dataclasses.replace(good, **change)
        assert not is_legal(bad, kernel), change
        with pytest.raises(VerifyError):
            bad.check(kernel)


def test_scans_and_scatters_are_not_cut_along_their_axis():
    for name in ("cumulative", "embedding_gradient", "histogram", "scatter_set"):
        kernel = ZOO[name]
        found = rows(kernel)
        serial = {a for v in kernel.values if v.op == "scan" for a in v.over}
        serial |= {a for s in kernel.stores for a in s.axes if a not in independent_axes(kernel, s)}
        assert found is None or not serial & {*found.parallel, *((found.vector,) if found.block else ())}, name


def test_stores_that_may_meet():
    k = Zoo("meet", {"i": 8, "j": 4})
    i, j = k.axis("i"), k.axis("j")
    x = k.read("x", "i")
    k.store("y", (40,), (4 * i + j,), k.add(x, k.cast(k.index(j), x.dtype)))       # mixed radix: never the same place
    k.store("z", (8,), (i // 2,), x)
    k.store("w", (20,), (i,), x)
    k.store("w", (20,), (i + 8,), x)
    kernel = k.build()
    y, z, w, v = kernel.stores
    assert independent_axes(kernel, y) == {"i", "j"} and not independent_axes(kernel, z)
    assert are_disjoint(kernel, w, v) and not are_disjoint(kernel, w, w)


def test_collapsed_axes():
    extents = {name: dict(collapse(ZOO[name]).axes) for name in ("several_outputs", "pointwise_chain_1000", "softmax")}
    assert len(extents["softmax"]) == 2 and len(extents["pointwise_chain_1000"]) == 1
    k = Zoo("add", {"a": N, "b": 6, "c": symbol("M", 1)})
    k.write("y", "abc", k.add(k.read("x", "abc"), 1.0))
    assert len(collapse(k.build()).axes) == 1
    k = Zoo("bias", {"a": N, "b": 6, "c": 7})
    k.write("y", "abc", k.add(k.read("x", "abc"), k.read("b", "bc")))
    assert list(collapse(k.build()).axes.values()) == [N, 42]


@pytest.mark.parametrize("n", [1 << 22, 1_000_003])
@pytest.mark.parametrize("combine", ["sum", "max", "min"])
def test_a_split_reduction_computes_the_same(n, combine):
    k = Zoo("total", {"i": n})
    k.write("y", "", k.mul(k.reduce(combine, k.abs(k.read("x", "i")), ["i"]), 0.5))
    kernel = k.build()
    both = split_reduction(kernel)
    assert both is not None
    first, second = both
    arrays = inputs(kernel, np.random.default_rng(0))
    partial = kernel_eval.evaluate(first, arrays)
    np.testing.assert_allclose(kernel_eval.evaluate(second, partial)["y"], reference(kernel, arrays)["y"], rtol=1e-5)


@pytest.mark.parametrize("combine", ["max", "min"])
@pytest.mark.parametrize("n", [1 << 18, 150_001])
def test_the_place_of_an_extreme_is_found_in_pieces(n, combine):
    kernel = place(n, combine)
    first, second = split_reduction(kernel)
    x = np.random.default_rng(0).integers(-9, 9, n).astype(np.float32)
    nans = np.where(np.arange(n) % 60_000 == 59_999, np.float32(np.nan), x)
    lowest = np.full(n, -np.inf if combine == "max" else np.inf, np.float32)
    for row in (x, nans, lowest, np.sort(x)):
        partial = kernel_eval.evaluate(first, {"x": row})
        got = kernel_eval.evaluate(second, partial)
        assert got["y"] == getattr(np, f"arg{combine}")(row) and same(got["top"], getattr(np, combine)(row))


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def place(n, combine):
    """The first position of an extreme, as `argmax` is lowered, and the extreme."""
    k = Zoo("place", {"i": n})
    x = k.read("x", "i")
    top = k.reduce(combine, x, "i")
    hit = k.select(k.ne(top, top), k.ne(x, x), k.eq(x, top))
    k.write("y", "", k.reduce("min", k.select(hit, k.index(k.axis("i")), k.constant(2**62, int64)), "i"))
    k.write("top", "", top)
    return k.build()


def test_what_only_resembles_a_place_is_not_cut():
    k = Zoo("near", {"i": 1 << 18})
    x = k.read("x", "i")
    near = k.select(k.ge(x, k.sub(k.reduce("max", x, "i"), 1.0)), k.index(k.axis("i")), k.constant(2**62, int64))
    k.write("y", "", k.reduce("min", near, "i"))
    assert split_reduction(k.build()) is None
    k = Zoo("mask", {"i": 1 << 18})
    x = k.read("x", "i")
    hit = k.eq(x, k.reduce("max", x, "i"))
    k.write("y", "", k.reduce("min", k.select(hit, k.index(k.axis("i")), k.constant(2**62, int64)), "i"))
    k.write("hit", "i", hit)
    assert split_reduction(k.build()) is None


def test_a_split_keeps_what_is_stored_along_the_way():
    kernel = kernel_zoo.rms_norm_gradient(2048, 96)
    both = split_reduction(kernel)
    assert both is not None and rows(both[0]).units == pieces(2048)[0]
    arrays = inputs(kernel, np.random.default_rng(0))
    partial = kernel_eval.evaluate(both[0], arrays)
    got = {"dx": partial.pop("dx"), **kernel_eval.evaluate(both[1], partial)}
    assert_close(kernel, got, reference(kernel, arrays))


def test_pieces_depend_on_the_extent_alone():
    assert pieces(1 << 22) == (64, 1 << 16)
    count, length = pieces(1_000_003)
    assert count * length >= 1_000_003
    assert not needs_split(kernel_zoo.softmax(8192, 1024))


def chain(functions: int, extent: int) -> Kernel:
    """tanh of tanh of …, so often."""
    k = Zoo("chain", {"i": extent})
    x = k.read("x", "i")
    for _ in range(functions):
        x = k.tanh(x)
    k.write("y", "i", x)
    return k.build()


@pytest.mark.parametrize("functions, extent, lanes", [(1, 1 << 20, 64), (4, 1 << 20, 64), (12, 1 << 20, 32),
                                                      (40, 1 << 20, 16), (4, 1024, 16)])
def test_several_vectors_hide_latencies_unless_compiling_costs_more(functions, extent, lanes):
    found = rows(chain(functions, extent))
    assert found is not None and found.lanes == lanes


def test_lanes_grow_where_memory_is_read_down_columns_only():
    assert rows(kernel_zoo.n_body(4096)).lanes == 64             # type: ignore[union-attr]
    assert rows(columns(4096, 2048)).lanes == 256                # type: ignore[union-attr]


def columns(rows: int, columns: int) -> Kernel:
    """The sum of each column."""
    k = Zoo("columns", {"i": rows, "j": columns})
    k.write("y", "j", k.reduce("sum", k.read("x", "ij"), "i"))
    return k.build()
