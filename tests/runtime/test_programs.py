"""Programs of all kinds of steps give what NumPy gives, in the native runner, with NumPy kernels, and mixed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from braze.ir.errors import BrazeError, CompileError, DTypeError, ShapeError
from braze.ir.expr import symbol
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Branch, Carry, Copy, HostCall, Loop
from braze.ir.types import bool_, float32, int64
from braze.runtime import executable, profile
from small_programs import add, double_plus_one, emit, emit_numpy, launch, pointwise, program, reference

N = 40
T = symbol("t", 0)


def mixed(kernel, schedule):
    """Kernels with two inputs run in NumPy, the others in LLVM."""
    return (emit_numpy if len(kernel.inputs) == 2 else emit)(kernel, schedule)


BACK_ENDS = pytest.mark.parametrize("back_end", [emit, emit_numpy, mixed], ids=["llvm", "numpy", "mixed"])


def f32(*values):
    return np.array(values, np.float32)


def ramp(n=N):
    return np.arange(n, dtype=np.float32)


@BACK_ENDS
def test_temporaries_live_in_the_arena(back_end):
    p = program("x: input n, y: input n, t: temporary n at 0, u: temporary n at 192, out: output n",
                [launch(add(N), x="x", y="y", out="t"), launch(double_plus_one(N), x="t", out="u"),
                 launch(add(N), x="t", y="u", out="out")], "xy", ["out"], arena=384, shapes={"n": (N,)})
    x, y = ramp(), ramp() * 3
    (out,) = executable.load(p, back_end)([x, y])
    np.testing.assert_array_equal(out, 3 * (x + y) + 1)
    np.testing.assert_array_equal(out, reference(p, [x, y])[0])


@BACK_ENDS
@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_symbolic_sizes_are_read_from_the_inputs(back_end, n):
    B = symbol("B", 0)
    p = program("x: input n, y: input n, t: temporary n at 0, u: temporary n at 64, out: output n",
                [launch(add(B), 16, x="x", y="y", out="t"), launch(double_plus_one(B), 16, x="t", out="out")],
                "xy", ["out"], {"B": ("x", 0)}, (B * 4 + 63) // 64 * 64, {"n": (B,)})
    x, y = ramp(n), np.ones(n, np.float32)
    (out,) = executable.load(p, back_end)([x, y])
    np.testing.assert_array_equal(out, 2 * (x + y) + 1)


def test_offsets_of_temporaries_may_be_symbolic():
    B = symbol("B", 0)
    size = (B * 4 + 63) // 64 * 64
    p = program("x: input n, t: temporary n at 0, out: output n",
                [launch(double_plus_one(B), x="x", out="t"), launch(double_plus_one(B), x="t", out="out")],
                "x", ["out"], {"B": ("x", 0)}, size * 3, {"n": (B,)})
    moved = {**p.slots, "t": type(p.slots["t"])("t", (B,), float32, "temporary", offset=size * 2)}
    p = type(p)(p.name, moved, p.steps, p.inputs, p.outputs, p.sizes, p.arena)
    loaded = executable.load(p, emit)
    for n in (5, 100, 0, 5):
        np.testing.assert_array_equal(loaded([ramp(n)])[0], 4 * ramp(n) + 3)


def counting_loop(turns, n=N):
    """state = 2 state + 1, so many times, the buffers alternating."""
    body = [launch(double_plus_one(n), x="now", out="then")]
    return [Loop("t", turns, (Carry("x", "now", "then", "out", "spare"),), tuple(body))]


@BACK_ENDS
@pytest.mark.parametrize("turns", range(6))
def test_a_loop_leaves_its_carry_in_the_result(back_end, turns):
    p = program("x: input n, spare: temporary n at 0, out: output n", counting_loop(turns), "x", ["out"], arena=192,
                shapes={"n": (N,)})
    expected = ramp()
    for _ in range(turns):
        expected = 2 * expected + 1
    np.testing.assert_array_equal(executable.load(p, back_end)([ramp()])[0], expected)


@pytest.mark.parametrize("turns", range(5))
def test_a_donated_carry_is_not_overwritten_while_it_is_read(turns):
    shifted = KernelBuilder("reverse", {"i": N})
    i = shifted.axis("i")
    shifted.store("out", (N,), [i], shifted.add(shifted.load("x", (N,), "f32", [N - 1 - i]),
                                                shifted.constant(1, float32)))
    reverse = shifted.build()
    p = program("x: input n, spare: temporary n at 0, out: output n takes x",
                [Loop("t", turns, (Carry("x", "now", "then", "out", "spare"),),
                      (launch(reverse, x="now", out="then"),))],
                "x", ["out"], arena=192, shapes={"n": (N,)})
    x = ramp()
    expected = x.copy()
    for _ in range(turns):
        expected = expected[::-1] + 1
    (out,) = executable.load(p, emit)([x], donated=[True])
    assert out is x
    np.testing.assert_array_equal(out, expected)


@BACK_ENDS
def test_the_turn_is_a_size_and_trips_may_be_data(back_end):
    rows = symbol("R", 1)
    k = KernelBuilder("row", {"i": N})
    row = symbol("t", 0, rows - 1)
    k.store("ys", (rows, N), [row, k.axis("i")], k.add(k.load("xs", (rows, N), "f32", [row, k.axis("i")]),
                                                      k.load("s", (N,), "f32", [k.axis("i")])))
    kernel = k.build()
    carry = pointwise(N, lambda b, x: b.add(x, b.constant(1, float32)), "x")
    p = program("xs: input r, s: input n, count: input i64:z, spare: temporary n at 0, ys: output r, last: output n",
                [Loop("t", "count", (Carry("s", "now", "then", "last", "spare"),),
                      (launch(kernel, xs="xs", s="now", ys="ys"), launch(carry, x="now", out="then")))],
                ["xs", "s", "count"], ["ys", "last"], {"R": ("xs", 0)}, 192, {"r": (rows, N), "n": (N,), "z": ()})
    xs, s = np.arange(5 * N, dtype=np.float32).reshape(5, N), ramp()
    loaded = executable.load(p, back_end)
    for count in (5, 5, 5):
        ys, last = loaded([xs, s, np.array(count)])
        np.testing.assert_array_equal(ys, xs + s + np.arange(5, dtype=np.float32)[:, None])
        np.testing.assert_array_equal(last, s + count)
    assert loaded([xs, s, np.array(-3)])[1][3] == 3


@pytest.mark.parametrize("limit", [0, 1, 10, 1000])
def test_while_loops_test_before_each_turn(limit):
    test = KernelBuilder("test", {"i": 1})
    test.store("go", (), [], test.apply("lt", (test.load("x", (1,), "f32", [test.axis("i")]),
                                               test.load("limit", (), "f32", []))))
    step = double_plus_one(1)
    p = program("x: input n, limit: input z, go: temporary b1:z at 0, spare: temporary n at 64, out: output n",
                [Loop("t", None, (Carry("x", "now", "then", "out", "spare"),), (launch(step, x="now", out="then"),),
                      (launch(test.build(), x="now", limit="limit", go="go"),), "go")],
                ["x", "limit"], ["out"], arena=128, shapes={"n": (1,), "z": ()})
    expected = np.float32(1)
    while expected < limit:
        expected = 2 * expected + 1
    x = [f32(1), np.array(limit, np.float32)]
    assert executable.load(p, emit)(x)[0] == expected == reference(p, x)[0]


@BACK_ENDS
def test_branches_take_one_side(back_end):
    p = program("c: input b1:z, x: input n, y: input n, out: output n",
                [Branch("c", (launch(add(N), x="x", y="y", out="out"),), (Copy("x", "out"),)), Copy("out", "out")],
                ["c", "x", "y"], ["out"], shapes={"n": (N,), "z": ()})
    loaded = executable.load(p, back_end)
    x, y = ramp(), ramp() * 7
    np.testing.assert_array_equal(loaded([np.array(True), x, y])[0], x + y)
    np.testing.assert_array_equal(loaded([np.array(False), x, y])[0], x)


@BACK_ENDS
def test_host_calls_inside_loops_see_the_turns_arrays(back_end):
    seen = []

    def host(a):
        seen.append(a.copy())
        assert not a.flags.writeable
        return (np.sort(a)[::-1],)

    p = program("x: input n, spare: temporary n at 0, t: temporary n at 192, out: output n",
                [Loop("t", 3, (Carry("x", "now", "then", "out", "spare"),),
                      (HostCall("sort", host, ("now",), ("t",)), launch(double_plus_one(N), x="t", out="then")))],
                "x", ["out"], arena=384, shapes={"n": (N,)})
    (out,) = executable.load(p, back_end)([ramp()])
    np.testing.assert_array_equal(out, 8 * ramp()[::-1] + 7)
    np.testing.assert_array_equal(seen[1], 2 * ramp()[::-1] + 1)


@BACK_ENDS
def test_an_error_in_a_host_call_leaves_the_program_usable(back_end):
    fails = [True]

    def host(a):
        if fails[0]:
            raise ZeroDivisionError("on purpose")
        return (a + 1,)

    p = program("x: input n, t: temporary n at 0, out: output n",
                [launch(double_plus_one(N), x="x", out="t"), HostCall("host", host, ("t",), ("out",))], "x", ["out"],
                arena=192, shapes={"n": (N,)})
    loaded = executable.load(p, back_end)
    x = ramp()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            loaded([x])
    fails[0] = False
    np.testing.assert_array_equal(loaded([x])[0], 2 * ramp() + 2)
    np.testing.assert_array_equal(x, ramp())


def test_a_host_call_with_results_that_do_not_fit_is_an_error():
    p = program("x: input n, out: output n", [HostCall("cut", lambda a: (a[1:],), ("x",), ("out",))], "x", ["out"],
                shapes={"n": (N,)})
    with pytest.raises(BrazeError, match=r"cut returned shape \(39,\) where \(40,\)"):
        executable.load(p, emit)([ramp()])


def test_zeroed_slots_are_cleared_before_the_launch():
    k = KernelBuilder("one", {"i": 1})
    k.store("out", (N,), [k.axis("i")], k.load("x", (N,), "f32", [k.axis("i")]))
    p = program("x: input n, out: output n", [launch(k.build(), zeroed=("out",), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    loaded = executable.load(p, emit)
    for _ in range(3):
        (out,) = loaded([ramp() + 5])
        np.testing.assert_array_equal(out, [5] + [0] * (N - 1))
        out[...] = np.nan                        # the next call gets this memory again


def test_inputs_that_are_not_contiguous_or_not_aligned_are_copied():
    p = program("x: input n, y: input n, out: output n takes x", [launch(add(N), x="x", y="y", out="out")], "xy",
                ["out"], shapes={"n": (N,)})
    loaded = executable.load(p, emit)
    strided = np.arange(2 * N, dtype=np.float32)[::2]
    unaligned = np.frombuffer(b"\0" + ramp().tobytes(), np.uint8)[1:].view(np.float32)
    expected = strided + ramp()
    (out,) = loaded([strided, unaligned], donated=[True, False])
    assert out is not strided
    np.testing.assert_array_equal(out, expected)


def test_donated_buffers_are_taken_only_when_donated():
    p = program("x: input n, y: input n, out: output n takes x", [launch(add(N), x="x", y="y", out="out")], "xy",
                ["out"], shapes={"n": (N,)})
    loaded = executable.load(p, emit)
    x = ramp()
    assert loaded([x, x.copy()])[0] is not x
    assert loaded([x, x.copy()], donated=[False, True])[0] is not x
    assert loaded([x, ramp()], donated=[True, False])[0] is x
    np.testing.assert_array_equal(x, 2 * ramp())
    fixed = ramp()
    fixed.flags.writeable = False
    assert loaded([fixed, ramp()], donated=[True, False])[0] is not fixed


def test_results_may_repeat_and_may_be_inputs():
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out", "x", "out"],
                shapes={"n": (N,)})
    x = ramp()
    a, b, c = executable.load(p, emit)([x])
    assert a is c and b is not x
    np.testing.assert_array_equal(b, x)


WRONG = (
    ([ramp()], ShapeError, "takes 2 inputs, not 1"),
    ([ramp(), ramp(), ramp()], ShapeError, "takes 2 inputs, not 3"),
    ([ramp(), ramp(N + 1)], ShapeError, r"\(41,\), where \(40,\) is meant"),
    ([ramp(), ramp().astype(np.float64)], DTypeError, "float64; convert it to float32"),
    ([ramp(), [1.0] * N], DTypeError, "is given a list"),
)


@pytest.mark.parametrize("inputs, error, message", WRONG)
def test_wrong_inputs_are_named(inputs, error, message):
    p = program("x: input n, y: input n, out: output n", [launch(add(N), x="x", y="y", out="out")], "xy", ["out"],
                shapes={"n": (N,)})
    with pytest.raises(error, match=message):
        executable.load(p, emit)(inputs)


def test_a_size_that_no_input_has_is_an_error_when_loading():
    B = symbol("B", 1)
    p = program("x: input n, out: output n", [launch(double_plus_one(B), x="x", out="out")], "x", ["out"],
                shapes={"n": (B,)})
    with pytest.raises(CompileError, match="B"):
        executable.load(p, emit)


def test_bound_programs_take_arrays_and_addresses():
    p = program("x: input n, y: input n, t: temporary n at 0, out: output n",
                [launch(add(N), x="x", y="y", out="t"), launch(add(N), x="t", y="y", out="out")], "xy", ["out"],
                arena=192, shapes={"n": (N,)})
    x, y, out = ramp(), ramp(), np.zeros(N, np.float32)
    call = executable.load(p, emit).bind()
    call(x.ctypes.data, y.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out, 3 * ramp())
    call(x, y.ctypes.data, out)                  # arrays do as well
    np.testing.assert_array_equal(out, 3 * ramp())
    with pytest.raises(TypeError):
        call(x.ctypes.data)
    with pytest.raises(TypeError):
        call(x.ctypes.data, y.ctypes.data, "out")


def test_a_bound_builtin_owns_what_it_needs():
    p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    call = executable.load(p, emit).bind()
    del p
    x, out = ramp(), np.zeros(N, np.float32)
    for _ in range(100):
        np.empty(1000)
        call(x.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out, 2 * x + 1)
    count = sys.getrefcount(None)
    for _ in range(1000):
        call(x.ctypes.data, out.ctypes.data)
    assert abs(sys.getrefcount(None) - count) < 500


def test_numpy_programs_load_no_llvm():
    import subprocess

    text = ("import sys; sys.path.insert(0, 'tests'); from runtime.test_programs import *\n"
            "p = program('x: input n, out: output n', [launch(double_plus_one(N), x='x', out='out')], 'x', ['out'], "
            "shapes={'n': (N,)})\nexecutable.load(p, emit_numpy)([ramp()]); assert not any(m.startswith('llvmlite') "
            "for m in sys.modules)")
    subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", text], check=True, timeout=120)


@pytest.mark.parametrize("back_end", [emit, emit_numpy])
def test_profile_times_each_launch(back_end):
    p = program("x: input n, spare: temporary n at 0, out: output n",
                [*counting_loop(3), launch(double_plus_one(N), x="x", out="spare")], "x", ["out"], arena=192,
                shapes={"n": (N,)})
    times = profile.profile(executable.load(p, back_end), [ramp()])
    assert [t.runs for t in times] == [3, 1]
    assert all(t.nanoseconds >= 0 and "pointwise" in str(t) for t in times)


def test_int_and_bool_arrays():
    k = KernelBuilder("compare", {"i": N})
    x = k.load("x", (N,), int64, [k.axis("i")])
    k.store("out", (N,), [k.axis("i")], k.apply("lt", (x, k.constant(5, int64))))
    p = program("x: input i64:n, out: output b1:n", [launch(k.build(), x="x", out="out")], "x", ["out"],
                shapes={"n": (N,)})
    (out,) = executable.load(p, emit)([np.arange(N)])
    assert out.dtype == bool_.numpy
    np.testing.assert_array_equal(out, np.arange(N) < 5)
