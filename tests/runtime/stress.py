"""A process that gives the pool of threads a hard time, and prints what is left afterwards as one line of JSON.

`python stress.py ROUNDS SECONDS`: in each round several Python threads call compiled programs and check every result,
while the main thread changes the number of threads, forks children that call the same programs and compile one more,
and is interrupted by signals inside calls. `test_stress.py` judges.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import braze  # noqa: E402
import numpy as np  # noqa: E402
from braze.ir.program import Carry, HostCall, Loop  # noqa: E402
from braze.runtime import executable  # noqa: E402
from small_programs import add, double_plus_one, emit, launch, pointwise, program  # noqa: E402

CALLERS, MOST_THREADS, CHILD_SECONDS = 5, 4, 20
N = 50_000


class OnPurpose(Exception):
    """What a host call raises."""


class Work:
    """A function, and what it must give, bit by bit."""

    def __init__(self, name, run):
        self.run, self.name = run, name
        self.expected = run()

    def check(self) -> None:
        got = self.run()
        wrong = np.flatnonzero(got != self.expected)
        assert not wrong.size, f"{self.name}: {wrong.size} of {got.size} have changed, from {wrong[0]} on"


def compiled(function, *arrays):
    f, tensors = braze.compile(function), [braze.tensor(a) for a in arrays]
    return Work(f"line {function.__code__.co_firstlineno}", lambda: np.asarray(f(*tensors)))


def several_in_one_region() -> Work:
    names = [f"y{n}" for n in range(20)]
    p = program("x: input n, " + ", ".join(f"{n}: output n" for n in names),
                [launch(double_plus_one(N), 700 + 50 * k, x="x", out=n) for k, n in enumerate(names)], "x", names,
                shapes={"n": (N,)})
    loaded, x = executable.load(p, emit), np.arange(N, dtype=np.float32)
    return Work("several in one region", lambda: np.stack(loaded([x])))


class Failing(Work):
    """A program whose host call raises every third time, between two parallel regions."""

    def __init__(self):
        self.local = threading.local()
        place = -(-4 * N // 64) * 64
        p = program(f"x: input n, t: temporary n at 0, u: temporary n at {place}, out: output n",
                    [launch(double_plus_one(N), 500, x="x", out="t"), HostCall("host", self.host, ("t",), ("u",)),
                     launch(add(N), 500, x="t", y="u", out="out")], "x", ["out"], arena=2 * place, shapes={"n": (N,)})
        loaded, x = executable.load(p, emit), np.arange(N, dtype=np.float32)
        super().__init__("failing", lambda: loaded([x])[0])

    def host(self, a):
        self.local.count = getattr(self.local, "count", 0) + 1
        if self.local.count % 3 == 0:
            raise OnPurpose
        return (a + 1,)

    def check(self) -> None:
        try:
            super().check()
        except OnPurpose:
            pass


class Counting(Work):
    """A program that writes a captured tensor: no call may be lost."""

    def __init__(self):
        self.total, self.calls, self.lock = braze.zeros(N), 0, threading.Lock()
        counter = self.total

        @braze.compile
        def count():
            counter.add_(1)

        self.count = count
        self.check()
        self.check()

    def check(self) -> None:
        self.count()
        with self.lock:
            self.calls += 1


def endless():
    """A loop in native code, which only an interrupt ends."""
    one = pointwise(1, lambda k, x: k.add(x, x), "x")
    p = program("x: input n, go: input b1:z, spare: temporary n at 0, out: output n",
                [Loop("t", None, (Carry("x", "now", "then", "out", "spare"),), (launch(one, x="now", out="then"),), (),
                      "go")], ["x", "go"], ["out"], arena=64, shapes={"n": (1,), "z": ()})
    loaded = executable.load(p, emit)
    return lambda: loaded([np.ones(1, np.float32), np.array(True)])


def until_interrupted(call, seconds: float) -> None:
    """Call again and again, until a signal raises inside a call (or between two)."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            call()
    except KeyboardInterrupt:
        return


def in_a_child(works) -> None:
    """Every program runs in a child of `fork`, with threads of its own, and another one is compiled there."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_SECONDS)                       # a deadlock is an exit status
        faulthandler.register(signal.SIGALRM, chain=True)
        status = 1
        try:
            for work in works:
                work.check()
            factor = random.random()
            assert braze.compile(lambda x: x * factor)(braze.ones(3)).tolist() == [np.float32(factor)] * 3
            status = 0
        except BaseException:                             # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"a child failed with {status}"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def a_round(works, counting, interruptible, seconds: float, generator: random.Random) -> list[str]:
    stop, errors = threading.Event(), []

    def caller(seed: int) -> None:
        mine = random.Random(seed)
        try:
            while not stop.is_set():
                mine.choice([*works, counting]).check()
        except BaseException as error:                    # noqa: BLE001    (whatever it is, the test fails)
            errors.append(repr(error))

    callers = [threading.Thread(target=caller, args=(generator.random(),)) for _ in range(CALLERS)]
    for thread in callers:
        thread.start()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and not errors:
            for _ in range(5):
                braze.set_num_threads(generator.randint(1, MOST_THREADS))
                generator.choice(works).check()
            until_interrupted(generator.choice(works).check, generator.uniform(1e-4, 2e-2))
            in_a_child(works)
        until_interrupted(interruptible, 0.05)
    finally:
        stop.set()
        for thread in callers:
            thread.join()
    return errors


def main(rounds: int, seconds: float) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(60 + 10 * rounds * (seconds + 2), exit=True)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    random_numbers = np.random.default_rng(0)
    x, w = (random_numbers.standard_normal(s).astype(np.float32) for s in ((200, 300), (300, 100)))
    works = [
        compiled(lambda x: ((x * 2 + 1).tanh() - x).exp(), np.linspace(-1, 1, N, dtype=np.float32)),
        compiled(lambda x, w: (x @ w).tanh().sum(0), x, w),
        compiled(lambda x: braze.nn.functional.softmax(x, -1), x),
        compiled(lambda x: x.sort(-1), x),
        several_in_one_region(), Failing(),
    ]  # fmt: skip
    counting, interruptible, generator = Counting(), endless(), random.Random(0)
    errors, resident = [], []
    descriptors = 0
    for n in range(rounds):
        errors += a_round(works, counting, interruptible, seconds, generator)
        resident.append(resident_bytes())
        if n == 0:
            descriptors = len(os.listdir("/proc/self/fd"))
    calls, totals = counting.calls, np.unique(np.asarray(counting.total)).tolist()
    time.sleep(0.1)
    spent = time.process_time()
    time.sleep(0.4)
    print(json.dumps({
        "errors": errors, "resident": resident, "descriptors": [descriptors, len(os.listdir("/proc/self/fd"))],
        "threads": len(os.listdir("/proc/self/task")), "calls": calls, "totals": totals,
        "idle": time.process_time() - spent,
    }))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
