"""runtime/cuda.py on a fake CuPy: what it hands to the driver, and programs from end to end."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import small_triton
from braze.codegen.numpy import emit as emit_numpy
from braze.codegen.triton import emit as emit_triton
from braze.ir.build import GraphBuilder
from braze.ir.errors import DeviceError
from braze.ir.expr import symbol
from braze.ir.interpreter import interpreting
from braze.ir.kernel import KernelBuilder
from braze.ir.ops import F
from braze.ir.program import Carry, HostCall, Loop
from braze.ir.types import FLOAT8, TensorType, float32
from braze.passes.assemble import assemble
from braze.runtime import cuda, cuda_facts, device_executable, triton_compiler
from elementwise_programs import Elementwise, difference, doubled, scaled
from fake_cupy import Cuda, faked
from small_programs import add, double_plus_one, launch, program

pytestmark = pytest.mark.simulated           # the fake's kernels run in Triton's interpreter
N = 40


def ramp(n=N):
    return np.arange(n, dtype=np.float32)


@pytest.fixture
def fake(monkeypatch):
    """A fake with one GPU, which loads what `compile_sources` is asked for."""
    return faked(monkeypatch, Cuda())


@pytest.fixture
def gpu(fake):
    return cuda.open_device(0)


def launches(fake):
    return [entry for entry in fake.log if entry[0] == "launch"]


def chain(takes=""):
    """out = 3 (x + y) + 1."""
    return program(f"x: input n, y: input n, t: temporary n at 0, u: temporary n at 192, out: output n{takes}",
                   [launch(add(N), x="x", y="y", out="t"), launch(double_plus_one(N), x="t", out="u"),
                    launch(add(N), x="t", y="u", out="out")], "xy", ["out"], arena=384, shapes={"n": (N,)})


def test_facts_of_the_device(gpu):
    t = gpu.target
    assert (t.kind, t.arch, t.warp, t.processors, t.shared_bytes) == ("cuda", "90", 32, 132, 232_448)
    assert t.bandwidth == pytest.approx(3352, rel=1e-3) and t.dot_flops == pytest.approx(1.07e6, rel=1e-2)
    assert gpu.description == "Fake GPU" and cuda.count() == 1


def test_arrays_come_and_go(gpu):
    there = gpu.from_host(ramp(6).reshape(2, 3)[:, ::2])
    assert gpu.owns(there) and not gpu.owns(ramp())
    np.testing.assert_array_equal(gpu.to_host(there), [[0, 2], [3, 5]])
    assert gpu.from_host(np.array(2.0)).shape == ()


@pytest.mark.parametrize("d", FLOAT8, ids=str)
def test_8_bit_floats_come_and_go(gpu, d):
    given = ramp(12).reshape(3, 4).astype(d.numpy)
    there = gpu.from_host(given[:, ::2])
    assert gpu.owns(there) and there.dtype == d.numpy and there.flags.c_contiguous
    np.testing.assert_array_equal(gpu.to_host(there).view(np.uint8), given[:, ::2].view(np.uint8))
    np.testing.assert_array_equal(gpu.to_host(there.T), given[:, ::2].T)
    made = gpu.empty((5, 3), d.numpy)
    assert made.shape == (5, 3) and made.dtype == d.numpy and gpu.address(made) % 16 == 0
    assert gpu.from_host(given[0, 3]).shape == () and gpu.to_host(gpu.from_host(given[0, 3])) == 3


@pytest.mark.parametrize("language", ["triton", "numpy"])
@pytest.mark.parametrize("d", FLOAT8, ids=str)
def test_a_program_of_8_bit_floats(gpu, d, language):
    """Halved in float32 and rounded again; an input that is not contiguous is copied by its bytes."""
    b = GraphBuilder()
    x = b.input(TensorType((4, 6), d), "x")
    with interpreting(b):
        graph = b.build([F.cast(F.cast(x, dtype=float32) * 0.5, dtype=d)])
    p = assemble(graph, gpu.target)
    loaded = device_executable.load(p, lambda kernel, s: (
        emit_triton(kernel, s, gpu.target) if language == "triton" else emit_numpy(kernel)), gpu)
    given = (ramp(24).reshape(6, 4) / 7).astype(d.numpy)
    for there in (gpu.from_host(given).T, gpu.from_host(given.T)):
        (out,) = loaded([there])
        want = (given.T.astype(np.float32) * 0.5).astype(d.numpy)
        np.testing.assert_array_equal(gpu.to_host(out).view(np.uint8), want.view(np.uint8))


def test_a_program_runs_through_the_driver_without_waiting(fake, gpu):
    loaded = device_executable.load(chain(), small_triton.emit, gpu)
    x, y = gpu.from_host(ramp()), gpu.from_host(2 * ramp())
    (out,) = loaded([x, y])
    np.testing.assert_array_equal(out.get(), 9 * ramp() + 1)
    assert [entry[:4] for entry in launches(fake)] == [("launch", "pointwise", (3, 1, 1), 128)] * 3
    assert all(hidden == (0, 0) for *_, hidden in launches(fake)) and ("wait",) not in fake.log


def test_joined_launches_find_their_tables_in_memory(fake, gpu):
    """Copied before the work, so that a graph is of launches alone; the same tables while addresses are the same."""
    e = Elementwise()
    for n in range(4):
        e.run(doubled, e.slot(f"t{n}", (n + 30,), "temporary"), e.slot(f"x{n}", (n + 30,), "input"))
    for n in range(4):
        e.run(difference, e.slot(f"y{n}", (n + 30,), "output"), f"t{n}", f"x{n}")
    e.run(scaled, e.slot("z", (5,), "output"), e.slot("v", (5,), "input"), e.slot("s", (), "input"))
    p = e.program({**{f"y{n}": f"x{n}" for n in range(4)}, "z": "v"})
    loaded = device_executable.load(p, lambda kernel, schedule: emit_triton(kernel, schedule, gpu.target), gpu)
    given = {n: gpu.from_host(ramp(p.slots[n].shape[0]) if p.slots[n].shape else np.array(2, np.float32))
             for n in p.inputs}
    for turn in range(1, 6):
        got = dict(zip(p.outputs, loaded([given[n] for n in p.inputs], donated=[n != "s" for n in p.inputs])))
        assert all(got[f"y{n}"] is given[f"x{n}"] for n in range(4))
        np.testing.assert_array_equal(got["y3"].get(), ramp(33))             # 2 x - x
        np.testing.assert_array_equal(got["z"].get(), 2**turn * ramp(5) + 2**turn - 1)
    assert {entry[1]: entry[2] for entry in launches(fake)} == {
        "doubled": (4, 1, 1), "difference": (4, 1, 1), "scaled": (1, 1, 1)}
    assert fake.log.count(("captured", 3)) == 1 and fake.log.count(("graph",)) == 3 and ("wait",) not in fake.log


def test_equal_kernels_are_compiled_and_loaded_once(fake, gpu):
    for _ in range(2):
        device_executable.load(chain(), small_triton.emit, gpu)
    assert len(fake.loaded) == 2


def test_kernels_are_compiled_for_each_pattern_of_divisible_sizes(fake, gpu):
    B = symbol("B", 0)
    p = program("x: input n, out: output n", [launch(double_plus_one(B), x="x", out="out")], "x", ["out"],
                {"B": ("x", 0)}, shapes={"n": (B,)})
    loaded = device_executable.load(p, small_triton.emit, gpu)
    for n in (16, 5, 32, 7, 0):
        np.testing.assert_array_equal(loaded([gpu.from_host(ramp(n))])[0].get(), 2 * ramp(n) + 1)
    assert [pattern for asked in fake.compiled for pattern in asked] == [(True,), (False,)]
    assert len(launches(fake)) == 4                      # none for the empty grid


def test_counters_of_loops_are_never_taken_as_divisible(fake, gpu):
    k = KernelBuilder("row", {"i": N})
    row = symbol("t", 0, 15)
    k.store("ys", (16, N), [row, k.axis("i")], k.load("xs", (16, N), "f32", [row, k.axis("i")]))
    body = (launch(k.build(), xs="xs", ys="ys"),)
    p = program("xs: input r, ys: output r", [Loop("t", 16, (), body)], ["xs"], ["ys"], shapes={"r": (16, N)})
    xs = np.arange(16 * N, dtype=np.float32).reshape(16, N)
    (ys,) = device_executable.load(p, small_triton.emit, gpu)([gpu.from_host(xs)])
    np.testing.assert_array_equal(ys.get(), xs)
    assert fake.compiled[-1] == [(False,)]


def test_large_shared_memory_is_asked_for_once(monkeypatch):
    fake = faked(monkeypatch, Cuda(), shared=100_000, warps=8)
    gpu = cuda.open_device(0)
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    device_executable.load(p, small_triton.emit, gpu)([gpu.from_host(ramp())])
    assert [e for e in fake.log if e[0] == "attribute"] == [("attribute", 8, 100_000)]
    assert launches(fake)[0][3:5] == (256, 100_000)


def test_scratch_memory_of_kernels_lies_behind_the_arena(monkeypatch):
    fake = faked(monkeypatch, Cuda(), global_scratch=128)
    gpu = cuda.open_device(0)
    device_executable.load(chain(), small_triton.emit, gpu)([gpu.from_host(ramp())] * 2)
    hidden = {entry[-1] for entry in launches(fake)}
    ((scratch, none),) = hidden
    assert none == 0 and scratch % 256 == 0 and scratch > 0
    loaded = device_executable.load(chain(), small_triton.emit, gpu)
    (plan,) = loaded._plans.values()
    assert plan.prepared.bytes == 512 + 3 * 128


def test_machine_code_that_does_not_load_is_told_and_done_without(monkeypatch, fake, gpu):
    monkeypatch.setattr(cuda, "compile_sources", lambda requests: [
        triton_compiler.Compiled(b"no cubin", "", r.source.entry, 255, 0, 300_000, 4) for r in requests])
    with pytest.warns(RuntimeWarning, match="kernel pointwise runs as NumPy source on cuda:0, which is slow: the "
                                            "driver does not load kernel pointwise .300000 bytes of shared memory"):
        loaded = device_executable.load(chain(), small_triton.emit, gpu)
    (out,) = loaded([gpu.from_host(ramp()), gpu.from_host(2 * ramp())])
    np.testing.assert_array_equal(out.get(), 9 * ramp() + 1)
    assert not launches(fake)


def test_a_number_that_is_read_costs_one_wait(fake, gpu):
    p = program("x: input n, count: input i64:z, spare: temporary n at 0, out: output n",
                [Loop("t", "count", (Carry("x", "now", "then", "out", "spare"),),
                      (launch(double_plus_one(N), x="now", out="then"),))], ["x", "count"], ["out"], arena=192,
                shapes={"n": (N,), "z": ()})
    loaded = device_executable.load(p, small_triton.emit, gpu)
    (out,) = loaded([gpu.from_host(ramp()), np.int64(3)])
    np.testing.assert_array_equal(out.get(), 8 * ramp() + 7)
    assert fake.log.count(("wait",)) == 1 and ("memcpy", 8, 2) in fake.log


def test_a_program_is_captured_when_its_addresses_come_again(fake, gpu):
    loaded = device_executable.load(chain(" takes y"), small_triton.emit, gpu)
    x, y = gpu.from_host(ramp()), gpu.from_host(ramp())
    expected = ramp()
    for turn in range(5):
        (out,) = loaded([x, y], donated=[False, True])
        assert out is y
        expected = 3 * (ramp() + expected) + 1
        np.testing.assert_array_equal(y.get(), expected)
        assert fake.log.count(("captured", 3)) == (turn >= 2) and fake.log.count(("graph",)) == max(turn - 1, 0)
    assert len(launches(fake)) == 3 * 3


def test_host_calls_are_not_captured(fake, gpu):
    call = HostCall("flip", lambda x, xp=np: (xp.flip(x),), ("u",), ("out",), takes_namespace=True)
    p = program("x: input n, t: temporary n at 0, u: temporary n at 192, out: output n",
                [launch(double_plus_one(N), x="x", out="t"), launch(double_plus_one(N), x="t", out="u"),
                 launch(double_plus_one(N), x="u", out="t"), call], "x", ["out"], arena=384, shapes={"n": (N,)})
    loaded = device_executable.load(p, small_triton.emit, gpu)
    x = gpu.from_host(ramp())
    for _ in range(4):
        np.testing.assert_array_equal(loaded([x])[0].get(), (4 * ramp() + 3)[::-1])
    assert not [e for e in fake.log if e[0] in ("captured", "graph")]


def test_work_that_cannot_be_captured_runs_as_before(fake, gpu, monkeypatch):
    def refuse(self):
        raise fake.module.cuda.runtime.CUDARuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(fake.module.cuda.Stream, "end_capture", refuse)
    loaded = device_executable.load(chain(), small_triton.emit, gpu, "reduce-overhead")
    x = gpu.from_host(ramp())
    for _ in range(4):
        np.testing.assert_array_equal(loaded([x, x])[0].get(), 6 * ramp() + 1)


def test_memory_that_runs_out_is_an_error_and_the_process_goes_on(monkeypatch):
    fake = faked(monkeypatch, Cuda(limit=100 << 10))
    gpu = cuda.open_device(0)
    held = gpu.from_host(np.zeros((80, 256), np.float32))
    with pytest.raises(DeviceError, match=r"cuda:0 has no memory for float32\[80, 256\]: 80 KiB asked, 20 KiB of 100 "
                                          r"KiB free; 1 arrays hold 80 KiB: 1 x float32\[80, 256\]"):
        gpu.empty((80, 256), np.dtype(np.float32))
    assert ("release",) in fake.log
    del held
    assert gpu.empty((80, 256), np.dtype(np.float32)).shape == (80, 256)


def test_memory_facts(gpu):
    before = gpu.allocated_bytes
    kept = gpu.empty((1024,), np.dtype(np.float32))
    assert gpu.allocated_bytes == before + 4096 and gpu.peak_bytes >= before + 4096
    del kept
    gpu.reset_peak()
    assert gpu.allocated_bytes == before == gpu.peak_bytes


def test_each_of_several_devices_has_its_kernels_and_memory(monkeypatch):
    fake = faked(monkeypatch, Cuda(devices=2))
    first, second = cuda.open_device(0), cuda.open_device(1)
    for gpu in (first, second, first):
        x = gpu.from_host(ramp())
        (out,) = device_executable.load(chain(), small_triton.emit, gpu)([x, x])
        assert gpu.owns(out) and fake.device == 0
        np.testing.assert_array_equal(gpu.to_host(out), 6 * ramp() + 1)
    assert sorted(device for device, _ in fake.loaded) == [0, 0, 1, 1]
    with pytest.raises(DeviceError, match="another device"):
        device_executable.load(chain(), small_triton.emit, second)([first.from_host(ramp())] * 2)
    with pytest.raises(DeviceError, match="no device cuda:2: CuPy 14.fake is here, and CUDA has 2 devices"):
        cuda.open_device(2)


def test_arrays_go_from_device_to_device_without_the_host(monkeypatch):
    fake = faked(monkeypatch, Cuda(devices=2))
    first, second = cuda.open_device(0), cuda.open_device(1)
    given = first.from_host(ramp())[::2]
    with second.activate():
        fake.log.clear()
    there = second.from_device(given)
    assert second.owns(there) and there.get().tolist() == ramp()[::2].tolist() and fake.device == 0
    assert fake.log == [("event", 0), ("waits for an event", 1), ("peer", 0, 1), ("event", 1),
                        ("waits for an event", 0)]


def test_memory_of_recordings_is_given_up_when_memory_is_short(fake, gpu):
    loaded = device_executable.load(chain(" takes y"), small_triton.emit, gpu, "reduce-overhead")
    y = gpu.from_host(ramp())
    held = [gpu.from_host(ramp()) for _ in range(4)]
    for x in held:
        loaded([x, y], donated=[False, True])
    (plan,) = (p for p in gpu.plans if p.recordings is not None and p.recordings.kept)
    assert plan.anchors.places
    used = fake.used[0]
    gpu.release()
    assert fake.used[0] < used and not plan.recordings.kept and not plan.anchors.places
    before = y.get()
    loaded([held[0], y], donated=[False, True])
    np.testing.assert_array_equal(y.get(), 3 * (ramp() + before) + 1)


def test_each_thread_that_launches_has_the_context(fake, gpu):
    loaded = device_executable.load(chain(), small_triton.emit, gpu)
    x = gpu.from_host(ramp())
    worker = threading.Thread(target=loaded, args=([x, x],))
    worker.start()
    worker.join()
    bound = [entry[1] for entry in fake.log if entry[0] == "bind"]
    assert len(bound) == len(set(bound)) == 2 and threading.get_ident() in bound


def test_unknown_facts_have_usual_values():
    assert cuda_facts._bandwidth(0, 0) > 0 and cuda_facts._rates(87) == cuda_facts._rates(86)
    assert cuda_facts._rates(95) == cuda_facts._rates(90)


def test_a_gpu_that_is_too_old_is_refused_in_one_sentence(monkeypatch):
    faked(monkeypatch, Cuda(capability="75"))
    with pytest.raises(DeviceError, match=r"^cuda:0, a Fake GPU, has compute capability 7\.5; Braze runs on GPUs of "
                                          r"8\.0 \(Ampere\) and later"):
        cuda.open_device(0)


def test_numbers_travel_as_arguments_of_a_kernel(fake, gpu):
    k = KernelBuilder("scaled", {"i": N})
    k.store("out", (N,), [k.axis("i")], k.mul(k.load("x", (N,), float32, [k.axis("i")]), k.load("s", (), float32, [])))
    p = program("x: input n, s: input z, out: output n", [launch(k.build(), x="x", s="s", out="out")], "xs", ["out"],
                shapes={"n": (N,), "z": ()})
    loaded = device_executable.load(p, small_triton.emit, gpu)
    x = gpu.from_host(ramp())
    for factor in (np.float32(0.5), np.array(3, np.float32), gpu.from_host(np.array(2, np.float32))):
        np.testing.assert_array_equal(loaded([x, factor])[0].get(), ramp() * float(factor))
    assert [e[1] for e in launches(fake)] == ["store_numbers", "scaled"] * 2 + ["scaled"]
    assert not [e for e in fake.log if e[0] == "memcpy"]


def test_a_clock_of_events(gpu):
    stop = gpu.timer()()
    assert stop() == 0.5e6
