"""Every op against NumPy or SciPy in float64, on all dtypes and shapes; the type rule agrees with what comes out."""

import numpy as np
import pytest
from braze.ir.errors import IndexingError
from braze.ir.ops import F
from braze.ir.types import FLOATS, dtype, float32
from op_reference import reference
from op_samples import OPS, build, samples, ulps


def wide(a):
    """In float64 or complex128; integers and bools as they are."""
    d = dtype(a.dtype)
    return a.astype(np.float64) if d.is_float else a.astype(np.complex128) if d.kind == "c" else a


def tolerance(op, d, arrays):
    terms = max([a.size for a in arrays], default=1) if op.kind in ("reduction", "scan", "contraction",
                                                                    "scatter") else 1
    return {"f8e4m3fn": 0.0625, "f8e5m2": 0.125, "f16": 1e-3, "bf16": 8e-3, "f32": 6e-7, "f64": 2e-15, "c64": 2e-6,
            "c128": 4e-15}[d.name] * (8 if terms > 1 else 1.1)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_against_numpy(op):
    expected = reference(op.name)
    for d in op.dtypes:
        for s in samples(op, d):
            (got,) = build(op, s.arrays, s.attrs).eval(*s.arrays)
            if expected is None:
                continue
            with np.errstate(all="ignore"):
                want = expected(*(a if op.name == "bitcast" else wide(a) for a in s.arrays), **s.attrs)
            if got.dtype.kind in "biu":
                np.testing.assert_array_equal(got, np.asarray(want).astype(got.dtype), err_msg=s.name)
                continue
            assert got.shape == np.shape(want), s.name
            rough = tolerance(op, dtype(got.dtype), s.arrays)
            np.testing.assert_allclose(wide(got), want, rtol=rough, atol=rough, err_msg=s.name)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_type_rule_says_what_comes_out(op):
    for d in op.dtypes:
        for s in samples(op, d):
            graph = build(op, s.arrays, s.attrs)
            (got,) = graph.eval(*s.arrays)
            (v,) = graph.outputs
            assert (got.shape, dtype(got.dtype)) == (v.shape, v.dtype), s.name


ELEMENTARY = [op for op in OPS if op.kind == "pointwise" and op.arity == 1 and op.domain is not None]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("op", ELEMENTARY, ids=lambda op: op.name)
def test_elementary_functions_are_within_four_ulps_of_float64(op):
    expected = reference(op.name)
    x = np.arange(0, 2**32, 65537, dtype=np.uint64).astype(np.uint32).view(np.float32)
    for d in (d for d in FLOATS if d is float32 or d.bits == 16):
        y = x.astype(d.numpy)
        with np.errstate(all="ignore"):
            error = ulps(op.evaluate(np, y), expected(y.astype(np.float64)), d)
        worst = np.argmax(error)
        assert error[worst] <= 4, f"{op.name}({y[worst]!r}) in {d} is {error[worst]} units off"


def test_an_index_outside_is_an_error():
    x, index = np.zeros((3, 2), np.float32), np.array([3])
    with pytest.raises(IndexingError, match="index 3 is outside dimension 0 of size 3"):
        build(F.gather, (x, index), {"axes": (0,)}).eval(x, index)
