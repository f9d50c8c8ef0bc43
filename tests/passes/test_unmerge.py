"""Axes that are cut where indices divide them: which ones, and that the kernel computes what it did."""

import numpy as np
import pytest
from braze.ir import kernel_eval
from braze.ir.expr import floordiv, mod
from braze.ir.kernel import KernelBuilder
from braze.ir.types import float32
from braze.passes.unmerge import unmerge

T, H, D = 5, 3, 16  # positions, heads, a head


def copy(size, index, shape):
    """y[t, j] = x[index(t, j)]."""
    k = KernelBuilder("copy", {})
    t, j = k.add_axis("t", T), k.add_axis("j", size)
    k.store("y", (T, size), (t, j), k.load("x", shape, float32, index(t, j)))
    return k.build()


def heads(t, j):
    return floordiv(j, D), t, mod(j, D)


# name: (the kernel, its axes when cut)
CASES = {
    "heads side by side": (copy(H * D, heads, (H, T, D)), {"t": T, "j16": H, "j": D}),
    "halves of heads": (copy(H * D, lambda t, j: (floordiv(j, D), t, floordiv(mod(j, D), 8), mod(j, 8)), (H, T, 2, 8)),
                        {"t": T, "j16": H, "j8": 2, "j": 8}),
    "a part of the heads": (copy(2 * D, lambda t, j: (floordiv(j, D) + 1, t, mod(j, D)), (H, T, D)),
                            {"t": T, "j16": 2, "j": D}),
    "a quotient of a shifted axis": (copy(H * D, lambda t, j: (floordiv(j + 8, D), t, mod(j + 8, D)), (H + 1, T, D)),
                                     {"t": T, "j": H * D}),
    "less than a vector": (copy(8, lambda t, j: (floordiv(j, 4), t, mod(j, 4)), (2, T, 4)), {"t": T, "j": 8}),
    "a quotient that leaves a rest": (copy(40, heads, (H, T, D)), {"t": T, "j": 40}),
    "plain": (copy(H * D, lambda t, j: (t, j), (T, H * D)), {"t": T, "j": H * D}),
}


@pytest.mark.parametrize("name", CASES)
def test_axes_and_results(name):
    kernel, axes = CASES[name]
    cut = unmerge(kernel, tuple(kernel.axes))
    assert cut.axes == axes, cut
    x = np.random.default_rng(0).standard_normal(kernel.buffers["x"].shape).astype(np.float32)
    results = [kernel_eval.evaluate(k, {"x": x})["y"] for k in (kernel, cut)]
    np.testing.assert_array_equal(*results)


def test_only_the_axes_that_are_named():
    kernel, _ = CASES["heads side by side"]
    assert unmerge(kernel, ("t",)) is kernel


def test_a_reduced_axis_stays():
    """The order of its sum would be another one."""
    k = KernelBuilder("sum", {})
    t, j = k.add_axis("t", T), k.add_axis("j", H * D)
    k.store("y", (T,), (t,), k.reduce("sum", k.load("x", (H, T, D), float32, heads(t, j)), ("j",)))
    kernel = k.build()
    assert unmerge(kernel, tuple(kernel.axes)) is kernel
