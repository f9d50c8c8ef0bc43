"""Windows that share what they load: which axis is cut, that the bits are those of the kernel as it was, and SciPy's
numbers.
"""

import numpy as np
import pytest
import scipy.signal
from braze.passes.jam import jam
from braze.passes.schedule import schedule
from kernel_zoo import Zoo

from .kernel_runner import Runner, host


def windows(shape, taps, step=1, dilation=1, last=False, fold="sum"):
    """y[n, c, h, w] = fold over r, s of x[n, c, step h + dilation r - edge, ...] * weight[c, r, s], channels first or
    last.
    """
    n, c, height, width = shape
    edge = dilation * (taps - 1) // 2
    out = [(size + 2 * edge - dilation * (taps - 1) - 1) // step + 1 for size in (height, width)]
    k = Zoo("windows", {"n": n, **({} if last else {"c": c}), "h": out[0], "w": out[1], **({"c": c} if last else {}),
                        "r": taps, "s": taps})
    a = {name: k.axis(name) for name in k.axes}
    y, x = step * a["h"] + dilation * a["r"] - edge, step * a["w"] + dilation * a["s"] - edge
    if last:
        given = k.load("x", (n, height, width, c), "f32", (a["n"], y, x, a["c"]), fill=0.0)
    else:
        given = k.load("x", shape, "f32", (a["n"], a["c"], y, x), fill=0.0)
    product = k.mul(given, k.read("weight", "rsc" if last else "crs"))
    k.write("y", "nhwc" if last else "nchw", k.reduce(fold, product, "rs"))
    return k.build()


def results(kernel, inputs, parts=3):
    """What it stores, the units cut into parts."""
    y = kernel.buffers["y"]
    outputs = {"y": np.full(y.shape, np.nan, y.dtype.numpy)}
    return Runner(kernel, schedule(kernel, host()))(inputs, outputs, parts=parts)["y"]


def random_inputs(kernel, seed=0):
    """Normal numbers for all inputs."""
    rng = np.random.default_rng(seed)
    return {b.name: rng.standard_normal(b.shape).astype(b.dtype.numpy) for b in kernel.inputs}


# name: (kernel, the axis that is cut, and into how many positions)
CASES = {
    "channels first": (windows((2, 3, 16, 20), 3), ("h", 8)),
    "channels last": (windows((2, 15, 14, 33), 3, last=True), ("h", 7)),
    "seven by seven": (windows((1, 2, 12, 40), 7), ("h", 6)),
    "with a stride": (windows((2, 3, 24, 70), 3, step=2), ("h", 6)),
    "dilated": (windows((2, 3, 16, 33), 3, dilation=2), ("h", 8)),
    "largest": (windows((2, 3, 16, 33), 3, fold="max"), ("h", 8)),
    "five apart": (windows((2, 3, 25, 33), 3, step=5), None),
    "a prime number of rows": (windows((1, 1, 13, 33), 3), None),
    "one row": (windows((1, 1, 1, 33), 3), None),
}


@pytest.mark.parametrize("name", CASES)
def test_neighbours_share_what_they_load(name):
    kernel, expected = CASES[name]
    jammed = jam(kernel)
    cut = {a for a in jammed.axes if a not in kernel.axes}
    if expected is None:
        assert not cut & {"h8", "h7"} and (jammed is kernel or jammed.axes["h"] == kernel.axes["h"])
    else:
        axis, size = expected
        assert cut == {f"{axis}{size}"} and jammed.axes[axis] == size
        assert axis in schedule(jammed, host()).unrolled
    inputs = random_inputs(kernel)
    np.testing.assert_array_equal(results(jammed, inputs), results(kernel, inputs))


def test_against_scipy():
    kernel = windows((1, 1, 24, 50), 5)
    inputs = random_inputs(kernel)
    want = scipy.signal.correlate2d(inputs["x"][0, 0].astype(np.float64), inputs["weight"][0], mode="same")
    assert jam(kernel) is not kernel
    np.testing.assert_allclose(results(jam(kernel), inputs)[0, 0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_random_windows(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (rng.integers(1, 3), rng.integers(1, 20), rng.integers(1, 30), rng.integers(1, 70)))
    kernel = windows(shape, int(rng.choice([1, 3, 5])), int(rng.integers(1, 3)), int(rng.integers(1, 3)),
                     bool(rng.integers(2)), str(rng.choice(["sum", "max", "min"])))
    inputs = random_inputs(kernel, seed)
    np.testing.assert_array_equal(results(jam(kernel), inputs), results(kernel, inputs))


def test_what_is_not_a_window_stays():
    k = Zoo("rows", {"i": 16, "j": 32, "k": 500})
    k.write("y", "ij", k.reduce("sum", k.read("x", "ijk"), "k"))
    assert jam(kernel := k.build()) is kernel
    k = Zoo("scan", {"i": 16, "j": 32, "k": 8})
    k.write("y", "ijk", k.scan("sum", k.read("x", "ijk"), "k"))
    assert jam(kernel := k.build()) is kernel
