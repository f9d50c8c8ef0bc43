"""Rows of a product that are gone on with in cache, against the definition: what is folded, sizes, layouts, dtypes,
cuts, depths; ties and NaN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import Kernel
from braze.ir.product_rows import ProductRows
from braze.ir.types import dtype, float32, int64
from braze.passes.schedule import product_rows
from kernel_zoo import Zoo, sizes_of, special_inputs

from .kernel_runner import Runner, host
from .test_llvm_rows import in_own_dtypes, run_like_definition

B, M = symbol("B", 0), symbol("M", 0)
FAR = 2**31 - 1


def softmax(k, x, over):
    e = k.exp(k.sub(x, k.reduce("max", x, over)))
    return k.div(e, k.reduce("sum", e, over))


def position(k, x, over, combine="min"):
    """The first position of the smallest; of the first NaN, if there is one."""
    hit = k.or_(k.eq(x, k.reduce(combine, x, over)), k.ne(x, x))
    at = k.cast(k.index(k.axis(over)), dtype("i32"))
    return k.cast(k.reduce("min", k.select(hit, at, k.constant(FAR, dtype("i32"))), over), int64)


def norm(k, x, over):
    n = float(k.axes[over])
    centred = k.sub(x, k.div(k.reduce("sum", x, over), n))
    return k.div(centred, k.sqrt(k.add(k.div(k.reduce("sum", k.mul(centred, centred), over), n), 1e-3)))


def picked(k, x, over):
    """The logarithm of a label's probability."""
    shifted = k.sub(x, k.reduce("max", x, over))
    label = k.load("labels", (k.axes["i"],), "i64", (k.axis("i"),))
    own = k.select(k.eq(label, k.index(k.axis(over))), shifted, k.constant(0.0, x.dtype))
    return k.sub(k.reduce("sum", own, over), k.log(k.reduce("sum", k.exp(shifted), over)))


ENDS = {
    "max": lambda k, x, over: k.reduce("max", x, over),
    "sum of squares": lambda k, x, over: k.reduce("sum", k.mul(x, x), over),
    "position": position,
    "softmax": softmax,
    "norm": norm,
    "picked": picked,
}


def kernel(m, n, p, end, a="ik", b="kj", d="f32", bias=True) -> Kernel:
    k = Zoo("rows", {"i": m, "j": n, "k": p})
    x = k.reduce("sum", k.mul(k.read("a", a, d), k.read("b", b, d)), "k")
    if bias:
        x = k.add(k.mul(x, 0.5), k.read("bias", "j", d))
    y = ENDS[end](k, x, "j")
    k.write("y", "".join(y.axes), y)
    return k.build()


def chosen(kernel: Kernel, **changes) -> ProductRows:
    found = product_rows(kernel, host())
    assert found is not None, f"{kernel}"
    product = replace(found.product, **changes)
    return replace(found, product=product, units=product.units, grain=product.grain)


def check(kernel: Kernel, trials=None, **changes):
    run_like_definition(kernel, chosen(kernel, **changes), trials)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("m,n,p", [(2, 16, 3), (13, 17, 19), (14, 32, 16), (33, 100, 64), (70, 300, 20), (5, 7, 1),
                                   (0, 16, 4), (40, 2000, 8)])
def test_what_is_folded(end, m, n, p):
    check(kernel(m, n, p, end))


@pytest.mark.parametrize("a", ["ik", "ki"])
@pytest.mark.parametrize("b", ["kj", "jk"])
@pytest.mark.parametrize("p", [17, 40])
def test_layouts(a, b, p):
    check(kernel(45, 70, p, "softmax", a, b))


@pytest.mark.parametrize("left", ["rows", "columns"])
def test_rows_that_are_copied(left):
    check(kernel(45, 70, 40, "norm"), left=left)


@pytest.mark.parametrize("depth", [16, 24])
@pytest.mark.parametrize("m", [29, 45])
def test_sums_of_several_depths(depth, m):
    """Rows wait until the last of them; the tile at the lower edge is moved up."""
    check(kernel(m, 50, 70, "position"), depth=depth)
    check(kernel(m, 50, 70, "softmax", "ki"), depth=depth)


@pytest.mark.parametrize("d", ["f64", "bf16", "f16", "i32"])
def test_dtypes(d):
    check(kernel(30, 40, 24, "sum of squares" if d == "i32" else "max", d=d, bias=d == "f64"))


