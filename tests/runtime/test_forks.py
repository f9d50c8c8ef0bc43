"""Locks and memory in a child of `fork`: what another thread of the parent holds stops nobody there."""

from __future__ import annotations

import os
import signal
import threading

import braze
import numpy as np
import pytest
from braze.ir import locks
from braze.runtime import memory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_child(function) -> int:
    """How a child that calls a function ends; a deadlock ends by a signal."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def held_by_another_thread(*held):
    """Locks that a thread holds until the event is set."""
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        for each in held:
            each.acquire()
        ready.set()
        done.wait()
        for each in held:
            each.release()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    return thread, done


def test_locks_of_other_threads_are_open_in_a_child():
    made = locks.lock()
    total = braze.zeros(3)

    @braze.compile
    def count():
        total.add_(1)

    count()
    thread, done = held_by_another_thread(made, memory._lock, count._lock)

    def calls() -> None:
        assert made.acquire(timeout=5)
        count()
        assert braze.compile(lambda x: x * 3)(braze.ones(7, 11)).tolist() == [[3.0] * 11] * 7
        memory.empty((123, 457), np.dtype(np.float32))

    try:
        assert in_a_child(calls) == 0
        assert not made.acquire(timeout=0.01)
    finally:
        done.set()
        thread.join()
    assert total.tolist() == [1.0] * 3


def test_a_lock_of_the_forking_thread_stays_its_own():
    made = locks.lock()

    def release() -> None:
        assert made._is_owned()
        made.release()

    with made:
        assert in_a_child(release) == 0
        assert made._is_owned()


@pytest.mark.parametrize("size", [100, 1 << 18, 1 << 23])
def test_a_child_does_not_write_into_its_parents_memory(size):
    array, _ = memory.empty((size,), np.dtype(np.uint8))
    array[...] = 1

    def write() -> None:
        array[...] = 2

    assert in_a_child(write) == 0
    assert (array == 1).all()
