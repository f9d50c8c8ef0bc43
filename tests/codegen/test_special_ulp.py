"""Special functions in compiled code within their bounds in ULP: against SciPy, against series near their zeros, and on
the negative axis against the reflection formula in extended precision.
"""

from __future__ import annotations

import math

import braze
import numpy as np
import pytest
from braze.ir.ops import F
from braze.ir.program import Launch
from scipy import special

REFERENCE = {
    "erfc": special.erfc, "erfinv": special.erfinv, "lgamma": special.gammaln, "digamma": special.digamma,
    "trigamma": lambda x: special.polygamma(1, x),
}  # fmt: skip
GAMMAS = ["lgamma", "digamma", "trigamma"]
BOUNDS = {"erfc": 5, "erfinv": 3, "lgamma": 3, "digamma": 4, "trigamma": 3}     # float32, over all numbers
BOUNDS64 = {"erfc": 6, "erfinv": 5, "lgamma": 5, "digamma": 4, "trigamma": 6}   # SciPy's own errors included


def compiled(name, x):
    return np.asarray(braze.compile(lambda t: F[name](t))(braze.tensor(x)))


def errors(got, want):
    """In units of the last place of what is right, rounded."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        distance = np.abs(got.astype(want.dtype) - want) / np.spacing(np.abs(rounded))
    alike = (got == rounded) | np.isnan(got) & np.isnan(rounded)
    return np.where(alike, 0.0, np.where(np.isfinite(distance), distance, np.inf))


def check(name, x, want, bound):
    got = compiled(name, x)
    error = errors(got, want)
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{name}({x[worst]!r}) is {got[worst]!r}, not {want[worst]!r}: {error[worst]:.2f} ULP"


def floats(step, is_signed):
    bits = np.arange(0, 1 << 32 if is_signed else 0x7F800001, step, dtype=np.uint64)
    return bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", REFERENCE)
def test_float32_over_a_sample_of_all_numbers(name):
    x = floats(4099, name not in GAMMAS)
    check(name, x, REFERENCE[name](x.astype(np.float64)), BOUNDS[name])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", REFERENCE)
def test_float32_over_all_numbers(name):
    every = floats(1, False).reshape(-1)
    for start in range(0, len(every), 1 << 24):
        x = every[start:start + (1 << 24)]
        check(name, x, REFERENCE[name](x.astype(np.float64)), BOUNDS[name])


def wide_erfc(x):
    """From erfcx, which loses nothing in the tail, where SciPy's erfc does."""
    tail = special.erfcx(np.abs(x)) * np.exp(-(x.astype(np.longdouble) ** 2))
    return np.where(x < 0.5, special.erfc(x), tail)


@pytest.mark.parametrize("name", REFERENCE)
def test_float64_against_scipy(name):
    random = np.random.default_rng(0)
    if name == "erfc":
        x = random.uniform(-7, 26.5, 40_000)
        check(name, x, wide_erfc(x), BOUNDS64[name])
        return
    x = np.concatenate([random.uniform(0, 12, 20_000), np.exp(random.uniform(-700, 700, 20_000))])
    if name == "erfinv":
        x = np.concatenate([random.uniform(-1, 1, 20_000), 1 - np.exp(-random.uniform(0, 36, 20_000)),
                            random.uniform(-1e-290, 1e-290, 100)])
    if name == "lgamma":                                 # near 1 and 2 SciPy's has digits in units of 1
        near = np.abs(x - 1.5) < 1
        np.testing.assert_allclose(compiled(name, x[near]), special.gammaln(x[near]), rtol=0, atol=4e-16)
        x = x[~near]
    check(name, x, REFERENCE[name](x), BOUNDS64[name])


