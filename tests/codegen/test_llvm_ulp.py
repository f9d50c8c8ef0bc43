"""Elementary functions in LLVM within their bounds in ULP: float32 against float64, float64 against extended precision.

By default a sample of the bit patterns and all the special numbers; `-m slow` takes every float32 there is.
"""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.types import float32, float64
from scipy.special import erf

from .scalar_tools import native

REFERENCE = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "erf": erf, "pow": np.power, "atan2": np.arctan2,
}  # fmt: skip
# The largest errors that were found, rounded up: (float32, float64).
BOUNDS = {
    "exp": (2, 2), "expm1": (2.5, 2), "log": (1, 1), "log1p": (2, 2), "sin": (2.5, 3), "cos": (2.5, 3), "tan": (3, 4),
    "asin": (2.5, 3), "acos": (2, 2), "atan": (2, 2), "sinh": (3, 3), "cosh": (2, 2), "tanh": (4, 4), "erf": (3, 4),
    "pow": (1, 3), "atan2": (2, 3),
}  # fmt: skip
UNARY = sorted(set(REFERENCE) - {"pow", "atan2"})
needs_extended = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63,
                                    reason="no type wider than float64 to compare with")


def errors(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distances in units of the last place; infinite where NaN, an infinity or the sign of a zero is wrong."""
    rounded = want.astype(got.dtype)
    alike = (got == rounded) & (np.signbit(got) == np.signbit(rounded)) | np.isnan(got) & np.isnan(rounded)
    distance = np.abs(got.astype(want.dtype) - want) / np.spacing(np.abs(rounded)).astype(want.dtype)
    comparable = np.isfinite(got) & np.isfinite(rounded) & (np.signbit(got) == np.signbit(rounded))
    return np.where(alike, 0.0, np.where(comparable, distance, np.inf)).astype(np.float64)


@np.errstate(all="ignore")
def check(name: str, bound: float, arrays: tuple[np.ndarray, ...], want: np.ndarray) -> None:
    d = float32 if arrays[0].dtype == np.float32 else float64
    got = native(name, (d,) * len(arrays))(*arrays)
    error = errors(got, want)
    worst = int(error.argmax())
    where = [a[worst] for a in arrays]
    assert error[worst] <= bound, f"{error[worst]:.2f} ULP at {where}: {got[worst]!r}, not {want[worst]!r}"


def wide(name: str, *arrays: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return REFERENCE[name](*arrays)


def random_sizes(low: float, high: float, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of both signs whose logarithms are uniform."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(np.log(low), np.log(high), count)) * rng.choice([-1.0, 1.0], count)


SPECIAL = np.array([
    0.0, 1e-45, 1.1754942e-38, 1.1754944e-38, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0, 88.7, 89.4, 103.9, 104.1, 131071.0,
    131072.0,
    8388609.0, 3.4028235e38, np.inf, np.nan])  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_float32_over_a_sample_of_all_numbers(name):
    sample = np.arange(0, 1 << 32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([sample, SPECIAL.astype(np.float32), -SPECIAL.astype(np.float32)])
    check(name, BOUNDS[name][0], (x,), wide(name, x.astype(np.float64)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", UNARY)
def test_float32_over_all_numbers(name):
    for start in range(0, 1 << 32, 1 << 24):
        x = np.arange(start, start + (1 << 24), dtype=np.uint64).astype(np.uint32).view(np.float32)
        check(name, BOUNDS[name][0], (x,), wide(name, x.astype(np.float64)))


DOMAINS = {
    "exp": (1e-20, 750), "expm1": (1e-300, 720), "log": (1e-310, 1e308), "log1p": (1e-300, 1e300),
    "sin": (1e-300, 1e308),
    "cos": (1e-10, 1e308), "tan": (1e-300, 1e308), "asin": (1e-300, 1.0), "acos": (1e-10, 1.0), "atan": (1e-300, 1e300),
    "sinh": (1e-300, 711), "cosh": (1e-10, 711), "tanh": (1e-300, 25),
}  # fmt: skip


@needs_extended
@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_float64_over_random_numbers(name):
    low, high = DOMAINS[name]
    near_one = np.random.default_rng(1).uniform(-min(high, 4.0), min(high, 4.0), 20_000)
    x = np.concatenate([random_sizes(low, high, 20_000), near_one,
                        [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.0, -1.0]])
    check(name, BOUNDS[name][1], (x,), wide(name, x.astype(np.longdouble)))


def test_float64_erf():
    x = np.concatenate([np.linspace(-6.5, 6.5, 40_001), random_sizes(1e-300, 1.0, 1000), [np.inf, -np.inf, np.nan]])
    check("erf", BOUNDS["erf"][1], (x,), erf(x))


@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_two_operands_in_float32(name):
    x, y = random_sizes(1e-38, 1e38, 50_000).astype(np.float32), random_sizes(1e-3, 1e3, 50_000, 1).astype(np.float32)
    x = np.abs(x) if name == "pow" else x
    check(name, BOUNDS[name][0], (x, y), wide(name, x.astype(np.float64), y.astype(np.float64)))


@needs_extended
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_two_operands_in_float64(name):
    rng = np.random.default_rng(2)
    x = np.concatenate([random_sizes(1e-300, 1e300, 20_000), rng.uniform(0.9, 1.1, 20_000)])
    y = np.concatenate([random_sizes(1e-4, 2.0, 20_000, 1), random_sizes(1.0, 6000.0, 20_000, 1)])
    x = np.abs(x) if name == "pow" else x
    check(name, BOUNDS[name][1], (x, y), wide(name, x.astype(np.longdouble), y.astype(np.longdouble)))


@needs_extended
@pytest.mark.parametrize("d", [float32, float64], ids=str)
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_two_operands_of_special_numbers(name, d):
    numbers = np.concatenate([SPECIAL, -SPECIAL, [5e-324, 1e300, -1e300, 2.0**53 + 2, -(2.0**24 + 2)]])
    with np.errstate(over="ignore"):
        x, y = (grid.ravel() for grid in np.meshgrid(numbers.astype(d.numpy), numbers.astype(d.numpy)))
    check(name, 3, (x, y), wide(name, x.astype(np.longdouble), y.astype(np.longdouble)))


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_a_large_angle_does_not_change_its_neighbours(name):
    x = np.linspace(-100, 100, 256)
    mixed = np.where(np.arange(256) % 5 == 0, 1e30, x)
    mixed[7] = np.inf
    for d in (float32, float64):
        alone, beside = (native(name, (d,))(v.astype(d.numpy)) for v in (x, mixed))
        same = mixed == x
        assert (alone[same] == beside[same]).all() and np.isnan(beside[7])
        assert np.allclose(beside[np.arange(256) % 5 == 0], wide(name,
                                                                 np.array(1e30).astype(d.numpy).astype(np.longdouble)),
                           rtol=1e-6)
