"""Kernels that Triton cannot run: they become NumPy source on the device's arrays, and `explain()` says so."""

from __future__ import annotations

import warnings

import braze
import numpy as np
import pytest
from braze import nn
from braze.codegen.numpy import emit
from braze.ir.configuration import configuration
from braze.ir.errors import CompileError
from braze.passes import gpu_schedule
from braze.runtime import devices
from braze.runtime.device_numpy import NumpyFunction
from kernel_zoo import CASES, ZOO, assert_close, inputs, reference
from zoo_tools import outputs

GPU = "cuda:0"
BY_THE_HOST = ("every_function", "cumulative", "casts_from")      # erf of any dtype, scans of maxima, 8-bit floats
CASE_IDS = ["-".join([name, *(str(n) for n in sizes.values())]) for name, sizes in CASES]


@pytest.fixture
def without_schedules(monkeypatch):
    """No kernel has tiles, and none is found on disk."""
    monkeypatch.setattr(configuration, "cache_directory", "")
    monkeypatch.setattr(gpu_schedule._Shape, "schedule", lambda self: None)


@pytest.fixture
def does_not_compile(monkeypatch, device):
    """Kernels with a product do not compile, and are not found on disk."""
    monkeypatch.setattr(configuration, "cache_directory", "")
    given = device.kernels

    def kernels(requests):
        for r in requests:
            if "tl.dot" in r.source.text:
                raise CompileError(f"Triton cannot compile kernel {r.source.entry} for cuda 90: no\nmore of it")
        return given(requests)

    monkeypatch.setattr(device, "kernels", kernels)


X = braze.randn(6, 10)
FUNCTIONS = {
    "pointwise": lambda x: (x * 2 + 1).tanh(), "rows": lambda x: x.softmax(-1), "columns": lambda x: x.max(0),
    "views": lambda x: x.T.reshape(5, 12)[1:, ::2], "scan": lambda x: x.cumsum(1), "argmax": lambda x: x.argmax(1),
    "gather": lambda x: x[braze.tensor([0, 2, 5], device=x.device)], "pad": lambda x: nn.functional.pad(x, (1, 2)),
    "half": lambda x: (x.bfloat16() * 2).float(), "integers": lambda x: (x * 9).to(braze.int32) // 4,
    "8-bit floats": lambda x: (x.to(braze.float8_e5m2).T[1:].float() * 2).to(braze.float8_e4m3fn).float(),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_has_no_schedule_computes_the_same(without_schedules, name):
    f = braze.compile(FUNCTIONS[name])
    y = f(X.to(GPU))
    assert y.device == GPU
    np.testing.assert_allclose(y.cpu().numpy(), FUNCTIONS[name](X).numpy(), rtol=2e-5, atol=2e-6)
    assert "runs as NumPy source on the device: a GPU has no schedule for it" in str(f.explain())


def test_values_change_in_place_and_sizes_vary(without_schedules):
    x = braze.arange(5.0, device=GPU)
    step = braze.compile(lambda: x.add_(x * 2))
    for _ in range(3):
        step()
    assert x.tolist() == [0, 27, 54, 81, 108]
    f = braze.compile(lambda x: x.flip(0) + 1)
    for n in (3, 4, 5, 6):
        assert f(braze.arange(float(n), device=GPU)).tolist() == list(range(n, 0, -1))


def test_the_device_s_library_does_what_does_not_compile(does_not_compile):
    a, b = braze.randn(17, 33), braze.randn(33, 20)
    f = braze.compile(lambda a, b: (a @ b).softmax(-1), mode="max-autotune")
    for _ in range(3):
        y = f(a.to(GPU), b.to(GPU))
    np.testing.assert_allclose(y.cpu().numpy(), (a @ b).softmax(-1).numpy(), rtol=2e-5, atol=2e-6)
    assert "runs as NumPy source" not in str(f.explain())


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_what_does_not_compile_runs_beside_what_does(does_not_compile, mode):
    a, b = braze.randn(17, 33), braze.randn(33, 20)
    f = braze.compile(lambda a, b: (a @ b).softmax(-1), mode=mode)
    with pytest.warns(RuntimeWarning, match="kernel matmul.* runs as NumPy source on cuda:0, which is slow: Triton ca"):
        y = f(a.to(GPU), b.to(GPU))
    for _ in range(3):
        again = f(a.to(GPU), b.to(GPU))
    expected = (a @ b).softmax(-1).numpy()
    for result in (y, again):
        np.testing.assert_allclose(result.cpu().numpy(), expected, rtol=2e-5, atol=2e-6)
    text = str(f.explain())
    assert text.count("runs as NumPy source on the device: Triton cannot compile kernel matmul") == 1
    assert "more of it" not in text


def test_an_error_that_is_no_kernels_stays_one(monkeypatch, device):
    monkeypatch.setattr(braze.runtime.device_executable, "prepare", _refuse)
    with pytest.raises(CompileError, match="a grid of"):
        braze.compile(lambda x: x + 1)(X.to(GPU))


def _refuse(*args):
    raise CompileError("a grid of too many programs")


# ---- the functions themselves ----------------------------------------------------------------------------------------


def run(kernel, arrays, sizes, change=lambda function: None):
    """A kernel of the zoo as NumPy source on the device; and whether its namespace had all that it needs."""
    device = devices.get("cuda")
    function = NumpyFunction(emit(kernel), device, "a test")
    change(function)
    given = {**arrays, **outputs(kernel, arrays, sizes)}
    there = [device.from_host(np.asarray(given[b])) for b in kernel.buffers]
    written = {s.buffer for s in kernel.stores}
    function(there, [b in written for b in kernel.buffers], sizes)
    return {b: device.to_host(a) for b, a in zip(kernel.buffers, there) if b in written}, function.in_namespace


@pytest.mark.parametrize("name, sizes", CASES, ids=CASE_IDS)
def test_kernels_in_the_namespace_of_the_device(name, sizes):
    kernel = ZOO[name]
    arrays = inputs(kernel, np.random.default_rng(0), sizes)
    made, in_namespace = run(kernel, arrays, {n: sizes[n] for n in kernel.sizes})
    assert_close(kernel, made, reference(kernel, arrays, sizes), sizes)
    assert in_namespace or name.startswith(BY_THE_HOST) or not configuration.simulate_gpu


class Lacking:
    """A namespace without a function."""

    def __init__(self, xp, name):
        self.xp, self.name = xp, name

    def __getattr__(self, name):
        if name == self.name:
            raise AttributeError(name)
        return getattr(self.xp, name)


def test_what_the_namespace_lacks_is_done_by_the_host():
    def without_exp(function):
        function._there.__closure__[0].cell_contents.__globals__["np"] = Lacking(function.device.xp, "exp")

    kernel = ZOO["softmax"]
    arrays = inputs(kernel, np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made, in_namespace = run(kernel, arrays, {}, without_exp)
    assert_close(kernel, made, reference(kernel, arrays))
    assert not in_namespace
