"""Programs of all kinds of steps on the simulated device give what NumPy gives: with Triton kernels, with NumPy kernels
on copies, and mixed.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import small_triton
from braze.ir.errors import BrazeError, CompileError, DeviceError, DTypeError, ShapeError
from braze.ir.expr import symbol
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Branch, Carry, Copy, HostCall, Loop
from braze.ir.types import bool_, float32, int64
from braze.runtime import device_plan, devices
from small_programs import add, double_plus_one, emit_numpy, launch, pointwise, program, reference

N = 40


def mixed(kernel, schedule):
    """Kernels with two inputs run in NumPy, the others in Triton."""
    return (emit_numpy if len(kernel.inputs) == 2 else small_triton.emit)(kernel, schedule)


EMITTERS = pytest.mark.parametrize("emit", [small_triton.emit, emit_numpy, mixed], ids=["triton", "numpy", "mixed"])


@pytest.fixture
def run(device):
    """A program on arrays of the host, by way of the device."""
    def on(p, inputs, emit=small_triton.emit, **options):
        there = [x if np.ndim(x) == 0 and isinstance(x, np.generic) else device.from_host(x) for x in inputs]
        return [device.to_host(x) for x in devices.load(p, emit, device)(there, **options)]
    return on


def ramp(n=N):
    return np.arange(n, dtype=np.float32)


def chain():
    """out = 3 (x + y) + 1, by three kernels and two temporaries."""
    return program("x: input n, y: input n, t: temporary n at 0, u: temporary n at 192, out: output n",
                   [launch(add(N), x="x", y="y", out="t"), launch(double_plus_one(N), x="t", out="u"),
                    launch(add(N), x="t", y="u", out="out")], "xy", ["out"], arena=384, shapes={"n": (N,)})


@EMITTERS
def test_temporaries_live_in_the_arena(run, emit):
    x, y = ramp(), ramp() * 3
    (out,) = run(chain(), [x, y], emit)
    np.testing.assert_array_equal(out, 3 * (x + y) + 1)
    np.testing.assert_array_equal(out, reference(chain(), [x, y])[0])


@EMITTERS
@pytest.mark.parametrize("n", [0, 1, 7, 48])
def test_symbolic_sizes_are_read_from_the_inputs(run, emit, n):
    B = symbol("B", 0)
    p = program("x: input n, y: input n, t: temporary n at 0, out: output n",
                [launch(add(B), x="x", y="y", out="t"), launch(double_plus_one(B), x="t", out="out")],
                "xy", ["out"], {"B": ("x", 0)}, (B * 4 + 63) // 64 * 64, {"n": (B,)})
    x, y = ramp(n), np.ones(n, np.float32)
    np.testing.assert_array_equal(run(p, [x, y], emit)[0], 2 * (x + y) + 1)


def counting(turns):
    """state = 2 state + 1, so many times, the buffers alternating."""
    body = (launch(double_plus_one(N), x="now", out="then"),)
    return program("x: input n, spare: temporary n at 0, out: output n takes x",
                   [Loop("t", turns, (Carry("x", "now", "then", "out", "spare"),), body)], "x", ["out"], arena=192,
                   shapes={"n": (N,)})


WRITTEN_OUT = pytest.mark.parametrize("written_out", [1024, 0], ids=["written out", "counted"])


@WRITTEN_OUT
@EMITTERS
@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("donated", [None, [True]], ids=["kept", "donated"])
def test_a_loop_leaves_its_carry_in_the_result(run, monkeypatch, written_out, emit, turns, donated):
    monkeypatch.setattr(device_plan, "_LAUNCHES_WRITTEN_OUT", written_out)
    expected = ramp()
    for _ in range(turns):
        expected = 2 * expected + 1
    np.testing.assert_array_equal(run(counting(turns), [ramp()], emit, donated=donated)[0], expected)


@WRITTEN_OUT
@pytest.mark.parametrize("turns", range(4))
def test_a_donated_carry_is_not_overwritten_while_it_is_read(device, monkeypatch, written_out, turns):
    monkeypatch.setattr(device_plan, "_LAUNCHES_WRITTEN_OUT", written_out)
    k = KernelBuilder("reverse", {"i": N})
    i = k.axis("i")
    k.store("out", (N,), [i], k.add(k.load("x", (N,), "f32", [N - 1 - i]), k.constant(1, float32)))
    body = (launch(k.build(), x="now", out="then"),)
    p = program("x: input n, spare: temporary n at 0, out: output n takes x",
                [Loop("t", turns, (Carry("x", "now", "then", "out", "spare"),), body)], "x", ["out"], arena=192,
                shapes={"n": (N,)})
    there, expected = device.from_host(ramp()), ramp()
    for _ in range(turns):
        expected = expected[::-1] + 1
    (out,) = devices.load(p, small_triton.emit, device)([there], donated=[True])
    assert out is there
    np.testing.assert_array_equal(device.to_host(out), expected)


@WRITTEN_OUT
@EMITTERS
def test_nested_loops(run, monkeypatch, written_out, emit):
    monkeypatch.setattr(device_plan, "_LAUNCHES_WRITTEN_OUT", written_out)
    inner = Loop("s", 3, (Carry("now", "here", "there", "then", "other"),),
                 (launch(double_plus_one(N), x="here", out="there"),))
    p = program("x: input n, spare: temporary n at 0, other: temporary n at 192, out: output n",
                [Loop("t", 2, (Carry("x", "now", "then", "out", "spare"),), (inner,))], "x", ["out"], arena=384,
                shapes={"n": (N,)})
    np.testing.assert_array_equal(run(p, [ramp()], emit)[0], 64 * ramp() + 63)


@EMITTERS
@pytest.mark.parametrize("given", [np.int64(5), np.array(5), np.array(-3)], ids=["number", "array", "negative"])
def test_the_turn_is_a_size_and_trips_may_be_data(run, emit, given):
    rows = symbol("R", 1)
    k = KernelBuilder("row", {"i": N})
    row = symbol("t", 0, rows - 1)
    k.store("ys", (rows, N), [row, k.axis("i")], k.add(k.load("xs", (rows, N), "f32", [row, k.axis("i")]),
                                                      k.load("s", (N,), "f32", [k.axis("i")])))
    carry = pointwise(N, lambda b, x: b.add(x, b.constant(1, float32)), "x")
    p = program("xs: input r, s: input n, count: input i64:z, spare: temporary n at 0, ys: output r, last: output n",
                [Loop("t", "count", (Carry("s", "now", "then", "last", "spare"),),
                      (launch(k.build(), xs="xs", s="now", ys="ys"), launch(carry, x="now", out="then")))],
                ["xs", "s", "count"], ["ys", "last"], {"R": ("xs", 0)}, 192, {"r": (rows, N), "n": (N,), "z": ()})
    xs, s = np.arange(5 * N, dtype=np.float32).reshape(5, N), ramp()
    ys, last = run(p, [xs, s, given], emit)
    turns = max(int(given), 0)
    np.testing.assert_array_equal(ys[:turns], (xs + s + np.arange(5, dtype=np.float32)[:, None])[:turns])
    np.testing.assert_array_equal(last, s + turns)


@pytest.mark.parametrize("limit", [0, 1, 10, 1000])
def test_while_loops_test_before_each_turn(run, limit):
    test = KernelBuilder("test", {"i": 1})
    test.store("go", (), [], test.apply("lt", (test.load("x", (1,), "f32", [test.axis("i")]),
                                               test.load("limit", (), "f32", []))))
    p = program("x: input n, limit: input z, go: temporary b1:z at 0, spare: temporary n at 64, out: output n",
                [Loop("t", None, (Carry("x", "now", "then", "out", "spare"),),
                      (launch(double_plus_one(1), x="now", out="then"),),
                      (launch(test.build(), x="now", limit="limit", go="go"),), "go")],
                ["x", "limit"], ["out"], arena=128, shapes={"n": (1,), "z": ()})
    expected = np.float32(1)
    while expected < limit:
        expected = 2 * expected + 1
    assert run(p, [np.ones(1, np.float32), np.float32(limit)])[0] == expected


@pytest.mark.parametrize("condition", [True, False])
def test_branches_run_one_side(run, condition):
    p = program("x: input n, c: input b1:z, out: output n",
                [Branch("c", (launch(double_plus_one(N), x="x", out="out"),), (Copy("x", "out"),))], "xc", ["out"],
                shapes={"n": (N,), "z": ()})
    np.testing.assert_array_equal(run(p, [ramp(), np.bool_(condition)])[0], 2 * ramp() + 1 if condition else ramp())


# ---- host calls ----------------------------------------------------------------------------------------------------


def calling(function, **options):
    call = HostCall("call", function, ("t",), ("out",), **options)
    return program("x: input n, t: temporary n at 0, out: output n", [launch(double_plus_one(N), x="x", out="t"), call],
                   "x", ["out"], arena=192, shapes={"n": (N,)})


def test_a_host_call_gets_copies_of_the_host(run):
    def reverse(x):
        assert type(x) is np.ndarray
        return (x[::-1],)

    np.testing.assert_array_equal(run(calling(reverse), [ramp()])[0], (2 * ramp() + 1)[::-1])


def test_a_rule_for_any_namespace_stays_on_the_device(run, device):
    def reverse(x, xp=np):
        assert type(x) is device.xp.ndarray and xp is device.xp
        return (xp.flip(x),)

    np.testing.assert_array_equal(run(calling(reverse, takes_namespace=True), [ramp()])[0], (2 * ramp() + 1)[::-1])


def test_a_rule_that_the_namespace_cannot_carry_out_goes_by_the_host(run):
    def reverse(x, xp=np):
        return (xp.flip(x),) if xp is np else xp.no_such_function(x)

    np.testing.assert_array_equal(run(calling(reverse, takes_namespace=True), [ramp()])[0], (2 * ramp() + 1)[::-1])


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: (x, x), lambda x: (x[1:],)])
def test_what_a_host_call_returns_is_checked(run, wrong):
    with pytest.raises(BrazeError, match="the host call call"):
        run(calling(wrong), [ramp()])


# ---- inputs, outputs, memory -----------------------------------------------------------------------------------------


def test_numbers_of_the_host_go_along(run):
    """Ten of them, of several dtypes: two launches of the kernel that stores them."""
    names = [f"n{k}" for k in range(10)]
    k = KernelBuilder("total", {"i": N})
    total = k.load("x", (N,), float32, [k.axis("i")])
    for name in names:
        total = k.add(total, k.load(name, (), float32, []))
    k.store("out", (N,), [k.axis("i")], total)
    slots = ", ".join(["x: input n", *(f"{n}: input z" for n in names), "out: output n"])
    p = program(slots, [launch(k.build(), x="x", out="out", **{n: n for n in names})], ["x", *names], ["out"],
                shapes={"n": (N,), "z": ()})
    numbers = [np.float32(2**n) for n in range(9)]
    np.testing.assert_array_equal(run(p, [ramp(), *numbers, np.array(0.5, np.float32)])[0], ramp() + 511.5)


def test_an_input_may_be_an_output_and_outputs_may_repeat(device):
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out", "x", "out"],
                shapes={"n": (N,)})
    x = device.from_host(ramp())
    first, second, third = devices.load(p, small_triton.emit, device)([x])
    assert first is third and second is not x
    np.testing.assert_array_equal(device.to_host(second), ramp())


def test_strided_and_misaligned_inputs_are_copied(device):
    p = program("x: input n, out: output n takes x", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    loaded = devices.load(p, small_triton.emit, device)
    whole = device.from_host(ramp(2 * N))
    for x in (whole[::2], whole[1:N + 1]):
        (out,) = loaded([x], donated=[True])
        assert out is not x
        np.testing.assert_array_equal(device.to_host(out), 2 * device.to_host(x) + 1)


@pytest.mark.parametrize("wrong, error, words", [
    (lambda d: ramp(), DeviceError, "on the CPU; p runs on cuda:0"),
    (lambda d: d.from_host(ramp(3)), ShapeError, r"shape \(3,\)"),
    (lambda d: d.from_host(np.arange(N)), DTypeError, "convert it to float32")])
def test_wrong_inputs(device, wrong, error, words):
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    with pytest.raises(error, match=words):
        devices.load(p, small_triton.emit, device)([wrong(device)])


def test_an_array_that_comes_again_is_known_by_itself_and_its_shape(device):
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    loaded = devices.load(p, small_triton.emit, device)
    x = device.from_host(ramp())
    for _ in range(2):
        x += 1
        np.testing.assert_array_equal(device.to_host(loaded([x])[0]), 2 * device.to_host(x) + 1)
    with pytest.raises(ShapeError, match=r"shape \(2, 20\)"):
        loaded([x.reshape(2, 20)])
    del x
    y = device.from_host(-ramp())
    np.testing.assert_array_equal(device.to_host(loaded([y])[0]), 1 - 2 * ramp())


def test_zeroed_slots_are_cleared(device):
    k = KernelBuilder("pointwise", {"i": 3})
    k.store("out", (N,), [k.axis("i")], k.load("x", (N,), "f32", [k.axis("i")]))
    p = program("x: input n, out: output n", [launch(k.build(), zeroed=("out",), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    (out,) = devices.load(p, small_triton.emit, device)([device.from_host(ramp() + 1)])
    np.testing.assert_array_equal(device.to_host(out), [1, 2, 3] + [0] * (N - 3))


def test_a_size_too_large_for_its_argument_is_an_error(device):
    B = symbol("B", 0)
    p = program("x: input z, out: output z", [launch(add(B), x="x", y="x", out="out")], "x", ["out"], {"B": ("", 0)},
                shapes={"z": ()})

    def narrow(kernel, schedule):
        source = small_triton.emit(kernel)
        arguments = tuple((n, "i32" if kind == "i64" else kind) for n, kind in source.facts["arguments"])
        return type(source)(source.text, source.entry, "triton", facts={**source.facts, "arguments": arguments})

    with pytest.raises(CompileError, match="takes B as i32"):
        devices.load(p, narrow, device)([np.float32(1)], {"B": 2**31})


@pytest.mark.simulated
def test_scarce_memory_is_an_error_that_says_what_holds_it(device, monkeypatch):
    held = [device.empty((1000, n), np.dtype(np.float32)) for n in (10, 20, 20)]
    monkeypatch.setattr(device, "limit_bytes", device.allocated_bytes + 2000)
    p = chain()
    loaded = devices.load(p, small_triton.emit, device)
    with pytest.raises(DeviceError, match=r"no memory for float32\[1000\]: 3.91 KiB asked.*"
                                          r"2 x float32\[1000, 20\] \(156 KiB\), 1 x float32\[1000, 10\]"):
        device.empty((1000,), np.dtype(np.float32))
    x = device.from_host(ramp())
    monkeypatch.setattr(device, "limit_bytes", device.allocated_bytes + 1)
    with pytest.raises(DeviceError, match=r"float32\[40\], a result of p"):
        loaded([x, x])
    monkeypatch.setattr(device, "limit_bytes", 1 << 30)
    del held
    np.testing.assert_array_equal(device.to_host(loaded([x, x])[0]), 6 * ramp() + 1)


def test_temporaries_come_back(device):
    loaded = devices.load(chain(), small_triton.emit, device)
    x = device.from_host(ramp())
    loaded([x, x])
    before, kept = device.allocated_bytes, device.arenas.kept_bytes
    for _ in range(3):
        loaded([x, x])
    assert device.allocated_bytes == before and device.arenas.kept_bytes == kept > 0
    device.release()
    assert device.arenas.kept_bytes == 0


# ---- recordings ------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(device, monkeypatch):
    """How often work was recorded, and how often a recording was played."""
    seen = []

    def record(work):
        seen.append("recorded")
        return lambda stream: (seen.append("played"), work(stream))

    monkeypatch.setattr(device, "record", record)
    return seen


def test_a_program_is_recorded_when_its_addresses_come_again(device, recorded, monkeypatch):
    loaded = devices.load(chain(), small_triton.emit, device)
    x, y = device.from_host(ramp()), device.from_host(ramp() * 3)
    kept, allocate = device.empty((N,), np.dtype(np.float32)), device.allocate
    monkeypatch.setattr(device, "allocate", lambda shape, dtype: kept if shape == (N,) else allocate(shape, dtype))
    counts = []
    for _ in range(5):
        loaded([x, y])
        counts.append(len(recorded))
        np.testing.assert_array_equal(device.to_host(kept), 12 * ramp() + 1)
    assert counts == [0, 0, 2, 3, 4] and recorded.count("recorded") == 1


def test_moving_inputs_are_copied_to_a_place_that_stays(device, recorded):
    p = program("x: input n, y: input n, t: temporary n at 0, u: temporary n at 192, out: output n takes y",
                chain().steps, "xy", ["out"], arena=384, shapes={"n": (N,)})
    loaded = devices.load(p, small_triton.emit, device, "reduce-overhead")
    y = device.from_host(ramp())
    expected, held = ramp(), []
    for turn in range(6):
        held.append(device.from_host(ramp() + turn))
        (y,) = loaded([held[-1], y], donated=[False, True])
        expected = 3 * (ramp() + turn + expected) + 1
        np.testing.assert_array_equal(device.to_host(y), expected)
    assert recorded.count("recorded") == 1 and recorded.count("played") >= 3


def test_modes_are_named():
    with pytest.raises(CompileError, match="no mode 'fast'"):
        devices.load(chain(), small_triton.emit, devices.get("cuda"), "fast")


def test_calls_from_several_threads(device):
    loaded = devices.load(counting(3), emit_numpy, device)
    errors = []

    def work(seed):
        x = ramp() + seed
        for _ in range(20):
            (out,) = loaded([device.from_host(x)])
            if not np.array_equal(device.to_host(out), 8 * x + 7):
                errors.append(seed)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_a_bool_slot_and_an_integer_slot(run):
    test = KernelBuilder("test", {"i": N})
    test.store("less", (N,), [test.axis("i")], test.apply("lt", (test.load("a", (N,), int64, [test.axis("i")]),
                                                                  test.load("b", (), int64, []))))
    p = program("a: input i64:n, b: input i64:z, less: output b1:n", [launch(test.build(), a="a", b="b", less="less")],
                "ab", ["less"], shapes={"n": (N,), "z": ()})
    assert p.slots["less"].dtype is bool_
    np.testing.assert_array_equal(run(p, [np.arange(N), np.int64(7)])[0], np.arange(N) < 7)


def test_memory_that_runs_out_in_a_host_call_is_such_an_error_too(device):
    def hungry(x, xp=np):
        raise device.memory_errors[0]("no memory")

    with pytest.raises(DeviceError, match="no memory for the host call call: .* free; "):
        devices.load(calling(hungry, takes_namespace=True), small_triton.emit, device)([device.from_host(ramp())])
