"""Every row of the scalar table against the definition in `ir/scalar.py`, and vectors against scalars, on awkward
numbers.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from braze.codegen.llvm.scalar import ROWS
from braze.ir.scalar import CORE, evaluate
from braze.ir.types import DTYPES, DType, float64
from exact_rounding import NARROW, assert_same, hard_numbers, rounded

from .scalar_tools import native, operand_dtypes

REAL = [d for d in DTYPES if d.kind != "c"]
TRANSCENDENTAL = {name for name, s in CORE.items() if s.cost >= 12}
EXACT = sorted(set(CORE) - TRANSCENDENTAL - {"cast", "bitcast", "fma"})


def specials(d: DType) -> np.ndarray:
    """Numbers of a dtype that go wrong: ends of the range, zeros, halves, what is not finite."""
    if d.kind == "b":
        return np.array([False, True])
    if d.is_integer:
        info = np.iinfo(d.numpy)
        numbers = [0, 1, 2, 3, 7, 31, 32, 63, 64, info.max, info.max - 1, info.max // 2, info.min, info.min + 1,
                   info.min // 2]
        negative = [-1, -2, -3, -7] if d.kind == "i" else []
        return np.array([*(n for n in numbers if n <= info.max), *negative], d.numpy)
    small = {"f8e4m3fn": 2.0**-9, "f8e5m2": 2.0**-16, "f16": 6e-8, "bf16": 1e-40, "f32": 1e-45, "f64": 5e-324}[d.name]
    big = {"f8e4m3fn": 448.0, "f8e5m2": 57344.0, "f16": 65504.0, "bf16": 3.38e38, "f32": 3.4028235e38,
           "f64": 1.7976931348623157e308}[d.name]
    positive = [0.0, small, 37 * small, 1e-3, 0.3, 0.5, 0.999, 1.0, 1.5, 2.0, 2.5, 3.0, 100.5, 127.6, 200.0, 4e4, big,
                np.inf, np.nan]
    integers = [] if d.name in ("f16", "f8e4m3fn", "f8e5m2") else [2.0**31, 2.0**32, 2.0**63, 2.0**64, 2.0**31 - 1]
    numbers = np.array([*positive, *integers])
    with np.errstate(over="ignore"):
        return np.concatenate([numbers, -numbers]).astype(d.numpy)


def combinations(dtypes: tuple[DType, ...]) -> list[np.ndarray]:
    """Every combination of special numbers, and random bits."""
    every = list(zip(*itertools.product(*(specials(d) for d in dtypes))))
    rng = np.random.default_rng(0)
    columns = []
    for d, column in zip(dtypes, every):
        bits = rng.integers(0, 256, 512 * d.itemsize, dtype=np.uint8)
        random = bits % 2 == 1 if d.kind == "b" else bits.view(d.numpy)
        columns.append(np.concatenate([np.array(column, d.numpy), random]))
    return columns


def same(a: np.ndarray, b: np.ndarray, *, signed_zeros: bool = True) -> np.ndarray:
    """Equal bits, any NaN being equal to any other."""
    if a.dtype.kind not in "fV":
        return a == b
    a, b = a.astype(np.float64), b.astype(np.float64)
    equal = (a == b) & ((np.signbit(a) == np.signbit(b)) | (not signed_zeros))
    return equal | (np.isnan(a) & np.isnan(b))


def cases(ops):
    return [pytest.param(op, d, id=f"{op}-{d}") for op in ops for d in REAL if d.kind in CORE[op].kinds
            and not (op == "mulhi" and d.bits < 32)]


def test_the_table_has_a_row_for_each_core_operation():
    assert set(ROWS) == set(CORE)


@pytest.mark.parametrize("op, d", cases(EXACT))
def test_row_does_what_the_definition_says(op, d):
    dtypes = operand_dtypes(op, d)
    arrays = combinations(dtypes)
    want = evaluate(op, tuple(arrays))
    for lanes in (1, 16):
        got = native(op, dtypes, None, lanes)(*arrays)
        right = same(got, np.asarray(want), signed_zeros=op not in ("max", "min"))
        assert right.all(), [(tuple(a[i] for a in arrays), got[i], want[i]) for i in np.flatnonzero(~right)[:5]]


@pytest.mark.parametrize("to", REAL, ids=str)
@pytest.mark.parametrize("d", REAL, ids=str)
def test_cast_saturates_wraps_and_rounds_as_defined(d, to):
    (x,) = combinations((d,))
    with np.errstate(all="ignore"):
        want = evaluate("cast", (x,), to)
    for lanes in (1, 16):
        got = native("cast", (d,), to, lanes)(x)
        right = same(got, np.asarray(want))
        assert right.all(), [(x[i], got[i], want[i]) for i in np.flatnonzero(~right)[:5]]


@pytest.mark.parametrize("to", NARROW, ids=str)
def test_casts_of_float64_round_once(to):
    x = hard_numbers(to)
    for lanes in (1, 16):
        assert_same(native("cast", (float64,), to, lanes)(x), rounded(x, to), x)


@pytest.mark.parametrize("d, to", [(a, b) for a in REAL for b in REAL if a.bits == b.bits and a.kind != "b"], ids=str)
def test_bitcast_keeps_bits(d, to):
    (x,) = combinations((d,))
    for lanes in (1, 16):
        assert native("bitcast", (d,), to, lanes)(x).tobytes() == x.tobytes()


@pytest.mark.parametrize("d", [d for d in REAL if d.is_float], ids=str)
def test_fma_rounds_once(d):
    if d is float64:                       # no wider type to define it by: products that are exact, and cancellation
        x = np.array([1 + 2.0**-30, 3.0, 1 + 2.0**-52, np.inf])
        z = np.array([-1 - 2.0**-29, 1.0, -1 - 2.0**-51, -np.inf])
        want = np.array([2.0**-60, 10.0, 2.0**-104, np.nan])
        arrays = (x, x, z)
    else:
        rng = np.random.default_rng(1)
        arrays = tuple(rng.standard_normal(4096).astype(d.numpy) for _ in range(3))
        want = evaluate("fma", arrays)
    for lanes in (1, 16):
        got = native("fma", (d, d, d), None, lanes)(*arrays)
        assert same(got, want).mean() > 0.999


@pytest.mark.parametrize("op, d", cases(sorted(set(ROWS) & set(CORE))))
def test_vectors_and_scalars_have_the_same_bits(op, d):
    if CORE[op].result == "attribute":
        pytest.skip("compared with its definition bit by bit")
    dtypes = operand_dtypes(op, d)
    arrays = combinations(dtypes)
    one, four, sixteen = (native(op, dtypes, None, lanes)(*arrays) for lanes in (1, 4, 16))
    assert same(one, sixteen).all() and same(four, sixteen).all()
