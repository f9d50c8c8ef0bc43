"""Every op of the registry as a program of its own on the simulated device, against its evaluation in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from braze.codegen.triton import emit
from braze.ir.types import dtype
from braze.passes.assemble import assemble
from braze.passes.take_apart import take_apart
from braze.runtime import devices
from op_samples import OPS, build, samples

FEW = ("b1", "i64", "u8", "f8e4m3fn", "bf16", "f32", "c64")              # dtypes of the fast run
BOUND = {"f8e4m3fn": 0, "f8e5m2": 0, "f16": 2e-3, "bf16": 2e-2, "f32": 2e-6, "f64": 1e-13, "c64": 2e-6,
         "c128": 1e-13}


def check(op, d, device, most: int) -> None:
    for _, s in zip(range(most), reversed(list(samples(op, d)))):
        graph = build(op, s.arrays, s.attrs)
        if any(isinstance(v.literal, complex) for v in graph.outputs):
            continue                                      # numbers that a trace folds
        with np.errstate(all="ignore"):
            (want,) = graph.eval(*s.arrays)
        program = assemble(take_apart(graph), device.target)
        load = devices.load(program, lambda k, schedule: emit(k, schedule, device.target), device)
        (got,) = load([device.from_host(np.asarray(a)) for a in s.arrays])
        got = device.to_host(got)
        assert got.shape == want.shape and got.dtype == want.dtype, s.name
        if want.dtype.kind in "biu":
            np.testing.assert_array_equal(got, want, err_msg=s.name)
            continue
        bound = BOUND[dtype(want.dtype).name if want.dtype.kind == "c" else d.name if d.is_float else "f32"]
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        got, want = got.astype(wide), np.asarray(want).astype(wide)
        scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
        np.testing.assert_allclose(got, want, rtol=bound, atol=bound * scale, err_msg=s.name)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_ops(op, device):
    for d in op.dtypes:
        if d.name in FEW:
            check(op, d, device, 2)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_ops_in_all_dtypes(op, device):
    for d in op.dtypes:
        check(op, d, device, 99)
