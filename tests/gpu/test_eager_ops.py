"""Every op run eagerly on the device: what the CPU gives (on the simulated device in the same bits), and the results
stay there.
"""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.errors import DTypeError
from braze.ir.interpreter import current
from braze.tracer import elsewhere
from braze.tracer.tensor import Tensor
from op_samples import OPS, samples

from . import device_runner
from .device_runner import assert_agree


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_same_as_on_the_cpu(op, device):
    for d in op.dtypes:
        for s in samples(op, d):
            want = current().bind(op, tuple(Tensor(np.array(a)) for a in s.arrays), s.attrs)
            got = current().bind(op, tuple(Tensor(device.from_host(a)) for a in s.arrays), s.attrs)
            assert got.device == (device.name if s.arrays else "cpu"), s.name
            assert_agree(got.cpu().numpy(), want.cpu().numpy(), s.name)
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
            assert_agree(got.cpu().numpy(), want.numpy(), s.name)


@pytest.fixture
def by_host(monkeypatch):
    """What the namespace did not carry out."""
    monkeypatch.setattr(elsewhere, "by_host", set())
    return elsewhere.by_host


@pytest.mark.simulated
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_rule_needs_the_host_unasked(op, device, by_host):
    for d in op.dtypes:
        for s in samples(op, d):
            current().bind(op, tuple(Tensor(device.from_host(a)) for a in s.arrays), s.attrs)
    assert not by_host


def test_what_the_namespace_lacks_goes_by_the_host(device, by_host, monkeypatch):
    x = Tensor(device.from_host(np.array([3, 1, 2], np.float32)))

    def refuse(*args, **options):
        raise TypeError("dtype is not supported: float32")

    monkeypatch.setattr(device.xp, "argsort", refuse)
    for _ in range(2):
        assert x.argsort().tolist() == [1, 2, 0] and x.argsort().device == device.name
    assert [name for name, *_ in by_host] == ["argsort"]


def test_errors_of_types_are_no_lack_of_the_namespace(device, by_host):
    x = Tensor(device.from_host(np.ones(3, np.float32)))
    with pytest.raises(DTypeError):
        x << 1
    assert not by_host


def test_the_comparison_with_a_gpu(monkeypatch):
    monkeypatch.setattr(device_runner.configuration, "simulate_gpu", False)
    want = np.array([1, 1e-9, np.inf, np.nan], np.float32)
    assert_agree(want + np.float32(1e-6), want)
    for wrong in (want + np.float32(1e-3), want[:3], want.astype(np.float64)):
        with pytest.raises(AssertionError):
            assert_agree(wrong, want)
    with pytest.raises(AssertionError):
        assert_agree(np.array([1, 2]), np.array([1, 3]))
