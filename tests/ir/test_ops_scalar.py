"""Each pointwise op's expansion in the scalar core gives what its NumPy evaluation gives, special values included."""

import numpy as np
import pytest
from braze.ir import scalar
from braze.ir.ops import F
from braze.ir.types import dtype, float32, float64
from op_reference import reference
from op_samples import OPS, samples, ulps

EXPANDED = [op for op in OPS if op.kind == "pointwise" and op.name not in ("complex", "real", "imag", "conj")]


class EagerScalars(scalar.ScalarBuilder):
    """Values are arrays; each operation is carried out at once in its dtype."""

    def dtype_of(self, x):
        return dtype(x.dtype)

    def constant(self, number, d):
        return np.asarray(number).astype(d.numpy)

    def apply(self, op, args, to=None):
        known = scalar.CORE[op]
        kinds = {dtype(a.dtype).kind for a in (args[1:] if op == "select" else args)}
        assert kinds <= set(known.kinds), f"{op} does not take {kinds}"
        assert op == "select" or len({a.dtype for a in args}) == 1, f"{op} on {[a.dtype for a in args]}"
        out = np.asarray(scalar.evaluate(op, args, to))
        want = scalar.result_dtype(op, tuple(dtype(a.dtype) for a in args), to)
        return out.astype(want.numpy)


def special_values(d):
    if d.kind == "b":
        return np.array([False, True])
    if d.is_integer:
        info = np.iinfo(d.numpy)
        return np.array([info.min, info.min + 1, 0, 1, 2, 3, 5, 7, info.max - 1, info.max,
                         *([-1, -2, -7] if d.kind == "i" else [])], d.numpy)
    import ml_dtypes

    info = ml_dtypes.finfo(d.numpy)
    x = [0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 7.0, 10.0, 100.0, 1e-3, 88.0, float(info.tiny),
         float(info.smallest_subnormal), float(info.max), np.inf, 1 - float(info.eps), 1 + float(info.eps)]
    return np.array([*x, *(-v for v in x), np.nan]).astype(d.numpy)


def expand(op, arrays, attrs):
    with np.errstate(all="ignore"):
        return op.scalar(EagerScalars(), *arrays, **attrs)


def combinations(op, d):
    x = special_values(d)
    if op.name == "where":
        c, a, b = np.meshgrid([False, True], x, x)
        return c.ravel(), a.ravel(), b.ravel()
    return tuple(a.ravel() for a in np.meshgrid(*[x] * op.arity)) if op.arity > 1 else (x,)


def attributes(op, d):
    if op.parameters != ("dtype",):
        return [{}]
    return [s.attrs for s in {s.attrs["dtype"]: s for s in samples(op, d)}.values() if s.attrs["dtype"].kind != "c"]


def check(op, d, arrays, attrs, signed=True):
    got = expand(op, arrays, attrs)
    with np.errstate(all="ignore"):
        want = np.asarray(op.evaluate(np, *arrays, **attrs))
    assert got.dtype == want.dtype, f"{op.name} {d}: {got.dtype}, not {want.dtype}"
    assert got.shape == want.shape
    if got.dtype.kind in "biu":
        wrong = got != want
    else:
        error = ulps(got, want.astype(np.float64), dtype(got.dtype))
        wrong = error > (4 if d.bits > 16 else 1)
        if signed:
            wrong |= (want == 0) & (np.signbit(got) != np.signbit(want))
    first = np.argmax(wrong)
    at = tuple(a[first].item() for a in arrays)
    assert not wrong.any(), f"{op.name}{at} in {d}: {got[first]!r}, not {want[first]!r}"


# Those that are reflected at 0 have the digits of the terms that are subtracted (tests/codegen/test_special_ulp.py).
REFLECTED = ("lgamma", "digamma", "trigamma")
# Where expansions differ from NumPy on purpose: quotients that no longer have digits behind the point (see
# `_exact_remainder`).
LARGEST_QUOTIENT = {"remainder": 2.0**20, "floor_divide": 2.0**20, "fmod": 2.0**20}


@pytest.mark.parametrize("op", EXPANDED, ids=lambda op: op.name)
def test_expansions_agree_with_numpy_on_special_values(op):
    for d in op.dtypes:
        if d.kind == "c":
            continue
        for attrs in attributes(op, d):
            arrays = combinations(op, d)
            if op.name in LARGEST_QUOTIENT and d.is_float:
                with np.errstate(all="ignore"):
                    quotient = np.abs(arrays[0].astype(np.float64) / arrays[1].astype(np.float64))
                finite = np.isfinite(arrays[0].astype(np.float64))
                keep = ~((quotient > LARGEST_QUOTIENT[op.name]) & finite & (arrays[1] != 0))
                arrays = tuple(a[keep] for a in arrays)
            if op.name == "logaddexp":           # near 0 its two terms cancel
                total = op.evaluate(np, *(a.astype(np.float64) for a in arrays))
                keep = ~(np.abs(total) < np.maximum(*(np.abs(a.astype(np.float64)) for a in arrays)) / 2)
                arrays = tuple(a[keep] for a in arrays)
            if op.name in REFLECTED:
                arrays = tuple(a[~(a < 0) | np.isinf(a)] for a in arrays)
            check(op, d, arrays, attrs, signed=op.name not in ("maximum", "minimum", "remainder", "atan2"))


