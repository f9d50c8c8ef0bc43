"""The worker pool: the same bits for any number of threads, many callers at once, fork, signals, a quiet process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Carry, Loop  # noqa: F401  (for `in_a_process`)
from braze.ir.schedule import Source
from braze.runtime import executable, native, threads
from small_programs import add, double_plus_one, emit, launch, pointwise, program, reference  # noqa: F401

N = 100_000
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def restore_threads():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def chain(n=N, grain=100, length=6):
    """x and y are added again and again, in parallel regions one after the other."""
    steps = [launch(add(n), grain, x="x", y="y", out="a")]
    names = ["a", "b"]
    for k in range(length):
        steps.append(launch(add(n), grain, x=names[k % 2], y="y", out="out" if k == length - 1 else names[1 - k % 2]))
    place = -(-4 * n // 64) * 64
    return program(f"x: input n, y: input n, a: temporary n at 0, b: temporary n at {place}, out: output n", steps,
                   "xy", ["out"], arena=2 * place, shapes={"n": (n,)})


def arguments(n=N):
    return [np.arange(n, dtype=np.float32), np.linspace(0, 1, n, dtype=np.float32)]


def test_the_bits_do_not_depend_on_the_number_of_threads():
    p = chain()
    loaded = executable.load(p, emit)
    results = []
    for count in (1, 2, 3, 5, 8, 2, 1):
        threads.set_num_threads(count)
        assert threads.get_num_threads() == count
        results.append(loaded(arguments())[0].copy())
    for r in results:
        np.testing.assert_array_equal(r, reference(p, arguments())[0])


@pytest.mark.parametrize("units, grain", [(1, 1), (2, 1), (255, 1), (256, 1), (257, 1), (1000, 7), (100_003, 10),
                                          (50, 50), (51, 50)])
def test_every_unit_runs_once(units, grain):
    k = KernelBuilder("count", {"i": units})
    at = k.axis("i")
    k.store("out", (units,), [at], k.add(k.load("x", (units,), "i64", [at]), k.index(at)))
    p = program("x: input i64:n, out: output i64:n", [launch(k.build(), grain, x="x", out="out")], "x", ["out"],
                shapes={"n": (units,)})
    threads.set_num_threads(4)
    loaded = executable.load(p, emit)
    for _ in range(20):
        (out,) = loaded([np.ones(units, np.int64)])
        np.testing.assert_array_equal(out, np.arange(units) + 1)
        out[...] = -1


def test_wrong_numbers_of_threads_are_refused():
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="number of threads"):
            threads.set_num_threads(wrong)


def test_several_python_threads_run_programs_at_once():
    threads.set_num_threads(3)
    loaded = executable.load(chain(), emit)
    x, y = arguments()
    errors = []

    def work(seed: int) -> None:
        mine = x + seed
        expected = loaded([mine, y])[0].copy()
        for _ in range(60):
            if not np.array_equal(loaded([mine, y])[0], expected):
                errors.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for w in workers:
        w.start()
    for n in range(200):
        threads.set_num_threads(1 + n % 4)
    for w in workers:
        w.join()
    assert not errors
    np.testing.assert_array_equal(loaded([x, y])[0], reference(chain(), [x, y])[0])


SCRATCH = """
define void @kernel(ptr %args, i64 %start, i64 %stop, ptr %scratch) {
  %out = load ptr, ptr %args
  %last = getelementptr i8, ptr %scratch, i64 BYTES
  %low = ptrtoint ptr %scratch to i64
  br label %loop
loop:
  %i = phi i64 [%start, %0], [%i1, %loop]
  store volatile i64 %i, ptr %scratch
  store volatile i64 %low, ptr %last
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


@pytest.mark.parametrize("scratch", [64, 4096, 1 << 20])
def test_each_thread_has_scratch_memory_of_its_own(scratch):
    n = 20_000
    k = KernelBuilder("index", {"i": n})
    k.store("out", (n,), [k.axis("i")], k.index(k.axis("i")))
    p = program("out: output i64:n", [launch(k.build(), 1, out="out")], "", ["out"], shapes={"n": (n,)})
    source = Source(SCRATCH.replace("BYTES", str(scratch - 8)), "kernel", "llvm", n, 10, scratch)
    loaded = executable.load(p, lambda kernel, schedule: source)
    for count in (2, 4, 3):
        threads.set_num_threads(count)
        for _ in range(10):
            np.testing.assert_array_equal(loaded([])[0], np.arange(n))


@forks
def test_a_forked_child_has_threads_of_its_own():
    threads.set_num_threads(3)
    loaded = executable.load(chain(), emit)
    x, y = arguments()
    expected = loaded([x, y])[0].copy()
    running = threading.Event()

    def keep_busy() -> None:
        while not running.is_set():
            loaded([x, y])

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                good = threads.pool().started == 0 and all(np.array_equal(loaded([x, y])[0], expected)
                                                           for _ in range(20))
                os._exit(0 if good and threads.pool().started == 2 else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0
    finally:
        running.set()
        busy.join()


def in_a_process(text: str, **environment: str) -> str:
    """What a Python program prints, that may import this file's helpers."""
    head = "import sys; sys.path.insert(0, 'tests'); from runtime.test_threads import *\n"
    head += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"      # what runs in the background ignores it
    done = subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", head + text],
                          capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sleeping_process_uses_no_processor():
    spent = in_a_process("""
loaded = executable.load(chain(), emit)
threads.set_num_threads(4)
for _ in range(50): loaded(arguments())
assert threads.pool().started == 3
time.sleep(0.05)
before = time.process_time(); time.sleep(0.5); print(time.process_time() - before)
""")
    assert float(spent) < 0.05


def test_the_interpreter_ends_while_programs_run():
    in_a_process("""
loaded = executable.load(chain(), emit)
def forever():
    while True: loaded(arguments())
for _ in range(3): threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
""")


def test_threads_are_not_started_before_they_are_needed():
    assert in_a_process("""
p = program("x: input n, out: output n", [launch(double_plus_one(N), x="x", out="out")], "x", ["out"],
            shapes={"n": (N,)})
executable.load(p, emit)([arguments()[0]]); print(threads.pool().started, threads.get_num_threads())
""", BRAZE_NUM_THREADS="5").split() == ["0", "5"]


def test_a_keyboard_interrupt_ends_an_endless_loop():
    printed = in_a_process("""
one = pointwise(1, lambda k, x: k.add(x, x), "x")
p = program("x: input n, go: input b1:z, spare: temporary n at 0, out: output n",
            [Loop("t", None, (Carry("x", "now", "then", "out", "spare"),), (launch(one, x="now", out="then"),), (),
                  "go")],
            ["x", "go"], ["out"], arena=64, shapes={"n": (1,), "z": ()})
loaded = executable.load(p, emit)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try: loaded([np.ones(1, np.float32), np.array(True)])
except KeyboardInterrupt: print("interrupted")
x = loaded([np.ones(1, np.float32), np.array(False)])
print(x[0][0])
""")
    assert printed.split() == ["interrupted", "1.0"]


def test_signals_stay_with_python():
    loaded = executable.load(chain(), emit)
    threads.set_num_threads(4)
    loaded(arguments())
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught == [1]


def test_the_lock_of_the_interpreter_is_released_for_long_programs():
    from braze.runtime import calls

    assert calls.is_long(executable.load(chain(), emit))
    short = program("x: input n, out: output n", [launch(double_plus_one(64), x="x", out="out")], "x", ["out"],
                    shapes={"n": (64,)})
    assert not calls.is_long(executable.load(short, emit))
    assert native.load().call


def test_changing_the_number_of_threads_takes_memory_once():
    pool = threads.pool()
    pool.reserve(4096)
    threads.set_num_threads(6)
    before = len(pool._scratches)
    for n in range(100):
        threads.set_num_threads(1 + n % 6)
    assert len(pool._scratches) == before
    pool.reserve(2 * pool.scratch_bytes)
    assert len(pool._scratches) == before + 1 and pool._scratches[-1].nbytes >= 5 * pool.scratch_bytes
