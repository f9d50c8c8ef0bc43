"""Products by the device's library: which kernels it may run, that it gives what they say, and when it is chosen."""

from __future__ import annotations

from dataclasses import replace

import braze
import numpy as np
import pytest
from braze.codegen.triton import emit
from braze.ir.configuration import configuration
from braze.ir.errors import DeviceError
from braze.ir.expr import floordiv, mod, symbol
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import GpuContraction, GpuLibrary
from braze.ir.kernel import Kernel
from braze.ir.program import Launch, Program, Slot, walk
from braze.ir.types import float32
from braze.passes import contraction, gpu_candidates, gpu_library, gpu_schedule
from braze.runtime import cuda, device_executable, device_store, device_tuning
from braze.runtime.cublas import compute_type
from braze.runtime.device import MatrixProduct
from fake_cupy import Cuda
from kernel_zoo import Zoo, assert_close, inputs, reference

from codegen import contractions as c

TARGET = GpuTarget()
M, N, K = (symbol(name, 1) for name in "MNK")


def library(kernel: Kernel, **target) -> GpuLibrary | None:
    """The kernel's way by the library."""
    return gpu_library.library(kernel, contraction.match(kernel), replace(TARGET, **target))


def loaded(kernel: Kernel, schedule, device):
    """A program of this kernel alone."""
    slots = {b.name: Slot(b.name, b.shape, b.dtype, "output" if b.is_output else "input")
             for b in kernel.buffers.values()}
    sizes = {s: next((b.name, n) for b in kernel.inputs for n, d in enumerate(b.shape) if str(d) == s)
             for s in kernel.sizes}
    program = Program("alone", slots, (Launch(kernel, schedule, {n: n for n in slots}),),
                      tuple(b.name for b in kernel.inputs), tuple(b.name for b in kernel.outputs), sizes)
    return device_executable.load(program, lambda k, s: emit(k, s, device.target), device)


def run_like_definition(kernel: Kernel, device, sizes=None) -> None:
    arrays = inputs(kernel, np.random.default_rng(0), sizes or {})
    results = loaded(kernel, library(kernel), device)([device.from_host(arrays[b.name]) for b in kernel.inputs])
    got = {b.name: device.to_host(r) for b, r in zip(kernel.outputs, results)}
    assert_close(kernel, got, reference(kernel, arrays, sizes), sizes)


def weight_gradient(n: int, t: int, rows: int, columns: int) -> Kernel:
    """x^T g over flattened places, as gradients of weights have it."""
    k = Zoo("weights", {"i": rows, "j": columns, "k": n * t})
    at = (floordiv(k.axis("k"), t), mod(k.axis("k"), t))
    x, g = (k.cast(k.load(name, (n, t, size), "bf16", (*at, k.axis(a))), float32)
            for name, size, a in (("x", rows, "i"), ("g", columns, "j")))
    k.write("y", "ij", k.reduce("sum", k.mul(x, g), "k"))
    return k.build()