def test_narrow_operands_of_a_wide_product():
    k = Zoo("narrow", {"i": 30, "j": 50, "k": 32})
    a, b = (k.cast(k.read(name, axes, "bf16"), float32) for name, axes in (("a", "ik"), ("b", "jk")))
    k.write("y", "ij", softmax(k, k.reduce("sum", k.mul(a, b), "k"), "j"))
    check(k.build())


def test_any_number_of_rows():
    check(kernel(M, 48, 20, "softmax"), [{"M": m} for m in (0, 1, 2, 6, 14, 15, 100, 1000)])


def test_products_of_a_batch():
    k = Zoo("batch", {"b": B, "i": 20, "j": 33, "k": 16})
    x = k.reduce("sum", k.mul(k.read("a", "bik"), k.read("w", "bkj")), "k")
    k.write("y", "bij", k.add(softmax(k, x, "j"), k.read("r", "ij")))
    check(k.build(), [{"B": b} for b in (0, 1, 3)])


def test_the_product_is_stored_too():
    k = Zoo("stored", {"i": 31, "j": 40, "k": 12})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "kj")), "k")
    k.write("x", "ij", x)
    k.write("y", "i", k.reduce("max", x, "j"))
    check(k.build())


def test_columns_of_the_first_operand_are_rows_where_the_other_axis_is_folded():
    k = Zoo("down", {"i": 37, "j": 50, "k": 20})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "kj")), "k")
    k.write("y", "j", k.reduce("max", x, "i"))
    kernel = k.build()
    assert chosen(kernel).product.j == ("i",)
    check(kernel)


def test_differences_that_are_squared():
    k = Zoo("distances", {"i": 40, "j": 90, "k": 18})
    gap = k.sub(k.read("a", "ik"), k.read("b", "jk"))
    k.write("y", "i", position(k, k.reduce("sum", k.mul(gap, gap), "k"), "j"))
    check(k.build())


def test_two_axes_of_columns():
    k = Zoo("heads", {"i": 30, "h": 3, "e": 20, "k": 16})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "hek")), "k")
    k.write("y", "ihe", softmax(k, x, "e"))
    check(k.build())


@pytest.mark.parametrize("combine", ["min", "max"])
def test_equal_extremes_stand_at_the_first(combine):
    """Products of small integers are exact, and mostly equal to others."""
    k = Zoo("ties", {"i": 50, "j": 130, "k": 4})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "kj")), "k")
    k.write("y", "i", position(k, x, "j", combine))
    kernel = k.build()
    rng = np.random.default_rng(3)
    a, b = rng.integers(-1, 2, (50, 4)).astype(np.float32), rng.integers(-1, 2, (4, 130)).astype(np.float32)
    got = Runner(kernel, chosen(kernel))({"a": a, "b": b}, {"y": np.full(50, -7)})["y"]
    assert got.tolist() == getattr(np, f"arg{combine}")(a @ b, axis=1).tolist()


@pytest.mark.parametrize("end", ["max", "position"])
def test_special_values(end):
    run = kernel(60, 40, 2, end, bias=False)
    run_like_definition(run, chosen(run), sizes_of(run), special_inputs, in_own_dtypes)


def test_a_nan_is_the_extreme_and_the_first_stands():
    run = kernel(20, 70, 8, "position", bias=False)
    a, b = np.ones((20, 8), np.float32), np.ones((8, 70), np.float32)
    a[3], b[0, 40], b[1, 55] = np.nan, np.nan, np.nan
    got = Runner(run, chosen(run))({"a": a, "b": b}, {"y": np.zeros(20, np.int64)})["y"]
    assert got.tolist() == [40] * 3 + [0] + [40] * 16


def test_schedules_are_checked():
    run = kernel(40, 100, 20, "softmax")
    found = chosen(run)
    p = found.product
    for wrong, why in [
        (replace(found, product=replace(p, panels=p.panels + 1)), "panels"),
        (replace(found, product=replace(p, outside="panels")), "one after the other"),
        (replace(found, units=found.units + 1), "not those of the product"),
        (replace(found, product=replace(p, k=("j",))), "sums over"),
        (replace(found, after=replace(found.after, parallel=())), "rows are"),
    ]:
        with pytest.raises(VerifyError, match=why):
            wrong.check(run)
