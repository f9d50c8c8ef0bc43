"""Threads that call compiled functions which write the same captured tensors: no update is lost, nobody waits for what
he does not need.
"""

import os
import sys
import threading

import braze
import numpy as np
import pytest
from braze.tracer.turns import Turns

THREADS, CALLS = 4, 100


def together(*functions):
    """Run each function in a thread of its own, at once; what they raise is raised here."""
    errors, start = [], threading.Barrier(len(functions))

    def guarded(function):
        try:
            start.wait()
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not any(t.is_alive() for t in threads)
    if errors:
        raise errors[0]


def adds_to(t):
    """A function that adds a number or its argument to a tensor, and returns nothing."""
    def add(x=1.0):
        t.add_(x)

    return add


def repeated(function, *args):
    return lambda: [function(*args) for _ in range(CALLS)]


@pytest.mark.parametrize("n", [8, 5_000, 200_000])
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_no_update_is_lost(n, backend):
    c = braze.zeros(n)

    @braze.compile(backend=backend)
    def increase():
        c.add_(1.0)

    increase(), increase()
    together(*[repeated(increase)] * THREADS)
    assert set(np.asarray(c).tolist()) == {2.0 + THREADS * CALLS}


def test_two_programs_that_write_one_tensor():
    c = braze.zeros(100_000)
    by_one, by_many = braze.compile(adds_to(c)), braze.compile(adds_to(c))
    two = braze.full((100_000,), 2.0)
    by_one(), by_many(two)
    together(*[repeated(by_one), repeated(by_many, two)] * 2)
    assert set(np.asarray(c).tolist()) == {3.0 * (2 * CALLS + 1)}


def test_a_program_that_joins_what_two_others_write():
    a, b = braze.zeros(50_000), braze.zeros(50_000)

    def both(first, second):
        first.add_(1.0)
        second.add_(1.0)

    programs = [braze.compile(f) for f in (adds_to(a), adds_to(b), lambda: both(a, b), lambda: both(b, a))]
    for f in programs:
        f()
    together(*[repeated(f) for f in programs])
    for t in (a, b):
        assert set(np.asarray(t).tolist()) == {3.0 * (CALLS + 1)}


def test_training_steps_of_many_threads_are_steps_one_after_the_other():
    layer = braze.nn.Linear(4, 4, bias=False)
    start = np.asarray(layer.weight).copy()
    optimiser = braze.optim.SGD(layer.parameters(), lr=0.5)

    @braze.compile
    def step(x):
        optimiser.zero_grad()
        layer(x).sum().backward()
        optimiser.step()

    x = braze.ones(1, 4)
    step(x), step(x)
    together(*[repeated(step, x)] * THREADS)
    np.testing.assert_allclose(np.asarray(layer.weight), start - 0.5 * (THREADS * CALLS + 2), rtol=1e-5)


def test_programs_that_write_nothing_in_common_do_not_wait():
    a, b = braze.zeros(3), braze.zeros(3)
    one, other, pure = (braze.compile(f) for f in (adds_to(a), adds_to(b), lambda x: x + a))
    one(), other(), pure(b)
    first, second, third = (f.specialisations[0] for f in (one, other, pure))
    assert third.context is None and not set(first.turns) & set(second.turns)
    with first.context:
        together(repeated(other), repeated(pure, b))
    np.testing.assert_array_equal(np.asarray(b), np.full(3, CALLS + 1.0))


def test_an_interrupt_between_two_turns_gives_the_first_back():
    class Interrupted:
        def acquire(self):
            raise KeyboardInterrupt

    first = threading.Lock()
    with pytest.raises(KeyboardInterrupt), Turns([first, Interrupted()]):
        pass
    assert not first.locked()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_a_thread_that_it_has_not():
    c = braze.zeros(4)
    f = braze.compile(adds_to(c))
    f(), f()
    held, release = threading.Event(), threading.Event()

    def hold():
        with f.specialisations[0].context:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    child = os.fork()
    if not child:
        f()
        os._exit(0 if np.asarray(c)[0] == 3 else 1)
    release.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