@pytest.mark.parametrize("d, bound", [(np.float32, 3), (np.float64, 6)])
def test_digits_are_kept_near_zeros(d, bound):
    """lgamma by its Taylor series at 1 and 2 (DLMF 5.7.3), digamma by its own at its zero."""
    small = np.exp(np.random.default_rng(1).uniform(-30, math.log(2e-3), 5000)) * np.tile([-1, 1], 2500)
    zetas = [special.zeta(k) for k in range(2, 9)]
    for at in (1, 2):
        x = (at + small).astype(d)
        e = x.astype(np.longdouble) - at
        want = sum((-1) ** k * z * e**k / k for k, z in zip(range(2, 9), zetas)) - np.longdouble(np.euler_gamma) * e
        want += np.log1p(e) if at == 2 else 0                         # gamma(2 + e) = (1 + e) gamma(1 + e)
        check("lgamma", x[x != at], want[x != at], bound)
    x = (1.4616321449683622 + small).astype(d)
    e = x.astype(np.longdouble) - 1.4616321449683622 - np.longdouble(9.549995429965697e-17)
    slopes = [special.polygamma(k, 1.4616321449683622) / math.factorial(k) for k in range(1, 7)]
    check("digamma", x, sum(s * e**k for k, s in enumerate(slopes, 1)), bound)


@pytest.mark.parametrize("d", [np.float32, np.float64])
@pytest.mark.parametrize("name", GAMMAS)
def test_negative_numbers_by_reflection(name, d):
    """What is near a zero has the digits of the two terms whose difference it is, and of the rounded 1 - x."""
    random = np.random.default_rng(2)
    x = np.concatenate([-random.uniform(0, 30, 10_000), -np.exp(random.uniform(-60, 11, 10_000))]).astype(d)
    x = x[x != np.rint(x)]
    wide = x.astype(np.longdouble)
    angle = np.longdouble(math.pi) * (wide - np.rint(wide))
    angle += np.longdouble(1.2246467991473532e-16) * (wide - np.rint(wide))
    right = REFERENCE[name](1 - x.astype(np.float64))
    with np.errstate(all="ignore"):
        first = {"lgamma": lambda: np.log(np.longdouble(math.pi)) - np.log(np.abs(np.sin(angle))),
                 "digamma": lambda: -np.longdouble(math.pi) / np.tan(angle),
                 "trigamma": lambda: (np.longdouble(math.pi) / np.sin(angle)) ** 2}[name]()
        want = first + right if name == "digamma" else first - right
        got = compiled(name, x)
        error = np.abs(got - want) / (np.finfo(d).eps * np.maximum(1, np.maximum(np.abs(first), np.abs(right))))
        error = np.where(got == want.astype(d), 0, error)
    assert error.max() <= 8, f"{name}({x[error.argmax()]!r}) is {error.max():.1f} units off"


SPECIAL_VALUES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, -0.5, 0.5, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, -1e30]


@pytest.mark.parametrize("d", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", REFERENCE)
def test_special_values_are_scipys(name, d):
    with np.errstate(all="ignore"):
        x = np.array([*SPECIAL_VALUES, float(np.finfo(d).max), -float(np.finfo(d).max)]).astype(d)
        want = REFERENCE[name](x.astype(np.float64)).astype(d)
    for got in (compiled(name, x), np.asarray(F[name].evaluate(np, x))):
        np.testing.assert_allclose(got, want, rtol=8 * float(np.finfo(d).eps), atol=0)
        if name != "erfinv":                                          # odd, but not in SciPy
            np.testing.assert_array_equal(np.signbit(got)[want == 0], np.signbit(want)[want == 0])


def test_lgamma_of_subnormals_is_finite():
    assert compiled("lgamma", np.array([5e-324]))[0] == pytest.approx(1074 * math.log(2), rel=1e-15)


@pytest.mark.parametrize("d", ["float32", "float64"])
@pytest.mark.parametrize("name", REFERENCE)
def test_functions_and_their_gradients_are_kernels(name, d):
    x = braze.tensor([0.25, 0.5, 0.75], dtype=d)
    functions = [lambda t: F[name](t)]
    if name != "trigamma":
        functions.append(braze.grad(lambda t: F[name](t).sum()))
    for function in functions:
        f = braze.compile(function)
        f(x)
        assert [type(step) for step in f.ir("fused").steps] == [Launch]