KERNELS = {
    **{f"{a} {b} to {y}": c.matmul(33, 40, 50, a=a, b=b, y=y) for a in ("ik", "ki") for b in ("kj", "jk")
       for y in ("ij", "ji")},
    "f64": c.matmul(33, 20, 50, "f64"),
    "bf16": c.stored_narrow(20, 30, 70, "bf16"),
    "f16": c.stored_narrow(20, 30, 70, "f16"),
    "batches": c.batched(3, 20, 18, 33),
    "flattened places": weight_gradient(3, 5, 12, 20),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_library_gives_what_the_kernel_says(name, device):
    run_like_definition(KERNELS[name], device)


@pytest.mark.parametrize("m, n, k", [(1, 17, 5), (16, 16, 16), (9, 33, 70)])
def test_symbolic_sizes(m, n, k, device):
    run_like_definition(c.matmul(M, N, K), device, {"M": m, "N": n, "K": k})


@pytest.mark.parametrize("kernel", [
    c.matmul(33, 18, 50, epilogue=c.biased_relu), c.several_stores(20, 18, 33), c.prologues(20, 33, 18),
    c.matmul(20, 18, 70, "i8"), c.narrow_matmul(20, 18, 40, "f32", "i8", "f32"), c.window(2, 5, 6, 7, 9),
    c.distances(9, 20, 30)], ids=lambda k: k.name)
def test_what_is_no_plain_product_is_left_to_kernels(kernel):
    assert library(kernel) is None


def test_float32_asks_for_a_precision_that_the_library_has():
    kernel = c.matmul(33, 40, 50)
    assert [getattr(library(kernel, precision=p), "precision", None) for p in ("ieee", "tf32", "bf16")] == [
        "ieee", "tf32", None]
    assert library(kernel, kind="hip", arch="gfx942") is None
    assert library(c.stored_narrow(20, 30, 70, "bf16"), precision="bf16") is not None


def test_a_library_competes_where_products_are_plain():
    plain, other = c.matmul(64, 64, 64), c.matmul(64, 64, 64, epilogue=c.biased_relu)
    ways = [gpu_candidates.candidates(k, gpu_schedule.plan(k, TARGET)[0][1], TARGET) for k in (plain, other)]
    assert [sum(isinstance(w, GpuLibrary) for w in each) for each in ways] == [1, 0]


# ---- tuning ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def times(monkeypatch, tmp_path, device):
    """Made-up times: of the kernels, and of the library, which is tried last."""
    monkeypatch.setattr(type(device), "is_timed", True)
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(device_tuning, "MOST_SETS", 1)

    def made_up(library: float):
        monkeypatch.setattr(device_tuning, "fastest", lambda works, device: [1e6] * (len(works) - 1) + [library])

    return made_up


@pytest.mark.simulated
@pytest.mark.parametrize("time, is_chosen", [(0.5e6, True), (0.97e6, False), (2e6, False)])
def test_the_library_is_chosen_where_it_is_faster(time, is_chosen, device, times):
    times(time)
    kernel = c.matmul(20, 18, 16)
    ways = [gpu_schedule.plan(kernel, TARGET)[0][1], library(kernel)]
    for is_remembered in (False, True):
        tuning = device_tuning.tune(kernel, ways, lambda k, s: emit(k, s, TARGET), {}, device)
        assert isinstance(tuning.chosen, GpuLibrary if is_chosen else GpuContraction)
        assert tuning.is_remembered is is_remembered


@pytest.mark.simulated
def test_a_library_that_refuses_is_passed_over(device, times, monkeypatch):
    def refuse(*_):
        raise DeviceError("no such product")

    times(1e6)
    monkeypatch.setattr(type(device), "multiply", refuse)
    kernel = c.matmul(20, 18, 16)
    ways = [gpu_schedule.plan(kernel, TARGET)[0][1], library(kernel)]
    assert len(device_tuning.tune(kernel, ways, lambda k, s: emit(k, s, TARGET), {}, device).tried) == 1


def test_a_program_with_a_library_product_is_kept_on_disk(device, times):
    kernel = c.matmul(20, 18, 16)
    assert device_store.save("entry", loaded(kernel, library(kernel), device))
    again = device_store.restore("entry", device, "default")
    arrays = inputs(kernel, np.random.default_rng(0))
    (y,) = again([device.from_host(arrays[b.name]) for b in kernel.inputs])
    np.testing.assert_allclose(device.to_host(y), arrays["a"] @ arrays["b"], rtol=1e-5, atol=1e-5)


@pytest.mark.simulated
def test_a_tuned_function_may_be_the_library_s(device, times):
    times(1e5)
    x, w = (braze.tensor(np.random.default_rng(n).standard_normal((40, 40), dtype=np.float32)).to("cuda")
            for n in (0, 1))
    tuned = braze.compile(lambda x, w: braze.exp(x @ w * 0.1).sum(0) + (w @ w)[0], mode="max-autotune")
    expected = np.exp(np.asarray(x.cpu()) @ np.asarray(w.cpu()) * 0.1).sum(0) + (np.asarray(w.cpu())
                                                                                @ np.asarray(w.cpu()))[0]
    np.testing.assert_allclose(np.asarray(tuned(x, w).cpu()), expected, rtol=1e-4, atol=1e-4)
    tuned = braze.compile(lambda x, w: x @ w, mode="max-autotune")
    np.testing.assert_allclose(np.asarray(tuned(x, w).cpu()), np.asarray(x.cpu()) @ np.asarray(w.cpu()), rtol=1e-4,
                               atol=1e-5)
    launches = [s for s in walk(tuned.ir("tuned").program.steps) if isinstance(s, Launch)]
    assert [type(s.schedule) for s in launches] == [GpuLibrary] and "by the device's library" in tuned.ir("source")


# ---- cuBLAS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    made = Cuda()
    monkeypatch.setattr(cuda, "_cupy", lambda: made.module)
    return made


@pytest.mark.simulated
@pytest.mark.parametrize("name", KERNELS)
def test_cublas_is_asked_for_the_same(name, fake):
    run_like_definition(KERNELS[name], cuda.open_device(0))
    assert [entry[0] for entry in fake.log if entry[0] in ("product", "launch")] == ["product"]


@pytest.mark.simulated
def test_cublas_is_called_on_the_stream_of_the_work_and_not_recorded(fake):
    gpu = cuda.open_device(0)
    x = gpu.from_host(np.eye(4, dtype=np.float32))
    product = MatrixProduct(1, 4, 4, 4, False, False, x.dtype, x.dtype)
    out, at = gpu.empty((4, 4), x.dtype), gpu.address(x)
    gpu.multiply(product, at, at, gpu.address(out), 77)
    assert fake.log[-1] == ("product", (4, 4, 4), 1, 69, 77) and fake.streams_in_use == []
    assert gpu.record(lambda stream: gpu.multiply(product, at, at, gpu.address(out), stream)) is None
    np.testing.assert_array_equal(out.get(), np.eye(4))


@pytest.mark.simulated
def test_an_error_of_cublas_says_what_was_asked(fake, monkeypatch):
    gpu = cuda.open_device(0)
    library = fake.module.cuda.cublas

    def fail(*_):
        raise library.CUBLASError("CUBLAS_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr(library, "gemmStridedBatchedEx", fail)
    product = MatrixProduct(2, 3, 4, 5, False, False, np.dtype("f4"), np.dtype("f4"))
    with pytest.raises(DeviceError, match=r"float32\[2, 3, 5\] and \[2, 5, 4\]: CUBLAS_STATUS_NOT_SUPPORTED"):
        gpu.multiply(product, 0, 0, 0, 0)


@pytest.mark.parametrize("operand, precision, how", [
    ("f4", "ieee", 69), ("f4", "tf32", 77), ("f8", "ieee", 70), ("f2", "ieee", 68), ("f2", "tf32", 68)])
def test_precision_is_what_is_asked_for(operand, precision, how):
    d = np.dtype(operand)
    assert compute_type(MatrixProduct(1, 1, 1, 1, False, False, d, d, precision)) == how
