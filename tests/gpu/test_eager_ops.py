"""Every op run eagerly on the device: the same bits as on the CPU, and the results stay there."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.interpreter import current
from braze.tracer.tensor import Tensor
from op_samples import OPS, samples


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_same_bits_as_on_the_cpu(op, device):
    for d in op.dtypes:
        for s in samples(op, d):
            want = current().bind(op, tuple(Tensor(np.array(a)) for a in s.arrays), s.attrs)
            got = current().bind(op, tuple(Tensor(device.from_host(a)) for a in s.arrays), s.attrs)
            assert got.device == (device.name if s.arrays else "cpu"), s.name
            assert got.cpu().numpy().tobytes() == want.cpu().numpy().tobytes(), s.name
            assert got.dtype is want.dtype, s.name


@pytest.mark.parametrize("op", [op for op in OPS if op.arity and op.arity > 1], ids=lambda op: op.name)
def test_numbers_of_the_cpu_go_with_arrays_of_the_device(op, device):
    for d in op.dtypes:
        for s in samples(op, d):
            if all(a.ndim for a in s.arrays) or not any(a.ndim for a in s.arrays):
                continue
            want = current().bind(op, tuple(Tensor(np.array(a)) for a in s.arrays), s.attrs)
            mixed = tuple(Tensor(device.from_host(a) if a.ndim else np.array(a)) for a in s.arrays)
            got = current().bind(op, mixed, s.attrs)
            assert got.device == device.name, s.name
            assert got.cpu().numpy().tobytes() == want.numpy().tobytes(), s.name
