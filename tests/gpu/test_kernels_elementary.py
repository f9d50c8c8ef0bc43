"""The scalar core in Triton: the same bits as on the CPU for elementary functions, within their bounds of float64; the
definition's answers for everything else, on special numbers too.
"""

from __future__ import annotations

import numpy as np
import pytest
from braze.codegen.triton.scalar import ELEMENTARY, ROWS
from braze.ir import kernel_eval
from braze.ir.kernel import KernelBuilder
from braze.ir.scalar import CORE
from braze.ir.schedule import Rows
from braze.ir.types import DTYPES, bool_, float32, float64
from exact_rounding import NARROW, assert_same, hard_numbers, rounded
from scipy.special import erf
from zoo_tools import HUGE_FLOATS, SPECIAL_FLOATS

from ..codegen.kernel_runner import Runner
from .kernel_runner import run

POINTS = 1 << 14
# As documented (docs/architecture.md), in units of the last place: float32, float64.
BOUNDS = {
    "exp": (2, 2), "expm1": (2.5, 2), "log": (1, 1), "log1p": (2, 2), "sin": (2.5, 3), "cos": (2.5, 3), "tan": (3, 4),
    "asin": (2.5, 3), "acos": (2, 2), "atan": (2, 2), "sinh": (3, 3), "cosh": (2, 2), "tanh": (4, 4), "erf": (3, 4),
    "pow": (1, 3), "atan2": (2, 3),
}  # fmt: skip


def kernel_of(op: str, dtypes, to, n: int):
    """A kernel that applies an operation to n elements."""
    k = KernelBuilder(op + "_", {"i": n})
    args = [k.load(f"x{m}", (n,), d, (k.axis("i"),)) for m, d in enumerate(dtypes)]
    k.store("y", (n,), (k.axis("i"),), k.apply(op, tuple(args), to))
    return k.build()


def in_triton(op: str, arrays, dtypes, to=None) -> np.ndarray:
    kernel = kernel_of(op, dtypes, to, len(arrays[0]))
    result = kernel.outputs[0].dtype.numpy
    out = {"y": np.zeros(len(arrays[0]), result)}
    return run(kernel, {f"x{m}": a for m, a in enumerate(arrays)}, out, {})["y"]


def test_every_operation_of_the_core_has_a_row():
    assert sorted(ROWS) == sorted(CORE)


def bits(d, count=POINTS) -> np.ndarray:
    """Numbers of all magnitudes, by their bits, and the special ones."""
    rng = np.random.default_rng(0)
    special = np.array([*SPECIAL_FLOATS, *HUGE_FLOATS, 88.7, -104.1, 131072.0, 0.5, 7.0]).astype(d.numpy)
    drawn = rng.integers(0, 1 << 63, count - 3 * special.size, np.uint64) << np.uint64(1)
    drawn >>= np.uint64(64 - d.bits)
    near = (rng.standard_normal(special.size * 2) * 4).astype(d.numpy)
    return np.concatenate([special, near, drawn.astype(f"u{d.bits // 8}").view(d.numpy)])


@pytest.mark.parametrize("d", [float32, float64], ids=str)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions_have_the_bits_of_the_cpu(name, d):
    arity = CORE[name].arity
    x = bits(d)
    arrays = (x, x[np.random.default_rng(1).permutation(x.size)])[:arity]
    got = in_triton(name, arrays, (d,) * arity)
    kernel = kernel_of(name, (d,) * arity, None, x.size)
    native = Runner(kernel, Rows(1, 1, vector="i", inner=("i",)))
    want = native({f"x{m}": a for m, a in enumerate(arrays)}, {"y": np.zeros_like(x)})["y"]
    alike = (got.view(f"u{d.itemsize}") == want.view(f"u{d.itemsize}")) | np.isnan(got) & np.isnan(want)
    assert alike.all(), f"{name} of {[a[~alike][:4] for a in arrays]}: {got[~alike][:4]}, not {want[~alike][:4]}"


