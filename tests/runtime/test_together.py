"""Launches that run in one parallel region: which do, that each unit runs once, and the same bits for any threads."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir import expr
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Carry, Loop
from braze.ir.schedule import Source
from braze.ir.types import float32
from braze.runtime import abi, executable, threads
from small_programs import add, double_plus_one, emit, launch, program, reference

N = 1000


@pytest.fixture(autouse=True)
def restore_threads():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def regions(loaded) -> list[int]:
    """How many launches run in each region of a program whose code has no loops."""
    found, alone, code, at = [], 0, list(loaded.lowered.code), 0
    while code[at] != abi.DONE:
        if code[at] == abi.LAUNCH:
            found, alone = (found, alone + 1) if code[at + 8] else ([*found, 1], 0)
            at = code[at + 7]
            continue
        if code[at] == abi.TOGETHER:
            found, alone = [*found, alone], 0
        at += abi.RECORD_WORDS[code[at]]
    return found


def doubled(source: str, target: str, n=N, grain=100, zeroed=()):
    return launch(double_plus_one(n), grain, zeroed, x=source, out=target)


LEGAL = [
    ("independent", [doubled("x", "out"), doubled("y", "a"), doubled("x", "b")], [3]),
    ("reads what was written", [doubled("x", "a"), doubled("a", "b"), doubled("b", "out")], [1, 1, 1]),
    ("writes what is read", [doubled("y", "out"), doubled("x", "a"), doubled("out", "y_taken")], [2, 1]),
    ("writes an input that is read, in its place", [doubled("y", "a"), doubled("x", "y_taken")], [1, 1]),
    ("shares memory by its lifetime", [doubled("x", "b"), doubled("y", "again_a"), doubled("x", "a")], [2, 1]),
    ("writes the same", [doubled("x", "out"), doubled("y", "out")], [1, 1]),
]


@pytest.mark.parametrize("steps, found", [case[1:] for case in LEGAL], ids=[case[0] for case in LEGAL])
def test_launches_run_together_where_none_writes_what_another_touches(steps, found):
    p = program("x: input n, y: input n, a: temporary n at 0, again_a: temporary n at 0, b: temporary n at 4032, "
                "out: output n, y_taken: output n takes y", steps, "xy", ["out", "y_taken"], arena=8064,
                shapes={"n": (N,)})
    assert regions(executable.load(p, emit)) == found


def counting(units, base):
    """out[i] = x[i] + i + base, on whole numbers."""
    k = KernelBuilder("count", {"i": units})
    at = k.axis("i")
    read = k.add(k.load("x", (units,), "i64", [at]), k.index(at + base))
    k.store("out", (units,), [at], read)
    return k.build()


# units and grain of each part: none at all, less than a grain, one, many, many small ones
PARTS = [
    [(1, 1), (1, 1)], [(0, 1), (0, 5)], [(0, 3), (5, 1), (0, 1)], [(1, 1000), (1000, 7), (3, 1000)],
    [(50, 50), (51, 50), (49, 50)], [(64, 200)] * 100, [(100_003, 10), (7, 100), (2000, 1000)], [(3, 1 << 40)] * 300,
]  # fmt: skip


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_every_unit_of_every_part_runs_once(parts):
    threads.set_num_threads(4)
    slots = [f"x{n}: input i64:{n}, out{n}: output i64:{n}" for n in range(len(parts))]
    steps = [launch(counting(units, n), grain, x=f"x{n}", out=f"out{n}") for n, (units, grain) in enumerate(parts)]
    names = range(len(parts))
    p = program(", ".join(slots), steps, [f"x{n}" for n in names], [f"out{n}" for n in names],
                shapes={str(n): (units,) for n, (units, _) in enumerate(parts)})
    loaded = executable.load(p, emit)
    assert regions(loaded) == ([len(parts)] if len(parts) <= abi.MOST_PARTS
                               else [abi.MOST_PARTS, len(parts) - abi.MOST_PARTS])
    for _ in range(20):
        for n, out in enumerate(loaded([np.ones(units, np.int64) for units, _ in parts])):
            np.testing.assert_array_equal(out, np.arange(len(out)) + n + 1)
            out[...] = -1


@pytest.mark.parametrize("n", [0, 1, 700, 12_345])
def test_parts_may_have_symbolic_sizes(n):
    m = expr.symbol("m")
    p = program("x: input n, y: input n, a: output n, b: output n",
                [launch(add(m), 10, x="x", y="y", out="a"), doubled("y", "b", m, 3)], "xy", ["a", "b"],
                {"m": ("x", 0)}, shapes={"n": (m,)})
    loaded = executable.load(p, emit)
    assert regions(loaded) == [2]
    x, y = np.arange(n, dtype=np.float32), np.linspace(0, 1, n, dtype=np.float32)
    for count in (1, 2, 3, 5):
        threads.set_num_threads(count)
        sums, doubles = loaded([x, y])
        np.testing.assert_array_equal(sums, x + y)
        np.testing.assert_array_equal(doubles, 2 * y + 1)


def test_slots_are_cleared_before_the_region():
    """Each part writes the first half of its slot."""
    k = KernelBuilder("half", {"i": N // 2})
    k.store("out", (N,), [k.axis("i")], k.load("x", (N,), float32, [k.axis("i")]))
    half = k.build()
    p = program("x: input n, a: output n, b: output n", [launch(half, 100, (name,), x="x", out=name) for name in "ab"],
                "x", ["a", "b"], shapes={"n": (N,)})
    loaded = executable.load(p, emit)
    assert regions(loaded) == [2]
    x = np.arange(N, dtype=np.float32)
    for _ in range(3):
        for out in loaded([x]):
            np.testing.assert_array_equal(out, np.where(x < N // 2, x, 0))
            out[...] = 7


def test_each_turn_of_a_loop_runs_its_parts_together():
    """Two carries that swap: both are read in a turn by the kernels that write the next ones."""
    steps = (launch(add(N), 50, x="a_now", y="b_now", out="a_then"), launch(double_plus_one(N), 70, x="a_now",
                                                                            out="b_then"))
    place = -(-4 * N // 64) * 64
    carries = (Carry("x", "a_now", "a_then", "a", "a_spare"), Carry("y", "b_now", "b_then", "b", "b_spare"))
    p = program(f"x: input n, y: input n, a_spare: temporary n at 0, b_spare: temporary n at {place}, "
                "a: output n, b: output n", [Loop("t", 7, carries, steps)], "xy", ["a", "b"], arena=2 * place,
                shapes={"n": (N,)})
    x, y = np.linspace(0, 1, N, dtype=np.float32), np.linspace(-1, 0, N, dtype=np.float32)
    loaded = executable.load(p, emit)
    assert list(loaded.lowered.code).count(abi.TOGETHER) >= 1
    for count in (1, 2, 3, 5, 8):
        threads.set_num_threads(count)
        for got, expected in zip(loaded([x, y]), reference(p, [x, y])):
            np.testing.assert_array_equal(got, expected)


SCRATCH = """
define void @kernel(ptr %args, i64 %start, i64 %stop, ptr %scratch) {
  %out = load ptr, ptr %args
  br label %loop
loop:
  %i = phi i64 [%start, %0], [%i1, %loop]
  store volatile i64 %i, ptr %scratch
  %back = load volatile i64, ptr %scratch
  %at = getelementptr i64, ptr %out, i64 %i
  store i64 %back, ptr %at
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %stop
  br i1 %more, label %loop, label %out.of.it
out.of.it:
  ret void
}
"""


def test_parts_on_several_threads_have_scratch_memory_of_their_own():
    n = 5000
    k = KernelBuilder("index", {"i": n})
    k.store("out", (n,), [k.axis("i")], k.index(k.axis("i")))
    p = program("a: output i64:n, b: output i64:n", [launch(k.build(), 1, out="a"), launch(k.build(), 1, out="b")], "",
                ["a", "b"], shapes={"n": (n,)})
    loaded = executable.load(p, lambda kernel, schedule: Source(SCRATCH, "kernel", "llvm", n, 10, 64))
    assert regions(loaded) == [2]
    for count in (2, 4, 3):
        threads.set_num_threads(count)
        for _ in range(10):
            for out in loaded([]):
                np.testing.assert_array_equal(out, np.arange(n))