@pytest.mark.parametrize("op", EXPANDED, ids=lambda op: op.name)
def test_expansions_agree_with_numpy_on_samples(op):
    for d in op.dtypes:
        if d.kind == "c":
            continue
        for s in samples(op, d):
            if s.attrs.get("dtype", d).kind == "c":
                continue
            got, want = expand(op, s.arrays, s.attrs), op.evaluate(np, *s.arrays, **s.attrs)
            np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64),
                                       rtol=1e-2 if d.bits == 16 else 1e-6,
                                       atol=1e-3 if d.bits == 16 else 1e-6, err_msg=s.name)


SMOOTH = [op for op in EXPANDED if op.arity == 1 and op.domain is not None]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("d", [float32, float64], ids=str)
@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_expansions_are_within_four_ulps_over_the_whole_range(op, d):
    """float32 against float64; float64 against longdouble."""
    if d is float32:
        x = np.arange(0, 2**32, 20011, dtype=np.uint64).astype(np.uint32).view(np.float32)
        exact = x.astype(np.float64)
    else:
        x = np.arange(0, 2**64 - 2**49, 2**49 - 12345, dtype=np.uint64).view(np.float64)
        exact = x.astype(np.longdouble)
    x = np.concatenate([x, near_special_points(d)])
    exact = x.astype(exact.dtype)
    if d is float64 and op.name in ("erf", "erfc", "erfinv", *REFLECTED):
        return                                   # SciPy has no wider type to compare with
    if op.name in REFLECTED:
        x, exact = x[~(x < 0)], exact[~(x < 0)]
    with np.errstate(all="ignore"):
        error = ulps(expand(op, (x,), {}), np.asarray(reference(op.name)(exact)).astype(np.float64), d)
    worst = np.argmax(error)
    assert error[worst] <= 4, f"{op.name}({x[worst]!r}): {error[worst]} units off"


def near_special_points(d):
    rng = np.random.default_rng(0)
    parts = [p + s * 10.0**rng.uniform(-7 if d is float32 else -15, 0, 500) for p in (0.0, 1.0, -1.0) for s in (-1, 1)]
    powers = [np.exp2(np.arange(-60.0, 60)), 10.0 ** np.arange(-30, 30)]
    return np.concatenate([*parts, *powers, rng.uniform(-100, 100, 2000)]).astype(d.numpy)


@pytest.mark.parametrize("name", ["remainder", "floor_divide", "fmod"])
@pytest.mark.parametrize("d", [float32, float64], ids=str)
def test_division_with_remainder_is_exact(name, d):
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 20000).astype(d.numpy)
    x = (y * np.exp2(rng.uniform(-5, 40 if d is float32 else 60, 20000)) * rng.choice([-1, 1], 20000)).astype(d.numpy)
    # the quotient is a whole number of at most that many bits
    exact = np.float64 if d is float32 else np.longdouble
    want = getattr(np, name)(x.astype(exact), y.astype(exact))
    np.testing.assert_allclose(expand(F[name], (x, y), {}), want.astype(d.numpy), rtol=2e-7 if d is float32 else 4e-16,
                               atol=1e-30)


@pytest.mark.parametrize("name", ["hypot", "logaddexp"])
def test_two_arguments_within_four_ulps(name):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-1, 1, 50000) * 10.0**rng.uniform(-3, 18, 50000) for _ in range(2))
    if name == "logaddexp":
        x, y = rng.uniform(-80, 80, 50000), rng.uniform(-80, 80, 50000)
    x, y = x.astype(np.float32), y.astype(np.float32)
    want = getattr(np, name)(x.astype(np.float64), y.astype(np.float64))
    error = ulps(expand(F[name], (x, y), {}), want, float32)
    far = np.abs(want) > (0.5 if name == "logaddexp" else 0)      # near 0 the two terms cancel
    assert error[far].max() <= 4


class Knowing(EagerScalars):
    """Numbers are known, as they are in a kernel."""

    def number_of(self, x):
        return x.item() if x.ndim == 0 else None


@pytest.mark.parametrize("d", [float32, float64], ids=str)
@pytest.mark.parametrize("exponent", [-2.0, -1.5, -0.5, 0.5, 1.5, 3.0, 4.0])
def test_powers_with_a_shorter_way(exponent, d):
    """Within the bound of elementary functions, over the whole range; as `pow` where IEEE 754 says what it is."""
    random = np.random.default_rng(7)
    spread = np.exp2(random.uniform(*((-149, 128) if d is float32 else (-1074, 1024)), 20_000))
    x = np.concatenate([special_values(d), spread, -spread, random.uniform(0.5, 4, 20_000)]).astype(d.numpy)
    with np.errstate(all="ignore"):
        expanded = F["pow"].scalar(Knowing(), x, np.asarray(exponent, d.numpy))
        want = np.power(x.astype(np.longdouble), np.longdouble(exponent))
    assert np.max(ulps(expanded, want, d)) <= 4


def test_other_powers_have_no_shorter_way():
    calls = []

    class Counting(Knowing):
        def apply(self, op, args, to=None):
            calls.append(op)
            return super().apply(op, args, to)

    x = np.float32([1.5, 2.5])
    F["pow"].scalar(Counting(), x, np.asarray(2.5, np.float32))
    F["pow"].scalar(Counting(), x, np.asarray([0.5, 3.0], np.float32))
    assert calls == ["pow", "pow"]