@pytest.mark.parametrize("name", [n for n in ELEMENTARY if CORE[n].arity == 1])
def test_elementary_functions_are_within_their_bounds(name):
    x = bits(float32)
    with np.errstate(all="ignore"):
        want = (erf if name == "erf" else CORE[name].evaluate)(x.astype(np.float64))
        got, rounded = in_triton(name, (x,), (float32,)), want.astype(np.float32)
        distance = np.abs(got.astype(np.float64) - want) / np.spacing(np.abs(rounded)).astype(np.float64)
    exact = (got == rounded) & (np.signbit(got) == np.signbit(rounded)) | np.isnan(got) & np.isnan(rounded)
    assert np.where(exact, 0, distance).max() <= BOUNDS[name][0]


OTHERS = [n for n in CORE if n not in ELEMENTARY and n not in ("cast", "bitcast")]


def numbers(d, count=256) -> np.ndarray:
    """Small numbers with the extremes among them."""
    rng = np.random.default_rng(d.bits)
    if d.kind == "b":
        return rng.random(count) < 0.5
    if d.is_float:
        special = np.array([*SPECIAL_FLOATS, *HUGE_FLOATS])
        with np.errstate(all="ignore"):
            return np.where(rng.random(count) < 0.5, rng.choice(special, count), rng.standard_normal(count) * 9).astype(
                d.numpy)
    info = np.iinfo(d.numpy)
    edges = np.array([0, 1, info.max, info.min, info.max - 1, d.bits, d.bits - 1, 2], object)
    small = rng.integers(0 if d.kind == "u" else -9, 10, count).astype(object)
    return np.where(rng.random(count) < 0.5, rng.choice(edges, count), small).astype(d.numpy)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", OTHERS)
def test_other_operations_are_as_defined(op):
    for d in (d for d in DTYPES if d.kind in CORE[op].kinds and d.kind != "c"):
        if d.is_storage and op != "select":              # nothing is computed in these
            continue
        if op == "mulhi" and d.bits < 32:
            continue
        dtypes = (bool_, d, d) if op == "select" else (d,) * CORE[op].arity
        arrays = [np.roll(numbers(x), 7 * m) for m, x in enumerate(dtypes)]
        kernel = kernel_of(op, dtypes, None, arrays[0].size)
        want = kernel_eval.evaluate(kernel, {f"x{m}": a for m, a in enumerate(arrays)})["y"]
        got = in_triton(op, arrays, dtypes)
        if d.is_storage and got.dtype == d.numpy:
            got, want = got.astype(np.float64), want.astype(np.float64)
        if d.is_float and got.dtype.kind != "b":
            same = (got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)
            same |= (got == 0) & (want == 0) if op in ("max", "min", "fma") else False    # zeros of either sign
            assert same.all(), f"{op} of {d} {[a[~same][:3] for a in arrays]}: {got[~same][:3]}, {want[~same][:3]}"
        else:
            np.testing.assert_array_equal(got, want, err_msg=f"{op} of {d}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("d", [d for d in DTYPES if d.kind != "c"], ids=str)
def test_casts_are_as_defined(d):
    x = numbers(d)
    for to in (t for t in DTYPES if t.kind != "c"):
        kernel = kernel_of("cast", (d,), to, x.size)
        want = kernel_eval.evaluate(kernel, {"x0": x})["y"]
        got = in_triton("cast", (x,), (d,), to)
        as_numbers = np.float64 if to.is_float else to.numpy
        np.testing.assert_array_equal(got.astype(as_numbers), want.astype(as_numbers), err_msg=f"{d} to {to}")


@pytest.mark.parametrize("to", NARROW, ids=str)
def test_casts_of_float64_round_once(to):
    x = hard_numbers(to)
    x = np.resize(x, -(-x.size // POINTS) * POINTS)
    assert_same(in_triton("cast", (x,), (float64,), to), rounded(x, to), x)
